"""What a run says of itself while it goes on: one small file in the work directory, replaced whole.

Nothing is made from it. So what cannot be written of it is left out, and a run that was killed is told by a state that
did not end and a lock that nobody holds.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ..schemas.errors import FairshardError, ReleaseError
from ._progress import log
from ._store import Store

FILE = "run_state.json"
_EVERY_S = 2.0


class RunState:
    """The state of one run, kept in its work directory."""

    def __init__(self, store: Store, run: str, stages: Sequence[str]):
        earlier = _earlier(store)
        now = _now()
        self._store, self._lock, self._written = store, threading.Lock(), 0.0
        self._said: dict[str, Any] = {
            "run": run,
            "process": f"process {os.getpid()} on {platform.node()}",
            "stages": list(stages),
            "began_at": now,
            "stage": None,
            "stage_began_at": None,
            "progress": None,
            "finished": earlier.get("finished", {}),
            "ended_at": None,
            "exit_code": None,
            "error": None,
            "last_success_at": earlier.get("last_success_at"),
        }
        self._write()

    def begin(self, stage: str) -> None:
        """A stage begins."""
        self._said |= {"stage": stage, "stage_began_at": _now(), "progress": None}
        self._write()

    def progress(self, what: str, done: int, of: int, note: str) -> None:
        """So many units of something are done."""
        before = self._said["progress"]
        known = before if before and before["what"] == what else None
        begun = known or {"what": what, "from": done, "began_at": _now()}  # the rate is counted from here
        self._said["progress"] = begun | {"done": done, "of": of, "note": note}
        if of and (known is None or time.monotonic() - self._written > _EVERY_S):
            self._write()

    def finish(self, stage: str, seconds: float) -> None:
        """A stage has ended well. Written with what comes next."""
        self._said["finished"] = {**self._said["finished"], stage: {"at": _now(), "seconds": round(seconds, 3)}}
        self._said |= {"stage": None, "stage_began_at": None, "progress": None}

    def end(self, error: BaseException | None = None) -> None:
        """The run has ended, well or by an error."""
        now = _now()
        self._said |= {"ended_at": now, "exit_code": exit_code(error), "error": str(error) if error else None}
        if error is None:
            self._said["last_success_at"] = now
        elif isinstance(error, KeyboardInterrupt):
            self._said["error"] = "interrupted"
        self._write()

    def as_dict(self) -> dict[str, Any]:
        """What the file holds."""
        return dict(self._said)

    def _write(self) -> None:
        with self._lock:
            self._written = time.monotonic()
            self._said["heard_at"] = _now()
            try:
                self._store.put(FILE, json.dumps(self._said, indent=1).encode())
            except OSError as error:
                log.debug("the state of the run cannot be written: %s", error)


def read_state(store: Store) -> dict[str, Any] | None:
    """What the last run of all partitions has said of itself; None if there was none.

    Raises:
        ReleaseError: the file is damaged.
    """
    path = store.path(FILE)
    try:
        found = json.loads(store.fs.cat_file(path))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ReleaseError(
            path, f"is not what a run has written ({error})", hint="Delete it; nothing is lost"
        ) from error
    if not isinstance(found, dict) or not {"run", "began_at", "stages", "finished", "ended_at"} <= found.keys():
        raise ReleaseError(path, "is not what a run has written", hint="Delete it; nothing is lost")
    return found


def exit_code(error: BaseException | None) -> int:
    """What the command line ends with after an error."""
    if error is None:
        return 0
    if isinstance(error, KeyboardInterrupt):
        return 130
    return error.exit_code if isinstance(error, FairshardError) else 2 if isinstance(error, OSError) else 1


def _earlier(store: Store) -> dict[str, Any]:
    try:
        return read_state(store) or {}
    except (ReleaseError, OSError):
        return {}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
