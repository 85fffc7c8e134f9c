"""Quotes of a CSV that are opened and never closed, kept from swallowing the rows after them.

A quoted cell may hold line breaks. So to a reader, a quote without its partner begins a cell that goes on to the next
quote, many rows later, or to the end of the file. Here a cell of several lines counts only if its closing quote ends
it; otherwise the row ends with the line on which the quote was opened, and the next line begins the next row.

A quote inside a cell, or a word after a closing quote on the same line, swallows nothing and stays as it is.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import IO, NamedTuple

# What stands for a row with an open quote: one cell, which no list can do with, so that its reader sets it aside.
PLACEHOLDER = b"?\n"
_BLOCK_BYTES = 4 << 20
_MAX_ROW_BYTES = 16 << 20  # a quote that is open for longer is taken for one that never closes
_LINE_END = re.compile(rb"\r\n?|\n")


class _Patterns(NamedTuple):
    """Of one delimiter: whole rows, whole cells of a row, and a quoted cell that does not end as it should."""

    rows: re.Pattern[bytes]
    cells: re.Pattern[bytes]
    opened: re.Pattern[bytes]


def closed_quotes(file: IO[bytes], delimiter: str) -> io.BufferedReader:
    """A CSV in which every quote closes: each row with an open one reads as ``PLACEHOLDER``, all else as it is.

    Args:
        file: the CSV; its lines may end in any of the three ways.
        delimiter: between cells, one ASCII character.
    """
    return io.BufferedReader(_Pieces(_closed(file, _patterns(delimiter.encode()))), _BLOCK_BYTES)


class _Pieces(io.RawIOBase):
    """Pieces of bytes, read as one file."""

    def __init__(self, pieces: Iterator[bytes]):
        self._pieces, self._left = pieces, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = memoryview(piece)
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count


@lru_cache
def _patterns(delimiter: bytes) -> _Patterns:
    stop = re.escape(delimiter) + rb"\r\n"
    one_line = rb'"(?:[^"\r\n]++|"")*+"[^%s]*+' % stop
    several_lines = rb'"(?:[^"]++|"")*+"(?=[%s])' % stop
    cell = rb'(?:%s|%s|[^"%s][^%s]*+|)' % (one_line, several_lines, stop, stop)
    cells = rb"(?:%s%s)*+" % (cell, re.escape(delimiter))
    rows = rb"(?:%s%s(?:\r\n?|\n))*+" % (cells, cell)
    return _Patterns(re.compile(rows), re.compile(cells), re.compile(rb'"((?:[^"]++|"")*+)"?'))


def _closed(file: IO[bytes], patterns: _Patterns) -> Iterator[bytes]:
    text, end = b"", False
    while not end:
        block = file.read(_BLOCK_BYTES)
        end = not block
        text += block
        if end and text and not text.endswith((b"\n", b"\r")):
            text += b"\n"
        start: int | None = 0
        while start is not None:
            whole = _end(patterns.rows.match(text, start))
            yield text[start:whole]
            start = _cut(text, whole, end, patterns)
            if start is not None:
                yield PLACEHOLDER
            else:
                text = text[whole:]
        if len(text) > _MAX_ROW_BYTES:  # the reader will say that it is too long
            yield text
            text = b""


def _cut(text: bytes, start: int, end: bool, patterns: _Patterns) -> int | None:
    """Where the row at ``start`` ends if it has an open quote; None if what follows in the file may still close it."""
    opened = patterns.opened.match(text, _end(patterns.cells.match(text, start)))
    line = _LINE_END.search(text, opened.start(), opened.end(1)) if opened else None
    if opened is None or line is None:
        return None
    undecided = opened.end() == len(text) and not end and len(text) - start <= _MAX_ROW_BYTES
    return None if undecided else line.end()


def _end(match: re.Match[bytes] | None) -> int:
    """Where a pattern that always matches ends."""
    return match.end() if match else 0
