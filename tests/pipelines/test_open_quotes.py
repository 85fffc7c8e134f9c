"""Quotes that never close: the row they are in is set aside, and no other."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairshard.pipelines import _open_quotes
from fairshard.pipelines._open_quotes import closed_quotes

CELL = st.text(st.sampled_from('ab", \n\r\t'), max_size=6)


def read(data: str, delimiter: str = ",", block_bytes: int = 1 << 20) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_open_quotes, "_BLOCK_BYTES", block_bytes)
        return closed_quotes(io.BytesIO(data.encode()), delimiter).read().decode()


CASES = {
    "to the end": ('u,t\n1,"ab\n2,b\n3,c\n', "u,t\n?\n2,b\n3,c\n"),
    "to the next quote": ('u,t\n1,"ab\n2,"b"\n3,c\n', 'u,t\n?\n2,"b"\n3,c\n'),
    "in the last line": ('u,t\n1,a\n2,"b', "u,t\n1,a\n?\n"),
    "after a cell of two lines": ('"a\nb","c\n2,d\n', "?\n2,d\n"),  # from the first line of the row
    "twice": ('1,"a\n2,"b\n3,c\n', "?\n?\n3,c\n"),
    "carriage returns": ('1,"a\r2,b\r', "?\n2,b\r"),
}


@pytest.mark.parametrize(("data", "expected"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("block_bytes", [1, 3, 1 << 20])
def test_a_row_with_an_open_quote_is_one_cell(data, expected, block_bytes):
    assert read(data, block_bytes=block_bytes) == expected


@pytest.mark.parametrize("data", ['1,say "hi\n2,b\n', '1,"a" b\n2,c\n', '1,"a" "b, c"\n2,d\n', '1, "a\n2,b\n', "\n\n"])
def test_a_quote_that_swallows_nothing_stays(data):
    assert read(data) == data


def test_a_quote_that_is_open_for_too_long_is_open(monkeypatch):
    monkeypatch.setattr(_open_quotes, "_MAX_ROW_BYTES", 1000)
    lines = "2,b\n" * 1000
    assert read(f'1,"a\n{lines}3,"\n4,c\n', block_bytes=100).startswith(f"?\n{lines[:-8]}")


@given(st.lists(st.lists(CELL, min_size=2, max_size=3), max_size=8), st.sampled_from(",\t"), st.integers(1, 40))
def test_what_a_writer_of_csv_has_written_stays(rows, delimiter, block_bytes):
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    assert read(text.getvalue(), delimiter, block_bytes) == text.getvalue()


@given(st.text(st.sampled_from('ab",\n\r'), max_size=40), st.integers(1, 40))
def test_any_text_reads_the_same_in_blocks_of_any_size(data, block_bytes):
    assert read(data, block_bytes=block_bytes) == read(data)


@given(st.lists(st.sampled_from(['u{},"a', "u{},b", 'u{},"c d"', 'u{},say "e"']), max_size=12))
def test_every_line_is_a_row_where_no_cell_spans_two(kinds):
    lines = [kind.format(number) for number, kind in enumerate(kinds)]
    expected = ["?" if kind == 'u{},"a' else line for kind, line in zip(kinds, lines, strict=True)]
    assert read("".join(line + "\n" for line in lines)).splitlines() == expected
