"""screen: pictures against hash and creator lists, then the policy gate again, with all that fetching has found.

Lists of bytes (md5, sha256) match exactly. Lists of looks (pHash, PDQ) match within the policy's radius, exact to the
bit; PDQ also in the seven flips and rotations if the policy says so. ISCCs match by either. A picture whose PDQ
quality is below the policy's is too flat for any look. A URL that redirected into a listed one is opted out as if it
had been asked for itself, also one that an endpoint names, and so is a picture whose file names a listed creator. The
gate then reads every ``signal`` so far: hash lists, files, response headers, host files, registries.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pyarrow as pa

from ..schemas.policy import Policy
from ..udfs.bands import PDQ_WORDS
from . import _by_policy, _endpoints, _gate, _near, _registries
from ._engine import Engine
from ._work import Work

READS = ("pair", "answer", "dropped", "rule", "image", "signal")
WRITES = ("answer", "signal", "dropped")

BYTES_HIT = """
SELECT image.pair_id, active.rule_id, CAST(NULL AS INTEGER) AS distance
FROM image JOIN active ON active.scope = 'md5' AND active.key = image.md5
UNION ALL
SELECT image.pair_id, active.rule_id, CAST(NULL AS INTEGER) AS distance
FROM image JOIN active ON active.scope = 'sha256' AND active.key = image.sha256
"""

COMPARABLE = """
SELECT pair_id, phash, pdq, pdq_dihedral, iscc_image FROM image WHERE status = 'ok' AND pdq_quality >= $min_quality
"""

PHASH_LIST = "SELECT rule_id, 0 AS word, phash_bits(key) AS bits FROM active WHERE scope = 'phash'"
PHASH_LOOK = "SELECT pair_id, 0 AS turn, 0 AS word, phash AS bits FROM comparable"

PDQ_KEY = "SELECT rule_id, hex_bytes(key) AS pdq FROM active WHERE scope = 'pdq'"
PDQ_LIST = "SELECT rule_id, word.word, pdq_word(pdq, word.word) AS bits FROM pdq_key CROSS JOIN word"
PDQ_TURN = """
SELECT pair_id, turn.turn, CASE WHEN turn.turn = 0 THEN pdq ELSE pdq_turn(pdq_dihedral, turn.turn) END AS pdq
FROM comparable CROSS JOIN turn
"""
PDQ_LOOK = "SELECT pair_id, turn, word.word, pdq_word(pdq, word.word) AS bits FROM pdq_turn CROSS JOIN word"

# An ISCC names the file by its bytes, or a look; a code may have a unit for either.
ISCC_KEY = """
SELECT rule_id, iscc_bits(key, 'image') AS look, iscc_bits(key, 'instance') AS file FROM active WHERE scope = 'iscc'
"""
ISCC_LIST = "SELECT rule_id, 0 AS word, look AS bits FROM iscc_key WHERE look IS NOT NULL"
ISCC_LOOK = "SELECT pair_id, 0 AS turn, 0 AS word, iscc_image AS bits FROM comparable WHERE iscc_image IS NOT NULL"
ISCC_FILE = """
SELECT image.pair_id, iscc_key.rule_id FROM image JOIN iscc_key ON image.iscc_instance = iscc_key.file
"""
ISCC_HIT = """
SELECT pair_id, rule_id, CAST(NULL AS INTEGER) AS distance FROM iscc_file
UNION ALL
SELECT listed.pair_id, listed.rule_id, listed.distance
FROM listed LEFT JOIN iscc_file ON listed.pair_id = iscc_file.pair_id AND listed.rule_id = iscc_file.rule_id
WHERE iscc_file.pair_id IS NULL
"""

LOOK_HIT = "SELECT pair_id, rule_id, distance FROM listed"

# A redirect may lead to what a registry names; only chains that left their own URL are looked at.
FINAL = """
SELECT image.pair_id, image.final_url, url_key(image.final_url) AS final_key, pair.url_key
FROM image JOIN pair ON image.pair_id = pair.pair_id
WHERE image.final_url <> pair.url
"""
MOVED = """
SELECT pair_id, final_url, final_key, key_host(final_key) AS final_host FROM final WHERE final_key <> url_key
"""
MOVED_PARENT = """
SELECT final_host, unnest(host_suffixes(final_host)) AS parent
FROM (SELECT DISTINCT final_host FROM moved) AS distinct_host
"""
MOVED_HIT = """
SELECT moved.pair_id, active.rule_id, CAST(NULL AS INTEGER) AS distance
FROM moved JOIN active ON active.scope = 'url' AND active.key = moved.final_key
UNION ALL
SELECT moved.pair_id, active.rule_id, CAST(NULL AS INTEGER) AS distance
FROM moved JOIN active ON active.scope = 'host' AND active.key = moved.final_host
UNION ALL
SELECT moved.pair_id, active.rule_id, CAST(NULL AS INTEGER) AS distance
FROM moved JOIN active ON active.scope = 'url_prefix' AND starts_with(moved.final_key, active.key)
UNION ALL
SELECT moved.pair_id, active.rule_id, CAST(NULL AS INTEGER) AS distance
FROM moved
JOIN moved_parent ON moved.final_host = moved_parent.final_host
JOIN active ON active.scope = 'domain' AND active.key = moved_parent.parent
"""

MOVED_PLACE = "SELECT pair_id, final_key AS url_key, final_host AS host FROM moved"
ASKED_PLACE = """
SELECT moved.pair_id, moved.final_url AS url, moved.final_key AS url_key
FROM moved JOIN alive ON moved.pair_id = alive.pair_id
"""

# Creators that a file names, beside those of the source, which `consult` has matched.
FILE_CREATOR = "SELECT pair_id, unnest(file_creators) AS creator FROM image WHERE file_creators IS NOT NULL"
CREATOR_HIT = """
SELECT DISTINCT named.pair_id, active.rule_id, CAST(NULL AS INTEGER) AS distance
FROM (SELECT pair_id, name_key(creator) AS folded FROM file_creator) AS named
JOIN active ON active.scope = 'creator' AND active.key = named.folded
"""

HIT = """
SELECT pair_id, rule_id, distance FROM bytes_hit
UNION ALL SELECT pair_id, rule_id, distance FROM moved_hit
UNION ALL SELECT pair_id, rule_id, distance FROM creator_hit
"""
HIT_TOO = {
    "phash": " UNION ALL SELECT pair_id, rule_id, distance FROM phash_hit",
    "pdq": " UNION ALL SELECT pair_id, rule_id, distance FROM pdq_hit",
    "iscc": " UNION ALL SELECT pair_id, rule_id, distance FROM iscc_hit",
    "query": " UNION ALL SELECT pair_id, rule_id, CAST(NULL AS INTEGER) AS distance FROM query_hit",
}

# Pictures that lack what a list is compared with: they were fetched when nobody asked for it.
UNMADE = "SELECT pair_id, 'none' AS scope FROM image WHERE FALSE"
UNMADE_TOO = {
    "pdq": """
