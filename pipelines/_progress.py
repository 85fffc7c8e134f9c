"""Progress for people: bars on a terminal, plain log lines otherwise. Always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from ._logs import as_json, fields, log

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Bar", "Tell", "bar", "log"]

Tell = Callable[[str, int, int, str], None]
"""Is told how far something has come: its name, units done, units in all, and a note."""

_LINE_EVERY_S = 10.0


class Bar:
    """Progress of one stage."""

    def __init__(self, name: str, total: int, rich: Progress | None, tell: Tell | None = None):
        self._name, self._total, self._done, self._rich, self._tell = name, total, 0, rich, tell
        self._began = self._said = time.monotonic()
        self._task = rich.add_task(name, total=total or None) if rich else None
        if tell is not None:
            tell(name, 0, total, "")

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Some units are done."""
        self.reach(self._done + steps, note)

    def reach(self, done: int, note: str = "") -> None:
        """So many units are done in all."""
        self._done = done
        if self._tell is not None:
            self._tell(self._name, done, self._total, note)
        if self._rich is not None and self._task is not None:
            self._rich.update(self._task, completed=done, description=f"{self._name} {note}".strip())
        elif time.monotonic() - self._said > _LINE_EVERY_S:
            self._said = time.monotonic()
            said = fields(what=self._name, done=done, of=self._total)
            log.info("%s: %s of %s%s %s", self._name, f"{done:,}", f"{self._total:,}", self._end(), note, extra=said)

    def _end(self) -> str:
        """When it will be over, at the rate so far."""
        if not 0 < self._done < self._total:
            return ""
        left_s = (time.monotonic() - self._began) * (self._total - self._done) / self._done
        return f", about {timedelta(seconds=round(left_s))} left,"


@contextmanager
def bar(name: str, total: int, tell: Tell | None = None) -> Iterator[Bar]:
    """A bar for ``total`` units of work. ``tell``: hears of them as well."""
    if as_json() or not sys.stderr.isatty():
        yield Bar(name, total, None, tell)
        return
    # Workers and runs without a terminal do without.
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

    columns = (
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as rich:
        yield Bar(name, total, rich, tell)
