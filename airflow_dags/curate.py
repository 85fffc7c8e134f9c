"""A job from its lists to its release, one task a stage: `fairshard run CONFIG`, on a schedule.

`plan` refuses what can be refused before anybody is asked for anything. `fetch` is mapped over groups of
partitions; a host belongs to one partition, so groups that run side by side stay polite. Stages commit partition by
partition: a task that is retried, cleared or run again goes on where it stopped, and does nothing if nothing is left.

Stages that use the network are retried, with more time between the attempts each time. What another attempt cannot
mend is not: a wrong config or list (exit code 2 of the command line), and a refusal (exit code 3), which says that
going on could use what was not permitted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from types import ModuleType
from typing import Any

# Nothing else here: Airflow reads this file again and again, so tasks import fairshard when they run; and by its full
# name, since a file of a DAG folder is in no package.
# pyright: reportMissingImports=false
from airflow.sdk import DAG, Param, TaskGroup, chain, task

NETWORK: dict[str, Any] = {
    "retries": 5,
    "retry_delay": timedelta(minutes=1),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=30),
}
LOCAL: dict[str, Any] = {"retries": 1, "retry_delay": timedelta(minutes=1)}  # a worker that was killed
GROUP = "{{ task.op_kwargs['names'][0] }} to {{ task.op_kwargs['names'][-1] }}"  # what the grid calls a mapped task


def curate(dag_id: str = "fairshard_curate", config: str | None = None, **options: Any) -> DAG:
    """The DAG.

    Args:
        dag_id: one for each job that has a schedule of its own.
        config: default of the parameter `config`; a DAG with a schedule needs one.
        options: of `DAG`, such as `schedule`, `start_date` or `on_failure_callback`.
    """
    defaults: dict[str, Any] = {
        "description": "Image-text lists to a release that honours opt-outs",
        "doc_md": __doc__,
        "schedule": None,
        "catchup": False,  # a run is about the lists and registries of today
        "max_active_runs": 1,  # a work directory has one owner
        "default_args": LOCAL,
        "tags": ["fairshard"],
        "params": _params(config),
        "auto_register": False,  # importing this module adds no DAG to the file that imports it
    }
    with DAG(dag_id, **{**defaults, **options}) as dag:
        with TaskGroup("fetch", tooltip="Ask for the images") as fetch:
            chain(partitions.expand(names=groups()), stage.override(task_id="rest", **NETWORK)("fetch"))
        chain(
            plan(),
            stage.override(task_id="ingest")("ingest"),
            stage.override(task_id="consult", **NETWORK)("consult"),
            fetch,
            *(stage.override(task_id=name)(name) for name in ("screen", "filter", "dedup", "balance", "emit")),
            train(),
        )
    return dag


def _params(config: str | None) -> dict[str, Param]:
    about_config: dict[str, Any] = {"title": "Config", "description": "Path of the job's YAML file, on the workers."}
    if config is not None:
        about_config["default"] = config
    return {
        "config": Param(type="string", minLength=1, **about_config),
        "fetch_tasks": Param(
            16,
            title="Fetch tasks",
            description="The partitions of fetch are shared out among at most so many tasks.",
            type="integer",
            minimum=1,
            maximum=1024,
        ),
        "train": Param(False, title="Train", description="Train on the release, as `fairshard train`.", type="boolean"),
    }


@task(multiple_outputs=False)
def plan(params: dict[str, Any] | None = None) -> dict[str, int]:
    """Check config, policy, sources and registries, as `fairshard plan`. Writes and requests nothing."""
    with final():
        from fairshard.pipelines import plan as plans

        found = plans.run(_job(params))
    return {"sources": len(found["sources"]), "registries": len(found["registries"])}


@task(multiple_outputs=False)
def stage(name: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run one stage, as `fairshard run CONFIG --only NAME`. Returns its rows, seconds and memory."""
    return _run_stage(name, params)


@task
def groups(params: dict[str, Any] | None = None) -> list[list[str]]:
    """Share the partitions out among the mapped tasks."""
    with final():
        from fairshard.pipelines.fetch import partition_names

        names = partition_names(_job(params))
    count = min((params or {})["fetch_tasks"], len(names))
    cuts = [len(names) * number // count for number in range(count + 1)]
    return [names[start:end] for start, end in pairwise(cuts)]


@task(**NETWORK, multiple_outputs=False, map_index_template=GROUP)
def partitions(names: list[str], params: dict[str, Any] | None = None) -> dict[str, Any]:
    """Fetch some partitions, as `fairshard run CONFIG --only fetch --partition NAME ...`."""
    return _run_stage("fetch", params, names)


@task
def train(params: dict[str, Any] | None = None) -> str:
    """Train on the release, as `fairshard train CONFIG`; skipped unless asked for. Returns the checkpoint's path."""
    from airflow.sdk.exceptions import AirflowSkipException

    if not (params or {})["train"]:
        raise AirflowSkipException("the parameter 'train' is off")
    with own_workers(), final():
        from fairshard.pipelines import train as trains

        job = _job(params)
        return str(trains.run(job.release_dir, job.run_dir, job.config.train).checkpoint)


def _run_stage(name: str, params: dict[str, Any] | None, partitions: Sequence[str] = ()) -> dict[str, Any]:
    with own_workers(), final():
        from fairshard.pipelines import _run

        found = _run.run(_job(params), [name], partitions)
    return next(about for about in found["stages"] if about["stage"] == name)


def _job(params: dict[str, Any] | None) -> Any:
    from fairshard.schemas import config as configs

    return configs.load((params or {})["config"])


@contextmanager
def own_workers() -> Iterator[None]:
    """Let worker processes start without the main program.

    A spawned process imports its parent's main program first. Here that is Airflow's, which looks for the metadata
    database; tasks have no access to that, and the worker would die.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def final() -> Iterator[None]:
    """Fail the task at once where another attempt would end alike."""
    from airflow.sdk.exceptions import AirflowFailException

    from fairshard.schemas.errors import ContractError, InputError, MissingExtra, Refused

    try:
        yield
    except (InputError, MissingExtra, ContractError, Refused) as error:
        raise AirflowFailException(f"exit code {error.exit_code}: {error}") from error


dag = curate()
