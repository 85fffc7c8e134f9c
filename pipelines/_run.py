"""Running stages in order, and the summary after the last.

Stages and the check of the job are imported when they are needed: all that takes half a second, in which workers can
import what they will need.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import platform
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ..schemas.config import Job
from ..schemas.errors import ConfigError, ReleaseError
from . import _logs, _metrics
from ._again import Wish, wish
from ._fetch_progress import added
from ._files import require_reachable
from ._progress import log
from ._run_state import RunState
from ._store import Mark, Store
from ._work import STAGES, Work, require


def stages(until: str | None = None, only: str | None = None) -> list[str]:
    """The stages to run."""
    if only:
        return [only]
    return list(STAGES[: STAGES.index(until) + 1]) if until else list(STAGES)


def run(
    job: Job,
    chosen: Sequence[str],
    partitions: Sequence[str] = (),
    *,
    retry: Sequence[str] = (),
    refresh: bool = False,
) -> dict[str, Any]:
    """Run stages, committed partition by committed partition; what is done is not done again.

    Args:
        job: the job.
        chosen: the stages, in order.
        partitions: of ``fetch`` alone: make only these. Such runs may go side by side, so they leave ``run.json`` and
            the catalog to the next run of a whole stage.
        retry: classes of failures of ``fetch`` to ask for again, see ``_again``.
        refresh: ask for everything again: host files, and pictures if they have changed.

    Returns:
        The summary that ``run.json`` in the work directory holds; with ``partitions``, of those alone.

    Raises:
        ConfigError: the job has no such partition, or another stage is to run as well.
        ReleaseError: a folder that is given by URL cannot be reached or written to.
    """
    started = time.monotonic()
    began = datetime.now(UTC)
    if partitions and list(chosen) != ["fetch"]:
        raise ConfigError("partitions", f"are chosen for {', '.join(chosen)}", "fetch alone")
    if (retry or refresh) and (partitions or "fetch" not in chosen):
        raise ConfigError("--retry and --refresh", "are of no use here", "a run of fetch with all its partitions")
    for folder in (job.work_dir, job.release_dir):
        require_reachable(folder, write=True)
    work = Work(job)
    try:
        with _logs.about(run=uuid.uuid4().hex[:8]):
            if "fetch" in chosen and job.config.compute == "local" and not partitions:
                _warm_up(work)
            return _checked_and_run(work, chosen, partitions, Wish(retry, refresh), began, started)
    finally:
        work.close()


def _warm_up(work: Work) -> None:
    """Let workers import what ``fetch`` needs while this process imports what the job's check needs."""
    if len(work.store.marks("fetch")) < work.job.config.fetch.partitions:
        work.compute.warm_up(f"{__package__}._fetcher")


def _checked_and_run(
    work: Work, chosen: Sequence[str], partitions: Sequence[str], again: Wish, began: datetime, started: float
) -> dict[str, Any]:
    from ._preflight import preflight

    _stage("fetch").chosen_partitions(work.job, partitions)
    preflight(work.job, chosen)
    whole = list(chosen) == list(STAGES[: len(chosen)])
    with contextlib.ExitStack() as held:
        if not whole:
            before_it = STAGES[STAGES.index(chosen[0]) - 1]
            require(work.store, before_it, "Run the stages before it first: fairshard run CONFIG --until " + before_it)
        held.enter_context(work.store.locked(alone=whole))
        if whole:  # a lone stage may be one of several that run side by side
            work.store.clear_scratch()
            _warn_of_clock(work)
        wish(work.store, again)
        if partitions:
            return _run_stages(work, chosen, partitions, began, started, None)
        with _told(work, chosen, began, started) as state:
            return _run_stages(work, chosen, partitions, began, started, state)


@contextlib.contextmanager
def _told(work: Work, chosen: Sequence[str], began: datetime, started: float) -> Iterator[RunState]:
    """Say in the work directory, and to who collects metrics, how a run is going and how it ended."""
    state = RunState(work.store, _logs.run_id(), chosen)
    work.told = state.progress
    try:
        yield state
    except BaseException as error:
        state.end(error)
        with contextlib.suppress(OSError, ReleaseError):  # that is what the run may have ended by
            found = summary(work.store, began, time.monotonic() - started, work.job, {})
            _metrics.write(work.store, work.job, state.as_dict(), found)
        raise


def _warn_of_clock(work: Work) -> None:
    now = datetime.now(UTC)
    late = [mark.committed_at for stage in STAGES for mark in work.store.marks(stage) if mark.ahead(now)]
    if late:
        log.warning("%s: %d partitions were committed at a time to come, the last at %s: a clock is or was wrong. What "
                    "hosts said then is asked for again; what was fetched stands",
                    work.store.root, len(late), max(late)[:19])  # fmt: skip


def _stage(name: str) -> Any:
    return importlib.import_module(f".{name}", __package__)


def _get_ready(names: Sequence[str]) -> None:
    for module in map(_stage, names):
        getattr(module, "get_ready", lambda: None)()


