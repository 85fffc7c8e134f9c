"""Models that make vectors of pictures, by which copies are found: a run of `fairshard train`, TorchScript or ONNX.

SSCD (Pizzi et al., "A Self-Supervised Descriptor for Image Copy Detection", CVPR 2022) is published as TorchScript, and
what a file is given by default is what its README recommends: the whole picture scaled to a square, with the mean and
deviation of ImageNet. 288 pixels is its shorter side; a square of 320 is recommended, too. A model comes with the licence
of its makers.

TorchScript is code, and so it is loaded only where somebody has named the file.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..schemas.errors import InputError, MissingExtra, StageError
from ._clip_model import of_run
from ._trained import run_record

DEFAULT_SIDE = 288
# Of ImageNet, as torchvision's models and SSCD take it.
_MEAN, _DEVIATION = (np.array(three, np.float32) for three in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
_BATCH = 32
_SHOWN_CHARS = 200

Vectors = npt.NDArray[np.float32]
Pictures = Sequence[Image.Image]


@dataclass(frozen=True)
class CopyModel:
    """A model, ready to be asked.

    Attributes:
        where: its file.
        kind: CLIP, TorchScript or ONNX.
        sha256: of the file, hex.
        side: of its input in pixels.
    """

    where: str
    kind: str
    sha256: str
    side: int
    _see: Callable[[Pictures], Any]

    def said(self) -> dict[str, str | int]:
        """For a record: what it is, not where."""
        return {"kind": self.kind, "sha256": self.sha256, "side": self.side}

    def vectors(self, pictures: Pictures) -> Vectors:
        """What it makes of pictures.

        Args:
            pictures: RGB, n of them, of any size.

        Returns:
            float32[n, d], rows of unit length.

        Raises:
            StageError: it fails, or gives no numbers, or not one row a picture.
        """
        parts = [self._part(pictures[start : start + _BATCH]) for start in range(0, len(pictures), _BATCH)]
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    def _part(self, pictures: Pictures) -> Vectors:
        try:
            found = np.asarray(self._see(pictures), np.float32)
        except Exception as error:  # runtimes fail in many ways
            raise StageError(self.where, f"fails on pictures of {self.side} px ({_short(error)})", "vectors") from error
        if found.ndim != 2 or len(found) != len(pictures) or not found.size or not np.isfinite(found).all():
            raise StageError(self.where, f"gives {list(found.shape)} of {len(pictures)} pictures, or no finite numbers",
                             "a vector for each picture")  # fmt: skip
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)


def load(path: str | Path, side: int | None = None) -> CopyModel:
    """A model by its path.

    Args:
        path: run folder of ``fairshard train``; ``.onnx``; any other file is TorchScript.
        side: of its input in pixels; of ONNX, what the file fixes, else ``DEFAULT_SIDE``. A run folder has its own.

    Raises:
        InputError: there is nothing at the path, or a side is given of a model that has its own.
        MissingExtra: what runs it is not installed.
        ReleaseError: a folder that is not of a finished run.
        StageError: it cannot be loaded.
    """
    place = Path(path)
    if place.is_dir():
        return _clip(place, side)
    if not place.is_file():
        raise InputError(str(path), "is not there", "a run folder, a TorchScript or an ONNX file")
    return _onnx(place, side) if place.suffix == ".onnx" else _torchscript(place, side)


def _clip(folder: Path, side: int | None) -> CopyModel:
    model = of_run(folder, run_record(folder))
    _require("open_clip", "train")
    import torch

    encoder, transform = model.load()
    fixed = int(np.ravel(encoder.visual.image_size)[0])
    _check_side(str(folder), side, fixed)

    def see(pictures: Pictures) -> Any:
        with torch.inference_mode():
            return encoder.encode_image(torch.stack([transform(picture) for picture in pictures])).numpy()

    return CopyModel(model.checkpoint, "CLIP", model.sha256(), fixed, see)


def _torchscript(path: Path, side: int | None) -> CopyModel:
    _require("torch", "train")
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch would rather have files of its newer format
            model = torch.jit.load(str(path), map_location="cpu").eval()
    except Exception as error:
        raise StageError(str(path), f"cannot be loaded ({_short(error)})", "TorchScript") from error
    size = side or DEFAULT_SIDE

    def see(pictures: Pictures) -> Any:
        with torch.inference_mode():
            found = model(torch.from_numpy(scaled(pictures, size)))
        return (found[0] if isinstance(found, (tuple, list)) else found).float().numpy()

    return CopyModel(str(path), "TorchScript", _sha256(path), size, see)


def _onnx(path: Path, side: int | None) -> CopyModel:
    _require("onnxruntime", "audit")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; they are raised, too
    try:
        model: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        (given, *others), (result, *_) = model.get_inputs(), model.get_outputs()
        if others:
            raise ValueError(f"it takes {1 + len(others)} inputs: {given.name}, {others[0].name}")
        count, _, height, width = given.shape
    except Exception as error:
        raise StageError(str(path), f"cannot be loaded ({_short(error)})", "ONNX that takes pictures alone") from error
    fixed = height if isinstance(height, int) and height == width else None
    if fixed:
        _check_side(str(path), side, fixed)
    size, step = fixed or side or DEFAULT_SIDE, count if isinstance(count, int) and count > 0 else _BATCH

    def see(pictures: Pictures) -> Any:
        if step not in (1, _BATCH):
            raise ValueError(f"it takes {step} pictures at once, not any number or one")
        pixels = scaled(pictures, size)
        parts = [
            model.run([result.name], {given.name: pixels[at : at + step]})[0] for at in range(0, len(pixels), step)
        ]
        return np.concatenate(parts)

    return CopyModel(str(path), "ONNX", _sha256(path), size, see)


def scaled(pictures: Pictures, side: int) -> Vectors:
    """Pictures as such models take them: float32[n, 3, side, side], whole, of ImageNet's mean and deviation."""
    pixels = np.stack([np.asarray(each.resize((side, side), Image.Resampling.BILINEAR)) for each in pictures])
    normal = (pixels.astype(np.float32) / 255 - _MEAN) / _DEVIATION
    return normal.transpose(0, 3, 1, 2).astype(np.float32, order="C")


def _check_side(where: str, given: int | None, fixed: int) -> None:
    if given not in (None, fixed):
        raise InputError(where, f"takes pictures of {fixed} px, and {given} is asked for", "none: it has its own")


def _require(module: str, extra: str) -> None:
    if find_spec(module) is None:
        raise MissingExtra(extra=extra, verb="audit", module=module)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:_SHOWN_CHARS] or type(error).__name__
