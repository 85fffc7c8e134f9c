import tempfile

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairshard.pipelines import _near
from fairshard.pipelines._engine import DuckDBEngine
from fairshard.udfs.bands import bands, list_bands


def hashes(seed, words, clusters, members, spread):
    """Clusters of hashes that differ from their centre in up to ``spread`` bits; all different."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2, (clusters, 1, words * 64), np.uint8)
    order = rng.permuted(np.broadcast_to(np.arange(words * 64), (clusters, members, words * 64)), axis=-1)
    flips = order < rng.integers(0, spread + 1, (clusters, members, 1))
    bits = np.unique((centres ^ flips).reshape(-1, words * 64), axis=0)
    rng.shuffle(bits)
    return np.packbits(bits, axis=-1)


def brute_force(packed, radius):
    """left, right and distance of all pairs within the radius, by comparing every two."""
    distance = np.unpackbits(packed[:, None] ^ packed[None], axis=-1).sum(-1, dtype=int)
    left, right = np.nonzero(np.triu(distance <= radius, 1))
    return {(int(a), int(b)): int(distance[a, b]) for a, b in zip(left, right, strict=True)}


def search(engine, packed, radius):
    """The same by the engine. Ids are negative for some, and in no order."""
    words = packed.view(">i8").astype(np.int64)
    ids = (np.arange(len(packed)) * 37) % len(packed) - 20 if len(packed) % 37 else np.arange(len(packed)) - 20
    engine.register("word", pa.table({
        "pair_id": np.repeat(ids, words.shape[1]),
        "word": pa.array(np.tile(np.arange(words.shape[1]), len(words)), pa.int32()),
        "bits": words.ravel(),
    }))  # fmt: skip
    _near.near(engine, words.shape[1], radius)
    place = {int(one): n for n, one in enumerate(ids)}
    found = engine.rows("SELECT left_id, right_id, distance FROM near").to_pylist()
    assert all(row["left_id"] < row["right_id"] for row in found)
    pairs = [(*sorted((place[row["left_id"]], place[row["right_id"]])), row["distance"]) for row in found]
    assert len(pairs) == len(set(pairs))
    return {(left, right): distance for left, right, distance in pairs}


@pytest.fixture(scope="module")
def duckdb_engine(tmp_path_factory):
    engine = DuckDBEngine(2, None, str(tmp_path_factory.mktemp("spill")))
    yield engine
    engine.close()


CASES = [(1, radius) for radius in (0, 1, 2, 4, 6, 10, 31, 64)] + [(4, radius) for radius in (0, 2, 10, 31, 60, 256)]


@pytest.mark.parametrize(("words", "radius"), CASES)
@pytest.mark.parametrize("rows", [None, 10**7], ids=["bands for few", "bands for many"])
def test_search_finds_exactly_the_brute_force_pairs(duckdb_engine, monkeypatch, words, radius, rows):
    if rows:
        monkeypatch.setattr(_near, "bands", lambda words, radius, _: bands(words, radius, rows))
        monkeypatch.setattr(_near, "_HASHES_AT_ONCE", 500)
    packed = hashes(radius, words, clusters=60, members=4, spread=min(radius, 24))
    expected = brute_force(packed, radius)
    assert radius == 0 or len(expected) > 60
    assert search(duckdb_engine, packed, radius) == expected


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.sampled_from([1, 4]), st.integers(0, 12), st.integers(1, 40), st.integers(1, 12))
def test_search_on_random_and_clustered_hashes(duckdb_engine, seed, words, radius, clusters, members):
    packed = hashes(seed, words, clusters, members, spread=radius)
    assert search(duckdb_engine, packed, radius) == brute_force(packed, radius)


def test_search_without_hashes(duckdb_engine):
    assert search(duckdb_engine, np.empty((0, 8), np.uint8), 4) == {}


@pytest.mark.parametrize(("words", "radius"), [(1, 4), (4, 31)])
def test_search_on_every_engine(make_work, words, radius):
    packed = hashes(3, words, clusters=150, members=3, spread=radius)
    assert search(make_work({}).engine, packed, radius) == brute_force(packed, radius)


# --- a list against pictures -------------------------------------------------------------------------------------


def as_words(packed, **columns):
    """A table of one row a word, with the columns of each hash repeated."""
    words = packed.view(">i8").astype(np.int64)
    places = pa.array(np.tile(np.arange(words.shape[1]), len(words)), pa.int32())
    repeated = {
        name: values.take(pa.array(np.repeat(np.arange(len(words)), words.shape[1])))
        for name, values in columns.items()
    }
    return pa.table({**repeated, "word": places, "bits": words.ravel()})


def listed(engine, entries, looks, radius, turns=2):
    """(rule, picture, distance) of what the engine finds; each picture has hashes in so many turns."""
    rules = pa.array(np.arange(len(entries)) * 11 - 40)
    pictures = pa.array(np.arange(len(looks)) // turns * 7 - 300)
    engine.register("list_table", as_words(entries, rule_id=rules))
    engine.register(
        "look_table", as_words(looks, pair_id=pictures, turn=pa.array(np.arange(len(looks)) % turns, pa.int32()))
    )
    engine.step("list_word", "SELECT * FROM list_table", keep=True)
    engine.step("look_word", "SELECT * FROM look_table")
    with tempfile.TemporaryDirectory() as folder:
        _near.listed(engine, entries.shape[1] // 8, radius, lambda name: f"{folder}/{name}")
        found = engine.rows("SELECT rule_id, pair_id, distance FROM listed").to_pylist()
    rows = [((row["rule_id"] + 40) // 11, (row["pair_id"] + 300) // 7, row["distance"]) for row in found]
    assert len(rows) == len(set(rows))
    return set(rows)


def listed_by_brute_force(entries, looks, radius, turns=2):
    distance = np.unpackbits(entries[:, None] ^ looks[None], axis=-1).sum(-1, dtype=int)
    nearest = distance.reshape(len(entries), -1, turns).min(axis=2)
    return {(int(a), int(b), int(nearest[a, b])) for a, b in zip(*np.nonzero(nearest <= radius), strict=True)}


def list_and_looks(seed, words, spread):
    packed = hashes(seed, words, clusters=40, members=5, spread=spread)
    return packed[: len(packed) // 4], packed[len(packed) // 4 :][: len(packed) // 4 * 2]


@pytest.mark.parametrize(("words", "radius"), CASES)
@pytest.mark.parametrize("sizes", [None, (10**6, 10**7)], ids=["bands for few", "bands for many"])
@pytest.mark.parametrize(("looks_at_once", "entries_at_once"), [(10**7, 10**7), (37, 1)], ids=["at once", "in parts"])
def test_a_list_finds_exactly_the_brute_force_matches(
    duckdb_engine, monkeypatch, words, radius, sizes, looks_at_once, entries_at_once
):
    monkeypatch.setattr(_near, "_LOOKS_AT_ONCE", looks_at_once)
    monkeypatch.setattr(_near, "_ENTRIES_AT_ONCE", entries_at_once)
    if sizes:
        monkeypatch.setattr(_near, "list_bands", lambda words, radius, *_: list_bands(words, radius, *sizes))
    entries, looks = list_and_looks(radius, words, spread=min(radius, 24))
    expected = listed_by_brute_force(entries, looks, radius)
    assert radius == 0 or len(expected) > 20
    assert listed(duckdb_engine, entries, looks, radius) == expected


@pytest.mark.parametrize("looks_at_once", [10**7, 60])
def test_a_list_on_every_engine(make_work, monkeypatch, looks_at_once):
    monkeypatch.setattr(_near, "_LOOKS_AT_ONCE", looks_at_once)
    entries, looks = list_and_looks(5, 4, spread=31)
    assert listed(make_work({}).engine, entries, looks, 31) == listed_by_brute_force(entries, looks, 31)


@pytest.mark.parametrize(("entries", "looks"), [(0, 4), (4, 0)])
def test_a_list_or_pictures_without_hashes(duckdb_engine, entries, looks):
    one = hashes(1, 4, clusters=4, members=1, spread=0)
    assert listed(duckdb_engine, one[:entries], one[:looks], 31) == set()
