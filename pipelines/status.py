"""status: how far the runs of a work directory have come, and whether one is going on.

Read from the completion markers and from what the last run says of itself (``_run_state``). Nothing is written, so it
may be asked beside a run, as often as one likes, and of what a killed run has left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ..schemas.errors import ReleaseError
from ._release import MANIFEST, Release
from ._run_state import read_state
from ._store import Mark, Store
from ._work import STAGES

RUNNING, DONE, FAILED, KILLED, BEGUN, UNKNOWN = "running", "done", "failed", "killed", "begun", "unknown"
GO_ON = "fairshard run CONFIG"


def status(work_dir: str, now: datetime | None = None) -> dict[str, Any]:
    """How a work directory stands.

    Args:
        work_dir: of a job.
        now: for rates and ends; the clock's if not given.

    Returns:
        work_dir; state: ``running``, ``done``, ``failed``, ``killed``, ``begun`` (partitions of fetch alone were run) or
        ``unknown`` (of file systems that tell no times); holder: the process that runs, or null;
        run: what the last one says of itself, or null; stages: one each, see ``_stage``; now: what is being done with its
        rate and estimated end, or null; next: the command that goes on, or null.

    Raises:
        ReleaseError: the folder is no work directory.
    """
    store, now = Store(work_dir), now or datetime.now(UTC)
    try:
        holder, said = store.holder(), read_state(store)
    except NotADirectoryError:
        raise _no_work(work_dir) from None
    marks = {stage: store.marks(stage) for stage in STAGES}
    if said is None and not holder and not any(marks.values()):
        raise _no_work(work_dir)
    state = _state(holder, said)
    stages = _stages(marks, said, state)
    left = any(stage["state"] != DONE for stage in stages)
    going = state in (RUNNING, UNKNOWN) and said is not None and said["ended_at"] is None
    return {
        "work_dir": store.root,
        "state": state,
        "holder": holder or None,
        "run": said,
        "stages": stages,
        "now": _now(said, now) if going and said else None,
        "next": GO_ON if left and state != RUNNING else None,
    }


def _no_work(work_dir: str) -> ReleaseError:
    release = Release(work_dir)
    if release.exists(MANIFEST):
        found = "is a release, not a work directory"
    elif not release.fs.exists(release.base):
        found = "does not exist"
    elif release.fs.isfile(release.base):
        found = "is a file"
    else:
        found = "is empty" if not release.files() else "holds no run of fairshard"
    return ReleaseError(work_dir, found, "the work_dir of a job that has been run", f"To begin one: {GO_ON}")


def _state(holder: str | None, said: Mapping[str, Any] | None) -> str:
    if holder:
        return RUNNING
    if said is None:
        return BEGUN if holder is not None else UNKNOWN
    if said["ended_at"] is None:
        return KILLED if holder is not None else UNKNOWN
    return DONE if said["exit_code"] == 0 else FAILED


def _stages(marks: Mapping[str, Sequence[Mark]], said: Mapping[str, Any] | None, state: str) -> list[dict[str, Any]]:
    finished = said["finished"] if said else {}
    at_work = said["stage"] if said and said["ended_at"] is None else None
    rows, changed, found = 0, "", []
    for stage in STAGES:
        one = _stage(stage, marks[stage], rows)
        done_at = finished.get(stage, {}).get("at")
        if stage == at_work:
            one["state"] = RUNNING if state in (RUNNING, UNKNOWN) else "broken off"
        elif done_at and marks[stage]:
            one["state"] = DONE if done_at >= changed else "to do again"
        else:
            one["state"] = BEGUN if marks[stage] else "left"
        changed = max([changed, *(mark.committed_at for mark in marks[stage])])
        rows = one["rows_out"] if one["rows_out"] is not None else rows
        found.append(one)
    return found


def _stage(stage: str, marks: Sequence[Mark], rows_in: int) -> dict[str, Any]:
    """What is committed of a stage: partitions, rows in and out, seconds of its partitions, rows a second of these."""
    if not marks:
        return {"stage": stage, "partitions": 0, "rows_in": None, "rows_out": None, "seconds": 0.0, "rows_per_s": None}
    rows: dict[str, int] = {}
    for mark in marks:
        for table, count in mark.rows.items():
            rows[table] = rows.get(table, 0) + count
    seconds = sum(mark.seconds for mark in marks)
    if stage == "ingest":
        came, out = sum(mark.rows_in or 0 for mark in marks), rows.get("pair", 0)
    elif stage == "fetch":  # as far as its partitions are committed
        came = sum(mark.rows_in or 0 for mark in marks)
        out = came - rows.get("dropped", 0)
    else:
        came, out = rows_in, rows_in - rows.get("dropped", 0)
    return {
        "stage": stage,
        "partitions": len(marks),
        "rows_in": came,
        "rows_out": out,
        "seconds": round(seconds, 3),
        "rows_per_s": round(came / seconds, 1) if seconds else None,
    }


def _now(said: Mapping[str, Any], now: datetime) -> dict[str, Any] | None:
    """What is being done: units done and in all, rate, seconds left and the estimated end; null where not known."""
    doing = said["progress"]
    if doing is None:
        return None
    passed_s = max(0.0, (_time(said["heard_at"]) - _time(doing["began_at"])).total_seconds())
    rate = (doing["done"] - doing["from"]) / passed_s if passed_s else 0.0
    left_s = (doing["of"] - doing["done"]) / rate if rate > 0 else None
    ends_at = (_time(said["heard_at"]) + timedelta(seconds=left_s)) if left_s is not None else None
    return {
        **{name: doing[name] for name in ("what", "done", "of", "note")},
        "per_s": round(rate, 2) if rate > 0 else None,
        "left_s": round(left_s) if left_s is not None else None,
        "ends_at": max(ends_at, now).isoformat(timespec="seconds") if ends_at else None,
    }


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
