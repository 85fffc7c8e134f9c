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
from ._concentration import CONCENTRATION, HOLDING, IN_CLUSTER, figures
from ._engine import Engine
from ._templates import templates
from ._work import Work

READS = ("pair", "dropped", "duplicate", "score")
WRITES = ("dropped",)

# What the caps so far have left.
OPEN = "SELECT alive.* FROM alive LEFT JOIN over_cap ON alive.pair_id = over_cap.pair_id WHERE over_cap.pair_id IS NULL"

DOMAIN = "SELECT pair_id, 'domain' AS kind, domain AS name FROM open_pair"
CREATOR = "SELECT pair_id, 'creator' AS kind, name_key(creator) AS name FROM open_pair WHERE creator IS NOT NULL"
CAPTION = "SELECT pair_id, 'caption' AS kind, caption_key(caption) AS name FROM open_pair"

# Evidence names the template that stands for the group; the pair's own is nearly the same.
TEMPLATE = """
SELECT open_pair.pair_id, 'template' AS kind, template.template AS name
FROM open_pair
JOIN of_template ON open_pair.pair_id = of_template.pair_id
JOIN template ON of_template.template_id = template.template_id
"""

VISUAL_CLUSTER = """
SELECT open_pair.pair_id, 'visual_cluster' AS kind, in_cluster.label AS name
FROM open_pair JOIN in_cluster ON open_pair.pair_id = in_cluster.pair_id
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

# How unevenly pairs are shared out, before `dedup` and after the caps.
REACHED = "SELECT pair_id, domain, name_key(creator) AS creator, caption_key(caption) AS caption FROM alive"
LEFT = "SELECT pair_id, domain, name_key(creator) AS creator, caption_key(caption) AS caption FROM open_pair"


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
        _cap(work.engine, {
            DOMAIN: config.max_per_domain, CREATOR: config.max_per_creator, CAPTION: config.max_per_caption,
            TEMPLATE: config.max_per_template, VISUAL_CLUSTER: config.max_per_visual_cluster,
        })  # fmt: skip
        after = _concentration(work.engine, LEFT)
        task.extra["concentration"] = {kind: {"before": before[kind], "after": after.get(kind)} for kind in before}
        if config != Balance():
            work.write(task, "dropped", "SELECT * FROM over_cap")


def _concentration(engine: Engine, counted: str) -> dict[str, dict[str, int | float]]:
    """How unevenly pairs are shared out among names, by kind of name."""
    engine.step("counted", counted)
    engine.step("holding", HOLDING)
    return figures(engine.rows(CONCENTRATION).to_pylist())


def _cap(engine: Engine, caps: dict[str, int | None]) -> None:
    """Name ``over_cap``, the ``dropped`` rows of all caps, and ``open_pair``, what they leave.

    Args:
        caps: what shares a cap, a query over ``open_pair``, and the cap; in the order in which they are applied.
    """
    engine.register("over_none", DROPPED.schema.empty_table())
    over = ["SELECT * FROM over_none"]
    _left_open(engine, over)
    for number, (named, cap) in enumerate(caps.items()):
        if cap is not None:
            engine.step("named", named)
            engine.step("ranked", RANKED)
            engine.step(f"over_{number}", OVER, keep=True, cap=cap)
            over.append(f"SELECT * FROM over_{number}")
            _left_open(engine, over)


def _left_open(engine: Engine, over: list[str]) -> None:
    engine.step("over_cap", " UNION ALL ".join(over))
    engine.step("open_pair", OPEN)
