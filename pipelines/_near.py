"""All pairs of hashes within a radius, in SQL: bands that agree, then the bits counted.

``udfs/bands.py`` says why no pair is missed. Hashes come as rows of ``word``, one for each 64 bits.
"""

from __future__ import annotations

from ..udfs.bands import bands, probe_table
from ._engine import Engine

BANDED = """
SELECT word.pair_id, word.bits, ((word.bits >> near_probe.shift) & near_probe.mask) + near_probe.tag AS band
FROM word JOIN near_probe ON word.word = near_probe.word
WHERE near_probe.flip = 0
"""

PROBED = """
SELECT word.pair_id, word.bits, near_probe.limit_bits, near_probe.flip,
       xor((word.bits >> near_probe.shift) & near_probe.mask, near_probe.flip) + near_probe.tag AS band
FROM word JOIN near_probe ON word.word = near_probe.word
WHERE near_probe.flip = 0 OR ((word.bits >> near_probe.top) & 1) = 1
"""

# Where nothing is flipped, each pair would be found from both sides.
CANDIDATE = """
SELECT DISTINCT least(probed.pair_id, banded.pair_id) AS left_id, greatest(probed.pair_id, banded.pair_id) AS right_id
FROM probed JOIN banded ON probed.band = banded.band
WHERE bit_count(xor(probed.bits, banded.bits)) <= probed.limit_bits
  AND (probed.flip <> 0 OR probed.pair_id < banded.pair_id)
"""

NEAR = """
SELECT candidate.left_id, candidate.right_id,
       CAST(sum(bit_count(xor(left_word.bits, right_word.bits))) AS INTEGER) AS distance
FROM candidate
JOIN word AS left_word ON candidate.left_id = left_word.pair_id
JOIN word AS right_word ON candidate.right_id = right_word.pair_id AND left_word.word = right_word.word
GROUP BY candidate.left_id, candidate.right_id
HAVING sum(bit_count(xor(left_word.bits, right_word.bits))) <= $radius
"""


def near(engine: Engine, words: int, radius: int) -> None:
    """Name ``near`` on an engine: left_id < right_id and distance of all pairs of hashes within a radius.

    Needs the relation ``word``: pair_id: int64, word: int32 from 0, bits: int64; ``words`` rows for each hash,
    and no hash twice, or rows of equal hashes would be as many as their pairs.
    """
    count = engine.rows("SELECT count(*) AS rows FROM word")["rows"][0].as_py() // words
    engine.register("near_probe", probe_table(bands(words, radius, count), words, radius))
    engine.step("banded", BANDED)
    engine.step("probed", PROBED)
    engine.step("candidate", CANDIDATE)
    engine.step("near", NEAR, radius=radius)


# A list against pictures: the list does all the flipping, so that pictures, which are many more, show one value a
# band. A picture may turn up several times, once for each way it may be turned.
LIST_PROBED = """
SELECT list_word.rule_id, list_word.bits, near_probe.limit_bits,
       xor((list_word.bits >> near_probe.shift) & near_probe.mask, near_probe.flip) + near_probe.tag AS band
FROM list_word JOIN near_probe ON list_word.word = near_probe.word
"""

LOOK_BANDED = """
SELECT look_word.pair_id, look_word.turn, look_word.bits,
       ((look_word.bits >> near_probe.shift) & near_probe.mask) + near_probe.tag AS band
FROM look_word JOIN near_probe ON look_word.word = near_probe.word
WHERE near_probe.flip = 0
"""

LISTED_CANDIDATE = """
SELECT DISTINCT list_probed.rule_id, look_banded.pair_id, look_banded.turn
FROM list_probed JOIN look_banded ON list_probed.band = look_banded.band
WHERE bit_count(xor(list_probed.bits, look_banded.bits)) <= list_probed.limit_bits
"""

TURN_DISTANCE = """
SELECT listed_candidate.rule_id, listed_candidate.pair_id, listed_candidate.turn,
       CAST(sum(bit_count(xor(list_word.bits, look_word.bits))) AS INTEGER) AS distance
FROM listed_candidate
JOIN list_word ON listed_candidate.rule_id = list_word.rule_id
JOIN look_word ON listed_candidate.pair_id = look_word.pair_id AND listed_candidate.turn = look_word.turn
              AND list_word.word = look_word.word
GROUP BY listed_candidate.rule_id, listed_candidate.pair_id, listed_candidate.turn
"""

LISTED = """
SELECT rule_id, pair_id, min(distance) AS distance FROM turn_distance WHERE distance <= $radius
GROUP BY rule_id, pair_id
"""


def listed(engine: Engine, words: int, radius: int) -> None:
    """Name ``listed`` on an engine: rule_id, pair_id and distance of all pictures within a radius of a list.

    Needs the relations ``list_word`` (rule_id: int64, word: int32, bits: int64) and ``look_word`` (pair_id: int64,
    turn: int32, word: int32, bits: int64), ``words`` rows for each hash.
    """
    count = engine.rows("SELECT count(*) AS rows FROM look_word")["rows"][0].as_py() // words
    engine.register("near_probe", probe_table(bands(words, radius, count), words, radius))
    engine.step("list_probed", LIST_PROBED)
    engine.step("look_banded", LOOK_BANDED)
    engine.step("listed_candidate", LISTED_CANDIDATE)
    engine.step("turn_distance", TURN_DISTANCE)
    engine.step("listed", LISTED, radius=radius)
