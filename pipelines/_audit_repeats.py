"""How often each picture of the training side was trained on, near-duplicates among them.

Pictures count as the same if their bytes are equal or their published hashes are near, chained into groups. A job that
does not deduplicate still wants to know.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable

import pyarrow as pa

from ..schemas.release import OUTCOME, public
from ..udfs.leaders import Closeness
from ._engine import DuckDBEngine
from ._groups import group
from ._look_alike import CONFIRMING_RADIUS, MIN_QUALITY, PDQ_RADIUS, PHASH_RADIUS
from ._release import Release
from ._released import Sample
from ._ties import ties

# A picture too flat to be compared has no hash from here on. Colours are not published.
PICTURE = """
SELECT key, pair_id, sha256, '' AS colour_key, FALSE AS flat, phash,
       pdq_word(pdq, 0) AS pdq_0, pdq_word(pdq, 1) AS pdq_1, pdq_word(pdq, 2) AS pdq_2, pdq_word(pdq, 3) AS pdq_3
FROM (
    SELECT trained.key, outcome.pair_id, image.sha256,
           CASE WHEN image.pdq_quality >= $min_quality THEN image.phash END AS phash,
           CASE WHEN image.pdq_quality >= $min_quality THEN image.pdq END AS pdq
    FROM trained
    JOIN outcome ON trained.key = outcome.key AND outcome.outcome = 'released'
    JOIN image ON outcome.pair_id = image.pair_id
) AS comparable
"""

REPEATED = """
SELECT picture.key, size.pairs
FROM picture
JOIN chained ON picture.pair_id = chained.pair_id
JOIN (SELECT group_id, count(*) AS pairs FROM chained GROUP BY group_id) AS size ON chained.group_id = size.group_id
"""


def repeats(release: Release, trained: Iterable[Sample]) -> dict[str, int]:
    """How many trained samples show the picture of each, itself among them, by key.

    Args:
        release: its tables say how pictures look.
        trained: the samples of the training side.
    """
    keys = [sample.key for sample in trained]
    present = release.files()
    with tempfile.TemporaryDirectory() as spill:
        engine = DuckDBEngine(os.cpu_count() or 1, None, spill)
        try:
            for name, prefix, schema in (("outcome", "pairs/", OUTCOME), ("image", "tables/image-", public("image"))):
                engine.scan(name, [f"{release.root}/{file}" for file in present if file.startswith(prefix)], schema)
            engine.register("trained", pa.table({"key": pa.array(keys, pa.string())}))
            engine.step("picture", PICTURE, keep=True, min_quality=MIN_QUALITY)
            ties(engine, Closeness(True, PHASH_RADIUS, PDQ_RADIUS, CONFIRMING_RADIUS))
            group(engine)
            found = engine.rows(REPEATED)
        finally:
            engine.close()
    more = dict(zip(found["key"].to_pylist(), found["pairs"].to_pylist(), strict=True))
    return {key: more.get(key, 1) for key in keys}
