"""PDQ's blurred picture in little time, and not to the last bit of pdqhash's: ``pdq`` says when that is enough.

The two box filters of one side and the sampling are one weighted sum of neighbours for each of 64 places: a tent,
the same one at every place but where a border cuts it off. Rows come first, as they leave 64 of all, then the
channels are joined, and columns come last.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from .compiled import loops
from .pdq_exact import GRID, Floats, Pixels, samples_of, window_of

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)

# OpenBLAS starts threads above this many multiplications. On busy cores they wait for each other for
# milliseconds, and a product here takes microseconds: interface/gemm.c, 65,536 times GEMM_MULTITHREAD_THRESHOLD.
_SINGLE_THREAD = 260_000

# Places of one product. Bands of neighbours overlap, so few places waste the least, and many take the fewest calls.
_ROWS = 2
_COLUMNS = 8

_ALL_ROWS = range(GRID // _ROWS)


def quick_grid(rgb: Pixels) -> Floats:
    """The blurred picture at 64 x 64 points: uint8[h, w, 3] to float32[64, 64]. Sides of at least 5 px."""
    height, width = rgb.shape[:2]
    pixels = np.ascontiguousarray(rgb).reshape(height, width * 3)
    rows = _products_down(pixels) if loops is None else _means_down(pixels)
    return _products_along(rows.reshape(GRID, width, 3) @ _LUMA)


def _means_down(pixels: Pixels) -> Floats:
    """Both filters down the columns, at 64 places: [h, n] to [64, n]. Whole numbers, but where a border cuts the tent."""
    window, _ = window_of(len(pixels))
    *tents, cut = _whole_tents(len(pixels))
    sums = np.empty((GRID, pixels.shape[1]), np.uint32)
    loops.line_sums(pixels, *pixels.shape, *tents, sums)
    means = sums.view(np.int32).astype(np.float32)
    means *= np.float32(1 / window**2)
    return _products_down(pixels, means, cut)


@functools.lru_cache(maxsize=256)  # 6 bytes a row
def _whole_tents(length: int) -> tuple[NDArray[np.int32], NDArray[np.uint16], NDArray[np.int32], list[int]]:
    """The tent that no border cuts off.

    Returns: its inputs at the 64 places, their weights, and where those of each place end; and the groups of `_tents`
        with a place where a border cuts it.
    """
    window, ahead = window_of(length)
    weight = np.minimum(np.arange(1, 2 * window), np.arange(1, 2 * window)[::-1]).astype(np.uint16)
    start = samples_of(length) - 2 * (window - ahead)
    inputs = np.clip(start[:, None] + np.arange(len(weight)), 0, length - 1).astype(np.int32)
    groups = np.unique(np.flatnonzero((start < 0) | (start + len(weight) > length)) // _ROWS)
    ends = np.arange(1, GRID + 1, dtype=np.int32) * len(weight)
    return inputs, np.tile(weight, GRID), ends.astype(np.int32), groups.tolist()


def _products_down(pixels: Pixels, blurred: Floats | None = None, groups: list[int] | range = _ALL_ROWS) -> Floats:
    """Both filters down the columns as matrix products, at 64 places or some groups of them: [h, n] to [64, n]."""
    tents = _tents(len(pixels), _ROWS)
    lanes = max(1, _SINGLE_THREAD // tents[0][1].size)
    blurred = np.empty((GRID, pixels.shape[1]), np.float32) if blurred is None else blurred
    for group in groups:
        start, weights = tents[group]
        band, out = pixels[start : start + weights.shape[1]], blurred[group * _ROWS : (group + 1) * _ROWS]
        for lane in range(0, pixels.shape[1], lanes):
            tile = band[:, lane : lane + lanes].astype(np.float32)
            np.matmul(weights, tile, out=out[:, lane : lane + lanes])
    return blurred


def _products_along(rows: Floats) -> Floats:
    """Both filters along the rows, at 64 places: [64, w] to [64, 64]."""
    tents = _tents(rows.shape[1], _COLUMNS)
    lines = max(1, _SINGLE_THREAD // tents[0][1].size)
    blurred = np.empty((GRID, GRID), np.float32)
    for group, (start, weights) in enumerate(tents):
        band, out = rows[:, start : start + weights.shape[1]], blurred[:, group * _COLUMNS : (group + 1) * _COLUMNS]
        for line in range(0, GRID, lines):
            np.matmul(band[line : line + lines], weights.T, out=out[line : line + lines])
    return blurred


@functools.lru_cache(maxsize=256)  # 12 bytes a row, 36 a column; pictures come in few sizes
def _tents(length: int, places: int) -> list[tuple[int, Floats]]:
    """What two box filters weigh each input with at the 64 places sampled, some places at a time.

    Returns: for each group of places its first input, and weights of the inputs from there on, float32[places, band].
    """
    window, ahead = window_of(length)
    place = samples_of(length)
    index = np.arange(length)
    low, high = np.maximum(index - (window - ahead), 0), np.minimum(index + ahead, length)
    shares = np.concatenate(([0.0], np.cumsum(1.0 / (high - low))))  # of one input in the first filter's means
    first, last = place[::places], place[places - 1 :: places]
    band = min(int((last - first).max()) + 2 * window - 1, length)
    starts = np.clip(first - 2 * (window - ahead), 0, length - band)
    inputs = np.repeat(starts, places)[:, None] + np.arange(band)
    from_mean = np.maximum(low[place][:, None], inputs - ahead + 1)
    to_mean = np.minimum(high[place][:, None], inputs + (window - ahead) + 1)
    weights = shares[np.maximum(from_mean, to_mean)] - shares[from_mean]
    weights = (weights / (high - low)[place][:, None]).astype(np.float32)
    return list(zip(starts.tolist(), weights.reshape(-1, places, band), strict=True))
