"""Pictures that tests make for themselves: the same ones every time."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, features

# Height, width: what breaks filters, samplings and special cases.
SIZES = [
    (1, 1), (1, 9), (9, 1), (4, 100), (5, 5), (7, 5), (31, 31), (32, 32), (33, 33), (63, 64), (64, 64), (65, 64),
    (127, 128), (129, 257), (300, 40), (40, 300), (3, 5000), (5000, 3), (480, 640), (641, 479), (9000, 33),
]  # fmt: skip


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def photograph(height: int, width: int, seed: int = 0, detail: int = 12) -> Image.Image:
    """Soft shapes with a little grain, of no symmetry."""
    soft = noise(detail, detail + 1, seed).resize((width, height), Image.Resampling.BICUBIC)
    return Image.blend(soft, noise(height, width, seed + 1), 0.08)


def drawing(height: int, width: int, seed: int = 0) -> Image.Image:
    """Flat colours, sharp edges and letters."""
    random = np.random.default_rng(seed)
    picture = Image.new("RGB", (width, height), tuple(int(level) for level in random.integers(0, 256, 3)))
    pen = ImageDraw.Draw(picture)
    for _ in range(9):
        (left, right), (top, bottom) = (np.sort(random.integers(0, side + 1, 2)).tolist() for side in (width, height))
        colour = tuple(int(level) for level in random.integers(0, 256, 3))
        random.choice([pen.rectangle, pen.ellipse])((left, top, right, bottom), fill=colour)
    pen.text((width // 4, height // 3), "fairshard", fill=(255, 255, 255))
    return picture


def symmetric(height: int, width: int, seed: int = 0) -> Image.Image:
    """A drawing mirrored both ways: half of its frequencies vanish, but for rounding."""
    quarter = np.asarray(drawing(height - height // 2, width - width // 2, seed))
    half = np.concatenate([quarter, quarter[:, ::-1][:, width % 2 :]], axis=1)
    return Image.fromarray(np.concatenate([half, half[::-1][height % 2 :]]))


def flat(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.new("RGB", (width, height), (37 * seed % 256, 91 * seed % 256, 203 * seed % 256))


KINDS = [noise, photograph, drawing, symmetric, flat]


def all_pictures() -> Iterator[Image.Image]:
    """Every kind in every size."""
    for seed, (height, width) in enumerate(SIZES):
        for kind in KINDS:
            yield kind(height, width, seed)


DEEP = ["I", "I;16", "F"]  # more than 8 bits, which Pillow's ``convert`` clips
MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", *DEEP]


def in_mode(picture: Image.Image, mode: str) -> Image.Image:
    """The picture in a colour mode, with a gradient of transparency where the mode has any."""
    if mode == "I;16":
        return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    if mode in ("LA", "PA", "RGBA"):
        picture = picture.copy()
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
        return picture.convert("RGBA").quantize(64).convert("PA") if mode == "PA" else picture.convert(mode)
    return picture.convert(mode)


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a file."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


FORMATS = ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"] + ["AVIF"] * features.check("avif")


def every_file(picture: Image.Image) -> dict[str, bytes]:
    """The picture in every colour mode of 8 bits and every format that Pillow writes, by ``mode-format``."""
    files = {}
    for mode in [mode for mode in MODES if mode not in DEEP]:
        for kind in FORMATS:
            with contextlib.suppress(OSError, KeyError, ValueError):  # Pillow has three ways to say that it cannot
                files[f"{mode}-{kind}"] = encoded(in_mode(picture, mode), kind)
    return files


# Colours of the three primaries as XYZ under D50, and the exponent of all three curves.
SRGB = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
ADOBE_RGB = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))
_D50 = (0.9642, 1.0, 0.8249)


def icc_profile(space: bytes, tags: dict[bytes, bytes], *, padding: int = 0) -> bytes:
    """An ICC profile of a display, version 2 (ICC.1:2001-04), with bytes that belong to no tag at its end."""
    start, table, body = 132 + 12 * len(tags), b"", b""
    for name, value in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    body += bytes(padding)
    header = struct.pack(">I4xI4s4s4s", start + len(body), 0x02400000, b"mntr", space, b"XYZ ").ljust(36, b"\0")
    header = (header + b"acsp").ljust(68, b"\0") + _xyz(_D50)[8:]
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def rgb_profile(primaries: tuple[tuple[float, float, float], ...], gamma: float, *, padding: int = 0) -> bytes:
    """A profile of three primaries, as XYZ under D50, and one exponent."""
    colours = {name: _xyz(primary) for name, primary in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(gamma))
    return icc_profile(b"RGB ", {b"wtpt": _xyz(_D50), **colours, **curves}, padding=padding)


def grey_profile(gamma: float) -> bytes:
    return icc_profile(b"GRAY", {b"wtpt": _xyz(_D50), b"kTRC": _curve(gamma)})


def cmyk_profile() -> bytes:
    """Of a press whose inks all print as grey: lighter by a quarter of white for each that is missing."""
    corners = [255 * (4 - bin(inks).count("1")) // 4 for inks in range(16)]
    grid = b"".join(bytes((lightness, 128, 128)) for lightness in corners)
    unit = struct.pack(">9i", *(0x10000 * (place % 4 == 0) for place in range(9)))
    table = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + unit + bytes(range(256)) * 4 + grid + bytes(range(256)) * 3
    profile = icc_profile(b"CMYK", {b"wtpt": _xyz(_D50), b"A2B0": table})
    return profile[:12] + b"prtr" + profile[16:20] + b"Lab " + profile[24:]


def _xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 0x10000) for value in values))


def _curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
