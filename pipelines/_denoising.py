"""The arithmetic of the diffusion model: pictures as tensors, the UNet, noise, the loss, and sampling.

All of it is diffusers' own: the UNet, the DDPM schedule that noises, the DDIM schedule that samples. Needs torch and
diffusers, so it is imported by the trainer's process and when a model is loaded, never by the command line itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DConditionModel  # type: ignore[attr-defined]
from PIL import Image

from ..schemas.diffusion_config import DiffusionConfig
from ..schemas.errors import ConfigError
from ._clip_model import ClipModel

GROUPS, HEADS = 8, 4  # of the UNet's normalisation and attention: channels are multiples of 8


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads of torch for a while: sums round differently with another number."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class TextEncoder:
    """The text tower of a CLIP model: what the UNet attends to.

    It gives the states of all tokens after the last norm, as Stable Diffusion takes them, and not the one pooled vector:
    attention over a single token would be a constant, and pooling is trained to forget what does not tell pictures apart.
    """

    def __init__(self, clip: ClipModel, device: str = "cpu"):
        model, _ = clip.load()
        if not hasattr(model, "forward_intermediates"):
            raise ConfigError("train.model", f"is {Path(clip.architecture).stem}, whose text tower shows no token states",
                              "an architecture of open_clip's own towers")  # fmt: skip
        self._model = model.to(device).requires_grad_(False)
        self._tokenize = open_clip.get_tokenizer(Path(clip.architecture).stem)
        self._device = device
        self.width = self(["a"]).shape[-1]

    def __call__(self, captions: Sequence[str]) -> torch.Tensor:
        """float32[n, tokens, width] of n captions."""
        tokens = self._tokenize(list(captions)).to(self._device)
        with torch.no_grad():
            said = self._model.forward_intermediates(
                text=tokens, text_indices=1, normalize_intermediates=True, intermediates_only=True
            )
        return said["text_intermediates"][-1].float()


def new_unet(config: DiffusionConfig, text_width: int) -> Any:
    """A UNet2DConditionModel with random weights, from torch's generator."""
    levels = len(config.block_channels)
    plain = levels - config.attention_levels
    return UNet2DConditionModel(
        sample_size=config.image_size,
        in_channels=3,
        out_channels=3,
        down_block_types=("DownBlock2D",) * plain + ("CrossAttnDownBlock2D",) * config.attention_levels,
        up_block_types=("CrossAttnUpBlock2D",) * config.attention_levels + ("UpBlock2D",) * plain,
        block_out_channels=config.block_channels,
        layers_per_block=config.layers,
        norm_num_groups=GROUPS,
        attention_head_dim=HEADS,  # diffusers takes this for the number of heads
        cross_attention_dim=text_width,
    )


def new_schedule(config: DiffusionConfig) -> Any:
    """The forward process."""
    return DDPMScheduler(
        num_train_timesteps=config.noise_steps,
        beta_schedule="squaredcos_cap_v2",
        prediction_type=config.prediction,
        timestep_spacing="trailing",  # sampling starts from pure noise, as training ends (Lin et al. 2024)
    )


def as_tensor(picture: Image.Image, side: int) -> torch.Tensor:
    """float32[3, side, side] from -1 to 1: the middle of a picture, scaled."""
    picture = picture.convert("RGB")
    edge = min(picture.size)
    left, top = ((length - edge) // 2 for length in picture.size)
    box = (left, top, left + edge, top + edge)
    scaled = picture.resize((side, side), Image.Resampling.BICUBIC, box, reducing_gap=3.0)
    return torch.from_numpy(np.array(scaled)).permute(2, 0, 1).float() / 127.5 - 1


def as_picture(pixels: torch.Tensor) -> Image.Image:
    """The reverse of ``as_tensor``, without what was cropped."""
    levels = ((pixels.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0)
    return Image.fromarray(levels.cpu().numpy())


def noise(shape: Sequence[int], *key: int) -> torch.Tensor:
    """float32 normal noise that is a function of its key alone, the same on every device."""
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed))


def denoising_loss(
    unet: Any, schedule: Any, clean: torch.Tensor, noise: torch.Tensor, steps: torch.Tensor, text: torch.Tensor
) -> torch.Tensor:
    """float32[n]: mean squared error of what the UNet says of n pictures noised to the given steps of the schedule."""
    noised = schedule.add_noise(clean, noise, steps)
    said = unet(noised, steps, text).sample.float()
    wanted = noise if schedule.config.prediction_type == "epsilon" else schedule.get_velocity(clean, noise, steps)
    return (said - wanted).square().mean(dim=(1, 2, 3))


@torch.inference_mode()
def sample(unet: Any, schedule: Any, encoder: TextEncoder, captions: Sequence[str], start: torch.Tensor,
           steps: int, guidance: float) -> torch.Tensor:  # fmt: skip
    """Pictures from noise by DDIM (Song et al. 2021), led to their captions by guidance (Ho and Salimans 2022).

    Args:
        captions: n.
        start: float32[n, 3, side, side], noise. All else is fixed.
        steps: of denoising.
        guidance: 1 follows the caption as trained; more exaggerates what it changes.

    Returns:
        float32[n, 3, side, side], from -1 to 1.
    """
    ddim: Any = DDIMScheduler.from_config(schedule.config, clip_sample=True)
    ddim.set_timesteps(steps)
    text = torch.cat([encoder(captions), encoder([""]).expand(len(captions), -1, -1)])
    pixels = start.to(text.device)
    for step in ddim.timesteps:
        led, free = unet(torch.cat([pixels, pixels]), step, text).sample.float().chunk(2)
        pixels = ddim.step(free + guidance * (led - free), step, pixels).prev_sample
    return pixels
