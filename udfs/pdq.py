"""PDQ, the 256-bit perceptual hash of ThreatExchange: the very bits of the pdqhash package, in less time.

PDQ blurs luma with two box filters each way, samples 64 x 64 points, takes 16 x 16 DCT coefficients and sets
a bit for each one above the median. Up to the median all of that is linear, so the two filters of one side and the
sampling are one weighted sum of neighbours for each of 64 places, with weights that depend on the side's length alone.

pdqhash sums in float32, one term after the other, and its rounding decides bits whose coefficient lies on
the median: always in flat pictures, and in symmetric ones, where half of the coefficients vanish. So the quick
path is trusted only where the coefficients next to the median lie further apart than rounding was ever seen to
move them, with room to spare; elsewhere (in flat and symmetric pictures, and in 2 photographs of 100, or 6 where all
orientations are wanted) ``pdq_exact`` redoes the float32 sums in pdqhash's order.

Source: https://github.com/facebook/ThreatExchange/blob/main/hashing/hashing.pdf and pdq/cpp beside it.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from .pdq_exact import (
    CODE,
    DCT,
    GRID,
    Floats,
    Pixels,
    exact_code,
    exact_grid,
    exact_quality,
    luma_of,
    samples_of,
    window_of,
)

_SMALLEST_SIDE_PX = 5  # below it pdqhash gives 256 zero bits of quality 0
_LONGEST_QUICK_SIDE_PX = 16_384  # far above it rounding leaves little that is certain
_MEDIAN = CODE * CODE // 2 - 1  # the lower of the two middle values, as pdqhash takes it
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)

# How far the quick path may be from pdqhash, for 1,000 px of width + height; it grows with the square root, as
# random walks of rounding errors do. Measured: see `test_quick_path_error`. No bound of the worst case: for
# that, rounding would have to err the same way at every step of a sliding sum.
_COEFFICIENT_ERROR = 0.005
_LEVEL_ERROR = 0.005

# OpenBLAS starts threads above this many multiplications. On busy cores they wait for each other for
# milliseconds, and a product here takes microseconds: interface/gemm.c, 65,536 times GEMM_MULTITHREAD_THRESHOLD.
_SINGLE_THREAD = 260_000


def pdq(rgb: Pixels) -> tuple[bytes, int]:
    """PDQ hash and its quality.

    Args: rgb: uint8[h, w, 3], the pixels as stored.
    Returns: 32 bytes whose ``hex()`` is what ThreatExchange prints, and the quality, 0 to 100. A side
        shorter than 5 px gives zero bytes of quality 0.
    """
    height, width = rgb.shape[:2]
    if min(height, width) < _SMALLEST_SIDE_PX:
        return bytes(32), 0
    if max(height, width) <= _LONGEST_QUICK_SIDE_PX:
        scale = _error_scale(height, width)
        grid = _quick_grid(rgb)
        codes, quality = _quick_code(grid)[None], _quality_if_certain(grid, scale)
        middle = _middle(codes)
        if quality is not None and _are_certain(middle, scale):
            return _bits(codes, middle)[0], quality
    # pdqhash takes a picture of 64 x 64 as it is, but only when it is asked for one orientation.
    grid = luma_of(rgb) if (height, width) == (GRID, GRID) else exact_grid(rgb)
    codes = exact_code(grid)[None]
    return _bits(codes, _middle(codes))[0], exact_quality(grid)


def pdq_dihedral(rgb: Pixels) -> list[bytes]:
    """PDQ hashes of a picture's eight orientations, from one pass over its pixels.

    Args: rgb: uint8[h, w, 3].
    Returns: 32 bytes each, in the order of ``pdqhash.compute_dihedral``: as it is, turned by 90, 180 and 270
        degrees, mirrored along either axis and along either diagonal.
    """
    return pdq_with_dihedral(rgb)[2]


def pdq_with_dihedral(rgb: Pixels) -> tuple[bytes, int, list[bytes]]:
    """What ``pdq`` and ``pdq_dihedral`` give, from one pass over the pixels for both.

    Args: rgb: uint8[h, w, 3].
    Returns: hash, quality, and the hashes of the eight orientations.
    """
    height, width = rgb.shape[:2]
    if min(height, width) < _SMALLEST_SIDE_PX:
        return bytes(32), 0, [bytes(32)] * 8
    found = _quick_dihedral(rgb) if max(height, width) <= _LONGEST_QUICK_SIDE_PX else None
    if found is None:
        grid = exact_grid(rgb)
        codes = _orientations(exact_code(grid))
        found = _bits(codes, _middle(codes)), exact_quality(grid)
    hashes, quality = found
    # The one size at which pdqhash tells the first orientation from the picture: see `pdq`.
    code, quality = pdq(rgb) if (height, width) == (GRID, GRID) else (hashes[0], quality)
    return code, quality, hashes


def _quick_dihedral(rgb: Pixels) -> tuple[list[bytes], int] | None:
    scale = _error_scale(*rgb.shape[:2])
    grid = _quick_grid(rgb)
    codes, quality = _orientations(_quick_code(grid)), _quality_if_certain(grid, scale)
    middle = _middle(codes)
    return (_bits(codes, middle), quality) if quality is not None and _are_certain(middle, scale) else None


# The quick path.


def _quick_grid(rgb: Pixels) -> Floats:
    """The blurred picture at 64 x 64 points. Channels are joined after the first filter, on far fewer values."""
    height, width = rgb.shape[:2]
    rows = _blur(np.ascontiguousarray(rgb).reshape(height, width * 3)).reshape(GRID, width, 3)
    return _blur(np.ascontiguousarray((rows @ _LUMA).T)).T


def _blur(pixels: NDArray) -> Floats:
    """Both box filters along the first axis, at 64 places: [n, m] to [64, m]. Tile by tile, to stay in cache."""
    pairs = _tents(len(pixels))
    step = max(1, _SINGLE_THREAD // pairs[0][1].size)
    blurred = np.empty((GRID, pixels.shape[1]), np.float32)
    for place, (start, weights) in zip(range(0, GRID, 2), pairs, strict=True):
        rows = pixels[start : start + weights.shape[1]]
        for lane in range(0, pixels.shape[1], step):
            tile = rows[:, lane : lane + step].astype(np.float32, copy=False)
            blurred[place : place + 2, lane : lane + step] = weights @ tile
    return blurred


@functools.lru_cache(maxsize=256)  # 8 bytes a row or column; pictures come in few sizes
def _tents(length: int) -> list[tuple[int, Floats]]:
    """What two box filters weigh each input with at the 64 places sampled, two places at a time.

    Returns: for each pair of places its first input, and weights of the inputs from there on, float32[2, band].
    """
    window, ahead = window_of(length)
    place = samples_of(length)
    index = np.arange(length)
    low, high = np.maximum(index - (window - ahead), 0), np.minimum(index + ahead, length)
    shares = np.concatenate(([0.0], np.cumsum(1.0 / (high - low))))  # of one input in the first filter's means
    reach = 2 * (window - ahead)
    band = min(int((place[1::2] - place[::2]).max()) + 2 * window - 1, length)
    starts = np.clip(place[::2] - reach, 0, length - band)
    inputs = np.repeat(starts, 2)[:, None] + np.arange(band)
    from_mean = np.maximum(low[place][:, None], inputs - ahead + 1)
    to_mean = np.minimum(high[place][:, None], inputs + (window - ahead) + 1)
    weights = shares[np.maximum(from_mean, to_mean)] - shares[from_mean]
    weights = (weights / (high - low)[place][:, None]).astype(np.float32)
    return list(zip(starts.tolist(), weights.reshape(GRID // 2, 2, band), strict=True))


def _quick_code(grid: Floats) -> NDArray:
    return DCT @ grid @ DCT.T


def _error_scale(height: int, width: int) -> float:
    return max(1.0, ((height + width) / 1000.0) ** 0.5)


def _are_certain(middle: Floats, scale: float) -> bool:
    """Whether no rounding can carry a coefficient from one side of its median to the other, by `_middle` of codes."""
    return bool((middle[:, 1] - middle[:, 0]).min() > 2 * _COEFFICIENT_ERROR * scale)


def _quality_if_certain(grid: Floats, scale: float) -> int | None:
    """The quality, unless steps so near a whole percent that rounding could move them decide it."""
    slack = 2 * _LEVEL_ERROR * scale * 100 / 255
    steps = np.concatenate([np.abs(np.diff(grid, axis=axis)).ravel() for axis in (0, 1)]) * (100 / 255)
    least, most = (int(np.trunc(np.maximum(steps + move, 0)).sum()) // 90 for move in (-slack, slack))
    return min(least, 100) if min(least, 100) == min(most, 100) else None


# From coefficients to bits.


_ODD = np.where(np.arange(CODE) % 2, 1, -1).astype(np.float32)  # by place, and places begin with frequency 1


def _orientations(code: Floats) -> Floats:
    """The coefficients of the eight orientations, float32[8, 16, 16]: mirroring turns the sign of odd frequencies."""
    across, along = code * _ODD, code * _ODD[:, None]
    both = across * _ODD[:, None]
    return np.stack((code, across.T, both, along.T, along, across, code.T, both.T))


def _middle(codes: Floats) -> Floats:
    """The two middle values of each code: [k, 16, 16] to [k, 2]."""
    return np.partition(codes.reshape(len(codes), -1), (_MEDIAN, _MEDIAN + 1), axis=1)[:, _MEDIAN : _MEDIAN + 2]


def _bits(codes: Floats, middle: Floats) -> list[bytes]:
    above = codes.reshape(len(codes), -1) > middle[:, :1]
    return [bits.tobytes() for bits in np.packbits(above[:, ::-1], axis=1)]
