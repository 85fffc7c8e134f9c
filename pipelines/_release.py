"""A release directory: files that are there whole or not at all, and the SHA-256 of each.

A file is written under a hidden name beside its own and moved into place when it is complete. What a killed
run leaves behind can be told by its name, and ``clear`` removes it.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import posixpath
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas.errors import ReleaseError, StageError
from ._files import file_system, move
from ._store import checked

FORMAT = "fairshard-release/1"
MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
CATALOG = "catalog.duckdb"
REPORT = "report.html"
TOMBSTONES = "tombstones.parquet"
CROISSANT = "croissant.json"
# Names that releases give. Whatever else lies in the directory is somebody's own and stays.
_OURS = re.compile(r"shards/\d{5,}\.(tar|parquet)|pairs/\d{5,}\.parquet|tables/[a-z_]+-\d{5,}\.parquet")
_FILES = frozenset({MANIFEST, SIGNATURE, CATALOG, REPORT, TOMBSTONES, CROISSANT, "README.md", "funnel.png"})
_SOUGHT = ("url_key", "sha256")
_PART = re.compile(r"\..+\.[0-9a-f]{8}\.part")
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class FileFact:
    """What the manifest says about a file.

    Attributes:
        sha256: hex.
        bytes: its size.
    """

    sha256: str
    bytes: int


class Sink(io.RawIOBase):
    """A file being written: counts and hashes what goes through."""

    def __init__(self, target: IO[bytes]):
        self._target, self._hash, self._bytes = target, hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._bytes

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        self._target.write(data)
        self._hash.update(data)
        self._bytes += len(data)
        return len(data)

    def fact(self) -> FileFact:
        """Hash and size of what was written so far."""
        return FileFact(self._hash.hexdigest(), self._bytes)


class Release:
    """A release directory on any fsspec file system. Cheap to make; workers make their own from ``root``."""

    def __init__(self, root: str):
        self.root = root.rstrip("/")
        self.fs, self.base = file_system(self.root)

    def path(self, name: str) -> str:
        """Path of a file on ``fs``."""
        return posixpath.join(self.base, name)

    def exists(self, name: str) -> bool:
        return self.fs.exists(self.path(name))

    def size(self, name: str) -> int | None:
        """Size of a file; None if it is not there."""
        try:
            return self.fs.size(self.path(name))
        except FileNotFoundError:
            return None

    def files(self) -> list[str]:
        """Every file below the directory, relative to it, sorted; unfinished ones too."""
        if not self.fs.exists(self.base):
            return []
        return sorted(posixpath.relpath(path, self.base) for path in self.fs.find(self.base))

    @contextmanager
    def create(self, name: str) -> Iterator[Sink]:
        """Write a file: it takes its name when the block ends without an error.

        Raises:
            StageError: it cannot be written (a full disk, a missing permission).
        """
        path = self.path(name)
        part = posixpath.join(posixpath.dirname(path), f".{posixpath.basename(path)}.{uuid.uuid4().hex[:8]}.part")
        try:
            self.fs.makedirs(posixpath.dirname(path), exist_ok=True)
            with self.fs.open(part, "wb") as target:
                yield Sink(target)  # type: ignore[arg-type]
            move(self.fs, part, path)
        except OSError as error:
            hint = "Free the disk and run again" if error.errno == errno.ENOSPC else "Mend that and run again"
            raise StageError(path, f"cannot be written ({error.strerror or error})", hint=hint) from error
        finally:
            if self.fs.exists(part):
                self.fs.rm_file(part)

    def put(self, name: str, data: bytes) -> FileFact:
        """Write a small file."""
        with self.create(name) as sink:
            sink.write(data)
        return sink.fact()

    def write_parquet(self, name: str, schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> FileFact:
        """Write batches as one Parquet file, one row group each: the same batches give the same bytes.

        By Bloom filters a reader passes over row groups that do not hold the URL or file somebody looks for.

        Raises:
            ContractError: a column is missing, of another type, or null where it may not be.
        """
        rows = max((batch.num_rows for batch in batches), default=0)
        sought = {column: {"ndv": max(rows, 1)} for column in _SOUGHT if column in schema.names}
        options: dict[str, Any] = {"compression": "zstd", "bloom_filter_options": sought}
        with self.create(name) as sink, pq.ParquetWriter(sink, schema, **options) as writer:
            for batch in batches:
                writer.write_batch(checked(batch, schema, name), row_group_size=max(batch.num_rows, 1))
        return sink.fact()

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        if self.exists(name):
            self.fs.rm_file(self.path(name))

    def clear(self, keep: Iterable[str]) -> None:
        """Remove what an earlier or a killed run left: shards and tables but those to keep, and unfinished files."""
        kept = set(keep)
        for name in self.files():
            if name not in kept and _is_ours(name):
                self.remove(name)

    def fact(self, name: str) -> FileFact:
        """Hash a file by reading it."""
        digest, total = hashlib.sha256(), 0
        with self.fs.open(self.path(name), "rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)  # type: ignore[arg-type]
                total += len(block)
        return FileFact(digest.hexdigest(), total)

    def require_free(self) -> None:
        """Stop where a release may not be made: others' files are there, and some might be replaced.

        A folder may be missing or empty, or hold a release, be it finished or not. Hidden files are left alone.

        Raises:
            ReleaseError: naming the first few of the files.
        """
        found = [] if self._is_finished() else self._foreign()
        if found:
            named = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
            raise ReleaseError(
                self.root, f"holds what fairshard has not made: {named}", "an empty folder or an earlier release",
                "Nothing was written. Choose another release_dir, or move them away",
            )  # fmt: skip

    def _is_finished(self) -> bool:
        try:
            document = json.loads(self.fs.cat_file(self.path(MANIFEST)))
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(document, dict) and str(document.get("format")).startswith(FORMAT.rpartition("/")[0])

    def _foreign(self) -> list[str]:
        """Files that are no release's, or that one without a shard or a table would not have yet."""
        files = [name for name in self.files() if not name.startswith(".")]
        ours = {name for name in files if _is_ours(name)}
        return [name for name in files if name not in (ours | _FILES if ours else ours)]


def _is_ours(name: str) -> bool:
    """Whether a name is one that a release gives to a shard, a table or an unfinished file."""
    return bool(_OURS.fullmatch(name) or _PART.fullmatch(posixpath.basename(name)))


def rechunked(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of a fixed size, the last one shorter: engines cut where they like."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        while batch.num_rows:
            taken = batch.slice(0, rows - count)
            batch = batch.slice(taken.num_rows)
            waiting.append(taken)
            count += taken.num_rows
            if count == rows:
                yield _joined(waiting)
                waiting, count = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.concat_batches(batches)
