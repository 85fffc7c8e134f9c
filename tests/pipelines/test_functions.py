import duckdb
import numpy as np
import pyarrow as pa
import pytest

from fairshard.pipelines import _spark
from fairshard.pipelines.functions import register
from fairshard.udfs import hashing

ROWS = 5_000  # more than DuckDB hands over at once


@pytest.fixture(scope="module")
def hashes():
    """Random pHashes and PDQ hashes, with nulls and wrong lengths, and the distances between them."""
    rng = np.random.default_rng(0)
    phash = rng.integers(-(2**63), 2**63, (2, ROWS))
    pdq = rng.integers(0, 256, (2, ROWS, 32), np.uint8)
    bits = np.unpackbits(phash.astype(">i8").view(np.uint8).reshape(2, ROWS, 8), axis=2)
    expected = [
        (number, int((bits[0, number] != bits[1, number]).sum()), int(np.bitwise_count(pdq[0] ^ pdq[1])[number].sum()))
        for number in range(ROWS)
    ]
    columns = {"n": list(range(ROWS))}
    for side, name in enumerate("ab"):
        columns[f"phash_{name}"] = phash[side].tolist()
        columns[f"pdq_{name}"] = [one.tobytes() for one in pdq[side]]
    columns["phash_a"][7] = columns["phash_b"][8] = columns["pdq_a"][8] = columns["pdq_b"][9] = None
    columns["pdq_a"][7] = b"short"
    columns["pdq_b"][10] = bytes(33)
    for number, phash_bits, pdq_bits in ((7, None, None), (8, None, None), (9, expected[9][1], None)):
        expected[number] = (number, phash_bits, pdq_bits)
    expected[10] = (10, expected[10][1], None)
    return pa.table(columns), expected


QUERY = "SELECT n, phash_distance(phash_a, phash_b) AS p, pdq_distance(pdq_a, pdq_b) AS q FROM hashes ORDER BY n"


def test_distances_on_every_engine(hashes, engine_name):
    table, expected = hashes
    if engine_name == "duckdb":
        connection = duckdb.connect()
        register(connection)
        connection.register("hashes", table)
        assert connection.execute(QUERY).fetchall() == expected
    else:
        spark = _spark.session(2)
        register(spark)
        spark.createDataFrame(table).createOrReplaceTempView("hashes")
        assert [tuple(row) for row in spark.sql(QUERY).collect()] == expected
        spark.catalog.dropTempView("hashes")


TEXTS = [
    "bf0d9c889636b2b2", "BF0D9C889636B2B2", "0000000000000000", "7fffffffffffffff", "8000000000000000", "ffffffffffffffff",
    None, "", "0", "ab", "abc", "no hex", " f0d9c889636b2b2", "f0d9c889636b2b2\n", "0xbf0d9c889636b2", "٠١٢٣٤٥٦٧٨٩٠١٢٣٤٥",
]  # fmt: skip


@pytest.mark.parametrize("function", [hashing.phash_bits, hashing.hex_bytes])
def test_hex_digits_are_read_alike(function):
    """Columns and constants, which DuckDB computes beforehand."""
    texts = pa.table({"place": range(len(TEXTS)), "key": pa.array(TEXTS)})
    connection = duckdb.connect()
    register(connection)
    connection.register("texts", texts)
    found = connection.sql(f"SELECT {function.name}(key) FROM texts ORDER BY place").fetchall()
    alone = [connection.execute(f"SELECT {function.name}({key!r})").fetchone() for key in TEXTS[:6]]
    assert [one for (one,) in found] == function(texts["key"]).to_pylist()
    assert alone == found[:6]
    for key in ("no hex", "0"):
        assert connection.execute(f"SELECT {function.name}('{key}')").fetchone() == (None,)


@pytest.mark.parametrize("stored", [False, True])
def test_distances_of_constants(tmp_path, stored):
    """Also in a cursor, but for a database file, into which nothing is written."""
    connection = duckdb.connect(tmp_path / "own.duckdb" if stored else ":memory:")
    register(connection)
    query = "SELECT phash_distance(-1, 0), phash_distance(NULL, 0), pdq_distance(NULL, NULL), pdq_distance('a', 'b')"
    assert connection.sql(query).fetchall() == [(64, None, None, None)]
    if not stored:
        assert connection.cursor().sql(query).fetchall() == [(64, None, None, None)]
    own = "SELECT count(*) FROM duckdb_functions() WHERE NOT internal AND database_name = 'own'"
    assert connection.sql(own).fetchall() == [(0,)]
