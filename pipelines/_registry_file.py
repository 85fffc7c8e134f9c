"""What a registry's file holds: columns by name, and the number of each entry's line.

Nothing here says what an entry means; of exchanges' JSON and XML, ``udfs/hash_lists.py`` does. A line that cannot be
read is named by its number alone, because what it holds may be a key that nobody is to see.
"""

from __future__ import annotations

import csv
import io
import json
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..udfs.hash_lists import Listed, json_listed, ncmec_listed
from ..udfs.signals.safe_xml import XmlError

_PLACES_SHOWN = 5
_UTC = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Entries:
    """The entries of a file.

    Attributes:
        columns: by name, string[n]; of Parquet also UTC time[n].
        places: int64[n], their lines, from 1, or their rows or records where a file has no lines.
        more: the file says that the list goes on elsewhere.
    """

    columns: dict[str, pa.Array]
    places: pa.Array
    more: bool = False


class BadLine(Exception):
    """A line that cannot be read."""


def ending(path: str) -> str:
    """What a path ends in, lower case: it says how to read the file."""
    return posixpath.splitext(path)[1].lower()


def places(path: str, numbers: Sequence[int]) -> str:
    """Where some entries are, in words: the first few of their lines, rows or records."""
    numbers = list(dict.fromkeys(numbers))  # a record may hold several
    shown = ", ".join(str(number) for number in numbers[:_PLACES_SHOWN])
    more = f" and {len(numbers) - _PLACES_SHOWN} more" if len(numbers) > _PLACES_SHOWN else ""
    kind = {".parquet": "row", ".json": "record", ".xml": "record"}.get(ending(path), "line")
    return f"{kind}{'' if len(numbers) == 1 else 's'} {shown}{more}"


def _read_text(data: bytes) -> Entries:
    lines = enumerate((line.strip() for line in data.decode("utf-8-sig").splitlines()), 1)
    found = [(number, line) for number, line in lines if line and not line.startswith("#")]
    return _entries(["key"], [number for number, _ in found], [[line for _, line in found]])


def _read_table(delimiter: str) -> Callable[[bytes], Entries]:
    """Cells as RFC 4180 has them and nothing laxer: a quote that never closes would swallow the opt-outs after it."""

    def read(data: bytes) -> Entries:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), delimiter=delimiter, strict=True)
        names: list[str] = []
        places: list[int] = []
        rows: list[list[str]] = []
        line = 1
        try:
            for cells in reader:
                if cells and not names:
                    names = [name.strip() for name in cells]
                elif cells and len(cells) != len(names):
                    raise BadLine(f"line {line} has {len(cells)} cells and the first {len(names)}")
                elif cells:
                    places.append(line)
                    rows.append(cells)
                line = reader.line_num + 1
        except csv.Error as error:
            raise BadLine(f"line {line}: {error}") from error
        return _entries(names, places, zip(*rows, strict=True))

    return read


def _read_jsonl(data: bytes) -> Entries:
    lines = enumerate(data.decode("utf-8-sig").split("\n"), 1)
    found = [(number, _json(number, line)) for number, line in lines if line.strip()]
    return _of_rows(json_listed(found))


def _read_json(data: bytes) -> Entries:
    """A document, or several one after the other, as tools write that fetch page by page."""
    return _of_rows(json_listed((None, document) for document in _documents(data.decode("utf-8-sig"))))


def _documents(text: str) -> Iterator[Any]:
    decoder, blank = json.JSONDecoder(), re.compile(r"\s*")
    at = blank.match(text).end()  # type: ignore[union-attr]
    while at < len(text):
        try:
            document, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise BadLine(f"line {error.lineno} is not JSON") from error
        yield document
        at = blank.match(text, at).end()  # type: ignore[union-attr]


def _read_xml(data: bytes) -> Entries:
    try:
        return _of_rows(ncmec_listed(data))
    except XmlError as error:
        raise BadLine(f"it is no list of NCMEC's: {error}") from error


def _of_rows(listed: Listed) -> Entries:
    rows = [row for _, row in listed.rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = ([_text(row.get(name)) for row in rows] for name in names)
    return replace(_entries(names, [number for number, _ in listed.rows], columns), more=listed.more)


def _json(number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadLine(f"line {number} is not JSON") from error


def _read_parquet(data: bytes) -> Entries:
    table = pq.read_table(pa.BufferReader(data))
    columns = (_column(column.combine_chunks()) for column in table.columns)
    return Entries(dict(zip(table.column_names, columns, strict=True)), pa.array(range(1, len(table) + 1), pa.int64()))


def _column(array: pa.Array) -> pa.Array:
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _column(array.dictionary_decode())
    if pa.types.is_timestamp(kind):
        coded = array.dictionary_encode()
        return pa.array(coded.dictionary.to_pylist(), _UTC).take(coded.indices)
    if any(is_text(kind) for is_text in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary)):
        return array.cast(pa.string())
    return pa.array(map(_text, array.to_pylist()), pa.string())


def _text(value: Any) -> str | None:
    # A lone surrogate is not text; replacement characters say that something was there, and are in no host.
    return None if value is None else str(value).encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def _entries(names: Sequence[str], places: Sequence[int], columns: Iterable[Sequence[str | None]]) -> Entries:
    """Of two columns of one name, the last."""
    found = zip(names, columns, strict=False)  # without entries there are no columns
    return Entries({name: pa.array(cells, pa.string()) for name, cells in found}, pa.array(places, pa.int64()))


# By ending. They raise BadLine, ArrowException or ValueError for bytes that are of another format.
READERS: dict[str, Callable[[bytes], Entries]] = {
    ".txt": _read_text,
    ".csv": _read_table(","),
    ".tsv": _read_table("\t"),
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".xml": _read_xml,
    ".parquet": _read_parquet,
}
