"""The lock of a local work directory: ends with the process that holds it, however that ends.

Source: flock(2).
"""

from __future__ import annotations

import fcntl
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from ..schemas.errors import StageError

_FILE = ".lock"
_TRIES, _PAUSE_S = 5, 0.05


def holder(folder: str) -> str | None:
    """Who holds a work directory at this moment: ``""`` if nobody does, None where that cannot be known."""
    try:
        with open(os.path.join(folder, _FILE), encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().strip() or "unknown"
            except OSError:  # some network file systems lock only what is open for writing
                return None
    except FileNotFoundError:
        pass
    return ""


@contextmanager
def held(folder: str, name: str, alone: bool) -> Iterator[None]:
    """Hold a work directory, which is to be called ``name``: ``alone``, or beside others that do not want it alone.

    Raises:
        StageError: another process holds it.
    """
    with open(os.path.join(folder, _FILE), "a+", encoding="utf-8") as file:
        try:
            _take(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        except OSError as error:
            file.seek(0)
            raise StageError(
                name,
                f"another run is using it ({file.read().strip() or 'unknown'})",
                "one run at a time",
                "Wait for it to end, or give this one another work_dir",
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield


def _take(file: IO[str], kind: int) -> None:
    """Take a lock, or raise ``OSError``. ``holder`` holds it for a moment, so it takes a few tries."""
    for _ in range(_TRIES - 1):
        with suppress(BlockingIOError):
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return
        time.sleep(_PAUSE_S)
    fcntl.flock(file, kind | fcntl.LOCK_NB)
