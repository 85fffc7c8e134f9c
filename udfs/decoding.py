"""Bytes to pixels, once for every fingerprint and for the rendition, and no bytes can do worse than be refused.

Fingerprints are of the pixels as stored: what ``Image.open(f).convert("RGB")`` and ``convert("L")`` give, so that
they equal those of imagehash and pdqhash for every mode but 16-bit grey (transparency is dropped, CMYK becomes RGB, of
an animation the first frame counts, EXIF does not turn the picture, and ICC profiles change no colour). Of 16-bit grey
the high eight bits count, as Pillow has it for 16-bit RGB; its ``convert`` would make nearly all of it white. The
rendition is of the picture as shown: upright, in sRGB by the profile that the file holds, and on white where it is
transparent.

Pillow's global settings are left alone: a file that ends early is refused, not filled up with grey. Its warnings go the
way of all warnings; libtiff writes what it thinks of damaged files straight to standard error.

A JPEG in which libjpeg-turbo finds no fault is read by simplejpeg, if that is installed: it is the decoder that Pillow
has, without a copy. Whatever else it is, Pillow decides.
"""

from __future__ import annotations

import functools
import io
import re
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from .colour_profile import in_srgb
from .compiled import loops

try:
    import simplejpeg
except ImportError:  # the extra [crawl] brings it
    simplejpeg = None

Pixels = NDArray[np.uint8]

# The reasons, with what they say.
REASONS = {
    "empty": "no bytes",
    "not_an_image": "bytes of something else, such as a page of HTML",
    "unsupported": "an image in a format or colour mode that is not decoded",
    "too_many_pixels": "the header states more pixels, or passes over them, than allowed; nothing was decoded",
    "zero_area": "the header states no width or no height",
    "truncated": "the end is missing",
    "corrupt": "damaged, or not what it says it is",
    "no_memory": "not enough memory to decode it",
}

MAX_PIXELS = 89_478_485  # Pillow's own: a quarter of a GiB in RGB
_MAX_SIDE_PX = 1 << 20  # OpenCV's own; far beyond it, filters of a side's length outgrow memory

# A progressive JPEG can ask for a pass over all of its pixels in a dozen bytes, at about 0.1 ns a pixel.
_MAX_SCANNED_PIXELS = 100 * MAX_PIXELS
_LEAST_SCAN_BYTES = 16

# Media type to Pillow's format, for formats that its own or well-kept decoders read. Never EPS, which runs a
# program, and none that hands over to other formats or libraries of a caller's choosing.
_FORMATS = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
    "image/avif": "AVIF",
}

# Where a format begins, as Pillow accepts it; then those that are known and not decoded.
_SIGNATURES = tuple(
    (re.compile(pattern, re.DOTALL), mime)
    for pattern, mime in (
        (rb"\xff\xd8\xff", "image/jpeg"),
        (rb"\x89PNG\r\n\x1a\n", "image/png"),
        (rb"GIF8[79]a", "image/gif"),
        (rb"RIFF....WEBP", "image/webp"),
        (rb"BM", "image/bmp"),
        (rb"MM(\x00[*+]|\*\x00)|II([*+]\x00|\x00\*)", "image/tiff"),
        (rb"....ftyp(avi[fs]|(mif1|msf1|miaf).{0,60}avi[fs])", "image/avif"),
        (rb"....ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)", "image/heic"),
        (rb"%!PS|\xc5\xd0\xd3\xc6", "application/postscript"),
        (rb"\x00\x00[\x01\x02]\x00", "image/vnd.microsoft.icon"),
        (rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51", "image/jp2"),
        (rb"\xff\x0a|\x00\x00\x00\x0cJXL ", "image/jxl"),
        (rb"8BPS", "image/vnd.adobe.photoshop"),
        (rb"qoif", "image/qoi"),
        (rb"DDS ", "image/vnd-ms.dds"),
        (rb"P[1-7]\s", "image/x-portable-anymap"),
        (rb"(?i)(\xef\xbb\xbf)?\s*(<(\?xml|!--|!doctype).{0,900})?<svg[\s>]", "image/svg+xml"),
    )
)
_HEAD_BYTES = 1024

# What the end of an undamaged file holds.
_ENDS = {"image/jpeg": b"\xff\xd9", "image/png": b"IEND", "image/gif": b";"}

# Pillow's modes of grey without a white of its own.
_WHITE_UNKNOWN = {"F": "floats", "I": "signed or of 32 bits"}

_ORIENTATION = 0x0112  # EXIF 2.3, 4.6.4
_BITS, _PHOTOMETRIC = 258, 262  # TIFF 6.0, section 8
_WHITE_IS_ZERO = 0


class Undecodable(ValueError):
    """Bytes that give no picture.

    Attributes:
        reason: one of ``REASONS``.
        detail: what was found.
    """

    def __init__(self, reason: str, detail: str = ""):
        self.reason, self.detail = reason, detail
        super().__init__(reason, detail)

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail or REASONS[self.reason]}"


