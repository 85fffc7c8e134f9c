"""Groups around leaders: who is near enough to whom, where a chain of neighbours would go too far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..schemas.config import Dedup
from .arrow import pc
from .colours import colour_distance


@dataclass(frozen=True)
class Closeness:
    """When two pictures count as the same.

    Attributes:
        exact: equal sha256.
        phash_radius: bits of 64 in which pHashes may differ; None: they are not compared.
        pdq_radius: bits of 256 in which PDQ hashes may differ; None: they are not compared.
        confirming_radius: bits of 256 in which PDQ may differ where pHashes are near; None: it is not asked.
        colour_radius: levels by which colours may differ where hashes are near; None: colours are not asked.
        spared_cells: so many of the cells of colours may differ at will.
        cosine_radius: cosine distance of vectors, where there are any.
    """

    exact: bool
    phash_radius: int | None
    pdq_radius: int | None
    confirming_radius: int | None = None
    colour_radius: int | None = None
    spared_cells: int = 0
    cosine_radius: float = 0.0

    @classmethod
    def of(cls, config: Dedup) -> Closeness:
        """As a config has it."""
        return cls(
            config.exact, config.phash_max_distance, config.pdq_max_distance,
            config.confirming_pdq_max_distance, config.colour_max_distance, config.colour_spared_cells,
            config.embedding_max_distance or 0.0,
        )  # fmt: skip


def leaders(pictures: pa.Table, close: Closeness, vectors: NDArray[np.float32] | None = None) -> pa.Array:
    """Who leads each picture: the first one leads all that are close to it, the first of the others leads next.

    So nobody is led from further away than ``close`` allows, and no two leaders are close to each other.

    Args:
        pictures: sha256: string; phash, pdq_0, pdq_1, pdq_2, pdq_3: int64, null where not to be compared; flat: bool, not
            to be found by PDQ; colours: binary, null where unknown. First comes whoever is to lead first.
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
    sharp: NDArray[np.bool_]
    pdq: NDArray[np.uint64]
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
            sharp=words[0].is_valid().to_numpy() & ~pictures["flat"].to_numpy().astype(np.bool_),
            pdq=np.stack([_unsigned(word) for word in words], axis=1),
            colours=pa.chunked_array(pictures["colours"]).combine_chunks(),
            vector=np.zeros((len(pictures), 0), np.float32) if vectors is None else vectors,
        )

    def take(self, kept: NDArray[np.bool_]) -> _Hashes:
        return _Hashes(
            self.file[kept], self.has_phash[kept], self.phash[kept], self.has_pdq[kept],
            self.sharp[kept], self.pdq[kept],
            self.colours.filter(pa.array(kept)), self.vector[kept],
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
        near = np.zeros(len(self.file), np.bool_)
        bits = np.bitwise_count(self.pdq ^ self.pdq[0]).sum(axis=1, dtype=np.int64)
        if close.phash_radius is not None:
            near = np.bitwise_count(self.phash ^ self.phash[0]) <= close.phash_radius
            near &= self.has_phash & self.has_phash[0]
            if close.confirming_radius is not None:
                near &= self.has_pdq & self.has_pdq[0] & (bits <= close.confirming_radius)
        if close.pdq_radius is not None:
            near |= self.sharp & self.sharp[0] & (bits <= close.pdq_radius)
        if close.colour_radius is not None:
            near[near] = self._colours_near_first(near, close.colour_radius, close.spared_cells)
        return near

    def _colours_near_first(self, chosen: NDArray[np.bool_], radius: int, spared: int) -> NDArray[np.bool_]:
        colours = self.colours.filter(pa.array(chosen))
        first, left_out = (
            pa.repeat(self.colours[0], len(colours)),
            pa.repeat(pa.scalar(spared, pa.int32()), len(colours)),
        )
        levels = colour_distance(colours, first, left_out)
        return pc.fill_null(pc.less_equal(levels, radius), False).to_numpy(zero_copy_only=False)


def _unsigned(column: pa.ChunkedArray) -> NDArray[np.uint64]:
    return column.fill_null(0).to_numpy().astype(np.int64).view(np.uint64)
