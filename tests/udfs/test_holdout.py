"""Holding out by hash: stable, nested, even, and independent of what balance does with the same ids."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from fairshard.udfs.holdout import holdout_position, is_held_out

IDS = pa.array([str(n) for n in range(10_000)])


def test_known_answers():
    # By sha256sum: 1428b313c8f3, f6fbd103e72c, dd0fb521b731. Published splits must not move with a new version.
    ids = pa.array(["0", "1", None, "000000012"])
    shas = [0x1428B313C8F3, 0xF6FBD103E72C, None, 0xDD0FB521B731]
    assert holdout_position(ids).to_pylist() == [sha and sha / 2**48 for sha in shas]
    assert is_held_out(ids, 0.9).to_pylist() == [True, False, None, True]


def test_the_share_held_out_is_the_share_asked_for():
    assert 1_900 < sum(is_held_out(IDS, 0.2).to_pylist()) < 2_100


@given(st.lists(st.text()), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_holds_out_the_same_ids_and_more(ids, one, other):
    low, high = sorted((one, other))
    less, more = (is_held_out(pa.array(ids, pa.string()), share).to_pylist() for share in (low, high))
    assert all(wide for narrow, wide in zip(less, more, strict=True) if narrow)


def test_nothing_is_held_out_of_a_share_of_none_and_everything_of_all():
    assert not any(is_held_out(IDS, 0.0).to_pylist())
    assert all(is_held_out(IDS, 1.0).to_pylist())


def test_positions_are_below_one():
    assert max(holdout_position(IDS).to_pylist()) < 1
