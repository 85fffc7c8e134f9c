"""The trainer's own process: open_clip's `main`, on the training side of the split.

Run as ``python -m fairshard.pipelines._clip_trainer JOB.json`` by ``train``; a process of its own because
`open_clip_train` takes over the root logger and torch's global state, and so that nothing of torch is loaded
where it is not needed. It says ``{"epoch": ...}`` on stdout after each epoch and ``{"error": ...}`` of what
ended it, logs to stderr, and ends when its stdin does, so that a killed parent leaves no trainer behind that
writes into the same folder.

The loop, the loader, the loss, the schedule and the checkpoints are open_clip's. These globals of its modules
are replaced, and nothing else:

- ``data.get_wds_dataset``: the same, after telling the loader's own select step which keys are on the side
  asked for. Shards are read as published; no second copy of them is written.
- ``data.tarfile_to_samples_nothrow``, ``data.log_and_continue``: the first breaks on the end-of-shard marks
  of webdataset after 0.2.86; both skip what they cannot read, and a model would then have been trained on
  other samples than its record says. webdataset's own reader takes their place, and fails.
  That of the training side also plants canaries, if the job asks for some.
- ``data.wds.shuffle``: webdataset seeds it by clock and process; here by the epoch's seed.
- ``main.create_model_and_transforms``: the same without the weights that open_clip would load into the text towers of
  others if it finds them on this machine. With ``self_supervision`` it makes views, too, and ``main.create_loss`` takes
  them, see ``_clip_options``.
- ``torch.nn.parallel.DistributedDataParallel``: only for several processes on the CPU, where it wants no ids of devices.
- ``main.train_one_epoch``, ``main.evaluate``: the same, seeded by seed and epoch, so that a resumed run sees
  what an uninterrupted one sees; and with a journal in place of tensorboard.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
import webdataset as wds
from open_clip_train import data, main

from . import _canaries
from ._clip_options import WithViews, drop_words, with_views
from ._clip_published import write_features, write_weights
from ._in_trainer import KEY, Journal, end_with_parent, say, say_error, strict

# As torchrun says; the first process alone writes and speaks.
PROCESS, PROCESSES = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


@dataclass(frozen=True)
class Job:
    """What ``train`` asks of the trainer.

    Attributes:
        arguments: of open_clip's command line.
        out_dir: absolute; the working directory is the release.
        shards: relative to the release.
        model, image_size, seed, threads, epochs, batch_size, caption_dropout, self_supervision, device: as in
            ``TrainConfig``.
        model_configs: folder with architectures that open_clip does not have.
        canaries, canary_repeats: as in ``TrainConfig``.
        released: samples in all the shards.
        held_out: keys never trained on.
        tested: those of them that the model is tested on.
        weights: file of the published weights, in ``out_dir``.
        manifest_sha256: of the release's manifest, hex; it is written into the weights' header.
    """

    arguments: list[str]
    out_dir: str
    shards: list[str]
    model: str
    model_configs: str
    image_size: int | None
    seed: int
    threads: int
    epochs: int
    batch_size: int
    canaries: int
    canary_repeats: int
    released: int
    caption_dropout: float
    self_supervision: float
    device: str
    held_out: list[str]
    tested: list[str]
    weights: str
    manifest_sha256: str


class _Scalars:
    """What open_clip takes for a tensorboard writer."""

    def __init__(self, journal: Journal, epoch: int, names: dict[str, str], by_step: bool):
        self._journal, self._epoch, self._names, self._by_step = journal, epoch, names, by_step

    def add_scalar(self, name: str, value: float, step: int) -> None:
        if name in self._names:
            self._journal.add(self._epoch, step if self._by_step else None, self._names[name], float(value))


STEP_NAMES = {"train/loss": "loss", "train/lr": "lr", "train/scale": "logit_scale"}
# With a second loss the first goes by its own name, so that it can be compared with that of a run without.
WITH_VIEWS_NAMES = {
    **STEP_NAMES,
    "train/contrastive_loss": "loss",
    "train/self_supervision_loss": "self_supervision_loss",
}
del WITH_VIEWS_NAMES["train/loss"]
EPOCH_NAMES = {"val/clip_val_loss": "held_out_loss"}


def split_loader(held_out: set[str], tested: set[str], caption_dropout: float = 0.0) -> Callable[..., Any]:
    """open_clip's loader of shards, confined to one side of the split; captions lose words on the training side."""
    load, usable = data.get_wds_dataset, data.filter_no_caption_or_no_image

    def of_side(args: Any, transform: Any, is_train: bool, **rest: Any) -> Any:
        def on_side(sample: dict[str, Any]) -> bool:
            return usable(sample) and (sample[KEY] not in held_out if is_train else sample[KEY] in tested)

        data.filter_no_caption_or_no_image = on_side
        if is_train and caption_dropout:
            rest["tokenizer"] = drop_words(rest["tokenizer"], caption_dropout)
        return load(args, transform, is_train, **rest)

    return of_side


