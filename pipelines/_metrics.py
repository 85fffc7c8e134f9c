"""Figures of a run as a text file for Prometheus, such as node_exporter's textfile collector reads.

All are gauges: they say how the work directory stands and how its last run went, and begin anew with each.

Source: Prometheus, "Exposition formats", text-based format 0.0.4.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from ..schemas.config import Job
from ._files import file_system
from ._store import Store

FILE = "metrics.prom"


class Sample(NamedTuple):
    """One line: labels and value."""

    labels: Mapping[str, str]
    value: float | int


class Metric(NamedTuple):
    """One metric with its help and its samples."""

    name: str
    doc: str
    samples: list[Sample]


def write(store: Store, job: Job, state: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Write the figures of a run, whole or not at all.

    Args:
        store: its work directory.
        job: whose ``metrics_file`` says where to.
        state: as ``RunState.as_dict`` gives it.
        found: as ``_run.summary`` gives it.
    """
    text = render(metrics(state, found)).encode()
    if job.config.metrics_file is None:
        store.put(FILE, text)
        return
    fs, path = file_system(job.path(job.config.metrics_file))
    part = f"{path}.{uuid.uuid4().hex[:8]}.part"  # collectors read what ends in .prom
    fs.makedirs(os.path.dirname(path), exist_ok=True)
    fs.pipe_file(part, text)
    fs.mv(part, path)


def render(found: Iterable[Metric]) -> str:
    """Metrics as text; those without a sample are left out."""
    lines = []
    for metric in found:
        if metric.samples:
            lines += [f"# HELP {metric.name} {metric.doc}", f"# TYPE {metric.name} gauge"]
            lines += [f"{metric.name}{_labels(labels)} {value}" for labels, value in metric.samples]
    return "".join(f"{line}\n" for line in lines)


def metrics(state: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[Metric]:
    """The figures of a run; see ``write``."""
    names = ("fairshard", "policy", "engine", "compute")
    about = {"run": state["run"], **{("version" if name == "fairshard" else name): found[name] for name in names}}
    yield Metric("fairshard_run_info", "The last run.", [Sample(about, 1)])
    yield Metric("fairshard_run_success", "Whether it ended well.", [Sample({}, int(state["exit_code"] == 0))])
    yield Metric("fairshard_run_exit_code", "What it ended with.", [Sample({}, state["exit_code"])])
    yield Metric("fairshard_run_duration_seconds", "How long it took.", [Sample({}, found["seconds"])])
    for name, doc, key in (
        ("fairshard_run_begin_timestamp_seconds", "When it began.", "began_at"),
        ("fairshard_run_end_timestamp_seconds", "When it ended.", "ended_at"),
        ("fairshard_last_success_timestamp_seconds", "When a run last ended well.", "last_success_at"),
    ):
        yield Metric(name, doc, [Sample({}, _seconds(state[key]))] if state.get(key) else [])
    yield from _of_stages(found["stages"])


# Of each stage that has something committed: name, help, key of the summary, factor.
_FIGURES = (
    ("rows_in", "Rows that reached the stage.", "rows_in", 1),
    ("rows_out", "Rows that it left.", "rows_out", 1),
    ("partitions", "Partitions that are committed.", "partitions", 1),
    ("partitions_made", "Of these, made by the last run.", "made_now", 1),
    ("duration_seconds", "Wall time of what is committed.", "seconds", 1),
    ("partition_seconds", "The same, added up over partitions that were made side by side.", "partition_seconds", 1),
    ("peak_memory_bytes", "Largest resident size of a process that made a partition.", "peak_mb", 1_000_000),
    ("read_bytes", "Bytes of pictures that were read from the network.", "read_bytes", 1),
    ("released_bytes", "Bytes of the release.", "released_bytes", 1),
)
# The same by a second label: name, help, key, label.
_COUNTS = (
    ("rows_lost", "Rows that the stage rejected or dropped, by reason.", "reasons", "reason"),
    ("rows_failed", "Pairs whose picture could not be had, by reason.", "failed", "reason"),
    ("rows_put_off", "Pairs that are left for a later run, by reason.", "left", "reason"),
    ("requests", "Requests that what is committed took, by class of status.", "requests", "class"),
)


def _of_stages(stages: Iterable[Mapping[str, Any]]) -> Iterator[Metric]:
    listed = list(stages)
    for name, doc, key, factor in _FIGURES:
        samples = [Sample({"stage": one["stage"]}, round(one[key] * factor, 3)) for one in listed if key in one]
        yield Metric(f"fairshard_stage_{name}", doc, samples)
    for name, doc, key, label in _COUNTS:
        samples = [
            Sample({"stage": one["stage"], label: value}, count)
            for one in listed
            for value, count in sorted(one.get(key, {}).items())
        ]
        yield Metric(f"fairshard_stage_{name}", doc, samples)


def _seconds(at: str) -> float:
    return round(datetime.fromisoformat(at).timestamp(), 3)


def _labels(labels: Mapping[str, str]) -> str:
    named = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{named}}}" if named else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
