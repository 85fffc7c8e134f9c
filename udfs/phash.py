"""pHash, the 64-bit perceptual hash: the very bits of ``imagehash.phash``, in less time.

imagehash lets Pillow shrink luma to 32 x 32 by Lanczos filters and sets a bit for each of the 8 x 8 lowest DCT
coefficients above their median. Pillow filters 8-bit pictures in whole numbers, so sums are exact in any order, and the
compiled loop has the same with weights cut in two halves of 16 bits. Where it was not compiled, Pillow shrinks.

The DCT is a matrix product where the two middle coefficients are apart. Where they are not (flat and symmetric pictures), roundings decide bits: scipy's DCT runs on the
FFT that numpy has too, and with scipy's own factors around it, it gives the same float64 numbers.

Source: imagehash 4.3, Pillow's src/libImaging/Resample.c, and pocketfft (``T_dcst23``), which numpy 2 and scipy share.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .compiled import loops

Pixels = NDArray[np.uint8]

_SIDE = 32
_CODE = 8
_MIDDLE = _CODE * _CODE // 2
_LANCZOS_REACH = 3.0
_FRACTION = 1 << 22  # Resample.c, PRECISION_BITS
_LOW_BITS = 12
_LONGEST_SIDE_PX = 8192  # whose weights are worth keeping


def phash(luma: Pixels) -> int:
    """pHash of a picture.

    Args: luma: uint8[h, w], as Pillow's ``convert("L")`` gives it.
    Returns: a signed 64-bit integer with the bits of ``imagehash.phash``, so that a column of it fits every engine.
    """
    small = _shrunk(luma).astype(np.float64)
    spectrum = _QUICK_DCT @ small @ _QUICK_DCT.T
    lower, upper = np.partition(spectrum, (_MIDDLE - 1, _MIDDLE), axis=None)[_MIDDLE - 1 : _MIDDLE + 1]
    if upper - lower < _CERTAIN_GAP:
        spectrum = _dct(_dct(small)[:_CODE].T)[:_CODE].T
        lower = upper = np.median(spectrum)
    bits = spectrum > (lower + upper) / 2
    return int.from_bytes(np.packbits(bits).tobytes(), "big", signed=True)


def phash_hex(value: int) -> str:
    """The 16 hex digits that imagehash prints for a hash."""
    return f"{value & 0xFFFF_FFFF_FFFF_FFFF:016x}"


def _shrunk(luma: Pixels) -> Pixels:
    """Pillow's ``resize((32, 32), LANCZOS)``."""
    height, width = luma.shape
    # Pillow 13 filters tall pictures vertically first, Pillow 12 only very tall ones: so ask the one installed.
    tall = height - _SIDE > 2 * (width - _SIDE)
    if loops is None or tall or min(height, width) <= _SIDE or max(height, width) > _LONGEST_SIDE_PX:
        picture = Image.fromarray(luma)
        return np.asarray(picture.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS))
    return _squeezed(_squeezed(luma).T).T


def _squeezed(lines: Pixels) -> Pixels:
    """Each line filtered to 32 values, rounded to whole levels as Pillow does: [m, n] to [m, 32]."""
    count, length = lines.shape
    levels = np.empty((count, _SIDE), np.uint8)
    first, halves = _halves(length)
    loops.squeeze(np.ascontiguousarray(lines), count, length, first, halves, halves.shape[2], levels)
    return levels


@functools.lru_cache(maxsize=128)
def _halves(length: int) -> tuple[NDArray[np.int32], NDArray[np.int16]]:
    """Pillow's fixed-point Lanczos weights from ``length`` > 32 values to 32.

    Returns: the first input of each output, int32[32], and int16[2, 32, taps], weights without their low bits, and these.
    """
    scale = length / _SIDE
    reach = _LANCZOS_REACH * scale
    centre = (np.arange(_SIDE) + 0.5) * scale
    start = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    stop = np.minimum((centre + reach + 0.5).astype(np.int64), length)
    taps = (stop - start).max()
    first = np.minimum(start, length - taps)  # an input before its time weighs nothing
    inputs = first[:, None] + np.arange(taps)
    offset = (inputs - centre[:, None] + 0.5) * (1.0 / scale)
    reached = (inputs >= start[:, None]) & (inputs < stop[:, None])
    inside = reached & (offset >= -_LANCZOS_REACH) & (offset < _LANCZOS_REACH)
    exact = np.where(inside, np.sinc(offset) * np.sinc(offset / _LANCZOS_REACH), 0.0)
    exact *= _FRACTION / exact.sum(axis=1, keepdims=True)
    whole = np.trunc(exact + np.copysign(0.5, exact)).astype(np.int64)
    halves = np.stack((whole >> _LOW_BITS, whole & ((1 << _LOW_BITS) - 1)))
    return first.astype(np.int32), halves.astype(np.int16)


def _dct(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """``scipy.fftpack.dct(columns, axis=0)`` of float64[32, m], to the last bit."""
    half = _SIDE // 2
    spectrum = np.zeros((half + 1, columns.shape[1]), np.complex128)
    spectrum.real[0], spectrum.real[half] = columns[0] * 2, columns[-1] * 2
    spectrum.real[1:half] = columns[2::2] + columns[1:-1:2]
    spectrum.imag[1:half] = columns[2::2] - columns[1:-1:2]
    mixed = np.fft.irfft(spectrum, _SIDE, axis=0, norm="forward")
    low, high = mixed[1:half], mixed[:half:-1]
    towards = _TURN[: half - 1, None], _TURN[_SIDE - 2 : half - 1 : -1, None]
    plus = towards[0] * high + towards[1] * low
    minus = towards[0] * low - towards[1] * high
    result = np.empty_like(mixed)
    result[0], result[half] = mixed[0], mixed[half] * _TURN[half - 1]
    result[1:half], result[:half:-1] = 0.5 * (plus + minus), 0.5 * (plus - minus)
    return result


def _turns() -> NDArray[np.float64]:
    """cos(pi k / 64) for k = 1 to 32, each from a coarse and a fine angle, with pocketfft's roundings.

    numpy's cosine may differ in the last bit between processors, and so may the cosine and sine of an eighth turn.
    """
    coarse = ((1.0, 0.0), (math.sin(math.pi / 4), math.cos(math.pi / 4)), (0.0, 1.0))
    fine = [(math.cos(step * math.pi / 64), math.sin(step * math.pi / 64)) for step in range(16)]
    turns = [(*coarse[step // 16], *fine[step % 16]) for step in range(1, _SIDE + 1)]
    return np.array([cosine * x - sine * y for cosine, sine, x, y in turns])


_TURN = _turns()

# Rows 0 to 7 of the DCT of 32 values, as scipy scales it.
_QUICK_DCT = 2 * np.cos(np.pi / (2 * _SIDE) * np.arange(_CODE)[:, None] * (2 * np.arange(_SIDE) + 1))
_CERTAIN_GAP = 1e-4  # coefficients reach 10**6, and a thousand roundings of one in 10**16 move them by less than 10**-6
