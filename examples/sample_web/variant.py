"""Near-duplicates of a picture, made on the fly: the same request always gives the same bytes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageDraw, ImageEnhance

Format = Literal["jpeg", "png", "webp"]

MIME: dict[Format, str] = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


@dataclass(frozen=True)
class Variant:
    """What is done to a picture, in this order.

    Attributes:
        brightness: factor; 1 leaves it alone.
        mark: draw a small mark in the lower right corner.
        scale: factor for both sides; 1 leaves them alone.
        encode: format to write.
        quality: of the encoder; PNG ignores it.
    """

    brightness: float = 1.0
    mark: bool = False
    scale: float = 1.0
    encode: Format = "jpeg"
    quality: int = 85


def encoded(original: bytes, variant: Variant) -> bytes:
    """A near-duplicate of a picture.

    Args:
        original: bytes of a picture that Pillow reads.
        variant: what to do to it.

    Returns:
        bytes in ``variant.encode``; RGB on white.
    """
    image = on_white(Image.open(io.BytesIO(original)))
    if variant.brightness != 1:
        image = ImageEnhance.Brightness(image).enhance(variant.brightness)
    if variant.mark:
        _mark(image)
    if variant.scale != 1:
        size = (round(image.width * variant.scale), round(image.height * variant.scale))
        image = image.resize(size, Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, variant.encode, quality=variant.quality)
    return out.getvalue()


def on_white(image: Image.Image) -> Image.Image:
    """The picture as RGB, what is transparent in it turned white."""
    layer = image.convert("RGBA")
    paper = Image.new("RGBA", layer.size, "white")
    paper.alpha_composite(layer)
    return paper.convert("RGB")


def _mark(image: Image.Image) -> None:
    side = max(6, min(image.size) // 12)
    right, bottom = image.width - side // 2, image.height - side // 2
    draw = ImageDraw.Draw(image)
    draw.rectangle((right - 2 * side, bottom - side, right, bottom), fill=(40, 40, 40))
    draw.rectangle((right - 2 * side + 2, bottom - side // 2, right - 2, bottom - side // 2 + 1), fill="white")
