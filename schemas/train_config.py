"""The `train` section of a config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Augmentation:
    """How training pictures are changed at random, by open_clip's own transform: its --aug-cfg.

    Attributes:
        scale: least and greatest share of the picture's area that is cut out.
        color_jitter: greatest change of brightness, contrast, saturation and hue.
        color_jitter_prob: share of the pictures whose colours are changed.
        gray_scale_prob: share of the pictures that are made grey.
    """

    scale: tuple[float, ...] = (0.9, 1.0)
    color_jitter: tuple[float, ...] = (0.4, 0.4, 0.4, 0.1)
    color_jitter_prob: float = 0.0
    gray_scale_prob: float = 0.0


@dataclass(frozen=True)
class TrainConfig:
    """How the model is trained; the defaults train in under a minute on two cores.

    Attributes:
        model: ``fairshard-tiny`` (a 64 px ResNet and a two-layer text transformer, 4.6 million parameters),
            or any architecture that open_clip has a config of. Never a checkpoint: training starts from
            random weights, so that the release is all the model has seen.
        epochs, batch_size, lr, weight_decay, seed: as open_clip's flags of these names.
        warmup: steps of linear warm-up before the cosine decay.
        image_size: side of the model's input in pixels; as the architecture says if not given.
        holdout_share: share of the pairs, by hash of their id, that is never trained on.
        canaries: invented pairs planted among the trained ones, so that the audit can measure what the model kept
            of them; the model then says so in its card. None by default.
        canary_repeats: how often each comes in an epoch, as if the release held so many copies of it.
        workers: processes that read shards, at most one a shard; 0 reads in the training process, which
            alone gives the same losses after a kill.
        threads: of torch; its own choice, by the number of cores, if 0. One by default, because sums round
            differently with another number, and the small model gains little from more.
    """

    model: str = "fairshard-tiny"
    epochs: int = 10
    batch_size: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.2
    warmup: int = 10
    seed: int = 0
    image_size: int | None = None
    holdout_share: float = 0.2
    canaries: int = 0
    canary_repeats: int = 100
    workers: int = 0
    threads: int = 1
    augmentation: Augmentation | None = None
    caption_dropout: float = 0.0
    self_supervision: float = 0.0
    device: str = "cpu"
    precision: Literal["fp32", "amp", "amp_bf16", "bf16", "fp16"] = "fp32"
    processes: int = 1
    accum_freq: int = 1
    grad_clip_norm: float | None = None
