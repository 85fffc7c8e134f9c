"""balance: caps, so that no domain, creator or caption is over-represented.

Each cap is off unless the config sets it. They are applied in that order, each to what the one before it left.
Which pairs of a group stay is decided by a hash of pair_id: the same on every engine and in every run, and
without regard to where in the list a pair stood. Creators are compared as registries compare them, captions without
regard to case, punctuation and spacing. A pair without a creator is not capped by creator.
"""

from __future__ import annotations

from ..schemas.config import Balance
from ..schemas.tables import DROPPED
from ._engine import Engine
from ._work import Work

READS = ("pair", "dropped")
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

ALL_OVER = "SELECT * FROM over_domain UNION ALL SELECT * FROM over_creator UNION ALL SELECT * FROM over_caption"


def run(work: Work) -> None:
    """Drop what exceeds the caps."""
    config = work.job.config.balance
    task = work.task("balance", "all", work.fingerprint("balance", config))
    if task.done:
        return
    with task:
        if config == Balance():
            return
        work.alive("balance")
        _cap(work.engine, "over_domain", DOMAIN, config.max_per_domain)
        _cap(work.engine, "over_creator", CREATOR, config.max_per_creator)
        _cap(work.engine, "over_caption", CAPTION, config.max_per_caption)
        work.write(task, "dropped", ALL_OVER)


def _cap(engine: Engine, over: str, named: str, cap: int | None) -> None:
    """Name the ``dropped`` rows of one cap on the engine."""
    if cap is None:
        engine.register(over, DROPPED.schema.empty_table())
        return
    engine.step("named", named)
    engine.step("ranked", RANKED)
    engine.step(over, OVER, keep=True, cap=cap)
