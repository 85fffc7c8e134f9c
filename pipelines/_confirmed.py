"""Ties by pHash that PDQ and colours confirm, in SQL.

Pictures are found by pHash, which has few bits and so a cheap search, and are tied where PDQ and colours, which have
more to say, are near, too. Pictures equal in all are one before anything is searched, and each pHash is searched with
once, whatever goes with it.

One pHash may go with very many looks: of the copies of a logo, or of drawings so simple that pHash cannot tell them
apart. Where a pHash and those near it go with more than ``_CROWD``, each is compared with the first of each pHash
alone, so that time grows with pictures and not with their square. Ties of a crowd that this leaves out are not found.
"""

from __future__ import annotations

from ..udfs.leaders import Closeness
from . import _near
from ._engine import Engine

PHASH_AND_PDQ = """
SELECT pair_id, phash, pdq_0, pdq_1, pdq_2, pdq_3, colour_key FROM picture WHERE phash IS NOT NULL AND pdq_0 IS NOT NULL
"""
# PDQ is not asked: equal in all.
PHASH_ALONE = """
SELECT pair_id, phash, CAST(0 AS BIGINT) AS pdq_0, CAST(0 AS BIGINT) AS pdq_1, CAST(0 AS BIGINT) AS pdq_2,
       CAST(0 AS BIGINT) AS pdq_3, colour_key
FROM picture WHERE phash IS NOT NULL
"""

LOOK = """
SELECT phash, pdq_0, pdq_1, pdq_2, pdq_3, colour_key, min(pair_id) AS look_id
FROM hashed GROUP BY phash, pdq_0, pdq_1, pdq_2, pdq_3, colour_key
"""
SAME_LOOK = """
SELECT look.look_id AS left_id, hashed.pair_id AS right_id
FROM hashed JOIN look
  ON hashed.phash = look.phash AND hashed.pdq_0 = look.pdq_0 AND hashed.pdq_1 = look.pdq_1
 AND hashed.pdq_2 = look.pdq_2 AND hashed.pdq_3 = look.pdq_3 AND hashed.colour_key = look.colour_key
WHERE hashed.pair_id <> look.look_id
"""
PHASH_FIRST = "SELECT phash, min(look_id) AS first_id, count(*) AS looks FROM look GROUP BY phash"
PHASH_WORD = "SELECT first_id AS pair_id, 0 AS word, phash AS bits FROM phash_first"

# Both ways round, and with itself where several looks share a pHash.
NEIGHBOUR = """
SELECT left_id AS first_id, right_id AS other_id FROM near
UNION ALL SELECT right_id AS first_id, left_id AS other_id FROM near
UNION ALL SELECT first_id, first_id AS other_id FROM phash_first WHERE looks > 1
"""
CROWDED = """
SELECT neighbour.first_id
FROM neighbour JOIN phash_first ON neighbour.other_id = phash_first.first_id
GROUP BY neighbour.first_id HAVING sum(phash_first.looks) > $crowd
"""
FACE = """
SELECT look.look_id, look.pdq_0, look.pdq_1, look.pdq_2, look.pdq_3, phash_first.first_id, crowded.first_id IS NOT NULL AS in_crowd
FROM look JOIN phash_first ON look.phash = phash_first.phash
LEFT JOIN crowded ON phash_first.first_id = crowded.first_id
"""
COMPARED_LOOK = """
SELECT one.look_id AS left_id, other.look_id AS right_id
FROM neighbour
JOIN face AS one ON neighbour.first_id = one.first_id
JOIN face AS other ON neighbour.other_id = other.first_id
WHERE one.look_id < other.look_id
  AND CAST(bit_count(xor(one.pdq_0, other.pdq_0)) AS INTEGER) + bit_count(xor(one.pdq_1, other.pdq_1))
    + bit_count(xor(one.pdq_2, other.pdq_2)) + bit_count(xor(one.pdq_3, other.pdq_3)) <= $confirming
  AND (NOT one.in_crowd OR one.look_id = one.first_id) AND (NOT other.in_crowd OR other.look_id = other.first_id)
UNION ALL
SELECT one.look_id AS left_id, other.look_id AS right_id
FROM face AS one JOIN face AS other ON one.look_id = other.first_id
WHERE one.look_id < other.look_id AND other.in_crowd
  AND CAST(bit_count(xor(one.pdq_0, other.pdq_0)) AS INTEGER) + bit_count(xor(one.pdq_1, other.pdq_1))
    + bit_count(xor(one.pdq_2, other.pdq_2)) + bit_count(xor(one.pdq_3, other.pdq_3)) <= $confirming
"""
# Colours are large: only those of what is compared are read.
OF_LIKE_COLOURS = """
SELECT left_id, right_id
FROM compared
JOIN image AS one ON left_id = one.pair_id
JOIN image AS other ON right_id = other.pair_id
WHERE colour_distance(one.colours, other.colours, $spared) <= $colour
"""
PHASH_TIE = "SELECT left_id, right_id FROM same_look UNION ALL SELECT left_id, right_id FROM confirmed"

_CROWD = 1_000


def confirmed(engine: Engine, candidates: str, close: Closeness) -> None:
    """Name ``confirmed`` on an engine: left_id and right_id of those of a relation whose colours are near, if asked."""
    if close.colour_radius is None:
        engine.step("confirmed", f"SELECT left_id, right_id FROM {candidates}")
        return
    # Kept, so that colours are compared of these pairs, and not of all that an engine might join before it filters.
    engine.step("compared", f"SELECT left_id, right_id FROM {candidates}", keep=True)
    engine.step("confirmed", OF_LIKE_COLOURS, colour=close.colour_radius, spared=close.spared_cells)


def phash_ties(engine: Engine, close: Closeness) -> None:
    """Name ``phash_tie`` on an engine: left_id and right_id of pictures near by pHash whose PDQ and colours confirm it.

    Needs the relations ``picture``: pair_id, the hashes, null where they are not to be compared, and colour_key; and
    ``image``.
    """
    confirming = close.confirming_radius or 0  # of 0 bits, where PDQ is not asked
    engine.step("hashed", PHASH_ALONE if close.confirming_radius is None else PHASH_AND_PDQ)
    engine.step("look", LOOK, keep=True)
    engine.step("same_look", SAME_LOOK)
    engine.step("phash_first", PHASH_FIRST, keep=True)
    engine.step("word", PHASH_WORD, keep=True)
    _near.near(engine, 1, close.phash_radius or 0)
    engine.step("neighbour", NEIGHBOUR, keep=True)
    engine.step("crowded", CROWDED, crowd=_CROWD)
    engine.step("face", FACE, keep=True)
    engine.step("compared_look", COMPARED_LOOK, confirming=confirming)
    confirmed(engine, "compared_look", close)
    engine.step("phash_tie", PHASH_TIE, keep=True)
