"""From lists to the policy's verdict: ``ingest`` and ``consult``, against DuckDB copying the same rows.

    python benchmarks/consult.py                                     # 20 million rows: minutes, and 15 GB of disk
    python benchmarks/consult.py --rows 1000000 --spark 0
    python benchmarks/consult.py --rows 2000000 20000000             # how time grows with rows

Lists and registries are invented, like LAION's: 16 Parquet files with its columns, hosts that follow Zipf's law over
a million names, captions of about ten words. Of the URLs, one in seven is percent-encoded, one in four has a query,
and a few each have capitals, ports, fragments, other scripts, spaces, dot segments, or are no URL at all; one row in a
hundred repeats another. The registries name 500,000 domains, 500,000 URLs, 50,000 prefixes and 10,000 creators, and
one row in twelve meets one of them.

fairshard   ``fairshard run --until consult`` in a new interpreter, with two workers, 3 GB for the engine, and a policy
            that asks no hosts: to committed ``pair``, ``rejected``, ``rule``, ``signal`` and ``dropped``.
DuckDB      ``COPY (SELECT * FROM lists) TO file`` in a new interpreter, two threads, Parquet to Parquet with its
            defaults: the least that reading and writing those rows can cost. Once before and once after fairshard.
Spark       with ``--spark``, fairshard on a list of that many rows with either engine: Spark local[2] and DuckDB run
            the same SQL. Its time to start is in the run, not in the stage.

Seconds are wall time; CPU seconds, of all processes, say more where the machine has other work. Memory is the largest
sum of the resident sets of all processes of a run, which counts more than once what they share.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
from invented_lists import LISTED, make_lists, make_registries
from process_cost import Cost, cost_of

_WORKERS = 2
_ENGINE_GB = 3
_COPY = """
import sys, duckdb
lists, target = sys.argv[1:]
connection = duckdb.connect(config={"threads": 2})
connection.execute(f"COPY (SELECT * FROM read_parquet('{lists}/*.parquet')) TO '{target}' (FORMAT parquet)")
"""
_FAIRSHARD = "from fairshard.pipelines.cli import main; main()"
_STOP = ("--until", "consult")


def main() -> None:
    options = _options()
    found = {rows: _with_lists(rows, options, _against_copy) for rows in options.rows}
    counts = sorted(found)
    for few, many in itertools.pairwise(counts):
        print(f"{many / few:.1f} times the rows in {found[many].seconds / found[few].seconds:.1f} times the time")
    if options.spark:
        _with_lists(options.spark, options, _against_spark)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=[20_000_000], help="of the lists (default 20,000,000)")
    parser.add_argument("--spark", type=int, default=1_000_000, help="rows for Spark (default 1,000,000); 0: none")
    parser.add_argument("--dir", help="where lists and tables are put; a temporary folder if not given")
    parser.add_argument("--limit", type=float, default=3600, help="seconds until a run is stopped (default 3,600)")
    return parser.parse_args()


def _with_lists(rows: int, options: argparse.Namespace, measure: Callable[[Path, int, float], Cost]) -> Cost:
    with tempfile.TemporaryDirectory(prefix="fairshard-benchmark-", dir=options.dir) as temporary:
        folder = Path(temporary)
        make_lists(folder / "lists", rows)
        make_registries(folder)
        print(f"{rows:,} rows; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
        return measure(folder, rows, options.limit)


def _against_copy(folder: Path, rows: int, limit_s: float) -> Cost:
    target = folder / "copy.parquet"
    copy = [sys.executable, "-c", _COPY, str(folder / "lists"), str(target)]
    before = cost_of(copy, limit_s)
    target.unlink()
    ours, stages = _fairshard(folder, rows, "duckdb", limit_s)
    after = cost_of(copy, limit_s)
    for name, cost in (("DuckDB copies", before), ("fairshard", ours), ("DuckDB copies", after)):
        print(f"{name:<24}{cost}")
    print(f"of which ingest {stages['ingest']:.1f} s, consult {stages['consult']:.1f} s, the rest start and registries")
    wall, cpu = (2 * getattr(ours, of) / (getattr(before, of) + getattr(after, of)) for of in ("seconds", "cpu_s"))
    load = os.getloadavg()[0]
    print(f"fairshard takes {wall:.1f} times as long, {cpu:.1f} times in CPU seconds; load {load:.1f}", flush=True)
    return ours


def _against_spark(folder: Path, rows: int, limit_s: float) -> Cost:
    ours, stages = _fairshard(folder, rows, "duckdb", limit_s)
    spark, theirs = _fairshard(folder, rows, "spark", limit_s)
    for name, cost, of in (("DuckDB", ours, stages), ("Spark", spark, theirs)):  # the JVM's CPU seconds are not known
        print(f"fairshard on {name:<11}{cost.seconds:7.1f} s {cost.peak_gb:5.1f} GB, consult {of['consult']:.1f} s")
    whole, consult = spark.seconds / ours.seconds, theirs["consult"] / stages["consult"]
    print(f"Spark local[{_WORKERS}] takes {whole:.1f} times as long, {consult:.1f} times in consult", flush=True)
    if any(_rows(folder, "duckdb", table) != _rows(folder, "spark", table) for table in ("pair", "signal", "dropped")):
        sys.exit("Spark and DuckDB gave other rows")
    return spark


def _rows(folder: Path, engine: str, table: str) -> tuple[int, int]:
    """How many rows a table has, and the sum of their ids."""
    ids = pq.read_table(folder / f"work-{engine}" / table, columns=["pair_id"])["pair_id"].to_numpy()
    return len(ids), int(ids.sum())


def _fairshard(folder: Path, rows: int, engine: str, limit_s: float) -> tuple[Cost, dict[str, float]]:
    """What a run took, and the seconds of its stages."""
    work = folder / f"work-{engine}"
    (folder / "policy.yaml").write_text(json.dumps({"name": "benchmark", "host_files": "off"}))
    job = {
        "work_dir": str(work), "release_dir": "release", "policy": "policy.yaml", "engine": engine, "workers": _WORKERS,
        "memory_limit_gb": _ENGINE_GB, "sources": [{"path": "lists/*.parquet"}],
        "registries": [{"name": scope, "path": f"{scope}.parquet", "scope": scope} for scope in LISTED],
    }  # fmt: skip
    (folder / "job.yaml").write_text(json.dumps(job))
    cost = cost_of([sys.executable, "-c", _FAIRSHARD, "--quiet", "run", str(folder / "job.yaml"), *_STOP], limit_s)
    stages = {stage["stage"]: stage for stage in json.loads((work / "run.json").read_text())["stages"]}
    written = stages["ingest"]["rows_written"]
    if written["pair"] + written["rejected"] != rows or not stages["consult"]["rows_written"]["dropped"]:
        sys.exit(f"fairshard: {written} of {rows} rows, {stages['consult']['rows_written']}")
    return cost, {name: stage["seconds"] for name, stage in stages.items()}


if __name__ == "__main__":
    main()
