"""The invisible watermarks that Stable Diffusion and its kin, and fairshard, write into what they make.

For fairshard's own see ``tile_mark``; what follows is about the others, whose code calls the ``invisible-watermark``
package (method ``dwtDct``). Reading with the package was tried: it brings torch, ONNX and a second OpenCV, takes 0.2 s
for a megapixel, and on 80 pictures that it had marked itself it read the whole message of 4. It rounds every bit to the
majority of its votes; the marks are biased, and one wrong bit is a message lost. Here the shares of votes are
correlated with the messages that are known, which found all 80, also as JPEG of quality 85. No mark survives resizing,
so it has to be looked for in the original.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import Evidence, tile_mark
from .synthetic import SYNTHETIC

KIND = "watermark"

MIN_PIXELS = 256 * 256
"""Smaller pictures are never marked by others: the package refuses them."""

_STEP = 36  # quantisation step of the U channel, the only one that is marked
_BLOCK = 4
_U = np.array([-0.299, -0.587, 0.886], np.float32) * np.float32(0.492 / 2)  # OpenCV's BGR2YUV, halved for the band
_U_ZERO = 128


def _bits(text: str) -> NDArray[np.float64]:
    return np.array([float(digit) for digit in text])


def _bits_of_bytes(text: bytes) -> NDArray[np.float64]:
    return np.unpackbits(np.frombuffer(text, np.uint8)).astype(np.float64)


# Message, and the least correlation. By chance each is reached about once in 10^12 pictures (t-test on as many bits);
# marked pictures reach 0.9 and more, the highest of 100 unmarked ones was 0.42.
_MARKS = {
    "Stable Diffusion 1": (_bits_of_bytes(b"StableDiffusionV1"), 0.57),
    "Stable Diffusion 2": (_bits_of_bytes(b"SDV2"), 0.9),
    "Stable Diffusion XL": (_bits("101100111110110010010000011110111011000110011110"), 0.82),
    # Written by bin(), which drops the two zeros that its 48-bit constant begins with.
    "FLUX": (_bits("1010101111111010000111100111001111010100101110"), 0.83),
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
    if tile_mark.is_marked(rgb):
        return tile_mark.MODEL
    height, width = rgb.shape[:2]
    if height * width < MIN_PIXELS or min(height, width) < 2 * _BLOCK:
        return None
    votes = _votes(_band(rgb))
    for name, (message, least) in _MARKS.items():
        if _correlation(_shares(votes, message.size), message) >= least:
            return name
    return None


def _band(rgb: NDArray[np.uint8]) -> NDArray[np.floating]:
    """U in the low-pass band of one Haar step, which is half the sum of two by two pixels: float32[h / 2, w / 2].

    The package rounds U of each pixel; summed first, it is off by one at most, and a step is 36.
    """
    height, width = (side // 4 * 4 for side in rgb.shape[:2])
    rows = rgb[:height:2, :width].astype(np.uint16) + rgb[1:height:2, :width]
    fours = (rows[:, ::2] + rows[:, 1::2]).astype(np.float32)
    return fours @ _U + np.float32(2 * _U_ZERO)


def _votes(band: NDArray[np.floating]) -> NDArray[np.bool_]:
    """The bit that each block of four by four carries, row by row, in its largest value but the first."""
    rows, columns = (side // _BLOCK for side in band.shape)
    blocks = band[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK)
    values = blocks.swapaxes(1, 2).reshape(rows * columns, -1)
    return values[:, 1:].max(axis=1) % _STEP > _STEP / 2


def _shares(votes: NDArray[np.bool_], length: int) -> NDArray[np.float64]:
    """For each bit of a message that is repeated over all blocks, the share of votes for one."""
    place = np.arange(votes.size) % length
    ones = np.bincount(place, weights=votes, minlength=length)
    return ones / np.maximum(np.bincount(place, minlength=length), 1)


def _correlation(shares: NDArray[np.float64], message: NDArray[np.float64]) -> float:
    spread = shares.std() * message.std()
    return float(((shares - shares.mean()) * (message - message.mean())).mean() / spread) if spread else 0.0
