"""What the diffusion trainer is shown: pictures and captions of the shards, batch by batch, as a stream."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import webdataset as wds

from ..schemas.diffusion_config import DiffusionConfig
from ._denoising import as_tensor
from ._in_trainer import IMAGES, KEY, TEXTS, strict

_SHUFFLED = 1000  # samples in memory, as they are in the shards, from which the next is drawn


def batches(
    shards: list[str],
    wanted: Callable[[str], bool],
    config: DiffusionConfig,
    rng: random.Random | None = None,
    plant: Callable[[Iterable[Any]], Iterator[Any]] = iter,
) -> Iterator[tuple[torch.Tensor, list[str]]]:
    """Samples of shards, read as a stream.

    Args:
        shards: relative to the working directory: webdataset would expand special characters of an absolute path.
        wanted: says of a key whether its sample is.
        config: says how many are a batch; the last may have fewer.
        rng: shuffles; without one they come as in the shards.
        plant: puts further samples among those read.

    Yields:
        float32[n, 3, side, side] and n captions.
    """
    stream = wds.DataPipeline(
        wds.SimpleShardList(shards),
        wds.tarfile_to_samples(handler=strict),  # type: ignore[call-arg]
        plant,
        wds.select(lambda sample: wanted(sample[KEY])),
        *([] if rng is None else [wds.shuffle(_SHUFFLED, initial=_SHUFFLED, rng=rng)]),
        wds.decode("pilrgb", handler=strict),
        wds.to_tuple(IMAGES, TEXTS),
        wds.batched(config.batch_size, collation_fn=None),
    )
    for batch in stream:
        pictures = [as_tensor(picture, config.image_size) for picture, _ in batch]
        yield torch.stack(pictures), [caption for _, caption in batch]