UNION ALL
SELECT pair_id, 'pdq' AS scope FROM image WHERE status = 'ok' AND pdq_quality >= $min_quality AND pdq_dihedral IS NULL
""",
    "iscc": " UNION ALL SELECT pair_id, 'iscc' AS scope FROM image WHERE status = 'ok' AND iscc_image IS NULL",
}

LISTER = "SELECT scope, min(registry) AS registry FROM active GROUP BY scope"

# What a sensitive list holds is not repeated: the rule's number is enough for whoever has the list.
SIGNAL = """
SELECT hit.pair_id,
       CASE WHEN active.scope IN ('md5', 'sha256', 'phash', 'pdq', 'iscc') THEN 'hash_list' ELSE 'registry' END AS kind,
       active.action AS verdict, active.scope,
       CASE WHEN active.sensitive THEN NULL
            ELSE active.key || coalesce(' at ' || CAST(hit.distance AS VARCHAR) || ' bits', '') END AS value,
       active.registry AS source, active.rule_id, CAST(NULL AS INTEGER) AS hop,
       CASE WHEN active.purpose = 'genai' THEN 'purpose=genai' END AS only_if, $now AS observed_at, $parser AS parser
FROM hit JOIN active ON hit.rule_id = active.rule_id
WHERE active.action = 'deny'
UNION ALL
SELECT unmade.pair_id, 'hash_list' AS kind, 'hold' AS verdict, unmade.scope, CAST(NULL AS VARCHAR) AS value,
       lister.registry AS source, CAST(NULL AS BIGINT) AS rule_id, CAST(NULL AS INTEGER) AS hop,
       CAST(NULL AS VARCHAR) AS only_if, $now AS observed_at, $parser AS parser
