"""Sources: finding and checking their files, and reading image-text lists (LAION Parquet, CSV, TSV, JSON lines).

Folders of img2dataset are lists, too: each shard has one, and ``fetch`` reads its pictures instead of asking for them.

Every format gives ``RAW``: text as bytes, because a row in a broken encoding is set aside, not the whole
list. Column names are matched whatever their case; a list needs a URL and a text column.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import posixpath
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from ..schemas.config import Job, Source
from ..schemas.errors import SourceError
from ..udfs.arrow import pc
from . import _archives, _img2dataset
from ._files import arrow_filesystem, file_system, reached
from ._open_quotes import PLACEHOLDER, closed_quotes
from ._raw import COLUMNS, RAW, SourceFile

_ENDINGS = {".parquet": "parquet", ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_ENDINGS |= {".wat": "wat", ".warc": "warc"}
ARCHIVES = frozenset({"wat", "warc"})
_BATCH_ROWS = 65_536
_PART_ROWS = 1_000_000
_BLOCK_BYTES = 16 << 20
# JSON lines have no header: one of the first lines has to look like a row.
_FIRST_LINES = 100
_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
# What a file that is damaged or of another format makes the readers raise.
_UNREADABLE = (pa.ArrowException, OSError, EOFError, zlib.error, csv.Error, UnicodeDecodeError)


def resolve(job: Job) -> list[SourceFile]:
    """The files of all sources, each checked: there, not empty, readable, with the columns it needs.

    A list without rows is let through if another has some: of lists that were written in parts, some may be empty.

    Raises:
        SourceError: naming the file, what was found and what was expected. Nothing has been written.
    """
    files = [file for source in job.config.sources for file in _resolve_one(source, job.path(source.path))]
    names = [file.source for file in files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceError("sources", f"two are called '{twice[0]}'", hint="Give one of them a 'name'")
    filled = []
    for file in files:
        with _reached(file.path):
            filled.append(_check(file))
    if not any(filled):
        others = f", nor has any of the {len(files) - 1} others" if len(files) > 1 else ""
        raise SourceError(files[0].path, f"has no rows{others}", "at least one image-text pair")
    # Of a pair that is in several, the first counts, and what is at hand need not be asked for.
    return sorted(files, key=lambda file: (file.format != "img2dataset", file.source))


def parts(file: SourceFile) -> list[SourceFile]:
    """A list in parts of about a million rows where it can be read from the middle, as Parquet can; else in one."""
    if file.format != "parquet":
        return [file]
    with _reached(file.path), _open_binary(file) as opened:
        metadata = pq.read_metadata(opened)
    sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    found: list[SourceFile] = []
    begin = row = 0
    for end in range(1, len(sizes) + 1):
        rows = sum(sizes[begin:end])
        if rows >= _PART_ROWS or end == len(sizes):
            found.append(replace(file, row_groups=(begin, end), first_row=row))
            begin, row = end, row + rows
    return found or [file]


def read(file: SourceFile) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch | None]]:
    """The rows of a source or a part of one as ``RAW`` batches, in order, ``source_row`` counting from 0.

    A row that is not of the format (another number of cells, an open quote, broken JSON) comes with a ``reason``. With
    each batch of an archive come the ``_archives.SAID`` rows about it.

    Raises:
        SourceError: the file ends too early or is damaged, or cannot be read.
    """
    readers = {
        "parquet": _read_parquet,
        "img2dataset": _read_parquet,
        "csv": _read_csv,
        "tsv": _read_csv,
        "jsonl": _read_jsonl,
    }
    with _reached(file.path):
        try:
            if file.format in ARCHIVES:
                yield from _archives.read(file)
            else:
                for batch in readers[file.format](file):
                    yield batch, None
        except _UNREADABLE as error:
            found = f"cannot be read to its end ({_short(error)})"
            raise SourceError(file.path, found, f"whole {file.format}") from error


def _reached(path: str) -> AbstractContextManager[None]:
    return reached(path, lambda found, hint: SourceError(path, found, "a source that can be read", hint))


def _resolve_one(source: Source, path: str) -> Iterator[SourceFile]:
    with _reached(path):
        yield from _found(source, path)


def _found(source: Source, path: str) -> Iterator[SourceFile]:
    fs, plain = file_system(path)
    is_glob = any(char in plain for char in "*?[") and not fs.exists(plain)
    found = sorted(fs.glob(plain)) if is_glob else [plain]
    if not found:
        raise SourceError(source.path, "matches no file", "at least one file")
    for one in found:
        if not fs.exists(one):
            raise SourceError(source.path, "does not exist", "an image-text list", "Check 'sources' in the config")
        info = fs.info(one)
        if info["type"] != "file":
            yield from _resolve_folder(source, fs, one, path)
            continue
        if not info["size"]:
            raise SourceError(one, "is empty", "an image-text list")
        name, ending = posixpath.splitext(posixpath.basename(_without_gz(one)))
        chosen = _ENDINGS.get(ending.lower()) if source.format == "auto" else source.format
        if chosen is None:
            raise SourceError(one, f"ends in '{ending}'", ", ".join(_ENDINGS), "Or set 'format' of the source")
        label = f"{source.name}.{name}" if source.name and is_glob else source.name or name
        yield SourceFile(label, fs.unstrip_protocol(one) if "://" in path else one, chosen, _stamp(info))


def _resolve_folder(source: Source, fs: Any, folder: str, path: str) -> Iterator[SourceFile]:
    """The shards of a folder of img2dataset; each is a source, as each file of a glob is."""
    shards = _img2dataset.shards(fs, folder) if source.format in ("auto", "img2dataset") else []
    if not shards:
        hint = f"Did you mean '{source.path.rstrip('/')}/*.parquet'?"
        raise SourceError(source.path, "is a folder", "a file, a glob, or an output folder of img2dataset", hint)
    name = source.name or posixpath.basename(folder.rstrip("/"))
    for shard in shards:
        number = posixpath.basename(shard).removesuffix(".parquet")
        stamp = f"{_stamp(fs.info(shard))} {_img2dataset.stamp(fs, shard)}"
        where = fs.unstrip_protocol(shard) if "://" in path else shard
        yield SourceFile(f"{name}.{number}", where, "img2dataset", stamp)


def _stamp(info: dict[str, Any]) -> str:
    return f"{info['size']}-{info.get('mtime') or info.get('LastModified') or info.get('created')}"


def _check(file: SourceFile) -> bool:
    """Refuse what is no image-text list. Returns whether it has a row."""
    try:
        if file.format in ARCHIVES:
            return _check_archive(file)
        names, has_rows = _head(file)
    except _UNREADABLE as error:
        hint = "Let img2dataset finish, or move this shard away" if file.format == "img2dataset" else ""
        raise SourceError(file.path, f"cannot be read ({_short(error)})", f"{file.format}", hint) from error
    if names is None:
        return has_rows
    for column in ("url", "caption"):
        if _alias(names, column) is None:
            aliases = ", ".join(COLUMNS[column][1])
            raise SourceError(file.path, f"has the columns {', '.join(names) or '(none)'}", f"one called {aliases}")
    missing = [name for name in _img2dataset.NEEDED if name not in names] if file.format == "img2dataset" else []
    if missing:
        raise SourceError(file.path, f"has the columns {', '.join(names)}", f"one called {missing[0]}, as img2dataset's",
                          "Set 'format: parquet' with a glob to read it as a list")  # fmt: skip
    read_ones = [name for column in COLUMNS if (name := _alias(names, column))]
    twice = next((name for name in read_ones if names.count(name) > 1), None)
    if twice:
        raise SourceError(file.path, f"has two columns called '{twice}'", "a name of its own for each")
    return has_rows


def _check_archive(file: SourceFile) -> bool:
    """Refuse a file without records of its format. Whether some show pictures is not known before all are read."""
    kinds = _archives.kinds_of(file.path)
    if not kinds:
        raise SourceError(file.path, "holds no WARC record", f"a {file.format.upper()} file, packed with gzip or not")
    if file.format not in kinds and (others := kinds - {"neither"}):
        other = others.pop()
        found, expected = f"looks like a {other.upper()} file", f"a {file.format.upper()} file"
        raise SourceError(file.path, found, expected, f"Set 'format: {other}' of the source")
    return True


def _head(file: SourceFile) -> tuple[list[str] | None, bool]:
    """Names of the columns, which JSON lines do not have, and whether a row follows."""
    if file.format in ("parquet", "img2dataset"):
        with _open_binary(file) as opened:
            parquet = pq.ParquetFile(opened)
            return parquet.schema_arrow.names, parquet.metadata.num_rows > 0
    with _open_text(file) as opened:
        if file.format == "jsonl":
            _check_json_lines(file, [line for line in itertools.islice(opened, _FIRST_LINES) if line.strip()])
            return None, True
        first = opened.readline()
        return _csv_names(first, file), any(line.strip() for line in opened)


def _csv_names(line: bytes, file: SourceFile) -> list[str]:
    if closed_quotes(io.BytesIO(line), _delimiter(file)).read() == PLACEHOLDER:
        raise SourceError(file.path, "opens a quote in its first line that does not close there", "names of columns")
    return next(csv.reader([line.decode("utf-8-sig")], delimiter=_delimiter(file)), [])


def _delimiter(file: SourceFile) -> str:
    return "\t" if file.format == "tsv" else ","


def _check_json_lines(file: SourceFile, lines: list[bytes]) -> None:
    """Refuse a file of whose first lines none is a row: broken ones among good ones are only set aside."""
    rows = [row for line in lines if (row := _json_row(line)) is not None]
    if not rows:
        raise SourceError(file.path, f"begins with {b''.join(lines[:1])[:60]!r}", "one JSON object a line")
    keys = list(dict.fromkeys(key for row in rows for key in row))
    for column in ("url", "caption"):
        if _alias(keys, column) is None:
            found = ", ".join(keys)[:200]
            raise SourceError(file.path, f"has the keys {found}", f"one of {', '.join(COLUMNS[column][1])}")


def _alias(names: list[str], column: str) -> str | None:
    """What this list calls a column."""
    by_fold = {name.casefold(): name for name in reversed(names)}
    return next((by_fold[alias] for alias in COLUMNS[column][1] if alias in by_fold), None)


def _read_parquet(file: SourceFile) -> Iterator[pa.RecordBatch]:
    with _open_binary(file) as opened:
        parquet = pq.ParquetFile(opened)
        names = {column: _alias(parquet.schema_arrow.names, column) for column in COLUMNS}
        wanted = [name for name in names.values() if name]
        groups = range(*(file.row_groups or (0, parquet.num_row_groups)))
        row = file.first_row
        for batch in parquet.iter_batches(_BATCH_ROWS, row_groups=groups, columns=wanted):
            yield _raw(batch, names, row, file)
            row += batch.num_rows


def _read_csv(file: SourceFile) -> Iterator[pa.RecordBatch]:
    bad: list[int] = []

    def set_aside(row: pa_csv.InvalidRow) -> str:
        bad.append(row.number)
        return "skip"

    header, _ = _head(file)
    names = {column: _alias(header or [], column) for column in COLUMNS}
    types = {name: pa.binary() for name in names.values() if name}
    with _open_text(file) as opened:
        reader = pa_csv.open_csv(
            closed_quotes(opened, _delimiter(file)),
            pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),  # row numbers need one thread
            pa_csv.ParseOptions(
                delimiter=_delimiter(file),
                newlines_in_values=True,
                invalid_row_handler=set_aside,
            ),
            pa_csv.ConvertOptions(
                column_types=types, include_columns=list(types), strings_can_be_null=True, null_values=[""],
                quoted_strings_can_be_null=True, check_utf8=False,
            ),
        )  # fmt: skip
        row = 0
        for batch in reader:
            # The parser counts the header as row 1, reads ahead, and gives no batch for a block without a good row.
            skipped = {number - 2 for number in bad}
            numbers = _numbers(row, batch.num_rows, skipped)
            yield _raw(batch, names, row, file, pa.array(numbers, pa.int64()))
            row = numbers[-1] + 1 if numbers else row
            passed = sorted(number for number in skipped if number < row)
            bad[:] = [number for number in bad if number - 2 >= row]
            if passed:
                yield _malformed(passed)
        if bad:
            yield _malformed([number - 2 for number in bad])


def _numbers(start: int, count: int, skipped: set[int]) -> list[int]:
    """Row numbers of ``count`` rows from ``start`` when some rows in between were set aside."""
    rows = (row for row in itertools.count(start) if row not in skipped)
    return list(itertools.islice(rows, count))


def _read_jsonl(file: SourceFile) -> Iterator[pa.RecordBatch]:
    row = 0
    with _open_text(file) as opened:
        while lines := opened.readlines(_BLOCK_BYTES):
            lines = [line for line in lines if line.strip()]
            if lines:
                yield from _json_block(lines, row, file)
                row += len(lines)


def _json_block(lines: list[bytes], row: int, file: SourceFile) -> Iterator[pa.RecordBatch]:
    rows, good, bad = [], [], []
    for number, line in enumerate(lines, row):
        parsed = _json_row(line)
        if parsed is None:
            bad.append(number)
        else:
            rows.append(parsed)
            good.append(number)
    if rows:
        keys = sorted({key for parsed in rows for key in parsed})
        names = {column: _alias(keys, column) for column in COLUMNS}
        columns = {
            name: pa.array([_json_cell(parsed.get(name)) for parsed in rows], pa.string())
            for name in names.values()
            if name
        }
        yield _raw(pa.RecordBatch.from_pydict(columns), names, row, file, pa.array(good, pa.int64()))
    if bad:
        yield _malformed(bad)


def _json_row(line: bytes) -> dict | None:
    try:
        parsed = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _json_cell(value: object) -> str | None:
    if value is None or isinstance(value, (dict, list)):
        return None
    # A lone surrogate is not text; a replacement character says that something was there.
    return str(value).encode("utf-8", "replace").decode()


def _raw(
    batch: pa.RecordBatch, names: dict[str, str | None], row: int, file: SourceFile, numbers: pa.Array | None = None
) -> pa.RecordBatch:
    count = batch.num_rows
    if numbers is None:
        numbers = pa.array(np.arange(row, row + count, dtype=np.int64))
    columns: list[pa.Array] = [numbers, pa.nulls(count, pa.string())]
    for column, (kind, _) in COLUMNS.items():
        name = names[column]
        found = pa.nulls(count, kind) if name is None else _as(batch.column(name), kind, file, name)
        columns.append(found)
    return pa.RecordBatch.from_arrays(columns, schema=RAW)


def _as(array: pa.Array, kind: pa.DataType, file: SourceFile, name: str) -> pa.Array:
    if array.type == kind:
        return array
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_nested(array.type):
        raise SourceError(file.path, f"column '{name}' holds {array.type}", "text or numbers")
    if kind == pa.binary():
        return array.cast(pa.string()).cast(kind) if not pa.types.is_large_binary(array.type) else array.cast(kind)
    if pa.types.is_binary(array.type) or pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        # Matched as bytes: one number in a broken encoding must not stop the list.
        raw = array.cast(pa.binary())
        numeric = pc.match_substring_regex(raw, _NUMBER)
        return pc.utf8_trim_whitespace(pc.if_else(numeric, raw, None).cast(pa.string())).cast(kind)
    return array.cast(kind, safe=False)


def _malformed(numbers: list[int]) -> pa.RecordBatch:
    count = len(numbers)
    empty = [pa.nulls(count, field.type) for field in RAW][2:]
    reason = pa.repeat(pa.scalar("malformed_row"), count)
    return pa.RecordBatch.from_arrays([pa.array(numbers, pa.int64()), reason, *empty], schema=RAW)


def _open_binary(file: SourceFile) -> pa.NativeFile:
    fs, plain = arrow_filesystem(file.path)
    return fs.open_input_file(plain)


def _open_text(file: SourceFile) -> IO[bytes]:
    fs, plain = file_system(file.path)
    opened = fs.open(plain, "rb")
    # fsspec's own way of unpacking is another library's where that is installed, with errors of its own.
    return cast("IO[bytes]", gzip.GzipFile(fileobj=opened)) if _without_gz(plain) != plain else opened


def _without_gz(path: str) -> str:
    return path[:-3] if path.lower().endswith(".gz") else path


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
