"""Pictures that tests make for themselves: the same ones every time."""

from __future__ import annotations

import contextlib
import io
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


MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "F"]


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
    """The picture in every colour mode and format that Pillow writes, by ``mode-format``."""
    files = {}
    for mode in MODES:
        for kind in FORMATS:
            with contextlib.suppress(OSError, KeyError, ValueError):  # Pillow has three ways to say that it cannot
                files[f"{mode}-{kind}"] = encoded(in_mode(picture, mode), kind)
    return files