FROM unmade JOIN lister ON unmade.scope = lister.scope
"""


def run(work: Work) -> None:
    """Match hash lists and where redirects ended, then apply the policy to all evidence."""
    now = datetime.now(UTC)
    work.store.prune("screen", ["lists", "gate", *_endpoints.partitions(work.job)])
    match_lists(work, now)
    _endpoints.ask(work, "screen", lambda: name_moved(work), now)
    _gate.run(work, "screen")


def name_moved(work: Work) -> None:
    """Name ``place`` on the engine: where the redirects of pairs that are still there have ended."""
    work.alive("screen")
    work.scan("screen", "image")
    for name, sql in (("final", FINAL), ("moved", MOVED), ("place", ASKED_PLACE)):
        work.engine.step(name, sql)


def match_lists(work: Work, now: datetime) -> None:
    """Write the ``signal`` rows of hash lists, and of registries about where a redirect ended or who a file names."""
    policy = work.job.policy
    radii = policy.phash_max_distance, policy.pdq_max_distance, policy.iscc_max_distance
    looks = policy.pdq_min_quality, policy.pdq_dihedral
    task = work.task("screen", "lists", work.fingerprint("screen", radii, looks, sorted(policy.ignore_query_for)))
    if task.done:
        return
    rules = work.store.read("rule")
    with task:
        task.expires_at = _registries.next_change(rules, now)
        work.scan("screen", "pair", "image")
        work.engine.register("active", _registries.in_force(rules, now))
        hits(work.engine, policy, work.scratch)
        work.engine.step("lister", LISTER)
        work.write(task, "signal", SIGNAL, now=now, parser=work.version)


def hits(engine: Engine, policy: Policy, scratch: Callable[[str], str]) -> None:
    """Name ``hit`` on an engine: pair_id, rule_id and distance of every match.

    And ``unmade``: pair_id and scope of pictures that could not be compared with the lists of a scope, because
    fetching has not made what they list. Needs ``pair``, ``image`` and ``active``, the rules in force. ``scratch`` gives
    a new folder by a name.
    """
    listed = set(engine.rows("SELECT DISTINCT scope FROM active")["scope"].to_pylist())
    engine.step("bytes_hit", BYTES_HIT)
    engine.step("final", FINAL)
    engine.step("moved", MOVED, keep=True)
    engine.step("moved_parent", MOVED_PARENT)
    engine.step("moved_hit", MOVED_HIT)
    engine.step("file_creator", FILE_CREATOR)
    engine.step("creator_hit", CREATOR_HIT)
    engine.step("comparable", COMPARABLE, min_quality=policy.pdq_min_quality)
    for scope, look_hits in (("phash", _phash_hits), ("pdq", _pdq_hits), ("iscc", _iscc_hits)):
        if scope in listed:
            look_hits(engine, policy, scratch)
    more = listed | ({"query"} if policy.ignore_query_for else set())
    if policy.ignore_query_for:
        _by_policy.query_hits(engine, policy, MOVED_PLACE)
    engine.step("hit", HIT + "".join(sql for scope, sql in HIT_TOO.items() if scope in more))
    needed = listed if policy.pdq_dihedral else listed - {"pdq"}
    lacking = UNMADE + "".join(sql for scope, sql in UNMADE_TOO.items() if scope in needed)
    engine.step("unmade", lacking, min_quality=policy.pdq_min_quality)


def _phash_hits(engine: Engine, policy: Policy, scratch: Callable[[str], str]) -> None:
    engine.step("list_word", PHASH_LIST, keep=True)
    engine.step("look_word", PHASH_LOOK)
    _near.listed(engine, 1, policy.phash_max_distance, scratch)
    engine.step("phash_hit", LOOK_HIT, keep=True)


def _pdq_hits(engine: Engine, policy: Policy, scratch: Callable[[str], str]) -> None:
    engine.register("word", pa.table({"word": pa.array(range(PDQ_WORDS), pa.int32())}))
    engine.register("turn", pa.table({"turn": pa.array(range(8 if policy.pdq_dihedral else 1), pa.int32())}))
    engine.step("pdq_key", PDQ_KEY)
    engine.step("list_word", PDQ_LIST, keep=True)
    engine.step("pdq_turn", PDQ_TURN)
    engine.step("look_word", PDQ_LOOK)
    _near.listed(engine, PDQ_WORDS, policy.pdq_max_distance, scratch)
    engine.step("pdq_hit", LOOK_HIT, keep=True)


def _iscc_hits(engine: Engine, policy: Policy, scratch: Callable[[str], str]) -> None:
    engine.step("iscc_key", ISCC_KEY, keep=True)
    engine.step("list_word", ISCC_LIST, keep=True)
    engine.step("look_word", ISCC_LOOK)
    _near.listed(engine, 1, policy.iscc_max_distance, scratch)
    engine.step("iscc_file", ISCC_FILE)
    engine.step("iscc_hit", ISCC_HIT, keep=True)
