"""Groups around leaders: who is near enough to whom, where a chain of neighbours would go too far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True)
class Closeness:
    """When two pictures count as the same.

    Attributes:
        exact: equal sha256.
        phash_radius: bits of 64 in which pHashes may differ; None: they are not compared.
        pdq_radius: bits of 256 in which PDQ hashes may differ; None: they are not compared.
        cosine_radius: cosine distance of vectors, where there are any.
        confirming_radius: bits of 256 in which PDQ may differ where pHashes are near; None: PDQ is not asked.
    """

    exact: bool
    phash_radius: int | None
    pdq_radius: int | None
    cosine_radius: float = 0.0
    confirming_radius: int | None = None


def leaders(pictures: pa.Table, close: Closeness, vectors: NDArray[np.float32] | None = None) -> pa.Array:
    """Who leads each picture: the first one leads all that are close to it, the first of the others leads next.

    So nobody is led from further away than ``close`` allows, and no two leaders are close to each other.

    Args:
        pictures: sha256: string; phash, pdq_0, pdq_1, pdq_2, pdq_3: int64, null where not to be compared. First comes
            whoever is to lead first.
        vectors: float32[n, d] of unit length, zeros where there is none; None: they are not compared.
    Returns: int64[n], the place of each picture's leader. Time grows with pictures times leaders.
    """
    hashes = _Hashes.of(pictures, vectors)
    led_by = np.empty(len(pictures), np.int64)
    rest = np.arange(len(pictures))
    while len(rest):
        near = hashes.near_first(close)
        led_by[rest[near]] = rest[0]
        rest, hashes = rest[~near], hashes.take(~near)
    return pa.array(led_by)


@dataclass(frozen=True)
class _Hashes:
    """The hashes of pictures; rows of ``phash``, ``pdq`` and ``vector`` are zero where there is none."""

    file: NDArray[np.int64]
    has_phash: NDArray[np.bool_]
    phash: NDArray[np.uint64]
    has_pdq: NDArray[np.bool_]
    pdq: NDArray[np.uint64]
    vector: NDArray[np.float32]

    @classmethod
    def of(cls, pictures: pa.Table, vectors: NDArray[np.float32] | None) -> _Hashes:
        encoded = pictures["sha256"].combine_chunks().dictionary_encode()
        words = [pictures[f"pdq_{number}"] for number in range(4)]
        return cls(
            file=encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64),
            has_phash=pictures["phash"].is_valid().to_numpy(),
            phash=_unsigned(pictures["phash"]),
            has_pdq=words[0].is_valid().to_numpy(),
            pdq=np.stack([_unsigned(word) for word in words], axis=1),
            vector=np.zeros((len(pictures), 0), np.float32) if vectors is None else vectors,
        )

    def take(self, kept: NDArray[np.bool_]) -> _Hashes:
        return _Hashes(
            self.file[kept], self.has_phash[kept], self.phash[kept], self.has_pdq[kept], self.pdq[kept],
            self.vector[kept],
        )  # fmt: skip

    def near_first(self, close: Closeness) -> NDArray[np.bool_]:
        """Which pictures are close to the first; it is to itself."""
        near = np.zeros(len(self.file), np.bool_)
        near[0] = True
        if close.exact and self.file[0] >= 0:
            near |= self.file == self.file[0]
        if close.phash_radius is not None and self.has_phash[0]:
            bits = np.bitwise_count(self.phash ^ self.phash[0])
            near |= self.has_phash & (bits <= close.phash_radius) & self._pdq_near_first(close.confirming_radius)
        if close.pdq_radius is not None:
            near |= self._pdq_near_first(close.pdq_radius)
        if self.vector[0].any():
            near |= self.vector @ self.vector[0] >= 1 - close.cosine_radius
        return near

    def _pdq_near_first(self, radius: int | None) -> NDArray[np.bool_]:
        """Whose PDQ is within a radius of that of the first; all, without a radius."""
        if radius is None:
            return np.ones(len(self.file), np.bool_)
        bits = np.bitwise_count(self.pdq ^ self.pdq[0]).sum(axis=1)
        return self.has_pdq & self.has_pdq[0] & (bits <= radius)


def _unsigned(column: pa.ChunkedArray) -> NDArray[np.uint64]:
    return column.fill_null(0).to_numpy().astype(np.int64).view(np.uint64)
