"""How far a fetch has come, told while it runs: workers leave counts in the work directory, this process adds them up.

So it works wherever the workers run. Nothing is made from these counts.
"""

from __future__ import annotations

import json
import posixpath
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ._files import file_system, listed, move
from ._progress import Bar, Tell, bar

_EVERY_S = 2.0
_NAMED = 4  # reasons that a line names; the rest is summed up


class Tally:
    """The counts of one partition, written every now and then."""

    def __init__(self, folder: str, partition: str, pairs_by_host: Mapping[str, int]):
        self._fs, place = file_system(folder)
        self._fs.makedirs(place, exist_ok=True)
        self._path = posixpath.join(place, f"{partition}.json")
        self._left_of = Counter(pairs_by_host)
        self._pairs = self._hosts = 0
        self._reasons: Counter[str] = Counter()
        self._written = time.monotonic()

    def add(self, host: str, pairs: int, reason: str | None) -> None:
        """Some pairs of a host are done; ``reason``: why they have no picture, if that is a failure."""
        self._pairs += pairs
        self._left_of[host] -= pairs
        self._hosts += self._left_of[host] == 0
        if reason:
            self._reasons[reason] += pairs
        if time.monotonic() - self._written >= _EVERY_S:
            self.write()

    def write(self) -> None:
        """Leave the counts."""
        self._written = time.monotonic()
        found = {"pairs": self._pairs, "hosts": self._hosts, "reasons": self._reasons}
        self._fs.pipe_file(self._path + ".part", json.dumps(found).encode())
        move(self._fs, self._path + ".part", self._path)


@contextmanager
def watched(folder: str, pairs: int, hosts: int, told: Tell | None = None) -> Iterator[None]:
    """Tell how far a fetch has come.

    Args:
        folder: where the workers leave their counts.
        pairs: to be done.
        hosts: that they are of.
        told: is told as well.
    """
    stop = threading.Event()
    with bar("fetch", pairs, told) as progress:
        watcher = threading.Thread(target=_watch, args=(folder, hosts, progress, stop), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join()


def _watch(folder: str, hosts: int, progress: Bar, stop: threading.Event) -> None:
    while not stop.wait(_EVERY_S):
        try:
            tell(folder, hosts, progress)
        except (OSError, ValueError):
            continue  # a count that is just being replaced, on a store that cannot do so at once


def tell(folder: str, hosts: int, progress: Bar) -> None:
    """Tell how far a fetch has come, by the counts that are there; see ``watched``."""
    counts = [*_counts(folder)]
    reasons = added(count["reasons"] for count in counts)
    told = f", without a picture: {in_words(reasons)}" if reasons else ""
    note = f"{sum(count['hosts'] for count in counts):,} of {hosts:,} hosts{told}"
    progress.reach(sum(count["pairs"] for count in counts), note)


def _counts(folder: str) -> Iterator[dict[str, Any]]:
    fs, place = file_system(folder)
    for path in listed(fs, place, ".json"):
        yield json.loads(fs.cat_file(path))


def in_words(reasons: Mapping[str, int]) -> str:
    """The most frequent reasons with their counts."""
    ranked = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{reason} {count:,}" for reason, count in ranked[:_NAMED]]
    rest = sum(count for _, count in ranked[_NAMED:])
    return ", ".join([*parts, *([f"others {rest:,}"] if rest else [])])


def added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counts of partitions, added up."""
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(sorted(total.items()))
