"""What training on few pairs may add to open_clip's loop; all of it is off unless the config asks for it.

- Words left out of captions, at random, as text augmentation: the caption differs from epoch to epoch.
- A loss on pictures alone, as in SLIP (Mu et al. 2021, https://arxiv.org/abs/2112.12750), one half of what DeCLIP
  (Li et al. 2021, https://arxiv.org/abs/2110.05208) adds: two views of each picture are cut and coloured at random,
  and SimCLR's loss (Chen et al. 2020, https://arxiv.org/abs/2002.05709) asks the image tower to tell which two come
  from the same picture. The augmentation is open_clip's own, so there is no blur and no mirror image.

The loop stays open_clip's: the transform of pictures gives three pictures in place of one, the model's training pass
gives two more features, and the loss takes them. Nothing of this is in the published weights.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import open_clip
import torch
from open_clip.transform import AugmentationCfg, PreprocessCfg, image_transform_v2
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

PROJECTION = "self_supervision"
_TEMPERATURE, _PROJECTED = 0.1, 128  # of SLIP, and of SimCLR
# SLIP's own, appendix A: crops of 8 % to 100 %, colours changed for four of five views, one in five grey.
_VIEW = AugmentationCfg(
    scale=(0.08, 1.0), color_jitter=(0.4, 0.4, 0.4, 0.1), color_jitter_prob=0.8, gray_scale_prob=0.2
)


def fewer_words(caption: str, share: float) -> str:
    """A caption without a random share of its words, at least one of which stays.

    Words are what white space divides: a caption in a script without spaces is one word, and stays.
    """
    words = caption.split()
    kept = [word for word in words if random.random() >= share]
    return " ".join(kept or [random.choice(words)]) if words else caption


def drop_words(tokenizer: Callable[[str], torch.Tensor], share: float) -> Callable[[str], torch.Tensor]:
    """A tokenizer of captions that lose a share of their words, drawn anew each time."""
    return lambda caption: tokenizer(fewer_words(caption, share))


def with_views(create: Callable[..., Any]) -> Callable[..., Any]:
    """open_clip's ``create_model_and_transforms``, with a training transform and pass that also make two views.

    In training the model takes float[n, 3, c, h, w]: the picture as it would be without this, and two views.
    """

    def made(name: str, *args: Any, **rest: Any) -> Any:
        model, train_transform, test_transform = create(name, *args, **rest)
        view: Any = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=True, aug_cfg=_VIEW)
        _see_views(model, (open_clip.get_model_config(name) or {})["embed_dim"])
        return (
            model,
            lambda picture: torch.stack([train_transform(picture), view(picture), view(picture)]),
            test_transform,
        )

    return made


def _see_views(model: Any, width: int) -> None:
    weights = next(model.visual.parameters())
    layers = (nn.Linear(width, width), nn.ReLU(), nn.Linear(width, _PROJECTED))
    setattr(model, PROJECTION, nn.Sequential(*layers).to(weights.device, weights.dtype))
    forward = model.forward

    def forward_with_views(images: torch.Tensor, texts: torch.Tensor) -> dict[str, torch.Tensor]:
        if not model.training:
            return forward(images, texts)
        own, *views = images.unbind(1)
        found = forward(own, texts)
        with _running_statistics_kept(model):
            seen = getattr(model, PROJECTION)(model.encode_image(torch.cat(views)))
        return found | dict(zip(("first_view", "second_view"), seen.chunk(2), strict=True))

    model.forward = forward_with_views


@contextmanager
def _running_statistics_kept(model: nn.Module) -> Iterator[None]:
    """Batch normalisation by the batch, as ever in training, but what it will use in testing is left alone.

    Else the model would be tested with the colours and crops of views that no test picture has.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    yield
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


class WithViews(nn.Module):
    """open_clip's loss, and beside it the loss of the views times a weight."""

    def __init__(self, loss: nn.Module, weight: float):
        super().__init__()
        self._loss, self._weight = loss, weight

    def forward(self, first_view: torch.Tensor, second_view: torch.Tensor, **rest: Any) -> dict[str, torch.Tensor]:
        return self._loss(**rest) | {f"{PROJECTION}_loss": self._weight * same_picture_loss(first_view, second_view)}


def same_picture_loss(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """SimCLR's NT-Xent: which of the other 2 n - 1 views is of the same picture?

    Args:
        first, second: float[n, d], views of picture i at place i; the other pictures are those of this process.

    Returns: a scalar, in nats; ln(2 n - 1) is what guessing costs.
    """
    views = functional.normalize(torch.cat([first, second]).float(), dim=-1)
    scores = (views @ views.T / _TEMPERATURE).fill_diagonal_(-torch.inf)
    places = torch.arange(len(views), device=views.device)
    return functional.cross_entropy(scores, places.roll(len(first)))
