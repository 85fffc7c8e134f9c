"""Released pairs against rules of today: which would be left out now?"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pyarrow as pa

from ._catalog import Catalog
from ._engine import Steps
from ._registries import in_force
from .consult import STEPS as REGISTRY_STEPS

_PAIR = "SELECT pair_id, url_key, host, creator, licence FROM outcome WHERE outcome = 'released'"

_PICTURE = "SELECT image.* FROM image JOIN sample ON image.pair_id = sample.pair_id"

_BYTES_HIT = """
SELECT pair_id, rule_id FROM picture JOIN active ON active.scope = 'md5' AND active.key = picture.md5
UNION ALL
SELECT pair_id, rule_id FROM picture JOIN active ON active.scope = 'sha256' AND active.key = picture.sha256
"""

# As in `screen`: a picture below the quality is too flat to be compared by its PDQ.
_LOOK_HIT = """
SELECT pair_id, rule_id
FROM picture JOIN (SELECT rule_id, ('0x' || key)::UBIGINT AS bits FROM active WHERE scope = 'phash') AS listed
  ON bit_count(xor((phash::HUGEINT & 18446744073709551615)::UBIGINT, bits)) <= $phash_max
UNION ALL
SELECT pair_id, rule_id
FROM picture JOIN (SELECT rule_id, unhex(key)::BIT AS bits FROM active WHERE scope = 'pdq') AS listed
  ON octet_length(pdq) = 32 AND pdq_quality >= $pdq_min_quality AND bit_count(xor(pdq::BIT, bits)) <= $pdq_max
"""

# A licence recorded for the asset beats a deny, but not a hash list.
_VIOLATION = """
WITH every_hit AS (
    SELECT pair_id, rule_id FROM hit UNION ALL SELECT * FROM bytes_hit UNION ALL SELECT * FROM look_hit
),
ruled AS (SELECT DISTINCT pair_id, active.* FROM every_hit JOIN active ON every_hit.rule_id = active.rule_id),
licensed AS (SELECT DISTINCT pair_id FROM ruled WHERE action = 'allow')
SELECT ruled.pair_id, outcome.url, outcome.key AS sample_key, ruled.rule_id, ruled.registry, ruled.scope,
       CASE WHEN ruled.sensitive THEN NULL ELSE ruled.key END AS rule_key
FROM ruled JOIN outcome ON ruled.pair_id = outcome.pair_id
LEFT JOIN licensed ON ruled.pair_id = licensed.pair_id
WHERE ruled.action = 'deny'
  AND (licensed.pair_id IS NULL OR ruled.scope IN ('md5', 'sha256', 'phash', 'pdq'))
ORDER BY ruled.registry, ruled.scope, ruled.rule_id, ruled.pair_id
"""


def violations(catalog: Catalog, rules: pa.Table, policy: dict[str, Any], now: datetime) -> list[dict[str, Any]]:
    """Released pairs that a rule in force forbids.

    Args:
        catalog: of a release.
        rules: ``rule``[n], of all scopes.
        policy: the manifest's: purpose, and how far hashes may differ.
        now: when the rules have to be in force.

    Returns:
        pair_id, url, sample_key, rule_id, registry, scope and rule_key (null if sensitive) of each.
    """
    catalog.connection.register("active", in_force(rules, now, policy["purpose"]))
    steps = Steps()
    for name, sql in {"pair": _PAIR, **REGISTRY_STEPS, "picture": _PICTURE, "bytes_hit": _BYTES_HIT}.items():
        steps.add(name, sql, {})
    limits = {name: policy[f"{name}_distance"] for name in ("phash_max", "pdq_max")}
    steps.add("look_hit", _LOOK_HIT, {**limits, "pdq_min_quality": policy["pdq_min_quality"]})
    query, params = steps.compile(_VIOLATION, {})
    return catalog.dicts(query, **params)