@dataclass(frozen=True)
class Decoded:
    """A picture's pixels.

    Attributes:
        rgb: uint8[h, w, 3], as stored.
        luma: uint8[h, w], as stored; Pillow's ``convert("L")`` of the original mode.
        alpha: uint8[h, w], as stored, 255 is opaque; None where every pixel is.
        mime: media type by the bytes.
        exif_orientation: 1 to 8; 1 also where there is none or it cannot be read.
        srgb: uint8[h, w, 3], as stored, but in sRGB by the embedded ICC profile, CMYK from its inks; None where that is
            ``rgb``, and where the profile is missing, damaged, too large or for another colour mode.
    """

    rgb: Pixels = field(repr=False, compare=False)
    luma: Pixels = field(repr=False, compare=False)
    alpha: Pixels | None = field(repr=False, compare=False)
    mime: str
    exif_orientation: int = 1
    srgb: Pixels | None = field(default=None, repr=False, compare=False)

    @property
    def width_px(self) -> int:
        """Width of the picture as shown, that is upright."""
        return self.rgb.shape[0 if self._lies else 1]

    @property
    def height_px(self) -> int:
        """Height of the picture as shown, that is upright."""
        return self.rgb.shape[1 if self._lies else 0]

    def upright(self) -> Pixels:
        """The picture upright, in colours as stored: uint8[height_px, width_px, 3], or 4 with alpha last."""
        return self._upright(self.rgb)

    def shown(self) -> Pixels:
        """The picture as shown, upright and in sRGB: uint8[height_px, width_px, 3], or 4 with alpha last."""
        return self._upright(self.rgb if self.srgb is None else self.srgb)

    def _upright(self, rgb: Pixels) -> Pixels:
        pixels = rgb if self.alpha is None else np.dstack((rgb, self.alpha))
        if self._lies:
            pixels = pixels.swapaxes(0, 1)
        if self.exif_orientation in (3, 4, 7, 8):
            pixels = pixels[::-1]
        if self.exif_orientation in (2, 3, 6, 7):
            pixels = pixels[:, ::-1]
        return pixels

    @property
    def _lies(self) -> bool:
        return self.exif_orientation >= 5


def media_type(data: bytes) -> str | None:
    """Media type by the first bytes, never by name or header.

    Args: data: a file, or at least its first 1,024 bytes.
    Returns: an image type, whether ``decode`` reads it or not; None for anything else.
    """
    head = bytes(data[:_HEAD_BYTES])
    return next((mime for signature, mime in _SIGNATURES if signature.match(head)), None)


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Decoded:
    """The first picture in the bytes of a file.

    Args: data: the whole file. max_pixels: width times height above which nothing is decoded; Pillow's own limit,
        twice ``MAX_PIXELS``, holds as well.
    Raises:
        Undecodable: and nothing else, whatever the bytes are.
    """
    if not data:
        raise Undecodable("empty")
    mime = media_type(data)
    if mime is None:
        raise Undecodable("not_an_image", f"begins with {bytes(data[:16])!r}")
    if mime not in _FORMATS or _FORMATS[mime] not in _readable():
        raise Undecodable("unsupported", mime)
    try:
        return _decode(data, mime, max_pixels)
    except Undecodable:
        raise
    except Exception as error:  # decoders fail in too many ways to list, and a new one must not stop a run
        # Pillow's own word for it holds the address of a buffer, and evidence should not change from run to run.
        detail = "header cannot be read" if isinstance(error, UnidentifiedImageError) else str(error)
        raise Undecodable(_reason(error, data, mime), f"{mime}: {detail}") from error


def _decode(data: bytes, mime: str, max_pixels: int) -> Decoded:
    if mime == "image/png" and 0 in _png_size(data):
        raise Undecodable("zero_area", "{} x {} px".format(*_png_size(data)))
    image = Image.open(io.BytesIO(data), formats=(_FORMATS[mime],))
    width, height = image.size
    if min(width, height) < 1:
        raise Undecodable("zero_area", f"{width} x {height} px")
    if width * height > max_pixels:
        raise Undecodable("too_many_pixels", f"{width} x {height} px, {max_pixels} allowed")
    if max(width, height) > _MAX_SIDE_PX:
        raise Undecodable("too_many_pixels", f"{width} x {height} px, {_MAX_SIDE_PX} allowed for a side")
    if mime == "image/jpeg":
        _check_scans(data, width * height)
    rgb = _faultless(data, image) if mime == "image/jpeg" else None
    if rgb is not None:
        return Decoded(rgb, _mixed(rgb), None, mime, _orientation(image), in_srgb(image, rgb))
    if image.mode in _WHITE_UNKNOWN:
        raise Undecodable("unsupported", f"{mime} of {_WHITE_UNKNOWN[image.mode]}: what white is, is not known")
    image.load()
    orientation = _orientation(image)
    if image.mode.startswith("I;16"):
        image = _eight_bits(image)
    try:
        rgb, luma, alpha = _rgb(image), _luma(image), _alpha(image)
    except ValueError as error:
        raise Undecodable("unsupported", f"{mime} in mode {image.mode}: {error}") from error
    return Decoded(rgb, luma, alpha, mime, orientation, in_srgb(image, rgb))


