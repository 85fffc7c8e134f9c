"""Released pairs against rules of today: which would be left out now?

Matching is that of the stages, step by step: a release is judged as a run would judge it.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from datetime import datetime
from typing import Any

import pyarrow as pa

from ..schemas.errors import ReleaseError
from ..schemas.policy import Policy
from ..schemas.release import OUTCOME, public
from . import _by_policy, consult, screen
from ._engine import DuckDBEngine
from ._registries import HASH_SCOPES, in_force
from ._release import Release

RELEASED = "SELECT * FROM outcome WHERE outcome = 'released'"
SHOWN = "SELECT * FROM outcome WHERE NOT withheld"
IMAGE = "SELECT public_image.* FROM public_image JOIN pair ON public_image.pair_id = pair.pair_id"

# A picture without bytes of its own was never compared with any list.
NOT_COMPARED = """
SELECT min(scope) AS scope, count(*) AS rows
FROM unmade JOIN image ON unmade.pair_id = image.pair_id
WHERE sha256 IS NOT NULL
"""
_LACKING = {"iscc": "ISCC", "pdq": "PDQ of their flips"}

REGISTRY_HIT = "SELECT pair_id, rule_id FROM hit"
POLICY_TOO = " UNION ALL SELECT pair_id, rule_id FROM policy_hit"

RULED = """
SELECT every_hit.pair_id, active.*
FROM (SELECT pair_id, rule_id FROM registry_hit UNION SELECT pair_id, rule_id FROM hit) AS every_hit
JOIN active ON every_hit.rule_id = active.rule_id
"""

# A licence recorded for the asset, then or now, beats a reservation, but not a hash list.
LICENSED = """
SELECT pair_id FROM ruled WHERE action = 'allow'
UNION
SELECT pair_id FROM signal
WHERE kind = 'registry' AND verdict = 'allow' AND (only_if IS NULL OR only_if = $only_if)
"""
VIOLATION = """
SELECT ruled.pair_id, pair.url, pair.key AS sample_key, ruled.rule_id, ruled.registry, ruled.scope,
       CASE WHEN ruled.sensitive THEN NULL ELSE ruled.key END AS rule_key
FROM ruled JOIN pair ON ruled.pair_id = pair.pair_id
LEFT JOIN licensed ON ruled.pair_id = licensed.pair_id
LEFT JOIN hash_scope ON ruled.scope = hash_scope.scope
WHERE ruled.action = 'deny' AND (licensed.pair_id IS NULL OR hash_scope.scope IS NOT NULL)
ORDER BY ruled.registry, ruled.scope, ruled.rule_id, ruled.pair_id
"""


def violations(release: Release, rules: pa.Table, policy: Policy, now: datetime) -> list[dict[str, Any]]:
    """Released pairs that a rule in force forbids.

    Args:
        release: what to check.
        rules: ``rule``[n], of all scopes.
        policy: the release's own: purpose, and how far hashes may differ.
        now: when the rules have to be in force.

    Returns:
        pair_id, url, sample_key, rule_id, registry, scope and rule_key (null if sensitive) of each.

    Raises:
        ReleaseError: pictures lack what a list is compared with, as of a job that listed no ISCC.
    """
    return forbidden(release, rules, policy, now).to_pylist()


def forbidden(release: Release, rules: pa.Table, policy: Policy, now: datetime, pairs: str = RELEASED) -> pa.Table:
    """The same as a table; ``pairs`` is a query over ``outcome`` that says which pairs to look at."""
    with tempfile.TemporaryDirectory() as spill:
        engine = DuckDBEngine(os.cpu_count() or 1, None, spill)
        try:
            _scan(engine, release, pairs)
            engine.register("active", in_force(rules, now, policy.purpose))
            engine.register("hash_scope", pa.table({"scope": list(HASH_SCOPES)}))
            for name, sql in consult.STEPS.items():
                engine.step(name, sql)
            more = _by_policy.hits(engine, policy)
            engine.step("registry_hit", f"{REGISTRY_HIT}{POLICY_TOO if more else ''}", keep=True)
            screen.hits(engine, policy, lambda name: f"{spill}/{name}-{uuid.uuid4().hex[:8]}")
            (lacking,) = engine.rows(NOT_COMPARED).to_pylist()
            if lacking["rows"]:
                raise ReleaseError(
                    release.root,
                    f"{lacking['rows']:,} pictures have no {_LACKING[lacking['scope']]}, which a list is compared with",
                    "a release of a job whose policy and registries ask for it",
                    "Add the list to the job and run it again, or name the pictures by URL or sha256",
                )
            engine.step("ruled", RULED)
            engine.step("licensed", LICENSED, only_if=f"purpose={policy.purpose}")
            return engine.rows(VIOLATION)
        finally:
            engine.close()


def _scan(engine: DuckDBEngine, release: Release, pairs: str) -> None:
    """Name the pairs to look at, their images and what was said about them."""
    kinds = {"outcome": ("pairs/", OUTCOME)}
    kinds |= {f"public_{name}": (f"tables/{name}-", public(name)) for name in ("image", "signal")}
    present = release.files()
    for name, (prefix, schema) in kinds.items():
        files = [f"{release.root}/{file}" for file in present if file.startswith(prefix)]
        engine.scan(name, files, schema)
    engine.step("pair", pairs, keep=True)
    engine.step("image", IMAGE, keep=True)
    engine.step("signal", "SELECT pair_id, kind, verdict, only_if FROM public_signal")
