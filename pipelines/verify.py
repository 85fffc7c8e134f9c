"""verify: is a release what its manifest says, and may its pairs still be used?

Every file is hashed again, every shard is read to its end and compared with the tables, the books are balanced
again, and, given registries, every released pair is checked against them as they are today.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypedDict, get_args

import pyarrow as pa

from ..schemas import typed_yaml
from ..schemas.config import Registry, Scope
from ..schemas.errors import InputError, RegistryError, ReleaseError, SqlError
from ..schemas.policy import Policy
from . import _chain, _manifest, sign
from ._catalog import Catalog, open_release
from ._progress import log
from ._recheck import violations
from ._registries import Loaded, load_one, warn_of_age
from ._registry_file import READERS, ending
from ._release import CATALOG, MANIFEST, REPORT, SIGNATURE, Release
from ._shard_check import shards

SCOPES = get_args(Scope)

_REPEATED = """
SELECT pair_id, count(*) AS n FROM outcome
WHERE pair_id IS NOT NULL GROUP BY pair_id HAVING count(*) > 1 ORDER BY pair_id LIMIT 20
"""


class Finding(TypedDict):
    """Something that is not as it should be.

    Attributes:
        kind: missing_file, extra_file, changed_file, unreadable, wrong_count, wrong_sample,
            wrong_signature, wrong_chain or opted_out.
        where: file, count or sample.
        found: what is there.
        expected: what should be.
    """

    kind: str
    where: str
    found: str
    expected: str


def line(finding: Finding) -> str:
    """A finding in words."""
    return f"{finding['kind']}: {finding['where']}: {finding['found']}; expected {finding['expected']}"


def check(
    folder: str, registries: Sequence[str], public_key: str | None = None, previous: str | None = None
) -> list[Finding]:
    """``verify`` against registries as the command line names them. Warns of one that the policy would call stale.

    Args:
        folder: the release.
        registries: ``SCOPE=FILE`` each.
        public_key: PEM file of whoever should have signed it; None: nobody.
        previous: folder of the release that it should follow.

    Raises:
        InputError, RegistryError: as ``loaded`` and ``sign.fault``.
        ReleaseError: as ``verify``.
    """
    release, now = Release(folder), datetime.now(UTC)
    manifest = _manifest.load(release)
    lists = loaded(registries, secret_names(manifest))
    warn_of_age(lists, _policy(manifest), now)
    if lists:
        warn_of_endpoints(manifest)
    fault = sign.fault(release, public_key) if public_key else None
    unsigned = [] if fault is None else [_finding("wrong_signature", SIGNATURE, fault, f"signed by {public_key}")]
    return [*unsigned, *verify(folder, rules(lists), now, previous)]


def rules(lists: Sequence[Loaded]) -> pa.Table | None:
    """The rules of some registries; None if there are none."""
    return pa.concat_tables([one.rules for one in lists]) if lists else None


def warn_of_endpoints(manifest: dict[str, Any]) -> None:
    """Say aloud which endpoints a run asked that nobody asks again: lists are all that a release is checked against."""
    for one in manifest.get("endpoints", []):
        log.warning("registry %s at %s was asked when the release was made and is not asked now: run its job with --refresh",
                    one["name"], one["url"])  # fmt: skip


def secret_names(manifest: dict[str, Any]) -> set[str]:
    """Names, without their ending, of the lists that the release or an earlier takedown calls sensitive.

    Raises:
        ReleaseError: the manifest is malformed there.
    """
    try:
        earlier = [entry for takedown in manifest.get("takedowns", []) for entry in takedown["registries"]]
        entries = [*manifest.get("registries", []), *earlier]
        return {posixpath.splitext(entry["name"])[0] for entry in entries if entry["sensitive"]}
    except (TypeError, KeyError, AttributeError) as error:
        raise ReleaseError(MANIFEST, "has a malformed entry in 'registries' or 'takedowns'", "as released") from error


def loaded(registries: Sequence[str], sensitive: Container[str] | None = ()) -> list[Loaded]:
    """Registries as the command line names them, ``SCOPE=FILE`` each, named after the file, whatever their age.

    Args:
        registries: as given.
        sensitive: names, without ending, of those that are; None: all are.

    Raises:
        InputError: not of that form, or no such scope.
        RegistryError: one cannot be read, or is no file but the address of an endpoint.
    """
    found = []
    for text in registries:
        scope, equals, path = text.partition("=")
        if not equals or scope not in SCOPES:
            raise InputError("--registry", f"is '{text}'", f"SCOPE=FILE, with one of {', '.join(SCOPES)}")
        if path.startswith(("http://", "https://")) and ending(path) not in READERS:
            raise RegistryError(
                f"registry {path}", "is no list but perhaps an endpoint, and a release is checked against lists alone",
                f"a file that ends in {', '.join(READERS)}",
                "Name the endpoint in the job, under 'endpoints', and make the next release by `fairshard run --refresh`",
            )  # fmt: skip
        name = posixpath.basename(path)
        secret = sensitive is None or posixpath.splitext(name)[0] in sensitive
        entry = {"name": name, "path": path, "scope": scope, "sensitive": secret}
        found.append(load_one(typed_yaml.build(Registry, entry, "--registry"), path))
    return found


def verify(
    folder: str, today: pa.Table | None = None, now: datetime | None = None, previous: str | None = None
) -> list[Finding]:
    """Everything that is wrong with a release.

    Args:
        folder: the release.
        today: ``rule``[n] to check the released pairs against, if any.
        now: when the rules have to be in force; the present if not given.
        previous: folder of the release that it should follow; forerunners beside it need not be named.

    Raises:
        ReleaseError: it or ``previous`` is no release, an unfinished one, or one that a newer fairshard made.
    """
    release = Release(folder)
    manifest, before = _manifest.load(release), _chain.member(previous) if previous else None
    findings = [*_files(release, manifest), *(_finding("changed_file", *fault) for fault in _manifest.faults(manifest))]
    try:
        catalog = open_release(folder)
        findings += _counts(catalog, manifest)
        findings += (_finding(*wrong) for wrong in shards(release, catalog, manifest))
        if today is not None:
            findings += _opted_out(release, today, _policy(manifest), now or datetime.now(UTC))
        findings += _followed(_chain.member(folder), before)
    except (ReleaseError, SqlError) as error:
        findings.append(_finding("unreadable", error.where, error.found.partition("\n")[0], "the tables of a release"))
    return findings


def _files(release: Release, manifest: dict[str, Any]) -> Iterator[Finding]:
    listed, present = manifest["files"], set(release.files())
    # A name that leads elsewhere is never opened: only what lies in the release is read.
    there = sorted(name for name in listed if name in present and posixpath.normpath(name) == name)
    for name in sorted({*listed} - {*there}):
        yield _finding("missing_file", name, "is not there", f"{listed[name]['bytes']} bytes")
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # hashing needs no lock of the interpreter's
        facts = dict(zip(there, pool.map(release.fact, there), strict=True))
    for name, found in facts.items():
        fact = listed[name]
        if (found.sha256, found.bytes) != (fact["sha256"], fact["bytes"]):
            yield _finding(
                "changed_file", name, f"{found.bytes} bytes, sha256 {found.sha256}",
                f"{fact['bytes']} bytes, sha256 {fact['sha256']}",
            )  # fmt: skip
    for name in sorted(present - set(listed) - {MANIFEST, SIGNATURE, CATALOG, REPORT}):
        yield _finding("extra_file", name, "is there", "only files that the manifest lists")


def _counts(catalog: Catalog, manifest: dict[str, Any]) -> Iterator[Finding]:
    """Conservation, and the manifest's numbers against the tables'."""
    found = {"counts": _manifest.counts(catalog), "sources": _manifest.sources(catalog)}
    for name, recount in found.items():
        if recount != manifest[name]:
            yield _finding("wrong_count", f"{MANIFEST}: {name}", f"tables say {recount}", f"{manifest[name]}")
    for row in catalog.dicts(_REPEATED):
        yield _finding("wrong_count", f"pair {row['pair_id']}", f"is there {row['n']} times", "once")


def _followed(one: _chain.Member, before: _chain.Member | None) -> Iterator[Finding]:
    """Every link of the chain of releases, as far back as forerunners are at hand."""
    while before := before or (_chain.forerunner(one) if one.previous else None):
        for where, found, expected in _chain.broken(one, before):
            yield _finding("wrong_chain", f"{one.folder}: {where}", found, expected)
        one, before = before, None
    if one.previous:
        log.warning("%s follows a release that is not beside it: --previous names its folder", one.folder)


def _policy(manifest: dict[str, Any]) -> Policy:
    return typed_yaml.build(Policy, manifest["policy"], f"{MANIFEST}: policy")


def _opted_out(release: Release, today: pa.Table, policy: Policy, now: datetime) -> Iterator[Finding]:
    for row in violations(release, today, policy, now):
        key = row["rule_key"] if row["rule_key"] is not None else f"rule {row['rule_id']}"
        where = f"sample {row['sample_key']} (pair {row['pair_id']}, {row['url']})"
        yield _finding("opted_out", where, f"{row['registry']} denies by {row['scope']}: {key}", "no reservation")


def _finding(kind: str, where: str, found: str, expected: str) -> Finding:
    return {"kind": kind, "where": where, "found": found, "expected": expected}
