"""dedup: one pair of every group that shows the same, or nearly the same, picture.

Two pictures are tied if their original bytes are equal, or if their pHash or PDQ differ by no more bits than the
config allows. A picture whose PDQ quality is too low is so flat that any other would resemble it: neither
perceptual hash is compared, and only equal bytes tie it. Ties chain into groups. The keeper of a group is the pair
whose original has the most pixels, then the lowest pair_id; all others are dropped.

Pairs of one URL with several captions have one picture, so they are exact duplicates too.

``duplicate`` has every member of every group, the keeper included, with its strictest direct tie to the keeper:
exact before phash before pdq; ``linked`` where there is none and others lie between.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from ..schemas.config import Dedup
from ..udfs.bands import PDQ_WORDS
from ..udfs.components import components
from . import _near
from ._engine import Engine
from ._work import Work

READS = ("pair", "image", "dropped")
WRITES = ("duplicate", "dropped")

# A hash that is not to be compared is null from here on.
PICTURE = """
SELECT alive.pair_id, image.sha256,
       coalesce(CAST(image.width_px AS BIGINT) * image.height_px, 0) AS pixels,
       CASE WHEN image.pdq_quality >= $min_quality THEN image.phash END AS phash,
       pdq_word(CASE WHEN image.pdq_quality >= $min_quality THEN image.pdq END, 0) AS pdq_0,
       pdq_word(CASE WHEN image.pdq_quality >= $min_quality THEN image.pdq END, 1) AS pdq_1,
       pdq_word(CASE WHEN image.pdq_quality >= $min_quality THEN image.pdq END, 2) AS pdq_2,
       pdq_word(CASE WHEN image.pdq_quality >= $min_quality THEN image.pdq END, 3) AS pdq_3
FROM alive JOIN image ON alive.pair_id = image.pair_id
"""

# Equal pictures are tied to the first of them only, and only the first is searched with: a blank picture or a logo
# that occurs 100,000 times makes 100,000 ties, not their square.
SHA256_FIRST = "SELECT sha256, min(pair_id) AS first_id FROM picture WHERE sha256 IS NOT NULL GROUP BY sha256"
SHA256_TIE = """
SELECT first_id AS left_id, pair_id AS right_id
FROM picture JOIN sha256_first ON picture.sha256 = sha256_first.sha256
WHERE pair_id <> first_id
"""

PHASH_FIRST = "SELECT phash, min(pair_id) AS first_id FROM picture WHERE phash IS NOT NULL GROUP BY phash"
PHASH_TIE = """
SELECT first_id AS left_id, pair_id AS right_id
FROM picture JOIN phash_first ON picture.phash = phash_first.phash
WHERE pair_id <> first_id
"""
PHASH_WORD = "SELECT first_id AS pair_id, 0 AS word, phash AS bits FROM phash_first"

PDQ_FIRST = """
SELECT pdq_0, pdq_1, pdq_2, pdq_3, min(pair_id) AS first_id
FROM picture WHERE pdq_0 IS NOT NULL GROUP BY pdq_0, pdq_1, pdq_2, pdq_3
"""
PDQ_TIE = """
SELECT first_id AS left_id, pair_id AS right_id
FROM picture JOIN pdq_first
  ON picture.pdq_0 = pdq_first.pdq_0 AND picture.pdq_1 = pdq_first.pdq_1
 AND picture.pdq_2 = pdq_first.pdq_2 AND picture.pdq_3 = pdq_first.pdq_3
WHERE pair_id <> first_id
"""
PDQ_WORD = """
SELECT first_id AS pair_id, 0 AS word, pdq_0 AS bits FROM pdq_first
UNION ALL SELECT first_id AS pair_id, 1 AS word, pdq_1 AS bits FROM pdq_first
UNION ALL SELECT first_id AS pair_id, 2 AS word, pdq_2 AS bits FROM pdq_first
UNION ALL SELECT first_id AS pair_id, 3 AS word, pdq_3 AS bits FROM pdq_first
"""

NEAR_TIE = "SELECT left_id, right_id FROM near"

MEMBER = """
SELECT picture.*, in_group.group_id,
       row_number() OVER (PARTITION BY in_group.group_id ORDER BY picture.pixels DESC, picture.pair_id) AS place
