"""Parquet files for Spark: by Hadoop's drivers where it has one for the URL, else by fsspec's, on the executors.

Spark's packages bring a driver for files and HDFS. One for an object store, such as hadoop-aws, is for whoever runs
the cluster to add; where there is none, executors read and write through fsspec, as all of fairshard does, with the
credentials of their own environment. A task reads a whole file then, with all its columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from ._files import arrow_filesystem

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_ROWS = 65_536


def read(spark: SparkSession, files: Sequence[str], schema: pa.Schema) -> DataFrame:
    """The rows of Parquet files. Through fsspec they have the schema's columns; through Hadoop, the files' own."""
    if _has_driver(spark, files[0]):
        return spark.read.parquet(*[_plain(_url(file)) for file in files])
    from pyspark.sql.pandas.types import from_arrow_schema

    paths = spark.sparkContext.parallelize([(file,) for file in files], len(files)).toDF("path string")
    types = from_arrow_schema(schema, prefer_timestamp_ntz=False)
    return paths.mapInArrow(partial(_rows_of, schema=schema), types)


def write(frame: DataFrame, folder: str, partition_by: str | None = None) -> None:
    """Write a frame into a folder, one file or one folder of values a partition, named in the order of its rows."""
    if _has_driver(frame.sparkSession, folder):
        writer = frame.write.mode("overwrite")
        (writer.partitionBy(partition_by) if partition_by else writer).parquet(_url(folder))
        return
    from pyspark.sql.pandas.types import to_arrow_schema

    schema = to_arrow_schema(frame.schema, timezone="UTC")
    task = partial(_written, folder=folder, schema=schema, partition_by=partition_by)
    frame.mapInArrow(task, "files bigint").collect()  # one row a partition


def _has_driver(spark: SparkSession, path: str) -> bool:
    """Whether Hadoop has a driver for the protocol of a path."""
    from py4j.protocol import Py4JJavaError

    protocol = path.partition("://")[0] if "://" in path else "file"
    java: Any = spark  # what py4j gives is not typed
    hadoop = java._jvm.org.apache.hadoop.fs.FileSystem
    try:
        hadoop.getFileSystemClass(protocol, java._jsc.hadoopConfiguration())
    except Py4JJavaError:
        return False
    return True


def _rows_of(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for path in batch.column("path").to_pylist():
            fs, plain = arrow_filesystem(path)
            with fs.open_input_file(plain) as file:
                for rows in pq.ParquetFile(file).iter_batches(_ROWS, columns=schema.names):
                    yield rows.select(schema.names).cast(schema)


def _written(
    batches: Iterator[pa.RecordBatch], folder: str, schema: pa.Schema, partition_by: str | None
) -> Iterator[pa.RecordBatch]:
    """One partition. A task that is tried again gives the files the same names."""
    from pyspark import TaskContext

    context = TaskContext.get()
    number = context.partitionId() if context else 0
    fs, plain = arrow_filesystem(folder)
    files: list[str] = []
    ds.write_dataset(
        pa.RecordBatchReader.from_batches(schema, (pa.record_batch(batch.columns, schema=schema) for batch in batches)),
        plain,
        filesystem=fs,
        basename_template=f"part-{number:05d}-{{i}}.parquet",
        format="parquet",
        file_options=ds.ParquetFileFormat().make_write_options(compression="zstd"),
        partitioning=[partition_by] if partition_by else None,
        partitioning_flavor="hive" if partition_by else None,
        existing_data_behavior="overwrite_or_ignore",
        use_threads=False,
        preserve_order=True,
        file_visitor=lambda file: files.append(file.path),
    )
    yield pa.record_batch([pa.array([len(files)], pa.int64())], ["files"])


def _url(path: str) -> str:
    return path if "://" in path else f"file://{path}"


def _plain(path: str) -> str:
    """A path whose brackets and stars Hadoop does not take for a pattern."""
    return re.sub(r"([\[\]{}*?\\])", r"\\\1", path)
