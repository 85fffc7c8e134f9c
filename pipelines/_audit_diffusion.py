"""What a diffusion model kept: replicas among its pictures, canaries that come out, and membership by its losses.

The loss of a pair, over the same noise and noise levels for every pair, is the score of the membership attack: a model
denoises better what it was trained on. Source: Carlini et al., "Extracting Training Data from Diffusion Models" (USENIX
Security 2023), section 5; Matsumoto et al., "Membership Inference Attacks against Diffusion Models" (2023).
"""

from __future__ import annotations

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
from ..udfs.membership import FALSE_POSITIVES, Attack, attack
from . import _canaries, _copy_model
from . import _replication_picture as picture
from ._audit_model import FEWEST, sides
from ._audit_row import Row, over, row
from ._canaries import Canary
from ._copy_model import CopyModel
from ._diffusion_model import DiffusionModel, load
from ._look_alike import MIN_QUALITY, PDQ_RADIUS
from ._release_vectors import pictures_of
from ._released import Sample
from ._replication import CANARY, HELD_OUT, TRAINED, Replication, asked, measure, trained_views
from ._trained import Trained, check_held_out, ended

WRITES = ("replication.png", "replicas.png")
_SEED = 0
_AT_ONCE = 64
_SHOWN_CHARS = 80
_BINS = ((1, 1), (2, 9), (10, 99), (100, None))


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


def measure_run(job: Job, trained: Trained, near: set[str]) -> Kept | None:
    """Generate from captions of both sides and of the canaries, and compare; None if there is no finished run.

    Args:
        job: whose ``diffusion_dir`` is looked at.
        trained: the CLIP run of the same release, which held out the same pairs.
        near: keys of samples that nearly are on both sides.

    Raises:
        MissingExtra: [train] is not installed.
        ReleaseError: a run on another release, or one that held out other samples.
        StageError: a model cannot be loaded, or fails.
    """
    limits, folder = job.config.audit, Path(job.diffusion_dir)
    if not ended(folder):
        return None
    if find_spec("diffusers") is None:
        raise MissingExtra(extra="train", verb="audit", module="diffusers")
    check_held_out(folder / "held_out.txt", trained.split)
    model = load(folder, job.release_dir)
    copy_model = _copy_model.load(job.path(limits.copy_model) if limits.copy_model else job.run_dir, limits.copy_side)
    planted = _canaries.of_record(model.record)
    return kept(trained, near, model, copy_model, planted, limits)


def kept(
    trained: Trained,
    near: set[str],
    model: DiffusionModel,
    copy_model: CopyModel,
    planted: list[Canary],
    limits: AuditConfig,
) -> Kept:
    """As ``measure_run``, of a model that is loaded."""
    repeats = (model.record.get("canaries") or {}).get("repeats", 0)
    captions = asked(trained.split, near, planted, repeats, limits.generated)
    texts = [each.caption for each in captions]
    made = list(model.generate(texts, _SEED, model.config.sampling_steps, model.config.guidance))
    found = measure(trained, near, planted, captions, made, copy_model, _view(model.image_size),
                    limits.replicated_false_positives, PDQ_RADIUS, MIN_QUALITY)  # fmt: skip
    views = {} if found is None else trained_views(trained, found.near.keys, planted, _view(model.image_size))
    return Kept(model, copy_model, planted, found, _membership(trained, near, model, limits), views)


def draw(kept: Kept | None) -> dict[str, bytes]:
    """``WRITES`` as PNG, by name; none where nothing was measured."""
    if kept is None or kept.replication is None:
        return {}
    replicas = kept.replication
    return dict(zip(WRITES, (picture.draw(replicas), picture.draw_matches(replicas, kept.views)), strict=True))


def rows(kept: Kept | None, limits: AuditConfig, pair_ids: Mapping[str, int]) -> list[Row]:
    """Rows of ``audit``; none without a diffusion run."""
    if kept is None:
        return []
    found = [_attack_row(kept.attack, limits.max_membership_auc)]
    if kept.replication is None:
        detail = "not measured: no held-out picture to compare with, or none generated"
        return [*found, row("replication", "similarity", None, limits.max_replicated, False, detail)]
    replicas = kept.replication
    found += [_by_similarity(replicas, limits), _by_hash(replicas, limits), _by_copies(replicas)]
    if kept.canaries:
        found.append(_by_canary(replicas, limits))
    return [*found, *_singles(replicas, pair_ids)]


