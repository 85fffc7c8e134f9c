"""The invisible watermark that Stable Diffusion and its kin write into what they make.

Their code calls the ``invisible-watermark`` package (method ``dwtDct``). It is not a dependency: it brings torch,
ONNX and a second OpenCV, and loops over blocks in Python. Reading is one Haar step and one argmax per block, done
here in numpy; on pictures written by the package it gives the package's bits. The mark survives mild compression
and no resizing, so it has to be looked for in the original.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import Evidence
from .synthetic import SYNTHETIC

KIND = "watermark"

MIN_PIXELS = 256 * 256
"""Smaller pictures are never marked: the package refuses them."""

_STEP = 36  # quantisation step of the U channel, the only one that is marked
_BLOCK = 4
_HAAR = 0.7071067811865476


def _bits_of(text: str) -> NDArray[np.bool_]:
    return np.array([digit == "1" for digit in text])


def _bits_of_bytes(text: bytes) -> NDArray[np.bool_]:
    return np.unpackbits(np.frombuffer(text, np.uint8)).astype(bool)


# Message, and how many bits may be wrong: few enough that a false alarm is not expected among ten billion pictures.
_MARKS = {
    "Stable Diffusion 1": (_bits_of_bytes(b"StableDiffusionV1"), 20),
    "Stable Diffusion 2": (_bits_of_bytes(b"SDV2"), 0),
    "Stable Diffusion XL": (_bits_of("101100111110110010010000011110111011000110011110"), 2),
    # Written by bin(), which drops the two zeros that its 48-bit constant begins with.
    "FLUX": (_bits_of("1010101111111010000111100111001111010100101110"), 2),
}


def verdict(rgb: NDArray[np.uint8]) -> Evidence:
    """Whether a picture carries the watermark of a known model.

    Args:
        rgb: uint8[height, width, 3], at the size at which it was published.

    Returns:
        Evidence: always ``none``, with the tag ``synthetic`` if a watermark was found.
    """
    name = model(rgb)
    if name is None:
        return Evidence(KIND)
    return Evidence(KIND, scope="asset", value=name, source="pixels", tags=(SYNTHETIC,))


def model(rgb: NDArray[np.uint8]) -> str | None:
    """The model that marked a picture; None if none did, or the picture is too small to tell."""
    height, width = rgb.shape[:2]
    if height * width < MIN_PIXELS or min(height, width) < 2 * _BLOCK:
        return None
    scores = _scores(_haar_mean(_u_channel(rgb)))
    for name, (message, tolerated) in _MARKS.items():
        if scores.size >= message.size and np.count_nonzero(_votes(scores, message.size) != message) <= tolerated:
            return name
    return None


def _u_channel(rgb: NDArray[np.uint8]) -> NDArray[np.int32]:
    """U of each pixel, in the fixed-point arithmetic of OpenCV's BGR2YUV, without odd edges."""
    height, width = (side // _BLOCK * _BLOCK for side in rgb.shape[:2])
    red, green, blue = (rgb[:height, :width, channel].astype(np.int32) for channel in range(3))
    luma = (red * 4899 + green * 9617 + blue * 1868 + 8192) >> 14
    return np.clip(((blue - luma) * 8061 + (128 << 14) + 8192) >> 14, 0, 255)


def _haar_mean(channel: NDArray[np.int32]) -> NDArray[np.float64]:
    """The low-pass band of one Haar step, down the columns first.

    In exact arithmetic it is half the sum of each two by two pixels. The package computes it in floating point,
    and its rounding decides coefficients on the border between two bits, so it is done the same way here.
    """
    down = channel[0::2] * _HAAR + channel[1::2] * _HAAR
    return down[:, 0::2] * _HAAR + down[:, 1::2] * _HAAR


def _scores(band: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The bit that each block carries, row by row, in its largest coefficient but the first."""
    rows, columns = (side // _BLOCK for side in band.shape)
    blocks = band[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK)
    coefficients = np.abs(blocks.swapaxes(1, 2).reshape(rows * columns, -1))
    largest = np.argmax(coefficients[:, 1:], axis=1) + 1
    return coefficients[np.arange(largest.size), largest] % _STEP > _STEP / 2


def _votes(scores: NDArray[np.bool_], length: int) -> NDArray[np.bool_]:
    """The bits of a message that is repeated over all blocks: more than 127 of 255 votes, as the package counts."""
    place = np.arange(scores.size) % length
    ones = np.bincount(place, weights=scores, minlength=length)
    return ones / np.bincount(place, minlength=length) * 255 > 127
