"""Ranks of planted secrets among candidates, and the bits they tell."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fairshard.udfs.exposure import CHANCE_BITS, exposure, ranks


def test_ties_and_what_is_no_number_count_against_it():
    others = np.array([[0.1, 0.2, 0.3], [0.1, 0.5, 0.9], [0.5, 0.5, 0.5], [0.0, np.nan, 0.0], [0.0, 0.0, 0.0]])
    own = np.array([0.4, 0.5, 0.5, 0.5, np.nan])
    assert ranks(own, others).tolist() == [1, 3, 4, 2, 4]


def test_the_top_of_1024_gives_ten_bits_and_the_last_none():
    assert exposure(np.array([1, 2, 1024]), 1024).tolist() == [10, 9, 0]


@given(st.integers(0, 2**32 - 1))
def test_chance_gives_what_it_is_said_to_give(seed):
    rank = np.random.default_rng(seed).integers(1, 2**20 + 1, 20_000)
    assert abs(exposure(rank, 2**20).mean() - CHANCE_BITS) < 0.1
