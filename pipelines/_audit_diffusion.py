"""What a diffusion model kept: replicas among its pictures, canaries that come out, and membership by its losses.

The loss of a pair, over the same noise and noise levels for every pair, is the score of the membership attack: a model
denoises better what it was trained on. Source: Carlini et al., "Extracting Training Data from Diffusion Models" (USENIX
Security 2023), section 5; Matsumoto et al., "Membership Inference Attacks against Diffusion Models" (2023).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..schemas.audit_config import AuditConfig
from ..schemas.config import Job
from ..schemas.errors import MissingExtra
from ..udfs.membership import Attack, attack
from . import _canaries, _copy_model
from . import _replication_picture as picture
from ._audit_model import FEWEST, sides
from ._audit_repeats import repeats
from ._canaries import Canary
from ._copy_model import CopyModel
from ._diffusion_model import DiffusionModel, diffusion_record, load
from ._look_alike import MIN_QUALITY, PDQ_RADIUS, PHASH_RADIUS
from ._release import Release
from ._release_vectors import pictures_of
from ._released import Sample
from ._replication import Replication, asked, measure, trained_views
from ._trained import Trained, ended, held_out_keys

WRITES = ("replication.png", "replicas.png")
_SEED = 0
_AT_ONCE = 64
log = logging.getLogger("fairshard")


@dataclass(frozen=True)
class Kept:
    """What was measured of a diffusion run.

    Attributes:
        model: the generating one.
        copy_model: the comparing one.
        canaries: those planted.
        replication: None if there was nothing to compare with.
        attack: None if there were too few pairs.
        views: the nearest trained pictures, by key.
    """

    model: DiffusionModel
    copy_model: CopyModel
    canaries: list[Canary]
    replication: Replication | None
    attack: Attack | None
    views: dict[str, Image.Image]

    def said(self) -> dict[str, Any]:
        """For the record of the audit."""
        config = self.model.config
        return {
            "run": self.model.record.get("fingerprint"),
            "weights": self.model.sha256,
            "copy_model": self.copy_model.said(),
            "seed": _SEED,
            "steps": config.sampling_steps,
            "guidance": config.guidance,
            "attack": None if self.attack is None else asdict(self.attack),
        }


@dataclass(frozen=True)
class NotAudited:
    """A diffusion run that this audit cannot be of.

    Attributes:
        reason: in words.
    """

    reason: str

    def said(self) -> dict[str, Any]:
        """For the record of the audit."""
        return {"not_audited": self.reason}


def measure_run(job: Job, trained: Trained, near: set[str]) -> Kept | NotAudited | None:
    """Generate from captions of both sides and of the canaries, and compare; None if there is no finished run.

    A run on another release, or one that held out other pairs, is not measured: what is left from before a new release
    says nothing of this one, and is no reason to leave the CLIP run unaudited.

    Args:
        job: whose ``diffusion_dir`` is looked at.
        trained: the CLIP run of the same release, which held out the same pairs.
        near: keys of samples that nearly are on both sides.

    Raises:
        MissingExtra: [train] is not installed.
        ReleaseError: its files are not what training writes.
        Refused: its text tower is not the one that its record names.
        StageError: a model cannot be loaded, or fails.
    """
    limits, folder = job.config.audit, Path(job.diffusion_dir)
    if not ended(folder):
        return None
    if find_spec("diffusers") is None:
        raise MissingExtra(extra="train", verb="audit", module="diffusers")
    other = _other(folder, trained)
    if other is not None:
        log.warning("audit: %s is not audited: %s", folder, other.reason)
        return other
    model = load(folder, job.release_dir)
    copy_model = _copy_model.load(job.path(limits.copy_model) if limits.copy_model else job.run_dir, limits.copy_side)
    planted = _canaries.of_record(model.record)
    copies = repeats(Release(job.release_dir), trained.split.trained)
    return kept(trained, near, copies, model, copy_model, planted, limits)


def _other(folder: Path, trained: Trained) -> NotAudited | None:
    """Why a run is not of this release and this split; None if it is."""
    on, this = diffusion_record(folder)["release"]["manifest_sha256"], trained.release.manifest_sha256
    again = "train it again to have it audited"
    if on != this:
        return NotAudited(f"the diffusion run is of another release, of manifest {on[:16]}, not {this[:16]}; {again}")
    if held_out_keys(folder / "held_out.txt") != {sample.key for sample in trained.split.held_out}:
        return NotAudited(f"the diffusion run held out other pairs than the CLIP run; {again}")
    return None


def kept(
    trained: Trained,
    near: set[str],
    copies: Mapping[str, int],
    model: DiffusionModel,
    copy_model: CopyModel,
    planted: list[Canary],
    limits: AuditConfig,
) -> Kept:
    """As ``measure_run``, of a model that is loaded."""
    times = (model.record.get("canaries") or {}).get("repeats", 0)
    captions = asked(trained.split, near, copies, planted, times, limits.generated)
    texts = [each.caption for each in captions]
    made = list(model.generate(texts, _SEED, model.config.sampling_steps, model.config.guidance))
    found = measure(trained, near, planted, captions, made, copy_model, _view(model.image_size),
                    limits.replicated_false_positives, PDQ_RADIUS, PHASH_RADIUS, MIN_QUALITY)  # fmt: skip
    views = {} if found is None else trained_views(trained, found.near.keys, planted, _view(model.image_size))
    return Kept(model, copy_model, planted, found, _membership(trained, near, model, limits), views)


def draw(kept: Kept | NotAudited | None) -> dict[str, bytes]:
    """``WRITES`` as PNG, by name; none where nothing was measured."""
    if not isinstance(kept, Kept) or kept.replication is None:
        return {}
    replicas = kept.replication
    return dict(zip(WRITES, (picture.draw(replicas), picture.draw_matches(replicas, kept.views)), strict=True))


def _membership(trained: Trained, near: set[str], model: DiffusionModel, limits: AuditConfig) -> Attack | None:
    members, others, _ = sides(trained.split, near, limits.max_pairs)
    if len(others) < FEWEST:
        return None
    known, unknown = (-losses(trained, model, side, limits.loss_draws) for side in (members, others))
    return attack(known, unknown, model.config.seed)


def losses(trained: Trained, model: DiffusionModel, samples: list[Sample], draws: int) -> npt.NDArray[np.float32]:
    """float32[n]: denoising losses of released pairs, in the order of ``samples``."""
    captions = {sample.key: sample.caption for sample in samples}
    found: dict[str, float] = {}
    waiting: list[tuple[str, Image.Image]] = []

    def look() -> None:
        values = model.losses([picture for _, picture in waiting], [captions[key] for key, _ in waiting], _SEED, draws)
        found.update(zip((key for key, _ in waiting), values.tolist(), strict=True))
        waiting.clear()

    for each in pictures_of(trained.release.folder, samples):
        waiting.append(each)
        if len(waiting) == _AT_ONCE:
            look()
    if waiting:
        look()
    return np.array([found[sample.key] for sample in samples], np.float32)


def _view(side: int) -> Any:
    from ._denoising import as_picture, as_tensor

    return lambda picture: as_picture(as_tensor(picture, side))
