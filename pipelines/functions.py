"""fairshard's SQL functions for connections and sessions that are not fairshard's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

from . import _duckdb, _spark

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def register(engine: duckdb.DuckDBPyConnection | SparkSession) -> None:
    """Make every function of ``udfs/catalog.py`` callable from SQL, with the same results on either engine.

    ``phash_distance(a, b)`` takes BIGINTs, ``pdq_distance(a, b)`` BLOBs (Spark: binary) of 32 bytes; both give the bits
    that differ as INTEGER, and NULL where either is NULL or a PDQ hash has another length. ``colour_distance(a, b,
    spared)`` takes two BLOBs of 768 bytes and an INTEGER, and gives levels. DuckDB has the distances of hashes as
    macros, which are written into no database file: with one, its cursors do not know them, unless it is a catalog.

    Args: engine: a DuckDB connection, also one that only reads, or a Spark session, whose workers have fairshard.
    """
    if isinstance(engine, duckdb.DuckDBPyConnection):
        _duckdb.register_udfs(engine)
    else:
        _spark.register_udfs(engine)
