"""Runs of words that two texts share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairshard.udfs.overlap import longest_shared_run, runs

WORDS = st.lists(st.sampled_from("abc"), max_size=9)


@pytest.mark.parametrize(
    ("words", "length", "expected"),
    [("a b c d", 2, ["a b", "b c", "c d"]), ("a b", 2, ["a b"]), ("a", 2, []), ("", 1, [])],
)
def test_runs(words, length, expected):
    assert list(runs(words.split(), length)) == expected


@given(WORDS, WORDS)
def test_the_longest_shared_run_is_that_of_the_definition(left, right):
    shared = [n for n in range(1, 10) if set(runs(left, n)) & set(runs(right, n))]
    assert longest_shared_run(left, right) == max(shared, default=0) == longest_shared_run(right, left)
