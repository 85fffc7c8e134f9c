"""``fairshard report`` on a release of a million rows: time of the command, its peak memory, size of the page.

    python benchmarks/report.py                             # makes the release first, which takes longer: 3 GB
    python benchmarks/report.py --dir /data/big             # the release stays there, and is taken by the next run
    python benchmarks/report.py --rows 100000 --rounds 3

The release is invented, and made by ``emit`` itself from tables of all earlier stages: hosts, creators and groups of
duplicates are as uneven as on the web (few are very large), and there are two signals a pair. Pictures are 64 small
JPEGs over and over. There is no peer to compare with.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from PIL import Image

from fairshard.pipelines import emit
from fairshard.pipelines._release import MANIFEST
from fairshard.pipelines._store import Store
from fairshard.pipelines._work import Work
from fairshard.schemas.config import from_mapping
from fairshard.schemas.tables import TABLES

_PICTURES, _WIDTH_PX, _HEIGHT_PX = 64, 96, 64
_BATCH_ROWS = 100_000
_COMMAND = "from fairshard.pipelines.cli import main; main()"

# What becomes of each row. u1 to u8 are even between 0 and 1; n to the power of one makes few large and many small.
_ROW = f"""
CREATE TABLE planned AS
SELECT number, (hash(number)::HUGEINT - 9223372036854775808)::BIGINT AS pair_id, u1, u2, u3,
       CASE WHEN u1 < 0.03 THEN 'ingest' WHEN u1 < 0.18 THEN 'consult' WHEN u1 < 0.28 THEN 'fetch'
            WHEN u1 < 0.30 THEN 'screen' WHEN u1 < 0.35 THEN 'filter' WHEN u1 > 0.97 THEN 'balance' END AS ends,
       'd' || floor(pow(50000, u2))::INTEGER || '.example' AS domain,
       CASE WHEN u3 < 0.3 THEN 'Creator ' || floor(pow(20000, u4))::INTEGER END AS creator,
       ['?', 'cc-by-4.0', 'cc-by-sa-4.0', 'cc0-1.0'][floor(pow(9, u5))::INTEGER] AS licence,
       CASE WHEN u6 < 0.2 THEN 'Photo no. ' || number || ' of the catalogue of company ' || floor(pow(500, u4))::INTEGER
            WHEN u6 < 0.3 THEN 'picture ' || floor(pow(300, u4))::INTEGER
            ELSE 'A picture of ' || md5(number::VARCHAR) || ' beside ' || md5(u6::VARCHAR) END AS caption,
       CASE WHEN u7 < 0.2 THEN floor(pow(50000, u8))::INTEGER END AS look,
       ['tdmrep', 'x_robots_tag', 'rsl', 'aipref', 'ai_txt', 'registry'][floor(pow(6.99, u4))::INTEGER] AS kind,
       floor(64 * pow(64, u5))::INTEGER AS width_px
FROM (SELECT number, {", ".join(f"hash(number || ' {n}') / 18446744073709551616.0 AS u{n}" for n in range(1, 9))}
      FROM range($rows) AS numbers(number))
"""
_GROUPED = """
CREATE TABLE grouped AS
SELECT pair_id, min(pair_id) OVER same_look AS keeper_id, u3 AS u FROM planned
WHERE look IS NOT NULL AND coalesce(ends, 'balance') = 'balance'
WINDOW same_look AS (PARTITION BY look) QUALIFY count(*) OVER same_look > 1
"""
_TABLES = {
    "rejected": "SELECT 'list' AS source, number AS source_row, 'null_url' AS reason FROM planned WHERE ends = 'ingest'",
    "pair": """
SELECT pair_id, 'https://' || url_key AS url, url_key, 'img.' || domain AS host, domain, caption, 'list' AS source,
       number AS source_row, licence, creator
FROM (SELECT *, 'img.' || domain || '/' || number || '.jpg' AS url_key FROM planned)
WHERE ends IS DISTINCT FROM 'ingest'
""",
    "signal": """
SELECT pair_id, unnest(['robots_txt', kind]) AS kind, CASE ends WHEN 'consult' THEN 'deny' ELSE 'none' END AS verdict,
       'url' AS scope, 'User-agent: *' AS value, 'https://' || domain || '/robots.txt' AS source, now() AS observed_at,
       'benchmark' AS parser
FROM planned WHERE ends IS DISTINCT FROM 'ingest'
""",
    "image": """
SELECT pair_id, '' AS asked_url, CASE ends WHEN 'fetch' THEN 'failed' ELSE 'ok' END AS status, 200 AS http_status,
       'image/jpeg' AS mime, 40 * width_px AS size_bytes, width_px, width_px * 2 // 3 AS height_px,
       sha256(number::VARCHAR) AS sha256, md5(number::VARCHAR) AS md5, pair_id AS phash,
       unhex(sha256(pair_id::VARCHAR)) AS pdq, 90 AS pdq_quality, 'work_shard/0000.tar' AS work_shard,
       start AS work_offset, size AS work_bytes, $width AS work_width_px, $height AS work_height_px,
       now() AS fetched_at, CASE ends WHEN 'fetch' THEN 'timeout' END AS error
