"""Starts the trainer's process, follows it, and says what went wrong in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..schemas.train_config import TrainConfig
from ._held_out import Split
from ._progress import Bar, bar
from ._released import Release
from ._trainer_errors import trainer_failed

WEIGHTS = "model.safetensors"
MODULE = f"{__package__}._clip_trainer"
# Adam's settings of the CLIP paper (Radford et al. 2021, table 18) for ViTs, which open_clip takes for every
# architecture with "vit" in its name. Stated here because its choice would go by our architecture's name.
_ADAM = ("--beta1", "0.9", "--beta2", "0.98", "--eps", "1e-6")
# Not to be passed on: whatever cluster this runs on, open_clip would wait for its peers. torchrun says them anew.
_ALONE = ("WORLD_SIZE", "SLURM_NTASKS", "SLURM_PROCID", "RANK", "LOCAL_RANK")
_JOB_KEYS = ("model", "image_size", "seed", "threads", "epochs", "batch_size", "canaries", "canary_repeats",
             "caption_dropout", "self_supervision", "device")  # fmt: skip
_LOG_TAIL_BYTES = 2000


def trainer_job(release: Release, out: Path, split: Split, config: TrainConfig) -> dict[str, Any]:
    """The trainer's job, as JSON; see ``_clip_trainer.Job``. ``out`` is absolute."""
    planted = config.canaries * config.canary_repeats
    of_config = {key: value for key, value in asdict(config).items() if key in _JOB_KEYS}
    return {
        **of_config,
        "arguments": _arguments(release, out, len(split.trained) + planted, len(split.tested), config),
        "out_dir": str(out),
        "shards": [shard.path for shard in release.shards],
        "model_configs": str(Path(__file__).parent / "model_configs"),
        "released": len(split.trained) + len(split.held_out),
        "held_out": [sample.key for sample in split.held_out],
        "tested": [sample.key for sample in split.tested],
        "weights": WEIGHTS,
        "manifest_sha256": release.manifest_sha256,
    }


def run_trainer(
    release: Release, out: Path, job: dict[str, Any], module: str = MODULE, processes: int = 1
) -> dict[str, Any]:
    """Run a job to its end.

    Args:
        release: to be trained on.
        out: the run folder.
        job: see ``trainer_job``.
        module: of the trainer.
        processes: that train together.

    Returns: what the trainer says of itself: parameters, threads, resumed_after_epoch (absent if no epoch was left).
    Raises:
        StageError: it failed; trainer.log in the run folder has the whole story.
    """
    (out / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-m", *_together(processes), module, str(out / "job.json")]
    environment = {key: value for key, value in os.environ.items() if key not in _ALONE}
    # The working directory is the release, from which no module may be loaded.
    environment |= {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "PYTHONSAFEPATH": "1"}
    # Waiting threads sleep: by default they spin, and on a busy machine that made training three times slower.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with (
        (out / "trainer.log").open("wb") as stderr,
        subprocess.Popen(
            command, cwd=release.folder, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
        ) as process,
        bar("train", job["epochs"]) as progress,
    ):  # fmt: skip
        said = _follow(process.stdout or (), progress)
        code = process.wait()
    if code:
        tail = (out / "trainer.log").read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")
        raise trainer_failed(code, said.get("error", ""), tail, str(out), str(out / "trainer.log"))
    return said


def _together(processes: int) -> tuple[str, ...]:
    """What stands before the module of the trainer where several are started by torchrun."""
    return ("torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m") if processes > 1 else ()


def _arguments(release: Release, out: Path, trained: int, tested: int, config: TrainConfig) -> list[str]:
    # Relative to the release, the trainer's working directory: webdataset would expand special characters of
    # an absolute path.
    shards = "::".join(shard.path for shard in release.shards)
    flags = {
        "train-data": shards, "train-num-samples": trained,
        "val-data": shards, "val-num-samples": tested, "val-frequency": 1,
        "dataset-type": "webdataset", "workers": config.workers,
        "model": config.model, "device": config.device, "precision": config.precision, "seed": config.seed,
        "epochs": config.epochs, "batch-size": config.batch_size, "lr": config.lr, "wd": config.weight_decay,
        "warmup": config.warmup, "accum-freq": config.accum_freq, "log-every-n-steps": 1,
        "logs": out.parent, "name": out.name,
        # The latest checkpoint is replaced atomically; the numbered one, written once at the end, is not.
        "save-frequency": 0, "resume": "latest",
    }  # fmt: skip
    if config.image_size is not None:
        flags["force-image-size"] = config.image_size
    if config.grad_clip_norm is not None:
        flags["grad-clip-norm"] = config.grad_clip_norm
    changes = asdict(config.augmentation) if config.augmentation else {}
    augmentation = [f"{key}={value}" for key, value in changes.items()]
    return [*(f"--{key}={value}" for key, value in flags.items()), *_ADAM, "--save-most-recent",
            *(("--aug-cfg", *augmentation) if augmentation else ())]  # fmt: skip


def _follow(lines: Iterable[str], progress: Bar) -> dict[str, Any]:
    said, done = {}, None
    for line in lines:
        facts = _facts(line)
        epoch = facts.pop("epoch", None)
        if epoch is None:
            said |= facts
            continue
        if done is None:  # After a resumption the first epoch heard of is not the first.
            said["resumed_after_epoch"] = epoch - 1
        progress.advance(epoch - (done or 0), f"loss {facts['loss']:.2f}, held out {facts['held_out_loss']:.2f}")
        done = epoch
    return said


def _facts(line: str) -> dict[str, Any]:
    """A line of the trainer's; nothing for what a library may print in between."""
    if not line.startswith("{"):
        return {}
    return json.loads(line)
