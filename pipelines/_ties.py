"""Ties between pictures that count as the same, in SQL: of equal pictures not all, of near ones all.

Where a picture occurs very often, as a logo or an empty page does, the ties of all its copies would be as many as
their pairs. So equal hashes are tied to the first of them alone, and only the first is searched with (for pHash, see
``_confirmed.py``). Pictures of other colours have other firsts. And where more than ``_CROWD`` different PDQ hashes
share a word of 64 bits, which unrelated pictures do not, those within half of the radius of the first, so within the
radius of each other, are tied to it and not searched with either. What is near one of those but not near the first is
then not tied to them; where groups that large are split by distance to their keeper anyway, that is no loss.
"""

from __future__ import annotations

import pyarrow as pa

from ..udfs.bands import PDQ_WORDS
from ..udfs.leaders import Closeness
from . import _near
from ._confirmed import confirmed, phash_ties
from ._engine import Engine

SHA256_FIRST = "SELECT sha256, min(pair_id) AS first_id FROM picture WHERE sha256 IS NOT NULL GROUP BY sha256"
SHA256_TIE = """
SELECT first_id AS left_id, pair_id AS right_id
FROM picture JOIN sha256_first ON picture.sha256 = sha256_first.sha256
WHERE pair_id <> first_id
"""

PDQ_FIRST = """
SELECT pdq_0, pdq_1, pdq_2, pdq_3, colour_key, min(pair_id) AS first_id
FROM picture WHERE pdq_0 IS NOT NULL AND NOT flat GROUP BY pdq_0, pdq_1, pdq_2, pdq_3, colour_key
"""
ALL_PDQ_WORD = """
SELECT first_id AS pair_id, 0 AS word, pdq_0 AS bits FROM pdq_first
UNION ALL SELECT first_id AS pair_id, 1 AS word, pdq_1 AS bits FROM pdq_first
UNION ALL SELECT first_id AS pair_id, 2 AS word, pdq_2 AS bits FROM pdq_first
UNION ALL SELECT first_id AS pair_id, 3 AS word, pdq_3 AS bits FROM pdq_first
"""

CROWD = """
SELECT word, bits, min(pair_id) AS first_id
FROM all_word GROUP BY word, bits HAVING count(*) > $crowd
"""
# One that is first in one crowd represents others there, so it is not represented itself.
IN_CROWD = """
SELECT DISTINCT crowd.first_id, all_word.pair_id
FROM all_word JOIN crowd ON all_word.word = crowd.word AND all_word.bits = crowd.bits
LEFT JOIN crowd AS led ON all_word.pair_id = led.first_id
WHERE led.first_id IS NULL
"""
REPRESENTED = """
SELECT pair_id, min(first_id) AS first_id
FROM (
    SELECT in_crowd.pair_id, in_crowd.first_id
    FROM in_crowd
    JOIN all_word AS mine ON in_crowd.pair_id = mine.pair_id
    JOIN all_word AS its ON in_crowd.first_id = its.pair_id AND mine.word = its.word
    GROUP BY in_crowd.pair_id, in_crowd.first_id
    HAVING sum(bit_count(xor(mine.bits, its.bits))) <= $half_radius
) AS in_reach
GROUP BY pair_id
"""
PDQ_WORD = """
SELECT all_word.pair_id, all_word.word, all_word.bits
FROM all_word LEFT JOIN represented ON all_word.pair_id = represented.pair_id
WHERE represented.pair_id IS NULL
"""
SAME_PDQ = """
SELECT first_id AS left_id, pair_id AS right_id
FROM picture JOIN pdq_first
  ON picture.pdq_0 = pdq_first.pdq_0 AND picture.pdq_1 = pdq_first.pdq_1
 AND picture.pdq_2 = pdq_first.pdq_2 AND picture.pdq_3 = pdq_first.pdq_3
 AND picture.colour_key = pdq_first.colour_key
WHERE pair_id <> first_id AND NOT picture.flat
"""
PDQ_NEAR = """
SELECT first_id AS left_id, pair_id AS right_id FROM represented
UNION ALL
SELECT left_id, right_id FROM near
"""
PDQ_TIE = "SELECT left_id, right_id FROM same_pdq UNION ALL SELECT left_id, right_id FROM confirmed"

_CROWD = 1_000


def ties(engine: Engine, close: Closeness, semantic: pa.Table | None = None) -> None:
    """Name ``tie`` on an engine: left_id and right_id of pictures that count as the same.

    Needs the relations ``picture``: pair_id, sha256, colour_key, flat and the hashes, null where they are not to be compared;
    and ``image``. ``semantic``: left_id and right_id of what a model finds alike, if it was asked.
    """
    kinds = []
    if semantic is not None:
        engine.register("semantic_tie", semantic)
        kinds.append("semantic_tie")
    if close.exact:
        engine.step("sha256_first", SHA256_FIRST)
        engine.step("sha256_tie", SHA256_TIE)
        kinds.append("sha256_tie")
    if close.phash_radius is not None:
        phash_ties(engine, close)
        kinds.append("phash_tie")
    if close.pdq_radius is not None:
        engine.step("pdq_first", PDQ_FIRST, keep=True)
        engine.step("all_word", ALL_PDQ_WORD, keep=True)
        _represent(engine, close.pdq_radius // 2)
        _near.near(engine, PDQ_WORDS, close.pdq_radius)
        engine.step("pdq_near", PDQ_NEAR)
        engine.step("same_pdq", SAME_PDQ)
        confirmed(engine, "pdq_near", close)
        engine.step("pdq_tie", PDQ_TIE, keep=True)
        kinds.append("pdq_tie")
    none = "SELECT CAST(0 AS BIGINT) AS left_id, CAST(0 AS BIGINT) AS right_id WHERE FALSE"
    engine.step(
        "tie", " UNION ALL ".join([none, *(f"SELECT left_id, right_id FROM {kind}" for kind in kinds)]), keep=True
    )


def _represent(engine: Engine, half_radius: int) -> None:
    """Name ``represented``, those in crowds that another stands for, and ``word``, what is to be searched with."""
    crowds = engine.rows(CROWD, crowd=_CROWD)
    engine.register("crowd", crowds)
    if not crowds.num_rows:
        engine.step("represented", "SELECT first_id AS pair_id, first_id FROM crowd")
        engine.step("word", "SELECT pair_id, word, bits FROM all_word")
        return
    engine.step("in_crowd", IN_CROWD)
    engine.step("represented", REPRESENTED, keep=True, half_radius=half_radius)
    engine.step("word", PDQ_WORD, keep=True)
