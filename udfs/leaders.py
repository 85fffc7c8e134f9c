"""Groups around leaders: who is near enough to whom, where a chain of neighbours would go too far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..schemas.config import Dedup
from .arrow import pc
from .colours import colour_distance

_FAR = 1_000  # more than any distance


@dataclass(frozen=True)
class Alike:
    """When two pictures of like colours count as the same; a flat one only where PDQ is near enough to confirm.

    Attributes:
        colour_radius: levels in which no colour may differ by more; None: like colours let nothing count as the same.
        phash_radius, pdq_radius: bits in which the hashes may differ.
    """

    colour_radius: int | None = None
    phash_radius: int = 0
    pdq_radius: int = 0

    def params(self) -> dict[str, int | None]:
        """As parameters of SQL."""
        return {
            "alike_colour": self.colour_radius, "alike_phash": self.phash_radius, "alike_pdq": self.pdq_radius,
        }  # fmt: skip


@dataclass(frozen=True)
class Closeness:
    """When two pictures count as the same.

    Attributes:
        exact: equal sha256.
        phash_radius: bits of 64 in which pHashes may differ; None: they are not compared.
        pdq_radius: bits of 256 in which PDQ hashes may differ; None: they are not compared.
        cosine_radius: cosine distance of vectors, where there are any.
        confirming_radius: bits of 256 in which PDQ may differ where pHashes are near; None: PDQ is not asked.
        colour_radius: levels in which colours may differ where hashes are near, two cells aside; None: are not asked.
        alike: when hashes need not be that near.
    """

    exact: bool
    phash_radius: int | None
    pdq_radius: int | None
    cosine_radius: float = 0.0
    confirming_radius: int | None = None
    colour_radius: int | None = None
    alike: Alike = Alike()

    @classmethod
    def of(cls, config: Dedup) -> Closeness:
        """As a config has it."""
        confirming, alike = config.confirming_pdq_max_distance, Alike()
        if config.phash_max_distance is not None and confirming is not None:
            radii = config.alike_phash_max_distance, config.alike_pdq_max_distance
            alike = Alike(config.alike_colour_max_distance, *radii)
        return cls(
            config.exact, config.phash_max_distance, config.pdq_max_distance, config.embedding_max_distance or 0.0,
            confirming, config.colour_max_distance, alike,
        )  # fmt: skip

    @property
    def phash_reach(self) -> int:
        """Most bits in which pHashes of pictures that count as the same may differ."""
        return max(self.phash_radius or 0, self.alike.phash_radius if self.alike.colour_radius is not None else 0)


def leaders(pictures: pa.Table, close: Closeness, vectors: NDArray[np.float32] | None = None) -> pa.Array:
    """Who leads each picture: the first one leads all that are close to it, the first of the others leads next.

    So nobody is led from further away than ``close`` allows, and no two leaders are close to each other.

    Args:
        pictures: sha256: string; phash, pdq_0, pdq_1, pdq_2, pdq_3: int64, null where not to be compared; colours:
            binary, null where unknown; flat: bool. First comes whoever is to lead first.
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
    flat: NDArray[np.bool_]
    colours: pa.Array
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
            flat=pictures["flat"].to_numpy().astype(np.bool_),
            colours=pa.chunked_array(pictures["colours"]).combine_chunks(),
            vector=np.zeros((len(pictures), 0), np.float32) if vectors is None else vectors,
        )

    def take(self, kept: NDArray[np.bool_]) -> _Hashes:
        return _Hashes(
            self.file[kept], self.has_phash[kept], self.phash[kept], self.has_pdq[kept], self.pdq[kept],
            self.flat[kept], self.colours.filter(pa.array(kept)), self.vector[kept],
        )  # fmt: skip

    def near_first(self, close: Closeness) -> NDArray[np.bool_]:
        """Which pictures are close to the first; it is to itself."""
        near = np.zeros(len(self.file), np.bool_)
        near[0] = True
        if close.exact and self.file[0] >= 0:
            near |= self.file == self.file[0]
        near |= self._hashes_near_first(close)
        if self.vector[0].any():
            near |= self.vector @ self.vector[0] >= 1 - close.cosine_radius
        return near

    def _hashes_near_first(self, close: Closeness) -> NDArray[np.bool_]:
        phash = np.where(self.has_phash & self.has_phash[0], np.bitwise_count(self.phash ^ self.phash[0]), _FAR)
        bits = np.bitwise_count(self.pdq ^ self.pdq[0]).sum(axis=1, dtype=np.int64)
        pdq = np.where(self.has_pdq & self.has_pdq[0], bits, _FAR)
        flat = self.flat | self.flat[0]
        near = np.zeros(len(flat), np.bool_)
        if close.phash_radius is not None:
            confirmed = True if close.confirming_radius is None else pdq <= close.confirming_radius
            near |= (phash <= close.phash_radius) & confirmed
        if close.pdq_radius is not None:
            near |= pdq <= close.pdq_radius
        if close.colour_radius is not None:
            near &= self._apart_from_first(2, unknown=0) <= close.colour_radius
        near &= ~flat
        if close.alike.colour_radius is not None:
            confirmed = pdq <= np.where(flat, close.confirming_radius or 0, close.alike.pdq_radius)
            colours = self._apart_from_first(0, unknown=_FAR) <= close.alike.colour_radius
            near |= colours & confirmed & (phash <= close.alike.phash_radius)
        return near

    def _apart_from_first(self, spared: int, unknown: int) -> NDArray[np.int64]:
        first = pa.repeat(self.colours[0], len(self.colours))
        levels = colour_distance(self.colours, first, pa.repeat(pa.scalar(spared, pa.int32()), len(self.colours)))
        return pc.fill_null(levels, unknown).to_numpy(zero_copy_only=False).astype(np.int64)


def _unsigned(column: pa.ChunkedArray) -> NDArray[np.uint64]:
    return column.fill_null(0).to_numpy().astype(np.int64).view(np.uint64)
