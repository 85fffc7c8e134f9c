"""The diffusion trainer's own process: a UNet from random weights, on the training side of the split.

Run as ``python -m fairshard.pipelines._diffusion_trainer JOB.json`` by ``train_diffusion``. It speaks as
``_clip_trainer`` does, and ends as it does.

UNet, noise, sampling, moving average and schedule are diffusers', the reading of shards is webdataset's. An epoch draws
everything by seed and epoch, on the CPU whatever the device, so that a resumed run sees what an uninterrupted one sees.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from safetensors.torch import save_file

from ..schemas import typed_yaml
from ..schemas.diffusion_config import DiffusionConfig
from ..schemas.errors import StageError
from . import _canaries
from ._denoising import TextEncoder, as_picture, denoising_loss, new_schedule, new_unet, noise, sample
from ._diffusion_batches import batches
from ._diffusion_model import UNET, text_tower
from ._diffusion_pictures import SAMPLES, draw_samples, write_samples
from ._in_trainer import Journal, end_with_parent, say, say_error

CHECKPOINT = "checkpoints/latest.pt"


@dataclass(frozen=True)
class Job:
    """What ``train_diffusion`` asks of the trainer.

    Attributes:
        out_dir: absolute; the working directory is the release.
        shards: relative to the release.
        config: of ``DiffusionConfig``.
        epochs: as in there.
        device: of torch.
        text_encoder: what run.json says of it.
        fingerprint: of the run; a checkpoint of another is refused.
        released: samples in all the shards.
        trained: how many of them are trained on.
        held_out: keys never trained on.
        tested: those of them that the loss is tested on.
        captions: of the grid of samples.
        weights: file of the published weights, in ``out_dir``.
        manifest_sha256: of the release's manifest, hex; it is written into the weights' header.
    """

    out_dir: str
    shards: list[str]
    config: dict[str, Any]
    epochs: int
    device: str
    text_encoder: dict[str, Any]
    fingerprint: str
    released: int
    trained: int
    held_out: list[str]
    tested: list[str]
    captions: list[str]
    weights: str
    manifest_sha256: str


class Training:
    """A model that is trained, and all that training needs to go on."""

    def __init__(self, job: Job):
        self._job, self._out = job, Path(job.out_dir)
        self._config = config = typed_yaml.build(DiffusionConfig, job.config, "diffusion")
        self._encoder = TextEncoder(text_tower(self._out, {"text_encoder": job.text_encoder}), job.device)
        torch.manual_seed(config.seed)
        self._unet = new_unet(config, self._encoder.width).to(job.device)
        self._noises = new_schedule(config)
        self._ema = EMAModel(self._unet.parameters(), decay=config.ema_decay, foreach=True)
        self._optimizer = torch.optim.AdamW(self._unet.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        shown = job.trained + config.canaries * config.canary_repeats
        self._steps = -(-shown // config.batch_size)
        self._rates = get_cosine_schedule_with_warmup(self._optimizer, config.warmup, job.epochs * self._steps)
        self._plant = _canaries.planted(
            _canaries.canaries(config.canaries, config.seed, _canaries.PICTURE_SIDE),
            config.canary_repeats,
            job.released,
        )
        self._journal = Journal(self._out / "metrics.jsonl")
        self._done, self._pictures, self._seconds = 0, 0, 0.0

    def run(self) -> None:
        """Train to the end, from the last checkpoint if there is one, and publish the averaged weights."""
        self._resume()
        self._journal.begin(self._done + 1)
        for epoch in range(self._done + 1, self._job.epochs + 1):
            self._train(epoch)
            with self._averaged():
                held_out_loss = self._held_out_loss()
                self._journal.add(epoch, None, "held_out_loss", held_out_loss)
                if epoch == self._job.epochs or epoch % self._config.sample_every == 0:
                    self._draw_samples(epoch)
            self._commit(epoch)
            losses = [row["loss"] for row in self._journal.epoch_rows(epoch)]
            say(epoch=epoch, loss=sum(losses) / len(losses), held_out_loss=held_out_loss)
        self._publish()

    def _train(self, epoch: int) -> None:
        config, device, rng = self._config, self._job.device, random.Random(f"{self._config.seed}/{epoch}")
        torch.manual_seed(rng.getrandbits(63))
        self._unet.train()
        began = time.monotonic()
        for number, (pictures, captions) in enumerate(self._batches(rng)):
            drawn = torch.randn(pictures.shape), torch.randint(config.noise_steps, (len(captions),))
            text = self._encoder(["" if rng.random() < config.caption_dropout else caption for caption in captions])
            with self._autocast():
                clean, added, steps = (tensor.to(device) for tensor in (pictures, *drawn))
                loss = denoising_loss(self._unet, self._noises, clean, added, steps, text).mean()
            step = (epoch - 1) * self._steps + number
            self._journal.add(epoch, step, "loss", loss.item())
            self._journal.add(epoch, step, "lr", float(self._rates.get_last_lr()[0]))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._unet.parameters(), config.max_grad_norm)
            self._optimizer.step()
            self._optimizer.zero_grad()
            self._rates.step()
            self._ema.step(self._unet.parameters())
            self._pictures += len(captions)
        self._seconds += time.monotonic() - began

    def _held_out_loss(self) -> float:
        """Of each tested pair at one noise level, which with its noise is the same in every epoch."""
        tested, found, device = set(self._job.tested), [], self._job.device
        self._unet.eval()
        for pictures, captions in batches(self._job.shards, lambda key: key in tested, self._config):
            places = range(len(found), len(found) + len(captions))
            # The golden ratio spreads any number of levels evenly over the process.
            levels = [int(place * 0.6180339887498949 % 1 * self._config.noise_steps) for place in places]
            added = torch.stack([noise(pictures.shape[1:], self._config.seed, place) for place in places])
            with torch.inference_mode(), self._autocast():
                clean, added, steps = (tensor.to(device) for tensor in (pictures, added, torch.tensor(levels)))
                found += denoising_loss(self._unet, self._noises, clean, added, steps, self._encoder(captions)).tolist()
        return sum(found) / len(found)

    def _draw_samples(self, epoch: int) -> None:
        config, captions = self._config, self._job.captions
        shape = (3, config.image_size, config.image_size)
        start = torch.stack([noise(shape, config.seed, number) for number in range(len(captions))])
        self._unet.eval()
        pixels = sample(
            self._unet, self._noises, self._encoder, captions, start, config.sampling_steps, config.guidance
        )
        samples = [*zip(captions, map(as_picture, pixels), strict=True)]
        about = {"model": f"fairshard-diffusion-{config.image_size}", "release": self._job.manifest_sha256}
        title = f"Samples after epoch {epoch}, guidance {config.guidance:g}"
        draw_samples(self._out / "samples.png", samples, title)
        write_samples(self._out / SAMPLES, samples, about)

    def _batches(self, rng: random.Random) -> Iterator[tuple[torch.Tensor, list[str]]]:
        """The training side, shuffled."""
        held_out, shards = set(self._job.held_out), list(self._job.shards)
        rng.shuffle(shards)
        return batches(shards, lambda key: key not in held_out, self._config, rng, self._plant)

    def _commit(self, epoch: int) -> None:
        self._journal.write()
        state = {
            "fingerprint": self._job.fingerprint,
            "epoch": epoch,
            "pictures": self._pictures,
            "seconds": self._seconds,
            "unet": self._unet.state_dict(),
            "ema": self._ema.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "rates": self._rates.state_dict(),
        }
        path = self._out / CHECKPOINT
        path.parent.mkdir(exist_ok=True)
        torch.save(state, path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)

    def _resume(self) -> None:
        path = self._out / CHECKPOINT
        if not path.exists():
            return
        try:
            state = torch.load(path, map_location=self._job.device, weights_only=True)
            if state["fingerprint"] != self._job.fingerprint:
                raise StageError(str(path), "is of another run", "one of this release and configuration",
                                 "Choose another diffusion_dir")  # fmt: skip
            self._unet.load_state_dict(state["unet"])
            self._ema.load_state_dict(state["ema"])
            self._optimizer.load_state_dict(state["optimizer"])
            self._rates.load_state_dict(state["rates"])
        except StageError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise StageError(str(path), f"cannot be loaded ({reason})", "the last checkpoint of this run",
                             "Remove it to train anew") from error  # fmt: skip
        self._done, self._pictures, self._seconds = (state[key] for key in ("epoch", "pictures", "seconds"))

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The moving average in place of the weights."""
        self._ema.store(self._unet.parameters())
        self._ema.copy_to(self._unet.parameters())
        try:
            yield
        finally:
            self._ema.restore(self._unet.parameters())

    def _autocast(self) -> Any:
        return torch.autocast(self._job.device, torch.bfloat16, enabled=self._config.precision == "bf16")

    def _publish(self) -> None:
        """The averaged weights alone, in a format that runs no code, and what diffusers makes the UNet of."""
        self._ema.copy_to(self._unet.parameters())
        weights = {name: tensor.cpu().contiguous() for name, tensor in self._unet.state_dict().items()}
        (self._out / UNET).write_text(self._unet.to_json_string())
        partial = self._out / f"{self._job.weights}.tmp"
        # A second entry would come in any order: equal runs leave equal bytes.
        save_file(weights, partial, metadata={"release_manifest_sha256": self._job.manifest_sha256})
        partial.replace(self._out / self._job.weights)
        parameters = sum(parameter.numel() for parameter in self._unet.parameters())
        say(parameters=parameters, threads=torch.get_num_threads(),
            pictures=self._pictures, training_s=round(self._seconds, 1))  # fmt: skip


def run_job(path: str) -> None:
    """Train, or go on training."""
    job = Job(**json.loads(Path(path).read_text()))
    if job.config["threads"]:
        torch.set_num_threads(job.config["threads"])
    torch.use_deterministic_algorithms(True, warn_only=True)
    Training(job).run()


if __name__ == "__main__":
    sys.excepthook = say_error
    end_with_parent()
    run_job(sys.argv[1])
