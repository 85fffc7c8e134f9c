"""What a trained CLIP model makes of released samples: its vectors of their pictures and of their captions."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..schemas.errors import MissingExtra, ReleaseError, StageError
from ._clip_model import of_run
from ._released import IMAGE_SUFFIXES, Sample
from ._shards import read_samples
from ._trained import Trained

_BATCH = 64
Vectors = npt.NDArray[np.float32]


def check_installed() -> None:
    """Raise MissingExtra where [train] is not installed."""
    for module in ("torch", "open_clip"):
        if find_spec(module) is None:
            raise MissingExtra(extra="train", verb="audit", module=module)


def embed(run: Trained, samples: list[Sample]) -> tuple[Vectors, Vectors]:
    """Vectors of pictures and captions, by the run's last checkpoint, loaded as anyone would load it.

    Args:
        run: the model and its release.
        samples: of that release.

    Returns:
        float32[n, d] of the pictures and float32[n, d] of the captions, in the order of ``samples``, rows of
        unit length.

    Raises:
        ReleaseError: a picture is not the one that was hashed before.
        StageError: the checkpoint cannot be loaded, a picture not be decoded, or the vectors are no numbers.
    """
    import torch

    with _threads_of(run), torch.inference_mode():
        return _embedded(run, samples)


def embed_others(run: Trained, pictures: list[Image.Image], captions: list[str]) -> tuple[Vectors, Vectors]:
    """As ``embed``, of pictures and captions that no release holds.

    Args:
        run: the model.
        pictures: RGB, n of them.
        captions: m of them.

    Returns:
        float32[n, d] and float32[m, d], rows of unit length.
    """
    import open_clip
    import torch

    with _threads_of(run), torch.inference_mode():
        model, transform = of_run(run.folder, run.record).load()
        images = [
            model.encode_image(torch.stack([transform(each) for each in some]), normalize=True).numpy()
            for some in _some(pictures)
        ]
        texts = _texts(model, open_clip.get_tokenizer(run.config.model), captions)
    return _finite(run, np.concatenate(images)), _finite(run, texts)


def _embedded(run: Trained, samples: list[Sample]) -> tuple[Vectors, Vectors]:
    import open_clip
    import torch

    model, transform = of_run(run.folder, run.record).load()
    tokenizer = open_clip.get_tokenizer(run.config.model)
    rows = {sample.key: number for number, sample in enumerate(samples)}
    images: list[Any] = [None] * len(samples)
    texts = _texts(model, tokenizer, [sample.caption for sample in samples])
    for keys, pictures in _batches(run, samples, transform):
        for key, vector in zip(keys, model.encode_image(torch.stack(pictures), normalize=True).numpy(), strict=True):
            images[rows[key]] = vector
    return _finite(run, np.stack(images)), _finite(run, texts)


def _texts(model: Any, tokenizer: Any, captions: list[str]) -> Vectors:
    return np.concatenate([model.encode_text(tokenizer(some), normalize=True).numpy() for some in _some(captions)])


def _finite(run: Trained, vectors: Vectors) -> Vectors:
    if not np.isfinite(vectors).all():
        raise StageError(str(run.checkpoint), "gives vectors that are no numbers", "finite ones", "Train it anew")
    return vectors


def _some(values: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(values), _BATCH):
        yield values[start : start + _BATCH]


@contextmanager
def _threads_of(run: Trained) -> Iterator[None]:
    """As many as it was trained with: sums round differently with another number."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, int(run.record.get("threads", 1))))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _batches(run: Trained, samples: list[Sample], transform: Any) -> Iterator[tuple[list[str], list[Any]]]:
    keys, pictures = [], []
    for key, picture in _pictures(run, samples):
        keys.append(key)
        pictures.append(transform(picture))
        if len(keys) == _BATCH:
            yield keys, pictures
            keys, pictures = [], []
    if keys:
        yield keys, pictures


def _pictures(run: Trained, samples: list[Sample]) -> Iterator[tuple[str, Image.Image]]:
    """Pictures of the samples, in the order of the shards."""
    wanted = {sample.key: sample for sample in samples}
    for shard in sorted({sample.shard for sample in samples}):
        path = run.release.folder / shard
        with path.open("rb") as file:
            for found in read_samples(file, str(path)):
                if sample := wanted.pop(found.key, None):
                    yield sample.key, _picture(found.parts, sample, f"{path}: {sample.key}")
    if wanted:
        raise ReleaseError(str(run.release.folder), f"lacks the sample '{min(wanted)}'", "the samples read before")


def _picture(parts: dict[str, bytes], sample: Sample, where: str) -> Image.Image:
    data = next((parts[suffix] for suffix in IMAGE_SUFFIXES if suffix in parts), b"")
    if hashlib.sha256(data).hexdigest() != sample.picture_sha256:
        raise ReleaseError(where, "changed while it was audited", "the picture that was hashed before")
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise StageError(where, f"cannot be decoded ({error})", "a picture") from error
