"""Time to chain all near pairs among vectors: ours, by clusters, against numpy comparing every two.

    python benchmarks/near_vectors.py
    python benchmarks/near_vectors.py --rows 200000 --topics 2000 --no-peer

Vectors of 512 numbers, as CLIP's are: at random, the hardest case, since no cluster is nearer to a vector than another;
or about topics, as those of pictures are. A tenth are copies, anywhere within the radius of their originals.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from fairshard.pipelines import _semantic
from fairshard.pipelines._vectors import Vectors
from fairshard.udfs.components import components

_DIMS, _RADIUS, _BLOCK = 512, 0.05, 4096


def planted(rows: int, topics: int, folder: Path) -> tuple[Vectors, np.ndarray, np.ndarray]:
    """Vectors, and the places of copies and of their originals."""
    rng = np.random.default_rng(0)
    middles = _unit(rng.normal(size=(topics + 1, _DIMS)).astype(np.float32))
    stored = np.memmap(folder / "vectors", np.float16, "w+", shape=(rows, _DIMS))
    place, originals = rng.permutation(rows), rows - rows // 10
    for start in range(0, originals, _BLOCK):
        own = _unit(rng.normal(size=(min(_BLOCK, originals - start), _DIMS)).astype(np.float32))
        if topics:
            own = _unit(0.6 * middles[0] + 0.6 * middles[rng.integers(1, topics + 1, len(own))] + 0.5 * own)
        stored[place[start : start + len(own)]] = own
    copies, source = place[originals:], place[rng.integers(0, originals, rows - originals)]
    for start in range(0, len(copies), _BLOCK):
        one = stored[source[start : start + _BLOCK]].astype(np.float32)
        stored[copies[start : start + _BLOCK]] = _turned(one, _RADIUS * rng.uniform(0.3, 0.98, (len(one), 1)), rng)
    return Vectors(np.arange(rows), stored, np.ones(rows, np.float32)), copies, source


def _turned(vectors: np.ndarray, distance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vectors at cosine distances from others, in random directions."""
    aside = rng.normal(size=vectors.shape)
    aside = _unit(aside - (aside * vectors).sum(axis=1, keepdims=True) * vectors)
    return (1 - distance) * vectors + np.sqrt(1 - (1 - distance) ** 2) * aside


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def every_two(vectors: Vectors) -> tuple[np.ndarray, np.ndarray]:
    """The peer: all pairs within the radius."""
    left, right = [], []
    blocks = list(vectors.blocks())
    for number, rows in enumerate(blocks):
        these = vectors.at(rows)
        for others in blocks[number:]:
            one, other = np.nonzero(these @ vectors.at(others).T >= 1 - _RADIUS)
            later = other + others.start > one + rows.start
            left.append(one[later] + rows.start)
            right.append(other[later] + others.start)
    return np.concatenate(left), np.concatenate(right)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000, help="vectors (default 50,000)")
    parser.add_argument("--topics", type=int, default=0, help="topics they are about (default 0: at random)")
    parser.add_argument("--no-peer", action="store_true", help="ours alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        vectors, copies, source = planted(options.rows, options.topics, Path(folder))
        begun = time.perf_counter()
        found = _semantic.clustered(vectors, _RADIUS, None)
        clustered = time.perf_counter() - begun
        ties = _semantic.ties(vectors, found, _RADIUS)
        seconds = time.perf_counter() - begun
        group = np.arange(options.rows)
        ids, groups = components(ties["left_id"], ties["right_id"])
        group[ids.to_numpy()] = groups.to_numpy()
        print(f"{found.said()}: {seconds:.1f} s, of which clusters {clustered:.1f} s")
        print(f"copies in the group of their originals: {(group[copies] == group[source]).mean():.5f}")
        if not options.no_peer:
            begun = time.perf_counter()
            left, right = every_two(vectors)
            peer = time.perf_counter() - begun
            print(f"every two compared: {peer:.1f} s, {peer / seconds:.1f} times as long")
            print(f"its pairs in one group of ours: {(group[left] == group[right]).mean():.5f} of {len(left):,}")


if __name__ == "__main__":
    main()
