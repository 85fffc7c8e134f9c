"""PDQ by pdqhash's own arithmetic: every float32 sum in the order of its C++, so that every bit is its.

That order is the one of its builds for x86-64. A processor that joins multiplication and addition into one
rounding, as ARM's do, gives another pdqhash, and where a coefficient lies on the median, another bit.

Source: https://github.com/facebook/ThreatExchange, pdq/cpp/downscaling and pdq/cpp/hashing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

GRID = 64
CODE = 16

_THOUSANDTHS = np.array([299, 587, 114], np.float32)
_STRIP = 32
_TILE = 3_000  # pixels; in cache, and below the size at which OpenBLAS starts threads: interface/gemv.c, and `pdq`


def window_of(length: int) -> tuple[int, int]:
    """Size of the box filter, and how many of its inputs lie at or after the place of its output."""
    window = (length + 2 * GRID - 1) // (2 * GRID)
    return window, (window + 2) // 2


def samples_of(length: int) -> NDArray[np.int64]:
    """The 64 places of a side that are kept: centres of equal parts, rounded down; a short side repeats some."""
    return ((np.arange(GRID) + 0.5) * length / GRID).astype(np.int64)


def exact_grid(rgb: Pixels) -> Floats:
    """The blurred picture at 64 x 64 points: uint8[h, w, 3] to float32[64, 64]. Sides of at least 5 px.

    Takes some 12 bytes of memory a pixel, up to 30 where one side is shorter than 64 px.
    """
    height, width = rgb.shape[:2]
    # After the last filter along rows only sampled columns matter; each once, as a narrow picture repeats some.
    columns, again = np.unique(samples_of(width), return_inverse=True)
    picture = luma_of(rgb)
    picture = _box(picture.T, *window_of(width))
    picture = _box(picture.T, *window_of(height))
    picture = _box(picture.T, *window_of(width))[columns]
    return _box(picture.T, *window_of(height))[samples_of(height)][:, again]


def luma_of(rgb: Pixels) -> Floats:
    """Luma as pdqhash computes it: uint8[h, w, 3] to float32[h, w]."""
    # pdqhash computes 0.299 R + 0.587 G + 0.114 B in float64 and rounds. In thousandths the sum is whole, so exact
    # in float32 whatever the order of its terms, and one division rounds it to the same number: tried on all 2**24
    # colours.
    pixels = np.ascontiguousarray(rgb).reshape(-1, 3)
    luma = np.empty(len(pixels), np.float32)
    for first in range(0, len(luma), _TILE):
        tile = pixels[first : first + _TILE].astype(np.float32)
        np.dot(tile, _THOUSANDTHS, out=luma[first : first + _TILE])
    luma /= np.float32(1000)
    return luma.reshape(rgb.shape[:2])


def _box(values: Floats, window: int, ahead: int) -> Floats:
    """Sliding means along the first axis, where windows are cut off at both ends: [n, m] to [n, m]."""
    values = _contiguous(values)
    length, lanes = values.shape
    sums = _sums_by_step(values, window, ahead) if lanes >= 64 else _sums_by_lane(values, window, ahead)
    index = np.arange(length)
    sizes = np.minimum(index + ahead, length) - np.maximum(index - (window - ahead), 0)
    sums /= sizes.astype(np.float32)[:, None]
    return sums


def _contiguous(values: Floats) -> Floats:
    """``np.ascontiguousarray``; of a transposed picture strip by strip, which cache likes better."""
    if values.flags.c_contiguous:
        return values
    copied = np.empty(values.shape, values.dtype)
    for first in range(0, values.shape[1], _STRIP):
        copied[:, first : first + _STRIP] = values[:, first : first + _STRIP]
    return copied


def _sums_by_step(values: Floats, window: int, ahead: int) -> Floats:
    """Sliding sums, one step for all lanes at a time."""
    length, lanes = values.shape
    behind = window - ahead
    sums = np.empty_like(values)
    total, entered = np.zeros(lanes, np.float32), np.empty(lanes, np.float32)
    for value in values[: ahead - 1]:
        total += value
    for value, out in zip(values[ahead - 1 : window], sums[: behind + 1], strict=True):
        np.add(total, value, out)
        total = out
    for value, gone, out in zip(
        values[window:], values[: length - window], sums[behind + 1 : length - ahead + 1], strict=True
    ):
        np.add(total, value, entered)
        np.subtract(entered, gone, out)
        total = out
    for gone, out in zip(values[length - window : length - behind - 1], sums[length - ahead + 1 :], strict=True):
        np.subtract(total, gone, out)
        total = out
    return sums


def _sums_by_lane(values: Floats, window: int, ahead: int) -> Floats:
    """The same sums where lanes are few and long, so that a million steps do not take a million calls."""
    length, lanes = values.shape
    behind = window - ahead
    full = window + 2 * (length - window)  # one term enters, one leaves, in turn
    terms = np.empty((lanes, full + ahead - 1), np.float32)
    terms[:, :window] = values[:window].T
    terms[:, window:full:2] = values[window:].T
    np.negative(values[: length - window].T, out=terms[:, window + 1 : full : 2])
    np.negative(values[length - window : length - behind - 1].T, out=terms[:, full:])
    np.add.accumulate(terms, axis=1, out=terms)
    return np.concatenate(
        [terms[:, ahead - 1 : window], terms[:, window + 1 : full : 2], terms[:, full:]], axis=1
    ).T.copy()


def exact_code(grid: Floats) -> Floats:
    """DCT coefficients 1 to 16 both ways: float32[64, 64] to float32[16, 16]."""
    half = _product_in_order(DCT, grid)
    return _product_in_order(half, np.ascontiguousarray(DCT.T))


def _product_in_order(left: Floats, right: Floats) -> Floats:
    """Matrix product in float32, each sum from its first term to its last."""
    product = np.zeros((len(left), right.shape[1]), np.float32)
    for column, row in zip(left.T, right, strict=True):
        product += column[:, None] * row
    return product


def exact_quality(grid: Floats) -> int:
    """Quality, 0 to 100: steps between neighbours in whole percent of the range, summed and scaled."""
    steps = [np.diff(grid, axis=axis) * np.float32(100) / np.float32(255) for axis in (0, 1)]
    return min(100, sum(int(np.abs(np.trunc(step)).sum()) for step in steps) // 90)


def _dct_matrix() -> Floats:
    """Rows 1 to 16 of the DCT of 64 values."""
    row, column = np.arange(1, CODE + 1)[:, None], np.arange(GRID)
    scale = float(np.float32(np.sqrt(2.0 / GRID)))
    return (scale * np.cos(np.pi / 2 / GRID * row * (2 * column + 1))).astype(np.float32)


DCT = _dct_matrix()
