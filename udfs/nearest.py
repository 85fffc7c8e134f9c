"""The nearest of many perceptual hashes, found by comparing with all of them.

Bands (``bands``) find everything within a radius in less time, but not what is nearest beyond it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .phash import phash

Words = NDArray[np.uint64]
_AT_ONCE = 16_384  # rows whose words and counts stay in a processor's cache
_VECTORS_AT_ONCE = 4096  # rows compared with a block at once: the table of cosines stays small


def hash_words(hashes: list[bytes]) -> Words:
    """Hashes of equal length, a multiple of 8 bytes, as uint64[n, length / 8]."""
    return np.frombuffer(b"".join(hashes), np.uint64).reshape(len(hashes), -1)


def nearest(queries: Words, hashes: Words) -> tuple[int, int]:
    """The hash that is nearest to any of the queries, such as the orientations of one picture.

    Args: queries: uint64[q, w]. hashes: uint64[n, w], n at least 1.
    Returns: its row, the first of equals, and the bits that differ.
    """
    distances = np.full(len(hashes), np.iinfo(np.int32).max, np.int32)
    for query in queries:
        np.minimum(distances, np.bitwise_count(hashes ^ query).sum(axis=1, dtype=np.int32), out=distances)
    row = int(distances.argmin())
    return row, int(distances[row])


def within(queries: Words, hashes: Words, radius: int) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """The hashes that differ from any of the queries in at most so many bits.

    Args: queries: uint64[q, w]. hashes: uint64[n, w], w even or 1.
    Returns: their rows, rising, and the fewest bits that differ, both [m].
    """
    half = max(1, hashes.shape[1] // 2)
    rows = [np.empty(0, np.intp)]
    for start in range(0, len(hashes), _AT_ONCE):
        begun = np.ascontiguousarray(hashes[start : start + _AT_ONCE, :half].T)
        # Half of the bits rule out nearly all. A count of 64 bits fits into uint8, and so do those of two words.
        counts = (
            sum(np.bitwise_count(word ^ bits) for word, bits in zip(begun, query, strict=False)) for query in queries
        )
        near = np.logical_or.reduce([count <= radius for count in counts])
        rows.append(np.flatnonzero(near) + start)
    found = np.concatenate(rows)
    distances = np.full(len(found), np.iinfo(np.int32).max, np.int32)
    for query in queries:
        np.minimum(distances, np.bitwise_count(hashes[found] ^ query).sum(axis=1, dtype=np.int32), out=distances)
    return found[distances <= radius], distances[distances <= radius]


def phash_dihedral(luma: NDArray[np.uint8]) -> list[bytes]:
    """pHash of a picture's eight orientations.

    Args: luma: uint8[h, w].
    Returns: 8 bytes each, in the byte order of the machine, as int64 columns hold them.
    """
    turned = [np.rot90(side, turn) for side in (luma, luma.T) for turn in range(4)]
    return [np.int64(phash(np.ascontiguousarray(picture))).tobytes() for picture in turned]


class Closest:
    """The nearest of many vectors to each of some, as the many go by in blocks."""

    def __init__(self, queries: NDArray[np.float32]):
        """``queries``: float32[n, d] of unit length."""
        self._queries = queries
        self.similarity = np.full(len(queries), -np.inf, np.float32)

    def look(self, block: NDArray[np.float32]) -> list[tuple[int, int]]:
        """Compare with some more.

        Args: block: float32[m, d] of unit length.
        Returns: (row of the queries, row of the block) where one of the block is nearer than all before.
        """
        found: list[tuple[int, int]] = []
        for start in range(0, len(self._queries), _VECTORS_AT_ONCE):
            cosine = self._queries[start : start + _VECTORS_AT_ONCE] @ block.T
            best = cosine.argmax(axis=1)
            value = cosine[np.arange(len(best)), best]
            nearer = np.flatnonzero(value > self.similarity[start : start + _VECTORS_AT_ONCE])
            self.similarity[start + nearer] = value[nearer]
            found += zip((start + nearer).tolist(), best[nearer].tolist(), strict=True)
        return found
