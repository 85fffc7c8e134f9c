"""Spark behind the same Protocol as DuckDB: steps are translated by sqlglot, functions are the same Arrow UDFs."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlglot

from ..schemas.errors import ConfigError, MissingExtra, SqlError
from ..schemas.limits import SPARK_FIXED
from ..udfs.catalog import UDFS
from ._engine import Steps, cast_to
from ._files import arrow_filesystem, file_system, listed, remove_folder
from ._spark_files import read, write

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
# What a config may change; what it may not is SPARK_FIXED.
_QUIET = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.parquet.compression.codec": "zstd",
}
_NAMES_A_MASTER = ("MASTER", "SPARK_REMOTE", "PYSPARK_GATEWAY_PORT")  # the last: spark-submit runs this process


def session(workers: int, memory_gb: float | None = None, conf: Mapping[str, str] | None = None) -> SparkSession:
    """The running Spark session, or one on the master that ``conf`` or spark-submit names, or a local one.

    Settings that change results are the same in all.

    Raises:
        MissingExtra: pyspark is not installed.
        ConfigError: Spark cannot be started so.
    """
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise MissingExtra("spark", "the Spark engine", "pyspark") from error
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    settings = {**_QUIET, **_local(workers, memory_gb, conf or {}), **(conf or {}), **SPARK_FIXED}
    builder = SparkSession.builder.appName("fairshard")
    for key, value in settings.items():
        builder = builder.config(key, value)
    try:
        spark = builder.getOrCreate()
    except Exception as error:
        found = f"cannot be started ({' '.join(str(error).split())[:300]})"
        raise ConfigError("spark", found, "a master that answers", "Check 'spark' in the config") from error
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def _local(workers: int, memory_gb: float | None, conf: Mapping[str, str]) -> dict[str, str]:
    """Settings of a session on this machine; none where another master was named."""
    if "spark.master" in conf or any(name in os.environ for name in _NAMES_A_MASTER):
        return {}
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    return {
        "spark.master": f"local[{workers}]",
        "spark.driver.memory": f"{int(memory_gb or 2)}g",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.shuffle.partitions": str(max(workers, 1) * 2),
    }


class SparkEngine:
    """Spark SQL over the running session, or one that is started.

    Args:
        spark: the session.
        scratch: folder that the executors reach, too, for what is kept or streamed. It outlives an executor.
    """

    def __init__(self, spark: SparkSession, scratch: str):
        self._spark, self._scratch = spark, scratch
        self._steps, self._numbers = Steps(), itertools.count()
        self._is_local = (spark.sparkContext.master or "").startswith("local")
        register_udfs(self._spark)

    def scan(self, name: str, files: Sequence[str], schema: pa.Schema) -> None:
        self._steps.forget(name)
        if not files:
            self.register(name, schema.empty_table())
            return
        read(self._spark, files, schema).createOrReplaceTempView("scanned")
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
        kept = self._checkpointed(frame) if self._is_local else self._written(frame, sql)
        self._steps.forget(name)
        kept.createOrReplaceTempView(name)

    def rows(self, sql: str, **params: Any) -> pa.Table:
        return self._query(*self._steps.compile(sql, params)).toArrow()

    def batches(self, sql: str, **params: Any) -> Iterator[pa.RecordBatch]:
        schema, files = self._kept(self._query(*self._steps.compile(sql, params)), sql)
        for path in files:
            fs, plain = arrow_filesystem(path)
            with fs.open_input_file(plain) as file:
                for batch in pq.ParquetFile(file).iter_batches(65_536):
                    yield batch.select(schema.names).cast(schema)

    def write(
        self, sql: str, folder: str, schema: pa.Schema, *, partition_by: str | None = None, **params: Any
    ) -> None:
        frame = self._query(*self._steps.compile(sql, params, cast_to(schema)))
        with _explained(sql):
            write(frame, folder, partition_by)

    def clear(self) -> None:
        self._steps = Steps()
        for table in self._spark.catalog.listTables():
            if table.isTemporary:
                self._spark.catalog.dropTempView(table.name)
        remove_folder(*file_system(self._scratch))

    def close(self) -> None:
        """The session belongs to whoever started it."""
        self.clear()

    def _checkpointed(self, frame: DataFrame) -> DataFrame:
        """The rows of a frame, kept by this process: half as long as writing them.

        They take no constraints along. Those name columns that the plan has lost when it is cut off, and Spark 4 looks
        for them in the next UNION, in vain: NoSuchElementException out of ``rewriteConstraints``.
        """
        key = "spark.sql.constraintPropagation.enabled"
        before = self._spark.conf.get(key)
        self._spark.conf.set(key, "false")
        try:
            return frame.localCheckpoint()
        finally:
            self._spark.conf.set(key, before or "true")

    def _written(self, frame: DataFrame, sql: str) -> DataFrame:
        """The same, where an executor may be lost, and with it all that it keeps."""
        schema, files = self._kept(frame, sql)
        return read(self._spark, files, schema) if files else self._spark.createDataFrame([], frame.schema)

    def _kept(self, frame: DataFrame, sql: str) -> tuple[pa.Schema, list[str]]:
        """Write a frame into scratch. Returns its columns, and the files in the order of its rows."""
        from pyspark.sql.pandas.types import to_arrow_schema

        folder = f"{self._scratch}/{next(self._numbers)}"
        with _explained(sql):
            write(frame, folder)
        fs, plain = file_system(folder)
        files = [path if "://" not in folder else fs.unstrip_protocol(path) for path in listed(fs, plain, ".parquet")]
        return to_arrow_schema(frame.schema, timezone="UTC"), files

    def _query(self, sql: str, params: dict[str, Any]) -> DataFrame:
        translated = sqlglot.transpile(sql, read="duckdb", write="spark")[0]
        used = {key: value for key, value in params.items() if f":{key}" in translated}
        with _explained(translated):
            return self._spark.sql(translated, args=used or None)


@contextmanager
def _explained(sql: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise SqlError("spark", f"{error}\nin the query\n{sql}") from error


def register_udfs(spark: SparkSession) -> None:
    """Make every UDF callable from SQL on a Spark session."""
    from pyspark.sql.functions import arrow_udf

    for udf in UDFS:
        function = arrow_udf(udf.as_function(), _SPARK_TYPES[udf.returns])  # type: ignore[call-overload]
        spark.udf.register(udf.name, function)
