"""Who has refused while a partition was being fetched: kept until that is committed, so that nobody who opted out is
asked for a second time because a run was killed.

Local work directories alone: object stores cannot append to a file.
"""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from ._store import Store

_TIMES = ("fetched_at", "observed_at")


class Refusals:
    """The refusals of one partition that is not committed yet."""

    def __init__(self, store: Store, partition: str):
        local = "file" in store.fs.protocol
        self._path = store.path("_refused", f"{partition}.jsonl") if local else None
        self._is_open = False

    def add(self, image: Mapping[str, Any], signals: Sequence[Mapping[str, Any]]) -> None:
        """Keep the row of ``image`` of a URL that may not be kept, and what was said of it."""
        if self._path is None:
            return
        if not self._is_open:
            self._end_line(self._path)
        kept = {name: value for name, value in image.items() if value is not None}
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps([kept, signals], default=datetime.isoformat) + "\n")

    def _end_line(self, path: str) -> None:
        """End a line that a killed run, or a full disk, has left unfinished: what comes next is no part of it."""
        os.makedirs(posixpath.dirname(path), exist_ok=True)
        with open(path, "ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                file.write(b"" if file.read(1) == b"\n" else b"\n")
        self._is_open = True

    def __iter__(self) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """What killed runs have kept. A line that one could not finish is left out."""
        if self._path is None or not os.path.exists(self._path):
            return
        with open(self._path, encoding="utf-8") as file:
            for line in file:
                try:
                    image, signals = json.loads(line)
                except ValueError:
                    continue
                yield _timed(image), [_timed(row) for row in signals]

    def forget(self) -> None:
        """The partition is committed, and holds them."""
        if self._path is not None and os.path.exists(self._path):
            os.remove(self._path)


def _timed(row: dict[str, Any]) -> dict[str, Any]:
    return row | {name: datetime.fromisoformat(row[name]) for name in _TIMES if name in row}
