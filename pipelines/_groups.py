"""Groups of pictures from their ties, on the engine: chained, and split where chains go too far."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from ..udfs.arrow import pc
from ..udfs.components import components
from ..udfs.leaders import Closeness, leaders
from ._engine import Engine
from ._vectors import Vectors

# So many ties are grouped in this process: 16 bytes each, a few times over. More are grouped by the engine itself.
_FEW_TIES = 20_000_000

# Kiveris et al. 2014, "Connected Components in MapReduce and Beyond": every tie goes from the greater id to the
# lesser. In turn, each id ties its greater neighbours to the least it knows (large star), and its lesser ones
# (small star), until each is tied to the least of its group and to nothing else.
DIRECTED = """
SELECT DISTINCT greatest(left_id, right_id) AS greater_id, least(left_id, right_id) AS lesser_id
FROM tie WHERE left_id <> right_id
"""
LARGE_STAR = """
SELECT DISTINCT either.other_id AS greater_id, nearest.least_id AS lesser_id
FROM either JOIN nearest ON either.pair_id = nearest.pair_id
WHERE either.other_id > either.pair_id
"""
EITHER = """
SELECT greater_id AS pair_id, lesser_id AS other_id FROM directed
UNION ALL
SELECT lesser_id AS pair_id, greater_id AS other_id FROM directed
"""
NEAREST = "SELECT pair_id, least(pair_id, min(other_id)) AS least_id FROM either GROUP BY pair_id"
SMALL_STAR = """
SELECT DISTINCT greater_id, lesser_id
FROM (
    SELECT large.lesser_id AS greater_id, lowest.least_id AS lesser_id
    FROM large JOIN lowest ON large.greater_id = lowest.greater_id
    UNION ALL
    SELECT greater_id, least_id AS lesser_id FROM lowest
) AS star
WHERE greater_id <> lesser_id
"""
LOWEST = "SELECT greater_id, min(lesser_id) AS least_id FROM large GROUP BY greater_id"
UNSETTLED = """
SELECT count(*) AS rows
FROM (
    SELECT upper.greater_id FROM directed AS upper JOIN directed AS lower ON upper.lesser_id = lower.greater_id
    UNION ALL
    SELECT greater_id FROM directed GROUP BY greater_id HAVING count(*) > 1
) AS unsettled
"""
IN_GROUP = """
SELECT greater_id AS pair_id, lesser_id AS group_id FROM directed
UNION ALL
SELECT DISTINCT lesser_id AS pair_id, lesser_id AS group_id FROM directed
"""

LARGE_GROUP = "SELECT group_id FROM chained GROUP BY group_id HAVING count(*) > $most"
IN_LARGE_GROUP = """
SELECT chained.group_id, picture.pair_id, picture.pixels, picture.sha256, picture.phash,
       picture.pdq_0, picture.pdq_1, picture.pdq_2, picture.pdq_3, picture.flat, image.colours
FROM picture JOIN chained ON picture.pair_id = chained.pair_id
JOIN image ON picture.pair_id = image.pair_id
JOIN large_group ON chained.group_id = large_group.group_id
"""
AFTER_SPLIT = """
SELECT chained.pair_id, chained.group_id
FROM chained LEFT JOIN large_group ON chained.group_id = large_group.group_id
WHERE large_group.group_id IS NULL
UNION ALL
SELECT pair_id, group_id FROM split
"""

_MEMBER = pa.schema([("pair_id", pa.int64()), ("group_id", pa.int64())])


def group(engine: Engine, few: int = _FEW_TIES) -> None:
    """Name ``chained`` on an engine: pair_id and group_id, the least pair_id of those that ties chain together.

    Needs the relation ``tie``: left_id, right_id. More ties than ``few`` are not brought to this process.
    """
    if engine.rows("SELECT count(*) AS rows FROM tie")["rows"][0].as_py() > few:
        _group_on_engine(engine)
        return
    schema = pa.schema([("left_id", pa.int64()), ("right_id", pa.int64())])
    found = [batch.cast(schema) for batch in engine.batches("SELECT left_id, right_id FROM tie")]
    table = pa.Table.from_batches(found, schema)
    ids, groups = components(table["left_id"], table["right_id"])
    engine.register("chained", pa.table({"pair_id": ids, "group_id": groups}))


def split(engine: Engine, most: int | None, close: Closeness, vectors: Vectors | None = None) -> list[dict[str, int]]:
    """Name ``in_group`` on an engine: groups of ``chained`` with more members than ``most`` are split by their leaders.

    Needs ``picture``, ``image`` and ``chained``. A group whose members are all close to its leader stays as it is.

    Returns: for each group that was split: group_id, members, and how many groups and single pictures it became.
    """
    if most is None:
        engine.step("in_group", "SELECT pair_id, group_id FROM chained", keep=True)
        return []
    engine.step("large_group", LARGE_GROUP, keep=True, most=most)
    large = engine.rows(IN_LARGE_GROUP)
    order = [("group_id", "ascending"), ("pixels", "descending"), ("pair_id", "ascending")]
    parts, said = [_MEMBER.empty_table()], []
    for members in _runs(large.sort_by(order).combine_chunks()):
        leading = leaders(members, close, vectors and vectors.of(members["pair_id"].to_numpy()))
        parts.append(_of_leaders(members["pair_id"], leading))
        became = len(pc.unique(leading))
        if became > 1:
            group_id = members["group_id"][0].as_py()
            said.append({"group_id": group_id, "members": members.num_rows, "became": became})
    engine.register("split", pa.concat_tables(parts))
    engine.step("in_group", AFTER_SPLIT, keep=True)
    return said


def _group_on_engine(engine: Engine) -> None:
    engine.step("directed", DIRECTED, keep=True)
    while engine.rows(UNSETTLED)["rows"][0].as_py():
        engine.step("either", EITHER)
        engine.step("nearest", NEAREST)
        engine.step("large", LARGE_STAR, keep=True)
        engine.step("lowest", LOWEST)
        engine.step("directed", SMALL_STAR, keep=True)
    engine.step("chained", IN_GROUP, keep=True)


def _runs(large: pa.Table) -> Iterator[pa.Table]:
    """The members of one group after the other."""
    group_id = large["group_id"].to_numpy()
    starts = np.flatnonzero(np.diff(group_id, prepend=group_id[:1] - 1))
    for start, end in itertools.pairwise([*starts.tolist(), len(group_id)]):
        yield large.slice(start, end - start)


def _of_leaders(pair_id: pa.ChunkedArray, leading: pa.Array) -> pa.Table:
    """Groups by their leaders, without those who lead nobody."""
    led = pa.table({"pair_id": pair_id, "leader": leading})
    groups = led.group_by("leader").aggregate([("pair_id", "min"), ("pair_id", "count")])
    groups = groups.filter(pc.greater(groups["pair_id_count"], 1))
    joined = led.join(groups, "leader", join_type="inner")
    return pa.table({"pair_id": joined["pair_id"], "group_id": joined["pair_id_min"]})