FROM planned JOIN place ON number % $pictures = place WHERE coalesce(ends, '') NOT IN ('ingest', 'consult')
""",
    "score": """
SELECT pair_id, unnest(['language', 'caption_words']) AS kind, u2 AS value,
       unnest([chr(97 + floor(pow(26, u3))::INTEGER) || 'x', NULL]) AS label
FROM planned WHERE coalesce(ends, '') NOT IN ('ingest', 'consult', 'fetch', 'screen')
""",
    "duplicate": """
SELECT pair_id, keeper_id AS group_id, keeper_id, coalesce(tie, 'linked') AS kind,
       CASE tie WHEN 'exact' THEN 0 WHEN 'pdq' THEN floor(34 * u)::INTEGER END AS distance
FROM (SELECT *, CASE WHEN pair_id = keeper_id OR u < 0.4 THEN 'exact' WHEN u < 0.9 THEN 'pdq' END AS tie FROM grouped)
""",
    "dropped": """
SELECT pair_id, coalesce(CASE WHEN pair_id <> keeper_id THEN 'dedup' END, ends) AS stage,
       CASE stage WHEN 'consult' THEN 'deny:' || kind WHEN 'fetch' THEN 'failed:http_' || (399 + floor(pow(99, u3))::INTEGER)
                  WHEN 'screen' THEN 'deny:hash_list' WHEN 'filter' THEN 'language' WHEN 'dedup' THEN 'near_duplicate'
                  ELSE 'cap_domain' END AS reason, '' AS evidence
FROM planned LEFT JOIN grouped USING (pair_id)
WHERE ends IS DISTINCT FROM 'ingest' AND (ends IS NOT NULL OR pair_id <> keeper_id)
""",
}
_STAGES = {"ingest": ("pair", "rejected"), "consult": ("signal",), "fetch": ("image",), "screen": (),
           "filter": ("score",), "dedup": ("duplicate",), "balance": ("dropped",)}  # fmt: skip


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="fairshard-benchmark-") as temporary:
        folder = Path(options.dir or temporary)
        if not (folder / "release" / MANIFEST).exists():
            _make(folder, options.rows)
        print(f"load {os.getloadavg()[0]:.1f}", flush=True)
        for _ in range(options.rounds):
            _measure(folder / "release")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the source list (default 1,000,000)")
    parser.add_argument("--rounds", type=int, default=1, help="default 1")
    parser.add_argument("--dir", help="where the release is, or is put; a temporary folder if not given")
    return parser.parse_args()


def _measure(release: Path) -> None:
    before = time.perf_counter()
    subprocess.run([sys.executable, "-c", _COMMAND, "report", str(release)], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - before
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
    page = (release / "report.html").stat().st_size / 1e6
    print(f"{seconds:.1f} s, {peak:.2f} GB, page of {page:.2f} MB", flush=True)


def _make(folder: Path, rows: int) -> None:
    """A work directory that is ready for ``emit``, and its release."""
    store, connection = Store(str(folder / "work")), duckdb.connect()
    connection.execute(_ROW, {"rows": rows})
    connection.execute(_GROUPED)
    for stage, tables in _STAGES.items():
        with store.task(stage, "all", "benchmark") as task:
            if stage == "ingest":
                task.rows_in = rows
            if stage == "fetch":
                tar = Path(task.scratch("0000.tar"))
                connection.register("place", _pictures(tar))
                task.keep(str(tar), "work_shard/0000.tar")
            for table in tables:
                task.write(table, _batches(connection, table))
    connection.close()
    sections = {"work_dir": "work", "release_dir": "release", "sources": [{"path": "list.csv"}]}
    work = Work(from_mapping(sections, folder))
    try:
        emit.run(work)
    finally:
        work.close()


def _batches(connection: duckdb.DuckDBPyConnection, table: str) -> Iterator[pa.RecordBatch]:
    """Rows of a table, null in columns that its query does not name."""
    schema, given = TABLES[table].schema, {"pictures": _PICTURES, "width": _WIDTH_PX, "height": _HEIGHT_PX}
    params = given if table == "image" else None
    for batch in connection.sql(_TABLES[table], params=params).to_arrow_reader(_BATCH_ROWS):
        columns = [
            batch.column(field.name).cast(field.type) if field.name in batch.schema.names
            else pa.nulls(batch.num_rows, field.type)
            for field in schema
        ]  # fmt: skip
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _pictures(path: Path) -> pa.Table:
    """Write the pictures. Returns where each begins, and its size."""
    random, sizes = np.random.default_rng(0), []
    with tarfile.open(path, "w") as tar:
        for place in range(_PICTURES):
            target = io.BytesIO()
            blocks = Image.fromarray(random.integers(0, 256, (6, 9, 3), dtype=np.uint8))
            blocks.resize((_WIDTH_PX, _HEIGHT_PX), Image.Resampling.BICUBIC).save(target, "JPEG")
            member = tarfile.TarInfo(f"{place}.jpg")
            member.size = len(target.getvalue())
            tar.addfile(member, io.BytesIO(target.getvalue()))
            sizes.append(member.size)
    with tarfile.open(path) as tar:
        starts = [member.offset_data for member in tar]
    return pa.table({"place": range(_PICTURES), "start": starts, "size": sizes})


if __name__ == "__main__":
    main()
