"""The work directory: tables of Parquet files, committed one stage partition at a time.

    work/
      pair/ingest-laion-0.parquet        a table is a folder; a file belongs to one partition of one stage
      _done/ingest/laion-0.json          what was committed, from what, at what cost
      _scratch/                          work in progress, never read by others
      _lock/                             runs that are at work, on object stores

A partition is written to scratch, moved into its tables, and only then marked. Readers go by the marks, so
whatever a killed run left behind is never read, and is overwritten by the next. A mark carries a
fingerprint of what the partition was made from: if it is the same, there is nothing to do.
"""

from __future__ import annotations

import errno
import json
import posixpath
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas.errors import ContractError, ReleaseError, StageError
from ..schemas.tables import TABLES
from . import _remote_lock, _work_lock
from ._clock import ahead
from ._files import arrow_filesystem, file_system, listed, move, remove_folder
from ._logs import fields, log
from ._memory import peak_mb

# Tables of rows that were lost; a marker counts them by reason.
_LOST = frozenset({"rejected", "dropped"})
# Text that hardly repeats: a dictionary of it would be built in vain.
_DISTINCT = frozenset({"url", "url_key", "caption"})


# A full disk, a quota, a limit on the size of files.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True)
class Mark:
    """The completion marker of one stage partition.

    Attributes:
        fingerprint: of everything that decides the content.
        files: committed Parquet files of each table, relative to the work directory.
        rows: rows written to each table.
        rows_in: rows read, where the stage counts them.
        seconds: wall time.
        peak_mb: largest resident size of the process that made it.
        committed_at: ISO 8601, UTC, to the microsecond: what is made from it is told by it.
        expires_at: from when it must be made again whatever the fingerprint says; ISO 8601, UTC.
        extra: figures of the stage's own; ``kept``: other files, which go when the partition goes.
    """

    stage: str
    partition: str
    fingerprint: str
    files: dict[str, list[str]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    rows_in: int | None = None
    seconds: float = 0.0
    peak_mb: float = 0.0
    committed_at: str = ""
    expires_at: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def valid(self, fingerprint: str, now: datetime) -> bool:
        """Whether it still stands for what ``fingerprint`` describes."""
        fresh = self.expires_at is None or (now < datetime.fromisoformat(self.expires_at) and not self.ahead(now))
        return fresh and self.fingerprint == fingerprint

    def ahead(self, now: datetime) -> bool:
        """Whether it was committed by a clock that was ahead of today's."""
        return bool(self.committed_at) and ahead(datetime.fromisoformat(self.committed_at), now)


class Store:
    """A work directory on any fsspec file system. Cheap to make; workers make their own from ``root``."""

    def __init__(self, root: str):
        self.fs, self._base = file_system(root.rstrip("/"))
        # Engines take a path, not every engine a file URL.
        self.root = self._base if "file" in self.fs.protocol else root.rstrip("/")
        self._lock: _remote_lock.Lock | None = None

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine's file systems."""
        return "file" in self.fs.protocol

    def path(self, *parts: str) -> str:
        """Absolute path or URL of something in the work directory."""
        return posixpath.join(self.root, *parts)

    def files(self, table: str, stages: Iterable[str] | None = None) -> list[str]:
        """Committed files of a table, of some stages or of all, in a fixed order."""
        # Only the stages asked for: another's marks may be replaced at this moment by a task beside this one.
        chosen = [None] if stages is None else sorted(set(stages))
        marks = (mark for stage in chosen for mark in self.marks(stage))
        return [self.path(name) for mark in marks for name in mark.files.get(table, [])]

    def read(self, table: str, stages: Iterable[str] | None = None) -> pa.Table:
        """A whole table, in memory, as its contract says. For small tables and tests."""
        schema = TABLES[table].schema
        parts = [read_parquet(file).select(schema.names).cast(schema) for file in self.files(table, stages)]
        return pa.concat_tables(parts) if parts else schema.empty_table()

    def marks(self, stage: str | None = None) -> list[Mark]:
        """Markers, sorted by stage and partition."""
        folder = posixpath.join(self._base, "_done")
        stages = [posixpath.join(folder, stage)] if stage else listed(self.fs, folder)
        found = (self._load(path) for one in stages for path in listed(self.fs, one, ".json"))
        return [mark for mark in found if mark]

    def mark(self, stage: str, partition: str) -> Mark | None:
        """The marker of one partition, if it was ever committed."""
        return self._load(posixpath.join(self._base, "_done", stage, f"{partition}.json"))

    def prune(self, stage: str, keep: Iterable[str]) -> None:
        """Forget partitions that the stage no longer has."""
        kept = set(keep)
        for mark in self.marks(stage):
            if mark.partition not in kept:
                self._forget(mark)

    def task(self, stage: str, partition: str, fingerprint: str) -> Task:
        """A partition about to be made, or found to be done."""
        return Task(self, stage, partition, fingerprint)

    def holder(self) -> str | None:
        """Who holds the work directory, ``""`` if nobody does; None where that cannot be known."""
        return _work_lock.holder(self._base) if self.is_local else _remote_lock.holder(self.fs, self._base)

    @contextmanager
    def locked(self, alone: bool) -> Iterator[None]:
        """Hold the work directory: ``alone``, or beside other runs of single stages.

        On local file systems that ends with the process (``_work_lock``), elsewhere a minute later (``_remote_lock``).

        Raises:
            StageError: another run holds it.
        """
        if not self.is_local:
            with _remote_lock.held(self.fs, self._base, self.root, alone) as self._lock:
                try:
                    yield
                finally:
                    self._lock = None
            return
        self.fs.makedirs(self._base, exist_ok=True)
        with _work_lock.held(self._base, self.root, alone):
            yield

    def require_lock(self) -> None:
        """Stop a run that has lost the work directory, which can happen on object stores.

        Raises:
            StageError: it has.
        """
        if self._lock:
            self._lock.require()

    def clear_scratch(self) -> None:
        """Remove what a killed run left behind. Only the process that owns the run may call it."""
        remove_folder(self.fs, posixpath.join(self._base, "_scratch"))

    def _load(self, path: str) -> Mark | None:
        """A marker at a path as ``listed`` gives it; None where it is not there, or is being replaced."""
        try:
            return Mark(**json.loads(self.fs.cat_file(path)))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise ReleaseError(path, f"is not a completion marker ({error})", hint="Delete it and run again") from error

    def _forget(self, mark: Mark) -> None:
        self._remove(posixpath.join("_done", mark.stage, f"{mark.partition}.json"))
        for name in [*(name for names in mark.files.values() for name in names), *mark.extra.get("kept", [])]:
            self._remove(name)

    def _remove(self, name: str) -> None:
        path = posixpath.join(self._base, name)
        if self.fs.exists(path):
            self.fs.rm_file(path)

    def put(self, name: str, data: bytes) -> None:
        """Write a small file so that it is there whole or not at all."""
        path = posixpath.join(self._base, name)
        scratch = posixpath.join(self._base, "_scratch", uuid.uuid4().hex)
        self.fs.makedirs(posixpath.dirname(scratch), exist_ok=True)
        self.fs.pipe_file(scratch, data)
        move(self.fs, scratch, path)

    def move(self, scratch: str, name: str) -> None:
        """Move a file from scratch to its place."""
        move(self.fs, file_system(scratch)[1], posixpath.join(self._base, name))


class Task:
    """One partition of one stage being made: a context manager that commits if nothing was raised."""

    def __init__(self, store: Store, stage: str, partition: str, fingerprint: str):
        self.store, self.stage, self.partition, self.fingerprint = store, stage, partition, fingerprint
        self.rows_in: int | None = None
        self.expires_at: datetime | None = None
        self.extra: dict[str, Any] = {}
        self._folder = store.path("_scratch", f"{stage}-{partition}-{uuid.uuid4().hex[:8]}")
        self._tables: set[str] = set()
        self._kept: list[tuple[str, str]] = []
        self._started = time.monotonic()
        found = store.mark(stage, partition)
        self.done = found is not None and found.valid(fingerprint, datetime.now(UTC))

    def __enter__(self) -> Task:
        self._started = time.monotonic()
        return self

    def __exit__(self, kind: type | None, error: object, trace: object) -> None:
        """Commit, or clean up.

        Raises:
            StageError: there is no room for what the partition writes.
        """
        try:
            if kind is None:
                self._commit()
            elif isinstance(error, OSError):
                raise error
        except OSError as raised:
            if raised.errno not in _NO_ROOM:
                raise
            found = f"cannot be written ({raised.strerror or raised})"
            hint = "Make room and run again: what was committed stays"
            raise StageError(self._folder, found, "room for what the partition writes", hint) from raised
        finally:
            self._clean()

    def folder(self, table: str) -> str:
        """Scratch folder for the Parquet files of a table; an engine writes there."""
        if table not in TABLES:
            raise ContractError(self.stage, f"a table called '{table}'", ", ".join(TABLES))
        self._tables.add(table)
        return posixpath.join(self._folder, table)

    def write(self, table: str, data: pa.Table | Iterable[pa.RecordBatch]) -> None:
        """Write rows of a table, checked against its contract.

        Raises:
            ContractError: a column is missing, of another type, or null where it may not be.
        """
        path = posixpath.join(self.folder(table), "part-0.parquet")
        schema = TABLES[table].schema
        batches: Any = data
        write_parquet(path, schema, batches.to_batches() if isinstance(data, pa.Table) else batches)

    def scratch(self, name: str) -> str:
        """A path in scratch for a file of the stage's own; ``keep`` moves it in."""
        fs, base = file_system(self._folder)
        fs.makedirs(base, exist_ok=True)
        return posixpath.join(self._folder, name)

    def keep(self, scratch: str, name: str) -> None:
        """Move a file of the stage's own into the work directory when the task commits."""
        self._kept.append((scratch, name))

    def _commit(self) -> None:
        store = self.store
        store.require_lock()
        old = store.mark(self.stage, self.partition)
        if old is not None:
            store._forget(old)
        mark = Mark(self.stage, self.partition, self.fingerprint, rows_in=self.rows_in)
        for table in sorted(self._tables):
            names, rows = self._move_in(table)
            mark.files[table], mark.rows[table] = names, rows
        for scratch, name in self._kept:
            store.move(scratch, name)
            mark.extra.setdefault("kept", []).append(name)
        mark.extra.update(self.extra)
        finished = replace(
            mark,
            seconds=round(time.monotonic() - self._started, 3),
            peak_mb=peak_mb(),
            committed_at=datetime.now(UTC).isoformat(timespec="microseconds"),
            expires_at=self.expires_at.isoformat() if self.expires_at else None,
        )
        text = json.dumps(asdict(finished), indent=1, sort_keys=True)
        store.put(posixpath.join("_done", self.stage, f"{self.partition}.json"), text.encode())
        log.debug("%s %s: committed in %.1f s", self.stage, self.partition, finished.seconds,
                  extra=fields(rows=finished.rows, seconds=finished.seconds))  # fmt: skip

    def _move_in(self, table: str) -> tuple[list[str], int]:
        fs, folder = file_system(self.folder(table))
        written = listed(fs, folder, ".parquet")
        names, total = [], 0
        reasons: Counter[str] = Counter()
        for number, path in enumerate(written):
            rows = _row_count(fs, path)
            if rows == 0:
                continue
            if table in _LOST:
                reasons += _reasons(fs, path)
            name = f"{table}/{self.stage}-{self.partition}-{number}.parquet"
            self.store.move(fs.unstrip_protocol(path), name)
            names.append(name)
            total += rows
        if reasons:
            self.extra["reasons"] = dict(sorted(reasons.items()))
        return names, total

    def _clean(self) -> None:
        remove_folder(*file_system(self._folder))


def read_parquet(path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """One Parquet file of any fsspec path, in memory."""
    fs, plain = arrow_filesystem(path)
    with fs.open_input_file(plain) as file:
        return pq.ParquetFile(file).read(columns=list(columns) if columns else None)


def write_parquet(path: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Write batches as one Parquet file, deterministic for the same batches. Returns the rows written.

    Raises:
        ContractError: a column is missing, of another type, or null where it may not be.
    """
    fs, plain = arrow_filesystem(path)
    fs.create_dir(posixpath.dirname(plain), recursive=True)
    repeating: Any = [column.name for column in schema if column.type == pa.string() and column.name not in _DISTINCT]
    # Least and greatest of hashes tell nobody anything. And where they are equal, DuckDB 2.0 takes every row of a
    # column of bytes without a dictionary to be null, once it is asked which are.
    ordered: Any = [column.name for column in schema if column.name in repeating or not _is_bytes(column.type)]
    options = {"compression": "zstd", "use_dictionary": repeating, "write_statistics": ordered}
    rows = 0
    with fs.open_output_stream(plain) as sink, pq.ParquetWriter(sink, schema, **options) as writer:
        for batch in batches:
            writer.write_batch(checked(batch, schema, path))
            rows += batch.num_rows
    return rows


def _is_bytes(kind: pa.DataType) -> bool:
    return kind in (pa.string(), pa.binary())


def checked(batch: pa.RecordBatch, schema: pa.Schema, where: str) -> pa.RecordBatch:
    """The batch with its columns in the schema's order, every one of the declared type and nullability."""
    columns = []
    for column in schema:
        position = batch.schema.get_field_index(column.name)
        if position < 0:
            raise ContractError(where, f"no column '{column.name}'", str(column.type))
        array = batch.column(position)
        if array.type != column.type:
            raise ContractError(where, f"column '{column.name}' of {array.type}", str(column.type))
        if array.null_count and not column.nullable:
            raise ContractError(where, f"nulls in column '{column.name}'", "no nulls")
        columns.append(array)
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _row_count(fs: Any, path: str) -> int:
    with fs.open(path, "rb") as file:
        return pq.read_metadata(file).num_rows


def _reasons(fs: Any, path: str) -> Counter[str]:
    """Rows of a file by ``reason``."""
    found: Counter[str] = Counter()
    with fs.open(path, "rb") as file:
        for batch in pq.ParquetFile(file).iter_batches(columns=["reason"]):
            for one in batch.column(0).value_counts().to_pylist():
                found[one["values"]] += one["counts"]
    return found
