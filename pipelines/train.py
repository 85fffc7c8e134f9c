"""train: a CLIP model on exactly the shards of a release, and a record that says so.

The loop, the loader and the checkpoints are open_clip's own (see ``_clip_trainer``); the weights are published as
safetensors, with a model card and a bill of materials (see ``_model_papers``). Before anything is
trained every file is hashed and compared with the manifest; a run folder names the manifest by its hash.

A share of the pairs, chosen by hash of the pair's id, is held out: the loader reads the published shards and
passes over their keys, so that one shard is enough and no copy of the data is written. A held-out picture
whose bytes also occur on the training side (a release that was not deduplicated) is left out of the test
as well, and counted. The test is retrieval among the held-out pairs, beside what chance gives.

A finished run is left as it is if release and configuration are the same; a killed one goes on from the
last finished epoch and, with ``workers: 0``, to the same losses.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..schemas.config import fingerprint
from ..schemas.errors import ConfigError, MissingExtra, ReleaseError
from ..schemas.train_config import Augmentation, TrainConfig
from ..udfs.retrieval import Retrieval, retrieval
from . import _model_papers
from ._clip_model import architecture
from ._held_out import Split, split_samples, spoken
from ._released import Release, Sample, read_release, verified_samples
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
from ._train_pictures import draw_losses, draw_retrieval
from ._trainer_errors import check_device
from ._trainer_process import WEIGHTS, run_trainer, trainer_job

READS = ("manifest.json", "shards/*.tar")
WRITES = (RECORD, "metrics.jsonl", "loss.png", "retrieval.png", "held_out.txt", WEIGHTS, _model_papers.CARD,
          _model_papers.BOM)  # fmt: skip

DIRECTIONS = ("image to text", "text to image")
_PACKAGES = {"torch": "torch", "torchvision": "torchvision", "open_clip_torch": "open_clip_train",
             "webdataset": "webdataset", "pandas": "pandas", "matplotlib": "matplotlib"}  # fmt: skip
_MODEL = "train.model"
log = logging.getLogger("fairshard")


def run(release_dir: str | Path, out_dir: str | Path, config: TrainConfig) -> TrainResult:
    """Train on a release, or go on training, or find that it is done.

    Raises:
        MissingExtra: [train] is not installed.
        ConfigError: a value out of range, or an unknown architecture.
        ReleaseError: not a release, one that does not verify, or one too small for the configuration.
        StageError: the trainer failed, or the folder holds another's checkpoints.
    """
    started = time.monotonic()
    _check_installed()
    _check_config(config)
    release, out = read_release(release_dir), Path(out_dir).resolve()
    identity = fingerprint(release.manifest_sha256, config, architecture(config.model, _MODEL).read_text())
    before = earlier_record(out, "run_dir")
    if is_finished(out, before, identity):
        log.info("train: %s is done already; nothing to do", out_dir)
        return result(out, before, already_done=True)
    split = split_samples(verified_samples(release), config.holdout_share)
    _check_size(split, release, config)
    if before.get("fingerprint") != identity:
        clear(out, ("out.log", "params.txt", "features.npz", *WRITES, *SCRATCH))
    write_json(out / RECORD, {"status": "running", "fingerprint": identity})
    _write_inputs(out, split, config)
    log.info("train: %d pairs, %d held out, %s", len(split.trained), len(split.held_out), config.model)
    said = run_trainer(release, out, trainer_job(release, out, split, config), processes=config.processes)
    directions = _test(out / "features.npz", split.tested, config.seed)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    draw_losses(out / "loss.png", rows, _candidates(config))
    draw_retrieval(out / "retrieval.png", directions)
    record = {
        "status": "done",
        "fingerprint": identity,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_s": round(time.monotonic() - started, 1),
        **_record(release, split, config, said, rows, directions),
    }
    _model_papers.write(out, record, release.manifest)
    log_losses(record)
    _log_result(directions)
    return finish(out, record, ("features.npz", *SCRATCH))


def _check_installed() -> None:
    missing = [module for module in _PACKAGES.values() if find_spec(module) is None]
    if missing:
        raise MissingExtra(extra="train", verb="train", module=missing[0])


def _check_config(config: TrainConfig) -> None:
    least = {"epochs": 1, "batch_size": 2, "warmup": 0, "workers": 0, "threads": 0, "seed": 0, "image_size": 1,
             "weight_decay": 0.0, "canaries": 0, "canary_repeats": 1, "self_supervision": 0.0, "processes": 1,
             "accum_freq": 1, "grad_clip_norm": 0.0}  # fmt: skip
    for key, low in least.items():
        value = getattr(config, key)
        if value is not None and not value >= low:
            raise ConfigError(f"train.{key}", f"is {value}", f"at least {low}")
    if not 0 < config.holdout_share < 1:
        raise ConfigError("train.holdout_share", f"is {config.holdout_share}", "a share between 0 and 1")
    if not 0 <= config.caption_dropout < 1:
        raise ConfigError("train.caption_dropout", f"is {config.caption_dropout}", "a share below 1")
    _check_augmentation(config.augmentation)
    check_device(config.device, config.processes)
    if config.device == "cpu" and config.precision in ("amp", "fp16"):
        raise ConfigError("train.precision", f"is {config.precision}, on the CPU", "fp32, bf16 or amp_bf16")
    if not (config.lr > 0 and math.isfinite(config.lr)):
        raise ConfigError("train.lr", f"is {config.lr}", "a positive number")
    architecture(config.model, _MODEL)


def _check_augmentation(asked: Augmentation | None) -> None:
    if asked is None:
        return
    if not (len(asked.scale) == 2 and 0 < asked.scale[0] <= asked.scale[1] <= 1):
        raise ConfigError("train.augmentation.scale", f"is {list(asked.scale)}", "two shares, the lesser first")
    jitter = asked.color_jitter
    if not (len(jitter) == 4 and all(0 <= change <= 1 for change in jitter) and jitter[3] <= 0.5):
        raise ConfigError("train.augmentation.color_jitter", f"is {list(jitter)}",
                          "four numbers from 0 to 1, the last at most 0.5")  # fmt: skip
    for key in ("color_jitter_prob", "gray_scale_prob"):
        if not 0 <= getattr(asked, key) <= 1:
            raise ConfigError(f"train.augmentation.{key}", f"is {getattr(asked, key)}", "a share from 0 to 1")


def _check_size(split: Split, release: Release, config: TrainConfig) -> None:
    """Refuse what open_clip's loader would wait for without end: a worker that never fills one batch."""
    where, workers = str(release.folder), max(1, config.workers) * config.processes
    if workers > len(release.shards):
        raise ConfigError("train.workers" if config.processes == 1 else "train.processes times train.workers",
                          f"is {workers}", f"at most {len(release.shards)}, one a shard")  # fmt: skip
    in_shard = Counter(sample.shard for sample in split.trained)
    sizes = sorted(in_shard[shard.path] for shard in release.shards)
    fewest = sum(sizes[: len(sizes) // workers])
    if fewest < config.batch_size:
        raise ReleaseError(where, f"gives a worker {fewest} pairs to train on", f"a batch of {config.batch_size}",
                           "Lower train.batch_size or train.workers")  # fmt: skip
    if len(split.trained) < _candidates(config):
        raise ReleaseError(where, f"gives {len(split.trained)} pairs to train on", f"a step of {_candidates(config)}",
                           "Lower train.accum_freq or train.batch_size")  # fmt: skip
    if len({spoken(sample.caption) for sample in split.tested}) < 2:
        raise ReleaseError(where, f"leaves {len(split.tested)} held-out pairs to test on", "at least two captions",
                           "Raise train.holdout_share")  # fmt: skip


def _candidates(config: TrainConfig) -> int:
    """Among how many captions a step of training looks for the right one."""
    return config.batch_size * config.accum_freq * config.processes


def _write_inputs(out: Path, split: Split, config: TrainConfig) -> None:
    """What a reader of the folder needs beside the record: the keys held out, and the architecture."""
    (out / "held_out.txt").write_text("".join(f"{sample.key}\n" for sample in split.held_out))
    shutil.copyfile(architecture(config.model, _MODEL), out / f"{config.model}.json")


def _test(features: Path, tested: list[Sample], seed: int) -> dict[str, Retrieval]:
    """Retrieval both ways. Equal captions are one candidate, right for each of their pictures."""
    caption_of = {sample.key: spoken(sample.caption) for sample in tested}
    with np.load(features) as saved:
        captions = [caption_of[key] for key in saved["key"]]
        texts, first, which = np.unique(captions, return_index=True, return_inverse=True)
        scores = saved["image"] @ saved["text"][first].T
    relevant = which[:, None] == np.arange(len(texts))
    matrices = ((scores, relevant), (scores.T, relevant.T))
    return {name: retrieval(*pair, seed=seed) for name, pair in zip(DIRECTIONS, matrices, strict=True)}


def _record(
    release: Release,
    split: Split,
    config: TrainConfig,
    said: dict[str, Any],
    rows: list[dict[str, Any]],
    directions: dict[str, Retrieval],
) -> dict[str, Any]:
    record = facts(release, split, config, said, rows, _PACKAGES)
    record["loss"]["guessing"] = math.log(_candidates(config))
    return {
        **record,
        "model": {
            "architecture": f"{config.model}.json",
            "initialised_from": "random weights",
            "parameters": said["parameters"],
        },
        "retrieval": {name: asdict(found) for name, found in directions.items()},
    }


def _log_result(directions: dict[str, Retrieval]) -> None:
    for name, found in directions.items():
        at = " ".join(f"@{r.k} {r.value:.1%} (chance {r.chance:.1%}, p {r.p_value:.4f})" for r in found.recall)
        log.info("train: held-out %s among %d: recall %s", name, found.candidates, at)
