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
- ``main.create_model_and_transforms``, ``main.create_loss``: only for ``self_supervision``, see ``_clip_options``.
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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import webdataset as wds
from open_clip_train import data, main
from safetensors.torch import save_file

from . import _canaries
from ._clip_options import PROJECTION, WithViews, drop_words, with_views
from ._in_trainer import IMAGES, KEY, TEXTS, Journal, end_with_parent, say, say_error, strict

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


def adapt_open_clip(job: Job, journal: Journal) -> None:
    """Replace the globals that this module's docstring names."""
    data.get_wds_dataset = split_loader(set(job.held_out), set(job.tested), job.caption_dropout)
    data.log_and_continue = strict  # type: ignore[assignment]
    data.tarfile_to_samples_nothrow = trained_samples(job)  # type: ignore[assignment]
    data.wds.shuffle = functools.partial(wds.shuffle, rng=random)  # type: ignore[attr-defined]
    if job.self_supervision:
        create_loss = main.create_loss
        main.create_model_and_transforms = with_views(main.create_model_and_transforms)
        main.create_loss = lambda args: WithViews(create_loss(args), job.self_supervision)
    if PROCESSES > 1 and job.device == "cpu":
        parallel = torch.nn.parallel.DistributedDataParallel
        torch.nn.parallel.DistributedDataParallel = lambda model, device_ids: parallel(model)  # type: ignore
    main.train_one_epoch = _journalled_epoch(main.train_one_epoch, job, journal)
    main.evaluate = _journalled_evaluation(main.evaluate, job, journal)


def _journalled_epoch(train_one_epoch: Callable[..., None], job: Job, journal: Journal) -> Callable[..., None]:
    def run(model: Any, dataset: Any, loss: Any, epoch: int, *rest: Any, tb_writer: Any = None) -> None:
        journal.begin(epoch + 1)
        main.random_seed(job.seed, epoch * PROCESSES + PROCESS)  # What is drawn differs from process to process.
        scalars = _Scalars(journal, epoch + 1, WITH_VIEWS_NAMES if job.self_supervision else STEP_NAMES, by_step=True)
        train_one_epoch(model, dataset, loss, epoch, *rest, tb_writer=scalars)

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


def write_weights(job: Job) -> None:
    """The last checkpoint's weights alone, without what training needs to go on, in a format that runs no code."""
    last = torch.load(Path(job.out_dir, "checkpoints", f"epoch_{job.epochs}.pt"), map_location="cpu", weights_only=True)
    named = ((name.removeprefix("module."), tensor) for name, tensor in last["state_dict"].items())
    weights = {name: tensor.contiguous() for name, tensor in named if not name.startswith(f"{PROJECTION}.")}
    partial = Path(job.out_dir, f"{job.weights}.tmp")
    # A second entry would come in any order: equal runs leave equal bytes.
    save_file(weights, partial, metadata={"release_manifest_sha256": job.manifest_sha256})
    partial.replace(Path(job.out_dir, job.weights))


def write_features(job: Job) -> None:
    """Embed the tested samples with the published weights, loaded as anyone would load them.

    Writes features.npz: key string[n], image and text float32[n, d], rows of unit length.
    """
    model: Any
    transform: Any
    model, _, transform = open_clip.create_model_and_transforms(
        job.model, pretrained=str(Path(job.out_dir, job.weights)), force_image_size=job.image_size, device=job.device
    )
    model.eval()
    say(parameters=sum(parameter.numel() for parameter in model.parameters()), threads=torch.get_num_threads())
    tokenizer = open_clip.get_tokenizer(job.model)
    keys, images, texts = [], [], []
    with torch.inference_mode():
        for batch in _tested_batches(job):
            keys += [key for key, _, _ in batch]
            pictures = torch.stack([transform(picture) for _, picture, _ in batch]).to(job.device)
            images.append(model.encode_image(pictures, normalize=True).cpu().numpy())
            captions = tokenizer([caption for _, _, caption in batch]).to(job.device)
            texts.append(model.encode_text(captions, normalize=True).cpu().numpy())
    np.savez(Path(job.out_dir, "features.npz"), key=keys, image=np.concatenate(images), text=np.concatenate(texts))


def _tested_batches(job: Job) -> Any:
    tested = set(job.tested)
    return wds.DataPipeline(
        wds.SimpleShardList(job.shards),
        wds.tarfile_to_samples(handler=strict),  # type: ignore[call-arg]
        wds.select(lambda sample: sample[KEY] in tested),
        wds.decode("pilrgb", handler=strict),
        wds.to_tuple(KEY, IMAGES, TEXTS),
        wds.batched(job.batch_size, collation_fn=None),
    )


def run_job(path: str) -> None:
    """Train, or go on training, and embed the held-out samples."""
    job = Job(**json.loads(Path(path).read_text()))
    if job.threads:
        torch.set_num_threads(job.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    open_clip.add_model_config(job.model_configs)
    adapt_open_clip(job, Journal(Path(job.out_dir, "metrics.jsonl")))
    main.main(job.arguments)
    if PROCESSES > 1:
        torch.distributed.destroy_process_group()
    if PROCESS:
        return
    logging.info("Embedding the held-out samples.")
    write_weights(job)
    write_features(job)


if __name__ == "__main__":
    sys.excepthook = say_error
    end_with_parent()
    run_job(sys.argv[1])
