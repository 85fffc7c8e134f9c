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
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from numpy.typing import NDArray

pc: Any = pyarrow.compute  # its functions are made when it is imported, where type checkers cannot see them

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
_SAMPLE_S = 0.2
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Cost:
    """What a command took: wall and CPU seconds, and the memory of its processes at its largest."""

    seconds: float
    cpu_s: float
    peak_gb: float

    def __str__(self) -> str:
        return f"{self.seconds:7.1f} s {self.cpu_s:7.1f} CPU s {self.peak_gb:5.1f} GB"


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
        _make_lists(folder / "lists", rows)
        _make_registries(folder)
        print(f"{rows:,} rows; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
        return measure(folder, rows, options.limit)


def _against_copy(folder: Path, rows: int, limit_s: float) -> Cost:
    target = folder / "copy.parquet"
    copy = [sys.executable, "-c", _COPY, str(folder / "lists"), str(target)]
    before = _cost(copy, limit_s)
    target.unlink()
    ours, stages = _fairshard(folder, rows, "duckdb", limit_s)
    after = _cost(copy, limit_s)
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
        "registries": [{"name": scope, "path": f"{scope}.parquet", "scope": scope} for scope in _LISTED],
    }  # fmt: skip
    (folder / "job.yaml").write_text(json.dumps(job))
    cost = _cost([sys.executable, "-c", _FAIRSHARD, "--quiet", "run", str(folder / "job.yaml"), *_STOP], limit_s)
    stages = {stage["stage"]: stage for stage in json.loads((work / "run.json").read_text())["stages"]}
    written = stages["ingest"]["rows_written"]
    if written["pair"] + written["rejected"] != rows or not stages["consult"]["rows_written"]["dropped"]:
        sys.exit(f"fairshard: {written} of {rows} rows, {stages['consult']['rows_written']}")
    return cost, {name: stage["seconds"] for name, stage in stages.items()}


