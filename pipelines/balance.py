"""balance: caps, so that no domain, creator, caption, template of captions or cluster of pictures is over-represented.

Each cap is off unless the config sets it. They are applied in that order, each to what the one before it left.
Which pairs of a group stay is decided by a hash of pair_id: the same on every engine and in every run, and
without regard to where in the list a pair stood. Creators are compared as registries compare them, captions without
regard to case, punctuation and spacing. A pair without a creator is not capped by creator. Visual clusters are those
that `dedup` finds where the config names a model.

A template is a caption with its numbers masked. Templates that are nearly the same, or chained together by others that
are, share a cap. They are looked for among all pairs that reach ``dedup``, and a part of the pairs has no chain that
the whole has not: so the cap holds for whoever looks again at the release.

What over-representation comes to is measured, whether there are caps or not: for domains, creators, captions, templates
(as they are capped, or equal ones), groups of pictures that look alike and visual clusters, the largest holding, the
share of the largest hundredth of names (of one at least), and the Gini coefficient, from 0 (each holds as many) to 1,
before `dedup` and after the caps. The run summary has them.
"""

from __future__ import annotations

from ..schemas.config import Balance
from ..schemas.tables import DROPPED
from ._engine import Engine
from ._templates import templates
from ._work import Work

READS = ("pair", "dropped", "duplicate", "score")
WRITES = ("dropped",)

DOMAIN = "SELECT pair_id, 'domain' AS kind, domain AS name FROM alive"

CREATOR = """
SELECT alive.pair_id, 'creator' AS kind, name_key(alive.creator) AS name
FROM alive LEFT JOIN over_domain ON alive.pair_id = over_domain.pair_id
WHERE over_domain.pair_id IS NULL AND alive.creator IS NOT NULL
"""

CAPTION = """
SELECT alive.pair_id, 'caption' AS kind, caption_key(alive.caption) AS name
FROM alive
LEFT JOIN over_domain ON alive.pair_id = over_domain.pair_id
LEFT JOIN over_creator ON alive.pair_id = over_creator.pair_id
WHERE over_domain.pair_id IS NULL AND over_creator.pair_id IS NULL
"""

# Evidence names the template that stands for the group; the pair's own is nearly the same.
TEMPLATE = """
SELECT alive.pair_id, 'template' AS kind, template.template AS name
FROM alive
JOIN of_template ON alive.pair_id = of_template.pair_id
JOIN template ON of_template.template_id = template.template_id
LEFT JOIN over_domain ON alive.pair_id = over_domain.pair_id
LEFT JOIN over_creator ON alive.pair_id = over_creator.pair_id
LEFT JOIN over_caption ON alive.pair_id = over_caption.pair_id
WHERE over_domain.pair_id IS NULL AND over_creator.pair_id IS NULL AND over_caption.pair_id IS NULL
"""

IN_CLUSTER = "SELECT pair_id, label FROM score WHERE kind = 'visual_cluster'"
VISUAL_CLUSTER = """
SELECT alive.pair_id, 'visual_cluster' AS kind, in_cluster.label AS name
FROM alive JOIN in_cluster ON alive.pair_id = in_cluster.pair_id
LEFT JOIN over_domain ON alive.pair_id = over_domain.pair_id
LEFT JOIN over_creator ON alive.pair_id = over_creator.pair_id
LEFT JOIN over_caption ON alive.pair_id = over_caption.pair_id
LEFT JOIN over_template ON alive.pair_id = over_template.pair_id
WHERE over_domain.pair_id IS NULL AND over_creator.pair_id IS NULL AND over_caption.pair_id IS NULL
  AND over_template.pair_id IS NULL
"""

RANKED = """
SELECT pair_id, kind, name, row_number() OVER (PARTITION BY name ORDER BY draw, pair_id) AS place
FROM (SELECT pair_id, kind, name, stable_hash(CAST(pair_id AS VARCHAR)) AS draw FROM named) AS drawn
WHERE name IS NOT NULL
"""

OVER = """
SELECT pair_id, 'balance' AS stage, 'cap_' || kind AS reason,
       kind || '=' || name || ' rank=' || CAST(place AS VARCHAR) || ' cap=' || CAST($cap AS VARCHAR) AS evidence
FROM ranked WHERE place > $cap
"""

