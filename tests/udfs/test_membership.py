"""Telling trained from held-out scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairshard.udfs.membership import attack, auc, exceeded_by, ties

SCORES = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=12).map(np.array)


@given(SCORES, SCORES)
def test_auc_is_the_share_of_comparisons_won(members, others):
    won = [(member > other) + 0.5 * (member == other) for member in members for other in others]
    assert auc(members, others) == pytest.approx(np.mean(won))
    assert auc(others, members) == pytest.approx(1 - auc(members, others))


def test_scores_of_one_kind_give_nothing_away():
    drawn = np.random.default_rng(1).normal(size=600)
    found = attack(drawn[:300], drawn[300:])
    assert found.low < 0.5 < found.high and found.low < found.auc < found.high
    assert found.true_positives < 0.05 and found.false_positives <= 0.01


def test_scores_that_are_apart_give_all_away():
    found = attack(np.arange(200.0) + 1000, np.arange(200.0))
    assert (found.auc, found.low, found.high, found.true_positives) == (1, 1, 1, 1)
    assert 0 < found.false_positives <= 0.01 and (found.members, found.others) == (200, 200)


def test_the_same_seed_gives_the_same_interval():
    members, others = np.random.default_rng(2).normal(size=(2, 50))
    assert attack(members, others, 3) == attack(members, others, 3) != attack(members, others, 4)


@pytest.mark.parametrize(("members", "others"), [([], [1.0]), ([1.0], [])])
def test_a_side_without_scores(members, others):
    with pytest.raises(ValueError, match="both are needed"):
        attack(np.array(members), np.array(others))


def test_own_captions_do_not_compete_and_ties_count_against():
    own = np.array([0.9, 0.5])
    scores = np.array([[0.9, 0.2, 0.4], [0.7, 0.5, 0.5]])
    found = ties(own, scores, np.array([[True, False, False], [False, True, False]]))
    np.testing.assert_allclose(found.margin, [0.5, -0.2])
    assert (found.rank.tolist(), found.nearest.tolist()) == ([1, 3], [2, 0])
    assert found[np.array([1])].rank.tolist() == [3]


def test_a_picture_without_another_candidate():
    with pytest.raises(ValueError, match="each needs another candidate"):
        ties(np.array([1.0]), np.array([[1.0]]), np.array([[True]]))


@pytest.mark.parametrize(("share", "expected"), [(0.0, 9), (0.1, 8), (0.25, 7), (1.0, 0)])
def test_the_score_that_a_share_exceeds(share, expected):
    assert exceeded_by(np.arange(10.0), share) == expected
