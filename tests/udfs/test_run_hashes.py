"""Hashes of runs of words: those of equal runs are equal, and of no others here."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairshard.udfs import run_hashes as module
from fairshard.udfs.overlap import runs, spaced
from fairshard.udfs.run_hashes import run_hashes
from fairshard.udfs.text import caption_key

WORDS = ["a", "b", "ab", "B!", "é", "猫", "ราคา", "カー", "9", "-", "\U00020000", "", "e\u0301", "ば", "Ａ"]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join), max_size=6)


def by_definition(texts: list[str], least: float) -> tuple[list[tuple[int, str]], list[str]]:
    """The runs of each text, with its row, and each text as its words."""
    words = [key.split() for key in spaced(caption_key(pa.array(texts, pa.string()))).to_pylist()]
    return [(row, run) for row, of in enumerate(words) for run in runs(of, least)], [" ".join(of) for of in words]


@settings(max_examples=40)
@given(TEXTS, st.sampled_from([1, 1.5, 2, 3]))
def test_hashes_are_equal_where_runs_are(texts, least):
    found = run_hashes(pa.array(texts, pa.string()), least)
    expected, wholes = by_definition(texts, least)
    assert sorted(found.rows.tolist()) == [row for row, _ in expected]
    named: dict[str, set[int]] = {}
    for row in range(len(texts)):
        hashes = found.runs[found.rows == row].tolist()
        for hashed, run in zip(hashes, [run for of, run in expected if of == row], strict=True):
            named.setdefault(run, set()).add(hashed)
    for text, hashed in zip(wholes, found.wholes.tolist(), strict=True):
        named.setdefault(text, set()).add(hashed)
    assert all(len(hashes) == 1 for hashes in named.values())
    assert len(set().union(*named.values())) == len(named)


def test_many_texts_and_long_ones_are_hashed_in_pieces(monkeypatch):
    texts = [f"Word{n % 7} of {n % 5}, and 猫{n % 3}" for n in range(500)] + ["so " * 400]
    whole = run_hashes(pa.array(texts), 2)
    monkeypatch.setattr(module, "_MOST_BYTES", 300)
    pieces = run_hashes(pa.array(texts), 2)
    assert all((mine == other).all() for mine, other in zip(whole, pieces, strict=True))


def test_a_slice_is_hashed_like_itself():
    texts = pa.array(["a b c", "d e f", "a b c", "猫"])
    assert run_hashes(texts.slice(2, 1), 2).wholes[0] == run_hashes(texts, 2).wholes[0]
    assert run_hashes(texts.slice(4), 2).runs.size == 0


@pytest.mark.parametrize(("text", "count"), [("x " * 8, 1), ("x " * 7, 0), ("猫" * 16, 1), ("ราคา", 0), ("猫" * 17, 2)])
def test_eight_words_or_sixteen_characters(text, count):
    assert len(run_hashes(pa.array([text]), 8).runs) == count
