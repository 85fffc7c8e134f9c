"""Registry matches that only some policies ask for: names in captions, URLs of some hosts without their query.

They are looked for under such a policy alone, refuse and never permit, and their evidence says on which line of the
policy it depends.
"""

from __future__ import annotations

import pyarrow as pa

from ..schemas.policy import Policy
from ._engine import Engine

# A listed name as whole words of a caption.
CAPTION_NAME = """
SELECT rule_id, caption_key(key) AS name FROM active WHERE scope = 'creator' AND action = 'deny'
"""
CAPTION_HIT = """
SELECT DISTINCT phrase.pair_id, caption_name.rule_id
FROM (SELECT pair_id, unnest(phrases(caption_key(caption), $most)) AS words FROM pair) AS phrase
JOIN caption_name ON phrase.words = caption_name.name
"""
_NAME_WORDS = 8  # longer names are not looked for in captions

# Hosts whose query only says how large a picture is to be: with another query it is the same picture.
PLACE = "SELECT pair_id, url_key, host FROM pair"
QUERY_RULE = """
SELECT active.rule_id, active.key, split_part(active.key, '?', 1) AS bare, query_host.host
FROM active JOIN query_host ON key_host(active.key) = query_host.host
WHERE active.scope = 'url' AND active.action = 'deny'
"""
QUERY_HIT = """
SELECT place.pair_id, query_rule.rule_id, query_rule.host
FROM place
JOIN query_rule ON place.host = query_rule.host AND split_part(place.url_key, '?', 1) = query_rule.bare
WHERE place.url_key <> query_rule.key
"""

BY_CAPTION = "SELECT pair_id, rule_id, 'caption' AS scope, 'creator_in_caption=deny' AS only_if FROM caption_hit"
BY_QUERY = "SELECT pair_id, rule_id, 'url' AS scope, 'ignore_query_for=' || host AS only_if FROM query_hit"

SIGNAL = """
SELECT policy_hit.pair_id, 'registry' AS kind, active.action AS verdict, policy_hit.scope,
       CASE WHEN active.sensitive THEN NULL ELSE active.key END AS value,
       active.registry AS source, active.rule_id, CAST(NULL AS INTEGER) AS hop,
       CASE WHEN policy_hit.scope = 'url' AND active.purpose = 'genai' THEN 'purpose=genai'
            ELSE policy_hit.only_if END AS only_if,
       $now AS observed_at, $parser AS parser
FROM policy_hit JOIN active ON policy_hit.rule_id = active.rule_id
"""


def reads(policy: Policy) -> tuple[object, ...]:
    """What of a policy decides what is looked for: for fingerprints."""
    return policy.creator_in_caption, sorted(policy.ignore_query_for)


def hits(engine: Engine, policy: Policy) -> bool:
    """Name ``policy_hit``: pair_id, rule_id, scope, only_if. False, and nothing named, if the policy asks for none.

    Needs the relations ``pair`` and ``active``, the rules in force.
    """
    asked = []
    if policy.creator_in_caption == "deny":
        engine.step("caption_name", CAPTION_NAME)
        longest = engine.rows("SELECT max(word_count(name)) AS words FROM caption_name")["words"][0].as_py()
        engine.step("caption_hit", CAPTION_HIT, most=min(longest or 1, _NAME_WORDS))
        asked.append(BY_CAPTION)
    if policy.ignore_query_for:
        query_hits(engine, policy, PLACE)
        asked.append(BY_QUERY)
    if asked:
        engine.step("policy_hit", " UNION ALL ".join(asked))
    return bool(asked)


def query_hits(engine: Engine, policy: Policy, place: str) -> None:
    """Name ``query_hit``: pair_id, rule_id and host of what is listed with another query. Needs ``active``.

    Args:
        place: a query for pair_id, url_key and host of what to look at.
    """
    engine.register("query_host", pa.table({"host": pa.array(sorted(set(policy.ignore_query_for)), pa.string())}))
    engine.step("place", place)
    engine.step("query_rule", QUERY_RULE)
    engine.step("query_hit", QUERY_HIT)
