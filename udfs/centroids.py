"""Nearest creators by centroids of unit vectors, and how often chance makes one the nearest."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 4096  # vectors compared with all centroids at a time
# Of a creator's own pictures this share lies further from the others' centroid than counts as near it.
_OUTSIDE = 0.1
_NORMAL_95 = 1.96

_Vectors = NDArray[np.floating]


@dataclass(frozen=True)
class Centroids:
    """What the pictures of each creator have in common, and what these pictures find.

    Attributes:
        vectors: float[k, d], the mean of each creator's vectors, of unit length.
        least: float[k], the cosine similarity from which on a picture is near a creator: nine tenths of the creator's
            own are, each compared with the mean of the others.
        nearest_of_others: int[k], how many pictures of other creators this one is nearest and near to, their own left
            aside.
        others: int[k], how many pictures of other creators there are.
        found_own: pictures that find their own creator among all, themselves left out of its mean.
        pictures: n.
    """

    vectors: NDArray[np.float64]
    least: NDArray[np.float64]
    nearest_of_others: NDArray[np.int64]
    others: NDArray[np.int64]
    found_own: int
    pictures: int

    def nearest(self, likeness: NDArray[np.floating]) -> NDArray[np.int64]:
        """The nearest creator to each picture, by float[m, k] cosine similarities: int[m], -1 if it is not near."""
        places = likeness.argmax(axis=1)
        return np.where(likeness.max(axis=1) >= self.least[places], places, -1)

    def chance(self) -> NDArray[np.float64]:
        """float[k]: how often a picture by somebody else has the creator for the nearest; the upper end of the 95 %
        interval, so never 0.

        Source: Wilson 1927, doi:10.1080/01621459.1927.10502953.
        """
        count, share, square = self.others, self.nearest_of_others / self.others, _NORMAL_95**2
        spread = _NORMAL_95 * np.sqrt(share * (1 - share) / count + square / (4 * count**2))
        return (share + square / (2 * count) + spread) / (1 + square / count)


def centroids(vectors: _Vectors, owners: NDArray[np.integer]) -> Centroids:
    """The centroids of creators, and how they tell the pictures that they are made of.

    Args:
        vectors: float[n, d] of unit length.
        owners: int[n], the creator of each: 0 to k - 1, each at least twice, and k at least 2.
    """
    counts = np.bincount(owners)
    sums = np.zeros((len(counts), vectors.shape[1]))
    np.add.at(sums, owners, vectors)
    own = np.concatenate([(some * _unit(sums[of] - some)).sum(axis=1) for some, of in _pieces(vectors, owners)])
    least = np.array([np.quantile(own[owners == place], _OUTSIDE) for place in range(len(counts))])
    empty = np.zeros(len(counts), np.int64)
    found = Centroids(_unit(sums), least, empty, len(vectors) - counts, 0, len(vectors))
    nearest_of_others, best = empty.copy(), []
    for some, of in _pieces(vectors, owners):
        likeness = some @ found.vectors.T
        likeness[np.arange(len(some)), of] = -np.inf
        best.append(likeness.max(axis=1))
        places = found.nearest(likeness)
        nearest_of_others += np.bincount(places[places >= 0], minlength=len(counts))
    found_own = int((own > np.concatenate(best)).sum())
    return replace(found, nearest_of_others=nearest_of_others, found_own=found_own)


def _pieces(vectors: _Vectors, owners: NDArray[np.integer]) -> Iterator[tuple[NDArray[np.float64], NDArray]]:
    for start in range(0, len(vectors), _AT_ONCE):
        yield vectors[start : start + _AT_ONCE].astype(np.float64), owners[start : start + _AT_ONCE]


def unlikely_count(trials: int, chance: float, level: float) -> int:
    """The smallest count that chance reaches less often than ``level``: more than ``trials`` if none is.

    Source: tail of the binomial distribution.
    """
    tail = 0.0
    for count in range(trials, -1, -1):
        tail += _binomial(trials, count, chance)
        if tail >= level:
            return count + 1
    return 0


def _binomial(trials: int, count: int, chance: float) -> float:
    if chance >= 1:
        return float(count == trials)
    ways = math.lgamma(trials + 1) - math.lgamma(count + 1) - math.lgamma(trials - count + 1)
    return math.exp(ways + count * math.log(chance) + (trials - count) * math.log1p(-chance))


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)
