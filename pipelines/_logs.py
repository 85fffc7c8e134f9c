"""Log lines that name the run, stage and partition they are about: for people, or one JSON object a line.

Workers, wherever they run, log as the process that sent them their tasks: ``carried`` takes along how.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")
log = logging.getLogger("fairshard")


@dataclass(frozen=True)
class Setting:
    """How a process logs.

    Attributes:
        as_json: one JSON object a line; else for people.
        level: of the project's own messages; of others, warnings.
    """

    as_json: bool
    level: int


_setting: Setting | None = None
_ids: dict[str, str] = {}  # of the process; threads of a run share them
_partition: ContextVar[str | None] = ContextVar("partition", default=None)


def set_up(setting: Setting) -> None:
    """Log to standard error from here on."""
    global _setting
    _setting = setting
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if setting.as_json else logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.captureWarnings(setting.as_json)
    log.setLevel(setting.level)


def as_json() -> bool:
    """Whether this process logs for machines."""
    return _setting is not None and _setting.as_json


def run_id() -> str:
    """Of the run that this process is busy with."""
    return _ids.get("run", "")


@contextmanager
def about(**ids: str) -> Iterator[None]:
    """What is logged in the block is about a run or a stage, such as ``stage="fetch"``."""
    before = dict(_ids)
    _ids.update(ids)
    try:
        yield
    finally:
        _ids.clear()
        _ids.update(before)


def fields(**values: Any) -> dict[str, Any]:
    """``extra`` of a message: what it says, as JSON has it."""
    return {"fields": values}


def carried(function: Callable[[T], R]) -> Callable[[T], R]:
    """The same function, fit to be pickled; what it logs is about this run and stage and its task's partition."""
    return _Carried(function, _setting, tuple(_ids.items()))


@dataclass(frozen=True)
class _Carried(Generic[T, R]):
    function: Callable[[T], R]
    setting: Setting | None
    ids: tuple[tuple[str, str], ...]

    def __call__(self, task: T) -> R:
        if self.setting is not None and self.setting != _setting:
            set_up(self.setting)
        token = _partition.set(getattr(task, "partition", None))
        try:
            with about(**dict(self.ids)):
                return self.function(task)
        finally:
            _partition.reset(token)


class _Json(logging.Formatter):
    """``ts``, ``level``, ``run``, ``stage``, ``partition``, ``message``, ``fields``; null where there is none."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "run": _ids.get("run"),
            "stage": _ids.get("stage"),
            "partition": _partition.get(),
            "message": record.getMessage(),
            "fields": getattr(record, "fields", {}),
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False, default=str)
