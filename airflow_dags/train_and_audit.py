"""A model on a job's release, and what it kept: `fairshard train CONFIG`, then `fairshard audit CONFIG`.

Training reads the shards as published and goes on from its last checkpoint where it was killed; what has been trained
already is not trained again. A measure over its limit fails the audit at once (exit code 1 of the command line), without
another attempt: `on_failure_callback` is the place for an alarm. The audit's table stays where the config says.

The parameter `trainer` may ask for a diffusion model as well, which the text tower of the CLIP model is part of.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import DAG, Param, chain, task

from fairshard.airflow_dags import lineage
from fairshard.airflow_dags.tasks import Changes, config_param, final, load_job, new_dag, own_workers, release_of, told


def train_and_audit(
    dag_id: str = "fairshard_train_and_audit",
    config: str | None = None,
    changes: Changes | None = None,
    **options: Any,
) -> DAG:
    """The DAG.

    Args:
        dag_id: one for each job that has a schedule of its own.
        config: default of the parameter `config`; where it is given, the DAG runs whenever `release_of(config)` is new, and
            on the very release that is: after a takedown that is not the config's `release_dir`.
        changes: as of `curate`.
        options: of `DAG`, such as `schedule` or `on_failure_callback`.
    """
    given: dict[str, Any] = {"changes": dict(changes or {})}
    inlets = [release_of(config)] if config else []
    options = {"schedule": inlets or None, **options}
    params = {"config": config_param(config), "trainer": Param("clip", title="Trainer", enum=["clip", "diffusion"])}
    with new_dag(dag_id, "A model on a release, and an audit of it", __doc__, params, options) as dag:
        chain(train.override(inlets=inlets)(**given), audit(**given))
    return dag


@task
def train(
    changes: Changes, params: dict[str, Any] | None = None, task: Any = None, triggering_asset_events: Any = None
) -> str:
    """Train on the release, as `fairshard train CONFIG`. Returns the path of the last model's weights."""
    with own_workers(), final():
        from fairshard.pipelines import train as trains
        from fairshard.pipelines import train_diffusion

        job = load_job(params, {**changes, **told(triggering_asset_events)})
        lineage.reads(task, [job.release_dir])
        done = trains.run(job.release_dir, job.run_dir, job.config.train)
        lineage.writes(task, [job.run_dir])
        if (params or {}).get("trainer") == "diffusion":
            done = train_diffusion.run(job.release_dir, job.run_dir, job.diffusion_dir, job.config.diffusion)
            lineage.writes(task, [job.diffusion_dir])
        return str(done.checkpoint)


@task(multiple_outputs=False)
def audit(
    changes: Changes, params: dict[str, Any] | None = None, task: Any = None, triggering_asset_events: Any = None
) -> dict[str, Any]:
    """Measure memorisation, leakage and later opt-outs, as `fairshard audit CONFIG`. Returns where the table is."""
    from airflow.sdk.exceptions import AirflowFailException

    with own_workers(), final():
        from fairshard.pipelines import audit as audits

        job = load_job(params, {**changes, **told(triggering_asset_events)})
        lineage.reads(task, [job.release_dir, job.run_dir])
        found = audits.run(job)
    lineage.writes(task, [str(found.out_dir)])
    for text in audits.summary(found):
        logging.getLogger(__name__).info(text)
    if found.findings:
        raise AirflowFailException(f"{len(found.findings)} measures are over their limits; see {found.out_dir}")
    return {"audit": str(found.out_dir), "measures": len(found.rows)}


dag = train_and_audit()
