"""How often each picture of the training side was trained on, near-duplicates among them.

Pictures count as the same as they do in ``dedup``: equal bytes, or PDQ within its radius unless colours differ, chained
into groups. A job that does not deduplicate still wants to know.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable

import pyarrow as pa

from ..schemas.config import Dedup
from ..schemas.release import OUTCOME, public
from ..udfs.leaders import Closeness
from ._engine import DuckDBEngine
from ._groups import group
from ._release import Release
from ._released import Sample
from ._ties import ties

# A picture too flat to be compared has no hash from here on.
PICTURE = """
SELECT trained.key, outcome.pair_id, image.sha256, image.colours, FALSE AS flat,
       CASE WHEN image.pdq_quality >= $min_quality THEN pdq_word(image.pdq, 0) END AS pdq_0,
       CASE WHEN image.pdq_quality >= $min_quality THEN pdq_word(image.pdq, 1) END AS pdq_1,
       CASE WHEN image.pdq_quality >= $min_quality THEN pdq_word(image.pdq, 2) END AS pdq_2,
       CASE WHEN image.pdq_quality >= $min_quality THEN pdq_word(image.pdq, 3) END AS pdq_3
FROM trained
JOIN outcome ON trained.key = outcome.key AND outcome.outcome = 'released'
JOIN image ON outcome.pair_id = image.pair_id
"""

REPEATED = """
SELECT picture.key, size.pairs
FROM picture
JOIN chained ON picture.pair_id = chained.pair_id
JOIN (SELECT group_id, count(*) AS pairs FROM chained GROUP BY group_id) AS size ON chained.group_id = size.group_id
"""


def repeats(release: Release, trained: Iterable[Sample], dedup: Dedup) -> dict[str, int]:
    """How many trained samples show the picture of each, itself among them, by key.

    Args:
        release: its tables say how pictures look.
        trained: the samples of the training side.
        dedup: gives the radius of PDQ, its default if null, and that of colours.
    """
    keys = [sample.key for sample in trained]
    radius = Dedup().pdq_max_distance if dedup.pdq_max_distance is None else dedup.pdq_max_distance
    present = release.files()
    with tempfile.TemporaryDirectory() as spill:
        engine = DuckDBEngine(os.cpu_count() or 1, None, spill)
        try:
            for name, prefix, schema in (("outcome", "pairs/", OUTCOME), ("image", "tables/image-", public("image"))):
                engine.scan(name, [f"{release.root}/{file}" for file in present if file.startswith(prefix)], schema)
            engine.register("trained", pa.table({"key": pa.array(keys, pa.string())}))
            engine.step("picture", PICTURE, keep=True, min_quality=dedup.pdq_min_quality)
            ties(engine, Closeness(True, None, radius, colour_radius=dedup.colour_max_distance))
            group(engine)
            found = engine.rows(REPEATED)
        finally:
            engine.close()
    more = dict(zip(found["key"].to_pylist(), found["pairs"].to_pylist(), strict=True))
    return {key: more.get(key, 1) for key in keys}
