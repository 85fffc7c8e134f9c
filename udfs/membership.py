"""How well one can tell trained pairs from held-out ones: a membership inference attack, and what chance gives.

Sources: Yeom et al., "Privacy Risk in Machine Learning" (CSF 2018), for the attack by a score; Ko et al., "Practical
Membership Inference Attacks Against Large-Scale Multi-Modal Models" (ICCV 2023), for cosine similarity as the score of
CLIP; Carlini et al., "Membership Inference Attacks From First Principles" (S&P 2022), for true positives at few false
ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RESAMPLES = 1000
FALSE_POSITIVES = 0.01

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Ties:
    """How a model ties pictures to their own captions, beside other captions.

    Attributes:
        own: float[n], similarity to the own caption.
        margin: float[n], own less the similarity to the nearest other caption.
        rank: int[n], of the own caption among all; 1 is the top. A tie counts against it.
        nearest: int[n], column of the nearest other caption.
    """

    own: Floats
    margin: Floats
    rank: npt.NDArray[np.int64]
    nearest: npt.NDArray[np.int64]

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> Ties:
        """Some of the rows."""
        return Ties(self.own[rows], self.margin[rows], self.rank[rows], self.nearest[rows])


@dataclass(frozen=True)
class Attack:
    """What a score gives away.

    Attributes:
        auc: odds that a trained pair scores higher than a held-out one; 0.5 is chance.
        low, high: 95 % interval of it, by bootstrap.
        true_positives: share of the trained that score above the threshold ``FALSE_POSITIVES`` allows.
        false_positives: share of the held-out that do. Chance gives the trained no more.
        members, others: how many were compared.
    """

    auc: float
    low: float
    high: float
    true_positives: float
    false_positives: float
    members: int
    others: int


def ties(own: Floats, scores: Floats, is_own: npt.NDArray[np.bool_]) -> Ties:
    """Each picture's own caption against the candidates.

    Args:
        own: float[n].
        scores: float[n, m], similarity to each candidate caption.
        is_own: bool[n, m], candidates that are the picture's own caption; they do not compete.
    Raises:
        ValueError: shapes differ, or a picture has no other candidate.
    """
    if scores.shape != is_own.shape or own.shape != scores.shape[:1] or is_own.all(axis=1).any():
        raise ValueError(f"own {own.shape}, scores {scores.shape}, is_own {is_own.shape}: each needs another candidate")
    others = np.where(is_own, -np.inf, scores)
    nearest = others.argmax(axis=1)
    rank = 1 + (others >= own[:, None]).sum(axis=1)
    return Ties(own, own - others.max(axis=1), rank, nearest)


def attack(members: Floats, others: Floats, seed: int = 0) -> Attack:
    """The attack that calls those with a high score trained.

    Args:
        members: float[n], scores of trained pairs.
        others: float[m], scores of held-out pairs, chosen as the trained ones were.
        seed: of the bootstrap, which draws both sides anew.
    Raises:
        ValueError: a side is empty.
    """
    if not len(members) or not len(others):
        raise ValueError(f"{len(members)} trained and {len(others)} held-out scores: both are needed")
    generator = np.random.default_rng(seed)
    drawn = [auc(_drawn(generator, members), _drawn(generator, others)) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    threshold = exceeded_by(others, FALSE_POSITIVES)
    return Attack(
        auc=auc(members, others),
        low=float(low),
        high=float(high),
        true_positives=float((members > threshold).mean()),
        false_positives=float((others > threshold).mean()),
        members=len(members),
        others=len(others),
    )


def exceeded_by(scores: Floats, share: float) -> float:
    """The least score that no more than a share of the scores exceed; at least one score is needed."""
    return float(np.sort(scores)[::-1][min(int(share * len(scores)), len(scores) - 1)])


def auc(members: Floats, others: Floats) -> float:
    """Odds that a member scores higher than another, a tie counting half.

    Source: Mann and Whitney's U over the number of comparisons, the area under the ROC curve.
    """
    order = np.sort(others)
    below, upto = np.searchsorted(order, members, side="left"), np.searchsorted(order, members, side="right")
    return float((below + upto).mean() / (2 * len(order)))


def _drawn(generator: np.random.Generator, scores: Floats) -> Floats:
    return scores[generator.integers(0, len(scores), len(scores))]
