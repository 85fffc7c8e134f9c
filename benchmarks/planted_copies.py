"""Pictures of a folder that differ from each other, and copies of them as the web makes them."""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from fairshard.udfs.decoding import Undecodable, decode

Picture = Image.Image

DEBIAN = Path("/usr/share/openclipart/png")  # of the package openclipart-png

# Pictures are shown at most this large, as datasets store them; below 64 px PDQ has more samples than pixels.
_LONGEST_PX = 512
_SHORTEST_PX = 64
_MAX_PIXELS = 8_000_000  # larger ones cost more time than all others together


def pixel_digest(path: Path) -> str | None:
    """sha256 of a picture as shown, equal for equal pixels; None if there is no such picture."""
    picture = shown(path)
    return None if picture is None else hashlib.sha256(bmp(picture)).hexdigest()


def different(digests: Mapping[Path, str | None], limit: int | None) -> list[Path]:
    """The first path of each picture, in the order of the digests, so that a limit takes a sample.

    Args: digests: from ``pixel_digest``. limit: at most so many; None for all.
    """
    first: dict[str, Path] = {}
    for path, digest in digests.items():
        if digest is not None:
            first.setdefault(digest, path)
    return [first[digest] for digest in sorted(first)][:limit]


def shown(path: Path) -> Picture | None:
    """A picture as a page shows it, upright and on white; None if it cannot be decoded, or its size is extreme."""
    try:
        pixels = decode(path.read_bytes(), max_pixels=_MAX_PIXELS).upright()
    except Undecodable:
        return None
    if min(pixels.shape[:2]) < _SHORTEST_PX:
        return None
    picture = _on_white(pixels)
    picture.thumbnail((_LONGEST_PX, _LONGEST_PX), Image.Resampling.LANCZOS)
    return picture if min(picture.size) >= _SHORTEST_PX else None


def is_symmetric(picture: Picture) -> bool:
    """Whether a picture is its own mirror image, either way, or its own half turn, to less than a level in the mean.

    Half of the frequencies of such a picture vanish, and rounding decides their bits in any hash of frequencies.
    """
    luma = np.asarray(picture.convert("L").resize((64, 64)), np.int16)
    mirrored = (luma[:, ::-1], luma[::-1], luma[::-1, ::-1])
    return bool(min(np.abs(luma - other).mean() for other in mirrored) < 1)


def bmp(picture: Picture) -> bytes:
    """A file without loss that takes no time."""
    return _saved(picture, "BMP")


def _on_white(pixels: NDArray[np.uint8]) -> Picture:
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if picture.mode != "RGBA":
        return picture
    page = Image.new("RGBA", picture.size, "white")
    page.alpha_composite(picture)
    return page.convert("RGB")


def _saved(picture: Picture, form: str, **options: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def _resized(picture: Picture, scale: float) -> Picture:
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _brighter(picture: Picture, factor: float) -> Picture:
    return ImageEnhance.Brightness(picture).enhance(factor)


def _blurred(picture: Picture) -> Picture:
    return picture.filter(ImageFilter.GaussianBlur(max(picture.size) / 100))


def _with_logo(picture: Picture) -> Picture:
    """A badge in the lower right corner, a fifth of the shorter side across."""
    marked, (width, height) = picture.copy(), picture.size
    side, gap = min(width, height) / 5, min(width, height) / 40
    box = (width - gap - side, height - gap - side, width - gap, height - gap)
    ImageDraw.Draw(marked).ellipse(box, fill=(200, 30, 30), outline=(255, 255, 255), width=max(1, round(side / 12)))
    return marked


def _with_text(picture: Picture) -> Picture:
    """A line of text across the middle, white with a dark edge, a twelfth of the height."""
    marked, (width, height) = picture.copy(), picture.size
    size = max(6.0, height / 12)
    ImageDraw.Draw(marked).text(
        (width / 2, height / 2), "example.org", (255, 255, 255), _font(size), "mm",
        stroke_width=max(1, round(size / 12)), stroke_fill=(40, 40, 40),
    )  # fmt: skip
    return marked


@functools.cache
def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _cropped(picture: Picture, share: float) -> Picture:
    """Without a share of the width and of the height, half of it from either side."""
    width, height = picture.size
    left, top = round(width * share / 2), round(height * share / 2)
    return picture.crop((left, top, width - left, height - top))


def _bordered(picture: Picture) -> Picture:
    return ImageOps.expand(picture, max(1, round(max(picture.size) / 20)), (0, 0, 0))


# Name to what is done; all but what changes the format is written without loss.
CHANGES: dict[str, Callable[[Picture], bytes]] = {
    "resize to 200 %": lambda picture: bmp(_resized(picture, 2.0)),
    "resize to 75 %": lambda picture: bmp(_resized(picture, 0.75)),
    "resize to 50 %": lambda picture: bmp(_resized(picture, 0.5)),
    "resize to 25 %": lambda picture: bmp(_resized(picture, 0.25)),
    "JPEG 30": lambda picture: _saved(picture, "JPEG", quality=30),
    "format JPEG 90": lambda picture: _saved(picture, "JPEG", quality=90),
    "format WebP 80": lambda picture: _saved(picture, "WEBP", quality=80, method=0),
    "brightness 80 %": lambda picture: bmp(_brighter(picture, 0.8)),
    "brightness 120 %": lambda picture: bmp(_brighter(picture, 1.2)),
    "blur 1 %": lambda picture: bmp(_blurred(picture)),
    "logo": lambda picture: bmp(_with_logo(picture)),
    "text": lambda picture: bmp(_with_text(picture)),
    "crop 5 %": lambda picture: bmp(_cropped(picture, 0.05)),
    "crop 10 %": lambda picture: bmp(_cropped(picture, 0.10)),
    "crop 25 %": lambda picture: bmp(_cropped(picture, 0.25)),
    "border 5 %": lambda picture: bmp(_bordered(picture)),
    "flip": lambda picture: bmp(ImageOps.mirror(picture)),
    "turn 90": lambda picture: bmp(picture.transpose(Image.Transpose.ROTATE_90)),
}
EASY = tuple(name for name in CHANGES if name.split()[0] in ("resize", "JPEG", "format", "brightness"))
