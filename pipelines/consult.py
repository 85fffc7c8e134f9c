"""consult: all that can be known about a pair's permission before its image is asked for.

Registries are matched by URL, prefix, host, domain, creator and licence; Do-Not-Train endpoints are asked about the
URLs that these leave open (``_endpoints``); every host is asked once for its robots.txt, ai.txt and tdmrep.json, and
for the RSL files that robots.txt names. What they say becomes ``signal`` rows, as what pages said has in ``ingest``;
the policy gate then decides which pairs go no further. A registry that is missing, unreadable or too old refuses the
run; an endpoint or a host that gives no answer holds its pairs.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pyarrow as pa

from ..schemas.config import fingerprint
from ..schemas.errors import RegistryError
from ..schemas.tables import RULE
from . import _again, _by_policy, _endpoints, _gate, _politeness, _registries
from ._hosts import Ask, ask, host_files, in_time, options
from ._store import Task
from ._terms import Judge, judge
from ._work import Work

READS = ("pair", "signal")
WRITES = ("rule", "answer", "host_file", "signal", "dropped")

URL_HIT = "SELECT pair_id, rule_id FROM pair JOIN active ON active.scope = 'url' AND active.key = pair.url_key"

# A prefix names a whole host, so only that host's pairs are cut to its length and compared. Keys are ASCII.
PREFIX_SIZE = "SELECT DISTINCT key_host(key) AS host, length(key) AS size FROM active WHERE scope = 'url_prefix'"
PREFIX_HIT = """
SELECT pair.pair_id, active.rule_id
FROM pair
JOIN prefix_size ON pair.host = prefix_size.host
JOIN active ON active.scope = 'url_prefix' AND active.key = substr(pair.url_key, 1, prefix_size.size)
"""

HOST_HIT = "SELECT pair_id, rule_id FROM pair JOIN active ON active.scope = 'host' AND active.key = pair.host"

# Subdomains are covered: each distinct host meets the rules with each of its parents.
PARENT = """
SELECT host, unnest(host_suffixes(host)) AS parent
FROM (SELECT DISTINCT host FROM pair) AS distinct_host
"""
DOMAIN_RULE = """
SELECT parent.host, active.rule_id FROM parent JOIN active ON active.scope = 'domain' AND active.key = parent.parent
"""
DOMAIN_HIT = "SELECT pair_id, rule_id FROM pair JOIN domain_rule ON pair.host = domain_rule.host"

CREATOR = """
SELECT creator, name_key(creator) AS folded
FROM (SELECT DISTINCT creator FROM pair WHERE creator IS NOT NULL) AS distinct_creator
"""
CREATOR_HIT = """
SELECT pair.pair_id, active.rule_id
FROM pair
JOIN creator_name ON pair.creator = creator_name.creator
JOIN active ON active.scope = 'creator' AND active.key = creator_name.folded
"""

LICENCE = """
SELECT licence, name_key(licence) AS folded
FROM (SELECT DISTINCT licence FROM pair WHERE licence IS NOT NULL) AS distinct_licence
"""
LICENCE_HIT = """
SELECT pair.pair_id, active.rule_id
FROM pair
JOIN licence_name ON pair.licence = licence_name.licence
JOIN active ON active.scope = 'licence' AND active.key = licence_name.folded
"""

HIT = """
SELECT * FROM url_hit UNION ALL SELECT * FROM prefix_hit UNION ALL SELECT * FROM host_hit
UNION ALL SELECT * FROM domain_hit UNION ALL SELECT * FROM creator_hit UNION ALL SELECT * FROM licence_hit
"""

REGISTRY_SIGNAL = """
SELECT hit.pair_id, 'registry' AS kind, active.action AS verdict, active.scope,
       CASE WHEN active.sensitive THEN NULL ELSE active.key END AS value,
       active.registry AS source, active.rule_id, CAST(NULL AS INTEGER) AS hop,
       CASE WHEN active.purpose = 'genai' THEN 'purpose=genai' END AS only_if, $now AS observed_at, $parser AS parser
FROM hit JOIN active ON hit.rule_id = active.rule_id
"""

PLACE = "SELECT pair_id, url, url_key FROM pair"

# A host belongs to one partition, so that one worker is polite to it without asking the others.
BY_HOST = """
SELECT pair_id, url, url_origin(url) AS origin,
       CAST(((stable_hash(host) % $partitions) + $partitions) % $partitions AS INTEGER) AS part
