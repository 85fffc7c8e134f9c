"""A PDQ list against pictures, by ``screen``'s own steps: time, memory, and whether just what lies within 31 bits is found.

    python benchmarks/pdq_list.py                                          # a million entries, ten million pictures
    python benchmarks/pdq_list.py --entries 100000 --pictures 1000000
    python benchmarks/pdq_list.py --entries 100000 --pictures 1000000 --turns 8   # flips and rotations too

Hashes are random. Pictures are planted at every distance from 0 to 40 bits of entries, a hundred each, in any of the
turns; nothing else can lie within 31 bits but by an accident of 1 in 10^30. List and pictures are read from files as in
a run: the list by the registry's reader, the pictures as ``image`` tables. The search runs in a process of its own; its
memory is the largest resident set, and the engine may use ``--memory-limit`` of it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fairshard.pipelines import _registries, screen
from fairshard.pipelines._engine import DuckDBEngine
from fairshard.schemas.config import Registry
from fairshard.schemas.policy import Policy
from fairshard.schemas.tables import IMAGE, PAIR

_BYTES = 32
_FARTHEST = 40
_EACH = 100  # planted pictures at each distance
_BLOCK = 250_000


@dataclass(frozen=True)
class Found:
    """What a search gave: (rule, picture, distance) as int64[n, 3], sorted, and what it took."""

    hits: NDArray[np.int64]
    list_s: float
    search_s: float
    peak_gb: float


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="fairshard-benchmark-", dir=options.dir) as temporary:
        folder = Path(temporary)
        planted = _make(folder, options.entries, options.pictures, options.turns)
        print(f"{options.entries:,} entries, {options.pictures:,} pictures in {options.turns} turns, "
              f"{options.threads} threads; load {os.getloadavg()[0]:.1f}", flush=True)  # fmt: skip
        arguments = (folder, options.turns, options.radius, options.threads, options.memory_limit)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found = pool.apply(_search, arguments)
    print(f"list read in {found.list_s:.1f} s, matched in {found.search_s:.1f} s, peak memory {found.peak_gb:.1f} GB")
    expected = planted[planted[:, 2] <= options.radius]
    if not np.array_equal(found.hits, expected):
        sys.exit(
            f"found {len(found.hits):,} matches, expected the {len(expected):,} planted within {options.radius} bits"
        )
    print(f"found the {len(expected):,} planted within {options.radius} bits and nothing else")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000, help="of the list (default 1,000,000)")
    parser.add_argument("--pictures", type=int, default=10_000_000, help="default 10,000,000")
    parser.add_argument("--turns", type=int, default=1, choices=[1, 8], help="hashes of a picture (default 1)")
    parser.add_argument("--radius", type=int, default=31, help="most bits that differ (default 31)")
    parser.add_argument("--threads", type=int, default=2, help="of the engine (default 2)")
    parser.add_argument("--memory-limit", type=float, default=4, help="of the engine, in GB (default 4)")
    parser.add_argument("--dir", help="where files are put; a temporary folder if not given")
    return parser.parse_args()


def _make(folder: Path, entries: int, pictures: int, turns: int) -> NDArray[np.int64]:
    """Write ``list.txt`` and the ``image`` files. Returns entry, picture and distance of what is planted, by picture."""
    random = np.random.default_rng(0)
    listed = random.integers(0, 256, (entries, _BYTES), np.uint8)
    (folder / "list.txt").write_text("".join(f"{row.tobytes().hex()}\n" for row in listed))
    distances = np.repeat(np.arange(_FARTHEST + 1), _EACH)
    entry = random.integers(0, entries, len(distances))
    picture = np.sort(random.choice(pictures, len(distances), replace=False))
    random.shuffle(distances)
    order = random.permuted(np.broadcast_to(np.arange(256), (len(distances), 256)), axis=1)
    near = listed[entry] ^ np.packbits(order < distances[:, None], axis=1)
    turn = random.integers(0, turns, len(distances))
    for start in range(0, pictures, _BLOCK):
        hashes = random.integers(0, 256, (min(_BLOCK, pictures - start), turns, _BYTES), np.uint8)
        here = (picture >= start) & (picture < start + _BLOCK)
        hashes[picture[here] - start, turn[here]] = near[here]
        _write_images(folder / f"image-{start // _BLOCK:05}.parquet", start, hashes)
    return np.stack([entry, picture, distances], axis=1)


def _write_images(path: Path, start: int, hashes: NDArray[np.uint8]) -> None:
    """Pictures from ``start`` on, with every column of ``image`` and values in those that look is compared by."""
    count, _, _ = hashes.shape
    values = {
        "pair_id": pa.array(np.arange(start, start + count)),
        "status": pa.repeat("ok", count),
        "pdq_quality": pa.repeat(100, count),
        "pdq": _binary(hashes[:, 0]),
        "pdq_dihedral": _binary(hashes.reshape(count, -1)),
    }
    columns = [values.get(field.name, pa.nulls(count, field.type)).cast(field.type) for field in IMAGE.schema]
    schema = pa.schema([field.with_nullable(True) for field in IMAGE.schema])
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), path, compression="none", use_dictionary=False)


def _binary(rows: NDArray[np.uint8]) -> pa.Array:
    data = np.ascontiguousarray(rows)
    offsets = np.arange(len(data) + 1, dtype=np.int32) * data.shape[1]
    return pa.Array.from_buffers(pa.binary(), len(data), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def _search(folder: Path, turns: int, radius: int, threads: int, memory_limit_gb: float) -> Found:
    began = time.perf_counter()
    rules = _registries.load_one(Registry("list", "list.txt", "pdq"), str(folder / "list.txt")).rules
    _registries.forget()
    read = time.perf_counter()
    policy = Policy(pdq_dihedral=turns > 1, pdq_max_distance=radius)
    engine = DuckDBEngine(threads, memory_limit_gb, str(folder / "spill"))
    engine.register("pair", PAIR.schema.empty_table())
    engine.register("active", rules)
    engine.scan("image", [str(file) for file in sorted(folder.glob("image-*.parquet"))], IMAGE.schema)
    screen.hits(engine, policy, lambda name: str(folder / name))
    hits = engine.rows("SELECT rule_id, pair_id, distance FROM hit")
    engine.close()
    done = time.perf_counter()
    place = {rule: number for number, rule in enumerate(rules["rule_id"].to_pylist())}
    found = np.array([(place[row["rule_id"]], row["pair_id"], row["distance"]) for row in hits.to_pylist()], np.int64)
    found = found.reshape(-1, 3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return Found(found[np.argsort(found[:, 1])], read - began, done - read, peak)


if __name__ == "__main__":
    main()
