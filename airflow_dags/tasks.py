"""What the DAGs share: how their tasks are tried, what they tell each other of, and the jobs they are about."""

# Airflow reads DAG files again and again, so nothing here is heavy: tasks import fairshard's pipelines when they run.
# pyright: reportMissingImports=false
from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from types import ModuleType
from typing import Any

from airflow.sdk import DAG, Asset, Param

from fairshard.airflow_dags import lineage

NETWORK: dict[str, Any] = {
    "retries": 5,
    "retry_delay": timedelta(minutes=1),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=30),
    "execution_timeout": timedelta(days=3),  # an attempt that is ended goes on where it stopped in the next
}
LOCAL: dict[str, Any] = {  # a worker that was killed
    "retries": 1,
    "retry_delay": timedelta(minutes=1),
    "execution_timeout": timedelta(days=1),
}

Changes = Mapping[str, Any]


def registries_of(config: str) -> Asset:
    """The registries of a job, as DAGs tell each other of them: new ever after `refresh_registries`."""
    return Asset(name=f"registries of {config}", uri=f"fairshard://registries/{config.lstrip('/')}", group="fairshard")


def release_of(config: str) -> Asset:
    """The latest release of a job: new ever after `curate`, and after `recheck_optouts` took something down."""
    return Asset(name=f"release of {config}", uri=f"fairshard://release/{config.lstrip('/')}", group="fairshard")


def new_dag(dag_id: str, description: str, doc: str | None, params: dict[str, Param], options: dict[str, Any]) -> DAG:
    """A DAG with the defaults of all; ``options`` go first, and so do those of their ``default_args``."""
    defaults: dict[str, Any] = {
        "description": description,
        "doc_md": doc,
        "schedule": None,
        "catchup": False,  # a run is about the lists and registries of today
        "max_active_runs": 1,  # a work directory has one owner
        "tags": ["fairshard"],
        "params": params,
        "auto_register": False,  # importing a factory adds no DAG to the file that imports it
    }
    default_args = {"owner": "fairshard", **LOCAL, **options.get("default_args", {})}
    return DAG(dag_id, **{**defaults, **options, "default_args": default_args})


def config_param(config: str | None) -> Param:
    """The parameter `config`, with its default where the DAG is about one job."""
    about: dict[str, Any] = {"title": "Config", "description": "Path of the job's YAML file, on the workers."}
    if config is not None:
        about["default"] = config
    return Param(type="string", minLength=1, **about)


def load_job(params: Mapping[str, Any] | None, changes: Changes | None = None) -> Any:
    """The job of a run, with the values that the DAG sets instead of the config's."""
    from fairshard.schemas import config as configs

    return configs.load((params or {})["config"], changes)


def tell(task: Any, outlet_events: Any, release_dir: str) -> None:
    """Say in the event of each asset that a task updates, and to OpenLineage, where the release is, and which."""
    from fairshard.pipelines import _manifest
    from fairshard.pipelines._release import Release

    merkle_root = _manifest.load(Release(release_dir))["merkle_root"]
    for asset in [one for one in task.outlets if isinstance(one, Asset)]:
        outlet_events[asset].extra = {"release": release_dir, "merkle_root": merkle_root}
    lineage.writes(task, [release_dir], merkle_root)


def told(events: Mapping[Any, Any] | None) -> dict[str, str]:
    """What the last of the events that started a run says of the release, as a change of the config; nothing if none does."""
    said = [event for of_asset in (events or {}).values() for event in of_asset if "release" in event.extra]
    last = max(said, key=lambda event: event.timestamp, default=None)
    return {"release_dir": last.extra["release"]} if last else {}


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
