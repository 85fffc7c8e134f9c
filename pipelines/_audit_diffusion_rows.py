"""Rows of ``audit`` about a diffusion run: what was measured, in numbers and words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..schemas.audit_config import AuditConfig
from ..udfs.membership import FALSE_POSITIVES, Attack
from ._audit_diffusion import Kept, NotAudited
from ._audit_model import FEWEST
from ._audit_row import Row, over, row
from ._replication import CANARY, HELD_OUT, TRAINED, Replication

_SHOWN_CHARS = 80
_BINS = ((1, 1), (2, 9), (10, 99), (100, None))


def rows(kept: Kept | NotAudited | None, limits: AuditConfig, pair_ids: Mapping[str, int]) -> list[Row]:
    """Rows of ``audit``; none without a diffusion run, and without a number for one that is not audited."""
    if kept is None:
        return []
    if isinstance(kept, NotAudited):
        detail = f"not measured: {kept.reason}"
        asked_for = (("membership", "denoising loss", limits.max_membership_auc),
                     ("replication", "similarity", limits.max_replicated))  # fmt: skip
        return [row(kind, subject, None, limit, False, detail) for kind, subject, limit in asked_for]
    found = [_attack_row(kept.attack, limits.max_membership_auc)]
    if kept.replication is None:
        detail = "not measured: no held-out picture to compare with, or none generated"
        return [*found, row("replication", "similarity", None, limits.max_replicated, False, detail)]
    replicas = kept.replication
    control, radii = replicas.control, (replicas.radius, replicas.phash_radius)
    found.append(_by_similarity(replicas, limits))
    found.append(_by_hash(replicas, "pdq", "PDQ", replicas.by_hash, control.bits, radii[0], limits))
    found.append(_by_hash(replicas, "phash", "pHash", replicas.by_phash, control.phash_bits, radii[1], limits))
    found.append(_by_copies(replicas))
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


def _by_hash(
    replicas: Replication, subject: str, name: str, same: npt.NDArray[np.bool_], control: npt.NDArray[np.int64],
    radius: int, limits: AuditConfig,
) -> Row:  # fmt: skip
    of = replicas.of(TRAINED, HELD_OUT)
    share, by_chance = float(same[of].mean()), float((control <= radius).mean())
    detail = (
        f"{_of(same, of)} generated pictures differ from a trained one in at most {radius} bits of {name}; of held-out "
        f"pictures {by_chance:.1%} do"
    )
    return row("replication", subject, share, limits.max_replicated, over(share, limits.max_replicated), detail)


def _by_copies(replicas: Replication) -> Row:
    copies = np.array([each.copies for each in replicas.asked])
    said = []
    for low, high in _BINS:
        of = (copies >= low) & (copies <= (high or copies.max()))
        if of.any():
            name = "once" if high == 1 else f"{low} to {high} times" if high else f"{low} times or more"
            said.append(f"{_of(replicas.by_similarity, of)} of pictures trained on {name}")
    often = copies > 1
    detail = "replicas by captions " + ", ".join(said) + "; near-duplicates count"
    if not often.any():
        none = f"no picture was trained on twice, nor nearly; {detail}"
        return row("replication", "duplicates", None, None, False, none)
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
        finding = bool(replicas.by_similarity[place] or replicas.by_hash[place] or replicas.by_phash[place])
        own = "its own picture" if key == each.key else f"sample {key}"
        detail = (
            f"from the {each.side} caption of {each.key}, {each.caption[:_SHOWN_CHARS]!r}: nearest is {own}; "
            f"{near.bits[place]} bits of PDQ and {near.phash_bits[place]} of pHash to the nearest by these"
        )
        found.append(row("replication", f"picture {place:04d}", float(near.similarity[place]), replicas.threshold,
                         finding, detail, pair_ids[key], pair_ids.get(each.key)))  # fmt: skip
    return found


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


def _of(which: npt.NDArray[np.bool_], of: npt.NDArray[np.bool_]) -> str:
    return f"{int(which[of].sum())} of {int(of.sum())}"
