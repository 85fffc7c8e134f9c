"""All pairs of hashes within a radius, in SQL: bands that agree, then the bits counted.

``udfs/bands.py`` says why no pair is missed. Hashes come as rows of ``word``, one for each 64 bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from ..udfs.arrow import pc
from ..udfs.bands import Band, bands, list_bands, probe_table
from ._engine import Engine
from ._files import partition_files

# The unflipped rows are a table of their own, so that an engine can tell which side of a join is the small one.
BANDED = """
SELECT word.pair_id, word.bits, near_band.band, word.bits & near_band.mask AS agreed
FROM word JOIN near_band ON word.word = near_band.word
"""

PROBED = """
SELECT word.pair_id, word.bits, near_probe.band, xor(word.bits & near_probe.mask, near_probe.flip) AS agreed
FROM word JOIN near_probe ON word.word = near_probe.word
WHERE near_probe.flip = 0 OR (word.bits & near_probe.top) <> 0
"""

# A pair may agree on several bands, and where nothing is flipped it is found from both sides.
CANDIDATE = """
SELECT DISTINCT least(probed.pair_id, banded.pair_id) AS left_id, greatest(probed.pair_id, banded.pair_id) AS right_id
FROM probed JOIN banded ON probed.agreed = banded.agreed AND probed.band = banded.band
WHERE bit_count(xor(probed.bits, banded.bits)) <= $word_radius AND probed.pair_id <> banded.pair_id
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


_HASHES_AT_ONCE = 400_000  # in a join: what the caches of a processor hold is found again faster


