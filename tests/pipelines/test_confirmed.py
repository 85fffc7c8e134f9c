import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairshard.pipelines import _confirmed
from fairshard.pipelines._confirmed import phash_ties
from fairshard.udfs.components import components
from fairshard.udfs.leaders import Closeness


def pictures(phash, level, pdq=None, ids=None):
    """The relations ``picture`` and ``image``. phash: uint64[n]; level: uint8[n], of grey pictures; pdq: uint64[n, 4]."""
    ids = pa.array(np.arange(len(phash)) * 3 - 10 if ids is None else ids, pa.int64())
    shown = pa.array([bytes([grey] * 768) for grey in range(256)], pa.binary()).take(pa.array(level))
    keys = pa.array(level.astype(str))
    pdq = np.zeros((len(phash), 4), np.uint64) if pdq is None else pdq
    words = {f"pdq_{word}": pdq[:, word].view(np.int64) for word in range(4)}
    picture = pa.table({"pair_id": ids, "phash": phash.view(np.int64), **words, "colour_key": keys})
    return picture, pa.table({"pair_id": ids, "colours": shown})


def found(engine, tables, radius, confirming, levels):
    """The group of each picture that is tied to any."""
    for name, table in zip(("picture", "image"), tables, strict=True):
        engine.register(name, table)
    phash_ties(engine, Closeness(False, radius, None, confirming, levels))
    ties = engine.rows("SELECT left_id, right_id FROM phash_tie")
    ids, groups = components(ties["left_id"], ties["right_id"])
    return dict(zip(ids.to_pylist(), groups.to_pylist(), strict=True))


def expected(tables, radius, confirming, levels):
    """The same by comparing every two."""
    ids, hashes = tables[0]["pair_id"].to_numpy(), tables[0]["phash"].to_numpy().view(np.uint64)
    grey = np.array([shown[0] for shown in tables[1]["colours"].to_pylist()], np.float32)
    near = np.bitwise_count(hashes[:, None] ^ hashes) <= radius
    words = [tables[0][f"pdq_{word}"].to_numpy().view(np.uint64) for word in range(4)]
    bits = np.sum([np.bitwise_count(word[:, None] ^ word).astype(int) for word in words], axis=0)
    near &= bits <= (256 if confirming is None else confirming)
    if levels is not None:
        gains = np.array([1, 1.1, 1.2, 1.3], np.float32)[:, None, None]
        apart = np.abs(np.minimum(grey[:, None] * gains, 255) - grey).min(axis=0)
        near &= np.ceil(np.minimum(apart, apart.T) - 1e-3) <= levels
    left, right = np.nonzero(np.triu(near, 1))
    ids, groups = components(pa.array(ids[left]), pa.array(ids[right]))
    return dict(zip(ids.to_pylist(), groups.to_pylist(), strict=True))


def clustered(seed, clusters, members, phash_bits=6, pdq_bits=60, levels=60):
    """Pictures about so many centres, each some bits and levels away; some are equal in one or in both."""
    rng = np.random.default_rng(seed)
    count = clusters * members

    def spread(width, bits):
        centres = np.repeat(rng.integers(0, 2, (clusters, width), np.uint8), members, axis=0)
        order = rng.permuted(np.tile(np.arange(width), (count, 1)), axis=1)
        flips = order < rng.integers(0, bits + 1, (count, 1)) * rng.integers(0, 2, (count, 1))
        return np.packbits(centres ^ flips, axis=1).view(np.uint64)

    grey = np.repeat(rng.integers(0, 256 - levels, clusters), members)
    grey = grey + rng.integers(0, levels, count) * rng.integers(0, 2, count)
    return pictures(spread(64, phash_bits)[:, 0], grey.astype(np.uint8), spread(256, pdq_bits))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 10**6), st.integers(0, 8), st.sampled_from([None, 0, 31, 60, 120]), st.sampled_from([None, 0, 5, 16, 60]),
    st.integers(1, 30),
)  # fmt: skip
def test_groups_are_those_of_brute_force_in_any_order(make_duckdb_work, seed, radius, confirming, levels, members):
    tables, engine = clustered(seed, 6, members), make_duckdb_work({}).engine
    groups = expected(tables, radius, confirming, levels)
    assert found(engine, tables, radius, confirming, levels) == groups
    order = np.random.default_rng(seed).permutation(len(tables[0]))
    assert found(engine, [table.take(order) for table in tables], radius, confirming, levels) == groups


@pytest.mark.parametrize("crowd", [1_000, 20])
def test_with_and_without_crowds_on_every_engine(make_work, monkeypatch, crowd):
    monkeypatch.setattr(_confirmed, "_CROWD", crowd)
    tables = clustered(1, 20, 12)
    groups = found(make_work({}).engine, tables, 4, 60, 16)
    if crowd == 1_000:
        assert groups == expected(tables, 4, 60, 16)
    assert groups == found_on_duckdb[crowd] if crowd in found_on_duckdb else found_on_duckdb.setdefault(crowd, groups)


found_on_duckdb: dict[int, dict[int, int]] = {}


def near_each_other(phash_bits):
    """All pHashes that are at most so many bits from 0."""
    values = [0] + [1 << bit for bit in range(64) if phash_bits > 0]
    return values + [1 << one | 1 << other for one in range(64) for other in range(one) if phash_bits > 1]


@pytest.mark.parametrize("phash_bits", [0, 2])
def test_a_look_that_is_in_very_many_pictures_stays_linear(make_duckdb_work, phash_bits):
    """All pairs would be 200 million. Half are copies of the first, no two equal; the others are not like it."""
    values, count = near_each_other(phash_bits), 20_000
    places = np.arange(count)
    picture, image = pictures(np.array(values, np.uint64)[places % len(values)], np.zeros(count, np.uint8), ids=places)
    copies = places // len(values) % 2 == 0
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 256, (count, 768), np.uint8)
    cells[copies] = rng.integers(0, 12, (int(copies.sum()), 768), np.uint8)
    cells[0] = 0
    image = image.set_column(1, "colours", pa.array([row.tobytes() for row in cells], pa.binary()))
    picture = picture.set_column(6, "colour_key", pa.array(places.astype(str)))
    engine = make_duckdb_work({}).engine
    assert found(engine, (picture, image), 4, 60, 16) == dict.fromkeys(places[copies].tolist(), 0)
    compared = engine.rows("SELECT count(*) AS rows FROM compared_look")["rows"][0].as_py()
    assert compared <= count + len(values) ** 2 / 2  # each with the first of its pHash, and these with each other
