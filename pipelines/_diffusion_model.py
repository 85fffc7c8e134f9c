"""A diffusion model on disk, the run folder of `fairshard train --trainer diffusion`, and what can be asked of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..schemas import typed_yaml
from ..schemas.diffusion_config import DiffusionConfig
from ..schemas.errors import ReleaseError, StageError
from ._clip_model import ClipModel, of_run
from ._released import read_release
from ._trained import run_record

TRAINER, UNET, TEXT_ENCODER = "diffusion", "unet.json", "text_encoder"
_BATCH = 16
_TRAIN = "Run `fairshard train CONFIG --trainer diffusion` first"


@dataclass(frozen=True)
class DiffusionModel:
    """A model, ready to be asked.

    Attributes:
        config: of its run.
        record: run.json.
        sha256: of its weights, hex.
    """

    config: DiffusionConfig
    record: dict[str, Any]
    sha256: str
    _unet: Any
    _schedule: Any
    _encoder: Any
    _device: str

    @property
    def image_size(self) -> int:
        """Side of its pictures in pixels."""
        return self.config.image_size

    def generate(self, captions: Sequence[str], seed: int, steps: int, guidance: float) -> Iterator[Image.Image]:
        """A picture of ``image_size`` for each caption, in order.

        Picture i starts from noise that is a function of (seed, i) alone, so it does not depend on the other captions but
        for the last bit of rounding.

        Args:
            steps: of DDIM, 1 to ``config.noise_steps``.
            guidance: 1 follows the caption as trained; more exaggerates what it changes.
        """
        import torch

        from ._denoising import as_picture, noise, sample, threads

        shape = (3, self.image_size, self.image_size)
        for start in range(0, len(captions), _BATCH):
            some = captions[start : start + _BATCH]
            begin = torch.stack([noise(shape, seed, start + n) for n in range(len(some))])
            with threads(self._threads):
                pixels = sample(self._unet, self._schedule, self._encoder, some, begin, steps, guidance)
            yield from map(as_picture, pixels)

    def losses(
        self, pictures: Sequence[Image.Image], captions: Sequence[str], seed: int, draws: int
    ) -> npt.NDArray[np.float32]:
        """How badly each picture is denoised: low for what the model knows.

        Args:
            pictures, captions: n pairs.
            seed: of the noise. Draw d is the same for every pair and every call, so that pairs compare.
            draws: noise levels, spread evenly over the forward process.

        Returns:
            float32[n]: mean squared error over the draws, of what ``config.prediction`` says is predicted.
        """
        from ._denoising import threads

        found = np.zeros(len(pictures), np.float32)
        for start in range(0, len(pictures), _BATCH):
            rows = slice(start, start + _BATCH)
            with threads(self._threads):
                found[rows] = self._losses(pictures[rows], captions[rows], seed, draws)
        return found

    def _losses(self, pictures: Sequence[Image.Image], captions: Sequence[str], seed: int, draws: int) -> Any:
        import torch

        from ._denoising import as_tensor, denoising_loss, noise

        side = self.image_size
        total: Any = 0.0
        clean = torch.stack([as_tensor(picture, side) for picture in pictures]).to(self._device)
        text = self._encoder(captions)
        for draw in range(draws):
            step = torch.full((len(clean),), (2 * draw + 1) * self.config.noise_steps // (2 * draws))
            same = noise((3, side, side), seed, draw).expand(clean.shape).to(self._device)
            with torch.inference_mode():
                total += denoising_loss(self._unet, self._schedule, clean, same, step.to(self._device), text)
        return (total / draws).cpu().numpy()

    @property
    def _threads(self) -> int:
        """As in training."""
        return max(1, int(self.record.get("threads", 1)))


def load(run_dir: str | Path, release_dir: str | Path | None = None, device: str = "cpu") -> DiffusionModel:
    """The model of a finished run.

    Args:
        run_dir: of ``fairshard train --trainer diffusion``.
        release_dir: the release it has to have been trained on; not asked if None.
        device: of torch.

    Raises:
        ReleaseError: no finished run of this trainer, one on another release, or one whose text tower is not the one that
            the record names.
        StageError: the weights cannot be loaded.
    """
    from safetensors.torch import load_file

    from ._denoising import TextEncoder, new_schedule, new_unet

    folder = Path(run_dir)
    record = diffusion_record(folder)
    if release_dir is not None:
        _check_release(folder, record, release_dir)
    config = typed_yaml.build(DiffusionConfig, record["config"], f"{folder / 'run.json'}: config")
    encoder = TextEncoder(text_tower(folder, record), device)
    unet, weights = new_unet(config, encoder.width), folder / record["checkpoint"]
    try:
        unet.load_state_dict(load_file(weights))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise StageError(
            str(weights), f"cannot be loaded ({reason})", f"weights of the UNet that {UNET} shows"
        ) from error
    with weights.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return DiffusionModel(config, record, sha256, unet.to(device).eval(), new_schedule(config), encoder, device)


def diffusion_record(folder: Path) -> dict[str, Any]:
    """run.json of a finished run of this trainer.

    Raises:
        ReleaseError: there is none, or it is another trainer's.
    """
    record = run_record(folder)
    encoder = record.get("text_encoder")
    if record.get("trainer") != TRAINER or not isinstance(encoder, dict) or "sha256" not in encoder:
        raise ReleaseError(str(folder / "run.json"), "is of another trainer", "a run of the diffusion trainer", _TRAIN)
    return record


def text_tower(folder: Path, record: dict[str, Any]) -> ClipModel:
    """The CLIP model whose text tower the run used, from the copy in its folder.

    Raises:
        ReleaseError: it is not there, or not the one that the record names.
    """
    clip = of_run(folder / TEXT_ENCODER, run_record(folder / TEXT_ENCODER))
    if clip.sha256() != record["text_encoder"]["sha256"]:
        raise ReleaseError(
            clip.checkpoint, f"has sha256 {clip.sha256()}", f"{record['text_encoder']['sha256']}, as run.json says"
        )
    return clip


def _check_release(folder: Path, record: dict[str, Any], release_dir: str | Path) -> None:
    given, trained_on = read_release(release_dir).manifest_sha256, record["release"]["manifest_sha256"]
    if given != trained_on:
        raise ReleaseError(str(folder), f"was trained on another release, of manifest {trained_on[:16]}",
                           f"{given[:16]}, which {release_dir} is", _TRAIN)  # fmt: skip
