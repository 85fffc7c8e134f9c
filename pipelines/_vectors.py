"""Vectors of many pictures, on disk, in the order of their pairs' ids."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..schemas.errors import StageError
from ._embed import vectors_of
from ._files import arrow_filesystem

_ROWS = 2048


@dataclass(frozen=True)
class Vectors:
    """Vectors by place: 12 bytes of memory each; the rest is mapped from a file without a name.

    Attributes:
        ids: int64[n], of the pairs, ascending.
        stored: float16[n, d].
        scale: float32[n], what makes them of unit length again.
    """

    ids: NDArray[np.int64]
    stored: NDArray[np.float16]
    scale: NDArray[np.float32]

    def at(self, places: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """float32[m, d] of unit length."""
        rows = self.stored[places].astype(np.float32)
        rows *= self.scale[places, None]
        return rows

    def of(self, pair_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32[m, d] of unit length; zeros where a pair has no vector."""
        found = np.zeros((len(pair_ids), self.stored.shape[1]), np.float32)
        places = np.searchsorted(self.ids, pair_ids)
        known = np.flatnonzero(np.isin(pair_ids, self.ids))
        found[known] = self.at(places[known])
        return found

    def blocks(self) -> Iterator[slice]:
        """All places, some at a time."""
        for start in range(0, len(self.ids), _ROWS):
            yield slice(start, min(start + _ROWS, len(self.ids)))


def read_vectors(files: Sequence[str], folder: str | None) -> Vectors:
    """The vectors of some files of ``embedding``.

    Args:
        files: Parquet, each by ascending pair_id.
        folder: a local one with room for 2 bytes a number; the system's own for such things if None.

    Raises:
        StageError: not all have one length.
    """
    ids = np.concatenate([np.empty(0, np.int64), *map(_ids, files)])
    place = np.empty(len(ids), np.int64)
    place[np.argsort(ids)] = np.arange(len(ids))
    stored, scale = np.zeros((len(ids), 0), np.float16), np.ones(len(ids), np.float32)
    start = 0
    for file in files:
        for vectors in _vectors(file):
            if start == 0:
                stored = _mapped((len(ids), vectors.shape[1]), folder)
            if vectors.shape[1] != stored.shape[1]:
                raise StageError(file, f"holds vectors of {vectors.shape[1]} numbers", f"{stored.shape[1]}")
            places = place[start : start + len(vectors)]
            stored[places] = vectors
            scale[places] = 1 / np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)
            start += len(vectors)
    return Vectors(np.sort(ids), stored, scale)


def _mapped(shape: tuple[int, int], folder: str | None) -> NDArray[np.float16]:
    with tempfile.TemporaryFile(dir=folder) as target:  # the file lives as long as it is mapped
        return np.memmap(target, np.float16, "w+", shape=shape)


def _ids(file: str) -> NDArray[np.int64]:
    fs, plain = arrow_filesystem(file)
    return pq.read_table(plain, columns=["pair_id"], filesystem=fs)["pair_id"].to_numpy()


def _vectors(file: str) -> Iterator[NDArray[np.float32]]:
    fs, plain = arrow_filesystem(file)
    with fs.open_input_file(plain) as opened:
        for batch in pq.ParquetFile(opened).iter_batches(_ROWS, columns=["vector"]):
            yield vectors_of(pa.array(batch.column(0)))
