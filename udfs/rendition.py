"""The picture that is released: resized and encoded by img2dataset's ``Resizer``, from pixels already decoded."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..schemas.errors import MissingExtra
from .decoding import Decoded


@dataclass(frozen=True)
class Rendered:
    """A rendition, or why there is none.

    Attributes:
        data: the encoded picture.
        width_px, height_px: of the rendition.
        error: ``unrenderable`` where the encoder refused, for instance a side too long for its format.
        error_detail: what the encoder said.
    """

    data: bytes | None
    width_px: int | None
    height_px: int | None
    error: str | None = None
    error_detail: str | None = None


@dataclass(frozen=True)
class Rendition:
    """Renders pictures; options are img2dataset's, by its names.

    The picture is upright and, where it is transparent, on white. The same pixels and options give the same bytes
    with the same versions of OpenCV and albumentations. Threads and worker processes may share one.

    Attributes:
        image_size: side in pixels that ``resize_mode`` fits the picture to.
        resize_mode: no, keep_ratio (shorter side), keep_ratio_largest (longer side), center_crop or border.
        resize_only_if_bigger: never enlarge.
        encode_format: jpg, png or webp.
        encode_quality: 0 to 100 for jpg and webp, compression of 0 to 9 for png.
    """

    image_size: int = 256
    resize_mode: str = "keep_ratio"
    resize_only_if_bigger: bool = True
    encode_format: str = "jpg"
    encode_quality: int = 95

    def __call__(self, picture: Decoded) -> Rendered:
        """The rendition of a picture.

        Raises:
            MissingExtra: img2dataset is not installed.
            ValueError: img2dataset knows no such option, or no such quality for the format.
        """
        resizer = _resizer(
            self.image_size, self.resize_mode, self.resize_only_if_bigger, self.encode_format, self.encode_quality
        )
        data, width, height, _, _, error = resizer(io.BytesIO(_container(picture.upright())))
        if error or not data:
            size = f"{picture.width_px} x {picture.height_px} px"
            return Rendered(None, None, None, "unrenderable", f"{size} as {self.encode_format}: {error or 'no bytes'}")
        return Rendered(data, width, height)


def _container(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels as a file that OpenCV reads by copying, with no second lossy decoding."""
    height, width, channels = pixels.shape
    if channels == 3:
        return b"".join((b"P6\n%d %d\n255\n" % (width, height), np.ascontiguousarray(pixels).data))
    # OpenCV takes PAM's RGBA for BGRA and needs luck with BMP's, so PNG; stored, so that it costs little more.
    png = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(png, "PNG", compress_level=0)
    return png.getvalue()


@functools.cache
def _resizer(size: int, mode: str, only_if_bigger: bool, encoding: str, quality: int) -> Callable[..., Any]:
    return _resizer_module().Resizer(size, mode, only_if_bigger, encode_format=encoding, encode_quality=quality)


@functools.cache
def _resizer_module() -> Any:
    """img2dataset's module, in a copy of our own.

    Its Resizer points file descriptors 1 and 2 at /dev/null for the length of each call. That swallows what other
    threads log meanwhile, and two such calls at once leave both there for good. Our pixels give decoders
    nothing to complain of, so the copy goes without, and whoever else uses img2dataset keeps theirs.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # importing it would ask the network for news of itself
    # By its file: importing the package first would import its command line too, and with it torch and wandb.
    package = importlib.util.find_spec("img2dataset")
    folder = next(iter(package.submodule_search_locations or ()), None) if package else None
    spec = importlib.util.spec_from_file_location("img2dataset.resizer", f"{folder}/resizer.py") if folder else None
    if spec is None or spec.loader is None:
        raise MissingExtra("crawl", "rendition", "img2dataset")
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.SuppressStdoutStderr = contextlib.nullcontext
    return module
