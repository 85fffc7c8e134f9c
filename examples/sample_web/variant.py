"""Near-duplicates of a picture and files that say something, made on the fly: a request always gives the same bytes."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageDraw, ImageEnhance

Format = Literal["jpeg", "png", "webp"]

_XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:plus="http://ns.useplus.org/ldf/xmp/1.0/" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
%s
</rdf:Description></rdf:RDF></x:xmpmeta>"""

# A JPEG segment APP11 with the first of many packets of a C2PA manifest store; the others never come.
_UUID = b"c2pa" + bytes.fromhex("00110010800000aa00389b71")
_BOX = struct.pack(">I4sI4s16sB5s", 60_000, b"jumb", 30, b"jumd", _UUID, 3, b"c2pa\0")
_TORN = b"\xff\xeb" + struct.pack(">H2sHI", 10 + len(_BOX), b"JP", 1, 1) + _BOX

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
        xmp: RDF properties to put into a JPEG, with the prefixes dc, plus and Iptc4xmpExt.
        torn_manifest: put the beginning of a C2PA manifest store into a JPEG, which nobody can read.
    """

    brightness: float = 1.0
    mark: bool = False
    scale: float = 1.0
    encode: Format = "jpeg"
    quality: int = 85
    xmp: str = ""
    torn_manifest: bool = False


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
    said = {"xmp": (_XMP % variant.xmp).encode()} if variant.xmp else {}
    image.save(out, variant.encode, quality=variant.quality, **said)
    body = out.getvalue()
    return body[:2] + _TORN + body[2:] if variant.torn_manifest else body


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
