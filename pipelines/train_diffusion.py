"""train_diffusion: a text-to-image model on exactly the shards of a release, and a record that says so.

The second trainer of ``fairshard train``. A small UNet (diffusers) learns to denoise the pictures of a release, told by
their captions. What reads the captions is the text tower of the CLIP run of the same job, which has to have been
trained on the same release, by the hash of its manifest: no other checkpoint can be named, so nothing in the model has
training data that is not stated. The run folder holds a copy of that tower.

Held out are the pairs that the CLIP run held out, so neither part has seen them. Before anything is trained every file
is hashed and compared with the manifest. A finished run is left as it is if release, tower and configuration are the
same; a killed one goes on from the last finished epoch to the same losses.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..schemas.config import fingerprint
from ..schemas.diffusion_config import DiffusionConfig
from ..schemas.errors import ConfigError, MissingExtra, ReleaseError
from . import _model_papers
from ._clip_model import ClipModel, of_run
from ._diffusion_model import TEXT_ENCODER, TRAINER, UNET
from ._diffusion_pictures import SAMPLES, draw_losses
from ._released import read_release
from ._run_folder import (
    RECORD,
    SCRATCH,
    TrainResult,
    clear,
    earlier_record,
    facts,
    finish,
    is_finished,
    log_losses,
    result,
    write_json,
)
from ._trained import Trained, read_run, run_record
from ._trainer_errors import check_device
from ._trainer_process import WEIGHTS, run_trainer

READS = ("manifest.json", "shards/*.tar", RECORD, "held_out.txt", WEIGHTS)
WRITES = (RECORD, "metrics.jsonl", "loss.png", "samples.png", SAMPLES, "held_out.txt", UNET, WEIGHTS,
          _model_papers.CARD, _model_papers.BOM)  # fmt: skip
MODULE = f"{__package__}._diffusion_trainer"
_PACKAGES = {"torch": "torch", "diffusers": "diffusers", "open_clip_torch": "open_clip", "webdataset": "webdataset",
             "safetensors": "safetensors", "matplotlib": "matplotlib"}  # fmt: skip
_SHOWN = 8
_KEY = "diffusion_dir"
log = logging.getLogger("fairshard")


def run(release_dir: str | Path, clip_dir: str | Path, out_dir: str | Path, config: DiffusionConfig) -> TrainResult:
    """Train on a release, or go on training, or find that it is done.

    Args:
        release_dir: what is trained on.
        clip_dir: a finished run of the CLIP trainer on the same release.
        out_dir: the run folder.
        config: of the trainer.

    Raises:
        MissingExtra: [train] is not installed.
        ConfigError: a value out of range, or a device that is not there.
        ReleaseError: not a release, one that does not verify or is too small for the configuration, or no CLIP run on it.
        StageError: the trainer failed, or the folder holds another's checkpoints.
    """
    started = time.monotonic()
    _check_installed()
    check_config(config)
    release, out = read_release(release_dir), Path(out_dir).resolve()
    if out == Path(clip_dir).resolve():
        raise ConfigError(_KEY, f"is {out}, as run_dir", "a folder of its own")
    clip = of_run(Path(clip_dir), run_record(Path(clip_dir)))
    identity = fingerprint(release.manifest_sha256, config, clip.sha256())
    before = earlier_record(out, _KEY, TRAINER)
    if is_finished(out, before, identity):
        log.info("train: %s is done already; nothing to do", out_dir)
        return result(out, before, already_done=True)
    device = _device(config)
    trained = read_run(clip_dir, release_dir)
    _check_size(trained, config)
    if before.get("fingerprint") != identity:
        clear(out, (*WRITES, *SCRATCH))
    write_json(out / RECORD, {"trainer": TRAINER, "status": "running", "fingerprint": identity})
    tower = _copy_tower(trained, clip, out)
    (out / "held_out.txt").write_text("".join(f"{sample.key}\n" for sample in trained.split.held_out))
    log.info("train: %d pairs, %d held out, diffusion at %d px", len(trained.split.trained),
             len(trained.split.held_out), config.image_size)  # fmt: skip
    said = run_trainer(release, out, _job(trained, config, device, tower, identity, out), MODULE)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    draw_losses(out / "loss.png", rows, config.prediction)
    record = {
        "trainer": TRAINER,
        "status": "done",
        "fingerprint": identity,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_s": round(time.monotonic() - started, 1),
        **_record(trained, config, device, tower, said, rows),
    }
    _model_papers.write(out, record, release.manifest)
    log_losses(record)
    return finish(out, record, SCRATCH)


def _check_installed() -> None:
    missing = [module for module in _PACKAGES.values() if find_spec(module) is None]
    if missing:
        raise MissingExtra(extra="train", verb="train", module=missing[0])


def check_config(config: DiffusionConfig) -> None:
    """Refuse values that are out of range or do not go together.

    Raises:
        ConfigError: naming the first.
    """
    least = {"image_size": 8, "layers": 1, "attention_levels": 0, "noise_steps": 2, "epochs": 1, "batch_size": 1,
             "weight_decay": 0.0, "warmup": 0, "max_grad_norm": 0.0, "sample_every": 1, "sampling_steps": 1,
             "guidance": 0.0, "seed": 0, "threads": 0, "canaries": 0, "canary_repeats": 1}  # fmt: skip
    for key, low in least.items():
        if not low <= getattr(config, key) < math.inf:
            raise ConfigError(f"diffusion.{key}", f"is {getattr(config, key)}", f"at least {low}")
    for key in ("caption_dropout", "ema_decay"):
        if not 0 <= getattr(config, key) < 1:
            raise ConfigError(f"diffusion.{key}", f"is {getattr(config, key)}", "a share below 1")
    if not (config.lr > 0 and math.isfinite(config.lr)):
        raise ConfigError("diffusion.lr", f"is {config.lr}", "a positive number")
    channels, levels = config.block_channels, len(config.block_channels)
    if not channels or any(width < 8 or width % 8 for width in channels):
        raise ConfigError("diffusion.block_channels", f"is {list(channels)}", "multiples of 8, one a level")
    if config.image_size % 2 ** (levels - 1):
        raise ConfigError("diffusion.image_size", f"is {config.image_size}",
                          f"a multiple of {2 ** (levels - 1)}: it is halved {levels - 1} times")  # fmt: skip
    if config.attention_levels > levels:
        raise ConfigError("diffusion.attention_levels", f"is {config.attention_levels}", f"at most {levels}")
    if config.sampling_steps > config.noise_steps:
        raise ConfigError("diffusion.sampling_steps", f"is {config.sampling_steps}",
                          f"at most noise_steps, {config.noise_steps}")  # fmt: skip


def _device(config: DiffusionConfig) -> str:
    """Of torch."""
    if config.device != "auto":
        check_device(config.device, 1, "diffusion.device")
        return config.device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _check_size(trained: Trained, config: DiffusionConfig) -> None:
    where, split = str(trained.release.folder), trained.split
    if len(split.trained) < config.batch_size:
        raise ReleaseError(where, f"gives {len(split.trained)} pairs to train on", f"a batch of {config.batch_size}",
                           "Lower diffusion.batch_size")  # fmt: skip
    if not split.tested:
        raise ReleaseError(where, "leaves no held-out pair to test on", "at least one",
                           "Raise train.holdout_share and train the CLIP model again")  # fmt: skip


def _copy_tower(trained: Trained, clip: ClipModel, out: Path) -> dict[str, Any]:
    """Put the CLIP model beside the UNet that understands nothing else. Returns what the record says of it."""
    folder = out / TEXT_ENCODER
    folder.mkdir(exist_ok=True)
    for path in (Path(clip.checkpoint), Path(clip.architecture), trained.folder / RECORD):
        shutil.copyfile(path, folder / path.name)
    return {
        "folder": TEXT_ENCODER,
        "sha256": clip.sha256(),
        "architecture": Path(clip.architecture).name,
        "run": trained.record.get("fingerprint"),
        "trained_on": trained.record["release"]["manifest_sha256"],
        "used": "states of all tokens after the last norm; frozen",
        "canaries": (trained.record.get("canaries") or {}).get("planted", 0),
    }


def _job(trained: Trained, config: DiffusionConfig, device: str, tower: dict[str, Any], identity: str, out: Path
) -> dict[str, Any]:  # fmt: skip
    """See ``_diffusion_trainer.Job``."""
    split = trained.split
    captions = dict.fromkeys(" ".join(sample.caption.split()) for sample in split.tested)
    return {
        "out_dir": str(out),
        "shards": [shard.path for shard in trained.release.shards],
        "config": asdict(config),
        "epochs": config.epochs,
        "device": device,
        "text_encoder": tower,
        "fingerprint": identity,
        "released": len(split.trained) + len(split.held_out),
        "trained": len(split.trained),
        "held_out": [sample.key for sample in split.held_out],
        "tested": [sample.key for sample in split.tested],
        "captions": [*captions][:_SHOWN],
        "weights": WEIGHTS,
        "manifest_sha256": trained.release.manifest_sha256,
    }


def _record(trained: Trained, config: DiffusionConfig, device: str, tower: dict[str, Any], said: dict[str, Any],
            rows: list[dict[str, Any]]) -> dict[str, Any]:  # fmt: skip
    record = facts(trained.release, trained.split, config, said, rows, _PACKAGES)
    record["loss"]["of"] = config.prediction
    return {
        **record,
        "text_encoder": tower,
        "model": {"architecture": UNET, "initialised_from": "random weights", "parameters": said["parameters"]},
        "device": device,
        "pictures_shown": said["pictures"],
    }
