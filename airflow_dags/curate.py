"""A job from its lists to its release, one task a stage: `fairshard run CONFIG`, on a schedule.

`plan` refuses what can be refused before anybody is asked for anything. `fetch` is mapped over groups of
partitions; a host belongs to one partition, so groups that run side by side stay polite. Stages commit partition by
partition: a task that is retried, cleared or run again goes on where it stopped, and does nothing if nothing is left.

Stages that use the network are retried, with more time between the attempts each time. What another attempt cannot
mend is not: a wrong config or list (exit code 2 of the command line), and a refusal (exit code 3), which says that
going on could use what was not permitted.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from airflow.sdk import DAG, Param, TaskGroup, chain, task

# By its full name, since a file of a DAG folder is in no package.
from fairshard.airflow_dags import lineage
from fairshard.airflow_dags.tasks import (
    NETWORK,
    Changes,
    config_param,
    final,
    load_job,
    new_dag,
    own_workers,
    registries_of,
    release_of,
    tell,
)

# What the grid calls a mapped task: "0003", or "0000 to 0003".
GROUP = "{{ (task.op_kwargs['names'][:1] + task.op_kwargs['names'][1:][-1:]) | join(' to ') }}"
PARTITIONS = """Ask for the pictures of some partitions of hosts.

`fairshard run CONFIG --only fetch --partition NAME ...`"""  # a mapped task has no docs of its function
ABOUT = {
    "ingest": "Read the lists into pairs. What is no pair is rejected with a reason.",
    "consult": "Ask registries, endpoints and hosts what is permitted, before a picture is asked for.",
    "fetch": "Ask for what the mapped tasks have left, and forget partitions that the config no longer has.",
    "screen": "Compare pictures with hash lists and creator lists, and judge again with all that fetching has found.",
    "filter": "Drop what is not worth training on, by caption, language, size and the source's scores.",
    "dedup": "Keep one pair of every group that shows the same picture, or nearly the same.",
    "balance": "Cap what one domain, creator, caption, template or cluster of pictures gives.",
}


def curate(
    dag_id: str = "fairshard_curate",
    config: str | None = None,
    changes: Changes | None = None,
    crawl_pool: str = "default_pool",
    **options: Any,
) -> DAG:
    """The DAG.

    Args:
        dag_id: one for each job that has a schedule of its own.
        config: default of the parameter `config`; a DAG with a schedule needs one. Where it is given, a release updates
            `release_of(config)`.
        changes: values that take the place of the config's, as `--set` does; text in them is a template of Airflow's, such
            as `{"work_dir": "/data/{{ ds }}/work"}`.
        crawl_pool: the pool of the tasks that ask hosts; it bounds them over all DAGs.
        options: of `DAG`, such as `schedule`, `start_date` or `on_failure_callback`.
    """
    given: dict[str, Any] = {"changes": dict(changes or {})}
    crawling = {**NETWORK, "pool": crawl_pool}
    about = {"inlets": [registries_of(config)], "outlets": [release_of(config)]} if config else {}
    with new_dag(
        dag_id, "Image-text lists to a release that honours opt-outs", __doc__, _params(config), options
    ) as dag:
        with TaskGroup("fetch", tooltip="Ask for the images") as fetch:
            mapped = partitions.override(pool=crawl_pool).partial(**given).expand(names=groups(**given))
            chain(mapped, _stage("fetch", task_id="rest", **crawling)(**given))
        chain(
            plan(**given),
            _stage("ingest")(**given),
            _stage("consult", **crawling)(**given),
            fetch,
            *(_stage(name)(**given) for name in ("screen", "filter", "dedup", "balance")),
            emit.override(**about)(**given),
        )
    return dag


def _stage(name: str, **options: Any) -> Any:
    """The task of a stage, which waits for what its job changes of the config."""
    doc = f"{ABOUT[name]}\n\n`fairshard run CONFIG --only {name}`"
    return partial(stage.override(**{"task_id": name, "doc_md": doc, **options}), name)


def _params(config: str | None) -> dict[str, Param]:
    return {
        "config": config_param(config),
        "fetch_tasks": Param(
            16,
            title="Fetch tasks",
            description="The partitions of fetch are shared out among at most so many tasks.",
            type="integer",
            minimum=1,
            maximum=1024,
        ),
    }


@task(multiple_outputs=False)
def plan(changes: Changes, params: dict[str, Any] | None = None) -> dict[str, int]:
    """Check config, policy, sources and registries, as `fairshard plan`. Writes and requests nothing."""
    with final():
        from fairshard.pipelines import plan as plans

        found = plans.run(load_job(params, changes))
    return {"sources": len(found["sources"]), "registries": len(found["registries"])}


@task(multiple_outputs=False)
def stage(name: str, changes: Changes, params: dict[str, Any] | None = None, task: Any = None) -> dict[str, Any]:
    """Run one stage, as `fairshard run CONFIG --only NAME`. Returns its rows, seconds and memory."""
    return _run_stage(name, changes, params, task)


@task
def groups(changes: Changes, params: dict[str, Any] | None = None) -> list[list[str]]:
    """Share the partitions out among the mapped tasks."""
    with final():
        from fairshard.pipelines.fetch import partition_names

        names = partition_names(load_job(params, changes))
    count = min((params or {})["fetch_tasks"], len(names))
    cuts = [len(names) * number // count for number in range(count + 1)]
    return [names[start:end] for start, end in pairwise(cuts)]


@task(**NETWORK, multiple_outputs=False, map_index_template=GROUP, doc_md=PARTITIONS)
def partitions(
    names: list[str], changes: Changes, params: dict[str, Any] | None = None, task: Any = None
) -> dict[str, Any]:
    """Ask for the pictures of some partitions of hosts, as `fairshard run CONFIG --only fetch --partition NAME ...`."""
    return _run_stage("fetch", changes, params, task, names)


@task(multiple_outputs=False)
def emit(
    changes: Changes,
    params: dict[str, Any] | None = None,
    task: Any = None,
    outlet_events: Any = None,
) -> dict[str, Any]:
    """Publish, as `fairshard run CONFIG --only emit`. The event of the asset says where the release is, and its Merkle root."""
    found = _run_stage("emit", changes, params, task)
    tell(task, outlet_events, load_job(params, changes).release_dir)
    return found


def _run_stage(
    name: str, changes: Changes, params: dict[str, Any] | None, task: Any, partitions: Sequence[str] = ()
) -> dict[str, Any]:
    with own_workers(), final():
        from fairshard.pipelines import _run

        job = load_job(params, changes)
        lineage.reads(task, lineage.stage_reads(job, name))
        found = _run.run(job, [name], partitions)
    lineage.writes(task, lineage.stage_writes(job, name))
    return next(about for about in found["stages"] if about["stage"] == name)


dag = curate()
