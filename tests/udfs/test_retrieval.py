"""Recall at k and its chance level, against counting by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairshard.udfs.retrieval import chance_recall, retrieval, wilson_interval


def test_by_hand():
    scores = np.array([[0.9, 0.1, 0.2], [0.3, 0.2, 0.8], [0.1, 0.2, 0.3]])
    found = retrieval(scores, np.eye(3, dtype=bool), ks=(1, 2, 3, 10))
    assert found.median_rank == 1
    assert [r.k for r in found.recall] == [1, 2, 3]
    assert [r.value for r in found.recall] == pytest.approx([2 / 3, 2 / 3, 1])
    assert [r.chance for r in found.recall] == pytest.approx([1 / 3, 2 / 3, 1])


def test_the_best_of_several_right_answers_counts():
    found = retrieval(np.array([[0.1, 0.9, 0.8, 0.7]]), np.array([[True, False, True, False]]), ks=(1, 2))
    assert (found.median_rank, [r.value for r in found.recall]) == (2, [0, 1])


@pytest.mark.parametrize("same", [0.0, 1.0, np.nan])
def test_a_model_that_says_the_same_of_everything_finds_nothing(same):
    found = retrieval(np.full((20, 20), same), np.eye(20, dtype=bool), ks=(1, 10))
    assert found.median_rank == 20
    assert [(r.value, r.p_value) for r in found.recall] == [(0, 1), (0, 1)]


def test_a_perfect_model_is_beyond_chance_and_a_random_one_is_not():
    noise = np.random.default_rng(0).normal(size=(60, 60))
    right = np.eye(60, dtype=bool)
    assert retrieval(noise + 100 * right, right).recall[0].p_value < 0.001
    assert retrieval(noise, right).recall[1].p_value > 0.05


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6))
def test_chance_is_the_mean_over_all_orders(candidates, right, k):
    right, k = min(right, candidates), min(k, candidates)
    orders = list(itertools.permutations(range(candidates)))
    hits = sum(any(place < right for place in order[:k]) for order in orders)
    assert chance_recall(np.array([right]), candidates, k) == pytest.approx(hits / len(orders))


def test_wilson_interval_as_tabulated():
    # Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_a_query_without_a_right_candidate_is_an_error():
    with pytest.raises(ValueError, match="right candidate"):
        retrieval(np.zeros((2, 2)), np.array([[True, False], [False, False]]))
