"""Captions by the template they were made from, in SQL: equal templates are one, and near ones are chained together.

Equal templates are collapsed before anything is searched, so that a caption that occurs a million times is looked at
once. Templates that share a MinHash band are candidates (``udfs/shingles.py`` says how surely alike ones do), and are
tied if the Jaccard index of their shingles, which is counted and not estimated, is high enough.

Where very many different templates share a band, as those of a shop's pages do, pairs would be as many as their
square. So each is compared with the first of the band alone, which are ``_FIRST``: what is alike hangs together
through them.
"""

from __future__ import annotations

from ._engine import Engine
from ._groups import group

BY_ITSELF = "SELECT pair_id, stable_hash(caption_template(caption)) AS template_id FROM alive"

TEMPLATE = """
SELECT template_id, min(template) AS template
FROM (
    SELECT stable_hash(template) AS template_id, template
    FROM (SELECT caption_template(caption) AS template FROM alive) AS masked
) AS hashed
GROUP BY template_id
"""

BANDED = "SELECT template_id, unnest(text_bands(template)) AS band FROM template"
SHARED = """
SELECT template_id, band, place
FROM (
    SELECT template_id, band, row_number() OVER (PARTITION BY band ORDER BY template_id) AS place,
           count(*) OVER (PARTITION BY band) AS members
    FROM banded
) AS counted
WHERE members > 1
"""
CANDIDATE = """
SELECT DISTINCT early.template_id AS left_id, late.template_id AS right_id
FROM shared AS early JOIN shared AS late ON early.band = late.band AND early.place < late.place
WHERE early.place <= $first
"""
# Most candidates met by chance, and few of those are alike even at the most that their outlines allow.
OUTLINE = "SELECT template_id, text_outline(template) AS outline FROM template"
LIKELY = """
SELECT left_id, right_id
FROM candidate
JOIN outline AS left_outline ON candidate.left_id = left_outline.template_id
JOIN outline AS right_outline ON candidate.right_id = right_outline.template_id
WHERE outline_jaccard(left_outline.outline, right_outline.outline) >= $least
"""
TIE = """
SELECT left_id, right_id
FROM likely
JOIN template AS left_template ON likely.left_id = left_template.template_id
JOIN template AS right_template ON likely.right_id = right_template.template_id
WHERE text_jaccard(left_template.template, right_template.template) >= $least
"""

IN_GROUP = """
SELECT by_itself.pair_id, coalesce(chained.group_id, by_itself.template_id) AS template_id
FROM by_itself LEFT JOIN chained ON by_itself.template_id = chained.pair_id
"""

_FIRST = 4


def templates(engine: Engine, least: float | None) -> None:
    """Name ``of_template`` on an engine: pair_id, and template_id of the least of the templates chained to the pair's.

    Needs the relation ``alive``.

    Args:
        engine: keeps what is named.
        least: Jaccard index from which templates are tied, 1 for equal ones alone; ``template`` is named too:
            template_id and template, each once. None: equal ones alone, and no ``template``.
    """
    engine.step("by_itself", BY_ITSELF)
    if least is not None:
        engine.step("template", TEMPLATE, keep=True)
    if least is None or least == 1:
        engine.step("of_template", "SELECT pair_id, template_id FROM by_itself", keep=True)
        return
    engine.step("banded", BANDED)
    engine.step("shared", SHARED, keep=True)
    engine.step("candidate", CANDIDATE, first=_FIRST)
    engine.step("outline", OUTLINE, keep=True)
    engine.step("likely", LIKELY, keep=True, least=least)
    engine.step("tie", TIE, keep=True, least=least)
    group(engine)
    engine.step("of_template", IN_GROUP, keep=True)
