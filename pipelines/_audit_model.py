"""What a CLIP model kept of single pairs: how much better it ties a caption it has seen to its own picture.

Both sides of the split were chosen by the same hash, so without memorisation a trained and a held-out pair are
alike, and no score tells them apart (AUC 0.5). To keep it so, pairs whose picture comes twice, or nearly is one
across the split, are compared on neither side, both sides give as many pairs, and all compete with the same captions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from ..schemas.audit_config import AuditConfig
from ..udfs.membership import FALSE_POSITIVES, Attack, Ties, attack, exceeded_by, ties
from ._audit_row import Row, over, row
from ._clip_embed import embed
from ._held_out import Split, spoken
from ._released import Sample
from ._trained import Trained

# With fewer on a side the interval of the AUC says nothing.
FEWEST = 20
_LISTED = 20
_SHOWN_CHARS = 120


@dataclass(frozen=True)
class Memory:
    """What was measured.

    Attributes:
        trained: pairs shown to the model, the first ``len(held_out)`` of them compared with the held-out ones.
        held_out: pairs it was not trained on.
        captions: the candidates, distinct.
        trained_ties, held_out_ties: of each of these pairs.
        attacks: by the name of the score.
    """

    trained: list[Sample]
    held_out: list[Sample]
    captions: list[str]
    trained_ties: Ties
    held_out_ties: Ties
    attacks: dict[str, Attack]


def measure(run: Trained, near: Collection[str], most: int) -> Memory | None:
    """Show the model both sides.

    Args:
        run: the model.
        near: keys of samples that have a near-duplicate on the other side.
        most: pairs of each side.

    Returns:
        None if there are too few pairs to tell.
    """
    compared, held_out, rest = sides(run.split, near, most)
    size, samples = len(held_out), [*compared, *held_out, *rest]
    first = {spoken(sample.caption): n for n, sample in reversed([*enumerate(samples[: 2 * size])])}
    if size < FEWEST or len(first) < 2:
        return None
    images, texts = embed(run, samples)
    captions = sorted(first)
    candidates = texts[[first[caption] for caption in captions]]
    is_own = np.array([spoken(sample.caption) for sample in samples])[:, None] == np.array(captions)
    found = ties((images * texts).sum(axis=1), images @ candidates.T, is_own)
    on_held_out, on_trained = found[np.arange(size, 2 * size)], found[np.r_[:size, 2 * size : len(samples)]]
    alike = on_trained[np.arange(size)]
    attacks = {
        "similarity": attack(alike.own, on_held_out.own, run.config.seed),
        "margin": attack(alike.margin, on_held_out.margin, run.config.seed),
    }
    return Memory([*compared, *rest], held_out, captions, on_trained, on_held_out, attacks)


def rows(memory: Memory | None, limits: AuditConfig, pair_ids: Mapping[str, int]) -> list[Row]:
    """Rows of ``audit``: both scores, the share of memorised pairs, and those pairs or at least the most tied ones."""
    if memory is None:
        detail = f"not measured: fewer than {FEWEST} pairs that can be compared on a side, or a single caption"
        return [row("membership", "margin", None, limits.max_membership_auc, False, detail)]
    found = [_attack_row(name, attack, limits.max_membership_auc) for name, attack in memory.attacks.items()]
    threshold = exceeded_by(memory.held_out_ties.margin, limits.memorised_false_positives)
    chance = float((memory.held_out_ties.margin > threshold).mean())
    margins = memory.trained_ties.margin
    memorised = int((margins > threshold).sum())
    share = memorised / len(margins)
    detail = (
        f"{memorised} of {len(margins)} trained pairs lead by more than {threshold:.3f}; of the held-out, {chance:.1%}"
    )
    found.append(row("memorised", "all", share, limits.max_memorised, over(share, limits.max_memorised), detail))
    for place in np.argsort(-margins, kind="stable")[: max(memorised, _LISTED)]:
        sample, margin = memory.trained[place], float(margins[place])
        detail = f"rank {memory.trained_ties.rank[place]}: {_shown(sample.caption)}; nearest other: " + _shown(
            memory.captions[memory.trained_ties.nearest[place]]
        )
        pair_id = pair_ids[sample.key]
        found.append(row("memorised", sample.key, margin, threshold, over(margin, threshold), detail, pair_id))
    return found


def sides(split: Split, near: Collection[str], most: int) -> tuple[list[Sample], list[Sample], list[Sample]]:
    """Trained and held-out pairs to compare, as many of each, and trained ones that are only looked at."""
    times = Counter(sample.picture_sha256 for side in (split.trained, split.held_out) for sample in side)

    def alone(sample: Sample) -> bool:
        return times[sample.picture_sha256] == 1 and sample.key not in near

    compared, held_out = ([sample for sample in side if alone(sample)][:most] for side in (split.trained, split.tested))
    size = min(len(compared), len(held_out))
    taken = {sample.key for sample in compared[:size]}
    rest = [sample for sample in split.trained if sample.key not in taken]
    return compared[:size], held_out[:size], rest[: most - size]


def _attack_row(name: str, attack: Attack, limit: float) -> Row:
    detail = (
        f"AUC {attack.auc:.3f} ({attack.low:.3f} to {attack.high:.3f}; chance 0.5) over {attack.members} trained and "
        f"{attack.others} held-out pairs; {attack.true_positives:.1%} of the trained at {attack.false_positives:.1%} "
        f"(at most {FALSE_POSITIVES:.0%}) false positives"
    )
    return row("membership", name, attack.auc, limit, over(attack.low, limit), detail)


def _shown(caption: str) -> str:
    return repr(caption if len(caption) <= _SHOWN_CHARS else caption[:_SHOWN_CHARS] + "...")