ALL_OVER = """
SELECT * FROM over_domain UNION ALL SELECT * FROM over_creator UNION ALL SELECT * FROM over_caption
UNION ALL SELECT * FROM over_template UNION ALL SELECT * FROM over_visual_cluster
"""


# How unevenly pairs are shared out, before `dedup` and after the caps.
REACHED = "SELECT pair_id, domain, creator, caption FROM alive"
LEFT = """
SELECT alive.pair_id, domain, creator, caption FROM alive LEFT JOIN over_cap ON alive.pair_id = over_cap.pair_id
WHERE over_cap.pair_id IS NULL
"""
HOLDING = """
SELECT kind, name, count(*) AS held
FROM (
    SELECT 'domain' AS kind, domain AS name FROM counted
    UNION ALL SELECT 'creator' AS kind, name_key(creator) AS name FROM counted
    UNION ALL SELECT 'caption' AS kind, caption_key(caption) AS name FROM counted
    UNION ALL
    SELECT 'template' AS kind, CAST(of_template.template_id AS VARCHAR) AS name
    FROM counted JOIN of_template ON counted.pair_id = of_template.pair_id
    UNION ALL
    SELECT 'picture' AS kind, CAST(coalesce(duplicate.group_id, counted.pair_id) AS VARCHAR) AS name
    FROM counted LEFT JOIN duplicate ON counted.pair_id = duplicate.pair_id
    UNION ALL
    SELECT 'visual_cluster' AS kind, in_cluster.label AS name
    FROM counted JOIN in_cluster ON counted.pair_id = in_cluster.pair_id
) AS held_by
WHERE name IS NOT NULL GROUP BY kind, name
"""
CONCENTRATION = """
SELECT kind, max(names) AS names, sum(held) AS pairs, max(held) AS largest,
       sum(CASE WHEN place > names - greatest(1.0, names * 0.01) THEN held ELSE 0 END) / sum(CAST(held AS DOUBLE))
           AS top_share,
       sum((2.0 * place - names - 1) * held) / (max(names) * sum(CAST(held AS DOUBLE))) AS gini
FROM (
    SELECT kind, held, row_number() OVER (PARTITION BY kind ORDER BY held) AS place,
           count(*) OVER (PARTITION BY kind) AS names
    FROM holding
) AS ranked
GROUP BY kind ORDER BY kind
"""


def run(work: Work) -> None:
    """Drop what exceeds the caps, and measure how unevenly pairs were and are shared out."""
    config = work.job.config.balance
    task = work.task("balance", "all", work.fingerprint("balance", config))
    if task.done:
        return
    with task:
        work.alive("dedup")
        work.scan("balance", "duplicate", "score")
        work.engine.step("in_cluster", IN_CLUSTER)
        templates(work.engine, config.template_min_jaccard if config.max_per_template is not None else None)
        before = _concentration(work.engine, REACHED)
        work.alive("balance")
        _cap(work.engine, "over_domain", DOMAIN, config.max_per_domain)
        _cap(work.engine, "over_creator", CREATOR, config.max_per_creator)
        _cap(work.engine, "over_caption", CAPTION, config.max_per_caption)
        _cap(work.engine, "over_template", TEMPLATE, config.max_per_template)
        _cap(work.engine, "over_visual_cluster", VISUAL_CLUSTER, config.max_per_visual_cluster)
        work.engine.step("over_cap", ALL_OVER)
        after = _concentration(work.engine, LEFT)
        task.extra["concentration"] = {kind: {"before": before[kind], "after": after.get(kind)} for kind in before}
        if config != Balance():
            work.write(task, "dropped", ALL_OVER)


def _concentration(engine: Engine, counted: str) -> dict[str, dict[str, int | float]]:
    """How unevenly pairs are shared out among names, by kind of name."""
    engine.step("counted", counted)
    engine.step("holding", HOLDING)
    rows = engine.rows(CONCENTRATION).to_pylist()
    whole, shares = ("names", "pairs", "largest"), ("top_share", "gini")
    return {
        row["kind"]: {name: int(row[name]) for name in whole} | {name: round(row[name], 4) for name in shares}
        for row in rows
    }


def _cap(engine: Engine, over: str, named: str, cap: int | None) -> None:
    """Name the ``dropped`` rows of one cap on the engine."""
    if cap is None:
        engine.register(over, DROPPED.schema.empty_table())
        return
    engine.step("named", named)
    engine.step("ranked", RANKED)
    engine.step(over, OVER, keep=True, cap=cap)
