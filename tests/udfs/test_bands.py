import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairshard.udfs.bands import WORD_BITS, bands, list_bands, pdq_word, probe_table

PLANS = st.tuples(st.sampled_from([1, 4]), st.integers(0, 40), st.sampled_from([1, 1000, 10**5, 10**6, 10**8]))


@given(PLANS, st.sampled_from([None, 1, 1000, 10**6]))
@settings(deadline=None)
def test_bands_cannot_miss_a_pair(plan, entries):
    words, radius, rows = plan
    found = bands(words, radius, rows) if entries is None else list_bands(words, radius, entries, rows)
    everything = {band.word for band in found if band.width == 0}
    if not everything:
        assert sum(band.flips + 1 for band in found) == radius + 1
    used = [(band.word, bit) for band in found for bit in range(band.shift, band.shift + band.width)]
    assert len(used) == len(set(used))
    assert all(0 <= bit < WORD_BITS and 0 <= word < words for word, bit in used)


@given(PLANS)
@settings(max_examples=30, deadline=None)
def test_probe_table_has_each_set_of_flips_once(plan):
    words, radius, rows = plan
    found = bands(words, radius, rows)
    table = probe_table(found, words, radius)
    assert table.num_rows == sum(band.masks for band in found) == len(table.group_by(["tag", "flip"]).aggregate([]))
    for row in table.slice(0, 500).to_pylist():
        assert row["flip"] & ~row["mask"] == 0
        assert row["flip"] == 0 or row["flip"].bit_length() == row["top"] - row["shift"] + 1


def test_more_rows_ask_for_wider_bands():
    assert [(band.width, band.flips) for band in bands(1, 4, 1000)] == [(13, 0)] * 4 + [(12, 0)]
    assert [(band.width, band.flips) for band in bands(1, 4, 10**6)] == [(23, 1), (23, 1), (18, 0)]
    assert {(band.width, band.flips) for band in bands(4, 31, 10**5)} == {(16, 1)}


def test_pdq_word():
    hashes = [bytes(range(32)), None, b"short", b"\xff" * 32]
    words = [pdq_word(pa.array(hashes, pa.binary()), pa.array([n] * 4, pa.int32())).to_pylist() for n in range(4)]
    assert words[0] == [0x0001020304050607, None, None, -1]
    assert words[3] == [0x18191A1B1C1D1E1F, None, None, -1]


@pytest.mark.parametrize("hashes", [[], [None]])
def test_pdq_word_of_nothing(hashes):
    assert pdq_word(pa.array(hashes, pa.binary()), pa.array([0] * len(hashes), pa.int32())).to_pylist() == hashes


def test_pdq_word_on_every_engine(make_work):
    values = np.random.default_rng(1).bytes(32 * 5000)
    hashes = [values[n * 32 : n * 32 + 32] if n % 7 else None for n in range(5000)]
    engine = make_work({}).engine
    engine.register("hashed", pa.table({"id": range(5000), "pdq": pa.array(hashes, pa.binary())}))
    rows = engine.rows("SELECT id, pdq_word(pdq, 2) AS word FROM hashed ORDER BY id")
    assert rows["word"].to_pylist() == [h and int.from_bytes(h[16:24], "big", signed=True) for h in hashes]
