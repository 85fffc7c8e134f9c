"""What tasks read and write, as OpenLineage's provider sends it on: files and folders by path, releases by Merkle root.

The provider knows the assets of other providers' schemes, and none of ours. So tasks name data sets of its own client,
when they have loaded their job: what is read before the work, what is written after it. Without the provider nothing
is named.

Source: https://openlineage.io/docs/spec/naming
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit


def stage_reads(job: Any, stage: str) -> list[str]:
    """Paths of the tables that a stage reads; of `ingest`, the lists; of `consult`, the registries, too."""
    config = job.config
    given = {"ingest": config.sources, "consult": config.registries}.get(stage, ())
    return [*(job.path(one.path) for one in given), *_tables(job, stage, "READS")]


def stage_writes(job: Any, stage: str) -> list[str]:
    """Paths of the tables that a stage writes."""
    return _tables(job, stage, "WRITES")


def registries_read(job: Any) -> list[str]:
    """Where `pull` gets the registries from."""
    return [job.path(one.pull_from) for one in job.config.registries if one.pull_from]


def registries_written(job: Any) -> list[str]:
    """What it puts in place."""
    return [job.path(one.path) for one in job.config.registries if one.pull_from]


def reads(task: Any, paths: Iterable[str]) -> None:
    """Name what a task reads.

    Args:
        task: the running one; its event of completion, or failure, has the data sets as inputs.
        paths: absolute, or URLs.
    """
    task.inlets = _with(task.inlets, paths, None)


def writes(task: Any, paths: Iterable[str], merkle_root: str | None = None) -> None:
    """Name what a task has written; ``merkle_root``: of the release that they are, which is its version."""
    task.outlets = _with(task.outlets, paths, merkle_root)


def _tables(job: Any, stage: str, which: str) -> list[str]:
    names = getattr(importlib.import_module(f"fairshard.pipelines.{stage}"), which)
    return [f"{job.work_dir}/{name}" for name in names]


def _with(named: list[Any], paths: Iterable[str], version: str | None) -> list[Any]:
    try:
        from openlineage.client.event_v2 import Dataset
        from openlineage.client.facet_v2 import dataset_version_dataset
    except ImportError:
        return named
    said = {"version": dataset_version_dataset.DatasetVersionDatasetFacet(version)} if version else {}
    new = [Dataset(*_name(path), facets={**said}) for path in paths]
    return [*(one for one in named if not isinstance(one, Dataset) or one not in new), *new]


def _name(path: str) -> tuple[str, str]:
    """Namespace and name of a data set; user, password and query of a URL are nobody's business."""
    if "://" not in path:
        return "file", path
    parts = urlsplit(path)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}", parts.path.lstrip("/") if parts.scheme in ("s3", "gs") else parts.path
