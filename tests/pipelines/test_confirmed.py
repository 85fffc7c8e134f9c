import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairshard.pipelines import _confirmed
from fairshard.pipelines._confirmed import confirmed_ties
from fairshard.udfs.components import components
from fairshard.udfs.leaders import Closeness


def pictures(phash, pdq, ids=None):
    """The relation ``picture``. phash: uint64[n]; pdq: uint64[n, 4]."""
    columns = {f"pdq_{word}": pdq[:, word].view(np.int64) for word in range(4)}
    ids = np.arange(len(phash)) * 3 - 10 if ids is None else ids
    unknown = {"colours": pa.nulls(len(phash), pa.binary()), "flat": pa.repeat(False, len(phash))}
    return pa.table({"pair_id": pa.array(ids, pa.int64()), "phash": phash.view(np.int64), **columns, **unknown})


def found(engine, table, radius, confirming):
    """The group of each picture that is tied to any."""
    engine.register("picture", table)
    confirmed_ties(engine, Closeness(False, radius, None, confirming_radius=confirming))
    ties = engine.rows("SELECT left_id, right_id FROM phash_tie")
    ids, groups = components(ties["left_id"], ties["right_id"])
    return dict(zip(ids.to_pylist(), groups.to_pylist(), strict=True))


def expected(table, radius, confirming):
    """The same by comparing every two."""
    words = [table[f"pdq_{word}"].to_numpy() for word in range(4)]
    ids = table["pair_id"].to_numpy()
    bits = np.sum([differing(word) for word in words], axis=0)
    near = (differing(table["phash"].to_numpy()) <= radius) & (bits <= (256 if confirming is None else confirming))
    left, right = np.nonzero(np.triu(near, 1))
    ids, groups = components(pa.array(ids[left]), pa.array(ids[right]))
    return dict(zip(ids.to_pylist(), groups.to_pylist(), strict=True))


def differing(hashes):
    hashes = hashes.view(np.uint64)
    return np.bitwise_count(hashes[:, None] ^ hashes).astype(int)


def clustered(seed, clusters, members, phash_bits=6, pdq_bits=60):
    """Pictures about so many centres, each some bits away from its centre; some are equal in one hash or in both."""
    rng = np.random.default_rng(seed)

    def spread(width, bits):
        centres = np.repeat(rng.integers(0, 2, (clusters, width), np.uint8), members, axis=0)
        order = rng.permuted(np.tile(np.arange(width), (len(centres), 1)), axis=1)
        flips = order < rng.integers(0, bits + 1, (len(centres), 1)) * rng.integers(0, 2, (len(centres), 1))
        return np.packbits(centres ^ flips, axis=1).view(np.uint64)

    return pictures(spread(64, phash_bits)[:, 0], spread(256, pdq_bits))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.integers(0, 8), st.sampled_from([None, 0, 31, 60, 120]), st.integers(1, 30))
def test_groups_are_those_of_brute_force_in_any_order(make_duckdb_work, seed, radius, confirming, members):
    table, engine = clustered(seed, 6, members), make_duckdb_work({}).engine
    groups = expected(table, radius, confirming)
    assert found(engine, table, radius, confirming) == groups
    order = np.random.default_rng(seed).permutation(len(table))
    assert found(engine, table.take(order), radius, confirming) == groups


@pytest.mark.parametrize("crowd", [1_000, 20])
def test_with_and_without_crowds_on_every_engine(make_work, monkeypatch, crowd):
    monkeypatch.setattr(_confirmed, "_CROWD", crowd)
    table = clustered(1, 20, 12)
    groups = found(make_work({}).engine, table, 4, 60)
    if crowd == 1_000:
        assert groups == expected(table, 4, 60)
    assert groups == found_on_duckdb[crowd] if crowd in found_on_duckdb else found_on_duckdb.setdefault(crowd, groups)


found_on_duckdb: dict[int, dict[int, int]] = {}


def near_each_other(phash_bits):
    """All pHashes that are at most so many bits from 0."""
    values = [0] + [1 << bit for bit in range(64) if phash_bits > 0]
    return values + [1 << one | 1 << other for one in range(64) for other in range(one) if phash_bits > 1]


@pytest.mark.parametrize("phash_bits", [0, 2])
def test_a_look_that_is_in_very_many_pictures_stays_linear(make_duckdb_work, phash_bits):
    """All pairs would be 5 billion. Half are copies of the first; the others have nothing in common but pHash."""
    values, count = near_each_other(phash_bits), 100_000
    rng, places = np.random.default_rng(0), np.arange(count)
    copies = places[places // len(values) % 2 == 0]
    pdq = rng.integers(0, 2**63, (count, 4), np.uint64)
    pdq[copies] = 0
    pdq[copies[1:], rng.integers(0, 4, len(copies) - 1)] = rng.integers(1, 2**30, len(copies) - 1, np.uint64)
    engine = make_duckdb_work({}).engine
    table = pictures(np.array(values, np.uint64)[places % len(values)], pdq, places)
    assert found(engine, table, 4, 60) == dict.fromkeys(copies.tolist(), 0)
    compared = engine.rows("SELECT count(*) AS rows FROM compared_look")["rows"][0].as_py()
    assert compared <= count + len(values) ** 2 / 2  # each with the first of its pHash, and these with each other
