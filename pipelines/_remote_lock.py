"""The lock of a work directory on an object store: a small object for each run, written anew as long as it lives.

A run writes its object, lists those of others, and goes on if none of them stands against it. A store that lists what
has been written, as S3, GCS and Azure do, shows at least one of two runs the other, so there are never two; if they
begin at one moment, both may be refused. A run whose object does not change for a minute is dead. Nobody's clock is
asked for that, and no store's conditions on writing; so it holds wherever fsspec writes.

A run that could not write for a minute has lost its lock: its process commits nothing more and ends.
"""

from __future__ import annotations

import json
import os
import platform
import posixpath
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from ..schemas.errors import StageError
from ._files import is_drivers, listed
from ._logs import log

_FOLDER = "_lock"
_BEAT_S, _LOOK_S, _DEAD_S = 5.0, 1.0, 60.0
_ALONE, _BESIDE = "alone", "beside"
_UNKNOWN: dict[str, Any] = {"who": "unknown", "pid": 0, "where": "", "beat": 0}


def holder(fs: Any, base: str) -> str | None:
    """Who holds a work directory: ``""`` if nobody does, None where the store tells no times.

    Its times are held against this machine's clock, so this is for telling, not for deciding.
    """
    for path in listed(fs, posixpath.join(base, _FOLDER), ".json"):
        said = _read(fs, path)
        if said is None or _ended_here(said):
            continue
        try:
            written = fs.modified(path)
        except FileNotFoundError:
            continue
        except NotImplementedError:
            return None
        written = written if written.tzinfo else written.replace(tzinfo=UTC)
        if (datetime.now(UTC) - written).total_seconds() < _DEAD_S:
            return said["who"]
    return ""


@contextmanager
def held(fs: Any, base: str, name: str, alone: bool) -> Iterator[Lock]:
    """Hold a work directory, which is to be called ``name``: ``alone``, or beside others that do not want it alone.

    Raises:
        StageError: another run holds it.
    """
    lock = Lock(fs, posixpath.join(base, _FOLDER), name, alone)
    try:
        _outlast_others(lock)
        yield lock
    finally:
        lock.release()


class Lock:
    """The object of one run, and the thread that keeps it alive."""

    def __init__(self, fs: Any, folder: str, name: str, alone: bool):
        self.fs, self.folder, self.name, self.alone = fs, folder, name, alone
        self.path = posixpath.join(folder, f"{_ALONE if alone else _BESIDE}-{uuid.uuid4().hex[:8]}.json")
        self._beats, self._gone, self._heard = 0, False, time.monotonic()
        self._stop = threading.Event()
        fs.makedirs(folder, exist_ok=True)
        self._write()
        self._thread = threading.Thread(target=self._beat, name="lock", daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Stop a run that does not hold it any more.

        Raises:
            StageError: it was taken away, or could not be kept.
        """
        if self._gone or time.monotonic() - self._heard > _DEAD_S:
            raise StageError(self.name, f"the store could not be reached for {_DEAD_S:.0f} s, so another run may use it",
                             "one run at a time", "Run again: what was committed stays")  # fmt: skip

    def release(self) -> None:
        """Let others have it."""
        self._stop.set()
        self._thread.join()
        with suppress(Exception):  # a minute later it is as good as gone
            self.fs.rm_file(self.path)

    def _beat(self) -> None:
        while not self._stop.wait(_BEAT_S):
            try:
                self._gone = not self.fs.exists(self.path)
                if self._gone:
                    return
                self._write()
            except Exception as error:
                if not (isinstance(error, OSError) or is_drivers(error)):
                    raise
                log.debug("the lock of %s cannot be kept: %s", self.name, error)

    def _write(self) -> None:
        began, self._beats = time.monotonic(), self._beats + 1
        said = {
            "who": f"process {os.getpid()} on {platform.node()}",
            "pid": os.getpid(),
            "where": _where(),
            "beat": self._beats,
        }
        self.fs.pipe_file(self.path, json.dumps(said).encode())
        self._heard = began


def _outlast_others(lock: Lock) -> None:
    """Refuse where another run lives; take away what dead ones have left."""
    found = [path for path in listed(lock.fs, lock.folder, ".json") if path != lock.path and _against(path, lock)]
    watched = {path: said for path in found if (said := _read(lock.fs, path))}
    dead = [path for path, said in watched.items() if _ended_here(said)]
    for path in dead:
        del watched[path]
    if watched:
        who = ", ".join(said["who"] for said in watched.values())
        log.info("%s: looking whether %s is still at work, for up to %.0f s", lock.name, who, _DEAD_S)
    until = time.monotonic() + _DEAD_S
    while watched and time.monotonic() < until:
        time.sleep(_LOOK_S)
        watched = _still_there(lock, watched)
    for said in watched.values():
        log.warning("%s: nothing heard of %s for %.0f s; its lock is taken away", lock.name, said["who"], _DEAD_S)
    for path in [*dead, *watched]:
        with suppress(FileNotFoundError):
            lock.fs.rm_file(path)


def _still_there(lock: Lock, watched: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    left = {path: (before, now) for path, before in watched.items() if (now := _read(lock.fs, path))}
    for before, now in left.values():
        if now["beat"] != before["beat"]:
            raise StageError(lock.name, f"another run is using it ({now['who']})", "one run at a time",
                             "Wait for it to end, or give this one another work_dir")  # fmt: skip
    return {path: before for path, (before, _) in left.items()}


def _against(path: str, lock: Lock) -> bool:
    return lock.alone or posixpath.basename(path).startswith(_ALONE)


def _read(fs: Any, path: str) -> dict[str, Any] | None:
    """What a run says of itself; None if it has gone."""
    try:
        return _UNKNOWN | json.loads(fs.cat_file(path))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):  # written by halves, on a file system where that can be
        return _UNKNOWN


def _ended_here(said: dict[str, Any]) -> bool:
    """Whether it was a process of this machine, and is no more."""
    if not said["where"] or said["where"] != _where():
        return False
    try:
        os.kill(said["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _where() -> str:
    """Where process ids mean the same: this boot of this machine, and this container of it; empty if not known."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""
