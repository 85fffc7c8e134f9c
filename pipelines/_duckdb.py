"""What every DuckDB connection of fairshard has: its functions, and an ear for Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import duckdb
import pyarrow as pa

from ..udfs.catalog import UDFS

T = TypeVar("T")

# Types that every engine has, spelled as DuckDB does. Unsigned ones are left out: Spark has none.
SQL_TYPES = {
    pa.int64(): "BIGINT",
    pa.int32(): "INTEGER",
    pa.float64(): "DOUBLE",
    pa.float32(): "REAL",
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.bool_(): "BOOLEAN",
    pa.timestamp("us", tz="UTC"): "TIMESTAMPTZ",
    pa.list_(pa.string()): "VARCHAR[]",
    pa.list_(pa.int64()): "BIGINT[]",
    pa.list_(pa.float32()): "REAL[]",
}

# Functions of ``udfs/catalog.py`` that DuckDB can say itself: the same results, sooner, and in a catalog that is
# opened without Python.
MACROS = {
    "phash_distance": "(a, b) AS CAST(bit_count(xor(CAST(a AS BIGINT), CAST(b AS BIGINT))) AS INTEGER)",
    "pdq_distance": """(a, b) AS
        CASE WHEN octet_length(CAST(a AS BLOB)) = 32 AND octet_length(CAST(b AS BLOB)) = 32
             THEN CAST(bit_count(xor(CAST(CAST(a AS BLOB) AS BIT), CAST(CAST(b AS BLOB) AS BIT))) AS INTEGER) END""",
    "phash_bits": """(key) AS
        CASE WHEN regexp_full_match(key, '[0-9a-fA-F]{16}')
             THEN CAST(CAST(('0x' || key) AS UBIGINT) AS BIT)::BIGINT END""",
    "hex_bytes": "(key) AS CASE WHEN regexp_full_match(key, '([0-9a-fA-F]{2})*') THEN unhex(key) END",
}


def register_udfs(connection: duckdb.DuckDBPyConnection) -> None:
    """Make every UDF callable from SQL on a DuckDB connection, also one that only reads."""
    create_macros(connection, "" if _in_memory(connection) else "TEMP")  # a file is its owner's
    for udf in UDFS:
        if udf.name in MACROS:
            continue
        connection.create_function(
            udf.name,
            udf.as_function(),
            [SQL_TYPES[kind] for kind in udf.takes],
            SQL_TYPES[udf.returns],
            type="arrow",  # type: ignore[arg-type]
            null_handling="special",  # type: ignore[arg-type]
        )


def create_macros(connection: duckdb.DuckDBPyConnection, kind: str = "") -> None:
    """Make ``MACROS`` part of the database of a connection; of kind ``TEMP``, of the connection alone, not its cursors."""
    for name, definition in MACROS.items():
        connection.execute(f"CREATE OR REPLACE {kind} MACRO {name}{definition}")


def _in_memory(connection: duckdb.DuckDBPyConnection) -> bool:
    found = connection.execute("SELECT path IS NULL FROM duckdb_databases() WHERE database_name = current_database()")
    return found.fetchall() == [(True,)]


def interruptible(connection: duckdb.DuckDBPyConnection, call: Callable[[], T]) -> T:
    """What a call on a connection gives, ended by Ctrl-C: DuckDB does not look for that while it computes.

    Raises:
        KeyboardInterrupt: Ctrl-C, once the call has ended.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()  # Ctrl-C is the main thread's
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(call)
        try:
            return future.result()
        except KeyboardInterrupt:
            while not future.done():  # a call between two queries does not hear it the first time
                connection.interrupt()
                wait([future], timeout=0.05)
            raise
