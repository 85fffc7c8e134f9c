"""PDQ, the 256-bit perceptual hash of ThreatExchange: the very bits of the pdqhash package, in less time.

PDQ blurs luma with two box filters each way, samples 64 x 64 points, takes 16 x 16 DCT coefficients and sets
a bit for each one above the median. Up to the median all of that is linear, and ``pdq_quick`` sums in the order that
takes the least time.

pdqhash sums in float32, one term after the other, and its rounding decides bits whose coefficient lies on
the median: always in flat pictures, and in symmetric ones, where half of the coefficients vanish. So the quick
path is trusted only where the coefficients next to the median lie further apart than rounding was ever seen to
move them, with room to spare; elsewhere (in flat and symmetric pictures, and in 2 photographs of 100, or 6 where all
orientations are wanted) ``pdq_exact`` redoes the float32 sums in pdqhash's order.

Source: https://github.com/facebook/ThreatExchange/blob/main/hashing/hashing.pdf and pdq/cpp beside it.
"""

from __future__ import annotations

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
)
from .pdq_quick import quick_grid

_SMALLEST_SIDE_PX = 5  # below it pdqhash gives 256 zero bits of quality 0
_LONGEST_QUICK_SIDE_PX = 16_384  # far above it rounding leaves little that is certain
_MEDIAN = CODE * CODE // 2 - 1  # the lower of the two middle values, as pdqhash takes it

# How far the quick path may be from pdqhash, for 1,000 px of width + height; it grows with the square root, as
# random walks of rounding errors do. Measured: see `test_quick_path_error`. No bound of the worst case: for
# that, rounding would have to err the same way at every step of a sliding sum.
_COEFFICIENT_ERROR = 0.005
_LEVEL_ERROR = 0.005


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
        grid = quick_grid(rgb)
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
    grid = quick_grid(rgb)
    codes, quality = _orientations(_quick_code(grid)), _quality_if_certain(grid, scale)
    middle = _middle(codes)
    return (_bits(codes, middle), quality) if quality is not None and _are_certain(middle, scale) else None


# The quick path, from its grid on.


def _quick_code(grid: Floats) -> NDArray:
    return DCT @ grid @ DCT.T


def _error_scale(height: int, width: int) -> float:
    return max(1.0, ((height + width) / 1000.0) ** 0.5)


def _are_certain(middle: Floats, scale: float) -> bool:
    """Whether no rounding can carry a coefficient from one side of its median to the other, by `_middle` of codes."""
    return bool((middle[:, 1] - middle[:, 0]).min() > 2 * _COEFFICIENT_ERROR * scale)


def _quality_if_certain(grid: Floats, scale: float) -> int | None:
    """The quality, unless steps so near a whole percent that rounding could move them decide it."""
    steps = np.empty((2, GRID - 1, GRID), np.float32)
    np.subtract(grid[1:], grid[:-1], out=steps[0])
    np.subtract(grid[:, 1:], grid[:, :-1], out=steps[1].reshape(GRID, GRID - 1))
    np.abs(steps, out=steps)
    steps *= np.float32(100 / 255)
    slack = np.float32(2 * _LEVEL_ERROR * scale * 100 / 255)  # far below 1, so a step less it truncates to 0 at least
    least, most = (min(100, int(np.trunc(steps + move).sum()) // 90) for move in (-slack, slack))
    return least if least == most else None


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
