"""The colours of a picture, 16 of them, which tell apart what hashes of luma do not: one drawing in two colours."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .arrow import pc, udf
from .opencv import opencv

_SIDE = 4
_CELLS = _SIDE * _SIDE
_BYTES = _CELLS * 3
_GAINS = (10, 11, 12, 13)  # tenths
_PAIRS = 16_384  # at a time
_BLOCK = 256  # lines whose levels add up to 16 bits, which are added up twice as fast as 32
_LONGEST_SIDE = 1 << 23  # whose levels add up to 31 bits

Pixels = NDArray[np.uint8]


def colours(rgb: Pixels) -> bytes:
    """The mean colours of a picture's sixteenths.

    Args: rgb: uint8[h, w, 3].
    Returns: 48 bytes: red, green and blue of four cells from left to right, of four rows of cells from top to bottom.
    """
    height, width = rgb.shape[:2]
    lines = np.stack([_sum(rgb, start, stop) for start, stop in _bounds(height)])
    sums = np.stack([_sum(lines.swapaxes(0, 1), start, stop) for start, stop in _bounds(width)], axis=1)
    return np.floor(sums * (_CELLS / (height * width)) + 0.5).astype(np.uint8).tobytes()


@udf(pa.binary(), pa.binary(), pa.int32(), returns=pa.int32())
def colour_distance(a: pa.Array, b: pa.Array, spared: pa.Array) -> pa.Array:
    """Levels by which the colours of two pictures differ, once either is brightened by 0, 10, 20 or 30 % to fit best.

    Args:
        a, b: binary[n], 48 bytes each, as ``colours`` gives them.
        spared: int32[n], 0 to 15: so many of the 16 cells that differ most are left out, where a logo may be.
    Returns: int32[n], 0 to 255, the largest difference in red, green or blue; null where either has another length.
    """
    known = pc.and_(_is_known(a), _is_known(b))
    left, right = _cells(a), _cells(b)
    place = _CELLS - 1 - spared.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    found = np.empty(len(left), np.int32)
    for start in range(0, len(left), _PAIRS):
        rows = slice(start, start + _PAIRS)
        sorted_cells = _differences(left[rows], right[rows])
        found[rows] = np.take_along_axis(sorted_cells, place[rows, None, None], axis=2)[:, :, 0].min(axis=1)
    return pa.array(found, pa.int32(), mask=~known.to_numpy(zero_copy_only=False))


def _bounds(length: int) -> list[tuple[float, float]]:
    return [(length * cell / _SIDE, length * (cell + 1) / _SIDE) for cell in range(_SIDE)]


def _sum(lines: NDArray, start: float, stop: float) -> NDArray:
    """Lines [n, ...] added up from ``start`` to ``stop``, a part of a line by its share.

    Shares are quarters, so that sums are exact, in whatever order they are added up.
    """
    first, end = math.floor(start), math.ceil(stop)
    whole = _sum_of_whole(lines[first:end])
    if first < start:
        whole = whole - (start - first) * lines[first]
    return whole - (end - stop) * lines[end - 1] if stop < end else whole


def _sum_of_whole(lines: NDArray) -> NDArray:
    if lines.dtype != np.uint8:
        return np.add.reduce(lines, axis=0)
    if opencv() is not None and len(lines) <= _LONGEST_SIDE:
        flat = lines.reshape(len(lines), -1)
        return opencv().reduce(flat, 0, opencv().REDUCE_SUM, dtype=opencv().CV_32S).reshape(lines.shape[1:])
    whole = np.zeros(lines.shape[1:])
    for at in range(0, len(lines), _BLOCK):
        whole += np.add.reduce(lines[at : at + _BLOCK], axis=0, dtype=np.uint16)
    return whole


def _is_known(signatures: pa.Array) -> pa.Array:
    return pc.fill_null(pc.equal(pc.binary_length(signatures), _BYTES), False)


def _cells(signatures: pa.Array) -> NDArray[np.int16]:
    fixed = pc.if_else(_is_known(signatures), signatures, pa.scalar(bytes(_BYTES), signatures.type))
    fixed = fixed.cast(pa.binary(_BYTES))
    levels = np.frombuffer(fixed.buffers()[1], np.uint8)[fixed.offset * _BYTES :][: len(fixed) * _BYTES]
    return levels.reshape(-1, _CELLS, 3).astype(np.int16)


def _differences(left: NDArray[np.int16], right: NDArray[np.int16]) -> NDArray[np.int16]:
    """Of each cell, in rising order, for each gain of either: [n, 2 gains, 16]."""
    tried = [
        np.abs(np.minimum((one * gain + 5) // 10, 255) - other).max(axis=2)
        for one, other in ((left, right), (right, left))
        for gain in _GAINS
    ]
    return np.sort(np.stack(tried, axis=1), axis=2)
