"""A release of invented pairs, for ``release.py``: made by ``emit`` from tables that earlier stages would have written.

Rows are like LAION's: hosts of a million names by Zipf's law, captions of ten words, a creator in one row of ten.
Every pair has hashes; pictures are random bytes, which no step between `balance` and a release looks into.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from fairshard.pipelines import emit
from fairshard.pipelines._store import Store, Task
from fairshard.pipelines._work import Work
from fairshard.schemas.config import from_mapping
from fairshard.schemas.tables import TABLES

_ROWS_A_FILE = 500_000
_BLOCK_BYTES = 64 << 20

# A function of the row's number alone. Numbers below $released go into shards.
_ROW = """
CREATE TABLE row AS
SELECT i, (hash(i) >> 1)::BIGINT * CASE WHEN i % 2 = 0 THEN 1 ELSE -1 END AS pair_id,
       power(1e6, hash(i, 'host') / 18446744073709551616.0)::INTEGER AS site, md5(i::VARCHAR) AS digest
FROM range($rows) AS numbers(i)
"""
_QUERIES = {
    "pair": """
SELECT pair_id, 'https://' || host || path AS url, host || path AS url_key, host, 'site' || site || '.example' AS domain,
       'word' || (hash(i, 'a') % 20000) || ' of ' || (hash(i, 'b') % 20000) || ' with the word' || (hash(i, 'c') % 20000)
       || ' and another one, number ' || (hash(i, 'd') % 1000) AS caption,
       'list' AS source, i AS source_row,
       CASE WHEN i % 10 = 0 THEN 'Creator Number ' || (hash(i, 'e') % 50000) END AS creator
FROM (SELECT *, 'img' || (i % 3) || '.site' || site || '.example' AS host, '/' || left(digest, 2) || '/' || digest || '.jpg' AS path FROM row)
""",
    "image": """
SELECT pair_id, 'https://site' || site || '.example/' || digest || '.jpg' AS asked_url, 'ok' AS status, 200 AS http_status,
       'https://img' || (i % 3) || '.site' || site || '.example/' || left(digest, 2) || '/' || digest || '.jpg' AS final_url,
       'image/jpeg' AS mime, 50000 + hash(i, 'f') % 50000 AS size_bytes, 640 AS width_px, 480 AS height_px,
       sha256(i::VARCHAR) AS sha256, md5(i || 'file') AS md5,
       (hash(i, 'g') >> 1)::BIGINT * CASE WHEN hash(i, 'h') % 2 = 0 THEN 1 ELSE -1 END AS phash,
       unhex(sha256(i || 'pdq')) AS pdq, (60 + i % 41)::INTEGER AS pdq_quality,
       CASE WHEN i < $released THEN 'work_shard/0000.tar' END AS work_shard,
       CASE WHEN i < $released THEN i || '.jpg' END AS work_key,
       CASE WHEN i < $released THEN i * $bytes END AS work_offset, CASE WHEN i < $released THEN $bytes END AS work_bytes,
       256 AS work_width_px, 192 AS work_height_px, TIMESTAMPTZ '2026-01-01 00:00:00+00' AS fetched_at
FROM row
""",
    "dropped": """
SELECT pair_id, 'balance' AS stage, 'cap_domain' AS reason, 'site' || site || '.example' AS evidence
FROM row WHERE i >= $released
""",
}
_STAGES = {"pair": ("ingest", "all"), "image": ("fetch", "0000"), "dropped": ("balance", "all")}


def make(folder: Path, rows: int, released: int, picture_bytes: int, samples_per_shard: int = 1000) -> Path:
    """A release in ``folder/release`` of so many rows, so many of them in shards. What else was made is removed."""
    began = time.perf_counter()
    store = Store(str(folder / "work"))
    connection = duckdb.connect(config={"threads": os.cpu_count() or 1, "temp_directory": str(folder / "spill")})
    connection.execute("SET enable_progress_bar = false")
    connection.execute(_ROW, {"rows": rows})
    given = {"released": released, "bytes": picture_bytes}
    for table, (stage, partition) in _STAGES.items():
        with store.task(stage, partition, "benchmark") as task:
            query = _QUERIES[table]
            task.write(table, _typed(connection, table, query, {k: v for k, v in given.items() if f"${k}" in query}))
            if table == "pair":
                task.rows_in = rows
            if table == "image":
                _pictures(task, released * picture_bytes)
    connection.close()
    for stage, partition in (("consult", "registry"), ("screen", "gate"), ("filter", "all"), ("dedup", "all")):
        with store.task(stage, partition, "benchmark") as task:
            task.extra["registry_sha256"] = {}
    job = {"work_dir": "work", "release_dir": "release", "sources": [{"path": "list.csv"}], "memory_limit_gb": 4}
    work = Work(from_mapping({**job, "emit": {"samples_per_shard": samples_per_shard}}, folder))
    try:
        emit.run(work)
    finally:
        work.close()
    shutil.rmtree(folder / "work")
    print(
        f"made a release of {rows:,} rows, {released:,} in shards, in {time.perf_counter() - began:.0f} s", flush=True
    )
    return folder / "release"


def _typed(connection: duckdb.DuckDBPyConnection, table: str, query: str, given: dict) -> Iterator[pa.RecordBatch]:
    schema = TABLES[table].schema
    for batch in connection.sql(query, params=given or None).to_arrow_reader(_ROWS_A_FILE):
        columns = [
            batch[field.name].cast(field.type)
            if field.name in batch.schema.names
            else pa.nulls(batch.num_rows, field.type)
            for field in schema
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _pictures(task: Task, size: int) -> None:
    path, random = Path(task.scratch("0000.tar")), np.random.default_rng(0)
    with path.open("wb") as file:
        for start in range(0, size, _BLOCK_BYTES):
            file.write(random.bytes(min(_BLOCK_BYTES, size - start)))
    task.keep(str(path), "work_shard/0000.tar")
