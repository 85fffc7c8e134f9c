"""Ties by pHash that PDQ and colours confirm, in SQL.

Pictures are found by pHash, which has few bits and so a cheap search, and are tied where PDQ, which has more to say,
is within a wider radius than it would tie them by itself, and colours do not contradict. Where colours are alike, both
hashes may be further apart, and flat pictures are compared. Pictures that look equal, in both hashes and colours, are
one before anything is searched, and each pHash is searched with once, whatever goes with it.

One pHash may go with very many looks: of the copies of a logo, or of drawings so simple that pHash cannot tell them
apart. Where a pHash and those near it go with more than ``_CROWD``, each is compared with the first of each pHash
alone, so that time grows with pictures and not with their square. Ties of a crowd that this leaves out are found by
PDQ's own radius, or not at all.
"""

from __future__ import annotations

from ..udfs.leaders import Closeness
from . import _near
from ._engine import Engine

PHASH_AND_PDQ = """
SELECT pair_id, phash, pdq_0, pdq_1, pdq_2, pdq_3, colours, flat FROM picture WHERE phash IS NOT NULL
"""
# PDQ is not asked: equal in all.
PHASH_ALONE = """
SELECT pair_id, phash, CAST(0 AS BIGINT) AS pdq_0, CAST(0 AS BIGINT) AS pdq_1, CAST(0 AS BIGINT) AS pdq_2,
       CAST(0 AS BIGINT) AS pdq_3, colours, flat
FROM picture WHERE phash IS NOT NULL
"""

LOOK = """
SELECT phash, pdq_0, pdq_1, pdq_2, pdq_3, colours, flat, min(pair_id) AS look_id
FROM hashed GROUP BY phash, pdq_0, pdq_1, pdq_2, pdq_3, colours, flat
"""
SAME_LOOK = """
SELECT look.look_id AS left_id, hashed.pair_id AS right_id
FROM hashed JOIN look
  ON hashed.phash = look.phash AND hashed.pdq_0 = look.pdq_0 AND hashed.pdq_1 = look.pdq_1
 AND hashed.pdq_2 = look.pdq_2 AND hashed.pdq_3 = look.pdq_3
 AND hashed.colours IS NOT DISTINCT FROM look.colours AND hashed.flat = look.flat
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
SELECT look.*, phash_first.first_id, crowded.first_id IS NOT NULL AS in_crowd
FROM look JOIN phash_first ON look.phash = phash_first.phash
LEFT JOIN crowded ON phash_first.first_id = crowded.first_id
"""
COMPARED_LOOK = """
SELECT one.look_id AS left_id, other.look_id AS right_id,
       one.colours, other.colours AS other_colours, one.flat OR other.flat AS flat,
       CAST(bit_count(xor(one.phash, other.phash)) AS INTEGER) AS phash_bits,
       CAST(bit_count(xor(one.pdq_0, other.pdq_0)) AS INTEGER) + bit_count(xor(one.pdq_1, other.pdq_1))
           + bit_count(xor(one.pdq_2, other.pdq_2)) + bit_count(xor(one.pdq_3, other.pdq_3)) AS pdq_bits
FROM neighbour
JOIN face AS one ON neighbour.first_id = one.first_id
JOIN face AS other ON neighbour.other_id = other.first_id
WHERE one.look_id < other.look_id
  AND (NOT one.in_crowd OR one.look_id = one.first_id) AND (NOT other.in_crowd OR other.look_id = other.first_id)
UNION ALL
SELECT one.look_id AS left_id, other.look_id AS right_id,
       one.colours, other.colours AS other_colours, one.flat OR other.flat AS flat,
       CAST(bit_count(xor(one.phash, other.phash)) AS INTEGER) AS phash_bits,
       CAST(bit_count(xor(one.pdq_0, other.pdq_0)) AS INTEGER) + bit_count(xor(one.pdq_1, other.pdq_1))
           + bit_count(xor(one.pdq_2, other.pdq_2)) + bit_count(xor(one.pdq_3, other.pdq_3)) AS pdq_bits
FROM face AS one JOIN face AS other ON one.look_id = other.first_id
WHERE one.look_id < other.look_id AND other.in_crowd
"""
# Two cells may differ in colour, where a logo or a line of text may be; where colours are to be alike, none may.
CONFIRMED_TIE = """
SELECT left_id, right_id FROM same_look
UNION ALL
SELECT left_id, right_id FROM compared_look
WHERE pdq_bits <= $farthest AND (
    (NOT flat AND phash_bits <= $phash AND pdq_bits <= $confirming
        AND coalesce(colour_distance(colours, other_colours, 2) <= $colour, TRUE))
    OR (phash_bits <= $alike_phash AND pdq_bits <= CASE WHEN flat THEN $confirming ELSE $alike_pdq END
        AND colour_distance(colours, other_colours, 0) <= $alike_colour)
)
"""

_CROWD = 1_000


def confirmed_ties(engine: Engine, close: Closeness) -> None:
    """Name ``phash_tie`` on an engine: left_id and right_id of pictures near by pHash whose PDQ and colours agree.

    Needs the relation ``picture``: pair_id, phash, pdq_0, pdq_1, pdq_2, pdq_3, colours, flat; pHash null where it is
    not to be compared, PDQ known wherever pHash is, and colours wherever a picture is flat.
    """
    confirming = close.confirming_radius or 0  # of 0 bits, where PDQ is not asked
    engine.step("hashed", PHASH_ALONE if close.confirming_radius is None else PHASH_AND_PDQ)
    engine.step("look", LOOK, keep=True)
    engine.step("same_look", SAME_LOOK)
    engine.step("phash_first", PHASH_FIRST, keep=True)
    engine.step("word", PHASH_WORD, keep=True)
    _near.near(engine, 1, close.phash_reach)
    engine.step("neighbour", NEIGHBOUR, keep=True)
    engine.step("crowded", CROWDED, crowd=_CROWD)
    engine.step("face", FACE, keep=True)
    engine.step("compared_look", COMPARED_LOOK)
    engine.step(
        "phash_tie", CONFIRMED_TIE, keep=True,
        farthest=max(confirming, close.alike.pdq_radius), confirming=confirming, phash=close.phash_radius,
        colour=close.colour_radius, **close.alike.params(),
    )  # fmt: skip
