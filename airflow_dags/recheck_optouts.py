"""A job's latest release against the registries of today: `fairshard recheck CONFIG`, whenever these are new.

The release is checked whole. If a pair has opted out since, the next release is made beside it without that pair, and
says which one it follows; the earlier one stays for its holders to see what to delete. If nobody has, nothing is made and
nothing is told. A release that is not what its manifest says, and a registry that is missing or too old, fail the run at
once: `on_failure_callback` is the place for an alarm. Run again, it does what is left; a killed attempt leaves no
half-made release.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import DAG, task

from fairshard.airflow_dags import lineage
from fairshard.airflow_dags.tasks import (
    Changes,
    config_param,
    final,
    load_job,
    new_dag,
    registries_of,
    release_of,
    tell,
)


def recheck_optouts(
    dag_id: str = "fairshard_recheck_optouts",
    config: str | None = None,
    changes: Changes | None = None,
    **options: Any,
) -> DAG:
    """The DAG.

    Args:
        dag_id: one for each job that has a schedule of its own.
        config: default of the parameter `config`; where it is given, the DAG runs whenever `registries_of(config)` are new,
            and a next release updates `release_of(config)`.
        changes: as of `curate`.
        options: of `DAG`, such as `schedule` or `on_failure_callback`.
    """
    about: dict[str, Any] = {"inlets": [registries_of(config)], "outlets": [release_of(config)]} if config else {}
    options = {"schedule": about.get("inlets"), **options}
    with new_dag(
        dag_id, "A release against today's opt-outs", __doc__, {"config": config_param(config)}, options
    ) as dag:
        recheck.override(**about)(dict(changes or {}))
    return dag


@task(multiple_outputs=False)
def recheck(
    changes: Changes, params: dict[str, Any] | None = None, task: Any = None, outlet_events: Any = None
) -> dict[str, Any]:
    """Check the latest release, and make the next. Returns which, and how many pairs it lacks; skipped if there is none."""
    from airflow.sdk.exceptions import AirflowSkipException

    with final():
        from fairshard.pipelines import recheck as rechecks
        from fairshard.pipelines import takedown

        job = load_job(params, changes)
        checked, taken = rechecks.recheck(job)
    lineage.reads(task, [checked, *(job.path(one.path) for one in job.config.registries)])
    logging.getLogger(__name__).info("checked: %s\n%s", checked, takedown.text(taken))
    if taken.release is None:
        raise AirflowSkipException(f"nobody has opted out of {checked}")
    tell(task, outlet_events, taken.release)
    return {"checked": checked, "release": taken.release, "pairs": taken.pairs}


dag = recheck_optouts()
