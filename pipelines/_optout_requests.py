"""Opt-out requests that people leave, as registry files: one file a scope, in the columns that `consult` reads.

A request is a line of its own, flushed to disk before anybody is thanked for it. Nobody has checked who it is from: it is
for the maintainer to read, and to name as a registry in a job or in `fairshard takedown`.
"""

from __future__ import annotations

import csv
import fcntl
import io
import os
from datetime import UTC, datetime
from pathlib import Path

from ..schemas.errors import InputError
from ._registries import normal_key

SCOPES = {"url": "a picture's address", "domain": "a whole domain", "creator": "a creator's name"}
_MAX_CHARS = {"key": 2_048, "declared_by": 200, "evidence": 1_000}
_MAX_FILE_BYTES = 64 * 1024 * 1024


class OptOutRequests:
    """A folder of requests. Several processes may add to it at once."""

    def __init__(self, folder: Path):
        """Raises OSError where the folder cannot be made."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def add(self, scope: str, key: str, declared_by: str, evidence: str) -> None:
        """Write a request down.

        Args:
            scope: one of ``SCOPES``.
            key: URL, domain or name, as it was typed.
            declared_by: who asks.
            evidence: whatever they say about it.

        Raises:
            InputError: it is none of its scope, a text is too long or has control characters, or the file is full.
        """
        if scope not in SCOPES or normal_key(scope, key) is None:
            raise InputError("The request", f"is about {key!r}", f"{SCOPES.get(scope, 'one of the kinds offered')}")
        texts = {"key": key.strip(), "declared_by": declared_by.strip(), "evidence": " ".join(evidence.split())}
        for name, text in texts.items():
            if len(text) > _MAX_CHARS[name] or not text.isprintable():
                raise InputError("The request", f"has a {name} of {len(text)} characters, or with control characters",
                                 f"at most {_MAX_CHARS[name]:,} that can be printed")  # fmt: skip
        today = datetime.now(UTC).date().isoformat()
        self._append(scope, [texts["key"], "deny", texts["declared_by"], today, texts["evidence"]])

    def path(self, scope: str) -> Path:
        """The registry of a scope."""
        return self.folder / f"{scope}.csv"

    def _append(self, scope: str, row: list[str]) -> None:
        with self.path(scope).open("a", encoding="utf-8", newline="") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = os.fstat(file.fileno()).st_size
            if size > _MAX_FILE_BYTES:
                raise InputError("The list of requests", "is full", "its maintainer to look at it")
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            if not size:
                writer.writerow([scope, "action", "declared_by", "valid_from", "evidence"])
            writer.writerow(row)
            file.write(text.getvalue())
            file.flush()
            os.fsync(file.fileno())
