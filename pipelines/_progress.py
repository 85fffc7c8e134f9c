"""Progress for people: bars on a terminal, plain log lines otherwise. Always on stderr."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

log = logging.getLogger("fairshard")
_LINE_EVERY_S = 10.0


class Bar:
    """Progress of one stage."""

    def __init__(self, name: str, total: int, rich: Progress | None):
        self._name, self._total, self._done, self._rich = name, total, 0, rich
        self._began = self._said = time.monotonic()
        self._task = rich.add_task(name, total=total or None) if rich else None

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Some units are done."""
        self.reach(self._done + steps, note)

    def reach(self, done: int, note: str = "") -> None:
        """So many units are done in all."""
        self._done = done
        if self._rich is not None and self._task is not None:
            self._rich.update(self._task, completed=done, description=f"{self._name} {note}".strip())
        elif time.monotonic() - self._said > _LINE_EVERY_S:
            self._said = time.monotonic()
            log.info("%s: %s of %s%s %s", self._name, f"{done:,}", f"{self._total:,}", self._end(), note)

    def _end(self) -> str:
        """When it will be over, at the rate so far."""
        if not 0 < self._done < self._total:
            return ""
        left_s = (time.monotonic() - self._began) * (self._total - self._done) / self._done
        return f", about {timedelta(seconds=round(left_s))} left,"


@contextmanager
def bar(name: str, total: int) -> Iterator[Bar]:
    """A bar for ``total`` units of work."""
    if not sys.stderr.isatty():
        yield Bar(name, total, None)
        return
    columns = (
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as rich:
        yield Bar(name, total, rich)