def trained_samples(job: Job) -> Callable[[Any], Any]:
    """webdataset's own reader of shards, and canaries after it where the job plants some."""
    read: Any = wds.tarfile_to_samples(handler=strict)  # type: ignore[call-arg]
    if not job.canaries:
        return read
    sown = _canaries.canaries(job.canaries, job.seed, _canaries.PICTURE_SIDE)
    plant = _canaries.planted(sown, job.canary_repeats, job.released)
    return lambda shards: plant(read(shards))


@dataclass
class Pace:
    """What this process has trained on so far, of all processes, and how long that took."""

    pictures: int = 0
    seconds: float = 0.0


def adapt_open_clip(job: Job, journal: Journal) -> Pace:
    """Replace the globals that this module's docstring names. Returns what will count along."""
    pace = Pace()
    data.get_wds_dataset = split_loader(set(job.held_out), set(job.tested), job.caption_dropout)
    data.log_and_continue = strict  # type: ignore[assignment]
    data.tarfile_to_samples_nothrow = trained_samples(job)  # type: ignore[assignment]
    data.wds.shuffle = functools.partial(wds.shuffle, rng=random)  # type: ignore[attr-defined]
    main.create_model_and_transforms = functools.partial(main.create_model_and_transforms, pretrained_text=False)
    if job.self_supervision:
        create_loss = main.create_loss
        main.create_model_and_transforms = with_views(main.create_model_and_transforms)
        main.create_loss = lambda args: WithViews(create_loss(args), job.self_supervision)
    if PROCESSES > 1 and job.device == "cpu":
        parallel = torch.nn.parallel.DistributedDataParallel
        torch.nn.parallel.DistributedDataParallel = lambda model, device_ids: parallel(model)  # type: ignore
    main.train_one_epoch = _journalled_epoch(main.train_one_epoch, job, journal, pace)
    main.evaluate = _journalled_evaluation(main.evaluate, job, journal)
    return pace


def _journalled_epoch(
    train_one_epoch: Callable[..., None], job: Job, journal: Journal, pace: Pace
) -> Callable[..., None]:
    def run(model: Any, dataset: Any, loss: Any, epoch: int, *rest: Any, tb_writer: Any = None) -> None:
        journal.begin(epoch + 1)
        main.random_seed(job.seed, epoch * PROCESSES + PROCESS)  # What is drawn differs from process to process.
        scalars = _Scalars(journal, epoch + 1, WITH_VIEWS_NAMES if job.self_supervision else STEP_NAMES, by_step=True)
        began = time.monotonic()
        train_one_epoch(model, dataset, loss, epoch, *rest, tb_writer=scalars)
        pace.seconds += time.monotonic() - began
        pace.pictures += dataset["train"].dataloader.num_samples

    return run


def _journalled_evaluation(evaluate: Callable[..., Any], job: Job, journal: Journal) -> Callable[..., Any]:
    def run(model: Any, dataset: Any, epoch: int, args: Any, tb_writer: Any = None, tokenizer: Any = None) -> Any:
        if PROCESS:
            return {}
        scalars = _Scalars(journal, epoch, EPOCH_NAMES, by_step=False)
        metrics = evaluate(model, dataset, epoch, args, tb_writer=scalars, tokenizer=tokenizer)
        journal.write()
        losses = [row["loss"] for row in journal.epoch_rows(epoch)]
        say(epoch=epoch, loss=sum(losses) / len(losses), held_out_loss=metrics["clip_val_loss"])
        return metrics

    return run


def run_job(path: str) -> None:
    """Train, or go on training, and embed the held-out samples."""
    job = Job(**json.loads(Path(path).read_text()))
    if job.threads:
        torch.set_num_threads(job.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    open_clip.add_model_config(job.model_configs)
    pace = adapt_open_clip(job, Journal(Path(job.out_dir, "metrics.jsonl")))
    main.main(job.arguments)
    if PROCESSES > 1:
        torch.distributed.destroy_process_group()
    if PROCESS:
        return
    say(pictures=pace.pictures, training_s=round(pace.seconds, 1))
    logging.info("Embedding the held-out samples.")
    write_weights(job)
    write_features(job)


if __name__ == "__main__":
    sys.excepthook = say_error
    end_with_parent()
    run_job(sys.argv[1])
