"""Spark behind the same Protocol as DuckDB: steps are translated by sqlglot, functions are the same Arrow UDFs."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import sqlglot

from ..schemas.errors import MissingExtra, SqlError
from ..udfs.catalog import UDFS
from ._engine import Steps, cast_to

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_SPARK_TYPES = {
    pa.int64(): "bigint",
    pa.int32(): "int",
    pa.float64(): "double",
    pa.float32(): "float",
    pa.string(): "string",
    pa.binary(): "binary",
    pa.bool_(): "boolean",
    pa.timestamp("us", tz="UTC"): "timestamp",
    pa.list_(pa.string()): "array<string>",
    pa.list_(pa.int64()): "array<bigint>",
    pa.list_(pa.float32()): "array<float>",
}


def session(workers: int, memory_gb: float | None = None) -> SparkSession:
    """The running Spark session, or a local one. Settings that change results are the same in both.

    Raises:
        MissingExtra: pyspark is not installed.
    """
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise MissingExtra("spark", "the Spark engine", "pyspark") from error
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    builder = SparkSession.builder.appName("fairshard")
    if "SPARK_REMOTE" not in os.environ and "MASTER" not in os.environ:
        builder = builder.master(f"local[{workers}]").config("spark.driver.memory", f"{int(memory_gb or 2)}g")
    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.sql.ansi.enabled": "true",
        "spark.sql.shuffle.partitions": str(max(workers, 1) * 2),
        "spark.sql.parquet.compression.codec": "zstd",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.driver.host": "127.0.0.1",
    }
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


class SparkEngine:
    """Spark SQL over the running session, or a local one."""

    def __init__(self, workers: int, memory_limit_gb: float | None = None):
        self._spark = session(workers, memory_limit_gb)
        self._steps = Steps()
        register_udfs(self._spark)

    def scan(self, name: str, files: Sequence[str], schema: pa.Schema) -> None:
        self._steps.forget(name)
        if not files:
            self.register(name, schema.empty_table())
            return
        frame = self._spark.read.parquet(*[_plain(file if "://" in file else f"file://{file}") for file in files])
        frame.createOrReplaceTempView("scanned")
        self._query(cast_to(schema, "scanned"), {}).createOrReplaceTempView(name)

    def register(self, name: str, table: pa.Table) -> None:
        self._steps.forget(name)
        ddl = ", ".join(f"`{field.name}` {_SPARK_TYPES[field.type]}" for field in table.schema)
        frame = self._spark.createDataFrame(table if table.num_rows else [], ddl)
        frame.createOrReplaceTempView(name)

    def step(self, name: str, sql: str, *, keep: bool = False, **params: Any) -> None:
        if not keep:
            self._steps.add(name, sql, params)
            return
        # The plan is cut off here: a plan is a tree, in which a step that others read several times occurs as often.
        # Spark would plan all of it anew in each query, for longer than it computes.
        frame = self._query(*self._steps.compile(sql, params))
        with self._without_constraints():
            frame = frame.checkpoint() if self._spark.sparkContext.getCheckpointDir() else frame.localCheckpoint()
        self._steps.forget(name)
        frame.createOrReplaceTempView(name)

    def rows(self, sql: str, **params: Any) -> pa.Table:
        return self._query(*self._steps.compile(sql, params)).toArrow()

    def batches(self, sql: str, **params: Any) -> Iterator[pa.RecordBatch]:
        yield from self.rows(sql, **params).to_batches(65_536)

    def write(
        self, sql: str, folder: str, schema: pa.Schema, *, partition_by: str | None = None, **params: Any
    ) -> None:
        writer = self._query(*self._steps.compile(sql, params, cast_to(schema))).write.mode("overwrite")
        if partition_by:
            writer = writer.partitionBy(partition_by)
        try:
            writer.parquet(folder if "://" in folder else f"file://{folder}")
        except Exception as error:
            raise SqlError("spark", f"{error}\nin the query\n{sql}") from error

    def clear(self) -> None:
        self._steps = Steps()
        for table in self._spark.catalog.listTables():
            if table.isTemporary:
                self._spark.catalog.dropTempView(table.name)  # Spark frees what was kept once nobody can name it

    @contextmanager
    def _without_constraints(self) -> Iterator[None]:
        """What is kept takes no constraints along.

        They name columns that the plan has lost when it is cut off, and Spark 4 looks for them in the next UNION, in
        vain: NoSuchElementException out of ``rewriteConstraints``.
        """
        key = "spark.sql.constraintPropagation.enabled"
        before = self._spark.conf.get(key)
        self._spark.conf.set(key, "false")
        try:
            yield
        finally:
            self._spark.conf.set(key, before or "true")

    def close(self) -> None:
        """The session belongs to whoever started it."""
        self.clear()

    def _query(self, sql: str, params: dict[str, Any]) -> DataFrame:
        translated = sqlglot.transpile(sql, read="duckdb", write="spark")[0]
        used = {key: value for key, value in params.items() if f":{key}" in translated}
        try:
            return self._spark.sql(translated, args=used or None)
        except Exception as error:
            raise SqlError("spark", f"{error}\nin the query\n{translated}") from error


def _plain(path: str) -> str:
    """A path whose brackets and stars Hadoop does not take for a pattern."""
    return re.sub(r"([\[\]{}*?\\])", r"\\\1", path)


def register_udfs(spark: SparkSession) -> None:
    """Make every UDF callable from SQL on a Spark session."""
    from pyspark.sql.functions import arrow_udf

    for udf in UDFS:
        function = arrow_udf(udf.as_function(), _SPARK_TYPES[udf.returns])  # type: ignore[call-overload]
        spark.udf.register(udf.name, function)
