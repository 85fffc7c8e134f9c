"""How time and memory of the relational stages grow with the rows, and whether Spark gives DuckDB's rows.

    python benchmarks/scale.py                                        # 1 and 10 million rows on DuckDB: half an hour
    python benchmarks/scale.py --rows 1000000 100000000 --stages ingest consult screen filter balance emit
    python benchmarks/scale.py --rows 1000000 --engine duckdb spark   # side by side
    python benchmarks/scale.py --rows 300000 --compare                # the same rows, plan and release on both, and on Dask

Tables are invented (``invented_tables.py``) and lie as the stages read them. Each stage runs whole, in a process of
its own, with two threads and 8 GB for the engine; of `ingest`, what finds repeated rows, and of `emit`, the plan of the
shards and the books. `fetch` and the languages of `filter` are not run: they are no work of the engine's.

s, CPU s   of the stage, after Python and engine have started; CPU seconds are those of all its processes, and say more
           where the machine has other work
us a row   CPU microseconds by the rows of the list; in brackets against those of the fewest rows
beyond     CPU microseconds for each row that the size before did not have: what is needed once, whatever the rows, as
           registries are, is not in it
peak       the largest sum of the resident sets of its processes
spilled    the most that lay in the engine's temporary files
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb
from invented_tables import SCOPES, make_tables
from process_cost import Cost, cost_of
from scale_stages import STAGES

from fairshard.pipelines._store import Store

_WORKERS = 2
_RELATIONAL = [stage for stage in STAGES if stage != "release"]
_WHEN = {"observed_at", "fetched_at", "answered_at"}
_FILTER = {"caption_min_words": 3, "min_side_px": 200, "max_aspect": 3.0, "min_similarity": 0.29}
_BALANCE = {"max_per_domain": 10_000, "max_per_creator": 1_000, "max_per_caption": 100, "max_per_template": 100}


@dataclass(frozen=True)
class Took:
    """What a stage took: seconds and CPU seconds after the engine had started, and the cost of the whole process."""

    rows: int
    seconds: float
    cpu_s: float
    cost: Cost

    @property
    def us_a_row(self) -> float:
        """CPU microseconds for each row of the list."""
        return self.cpu_s / self.rows * 1e6


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="fairshard-benchmark-", dir=options.dir) as temporary:
        if options.compare:
            _compare(Path(temporary), options)
        else:
            _grow(Path(temporary), options)
        if options.keep:
            kept = shutil.copytree(temporary, f"{temporary}-kept", copy_function=os.link)
            print(f"kept in {kept}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes, engines = [1_000_000, 10_000_000], ["duckdb", "spark"]
    parser.add_argument("--rows", type=int, nargs="+", default=sizes, help="of the list (default 1 and 10 million)")
    parser.add_argument("--engine", nargs="+", choices=engines, default=["duckdb"], help="default duckdb")
    parser.add_argument(
        "--stages", nargs="+", choices=list(STAGES), default=_RELATIONAL, help="default: all relational"
    )
    parser.add_argument("--memory-limit", type=float, default=8, help="of the engine, in GB (default 8)")
    parser.add_argument("--compare", action="store_true", help="both engines, and whether they give the same")
    parser.add_argument("--keep", action="store_true", help="leave the tables where they are made")
    parser.add_argument("--dir", help="where tables are put; a temporary folder if not given")
    parser.add_argument("--limit", type=float, default=7200, help="seconds until a stage is stopped (default 7,200)")
    return parser.parse_args()


def _grow(folder: Path, options: argparse.Namespace) -> None:
    before: dict[tuple[str, str], list[Took]] = {}
    for rows in sorted(options.rows):
        made = _made(folder, rows)
        for engine in options.engine:
            work = _copied(made, f"{engine}-{rows}")
            for stage in options.stages:
                took = _run(work, rows, engine, "local", stage, options)
                print(_told(f"{engine:<7} {stage:<8}", took, before.setdefault((engine, stage), [])), flush=True)
                before[engine, stage].append(took)
            if not options.keep:
                shutil.rmtree(work)
        shutil.rmtree(made)


def _told(name: str, took: Took, before: list[Took]) -> str:
    text = (
        f"{name} {took.rows:>11,} rows {took.seconds:8.1f} s {took.cpu_s:8.1f} CPU s {took.us_a_row:8.2f} us a row "
        f"peak {took.cost.peak_gb:5.1f} GB spilled {took.cost.spilled_gb:5.1f} GB; load {os.getloadavg()[0]:.1f}"
    )
    if not before:
        return text
    first, last = before[0], before[-1]
    beyond = (took.cpu_s - last.cpu_s) / (took.rows - last.rows) * 1e6
    return f"{text} ({took.us_a_row / first.us_a_row:.2f} times that of {first.rows:,}; beyond {beyond:.2f} us)"


def _compare(folder: Path, options: argparse.Namespace) -> None:
    """Run every stage on DuckDB and on Spark, and compare what each has written; then `release`, on Dask, too."""
    for rows in options.rows:
        made, others = _made(folder, rows), 0
        runs = {engine: _copied(made, f"{engine}-{rows}") for engine in ("duckdb", "spark")}
        for stage in [*_RELATIONAL, "release"]:
            found = {}
            for engine, work in runs.items():
                took = _run(work, rows, engine, engine if engine == "spark" else "local", stage, options)
                found[engine] = _written(work, stage)
                print(_told(f"{engine:<7} {stage:<8}", took, []), flush=True)
            if stage == "release":
                _run(runs["duckdb"], rows, "duckdb", "dask", stage, options, "release-dask")
                found["dask"] = _bytes_of(runs["duckdb"] / "release-dask")
            for engine in [name for name in found if name != "duckdb"]:
                other = sorted(name for name in found["duckdb"] if found["duckdb"][name] != found[engine].get(name))
                missing = sorted(set(found[engine]) - set(found["duckdb"]))
                others += len(other) + len(missing)
                verdict = f"OTHER: {', '.join([*other, *missing][:5])}" if other or missing else "the same"
                rows_of = ", ".join(f"{name} {hash_[0]:,}" for name, hash_ in found[engine].items() if hash_[0])
                print(f"{stage}: {verdict} on {engine}: {rows_of or f'{len(found[engine])} files'}", flush=True)
        if others:
            sys.exit("the engines gave other rows or bytes")


def _made(folder: Path, rows: int) -> Path:
    made = folder / f"tables-{rows}"
    began = time.perf_counter()
    made.mkdir()
    make_tables(made, rows, _WORKERS)
    size = sum(file.stat().st_size for file in made.rglob("*") if file.is_file()) / 1e9
    print(f"made tables of {rows:,} rows, {size:.1f} GB, in {time.perf_counter() - began:.0f} s", flush=True)
    return made


def _copied(made: Path, name: str) -> Path:
    return shutil.copytree(made, made.parent / name, copy_function=os.link)


def _run(
    folder: Path,
    rows: int,
    engine: str,
    compute: str,
    stage: str,
    options: argparse.Namespace,
    release: str = "release",
) -> Took:
    (folder / "policy.yaml").write_text(
        json.dumps({"name": "benchmark", "host_files": "off", "pdq_dihedral": False, "phash_max_distance": 4})
    )
    job = {
        "work_dir": "work", "release_dir": release, "policy": "policy.yaml", "engine": engine, "compute": compute,
        "workers": _WORKERS, "memory_limit_gb": options.memory_limit, "sources": [{"path": "list.parquet"}],
        "registries": [{"name": scope, "path": f"{scope}.parquet", "scope": scope} for scope in SCOPES],
        "filter": _FILTER, "balance": _BALANCE,
    }  # fmt: skip
    if engine == "spark":
        (folder / "spark").mkdir(exist_ok=True)
        job["spark"] = {
            "spark.local.dir": str(folder / "spark"),
            "spark.sql.shuffle.partitions": str(max(4, rows // 250_000)),
        }
    (folder / "job.yaml").write_text(json.dumps(job))
    child = [sys.executable, str(Path(__file__).with_name("scale_stages.py")), str(folder / "job.yaml"), stage]
    spill = folder / "spark" if engine == "spark" else folder / "work/_scratch/spill-*"
    cost = cost_of(child, options.limit, str(spill))
    return Took(rows, **json.loads((folder / f"{stage}.json").read_text()), cost=cost)


def _written(folder: Path, stage: str) -> dict[str, tuple[int, str]]:
    """Rows and a hash of what a stage has written, by table; of a release, a hash of each file."""
    if stage == "release":
        return _bytes_of(folder / "release")
    store = Store(str(folder / "work"))
    tables: dict[str, list[str]] = {}
    for mark in store.marks(stage):
        for table, files in mark.files.items():
            if stage != "ingest" or mark.partition == "repeated":
                tables.setdefault(table, []).extend(store.path(file) for file in files)
    found = {table: _rows_hash(files) for table, files in tables.items() if files}
    if stage == "emit":
        found |= {name: (0, hash_) for name, (_, hash_) in _bytes_of(folder / "work/shard_plan").items()}
    return found


def _rows_hash(files: list[str]) -> tuple[int, str]:
    """The same whatever the order of the rows, and however they are divided into files."""
    with duckdb.connect() as connection:
        rows = connection.read_parquet(files)
        columns = ", ".join(column for column in rows.columns if column not in _WHEN)
        query = f"SELECT count(*), sum(hash({columns})::HUGEINT), bit_xor(hash({columns}, 1)) FROM rows"
        count, *hashes = connection.sql(query).fetchall()[0]
    return count, str(hashes)


def _bytes_of(folder: Path, pattern: str = "*") -> dict[str, tuple[int, str]]:
    files = (file for file in sorted(folder.rglob(pattern)) if file.is_file() and file.name != "catalog.duckdb")
    return {str(file.relative_to(folder)): (0, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files}


if __name__ == "__main__":
    main()
