"""Asking, checking and taking down: ``lookup``, ``verify`` and ``takedown`` on invented releases (``invented_release.py``).

    python benchmarks/release.py                           # all three: minutes, 12 GB of disk
    python benchmarks/release.py lookup --rows 1000000
    python benchmarks/release.py verify takedown

lookup    on a release of ten million pairs, all with hashes: by URL, picture, creator and domain, found and not. Each
          question three times, the median; the catalog is open and files are in the page cache. And a whole
          ``fairshard lookup --url`` in a new interpreter.
verify    on a release of 200 shards of 1,000 samples of 10 kB, about 2.5 GB, in the page cache: ``fairshard verify``
          against ``sha256sum`` of the same files, each in a process of its own, in turns; medians of three.
takedown  of 1,000 pairs by URL out of that release, where they lie in 10, 50 and all 200 of its shards. The peer makes
          the same release with every shard written anew: as many pairs, at least one from each shard, is its row of 200.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from invented_release import make
from PIL import Image

from fairshard.pipelines import lookup

_CLI = [sys.executable, "-c", "from fairshard.pipelines.cli import main; main()"]
_TOUCHED = (10, 50, 200)
_TAKEN = 1000


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="fairshard-benchmark-", dir=options.dir) as temporary:
        folder = Path(temporary)
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
        if "lookup" in options.parts:
            _lookup(make(folder / "wide", options.rows, min(20_000, options.rows), 2_000))
        if {"verify", "takedown"} & {*options.parts}:
            samples = options.shards * 1000
            release = make(folder / "deep", samples, samples, options.picture_bytes)
            for part in (part for part in (_verify, _takedown) if part.__name__[1:] in options.parts):
                part(release)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("lookup", "verify", "takedown")
    parser.add_argument("parts", nargs="*", choices=[*parts, []], default=list(parts), help="default: all")
    parser.add_argument(
        "--rows", type=int, default=10_000_000, help="of the release that is asked (default 10,000,000)"
    )
    parser.add_argument("--shards", type=int, default=200, help="of 1,000 samples (default 200)")
    parser.add_argument("--picture-bytes", type=int, default=10_000, help="default 10,000")
    parser.add_argument("--dir", help="where releases are put; a temporary folder if not given")
    return parser.parse_args()


def _lookup(release: Path) -> None:
    file = sorted((release / "pairs").iterdir())[-2]
    rows = pq.read_table(file, columns=["url", "creator", "host"]).slice(0, 1000).to_pylist()
    known = next(row for row in rows if row["creator"])
    rare = max((row["host"] for row in rows), key=len)
    questions: list[tuple[str, str | bytes]] = [
        *(("url", url) for url in (known["url"], "https://nobody.example/1.jpg")),
        *(("image", data) for data in (_picture(),)),
        *(("creator", name) for name in (known["creator"], "Nobody Known")),
        *(("domain", name) for name in (rare, "site1.example", "nobody.example")),
    ]
    seconds, catalog = _timed(lambda: lookup.opened(str(release)))
    print(f"{'catalog opened':<44}{seconds * 1000:8.0f} ms")
    for kind, value in questions:
        found: dict[str, Any] = {}
        times = []
        for _ in range(4):  # the first is not counted
            seconds, found = _timed(lambda: lookup.find(catalog, lookup.question(kind, value)))  # noqa: B023
            times.append(seconds)
        name = f"{kind} {value if isinstance(value, str) else 'of 1024 px'}"
        print(
            f"{name[:42]:<44}{statistics.median(times[1:]) * 1000:8.0f} ms, {found['released'] + found['dropped']:,} found"
        )
    times = [_seconds([*_CLI, "lookup", str(release), "--url", known["url"]]) for _ in range(3)]
    print(f"{'fairshard lookup --url, a new process':<44}{statistics.median(times) * 1000:8.0f} ms", flush=True)


def _picture() -> bytes:
    blocks = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    target = io.BytesIO()
    Image.fromarray(blocks).resize((1024, 768), Image.Resampling.BICUBIC).save(target, "JPEG", quality=90)
    return target.getvalue()


def _verify(release: Path) -> None:
    files = [str(path) for path in release.rglob("*") if path.is_file() and path.name != "catalog.duckdb"]
    size = sum(os.path.getsize(file) for file in files)
    subprocess.run(["cat", *files], stdout=subprocess.DEVNULL, check=True)
    peers, ours = [], []
    for _ in range(3):
        peers.append(_seconds(["sha256sum", *files]))
        ours.append(_seconds([*_CLI, "verify", str(release)]))
    peer, own = statistics.median(peers), statistics.median(ours)
    print(f"{size / 1e9:.2f} GB: sha256sum {peer:.2f} s ({size / peer / 1e6:.0f} MB/s), fairshard verify {own:.2f} s "
          f"({size / own / 1e6:.0f} MB/s): {peer / own:.2f} of its speed", flush=True)  # fmt: skip


def _takedown(release: Path) -> None:
    rows = pq.read_table(release / "pairs", columns=["url", "shard_id"]).sort_by([("shard_id", "ascending")])
    shards = len(np.unique(rows["shard_id"].to_numpy()))
    times = {}
    for touched in (count for count in _TOUCHED if count <= shards):
        each = _TAKEN // touched
        numbers = [shard * 1000 + at for shard in range(0, shards, shards // touched)[:touched] for at in range(each)]
        list_file, out = release.parent / f"touched-{touched}.txt", release.parent / f"next-{touched}"
        list_file.write_text("\n".join(rows["url"].take(numbers).to_pylist()))
        times[touched] = _seconds(
            [*_CLI, "takedown", str(release), "--registry", f"url={list_file}", "--out", str(out)]
        )
        print(f"takedown of {len(numbers):,} pairs in {touched} of {shards} shards: {times[touched]:.2f} s", flush=True)
    (few, *_, many) = times
    each = (times[many] - times[few]) / (many - few)
    print(f"{each * 1000:.0f} ms for each shard more, {times[few] - few * each:.2f} s besides", flush=True)


def _timed(ask: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    found = ask()
    return time.perf_counter() - began, found


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode or result.stderr.startswith("Traceback"):
        sys.exit(f"{command}: {result.stdout}{result.stderr}")
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
