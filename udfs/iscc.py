"""ISCC, the International Standard Content Code (ISO 24138), which TDM·AI declarations name works by.

Two of its units tell pictures: the Content-Code Image, 64 bits of how a picture looks, and the Instance-Code, the
beginning of a hash of the file. Of longer codes the first 64 bits are compared, as ISO 24138 means them to be.

Source: ISO 24138:2024, and iscc-sdk's preparation of pictures: upright, on white, without a border of one colour, grey.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image, ImageChops

from ..schemas.errors import MissingExtra
from .arrow import udf
from .decoding import Decoded

_SIDE = 32
_BITS = 64
_PREFIX = "ISCC:"


def picture_units(data: bytes, picture: Decoded) -> tuple[int, int]:
    """Content-Code Image and Instance-Code of a file, 64 bits each, as signed integers.

    Args: data: the file. picture: decoded from it.
    Raises:
        MissingExtra: iscc-lib is not installed.
    """
    shown = _trimmed(Image.fromarray(_on_white(picture)))
    grey = shown.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    codes = library().gen_image_code_v0(grey.tobytes(), _BITS), library().gen_instance_code_v0(data, _BITS)
    look, file = (_units(code["iscc"]) for code in codes)
    if look[0] is None or file[1] is None:
        raise ValueError(f"iscc-lib gave {codes}")  # it gives what it is asked for
    return look[0], file[1]


def canonical_iscc(text: str) -> str | None:
    """An ISCC in capitals, without separators; None where the text is none, or has no unit that tells pictures.

    Raises:
        MissingExtra: iscc-lib is not installed.
    """
    code = text.strip().replace("-", "").upper().removeprefix(_PREFIX)
    return _PREFIX + code if any(unit is not None for unit in _units(code)) else None


@udf(pa.string(), pa.string(), returns=pa.int64())
def iscc_bits(iscc: pa.Array, unit: pa.Array) -> pa.Array:
    """One unit of an ISCC, for comparing bits in SQL.

    Args: iscc: string[n], as ``canonical_iscc`` gives it. unit: string[n], ``image`` or ``instance``.
    Returns: int64[n], the first 64 bits as a signed integer; null for null, and where the code has no such unit.
    """
    pairs = zip(iscc.to_pylist(), unit.to_pylist(), strict=True)
    return pa.array([None if code is None else _units(code)[name == "instance"] for code, name in pairs], pa.int64())


def library() -> Any:
    """iscc-lib.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import iscc_lib
    except ImportError as error:
        raise MissingExtra("iscc", "a registry with scope iscc", "iscc_lib") from error
    return iscc_lib


@lru_cache(maxsize=1 << 16)
def _units(code: str) -> tuple[int | None, int | None]:
    """Content-Code Image and Instance-Code of an ISCC; None where it has none or is none."""
    lib = library()
    found: dict[str, int] = {}
    try:
        for unit in lib.iscc_decompose(code):
            main, sub, _, _, digest = lib.iscc_decode(unit)
            if main == lib.MT.INSTANCE:
                found["instance"] = _signed(digest)
            elif main == lib.MT.CONTENT and sub == lib.ST.IMAGE:
                found["image"] = _signed(digest)
    except ValueError:  # a damaged code says nothing, not even in part
        return None, None
    return found.get("image"), found.get("instance")


def _signed(digest: bytes) -> int:
    if len(digest) < _BITS // 8:
        raise ValueError(f"{len(digest)} bytes")  # ISO 24138 has 32-bit units; too many files share one
    return int.from_bytes(digest[: _BITS // 8], "big", signed=True)


def _on_white(picture: Decoded) -> NDArray[np.uint8]:
    shown = np.ascontiguousarray(picture.upright())
    if shown.shape[2] == 3:
        return shown
    white = Image.new("RGBA", (shown.shape[1], shown.shape[0]), "white")
    return np.asarray(Image.alpha_composite(white, Image.fromarray(shown)).convert("RGB"))


def _trimmed(shown: Image.Image) -> Image.Image:
    """Without a border of the colour that the upper left pixel has."""
    border = Image.new("RGB", shown.size, shown.getpixel((0, 0)))
    box = ImageChops.difference(shown, border).getbbox()
    return shown.crop(box) if box else shown
