import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from fairshard.udfs.leaders import Closeness, leaders


def pictures(rows):
    """sha256, phash and the last word of a PDQ of each picture."""
    words = {
        f"pdq_{number}": pa.array([None if row[2] is None else 0 for row in rows], pa.int64()) for number in range(3)
    }
    return pa.table({
        "sha256": pa.array([row[0] for row in rows], pa.string()),
        "phash": pa.array([row[1] for row in rows], pa.int64()),
        **words,
        "pdq_3": pa.array([row[2] for row in rows], pa.int64()),
        "flat": pa.repeat(False, len(rows)),
        "colours": pa.array([row[3] if row[3:] else None for row in rows], pa.binary()),
    })  # fmt: skip


def led(rows, exact=True, phash=1, pdq=2, confirming=None, levels=None):
    return leaders(pictures(rows), Closeness(exact, phash, pdq, confirming, levels)).to_pylist()


def test_a_chain_is_cut_where_it_leaves_its_leader():
    chain = [(None, (1 << length) - 1, None) for length in range(6)]
    assert led(chain) == [0, 0, 2, 2, 4, 4]
    assert led(chain, phash=2) == [0, 0, 0, 3, 3, 3]
    assert led(chain, phash=None) == [0, 1, 2, 3, 4, 5]


def test_every_kind_of_tie_counts_and_null_is_no_hash():
    rows = [("a", 0, 0), ("a", None, None), (None, -1, 3), (None, None, None), (None, None, None), (None, 1, None)]
    assert led(rows) == [0, 0, 0, 3, 4, 0]
    assert led(rows, exact=False) == [0, 1, 0, 3, 4, 0]
    assert led(rows, pdq=1) == [0, 0, 2, 3, 4, 0]
    assert led([]) == []


def test_phash_leads_where_pdq_confirms_it():
    rows = [(None, 0, 0), (None, 1, 0b111), (None, 1, 0b1111), (None, -1, 0b11), (None, 0, None)]
    assert led(rows) == [0, 0, 0, 0, 0]
    assert led(rows, confirming=3) == [0, 0, 2, 0, 4]
    assert led(rows, confirming=4, phash=None) == [0, 1, 1, 0, 4]


def test_hashes_lead_where_colours_confirm_them():
    rows = [
        (None, 0, 0, grey(9)),
        (None, 1, -1, grey(12)),
        (None, -1, 1, grey(12)),
        (None, 0, 0, grey(99)),
        (None, 0, 0),
    ]
    assert led(rows) == [0, 0, 0, 0, 0]
    assert led(rows, levels=3) == [0, 0, 0, 3, 4]
    assert led([*rows, ("a", 5, 5), ("a", -5, -5)], levels=0) == [0, 1, 2, 3, 4, 5, 5]


def grey(level):
    return bytes([level] * 768)


def close(a, b, radius):
    return any(x is not None and y is not None and bin((x ^ y) & (2**64 - 1)).count("1") <= r
               for x, y, r in zip(a[1:], b[1:], radius, strict=True)) or (a[0] is not None and a[0] == b[0])  # fmt: skip


HASHES = st.one_of(st.none(), st.integers(0, 15), st.integers(-(2**63), -(2**63) + 7))
ROWS = st.lists(st.tuples(st.sampled_from([None, "a", "b", "c"]), HASHES, HASHES), max_size=12)


@given(ROWS, st.integers(0, 3), st.integers(0, 3))
def test_nobody_is_far_from_their_leader_and_no_two_leaders_are_close(rows, phash, pdq):
    found = led(rows, phash=phash, pdq=pdq)
    leading = sorted(set(found))
    assert all(found[one] == one for one in leading)
    for place, one in enumerate(found):
        assert place == one or close(rows[place], rows[one], (phash, pdq))
        earlier = [leader for leader in leading if leader < one]
        assert not any(close(rows[place], rows[leader], (phash, pdq)) for leader in earlier)
