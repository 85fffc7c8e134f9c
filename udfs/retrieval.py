"""Cross-modal retrieval: how often the right candidate is near the top, and how often chance would put it there.

Source: the protocol of Hodosh, Young and Hockenmaier, "Framing Image Description as a Ranking Task"
(JAIR 2013): recall at k and median rank among all candidates of a held-out set.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PERMUTATIONS = 2000
_Z95 = 1.959964  # two-sided 95 % of the normal distribution


@dataclass(frozen=True)
class Recall:
    """Share of queries with a right candidate among the first k.

    Attributes:
        k: ranks that count.
        value: the share, 0 to 1.
        low, high: Wilson's 95 % interval of the share.
        chance: its expectation when candidates are ordered at random.
        p_value: share of random pairings of queries with answers that reach the value (at least
            1 / (PERMUTATIONS + 1)).
    """

    k: int
    value: float
    low: float
    high: float
    chance: float
    p_value: float


@dataclass(frozen=True)
class Retrieval:
    """One direction of retrieval.

    Attributes:
        queries, candidates: how many.
        median_rank: of the best right candidate; 1 is the top.
        chance_median_rank: its expectation for one right candidate in random order.
        recall: at each k, in the order asked for.
    """

    queries: int
    candidates: int
    median_rank: float
    chance_median_rank: float
    recall: tuple[Recall, ...]


def retrieval(
    scores: npt.NDArray[np.floating],
    relevant: npt.NDArray[np.bool_],
    ks: tuple[int, ...] = (1, 5, 10),
    seed: int = 0,
) -> Retrieval:
    """Recall at k, median rank, and both against chance.

    Args:
        scores: float[queries, candidates]; more is nearer. A tie counts against the right candidate, so
            that a model which says the same of everything gets nothing.
        relevant: bool[queries, candidates]; every query has at least one right candidate.
        ks: ranks that count; those past the number of candidates are left out.
        seed: of the permutation test.
    Raises:
        ValueError: shapes differ, or a query has no right candidate.
    """
    if scores.shape != relevant.shape or not relevant.any(axis=1).all():
        raise ValueError(f"scores {scores.shape}, relevant {relevant.shape}: every query needs a right candidate")
    queries, candidates = scores.shape
    cross = _best_ranks(_ranks(scores), relevant)
    pairings = _pairings(queries, seed)
    return Retrieval(
        queries=queries,
        candidates=candidates,
        median_rank=float(np.median(np.diagonal(cross))),
        chance_median_rank=(candidates + 1) / 2,
        recall=tuple(_recall(cross, pairings, relevant.sum(axis=1), candidates, k) for k in ks if k <= candidates),
    )


def chance_recall(answers: npt.NDArray[np.integer], candidates: int, k: int) -> float:
    """Expected recall at k in random order: for each query, one minus the odds that all k draws miss.

    Args: answers: int[queries], right candidates of each query.
    """
    draws = math.comb(candidates, k)
    return float(np.mean([1 - math.comb(candidates - int(right), k) / draws for right in answers]))


def wilson_interval(hits: int, trials: int) -> tuple[float, float]:
    """95 % score interval of a proportion; it stays sensible at 0 and at 1.

    Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference" (1927).
    """
    share, z2 = hits / trials, _Z95 * _Z95
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z95 * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials)) / (1 + z2 / trials)
    return max(0.0, centre - half), min(1.0, centre + half)


def _recall(
    cross: npt.NDArray[np.int64],
    pairings: npt.NDArray[np.int64],
    answers: npt.NDArray[np.int64],
    candidates: int,
    k: int,
) -> Recall:
    hit = cross <= k
    queries = len(hit)
    hits = int(np.diagonal(hit).sum())
    by_chance = hit[np.arange(queries), pairings].sum(axis=1)
    low, high = wilson_interval(hits, queries)
    return Recall(
        k=k,
        value=hits / queries,
        low=low,
        high=high,
        chance=chance_recall(answers, candidates, k),
        p_value=(1 + int((by_chance >= hits).sum())) / (1 + len(pairings)),
    )


def _ranks(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """Rank of every candidate for every query, ties at the worst rank of their group; NaN ranks last."""
    scores = np.where(np.isnan(scores), -np.inf, scores)
    order = np.sort(scores, axis=1)
    candidates = scores.shape[1]
    below = [np.searchsorted(row, of, side="left") for row, of in zip(order, scores, strict=True)]
    return candidates - np.stack(below)


def _best_ranks(ranks: npt.NDArray[np.int64], relevant: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Best rank that query i gives to the answers of query j: the diagonal is the result, the rest is chance."""
    return np.stack([ranks[:, answers].min(axis=1) for answers in relevant], axis=1)


def _pairings(queries: int, seed: int) -> npt.NDArray[np.int64]:
    generator = np.random.default_rng(seed)
    return np.stack([generator.permutation(queries) for _ in range(PERMUTATIONS)])
