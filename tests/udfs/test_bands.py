import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairshard.udfs.bands import WORD_BITS, bands, list_bands, pdq_word, probe_table

PLANS = st.tuples(st.sampled_from([1, 4]), st.integers(0, 40), st.sampled_from([1, 1000, 10**5, 10**6, 10**8]))


def found_by(plan, word, differ):
    """Whether some band of a plan agrees, up to its flips, on a word whose bits differ where ``differ`` says so."""
    runs = [(((1 << band.width) - 1) << band.shift, band) for band in plan if band.word == word]
    return any((differ & run).bit_count() <= band.flips and not differ & band.exact for run, band in runs)


@given(PLANS, st.sampled_from([None, 1, 1000, 10**6]), st.randoms(use_true_random=False))
def test_bands_cannot_miss_a_pair(plan, entries, random):
    words, radius, rows = plan
    found = bands(words, radius, rows) if entries is None else list_bands(words, radius, entries, rows)
    assert all(not band.exact & ((1 << band.width) - 1) << band.shift for band in found)
    for _ in range(200):
        places = random.sample(range(words * WORD_BITS), radius)
        differ = [
            sum(1 << place % WORD_BITS for place in places if place // WORD_BITS == word) for word in range(words)
        ]
        assert any(found_by(found, word, bits) for word, bits in enumerate(differ))


@pytest.mark.parametrize("rows", [20_000, 10**6, 10**7, 10**8])
def test_bands_find_whatever_four_bits_differ(rows):
    plan = bands(1, 4, rows)
    differ = np.array(
        [sum(1 << place for place in places) for places in itertools.combinations(range(64), 4)], np.uint64
    )
    found = np.zeros(len(differ), bool)
    for band in plan:
        run, exact = (np.uint64(bits) for bits in (((1 << band.width) - 1) << band.shift, band.exact))
        found |= (np.bitwise_count(differ & run) <= band.flips) & (differ & exact == 0)
    assert found.all()


@given(PLANS)
@settings(max_examples=30)
def test_probe_table_has_each_set_of_flips_once(plan):
    words, radius, rows = plan
    found = bands(words, radius, rows)
    table = probe_table(found)
    assert table.num_rows == sum(band.masks for band in found) == len(table.group_by(["band", "flip"]).aggregate([]))
    for row in table.slice(0, 500).to_pylist():
        band = found[row["band"]]
        mask, flip, top = (row[name] % 2**64 for name in ("mask", "flip", "top"))
        assert mask == band.exact | ((1 << band.width) - 1) << band.shift
        assert flip & ~mask == 0 and flip & band.exact == 0
        assert top == (1 << flip.bit_length() - 1 if flip else 0)


def test_more_rows_ask_for_more_bits():
    def shapes(*args):
        return {(band.width, band.flips, band.exact.bit_count()) for band in bands(*args)}

    assert shapes(1, 4, 1000) == {(13, 0, 0), (12, 0, 0)}
    assert shapes(1, 4, 10**6) == {(23, 1, 0), (18, 0, 0)}
    assert shapes(1, 4, 10**7) == {(25, 1, 0), (14, 0, 9), (14, 0, 8)}
    assert shapes(4, 31, 10**5) == {(16, 1, 0)}


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
