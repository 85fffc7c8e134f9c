"""A release's ``catalog.duckdb``: its size, and seconds that questions to an invented release take.

    python benchmarks/catalog.py
    python benchmarks/catalog.py --pairs 1000000 --rounds 3

Half of the pairs are released, and every pair has hashes. Each question is asked of DuckDB as a user has it: the file
opened to be read, nothing of fairshard's registered. Medians, the files in the system's cache.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa

from fairshard.pipelines._catalog import write_catalog
from fairshard.pipelines._engine import DuckDBEngine
from fairshard.pipelines._release import CATALOG, Release
from fairshard.schemas.release import OUTCOME, PUBLIC_TABLES, public

_PAIRS = """
SELECT range AS pair_id, 'https://h' || host || '.example/' || range || '.jpg' AS url,
       'h' || host || '.example/' || range || '.jpg' AS url_key, 'h' || host || '.example' AS host,
       'd' || (host // 4) || '.example' AS domain, 'A picture of number ' || range AS caption, 'list' AS source,
       range AS source_row, CASE WHEN released THEN 'released' ELSE 'dropped' END AS outcome,
       CASE WHEN NOT released THEN 'consult' END AS stage, CASE WHEN NOT released THEN 'deny:robots_txt' END AS reason,
       CASE WHEN released THEN range // 10000 END AS shard_id, CASE WHEN released THEN 20000 END AS bytes,
       false AS withheld
FROM (SELECT range, CAST(floor(sqrt(hash(range) % 10000000000)) AS BIGINT) AS host, hash(range + 1) % 2 = 0 AS released
      FROM range($pairs))
"""
_IMAGES = """
SELECT range AS pair_id, 'ok' AS status, 'image/jpeg' AS mime, 640 AS width_px, 480 AS height_px,
       CAST(CAST(hash(range) AS BIT) AS BIGINT) AS phash,
       unhex(md5(CAST(range AS VARCHAR)) || md5(CAST(-range AS VARCHAR))) AS pdq
FROM range($pairs)
"""

_QUESTIONS = {
    "how many pairs": "SELECT count(*) FROM outcome",
    "what became of them": "SELECT outcome, reason, count(*) FROM outcome GROUP BY ALL",
    "the ten largest domains": "SELECT domain, count(*) FROM outcome GROUP BY domain ORDER BY 2 DESC, 1 LIMIT 10",
    "one URL": "SELECT outcome, reason FROM outcome WHERE url_key = 'h7.example/77.jpg'",
    "the nearest pHashes": "SELECT pair_id FROM image ORDER BY phash_distance(phash, 12345), pair_id LIMIT 5",
    "the nearest PDQ hashes": "SELECT pair_id FROM image ORDER BY pdq_distance(pdq, hex_bytes(repeat('c3', 32))), 1 LIMIT 5",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), options.pairs)
        took = _median(lambda: write_catalog(Release(folder)), options.rounds)
        print(f"{CATALOG}: {os.path.getsize(f'{folder}/{CATALOG}') / 1024:.0f} KiB, written in {took:.2f} s")
        os.chdir(folder)
        print(f"open it: {_median(lambda: duckdb.connect(CATALOG, read_only=True).close(), options.rounds):.3f} s")
        for name, seconds in ask(options.rounds).items():
            print(f"{name}: {seconds:.3f} s")
        os.chdir("/")


def make(folder: Path, pairs: int) -> None:
    """An invented release, whose other tables are empty, with its catalog."""
    engine = DuckDBEngine(os.cpu_count() or 1, None, str(folder / "spill"))
    for name in PUBLIC_TABLES:
        sql = _IMAGES if name == "image" else "SELECT 1 AS nothing WHERE $pairs < 0"
        _write(engine, sql, folder / f"tables/{name}-00000.parquet", public(name), pairs)
    _write(engine, _PAIRS, folder / "pairs/00000.parquet", OUTCOME, pairs)
    engine.close()
    write_catalog(Release(str(folder)))


def _write(engine: DuckDBEngine, sql: str, path: Path, schema: pa.Schema, pairs: int) -> None:
    """Columns that the query does not give are null."""
    engine.register("empty", schema.empty_table())
    engine.write(f"SELECT * FROM empty UNION ALL BY NAME ({sql})", str(path.parent), schema, pairs=pairs)
    (path.parent / "part-0.parquet").rename(path)


def ask(rounds: int) -> dict[str, float]:
    """Median seconds of each question to the catalog of the working directory."""
    with duckdb.connect(CATALOG, read_only=True) as connection:
        return {
            name: _median(lambda sql=sql: connection.execute(sql).fetchall(), rounds)
            for name, sql in _QUESTIONS.items()
        }


def _median(call: Callable[[], object], rounds: int) -> float:
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
