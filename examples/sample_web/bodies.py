"""Bodies that are no good picture: too small, too large, cut short, or something else altogether."""

from __future__ import annotations

import functools
import io
import struct
import zlib

from PIL import Image, ImageDraw

BOMB_SIDE_PX = 30_000

HTML = b"<!doctype html>\n<title>Sorry</title>\n<p>The picture has moved. Please <a href='/'>start again</a>.\n"


def dot() -> bytes:
    """A PNG of 1 by 1 pixel, as trackers use it."""
    return _png(Image.new("RGB", (1, 1), "white"))


def ribbon() -> bytes:
    """A PNG of 1,600 by 40 pixels, forty times as wide as high."""
    image = Image.new("RGB", (1600, 40), (250, 244, 230))
    draw = ImageDraw.Draw(image)
    for x in range(0, 1600, 80):
        draw.ellipse((x + 10, 5, x + 40, 35), fill=(200, 40 + x // 10, 90))
    return _png(image)


def bomb() -> bytes:
    """A PNG of less than 3 kB that says it has 30,000 by 30,000 pixels in RGB; its data stop after some rows."""
    row = b"\0" * (1 + BOMB_SIDE_PX * 3)
    return _png_file(zlib.compress(row * 16, 9), bits=8, colour_type=2)


@functools.cache
def bomb_whole() -> bytes:
    """The same size with every row there: one bit a pixel, about 110 kB that unpack to 900 million pixels."""
    packer = zlib.compressobj(9)
    rows = b"\0" * (1 + BOMB_SIDE_PX // 8) * 100
    parts = [packer.compress(rows) for _ in range(BOMB_SIDE_PX // 100)]
    return _png_file(b"".join([*parts, packer.flush()]), bits=1, colour_type=0)


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "png")
    return out.getvalue()


def _png_file(data: bytes, bits: int, colour_type: int) -> bytes:
    header = struct.pack(">IIBBBBB", BOMB_SIDE_PX, BOMB_SIDE_PX, bits, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