FROM picture JOIN in_group ON picture.pair_id = in_group.pair_id
"""

COMPARED = """
SELECT member.pair_id, member.group_id, keeper.pair_id AS keeper_id,
       member.pair_id = keeper.pair_id OR ($exact AND coalesce(member.sha256 = keeper.sha256, FALSE)) AS same,
       CAST(bit_count(xor(member.phash, keeper.phash)) AS INTEGER) AS phash_distance,
       CAST(bit_count(xor(member.pdq_0, keeper.pdq_0)) AS INTEGER) + bit_count(xor(member.pdq_1, keeper.pdq_1))
           + bit_count(xor(member.pdq_2, keeper.pdq_2)) + bit_count(xor(member.pdq_3, keeper.pdq_3)) AS pdq_distance
FROM member JOIN member AS keeper ON member.group_id = keeper.group_id AND keeper.place = 1
"""

DUPLICATE = """
SELECT pair_id, group_id, keeper_id,
       CASE WHEN same THEN 'exact' WHEN phash_distance <= $phash_radius THEN 'phash'
            WHEN pdq_distance <= $pdq_radius THEN 'pdq' ELSE 'linked' END AS kind,
       CASE WHEN same THEN 0 WHEN phash_distance <= $phash_radius THEN phash_distance
            WHEN pdq_distance <= $pdq_radius THEN pdq_distance END AS distance
FROM compared
"""

DROPPED = """
SELECT pair_id, 'dedup' AS stage,
       CASE WHEN kind = 'exact' THEN 'exact_duplicate' ELSE 'near_duplicate' END AS reason,
       'keeper=' || CAST(keeper_id AS VARCHAR) || ' kind=' || kind
           || coalesce(' distance=' || CAST(distance AS VARCHAR), '') AS evidence
FROM found WHERE pair_id <> keeper_id
"""


def grouped(ties: Sequence[pa.RecordBatch]) -> pa.Table:
    """The group of every pair that is tied to another.

    Args: ties: left_id: int64, right_id: int64.
    Returns: pair_id: int64; group_id: int64, the smallest pair_id of the group.
    """
    schema = pa.schema([("left_id", pa.int64()), ("right_id", pa.int64())])
    table = pa.Table.from_batches([batch.select(schema.names).cast(schema) for batch in ties], schema)
    ids, groups = components(table["left_id"], table["right_id"])
    return pa.table({"pair_id": ids, "group_id": groups})


def run(work: Work) -> None:
    """Find the groups, choose a keeper in each, drop the others."""
    config = work.job.config.dedup
    task = work.task("dedup", "all", work.fingerprint("dedup", config))
    if task.done:
        return
    with task:
        work.alive("dedup")
        work.scan("dedup", "image")
        engine = work.engine
        engine.step("picture", PICTURE, keep=True, min_quality=config.pdq_min_quality)
        engine.register("in_group", grouped(_ties(engine, config)))
        engine.step("member", MEMBER, keep=True)
        engine.step("compared", COMPARED, exact=config.exact)
        radii = {"phash_radius": config.phash_max_distance, "pdq_radius": config.pdq_max_distance}
        engine.step("found", DUPLICATE, keep=True, **radii)
        work.write(task, "duplicate", "SELECT * FROM found")
        work.write(task, "dropped", DROPPED)


def _ties(engine: Engine, config: Dedup) -> list[pa.RecordBatch]:
    """Ties enough to make the groups: of equal pictures not all, of near ones all."""
    ties: list[pa.RecordBatch] = []
    if config.exact:
        engine.step("sha256_first", SHA256_FIRST)
        ties += engine.batches(SHA256_TIE)
    if config.phash_max_distance is not None:
        engine.step("phash_first", PHASH_FIRST, keep=True)
        engine.step("word", PHASH_WORD, keep=True)
        _near.near(engine, 1, config.phash_max_distance)
        ties += [*engine.batches(PHASH_TIE), *engine.batches(NEAR_TIE)]
    if config.pdq_max_distance is not None:
        engine.step("pdq_first", PDQ_FIRST, keep=True)
        engine.step("word", PDQ_WORD, keep=True)
        _near.near(engine, PDQ_WORDS, config.pdq_max_distance)
        ties += [*engine.batches(PDQ_TIE), *engine.batches(NEAR_TIE)]
    return ties