def _cost(command: list[str], limit_s: float) -> Cost:
    """Run a command and its children, and leave none of them behind."""
    began, used, peak = time.monotonic(), _cpu_s(), 0
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            while process.poll() is None:
                peak = max(peak, _resident(psutil.Process(process.pid)))
                if time.monotonic() - began > limit_s:
                    sys.exit(f"{' '.join(command)}: still running after {limit_s:.0f} s")
                time.sleep(_SAMPLE_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode:
            output.seek(0)
            sys.exit(f"{' '.join(command)}: exit {process.returncode}\n{output.read().decode()}")
    return Cost(time.monotonic() - began, _cpu_s() - used, peak / 1e9)


def _resident(process: psutil.Process) -> int:
    """Bytes of a process and of all below it."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:  # it has just ended
            continue
    return total


def _cpu_s() -> float:
    """CPU time of the processes that were waited for, and of those that they waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# The lists and registries.

_HOSTS = 1_000_000
_FILES = 16
_BLOCK_ROWS = 125_000
_CREATORS = 200_000
_POPULAR = 20_000
_LISTED = {"domain": 500_000, "url": 500_000, "url_prefix": 50_000, "creator": 10_000}
_WORDS = 99_991  # a prime, so that a million hosts have a million names

_SYLLABLES = [consonant + vowel for vowel in "aeiou" for consonant in "bdklmnrst"]
_SUFFIXES = ["com", "org", "net", "de", "co.uk", "blogspot.com", "fr", "com.br", "ru", "jp"]
_SUBDOMAINS = ["", "www.", "cdn.", "images.", "i0.", "static.", "img.shop."]
_FOLDERS = [
    "wp-content/uploads/2019/05/", "images/", "files/products/large/", "media/catalog/product/cache/1/image/", "s/",
    "photo/2014/11/", "~user/pics/",
]  # fmt: skip
_QUERIES = [
    "?w=640&h=480", "?v=1530000000", "?itok=Zk3v_Q", "?resize=300,200&ssl=1", "?size=large", "?fit=crop&auto=format",
    "?id=91&n=2", "?url=https%3A%2F%2Fex.org%2Fa.jpg",
]  # fmt: skip
_ENDINGS = [".jpg", ".jpeg", ".png", ".JPG", "-300x200.jpg", "_1.webp"]
_LICENCES = [None, None, None, None, None, None, None, "CC BY 4.0", "?"]


def _words(count: int) -> pa.Array:
    """string[count]: all different, of three or four syllables."""
    base = len(_SYLLABLES)
    syllables = pa.array(_SYLLABLES)
    numbers = np.arange(count) + base
    parts = [syllables.take(pa.array(numbers // base**place % base)) for place in range(4)]
    tail = pc.if_else(pa.array(numbers < base**3), "", parts[3])
    return _joined(*parts[:3], tail)


def _zipf(random: np.random.Generator, count: int, most: int) -> NDArray[np.int64]:
    """int64[count] from 0: rank r with a probability that goes like 1 / (r + 1)."""
    return (np.exp(random.random(count) * np.log(most)) - 1).astype(np.int64)


def _pick(random: np.random.Generator, count: int, choices: pa.Array) -> pa.Array:
    return choices.take(pa.array(random.integers(0, len(choices), count)))


def _host_names(ranks: NDArray[np.int64], words: pa.Array) -> pa.Array:
    """The host of each rank: a name of its own below a public suffix, some with a subdomain."""
    name = words.take(pa.array(ranks * 7919 % len(words)))
    number = pc.cast(pa.array(ranks % 1000), pa.string())
    suffix = pa.array(_SUFFIXES).take(pa.array(ranks * 31 % len(_SUFFIXES)))
    label = pc.binary_join_element_wise(name, number, "-")
    return pc.binary_join_element_wise(label, suffix, ".")


def _joined(*parts: pa.Array | str) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")


def _some(random: np.random.Generator, share: float, yes: pa.Array | str, no: pa.Array | str, count: int) -> pa.Array:
    return pc.if_else(pa.array(random.random(count) < share), yes, no)


def _urls(random: np.random.Generator, count: int, words: pa.Array) -> pa.Array:
    """string[count]"""
    ranks = _zipf(random, count, _HOSTS)
    host = _host_names(ranks, words)
    host = _some(random, 0.002, _joined("münch", host), host, count)
    host = _some(random, 0.003, pc.utf8_upper(host), host, count)
    host = _joined(pa.array(_SUBDOMAINS).take(pa.array(ranks % 97 % len(_SUBDOMAINS))), host)
    host = _some(random, 0.005, _joined(host, ":8080"), host, count)
    between = _some(random, 0.10, "%20", "-", count)
    between = _some(random, 0.01, "%C3%A9", between, count)
    between = _some(random, 0.003, " ", between, count)
    between = _some(random, 0.003, "é", between, count)
    between = _some(random, 0.002, "/../", between, count)
    slug = _joined(_pick(random, count, words), between, _pick(random, count, words))
    number = pc.cast(pa.array(random.integers(0, 10**7, count)), pa.string())
    path = _joined(
        _pick(random, count, pa.array(_FOLDERS)), slug, "-", number, _pick(random, count, pa.array(_ENDINGS))
    )
    query = _some(random, 0.25, _pick(random, count, pa.array(_QUERIES)), "", count)
    fragment = _some(random, 0.003, "#main", "", count)
    url = _joined(_some(random, 0.75, "https://", "http://", count), host, "/", path, query, fragment)
    return _some(random, 0.001, slug, url, count)


def _captions(random: np.random.Generator, count: int, words: pa.Array) -> pa.Array:
    """string[count]: 5 to 14 words, common ones more often."""
    lengths = random.integers(5, 15, count)
    flat = words.take(pa.array(_zipf(random, int(lengths.sum()), len(words))))
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    text = pc.binary_join(pa.ListArray.from_arrays(offsets, flat), " ")
    text = _some(random, 0.5, pc.utf8_capitalize(text), text, count)
    text = _some(random, 0.08, _joined(text, " – é ™"), text, count)
    text = _some(random, 0.02, pc.binary_join_element_wise(text, "\n more", " "), text, count)
    return _some(random, 0.001, pa.scalar(None, pa.string()), text, count)


def _block(random: np.random.Generator, count: int, words: pa.Array, popular: pa.RecordBatch | None) -> pa.RecordBatch:
    """Rows of a list; one in a hundred takes URL and caption of a popular one."""
    url, text = _urls(random, count, words), _captions(random, count, words)
    if popular is not None:
        again = pa.array(random.random(count) < 0.01)
        picked = popular.take(pa.array(random.integers(0, len(popular), count)))
        url, text = pc.if_else(again, picked["URL"], url), pc.if_else(again, picked["TEXT"], text)
    creator = _joined("Studio ", words.take(pa.array(_zipf(random, count, _CREATORS) % len(words))))
    return pa.RecordBatch.from_pydict({
        "SAMPLE_ID": random.integers(0, 2**62, count),
        "URL": url,
        "TEXT": text,
        "HEIGHT": random.integers(100, 4000, count).astype(np.int32),
        "WIDTH": random.integers(100, 4000, count).astype(np.int32),
        "LICENSE": _pick(random, count, pa.array(_LICENCES)),
        "NSFW": _pick(random, count, pa.array(["UNLIKELY", "UNLIKELY", "UNSURE", "NSFW"])),
        "similarity": random.uniform(0.28, 0.45, count),
        "CREATOR": _some(random, 0.2, creator, pa.scalar(None, pa.string()), count),
    })  # fmt: skip


def _write_list(folder: Path, number: int, rows: int) -> None:
    words, random = _words(_WORDS), np.random.default_rng(number)
    popular = _block(np.random.default_rng(_FILES), _POPULAR, words, None)
    with pq.ParquetWriter(folder / f"part-{number:05}.parquet", popular.schema) as writer:
        for start in range(0, rows, _BLOCK_ROWS):
            writer.write_batch(_block(random, min(_BLOCK_ROWS, rows - start), words, popular))


def _make_lists(folder: Path, rows: int) -> None:
    folder.mkdir()
    parts = [(folder, number, rows // _FILES) for number in range(_FILES)]
    with _SPAWN.Pool(_WORKERS) as pool:
        pool.starmap(_write_list, parts, chunksize=1)


def _make_registries(folder: Path) -> None:
    """One in twenty hosts is listed by domain, one in a hundred rows by URL; most other entries meet no row."""
    random, words = np.random.default_rng(1), _words(_WORDS)
    occurring = np.arange(3, _HOSTS, 20)
    elsewhere = np.arange(_HOSTS, _HOSTS + _LISTED["domain"] - len(occurring))
    found = _listed_urls(folder / "lists")
    prefixed = _host_names(np.arange(7, _LISTED["url_prefix"] * 40, 40), words)
    keys = {
        "domain": _host_names(np.concatenate([occurring, elsewhere]), words),
        "url": pa.concat_arrays([found, _urls(random, _LISTED["url"] - len(found), words)]),
        "url_prefix": _joined("https://www.", prefixed, "/", _pick(random, len(prefixed), pa.array(_FOLDERS))),
        "creator": _joined("Studio ", words.take(pa.array(np.arange(4, _LISTED["creator"] * 9, 9)))),
    }
    for scope, listed in keys.items():
        pq.write_table(pa.table({scope: listed}), folder / f"{scope}.parquet")


def _listed_urls(lists: Path) -> pa.Array:
    """URLs that occur: one in a hundred, from all over the lists."""
    found = [pq.read_table(file, columns=["URL"])["URL"].drop_null() for file in sorted(lists.iterdir())]
    return pa.concat_arrays([urls.take(pa.array(range(0, len(urls), 100))).combine_chunks() for urls in found])


if __name__ == "__main__":
    main()