def _faultless(data: bytes, image: Image.Image) -> Pixels | None:
    """RGB of a JPEG in colour with which nothing at all is wrong; None of any other, and without simplejpeg."""
    if simplejpeg is None or image.mode != "RGB":
        return None
    try:
        rgb = simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except (ValueError, RuntimeError):
        return None
    return rgb if rgb.shape == (image.height, image.width, 3) else None


def _png_size(data: bytes) -> tuple[int, int]:
    # Pillow says of such a file only that it is no PNG. Where the header is cut off, it has its own word for it.
    return struct.unpack(">II", data[16:24]) if len(data) >= 24 else (1, 1)


def _check_scans(data: bytes, pixels: int) -> None:
    if len(data) // _LEAST_SCAN_BYTES * pixels > _MAX_SCANNED_PIXELS:
        scans = data.count(b"\xff\xda")
        if scans * pixels > _MAX_SCANNED_PIXELS:
            raise Undecodable("too_many_pixels", f"{scans} scans of {pixels} px, {_MAX_SCANNED_PIXELS} px allowed")


def _eight_bits(image: Image.Image) -> Image.Image:
    """The high eight bits of grey of 16 bits, or of the 12 that TIFF may have: mode L, or LA where some is transparent."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    high = np.empty(values.shape, np.uint8)
    np.right_shift(values, 4 if tags.get(_BITS) == (12,) else 8, out=high, casting="unsafe")
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow turns those of 8 bits only
        np.invert(high, out=high)
    grey = Image.fromarray(high)
    if "transparency" in image.info:
        grey.putalpha(Image.fromarray(values != image.info["transparency"]))
    grey.info["icc_profile"] = image.info.get("icc_profile")
    return grey


def _as(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)


def _rgb(image: Image.Image) -> Pixels:
    """``np.asarray`` of RGB. Pillow keeps four bytes a pixel, which OpenCV, where it is there, packs faster."""
    image = _as(image, "RGB")
    padded = _view(image, 4) if _opencv() is not None else None
    return np.asarray(image) if padded is None else _opencv().cvtColor(padded, _opencv().COLOR_RGBA2RGB)


@functools.cache
def _opencv() -> Any:
    """The module ``cv2``; None where it is not installed, as only the extra [crawl] brings it."""
    try:
        import cv2
    except ImportError:
        return None
    return cv2


def _mixed(rgb: Pixels) -> Pixels:
    """Luma of RGB: uint8[h, w, 3] to uint8[h, w]."""
    if loops is None:
        return np.asarray(Image.fromarray(rgb).convert("L"))
    luma = np.empty(rgb.shape[:2], np.uint8)
    loops.luma(rgb, luma)
    return luma


def _luma(image: Image.Image) -> Pixels:
    """``np.asarray`` of luma, without its copy."""
    image = _as(image, "L")
    pixels = _view(image, 1)
    return np.asarray(image) if pixels is None else pixels[:, :, 0]


def _view(image: Image.Image, channels: int) -> Pixels | None:
    """The pixels as Pillow keeps them: uint8[h, w, channels]; None of a large picture, which lies in several blocks."""
    try:
        values = pa.array(image)
    except ValueError:
        return None
    return np.frombuffer(values.buffers()[-1], np.uint8).reshape(image.height, image.width, channels)


def _alpha(image: Image.Image) -> Pixels | None:
    if not image.has_transparency_data:
        return None
    alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    return alpha if alpha.min() < 255 else None


def _orientation(image: Image.Image) -> int:
    # After loading: TIFF and AVIF are turned upright by their decoders, which then drop the tag.
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - damaged EXIF fails in as many ways, and the picture is shown as stored
        return 1
    return int(orientation) if orientation in range(1, 9) else 1


@functools.cache
def _readable() -> frozenset[str]:
    Image.init()  # Pillow's builds differ: AVIF may be missing
    return frozenset(Image.OPEN)


def _reason(error: Exception, data: bytes, mime: str) -> str:
    if isinstance(error, MemoryError):
        return "no_memory"
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return "too_many_pixels"
    return "truncated" if _is_cut(data, mime) or "truncated" in str(error).lower() else "corrupt"


def _is_cut(data: bytes, mime: str) -> bool:
    """Whether a file ends before its end."""
    if mime == "image/webp":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if mime == "image/bmp":
        return int.from_bytes(data[2:6], "little") > len(data)
    return mime in _ENDS and _ENDS[mime] not in data[-4096:]