def near(engine: Engine, words: int, radius: int) -> None:
    """Name ``near`` on an engine: left_id < right_id and distance of all pairs of hashes within a radius.

    Needs the relation ``word``: pair_id: int64, word: int32 from 0, bits: int64; ``words`` rows for each hash,
    and no hash twice, or rows of equal hashes would be as many as their pairs.
    """
    count = _count(engine, "SELECT count(*) AS rows FROM word") // words
    plan = bands(words, radius, count)
    found = []
    for number, batch in enumerate(_batches(plan, lambda band: count, _HASHES_AT_ONCE)):
        _name_bands(engine, batch)
        engine.step("banded", BANDED)
        engine.step("probed", PROBED)
        engine.step(f"candidate_{number}", CANDIDATE, keep=True, word_radius=radius // words)
        found.append(f"SELECT left_id, right_id FROM candidate_{number}")
    engine.step("candidate", " UNION ".join(found))
    engine.step("near", NEAR, radius=radius)


# A list against pictures: the list does all the flipping, so that pictures, which are many more, show one value a
# band. A picture may turn up several times, once for each way it may be turned. Every join has a side of bounded size:
# pictures are taken in parts, and bands one after the other where a list becomes many rows in them. More than one part
# is divided once, into files: each part would else read all pictures.
LOOK_PART = "SELECT pair_id, turn, word, bits FROM look_word"
LOOK_IN_PARTS = """
SELECT pair_id, turn, word, bits, CAST(((pair_id % $parts) + $parts) % $parts AS INTEGER) AS part FROM look_word
"""
LOOK_OF_FILE = "SELECT pair_id, turn, word, bits FROM look_file"
_LOOK = pa.schema([("pair_id", pa.int64()), ("turn", pa.int32()), ("word", pa.int32()), ("bits", pa.int64())])

LIST_PROBED = """
SELECT list_word.rule_id, list_word.bits, near_probe.band,
       xor(list_word.bits & near_probe.mask, near_probe.flip) AS agreed
FROM list_word JOIN near_probe ON list_word.word = near_probe.word
"""

LOOK_BANDED = """
SELECT look_part.pair_id, look_part.turn, look_part.bits, near_band.band, look_part.bits & near_band.mask AS agreed
FROM look_part JOIN near_band ON look_part.word = near_band.word
"""

LISTED_CANDIDATE = """
SELECT DISTINCT list_probed.rule_id, look_banded.pair_id, look_banded.turn
FROM list_probed JOIN look_banded ON list_probed.agreed = look_banded.agreed AND list_probed.band = look_banded.band
WHERE bit_count(xor(list_probed.bits, look_banded.bits)) <= $word_radius
"""

TURN_DISTANCE = """
SELECT listed_candidate.rule_id, listed_candidate.pair_id, listed_candidate.turn,
       CAST(sum(bit_count(xor(list_word.bits, look_part.bits))) AS INTEGER) AS distance
FROM listed_candidate
JOIN list_word ON listed_candidate.rule_id = list_word.rule_id
JOIN look_part ON listed_candidate.pair_id = look_part.pair_id AND listed_candidate.turn = look_part.turn
              AND list_word.word = look_part.word
GROUP BY listed_candidate.rule_id, listed_candidate.pair_id, listed_candidate.turn
"""

LISTED = """
SELECT rule_id, pair_id, min(distance) AS distance FROM turn_distance WHERE distance <= $radius
GROUP BY rule_id, pair_id
"""

NOT_LISTED = """
SELECT rule_id, CAST(0 AS BIGINT) AS pair_id, CAST(0 AS INTEGER) AS distance FROM list_word WHERE word < 0
"""

_LOOKS_AT_ONCE = 10_000_000
_ENTRIES_AT_ONCE = 20_000_000  # with all that is flipped in them


def listed(engine: Engine, words: int, radius: int, scratch: Callable[[str], str]) -> None:
    """Name ``listed`` on an engine: rule_id, pair_id and distance of all pictures within a radius of a list.

    Memory is bounded by the list and ten million hashes of pictures, however many there are.

    Args:
        engine: has the relations ``list_word`` (rule_id: int64, word: int32, bits: int64), ``words`` rows for each hash,
            and ``look_word`` (pair_id: int64, turn: int32, word: int32, bits: int64), likewise, of the pictures.
        words: 64-bit words of a hash.
        radius: most bits that may differ.
        scratch: gives a folder that does not exist, by a name, for pictures that are more than one part.
    """
    entries = _count(engine, "SELECT count(*) AS rows FROM list_word") // words
    looks = _count(engine, "SELECT count(*) AS rows FROM look_word") // words if entries else 0
    parts = math.ceil(looks / _LOOKS_AT_ONCE)
    plan = list_bands(words, radius, entries, math.ceil(looks / max(parts, 1)))
    found = [NOT_LISTED]
    folder = scratch("looks")
    if parts > 1:
        divided = pa.schema([*_LOOK, pa.field("part", pa.int32())])
        engine.write(LOOK_IN_PARTS, folder, divided, partition_by="part", parts=parts)
    for part in range(parts):
        if parts > 1:
            engine.scan("look_file", partition_files(folder, "part", part), _LOOK)
        engine.step("look_part", LOOK_OF_FILE if parts > 1 else LOOK_PART, keep=True)
        _candidates(engine, list(_batches(plan, lambda band: band.masks * entries, _ENTRIES_AT_ONCE)), radius // words)
        engine.step("turn_distance", TURN_DISTANCE)
        engine.step(f"listed_{part}", LISTED, keep=True, radius=radius)
        found.append(f"SELECT rule_id, pair_id, distance FROM listed_{part}")
    engine.step("listed", " UNION ALL ".join(found))


def _candidates(engine: Engine, batches: Sequence[list[Band]], word_radius: int) -> None:
    """Name ``listed_candidate``: rule_id, pair_id and turn of all in ``look_part`` that agree with the list on a band."""
    found = []
    for number, batch in enumerate(batches):
        _name_bands(engine, batch)
        engine.step("list_probed", LIST_PROBED)
        engine.step("look_banded", LOOK_BANDED)
        engine.step(f"candidate_{number}", LISTED_CANDIDATE, keep=True, word_radius=word_radius)
        found.append(f"SELECT rule_id, pair_id, turn FROM candidate_{number}")
    engine.step("listed_candidate", " UNION ".join(found))


def _name_bands(engine: Engine, batch: list[Band]) -> None:
    """Name ``near_probe``, the bands with all that is to be flipped in them, and ``near_band``, the bands alone."""
    probe = probe_table(batch)
    engine.register("near_probe", probe)
    engine.register("near_band", probe.filter(pc.equal(probe["flip"], 0)))


def _batches(plan: Sequence[Band], rows: Callable[[Band], int], most: int) -> Iterator[list[Band]]:
    """Bands in runs that become at most so many rows in a join's small side, or of one band."""
    batch: list[Band] = []
    for band in plan:
        if batch and sum(map(rows, [*batch, band])) > most:
            yield batch
            batch = []
        batch.append(band)
    yield batch


def _count(engine: Engine, sql: str) -> int:
    return engine.rows(sql)["rows"][0].as_py()
