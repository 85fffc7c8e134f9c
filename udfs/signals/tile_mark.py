"""The invisible watermark that fairshard writes into what its models make, and its reader.

The mean brightness of each block of 8 by 8 pixels is moved, by four levels at most, to the place within a step that
stands for its bit. Tiles of 8 by 8 blocks repeat one message. Those are JPEG's blocks, whose means it keeps, but for
what clipping at black and white takes: so half of what a JPEG would change is put right beforehand. 120 pictures of
64 px were all found as JPEG of quality 85 and as WebP of quality 80, and 107 as JPEG of quality 75; of 128 px all, by
each. They differ from the unmarked ones by 38 dB. No mark survives resizing, or a crop that moves the blocks.

Not by a library: ``invisible-watermark`` 0.2.0 and ``blind-watermark`` 0.4.4 each put a second OpenCV over the one
that img2dataset brings. The former also brings torch, refuses pictures below 256 by 256 pixels, and seldom reads what
it wrote; see ``watermark``.

Source: quantisation index modulation, Chen and Wornell 2001, doi:10.1109/18.923725.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MODEL = "fairshard"
"""Who writes this mark."""

MIN_SIDE_PX = 64
"""The message has no room in pictures with a shorter side."""

_BLOCK = 8
_STEP = 8.0  # levels of brightness; with 6, five in 120 pictures of 64 px were lost as JPEG of quality 85
_LUMA = np.array([0.299, 0.587, 0.114])  # as JPEG has it
_QUALITY = 85
_ROUNDS = 8  # of putting right what clipping and rounding have taken back

# 32 ones and 32 zeros in an order drawn once.
_TILE = np.unpackbits(np.frombuffer(bytes.fromhex("71c4075b5dc25f32"), np.uint8)).reshape(_BLOCK, _BLOCK)
# Whatever an unmarked picture shows, the drawn order agrees with it so well at most once in 10^9 pictures. Of 360,
# the highest was 0.45.
_LEAST = 0.75

# An eighth of a level is kept in the mean of a block by rounding some of its pixels up and some down, evenly spread.
_ROUNDED = (np.arange(64).reshape(8, 8) * 37 % 64 + 0.5) / 64


def marked(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture with the mark, of the same size; as it is if a side is shorter than ``MIN_SIDE_PX``.

    Args:
        rgb: uint8[height, width, 3]. What is right of and below the last whole block stays as it is.
    """
    if min(rgb.shape[:2]) < MIN_SIDE_PX:
        return rgb
    before = _means(rgb)
    places = _STEP * (0.25 + 0.5 * _message(before))
    aims = np.rint((before - places) / _STEP) * _STEP + places
    aims += _STEP * ((aims < 0).astype(float) - (aims > np.iinfo(np.uint8).max))
    moves, result = np.zeros_like(before), rgb
    for _ in range(_ROUNDS):
        moves += aims - (_means(result) + _means(_as_jpeg(result))) / 2
        result = _moved(rgb, moves)
    return result


def is_marked(rgb: NDArray[np.uint8]) -> bool:
    """Whether a picture carries the mark.

    Args:
        rgb: uint8[height, width, 3], at the size at which it was written.
    """
    if min(rgb.shape[:2]) < MIN_SIDE_PX:
        return False
    means = _means(rgb)
    rows, columns = (np.arange(count) % _BLOCK for count in means.shape)
    places = (rows[:, None] * _BLOCK + columns).ravel()
    # 1 in the middle of where a one lies, -1 in the middle of where a zero lies.
    votes = np.bincount(places, -np.sin(2 * np.pi * means / _STEP).ravel()) / np.bincount(places)
    votes -= votes.mean()
    size = float(np.sqrt((votes**2).sum()))
    signs = _TILE.ravel() * 2.0 - 1.0
    return size > 0 and float(votes @ signs) / (size * np.sqrt(signs.size)) >= _LEAST


def _means(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean luma of each whole block: float64[height / 8, width / 8]."""
    rows, columns = (side // _BLOCK for side in rgb.shape[:2])
    whole = rgb[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns * _BLOCK * 3)
    sums = whole.sum(axis=1, dtype=np.uint16).reshape(rows, columns, _BLOCK, 3).sum(axis=2, dtype=np.uint16)
    return sums @ _LUMA / _BLOCK**2


def _message(means: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The bit of each block."""
    rows, columns = means.shape
    return np.tile(_TILE, (-(-rows // _BLOCK), -(-columns // _BLOCK)))[:rows, :columns]


def _moved(rgb: NDArray[np.uint8], moves: NDArray[np.float64]) -> NDArray[np.uint8]:
    """All channels of each block moved alike, so that colours stay."""
    rows, columns = moves.shape
    levels = np.kron(moves, np.ones((_BLOCK, _BLOCK))) + np.tile(_ROUNDED, moves.shape)
    result = rgb.copy()
    whole = result[: rows * _BLOCK, : columns * _BLOCK]
    whole[:] = np.clip(np.floor(whole + levels[..., None]), 0, np.iinfo(np.uint8).max)
    return result


def _as_jpeg(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=_QUALITY)
    return np.asarray(Image.open(buffer).convert("RGB"))