def _by_similarity(replicas: Replication, limits: AuditConfig) -> Row:
    of = replicas.of(TRAINED, HELD_OUT)
    share = float(replicas.by_similarity[of].mean())
    control = replicas.control.similarity
    detail = (
        f"{_of(replicas.by_similarity, of)} generated pictures are more alike to a trained one than "
        f"{replicas.threshold:.4f}; of held-out pictures {(control > replicas.threshold).mean():.1%} are. "
        f"{_of(replicas.by_similarity, replicas.of(TRAINED))} from captions trained on, "
        f"{_of(replicas.by_similarity, replicas.of(HELD_OUT))} from held-out ones; median similarity "
        f"{np.median(replicas.near.similarity[of]):.4f}, of held-out pictures {np.median(control):.4f}"
    )
    return row("replication", "similarity", share, limits.max_replicated, over(share, limits.max_replicated), detail)


def _by_hash(replicas: Replication, limits: AuditConfig) -> Row:
    of = replicas.of(TRAINED, HELD_OUT)
    share, control = float(replicas.by_hash[of].mean()), float((replicas.control.bits <= replicas.radius).mean())
    detail = (
        f"{_of(replicas.by_hash, of)} generated pictures differ from a trained one in at most {replicas.radius} bits "
        f"of PDQ; of held-out pictures {control:.1%} do"
    )
    return row("replication", "pdq", share, limits.max_replicated, over(share, limits.max_replicated), detail)


def _by_copies(replicas: Replication) -> Row:
    copies = np.array([each.copies for each in replicas.asked])
    said = []
    for low, high in _BINS:
        of = (copies >= low) & (copies <= (high or copies.max()))
        if of.any():
            name = "once" if high == 1 else f"{low} to {high} times" if high else f"{low} times or more"
            said.append(f"{_of(replicas.by_similarity, of)} of pictures trained on {name}")
    often = copies > 1
    detail = "replicas by captions " + ", ".join(said)
    if not often.any():
        return row("replication", "duplicates", None, None, False, f"no picture was trained on twice; {detail}")
    return row("replication", "duplicates", float(replicas.by_similarity[often].mean()), None, False, detail)


def _by_canary(replicas: Replication, limits: AuditConfig) -> Row:
    of, extracted = replicas.of(CANARY), replicas.extracted
    share = float(extracted[of].mean())
    detail = f"{_of(extracted, of)} canaries come out of the diffusion model when it is given their caption"
    limit = limits.max_canaries_extracted
    return row("canary", "generated", share, limit, over(share, limit), detail)


def _singles(replicas: Replication, pair_ids: Mapping[str, int]) -> list[Row]:
    """A row for each generated picture whose nearest trained one is released, the most alike first."""
    found = []
    near = replicas.near
    for place in np.argsort(-near.similarity, kind="stable"):
        each, key = replicas.asked[place], near.keys[place]
        if key not in pair_ids or each.side == CANARY:
            continue
        finding = bool(replicas.by_similarity[place] or replicas.by_hash[place])
        own = "its own picture" if key == each.key else f"sample {key}"
        detail = (
            f"from the {each.side} caption of {each.key}, {each.caption[:_SHOWN_CHARS]!r}: nearest is {own}; "
            f"{near.bits[place]} bits of PDQ to the nearest by that"
        )
        found.append(row("replication", f"picture {place:04d}", float(near.similarity[place]), replicas.threshold,
                         finding, detail, pair_ids[key], pair_ids.get(each.key)))  # fmt: skip
    return found


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


def _attack_row(found: Attack | None, limit: float) -> Row:
    if found is None:
        detail = f"not measured: fewer than {FEWEST} pairs that can be compared on a side"
        return row("membership", "denoising loss", None, limit, False, detail)
    detail = (
        f"AUC {found.auc:.3f} ({found.low:.3f} to {found.high:.3f}; chance 0.5) over {found.members} trained and "
        f"{found.others} held-out pairs; {found.true_positives:.1%} of the trained at {found.false_positives:.1%} "
        f"(at most {FALSE_POSITIVES:.0%}) false positives"
    )
    return row("membership", "denoising loss", found.auc, limit, over(found.low, limit), detail)


def _view(side: int) -> Any:
    from ._denoising import as_picture, as_tensor

    return lambda picture: as_picture(as_tensor(picture, side))


def _of(which: npt.NDArray[np.bool_], of: npt.NDArray[np.bool_]) -> str:
    return f"{int(which[of].sum())} of {int(of.sum())}"
