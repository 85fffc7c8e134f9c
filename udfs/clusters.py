"""Clusters of unit vectors, and all that are near each other, looked for in a cluster and its neighbours.

Spherical k-means puts like vectors into one cluster. Two that are near each other may still lie on the two sides of
the plane between their clusters; then one of them is no further from that plane than half their distance. So each
vector also visits the clusters whose planes are as near as that, and no pair is missed, as long as no vector visits
fewer clusters than it would have to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .components import components

Rows = NDArray[np.float32]
Places = NDArray[np.int64]

_ROUNDS = 10
_BLOCK = 4096  # rows at once: 64 MB of products
_NONE = np.empty(0, np.int64)


class Homes(NamedTuple):
    """Where some vectors belong.

    Attributes:
        cluster: int64[n], of the nearest centroid.
        cosine: float32[n], with it.
        visitor: int64[v], places of vectors that are also to be looked for in another cluster, ascending.
        visited: int64[v], that cluster.
        cut: how many vectors would have to visit more clusters than they do.
    """

    cluster: Places
    cosine: Rows
    visitor: Places
    visited: Places
    cut: int


def centroids(sample: Rows, count: int) -> Rows:
    """Centres of spherical k-means, by Lloyd's rounds.

    Args:
        sample: float32[n, d] of unit length, in an order that says nothing of what they show: the first ones begin.
        count: at least 1; no more than n are made.
    Returns: float32[k, d] of unit length. The same for the same sample; no random draw.
    Source: Dhillon and Modha 2001, "Concept decompositions for large sparse text data using clustering".
    """
    centres = sample[:count].copy()
    home = np.full(len(sample), -1)
    for _ in range(_ROUNDS):
        before, home = home, _nearest(sample, centres)
        if np.array_equal(before, home):
            break
        centres = _recentred(sample, home, centres)
    return centres


def homes(vectors: Rows, centres: Rows, apart: Rows, radius: float, most: int) -> Homes:
    """The cluster of each vector, and the others in which a vector near it may lie.

    Args:
        vectors: float32[n, d] of unit length.
        centres: float32[k, d] of unit length.
        apart: float32[k, k], ``distances`` of the centres.
        radius: cosine distance within which two vectors are near.
        most: other clusters that a vector visits, those of the nearest planes.
    """
    cosine = vectors @ centres.T
    home, rows = cosine.argmax(axis=1), np.arange(len(vectors))
    own = cosine[rows, home]
    # Distance from the plane that is as far from one centre as from the other.
    from_plane = (own[:, None] - cosine) / np.maximum(apart[home], 1e-6)
    from_plane[rows, home] = np.inf
    reach = np.sqrt(2 * radius) / 2 + 1e-6
    needed = (from_plane <= reach).sum(axis=1)
    if most < len(centres):
        nearest = np.argpartition(from_plane, most - 1, axis=1)[:, :most]
    else:
        nearest = np.broadcast_to(np.arange(len(centres)), from_plane.shape)
    visitor, column = np.nonzero(np.take_along_axis(from_plane, nearest, axis=1) <= reach)
    return Homes(home, own, visitor, nearest[visitor, column], int((needed > most).sum()))


def joined(parts: list[Homes]) -> Homes:
    """Those of several runs of vectors as one; visitors are taken as they are."""
    cluster, cosine, visitor, visited = (
        np.concatenate([_NONE.astype(kind), *(part[column] for part in parts)])
        for column, kind in enumerate((np.int64, np.float32, np.int64, np.int64))
    )
    return Homes(cluster, cosine, visitor, visited, sum(part.cut for part in parts))


def distances(centres: Rows) -> Rows:
    """float32[k, k]: straight distances between k unit vectors."""
    return np.sqrt(np.maximum(2 - 2 * (centres @ centres.T), 0))


def near(vectors: Callable[[Places], Rows], members: Places, visitors: Places, radius: float) -> tuple[Places, Places]:
    """Who is chained to whom by being near: members to each other, and visitors to members.

    Args:
        vectors: gives float32[n, d] of unit length for n places; asked for ``_BLOCK`` at once at most.
        members, visitors: int64[m] and int64[v], places of different vectors.
        radius: cosine distance.
    Returns: places, int64[t] and int64[t]: each is tied to the least that it is chained to, so there are fewer ties
        than vectors, however many pairs are near.
    """
    left, right = [_NONE], [_NONE]
    both = np.concatenate([members, visitors])
    for start in range(0, len(both), _BLOCK):
        rows = vectors(both[start : start + _BLOCK])
        for begin in range(0, min(start + len(rows), len(members)), _BLOCK):
            block = members[begin : begin + _BLOCK]
            one, other = np.nonzero(rows @ vectors(block).T >= 1 - radius)
            earlier = other + begin < one + start  # each two members once
            first, second = _chained(both[one[earlier] + start], block[other[earlier]])
            left.append(first)
            right.append(second)
    return _chained(np.concatenate(left), np.concatenate(right))


def _chained(left: Places, right: Places) -> tuple[Places, Places]:
    ids, groups = (array.to_numpy() for array in components(pa.array(left), pa.array(right)))
    tied = ids != groups
    return groups[tied], ids[tied]


def _nearest(vectors: Rows, centres: Rows) -> Places:
    starts = range(0, len(vectors), _BLOCK)
    return np.concatenate([_NONE, *((vectors[start : start + _BLOCK] @ centres.T).argmax(axis=1) for start in starts)])


def _recentred(sample: Rows, home: Places, centres: Rows) -> Rows:
    """The mean direction of each cluster; of an empty one, what it was."""
    order = np.argsort(home, kind="stable")
    filled, starts = np.unique(home[order], return_index=True)
    renewed = centres.copy()
    for cluster, places in zip(filled, np.split(order, starts[1:]), strict=True):
        total = sample[places].sum(axis=0)
        length = np.linalg.norm(total)
        if length > 0:
            renewed[cluster] = total / length
    return renewed