FROM pair
"""
ORIGIN = "SELECT DISTINCT origin, part FROM by_host"

BY_HOST_SCHEMA = pa.schema(
    [("pair_id", pa.int64()), ("url", pa.string()), ("origin", pa.string()), ("part", pa.int32())]
)
ORIGIN_SCHEMA = pa.schema([("origin", pa.string()), ("part", pa.int32())])

# Pairs that are out because a file of their host was left for a later run, by why it was.
LEFT = """
SELECT host_file.error AS why, count(DISTINCT decisive.pair_id) AS pairs
FROM decisive
JOIN alive ON decisive.pair_id = alive.pair_id
JOIN host_file ON decisive.source = host_file.url AND decisive.kind = host_file.kind
JOIN code ON host_file.error = code.code
WHERE decisive.drops AND decisive.verdict = 'hold'
GROUP BY host_file.error
"""

STEPS = {
    "url_hit": URL_HIT,
    "prefix_size": PREFIX_SIZE,
    "prefix_hit": PREFIX_HIT,
    "host_hit": HOST_HIT,
    "parent": PARENT,
    "domain_rule": DOMAIN_RULE,
    "domain_hit": DOMAIN_HIT,
    "creator_name": CREATOR,
    "creator_hit": CREATOR_HIT,
    "licence_name": LICENCE,
    "licence_hit": LICENCE_HIT,
    "hit": HIT,
}


def run(work: Work) -> None:
    """Record what registries and hosts say, then apply the policy.

    Raises:
        RegistryError: a registry is missing, stale or unreadable.
        Refused: the config switches host files off and the policy does not say so.
    """
    now = datetime.now(UTC)
    asking = host_files(work.job)
    _registries.check(work.job, now)
    match_registries(work, now)
    partitions = work.job.config.consult.partitions if asking != "off" else 0
    names = {kind: [f"{kind}-{number:04d}" for number in range(partitions)] for kind in ("ask", "judge")}
    asked = _endpoints.partitions(work.job)
    work.store.prune("consult", ["registry", "gate", *asked, *names["ask"], *names["judge"]])
    _endpoints.ask(work, "consult", lambda: name_listed(work), now)
    if partitions:
        ask_hosts(work, names, asking)
    _gate.run(work, "consult", lambda task: _count_left(work, task))


def _count_left(work: Work, task: Task) -> None:
    work.scan_all("consult", "host_file")
    work.engine.register("code", pa.table({"code": pa.array(sorted(_politeness.LEFT), pa.string())}))
    task.extra["left"] = {row["why"]: row["pairs"] for row in work.engine.rows(LEFT).to_pylist()}


def name_listed(work: Work) -> None:
    """Name ``place`` on the engine: the URLs of the sources."""
    work.scan("consult", "pair")
    work.engine.step("place", PLACE)


def check_registries(work: Work, now: datetime) -> None:
    """Refuse a job whose registries could not be used. Those that an earlier run has read are not read again.

    Raises:
        RegistryError: one is missing, stale, or holds no usable keys, or an endpoint may not be asked.
    """
    _registries.check(work.job, now)
    _endpoints.check(work)
    mark = work.store.mark("consult", "registry")
    if mark is None or mark.extra.get("registry_files") != _registry_files(work):
        _registries.load(work.job, now)


def match_registries(work: Work, now: datetime) -> None:
    """Write ``rule`` and the ``signal`` rows of all registries."""
    job, files = work.job, _registry_files(work)
    task = work.task("consult", "registry", work.fingerprint("consult", files, _by_policy.reads(job.policy)))
    if task.done:
        return
    with task:
        loaded = _registries.load(job, now)
        _refuse_torn(work, files)
        _registries.forget()
        rules = pa.concat_tables([RULE.schema.empty_table(), *(one.rules for one in loaded)])
        task.expires_at = _registries.next_change(rules, now)
        task.extra["registry_files"] = files
        task.extra["registry_stamps"] = _stamps(work)
        task.extra["registry_sha256"] = {one.registry.name: one.sha256 for one in loaded}
        task.extra["registry_malformed"] = {one.registry.name: one.malformed for one in loaded}
        task.extra["registry_left_out"] = {one.registry.name: one.left_out for one in loaded}
        task.write("rule", rules)
        active = _registries.in_force(rules, now)
        work.scan("consult", "pair")
        work.engine.register("active", active)
        for name, sql in STEPS.items():
            work.engine.step(name, sql)
        more = _by_policy.hits(work.engine, job.policy)
        signal = f"{REGISTRY_SIGNAL} UNION ALL {_by_policy.SIGNAL}" if more else REGISTRY_SIGNAL
        work.write(task, "signal", signal, now=now, parser=work.version)


def ask_hosts(work: Work, names: dict[str, list[str]], how: str) -> None:
    """Write ``host_file`` and the ``signal`` rows of what hosts say."""
    job = work.job
    asking = fingerprint(work.version, work.marks("ingest"), job.config.consult, how, job.policy.host_file_max_age_days)
    since = _again.wishes(work.store).refresh if how == "fetch" else None
    asked = work.undone(
        "consult", names["ask"], asking, lambda mark: _again.older(mark, since) or in_time(mark, job.config)
    )
    if not asked and not _unjudged(work, names["judge"], asking):
        return
    folder = _inputs(work, len(names["ask"]))
    http = tuple(sorted(options(work.http_shared(len(asked)), job).items()))
    tasks = [
        Ask(
            root=work.store.root,
            partition=name,
            fingerprint=asking,
            origins=work.partition_files(f"{folder}/origins", "part", int(name[-4:])),
            http=http,
            max_age_s=job.policy.host_file_max_age_days * 86400,
            since=since,
            ask=how == "fetch",
        )
        for name in asked
    ]
    for _ in work.map("consult: hosts", ask, tasks, lambda count: f"{count} requests"):
        pass
    unjudged = _unjudged(work, names["judge"], asking)
    judges = [_judge_task(work, folder, name, _judging(work, name, asking)) for name in unjudged]
    for _ in work.map("consult: rules", judge, judges, lambda count: f"{count} pairs"):
        pass


def _unjudged(work: Work, names: list[str], asking: str) -> list[str]:
    return [name for name in names if not work.task("consult", name, _judging(work, name, asking)).done]


def _judging(work: Work, name: str, asking: str) -> str:
    """Fingerprint of a judged partition. It names the very answers: asked again, they are judged again."""
    answers = work.store.mark("consult", name.replace("judge", "ask"))
    return fingerprint(asking, answers and answers.committed_at)


def _registry_files(work: Work) -> str:
    registries = work.job.config.registries
    return fingerprint(work.version, [(registry, work.stamp(work.job.path(registry.path))) for registry in registries])


def _stamps(work: Work) -> dict[str, str]:
    """Size and time of change of each registry's file; nothing of one that is gone."""
    found = {}
    for registry in work.job.config.registries:
        with suppress(FileNotFoundError):
            found[registry.name] = work.stamp(work.job.path(registry.path))
    return found


