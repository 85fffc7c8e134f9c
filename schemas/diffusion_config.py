"""The `diffusion` section of a config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class DiffusionConfig:
    """How the diffusion model is trained.

    There is no key for a checkpoint: the denoiser starts from random weights, and captions are read by the text tower of
    the CLIP run in the job's ``run_dir``, trained on the same release. The pairs held out are those of that run.

    Attributes:
        image_size: side of its pictures in pixels; each is cropped to its middle and scaled.
        block_channels: of the UNet's levels, each half as wide and high as the one before.
        layers: residual blocks in each level.
        attention_levels: how many of the lowest levels attend to the caption; the middle always does.
        prediction: what the UNet says of a noised picture: its noise, or v = a noise - b picture (Salimans and Ho 2022).
        noise_steps: of the forward process, whose noise follows a cosine (Nichol and Dhariwal 2021).
        epochs, batch_size, lr, weight_decay, seed: of AdamW, as in ``train``.
        warmup: steps of linear warm-up before the cosine decay.
        max_grad_norm: longer gradients are shortened to it.
        caption_dropout: share of the captions replaced by the empty one, so that guidance has something to lead away from.
        ema_decay: of the moving average of the weights, which is what is tested and published.
        sample_every: epochs between two grids of samples; the last epoch draws one in any case.
        sampling_steps, guidance: of those grids, and of ``fairshard generate`` unless told otherwise.
        device: ``auto`` takes a GPU that CUDA finds.
        precision: ``bf16`` computes activations so; weights and losses stay in fp32.
        threads: of torch on the CPU; its own choice if 0. Sums round differently with another number.
        canaries: invented pairs planted among those trained on, to measure what the model keeps; none by default.
        canary_repeats: how often each canary is shown in an epoch.
    """

    image_size: int = 32
    block_channels: tuple[int, ...] = (32, 64, 128)
    layers: int = 1
    attention_levels: int = 1
    prediction: Literal["epsilon", "v_prediction"] = "v_prediction"
    noise_steps: int = 1000
    epochs: int = 40
    batch_size: int = 32
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup: int = 50
    max_grad_norm: float = 1.0
    caption_dropout: float = 0.1
    ema_decay: float = 0.999
    sample_every: int = 10
    sampling_steps: int = 25
    guidance: float = 3.0
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: int = 1
    canaries: int = 0
    canary_repeats: int = 100
