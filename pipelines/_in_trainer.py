"""What the trainers' own processes share: how they read shards, keep their losses, speak to their parent and end."""

from __future__ import annotations

import json
import math
import os
import sys
import threading
from pathlib import Path
from typing import Any

from ..schemas.errors import ReleaseError

IMAGES, KEY, TEXTS = "jpg;png;jpeg;webp", "__key__", "txt"


class Journal:
    """Losses as JSON lines, one a step and one an epoch.

    An epoch's lines are written when it ends. After a kill, those of epochs past the last checkpoint are
    dropped when they are run again.
    """

    def __init__(self, path: Path):
        self._path, self._rows = path, {}

    def begin(self, epoch: int) -> None:
        """Epoch ``epoch``, from 1, is about to run: what an earlier process said of it no longer holds."""
        if self._rows or not self._path.exists():
            return
        for line in self._path.read_text().splitlines():
            row = json.loads(line)
            if row["epoch"] < epoch:
                self._rows[row["epoch"], row.get("step")] = row

    def add(self, epoch: int, step: int | None, name: str, value: float) -> None:
        """One figure of a step, or of an epoch where there is no step."""
        if not math.isfinite(value):
            raise FloatingPointError(f"{name} became {value} in epoch {epoch}: lower lr")
        row = self._rows.setdefault((epoch, step), {"epoch": epoch} | ({} if step is None else {"step": step}))
        row[name] = value

    def write(self) -> None:
        """Commit everything said so far."""
        scratch = self._path.with_suffix(".tmp")
        scratch.write_text("".join(json.dumps(row) + "\n" for row in self._rows.values()))
        os.replace(scratch, self._path)

    def epoch_rows(self, epoch: int) -> list[dict[str, Any]]:
        """The steps of an epoch."""
        return [row for (of, step), row in self._rows.items() if of == epoch and step is not None]


def strict(error: Exception) -> bool:
    """What webdataset asks when it cannot read something: whether to go on without it. Never."""
    about = vars(error)
    if about.get("key"):  # a DecodingError, whose message is empty
        where = f"{about.get('url')}: {about['key']}.{about.get('k')}"
        raise ReleaseError(where, "cannot be decoded", "a picture and a caption") from error
    raise error


def end_with_parent() -> None:
    """End when stdin does, so that a killed parent leaves no trainer behind that writes into the same folder."""

    def wait() -> None:
        # Not through sys.stdin: its lock, held by a blocked daemon thread, would abort the interpreter's exit.
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def say(**facts: Any) -> None:
    """A line of JSON to the parent."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def say_error(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """An excepthook that tells the parent what ended the process."""
    say(error=f"{kind.__name__}: {error}")
    sys.__excepthook__(kind, error, trace)
