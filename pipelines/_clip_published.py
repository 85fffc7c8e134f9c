"""What the CLIP trainer leaves at its end: weights, and what they make of the held-out samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import open_clip
import torch
import webdataset as wds
from safetensors.torch import save_file

from ._clip_options import PROJECTION
from ._in_trainer import IMAGES, KEY, TEXTS, say, strict

if TYPE_CHECKING:
    from ._clip_trainer import Job


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
