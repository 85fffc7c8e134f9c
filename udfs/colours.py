"""What a picture looks like from afar: 256 colours, which tell apart what hashes take for each other."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import chain

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .arrow import pc, udf
from .compiled import loops

_SIDE = 16
_BYTES = _SIDE * _SIDE * 3
_GAINS = (np.float32(1.1), np.float32(1.2), np.float32(1.3))
_PER_CONTRAST = np.float32(1 / 50)  # an edge of so many levels lets a cell be off by as much as its radius again
_ROUNDING = np.float32(1e-3)  # more than steps in 32 bits can be off by
_BLANK = 240  # a level that is as good as white
_PAIRS = 128  # at a time, so that steps find them in a processor's cache
_BLOCK = 256  # lines whose levels add up to 16 bits, which are added up twice as fast as 32
_LONGEST_KEPT = 16_384  # whose shares are worth keeping: 2 MB

Pixels = NDArray[np.uint8]


def colours(rgb: Pixels, alpha: Pixels | None = None) -> bytes | None:
    """The mean colours of a picture's 16 by 16 cells, as a white page shows it.

    Args: rgb: uint8[h, w, 3]. alpha: uint8[h, w]; None: opaque.
    Returns: 768 bytes: red, green and blue of the cells from left to right, of the rows from top to bottom. None of a
        picture with transparency that shows next to nothing on white: it may be drawn in white.
    """
    height, width = rgb.shape[:2]
    sums = _shares(width) @ _rows(rgb, alpha)
    area = height * width / _SIDE**2 * (1 if alpha is None else 255)
    cells = np.floor(sums / area + 0.5).astype(np.uint8)
    return None if alpha is not None and cells.min() >= _BLANK else cells.tobytes()


@udf(pa.binary(), pa.binary(), pa.int32(), returns=pa.int32())
def colour_distance(a: pa.Array, b: pa.Array, spared: pa.Array) -> pa.Array:
    """Levels by which the colours of two pictures differ, once either is brightened by 0, 10, 20 or 30 % to fit best.

    A copy of another size or quality differs most at edges, and another drawing anywhere. So what a cell differs by counts
    the less, the more the picture with less contrast there has about the cell: half as much at 50 levels, a sixth at 250.

    Args:
        a, b: binary[n], 768 bytes each, as ``colours`` gives them.
        spared: int32[n], 0 to 255: so many of the 256 cells that differ most are left out, where a mark may be.
    Returns: int32[n], 0 to 255, of the cell and channel that differ most, rounded up; null where either has another length.
    """
    known = pc.and_(_is_known(a), _is_known(b))
    left, right = _levels(a), _levels(b)
    left_out = spared.fill_null(0).to_numpy(zero_copy_only=False)
    found = np.empty(len(left), np.int32)
    for start in range(0, len(left), _PAIRS):
        rows = slice(start, start + _PAIRS)
        found[rows] = np.ceil(_differences(_cells(left[rows]), _cells(right[rows]), left_out[rows]) - _ROUNDING)
    return pa.array(found, pa.int32(), mask=~known.to_numpy(zero_copy_only=False))


def _bounds(length: int) -> list[tuple[float, float]]:
    return [(length * cell / _SIDE, length * (cell + 1) / _SIDE) for cell in range(_SIDE)]


def _shares(length: int) -> NDArray[np.float64]:
    """The share of each pixel in each cell, in sixteenths, so that sums are exact in any order: float64[16, length]."""
    return _kept_shares(length) if length <= _LONGEST_KEPT else _kept_shares.__wrapped__(length)


@lru_cache(maxsize=16)
def _kept_shares(length: int) -> NDArray[np.float64]:
    shares = np.zeros((_SIDE, length))
    for cell, (start, stop) in enumerate(_bounds(length)):
        first, end = math.floor(start), math.ceil(stop)
        shares[cell, first:end] = 1
        shares[cell, first] -= start - first
        shares[cell, end - 1] -= end - stop
    return shares


@lru_cache(maxsize=16)
def _lines(length: int) -> tuple[NDArray[np.int32], NDArray[np.uint16], NDArray[np.int32]]:
    """The shares that are not 0: their lines, how many sixteenths they are, and where those of each cell end."""
    shares = (_shares(length) * _SIDE).astype(np.uint16)
    cells, lines = np.nonzero(shares)
    return lines.astype(np.int32), shares[cells, lines], np.cumsum(np.bincount(cells, minlength=_SIDE)).astype(np.int32)


def _rows(rgb: Pixels, alpha: Pixels | None) -> NDArray:
    """The lines of each row of cells added up, those on an edge by their share: [16, w, 3]."""
    height, width = rgb.shape[:2]
    if loops is not None and alpha is None and height <= _LONGEST_KEPT:
        sixteenths = np.empty((_SIDE, width, 3), np.uint32)
        loops.line_sums(np.ascontiguousarray(rgb), height, width * 3, *_lines(height), sixteenths)
        return sixteenths / _SIDE
    bounds = _bounds(len(rgb))
    spans = [slice(math.floor(start), math.ceil(stop)) for start, stop in bounds]
    sums = np.stack([_sum(_shown(rgb, alpha, span)) for span in spans])
    edges = sorted({math.floor(start) for start, _ in bounds if start % 1})
    if not edges:
        return sums
    shares = _shares(len(rgb))[:, edges]
    too_much = (shares > 0) - shares
    return sums - np.tensordot(too_much, _shown(rgb, alpha, edges).astype(np.float64), axes=1)


def _shown(rgb: Pixels, alpha: Pixels | None, lines: slice | list[int]) -> NDArray:
    """Some lines of a picture; with transparency on white, and 255 times as bright."""
    if alpha is None:
        return rgb[lines]
    cover = alpha[lines, :, None].astype(np.uint16)
    return rgb[lines] * cover + 255 * (255 - cover)


def _sum(lines: NDArray) -> NDArray:
    if lines.dtype != np.uint8:
        return np.add.reduce(lines, axis=0)
    whole = np.zeros(lines.shape[1:])
    for at in range(0, len(lines), _BLOCK):
        whole += np.add.reduce(lines[at : at + _BLOCK], axis=0, dtype=np.uint16)
    return whole


def _is_known(signatures: pa.Array) -> pa.Array:
    return pc.fill_null(pc.equal(pc.binary_length(signatures), _BYTES), False)


def _levels(signatures: pa.Array) -> NDArray[np.uint8]:
    """uint8[n, 768]; zeros where it is not known."""
    fixed = pc.if_else(_is_known(signatures), signatures, pa.scalar(bytes(_BYTES), signatures.type))
    fixed = fixed.cast(pa.binary(_BYTES))
    levels = np.frombuffer(fixed.buffers()[1], np.uint8)[fixed.offset * _BYTES :]
    return levels[: len(fixed) * _BYTES].reshape(-1, _BYTES)


def _cells(levels: NDArray[np.uint8]) -> Pixels:
    """uint8[3, 16, 16, n]: pairs last, so that every step goes over many of them."""
    return np.ascontiguousarray(np.moveaxis(levels.T.reshape(_SIDE, _SIDE, 3, -1), 2, 0))


def _differences(left: Pixels, right: Pixels, spared: NDArray[np.int32]) -> NDArray[np.float32]:
    """Of each pair, as the gain that fits best has it: float32[n]."""
    weight = 1 / (1 + np.minimum(_contrast(left), _contrast(right)) * _PER_CONTRAST)
    one, other = left.astype(np.float32), right.astype(np.float32)
    brightened = ((np.minimum(a * gain, 255), b) for a, b in ((one, other), (other, one)) for gain in _GAINS)
    found = np.full(left.shape[-1], np.inf, np.float32)
    for a, b in chain([(one, other)], brightened):
        apart = np.abs(a - b).max(axis=0) * weight
        np.minimum(found, _largest(apart.reshape(_SIDE * _SIDE, -1), spared), out=found)
    return found


def _largest(apart: NDArray[np.float32], spared: NDArray[np.int32]) -> NDArray[np.float32]:
    """Of each column [256, n], without so many that are larger."""
    if not spared.any():
        return apart.max(axis=0)
    return np.take_along_axis(np.sort(apart, axis=0), len(apart) - 1 - spared[None].astype(np.int64), axis=0)[0]


def _contrast(cells: Pixels) -> Pixels:
    """By how much a cell and its eight neighbours differ, in the channel where they differ most: uint8[16, 16, n]."""
    return (_extreme(np.maximum, cells) - _extreme(np.minimum, cells)).max(axis=0)


def _extreme(of: np.ufunc, cells: Pixels) -> Pixels:
    """The greatest or least of each cell and its eight neighbours."""
    rows = cells.copy()
    of(rows[:, 1:], cells[:, :-1], out=rows[:, 1:])
    of(rows[:, :-1], cells[:, 1:], out=rows[:, :-1])
    found = rows.copy()
    of(found[:, :, 1:], rows[:, :, :-1], out=found[:, :, 1:])
    of(found[:, :, :-1], rows[:, :, 1:], out=found[:, :, :-1])
    return found