def _run_stages(
    work: Work,
    chosen: Sequence[str],
    partitions: Sequence[str],
    began: datetime,
    started: float,
    state: RunState | None,
) -> dict[str, Any]:
    from ._catalog import write_catalog

    job, took = work.job, {}
    for place, stage in enumerate(chosen):
        if stage == "fetch":  # the one that this process spends waiting
            threading.Thread(target=_get_ready, args=(chosen[place + 1 :],), name="imports").start()
        took[stage] = _run_stage(work, stage, partitions, state)
        if place + 1 < len(chosen) and _made_since(began, work.store.marks(stage)):
            write_catalog(work.store)  # for whoever looks on: the next stage may take days
    work.close()  # workers end while the catalog is written
    seconds = time.monotonic() - started
    if partitions:
        return _about_run([_partitions_summary(work.store, partitions, began, took)], began, seconds, job)
    found = summary(work.store, began, seconds, job, took)
    if late := _stage("consult").replaced(work):
        log.warning("registry %s: replaced since this job has read it; what it says now is not heeded yet. Run again",
                    ", ".join(late))  # fmt: skip
    if "emit" in chosen and not found["stages"][-1]["rows_out"]:
        log.warning("the release is empty: no pair was left, and the view 'reason' says why")
    work.store.put("run.json", json.dumps(found, indent=1).encode())
    write_catalog(work.store)
    if state is not None:
        state.end()
        try:
            _metrics.write(work.store, job, state.as_dict(), found)
        except OSError as error:  # the release is there all the same
            log.warning("figures for Prometheus cannot be written: %s", error)
    return found


def _run_stage(work: Work, stage: str, partitions: Sequence[str], state: RunState | None) -> float:
    """Run one stage. Returns the seconds that it took."""
    before = time.monotonic()
    with _logs.about(stage=stage):
        if state is not None:
            state.begin(stage)
        _stage(stage).run(work, *([partitions] if partitions else []))
        work.clear()
        took = time.monotonic() - before
        if state is not None:
            state.finish(stage, took)
        log.info("%s: done in %.1f s", stage, took, extra=_logs.fields(seconds=round(took, 3)))
    return took


def summary(store: Store, began: datetime, seconds: float, job: Job, took: Mapping[str, float]) -> dict[str, Any]:
    """Rows in and out, time and peak memory of each stage, from its completion markers.

    ``seconds`` of a stage is wall time: what this run ``took``, or of a stage that was done, what its making took.
    ``partition_seconds`` is the sum over its partitions, of which many were made side by side.
    """
    alive = 0
    found = []
    for stage in STAGES:
        marks = store.marks(stage)
        if not marks:
            continue
        rows = _rows(marks)
        rows_in = sum(mark.rows_in or 0 for mark in marks) if stage == "ingest" else alive
        alive = rows.get("pair", 0) if stage == "ingest" else alive - rows.get("dropped", 0)
        found.append(_about_stage(stage, marks, rows_in, alive, began, took))
    return _about_run(found, began, seconds, job)


def _partitions_summary(
    store: Store, partitions: Sequence[str], began: datetime, took: Mapping[str, float]
) -> dict[str, Any]:
    """The same of some partitions of ``fetch``. Others are not looked at: they may be changing."""
    marks = [mark for name in sorted(set(partitions)) if (mark := store.mark("fetch", name))]
    rows_in = sum(mark.rows_in or 0 for mark in marks)
    return _about_stage("fetch", marks, rows_in, rows_in - _rows(marks).get("dropped", 0), began, took)


def _rows(marks: Sequence[Mark]) -> dict[str, int]:
    rows: dict[str, int] = {}
    for mark in marks:
        for table, count in mark.rows.items():
            rows[table] = rows.get(table, 0) + count
    return dict(sorted(rows.items()))


_COUNTS = ("failed", "left", "reasons", "requests")  # by reason or class, added up over partitions
_FINDINGS = ("split_groups", "embedding", "concentration")  # of stages of one partition


def _about_stage(
    stage: str, marks: Sequence[Mark], rows_in: int, rows_out: int, began: datetime, took: Mapping[str, float]
) -> dict[str, Any]:
    made_now = _made_since(began, marks)
    return {
        "stage": stage,
        "rows_in": rows_in,
        "rows_out": rows_out,
        "rows_written": _rows(marks),
        "partitions": len(marks),
        "made_now": made_now,
        "seconds": round(took[stage] if made_now and stage in took else _wall_seconds(marks), 3),
        "partition_seconds": round(sum(mark.seconds for mark in marks), 3),
        "peak_mb": max(mark.peak_mb for mark in marks),
        **{
            name: added(mark.extra[name] for mark in marks if name in mark.extra)
            for name in _COUNTS
            if any(mark.extra.get(name) for mark in marks)
        },
        **{name: count for name, count in _bytes(marks).items() if count},
        **{name: mark.extra[name] for mark in marks for name in _FINDINGS if mark.extra.get(name)},
    }


def _made_since(began: datetime, marks: Sequence[Mark]) -> int:
    return sum(datetime.fromisoformat(mark.committed_at) >= began for mark in marks)


def _bytes(marks: Sequence[Mark]) -> dict[str, int]:
    # The last mark of `emit` names all files, those of shards as well.
    released = {name: fact["bytes"] for mark in marks for name, fact in mark.extra.get("released", {}).items()}
    read = sum(mark.extra.get("read_bytes", 0) for mark in marks)
    return {"read_bytes": read, "released_bytes": sum(released.values())}


def _wall_seconds(marks: Sequence[Mark]) -> float:
    """How long at least one of some partitions was being made."""
    ends = [(datetime.fromisoformat(mark.committed_at), timedelta(seconds=mark.seconds)) for mark in marks]
    total, until = timedelta(), datetime.min.replace(tzinfo=UTC)
    for begin, end in sorted((end - took, end) for end, took in ends):
        total += max(end - max(begin, until), timedelta())
        until = max(end, until)
    return total.total_seconds()


def _about_run(stages: list[dict[str, Any]], began: datetime, seconds: float, job: Job) -> dict[str, Any]:
    return {
        "fairshard": Work(job).version,
        "policy": job.policy.name,
        "engine": job.config.engine,
        "compute": job.config.compute,
        "python": platform.python_version(),
        "started_at": began.isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "stages": stages,
    }
