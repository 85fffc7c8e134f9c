"""Connected components of a graph that is given as a list of edges: who is tied to whom through others."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def components(left: pa.Array | pa.ChunkedArray, right: pa.Array | pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """The group of every id that occurs in an edge.

    Each round hooks every root on its least neighbour, shortens all paths and forgets the edges inside groups. At
    least half of the roots go in any two rounds, so the rounds are few, also for long chains and for stars.

    Args:
        left: int64[n], one end of each edge; no nulls.
        right: int64[n], the other end. Order, direction and repeats do not matter.
    Returns: the ids, int64[m], ascending; the smallest id of the group of each, int64[m].
    Source: Shiloach and Vishkin 1982, "An O(log n) parallel connectivity algorithm".
    """
    ends = np.concatenate([_values(left), _values(right)])
    ids, places = np.unique(ends, return_inverse=True)
    group = _least(len(ids), places[: len(left)], places[len(left) :])
    return pa.array(ids, pa.int64()), pa.array(ids[group], pa.int64())


def _least(count: int, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """The least place that each place is tied to. Places are 0 to ``count``, so ids may be anything."""
    root = np.arange(count)
    while len(left):
        np.minimum.at(root, np.maximum(left, right), np.minimum(left, right))
        root = _shortened(root)
        left, right = root[left], root[right]
        between = left != right
        left, right = left[between], right[between]
    return root


def _shortened(root: NDArray[np.int64]) -> NDArray[np.int64]:
    while True:
        further = root[root]
        if np.array_equal(further, root):
            return root
        root = further


def _values(array: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    return np.asarray(array.to_numpy(), np.int64)
