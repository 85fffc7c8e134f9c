"""The registries of a job anew, as `fairshard pull CONFIG`, on a schedule.

Each list that has `pull_from` is got, read as a run would read it, and put in the place of the last in one step. A list
that cannot be got or is not as it should be leaves its last file in place, and the task is tried again; when all attempts
have failed the run fails, and `on_failure_callback` is the place for an alarm. The lists that could be got are in place
all the same. What is scheduled by `registries_of(config)`, such as `recheck_optouts`, runs when all have been got.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task

from fairshard.airflow_dags import lineage
from fairshard.airflow_dags.tasks import NETWORK, config_param, final, load_job, new_dag, registries_of


def refresh_registries(dag_id: str = "fairshard_refresh_registries", config: str | None = None, **options: Any) -> DAG:
    """The DAG.

    Args:
        dag_id: one for each job that has a schedule of its own.
        config: default of the parameter `config`; where it is given, success updates `registries_of(config)`.
        options: of `DAG`, such as `schedule` or `on_failure_callback`.
    """
    params = {"config": config_param(config)}
    with new_dag(dag_id, "Opt-out registries and hash lists anew", __doc__, params, options) as dag:
        timeout = timedelta(hours=6)
        pull.override(outlets=[registries_of(config)] if config else [], **{**NETWORK, "execution_timeout": timeout})()
    return dag


@task(multiple_outputs=False)
def pull(params: dict[str, Any] | None = None, task: Any = None) -> dict[str, int]:
    """Get every registry that has `pull_from`. Returns how many there are, and their entries."""
    with final():
        from fairshard.pipelines import pull as pulls
        from fairshard.schemas.errors import StageError

        job = load_job(params)
        lineage.reads(task, lineage.registries_read(job))
        found = pulls.pull(job)
    for each in found:
        logging.getLogger(__name__).info(pulls.line(each))
    failed = "; ".join(str(each.error) for each in found if each.error)
    if failed:
        raise StageError("registries", failed, hint="The others are in place")
    lineage.writes(task, lineage.registries_written(job))
    return {"registries": len(found), "entries": sum(each.rules or 0 for each in found)}


dag = refresh_registries()
