"""Tested pairs that resemble what was trained on: the test then measures memory in part, and not skill.

`train` leaves equal bytes out of its test. Here captions count as the same if they differ in case, punctuation and
spacing alone, and pictures if their published hashes are near.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass

import pyarrow as pa

from ..schemas.audit_config import AuditConfig
from ..schemas.errors import ReleaseError
from ..schemas.release import OUTCOME, public
from ..udfs.bands import PDQ_WORDS
from . import _near
from ._audit_row import Row, over, row
from ._engine import DuckDBEngine
from ._held_out import Split
from ._look_alike import CONFIRMING_RADIUS, MIN_QUALITY, PDQ_RADIUS, PHASH_RADIUS
from ._release import Release

RADII = {"phash": PHASH_RADIUS, "pdq": PDQ_RADIUS}

# A picture too flat to be compared has no hash from here on.
LOOKED_AT = """
SELECT side.key, side.side, outcome.pair_id, caption_key(outcome.caption) AS caption_key,
       CASE WHEN image.pdq_quality >= $min_quality THEN image.phash END AS phash,
       CASE WHEN image.pdq_quality >= $min_quality THEN image.pdq END AS pdq
FROM side
JOIN outcome ON side.key = outcome.key AND outcome.outcome = 'released'
LEFT JOIN image ON outcome.pair_id = image.pair_id
"""

PHASH_LIST = """
SELECT pair_id AS rule_id, 0 AS word, phash AS bits FROM looked_at WHERE side = 'tested' AND phash IS NOT NULL
"""
PHASH_LOOK = """
SELECT pair_id, 0 AS turn, 0 AS word, phash AS bits FROM looked_at WHERE side = 'trained' AND phash IS NOT NULL
"""
PDQ_LIST = """
SELECT pair_id AS rule_id, word.word, pdq_word(pdq, word.word) AS bits
FROM looked_at CROSS JOIN word WHERE side = 'tested' AND pdq IS NOT NULL
"""
PDQ_LOOK = """
SELECT pair_id, 0 AS turn, word.word, pdq_word(pdq, word.word) AS bits
FROM looked_at CROSS JOIN word WHERE side = 'trained' AND pdq IS NOT NULL
"""

PHASH_TIE = """
SELECT listed.rule_id, listed.pair_id, listed.distance
FROM listed JOIN looked_at AS tested ON listed.rule_id = tested.pair_id
JOIN looked_at AS trained ON listed.pair_id = trained.pair_id
WHERE pdq_distance(tested.pdq, trained.pdq) <= $confirming
"""
PDQ_TIE = "SELECT rule_id, pair_id, distance FROM listed"

TIE = """
SELECT rule_id AS tested_id, pair_id AS trained_id, 'pdq' AS hash, distance FROM pdq_tie
UNION ALL
SELECT rule_id AS tested_id, pair_id AS trained_id, 'phash' AS hash, distance FROM phash_tie
"""

LEAKED_PICTURE = """
SELECT looked_at.key, placed.tested_id, placed.trained_id, placed.hash, placed.distance
FROM (
    SELECT tie.*, row_number() OVER (PARTITION BY tested_id ORDER BY hash, distance, trained_id) AS place FROM tie
) AS placed
JOIN looked_at ON placed.tested_id = looked_at.pair_id
WHERE placed.place = 1
ORDER BY looked_at.key
"""

LEAKED_CAPTION = """
SELECT tested.key, tested.pair_id AS tested_id, min(trained.pair_id) AS trained_id, count(*) AS pairs
FROM looked_at AS tested JOIN looked_at AS trained ON tested.caption_key = trained.caption_key
WHERE tested.side = 'tested' AND trained.side = 'trained'
GROUP BY tested.key, tested.pair_id
ORDER BY tested.key
"""

TIED_KEY = """
SELECT DISTINCT looked_at.key
FROM (SELECT tested_id AS pair_id FROM tie UNION ALL SELECT trained_id FROM tie) AS tied
JOIN looked_at ON tied.pair_id = looked_at.pair_id
"""


@dataclass(frozen=True)
class Leaks:
    """What was found.

    Attributes:
        rows: of ``audit``.
        near: keys of the samples that have a near-duplicate on the other side.
        pair_ids: of every sample tested or trained on, by key.
    """

    rows: list[Row]
    near: set[str]
    pair_ids: dict[str, int]


def find(release: Release, split: Split, limits: AuditConfig) -> Leaks:
    """Tested pairs whose picture or caption was trained on.

    Raises:
        ReleaseError: the tables of the release do not list the samples of its shards.
    """
    with tempfile.TemporaryDirectory() as spill:
        engine = DuckDBEngine(os.cpu_count() or 1, None, spill)
        try:
            pair_ids = _scan(engine, release, split)
            _tie(engine, spill)
            pictures = engine.rows(LEAKED_PICTURE).to_pylist()
            captions = engine.rows(LEAKED_CAPTION).to_pylist()
            near = set(engine.rows(TIED_KEY)["key"].to_pylist())
        finally:
            engine.close()
    rows = [_whole("leaked_picture", len(pictures), len(split.tested), limits.max_leaked_pictures)]
    for leak in pictures:
        detail = f"{leak['hash']} differs from trained pair {leak['trained_id']} in {leak['distance']} bits"
        rows.append(_single("leaked_picture", leak, leak["distance"], RADII[leak["hash"]], detail))
    rows.append(_whole("leaked_caption", len(captions), len(split.tested), limits.max_leaked_captions))
    for leak in captions:
        detail = f"{leak['pairs']} trained pairs have the same caption, but for case, punctuation and spacing"
        rows.append(_single("leaked_caption", leak, leak["pairs"], 0, detail))
    return Leaks(rows, near, pair_ids)


def _scan(engine: DuckDBEngine, release: Release, split: Split) -> dict[str, int]:
    present = release.files()
    for name, prefix, schema in (("outcome", "pairs/", OUTCOME), ("image", "tables/image-", public("image"))):
        engine.scan(name, [f"{release.root}/{file}" for file in present if file.startswith(prefix)], schema)
    sides = [(sample.key, side) for side in ("tested", "trained") for sample in getattr(split, side)]
    engine.register("side", pa.table({"key": [key for key, _ in sides], "side": [side for _, side in sides]}))
    engine.register("word", pa.table({"word": pa.array(range(PDQ_WORDS), pa.int32())}))
    engine.step("looked_at", LOOKED_AT, keep=True, min_quality=MIN_QUALITY)
    listed = engine.rows("SELECT key, pair_id FROM looked_at")
    pair_ids = dict(zip(listed["key"].to_pylist(), listed["pair_id"].to_pylist(), strict=True))
    if not len(pair_ids) == listed.num_rows == len(sides):
        raise ReleaseError(release.root, f"lists {listed.num_rows} of {len(sides)} samples in pairs/", "each once",
                           "Run `fairshard verify` on it")  # fmt: skip
    return pair_ids


def _tie(engine: DuckDBEngine, spill: str) -> None:
    """Name ``tie``: tested and trained pairs that look alike."""
    for name, words, listed, look in (("phash", 1, PHASH_LIST, PHASH_LOOK), ("pdq", PDQ_WORDS, PDQ_LIST, PDQ_LOOK)):
        engine.step("list_word", listed, keep=True)
        engine.step("look_word", look, keep=True)
        _near.listed(engine, words, RADII[name], lambda looks, name=name: f"{spill}/{name}-{looks}")
        if name == "phash":
            engine.step("phash_tie", PHASH_TIE, keep=True, confirming=CONFIRMING_RADIUS)
        else:
            engine.step("pdq_tie", PDQ_TIE, keep=True)
    engine.step("tie", TIE, keep=True)


def _whole(kind: str, leaked: int, tested: int, limit: float) -> Row:
    share = leaked / max(tested, 1)
    return row(kind, "all", share, limit, over(share, limit), f"{leaked} of {tested} tested pairs")


def _single(kind: str, leak: dict, value: float, threshold: float, detail: str) -> Row:
    return row(kind, leak["key"], float(value), float(threshold), True, detail, leak["tested_id"], leak["trained_id"])
