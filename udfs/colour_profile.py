"""ICC profiles: the colours of a picture in sRGB, by littlecms, and no profile can do worse than be of no use."""

from __future__ import annotations

import functools
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Pixels = NDArray[np.uint8]

_MAX_PROFILE_BYTES = 4 << 20  # the largest in use, of offset printing, have 3 MB
_PROFILES = 16  # kept in memory
_SRGB_LEVELS = 2  # by which what passes for sRGB may differ from it
_BAND_PIXELS = 1 << 20


def in_srgb(image: Image.Image, rgb: Pixels) -> Pixels | None:
    """A picture's pixels in sRGB by the profile that its file holds, CMYK from its inks.

    No profile costs nothing, nor one of sRGB when it has been seen before.

    Args: image: as Pillow has it, of 8 bits; rgb: uint8[h, w, 3], its colours as stored.
    Returns: uint8[h, w, 3]; None where that is ``rgb``, and where the profile is damaged, too large or for another mode.
    """
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not 0 < len(profile) <= _MAX_PROFILE_BYTES:
        return None
    mode = "CMYK" if image.mode == "CMYK" else "L" if image.mode in ("1", "L", "LA") else "RGB"
    transform = _to_srgb(profile, mode)
    if transform is None:
        return None
    stored = rgb if mode == "RGB" else np.asarray(image if image.mode == mode else image.convert(mode))
    shown = np.empty_like(rgb)
    rows = max(1, _BAND_PIXELS // rgb.shape[1])
    for top in range(0, len(rgb), rows):
        shown[top : top + rows] = np.asarray(transform.apply(_image(stored[top : top + rows], mode)))
    return shown


@functools.lru_cache(_PROFILES)
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """What brings pixels of a mode to sRGB; None where they are there, and where the profile is of no use for them."""
    if b"mpet" in profile:  # its few bytes an element can keep littlecms busy for minutes
        return None
    try:
        transform = ImageCms.buildTransform(io.BytesIO(profile), ImageCms.createProfile("sRGB"), mode, "RGB")
    except Exception:  # noqa: BLE001 - damaged profiles, as damaged EXIF, leave the picture as stored
        return None
    return None if mode != "CMYK" and _changes_nothing(transform) else transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether greys, or colours of all sorts, stay what they are, whatever the profile calls itself."""
    levels = np.linspace(0, 255, 18, dtype=np.uint8)
    axes = [levels] * len(transform.input_mode)
    probes = np.stack(np.meshgrid(*axes), axis=-1).reshape(1, -1, len(axes))
    shown = np.asarray(transform.apply(_image(probes, transform.input_mode))).astype(np.int16)
    return int(np.abs(shown - probes).max()) <= _SRGB_LEVELS


def _image(pixels: Pixels, mode: str) -> Image.Image:
    """uint8[h, w] or uint8[h, w, channels] as a picture of a mode."""
    return Image.frombuffer(mode, pixels.shape[1::-1], pixels, "raw", mode, 0, 1)
