"""All pairs of hashes within a radius, in SQL, against comparing every two: medians of one run, and their ratios.

    python benchmarks/near_pairs.py
    python benchmarks/near_pairs.py --hashes 1000000 --peers multi
    python benchmarks/near_pairs.py --hashes 1000000 --peers flat --queries 10000
    python benchmarks/near_pairs.py --hashes 10000000 --peers
    python benchmarks/near_pairs.py --hashes 200000 --bits 256 --radius 31 --peers flat

Peers: numpy's brute force; faiss's IndexBinaryFlat, and its IndexBinaryMultiHash with bands and flips that miss no
pair, where faiss is installed. Hashes are random, and one in twenty has a near-duplicate planted. Every peer has
to find the same pairs. With ``--queries`` faiss looks for the neighbours of the first so many hashes among all, which
include the planted ones; has to find the same pairs of these; and its time is multiplied by what was left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fairshard.pipelines._engine import DuckDBEngine
from fairshard.pipelines._near import near

Pairs = NDArray[np.int64]  # [n, 2], each left < right, sorted
_BLOCK = 512


def main() -> None:
    options = _options()
    packed = _hashes(options.hashes, options.bits, options.radius)
    print(f"{options.hashes:,} hashes of {options.bits} bits, radius {options.radius}, {options.threads} threads")
    expected, ours = _timed(lambda: _sql(packed, options.radius, options.threads), options.rounds)
    print(f"{'fairshard':<12} {ours:8.2f} s  {len(expected):,} pairs")
    for peer in options.peers:
        if peer != "numpy" and importlib.util.find_spec("faiss") is None:
            print(f"{peer:<12} not measured: faiss is not installed (pip install faiss-cpu)")
            continue
        asked = options.queries if options.queries and peer != "numpy" else len(packed)
        found, part = _timed(
            lambda name=peer, asked=asked: _PEERS[name](packed, options.radius, options.threads, asked), options.rounds
        )
        theirs = part * len(packed) / asked
        of = "" if asked == len(packed) else f"from {part:.2f} s for {asked:,} queries, "
        print(f"{peer:<12} {theirs:8.2f} s  {len(found):,} pairs  {of}fairshard is {theirs / ours:.1f} times as fast")
        if not np.array_equal(found, expected[expected[:, 0] < asked]):
            sys.exit(f"{peer}: found other pairs")
    print(f"peak memory of it all {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9:.1f} GB")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hashes", type=int, default=20_000, help="how many (default 20,000)")
    parser.add_argument("--bits", type=int, default=64, choices=[64, 256], help="of a hash (default 64)")
    parser.add_argument("--radius", type=int, default=4, help="most bits that differ (default 4)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each is measured (default 3)")
    parser.add_argument("--threads", type=int, default=2, help="of DuckDB and faiss (default 2); numpy has one")
    parser.add_argument("--queries", type=int, help="ask faiss for so many of the hashes alone (default: all)")
    parser.add_argument("--peers", nargs="*", default=list(_PEERS), choices=list(_PEERS), help="default: all")
    return parser.parse_args()


def _hashes(count: int, bits: int, radius: int) -> NDArray[np.uint8]:
    """uint8[count, bits / 8], all different but by accident; each planted pair differs in 1 to ``radius`` bits."""
    rng = np.random.default_rng(0)
    packed = rng.integers(0, 256, (count, bits // 8), np.uint8)
    planted = count // 20
    order = rng.permuted(np.broadcast_to(np.arange(bits, dtype=np.uint16), (planted, bits)), axis=1)
    flips = order < rng.integers(1, max(radius, 1) + 1, (planted, 1))
    packed[:planted] = packed[planted : 2 * planted] ^ np.packbits(flips, axis=1)
    return packed


def _timed(search: Callable[[], Pairs], rounds: int) -> tuple[Pairs, float]:
    seconds, found = [], np.empty((0, 2), np.int64)
    for _ in range(rounds):
        start = time.perf_counter()
        found = search()
        seconds.append(time.perf_counter() - start)
    return found, statistics.median(seconds)


def _sql(packed: NDArray[np.uint8], radius: int, threads: int) -> Pairs:
    words = packed.view(">i8").astype(np.int64)
    rows, columns = words.shape
    with tempfile.TemporaryDirectory() as spill:
        engine = DuckDBEngine(threads, None, spill)
        engine.register("hashed", pa.table({
            "pair_id": np.repeat(np.arange(rows), columns),
            "word": np.tile(np.arange(columns, dtype=np.int32), rows),
            "bits": words.ravel(),
        }))  # fmt: skip
        engine.step("word", "SELECT * FROM hashed", keep=True)
        near(engine, columns, radius)
        found = engine.rows("SELECT left_id, right_id FROM near")
        engine.close()
    return _sorted(found["left_id"].to_numpy(), found["right_id"].to_numpy())


def _numpy(packed: NDArray[np.uint8], radius: int, threads: int, asked: int) -> Pairs:
    words = packed.view(np.uint64)
    found = []
    for start in range(0, len(words), _BLOCK):
        block = words[start : start + _BLOCK]
        distance = np.zeros((len(block), len(words) - start), np.uint16)
        for word in range(words.shape[1]):
            distance += np.bitwise_count(block[:, None, word] ^ words[None, start:, word])
        left, right = np.nonzero(distance <= radius)
        found.append(np.stack([left, right])[:, left < right] + start)
    return _sorted(*np.concatenate(found, axis=1))


def _flat(packed: NDArray[np.uint8], radius: int, threads: int, asked: int) -> Pairs:
    import faiss

    return _faiss(faiss.IndexBinaryFlat(packed.shape[1] * 8), packed, radius, threads, asked)


def _multi(packed: NDArray[np.uint8], radius: int, threads: int, asked: int) -> Pairs:
    import faiss

    # Bands of up to 21 bits, each with as many flips as it takes to miss no pair within the radius.
    bits = packed.shape[1] * 8
    bands = max(1, bits // 21)
    index = faiss.IndexBinaryMultiHash(bits, bands, bits // bands)
    index.nflip = radius // bands
    return _faiss(index, packed, radius, threads, asked)


def _faiss(index, packed: NDArray[np.uint8], radius: int, threads: int, asked: int) -> Pairs:
    import faiss

    faiss.omp_set_num_threads(threads)
    index.add(packed)
    limits, _, right = index.range_search(packed[:asked], radius + 1)  # faiss: strictly less
    left = np.repeat(np.arange(asked), np.diff(limits.astype(np.int64)))
    return _sorted(left[left < right], right[left < right])


def _sorted(left: NDArray[np.int64], right: NDArray[np.int64]) -> Pairs:
    pairs = np.stack([left, right], axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


_PEERS: dict[str, Callable[[NDArray[np.uint8], int, int, int], Pairs]] = {
    "numpy": _numpy,
    "flat": _flat,
    "multi": _multi,
}


if __name__ == "__main__":
    main()
