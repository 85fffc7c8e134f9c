"""``fairshard hash``: the fingerprints that the pipeline stores, file by file."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..udfs.hashing import fingerprint, phash_hex

_AHEAD = 8  # files a thread, so that a slow one does not stop the others


def lines(files: Iterable[str], threads: int | None = None) -> Iterator[dict[str, Any]]:
    """One object a file, in their order: path, sha256, md5, phash, pdq, pdq_quality, width_px, height_px, error.

    A file that cannot be read, or is no picture, has the reason in ``error``; nothing is raised.

    Args: files: paths, read as they are needed. threads: pictures at a time, each in memory; one a core if None.
    """
    threads = threads or os.cpu_count() or 1
    waiting: deque[Future[dict[str, Any]]] = deque()
    with ThreadPoolExecutor(threads, "hash") as pool:
        try:
            for name in files:
                waiting.append(pool.submit(_line, name))
                if len(waiting) > threads * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _line(name: str) -> dict[str, Any]:
    try:
        data = Path(name).read_bytes()
    except OSError as error:
        return _object(name, error=f"unreadable: {error.strerror or error}")
    prints = fingerprint(data)
    return _object(
        name,
        sha256=prints.sha256,
        md5=prints.md5,
        phash=None if prints.phash is None else phash_hex(prints.phash),
        pdq=None if prints.pdq is None else prints.pdq.hex(),
        pdq_quality=prints.pdq_quality,
        width_px=prints.width_px,
        height_px=prints.height_px,
        error=prints.error,
    )


def _object(path: str, **found: Any) -> dict[str, Any]:
    names = ("sha256", "md5", "phash", "pdq", "pdq_quality", "width_px", "height_px", "error")
    return {"path": path, **{name: found.get(name) for name in names}}
