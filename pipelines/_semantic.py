"""Pictures that show the same by the vectors of a model: their clusters, and the ties within a cosine distance.

Memory does not grow with the vectors, which are mapped from a file: it holds about 300 bytes a picture, a sample of
65,536 vectors for k-means, and blocks. ``udfs/clusters.py`` says why no pair is missed unless a picture would have to be
looked for in more than ``_VISITS`` other clusters; how many would is counted.

A picture that occurs very often would have as many ties as pairs of copies. So of the pictures of a cluster that
lie within half of the radius of the one nearest to its centre, and so within the radius of each other, that one stands
for all where they are more than ``_CROWD``: they are tied to it and not searched with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..udfs.clusters import Homes, centroids, distances, homes, joined, near
from ._engine import Engine
from ._vectors import Vectors

_SAMPLE = 65_536
_MOST_CLUSTERS = 4096
_VISITS = 8
_CROWD = 1000
_MIX = np.uint64(0x9E3779B97F4A7C15)

Places = NDArray[np.int64]

WITH_KEEPER = """
SELECT member.pair_id, keeper.pair_id AS keeper_id
FROM member JOIN member AS keeper ON member.group_id = keeper.group_id AND keeper.place = 1
WHERE member.pair_id <> keeper.pair_id
"""
_RESEMBLANCE = pa.schema([("pair_id", pa.int64()), ("thousandths", pa.int32())])


@dataclass(frozen=True)
class Clustered:
    """Where pictures belong.

    Attributes:
        homes: of the vectors by place; visitors are sorted by place.
        count: clusters.
    """

    homes: Homes
    count: int

    def said(self) -> dict[str, int]:
        """For the run summary."""
        return {"pictures": len(self.homes.cluster), "clusters": self.count, "cut_short": self.homes.cut}


def clustered(vectors: Vectors, radius: float, count: int | None) -> Clustered:
    """Put every vector into one of some clusters. Their centres come from a sample by hash of the id."""
    count = min(count or isqrt(len(vectors.ids)) or 1, _MOST_CLUSTERS)
    drawn = np.argsort(vectors.ids.view(np.uint64) * _MIX)[:_SAMPLE]
    centres = centroids(vectors.at(drawn), count)
    apart = distances(centres)
    parts = []
    for block in vectors.blocks():
        part = homes(vectors.at(block), centres, apart, radius, _VISITS)
        parts.append(part._replace(visitor=part.visitor + block.start))
    return Clustered(joined(parts), len(centres))


def ties(vectors: Vectors, found: Clustered, radius: float) -> pa.Table:
    """left_id and right_id, int64: enough ties to chain all that are near each other, fewer than pictures in clusters."""
    where = found.homes
    members, visitors = _by_cluster(where.cluster, found.count), _by_cluster(where.visited, found.count)
    searched = np.ones(len(vectors.ids), np.bool_)
    left, right = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for places in map(np.sort, members):
        first, crowd = _crowd(vectors, places, where.cosine, radius)
        searched[crowd] = False
        left.append(np.full(len(crowd), first))
        right.append(crowd)
    for places, rows in zip(members, visitors, strict=True):
        visiting = where.visitor[rows]
        one, other = near(vectors.at, places[searched[places]], visiting[searched[visiting]], radius)
        left.append(one)
        right.append(other)
    return pa.table({"left_id": vectors.ids[np.concatenate(left)], "right_id": vectors.ids[np.concatenate(right)]})


def scores(vectors: Vectors, found: Clustered) -> Iterator[pa.RecordBatch]:
    """Rows of ``score``: the cluster of each picture, and how far from its centre it lies."""
    for block in vectors.blocks():
        names = [str(cluster) for cluster in found.homes.cluster[block]]
        far = (1 - found.homes.cosine[block]).astype(np.float64).clip(0).round(4)
        columns = [
            pa.array(vectors.ids[block]),
            pa.array(["visual_cluster"] * len(names)),
            pa.array(far),
            pa.array(names),
        ]
        yield pa.RecordBatch.from_arrays(columns, ["pair_id", "kind", "value", "label"])


def resemblance(engine: Engine, vectors: Vectors | None, radius: float) -> pa.Table:
    """pair_id of members within the radius of their keeper, and thousandths of cosine distance. Needs ``member``."""
    found = [_RESEMBLANCE.empty_table()]
    if vectors is None:
        return found[0]
    for batch in engine.batches(WITH_KEEPER):
        ids, keepers = (batch[name].to_numpy() for name in ("pair_id", "keeper_id"))
        cosine = np.einsum("nd,nd->n", vectors.of(ids), vectors.of(keepers))
        close = cosine >= 1 - radius - 1e-6  # sums of other blocks round differently
        thousandths = ((1 - cosine[close]) * 1000).clip(0).round().astype(np.int32)
        found.append(pa.table([ids[close], thousandths], schema=_RESEMBLANCE))
    return pa.concat_tables(found)


def _by_cluster(cluster: NDArray, count: int) -> list[Places]:
    """The places of each cluster, in order."""
    order = np.argsort(cluster, kind="stable")
    return np.split(order, np.searchsorted(cluster[order], np.arange(1, count)))


def _crowd(vectors: Vectors, places: Places, cosine: NDArray, radius: float) -> tuple[int, Places]:
    """Who stands for many in a cluster, and for whom."""
    nobody = np.empty(0, np.int64)
    if len(places) <= _CROWD:
        return 0, nobody
    first = places[cosine[places].argmax()]
    leader = vectors.at(np.array([first]))[0]
    # Half of the straight distance is a quarter of the cosine distance.
    parts = [
        part[vectors.at(part) @ leader >= 1 - radius / 4] for part in np.array_split(places, len(places) // 4096 + 1)
    ]
    crowd = np.concatenate(parts)
    return first, crowd[crowd != first] if len(crowd) > _CROWD else nobody
