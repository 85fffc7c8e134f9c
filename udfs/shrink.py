"""Pictures made smaller, each new pixel the mean of the area that it covers: the very bits of OpenCV's INTER_AREA.

Where the ratio is no whole number, that was a quarter of the CPU time of `fetch`. The compiled loop weighs the same
neighbours with the same weights in the same order, four values at a time. Where it was not compiled, and for all that it
is not made for, OpenCV itself answers.

Source: OpenCV's modules/imgproc/src/resize.cpp (``computeResizeAreaTab``).
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compiled import loops

_NEGLIGIBLE = 1e-3  # share of a pixel that OpenCV leaves out
_LONGEST_SIDE_PX = 16_384  # whose shares are worth keeping: some 0.2 MB


def shrunk(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """``cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)``.

    Args: image: uint8[h, w] or uint8[h, w, channels].
    """
    if loops is None or not _is_meant(image, width, height):
        import cv2

        return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]
    lines, length = image.shape[:2]
    columns, rows = _columns(length, width), _shares(lines, height)
    result = np.empty((height, width, 3), np.uint8)
    loops.shrink(image, lines, length, *columns, rows.places, rows.weights, rows.ends, result)
    return result


class _Shares(NamedTuple):
    """Which pixels of a line make each new one.

    Attributes:
        places: int32[k], pixels of the old line.
        weights: float32[k], which add up to 1 for each of the new.
        ends: int32[n], where those of each new pixel end.
    """

    places: NDArray[np.int32]
    weights: NDArray[np.float32]
    ends: NDArray[np.int32]


def _is_meant(image: NDArray[np.uint8], width: int, height: int) -> bool:
    """OpenCV has other ways to enlarge, and a quick one to shrink by whole numbers."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.flags.c_contiguous:
        return False
    lines, length = image.shape[:2]
    whole = lines % height == 0 and length % width == 0
    return height <= lines <= _LONGEST_SIDE_PX and width <= length <= _LONGEST_SIDE_PX and not whole


@functools.lru_cache(maxsize=128)
def _columns(length: int, count: int) -> tuple[NDArray[np.int32], NDArray[np.float32], int]:
    """Shares as a table: for each new pixel three times the places of the old, their weights, and how many at most."""
    shares = _shares(length, count)
    taps = np.diff(shares.ends, prepend=0)
    most = int(taps.max())
    filled = np.arange(most) < taps[:, None]
    places, weights = np.zeros((count, most), np.int32), np.zeros((count, most), np.float32)
    places[filled], weights[filled] = 3 * shares.places, shares.weights
    return places, weights, most


@functools.lru_cache(maxsize=128)
def _shares(length: int, count: int) -> _Shares:
    """Shares of ``length`` pixels in ``count`` of them or fewer."""
    scale = length / count
    places: list[int] = []
    weights: list[float] = []
    ends: list[int] = []
    for at in range(count):
        start = at * scale
        end, covered = start + scale, min(scale, length - start)
        stop = min(math.floor(end), length - 1)
        first = min(math.ceil(start), stop)
        if first - start > _NEGLIGIBLE:
            places.append(first - 1)
            weights.append((first - start) / covered)
        places += range(first, stop)
        weights += [1 / covered] * (stop - first)
        if end - stop > _NEGLIGIBLE:
            places.append(stop)
            weights.append(min(end - stop, 1.0, covered) / covered)
        ends.append(len(places))
    return _Shares(np.array(places, np.int32), np.array(weights, np.float32), np.array(ends, np.int32))
