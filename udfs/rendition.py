"""The picture that is released: resized and encoded by img2dataset's ``Resizer``, from pixels already decoded."""

from __future__ import annotations

import builtins
import contextlib
import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..schemas.errors import MissingExtra
from .decoding import Decoded
from .shrink import shrunk

_Transform = Callable[..., dict[str, Any]]


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

    The picture is upright, in sRGB and, where it is transparent, on white. The same pixels and options give the same
    bytes with the same version of OpenCV. Threads and worker processes may share one.

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
        data, width, height, _, _, error = resizer(_Pixels(picture.shown()))
        if error or not data:
            size = f"{picture.width_px} x {picture.height_px} px"
            return Rendered(None, None, None, "unrenderable", f"{size} as {self.encode_format}: {error or 'no bytes'}")
        return Rendered(data, width, height)


def load() -> None:
    """Import img2dataset's Resizer, and with it OpenCV, before there is a picture.

    Raises:
        MissingExtra: img2dataset is not installed.
    """
    _resizer_module()


class _Pixels:
    """Pixels in place of the file that the Resizer reads: its ``imdecode`` is `_decoded`, its ``imencode`` `_encoded`."""

    def __init__(self, pixels: NDArray[np.uint8]):
        self._pixels = np.ascontiguousarray(pixels)

    def seek(self, place: int) -> None:
        """There is only the beginning."""

    def read(self) -> NDArray[np.uint8]:
        return self._pixels


def _decoded(flat: NDArray[np.uint8], _flags: int) -> Any:
    """RGB or RGBA pixels, of which ``numpy.frombuffer`` has made a flat view."""
    return flat.base


def _encoded(ending: str, pixels: Any, params: list[int]) -> tuple[bool, Any]:
    """``cv2.imencode`` of RGB or RGBA. The rendition is small, so its channels are put into OpenCV's order here."""
    import cv2

    order = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    return cv2.imencode(ending, cv2.cvtColor(pixels, order), params)


@functools.cache
def _resizer(size: int, mode: str, only_if_bigger: bool, encoding: str, quality: int) -> Callable[..., Any]:
    return _resizer_module().Resizer(size, mode, only_if_bigger, encode_format=encoding, encode_quality=quality)


@functools.cache
def _resizer_module() -> Any:
    """img2dataset's module, in a copy of our own, with three things changed. Whoever else uses img2dataset keeps theirs.

    Its Resizer points file descriptors 1 and 2 at /dev/null for the length of each call. That swallows what other
    threads log meanwhile, and two such calls at once leave both there for good. Our pixels give decoders
    nothing to complain of, so the copy goes without. It takes pixels in place of files, so that none are decoded
    twice. And of albumentations, which takes half a second and 40 MB to import, it gets the four transforms that it
    asks for, each a call of OpenCV or what gives its bits, from `_Transforms`.
    """
    # By its file: importing the package first would import its command line too, and with it torch and wandb.
    package = importlib.util.find_spec("img2dataset")
    folder = next(iter(package.submodule_search_locations or ()), None) if package else None
    spec = importlib.util.spec_from_file_location("img2dataset.resizer", f"{folder}/resizer.py") if folder else None
    if spec is None or spec.loader is None:
        raise MissingExtra("crawl", "rendition", "img2dataset")
    module: Any = importlib.util.module_from_spec(spec)
    module.__builtins__ = {**vars(builtins), "__import__": _import}
    spec.loader.exec_module(module)
    module.SuppressStdoutStderr = contextlib.nullcontext
    module.cv2 = SimpleNamespace(**{**vars(module.cv2), "imdecode": _decoded, "imencode": _encoded})
    return module


def _import(name: str, *rest: Any) -> Any:
    return _Transforms if name == "albumentations" else builtins.__import__(name, *rest)


class _Transforms:
    """albumentations, as far as the Resizer uses it: the same sizes, the same pixels as OpenCV's."""

    @staticmethod
    def SmallestMaxSize(max_size: int, interpolation: int, p: float) -> _Transform:
        return lambda image: {"image": _scaled(image, max_size / min(image.shape[:2]), interpolation)}

    @staticmethod
    def LongestMaxSize(max_size: int, interpolation: int, p: float) -> _Transform:
        return lambda image: {"image": _scaled(image, max_size / max(image.shape[:2]), interpolation)}

    @staticmethod
    def CenterCrop(height: int, width: int) -> _Transform:
        return lambda image: {"image": _centre(image, height, width)}

    @staticmethod
    def PadIfNeeded(min_height: int, min_width: int, border_mode: int, value: list[int], p: float) -> _Transform:
        return lambda image: {"image": _padded(image, min_height, min_width, border_mode, value)}


def _scaled(image: NDArray[np.uint8], scale: float, interpolation: int) -> Any:
    import cv2

    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image
    if interpolation == cv2.INTER_AREA:
        return shrunk(image, width, height)
    return cv2.resize(image, (width, height), interpolation=interpolation)


def _centre(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def _padded(image: NDArray[np.uint8], height: int, width: int, border: int, value: list[int]) -> Any:
    import cv2

    rows, columns = max(0, height - image.shape[0]), max(0, width - image.shape[1])
    return cv2.copyMakeBorder(
        image, rows // 2, rows - rows // 2, columns // 2, columns - columns // 2, border, value=value
    )