def _refuse_torn(work: Work, files: str) -> None:
    """Refuse registries that have changed while they were read: half a list is half of its opt-outs.

    Raises:
        RegistryError: they have.
    """
    if _registry_files(work) != files:
        raise RegistryError(
            "registries", "a file changed while it was read", "files that are replaced whole",
            "Nothing of them was used. Run again when it is there",
        )  # fmt: skip


def replaced(work: Work) -> list[str]:
    """Registries whose files are not what this job has read of them any more."""
    mark = work.store.mark("consult", "registry")
    known, there = mark.extra.get("registry_stamps", {}) if mark else {}, _stamps(work)
    return sorted(name for name in known if there.get(name) != known[name])


def _inputs(work: Work, partitions: int) -> str:
    folder = work.scratch("consult-inputs")
    work.scan("consult", "pair")
    work.engine.step("by_host", BY_HOST, partitions=partitions)
    work.engine.write("SELECT * FROM by_host", f"{folder}/pairs", BY_HOST_SCHEMA, partition_by="part")
    work.engine.write(ORIGIN, f"{folder}/origins", ORIGIN_SCHEMA, partition_by="part")
    return folder


def _judge_task(work: Work, folder: str, name: str, print_: str) -> Judge:
    number = int(name[-4:])
    mark = work.store.mark("consult", f"ask-{number:04d}")
    return Judge(
        root=work.store.root,
        partition=name,
        fingerprint=print_,
        pairs=work.partition_files(f"{folder}/pairs", "part", number),
        host_files=tuple(work.store.path(file) for file in (mark.files.get("host_file", []) if mark else [])),
    )
