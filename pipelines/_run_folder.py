"""The folder of a training run: what ran in it, whether that was this run, and what it leaves."""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..schemas.diffusion_config import DiffusionConfig
from ..schemas.errors import StageError
from ..schemas.train_config import TrainConfig
from . import _canaries
from ._held_out import Split, shared
from ._released import Release
from ._trainer_process import WEIGHTS

RECORD = "run.json"
SCRATCH = ("job.json", "trainer.log", "model.safetensors.tmp")
_CHECKPOINTS = "checkpoints"
log = logging.getLogger("fairshard")


@dataclass(frozen=True)
class TrainResult:
    """What a run folder says of its run.

    Attributes:
        out_dir: the run folder.
        checkpoint: its weights.
        record: run.json.
        already_done: the folder was finished before, and nothing was run.
    """

    out_dir: Path
    checkpoint: Path
    record: dict[str, Any]
    already_done: bool


def earlier_record(out: Path, key: str, trainer: str = "clip") -> dict[str, Any]:
    """run.json of whatever ran in this folder; empty if nothing did.

    Args:
        out: the run folder.
        key: of the config, that names it.
        trainer: whose it has to be; a record that names none is of ``clip``.

    Raises:
        StageError: there are checkpoints without a record, or a record that cannot be read or is another trainer's.
    """
    path, hint = out / RECORD, f"Choose another {key}"
    if not path.exists():
        if (out / _CHECKPOINTS).exists():
            raise StageError(str(out), f"holds checkpoints but no {RECORD}", "a folder of this run's own", hint)
        return {}
    try:
        record = dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise StageError(str(path), f"cannot be read ({error})", "the record of an earlier run", hint) from error
    if record.get("trainer", "clip") != trainer:
        raise StageError(str(path), "is of another trainer", f"a run of the {trainer} trainer, or none", hint)
    return record


def facts(
    release: Release, split: Split, config: TrainConfig | DiffusionConfig, said: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]], packages: Iterable[str],
) -> dict[str, Any]:  # fmt: skip
    """What the record of every finished run says, whichever trainer made it.

    Args:
        release, split: what was trained on, and what was held out.
        config: of the trainer.
        said: by the trainer's process, the last one of a run that was resumed.
        rows: of metrics.jsonl; the last one is that of the last epoch.
        packages: whose versions are stated.
    """
    in_shard = Counter(sample.shard for sample in split.trained)
    last = [row["loss"] for row in rows if "loss" in row and row["epoch"] == config.epochs]
    return {
        "release": {
            "manifest_sha256": release.manifest_sha256,
            "shards": [{**asdict(shard), "trained": in_shard[shard.path]} for shard in release.shards],
        },
        "config": asdict(config),
        "checkpoint": WEIGHTS,
        "threads": said["threads"],
        "pictures_per_s": round(said["pictures"] / max(said["training_s"], 1e-9), 1) if said["pictures"] else None,
        "resumed_after_epoch": said.get("resumed_after_epoch", config.epochs),
        "samples": {
            "released": len(split.trained) + len(split.held_out),
            "trained": len(split.trained),
            "held_out": len(split.held_out),
            "held_out_with_a_trained_picture": split.copies,
            "tested": len(split.tested),
        },
        "shared_by_trained_and_tested": shared(split),
        "canaries": _canaries.record(config.canaries, config.canary_repeats, config.seed, _canaries.PICTURE_SIDE),
        "loss": {"last_epoch": sum(last) / len(last), "held_out": rows[-1]["held_out_loss"]},
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in ("fairshard", *packages)},
        },
    }


def log_losses(record: Mapping[str, Any]) -> None:
    """Say what came of a run, and how fast it went."""
    log.info("train: %s", losses(record))


def losses(record: Mapping[str, Any]) -> str:
    """Losses and pace of a finished run, in words."""
    loss, pace = record["loss"], record.get("pictures_per_s")
    said = f"loss {loss['last_epoch']:.4f}, held out {loss['held_out']:.4f}"
    return said if pace is None else f"{said}; {pace} pictures/s"


def is_finished(out: Path, record: dict[str, Any], identity: str) -> bool:
    """Whether the record is of this very run, and its weights are there."""
    same = record.get("fingerprint") == identity and record.get("status") == "done"
    return same and (out / record["checkpoint"]).exists()


def clear(out: Path, names: Iterable[str]) -> None:
    """Remove what a run of another identity left: training would go on from its checkpoint."""
    out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(out / _CHECKPOINTS, ignore_errors=True)
    for name in names:
        (out / name).unlink(missing_ok=True)


def finish(out: Path, record: dict[str, Any], scratch: Iterable[str]) -> TrainResult:
    """Write the record of a finished run, and remove what only training needs."""
    write_json(out / RECORD, record)
    for name in scratch:
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / _CHECKPOINTS, ignore_errors=True)  # only training goes on from them
    return result(out, json.loads((out / RECORD).read_text()), already_done=False)


def result(out: Path, record: dict[str, Any], already_done: bool) -> TrainResult:
    """Of a finished run."""
    return TrainResult(out, out / record["checkpoint"], record, already_done)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Whole or not at all."""
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(scratch, path)
