"""verify: is a release what its manifest says, and may its pairs still be used?

Every file is hashed again, every shard is read to its end and compared with the tables, the books are balanced
again, and, given registries, every released pair is checked against them as they are today.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any

import pyarrow as pa

from ..schemas.config import fingerprint
from ..schemas.errors import ReleaseError, SqlError
from . import _manifest
from ._catalog import Catalog, open_release
from ._recheck import violations
from ._release import CATALOG, MANIFEST, Release
from ._shards import Sample, read_samples, shard_name
from ._store import read_parquet

_REPEATED = """
SELECT pair_id, count(*) AS n FROM outcome WHERE pair_id IS NOT NULL GROUP BY pair_id HAVING count(*) > 1 ORDER BY pair_id LIMIT 20
"""
_KEYS = (
    "SELECT key, pair_id, caption, bytes FROM outcome WHERE outcome = 'released' AND shard_id = $shard_id ORDER BY key"
)


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        kind: missing_file, extra_file, changed_file, unreadable, wrong_count, wrong_sample or opted_out.
        where: file, count or sample.
        found: what is there.
        expected: what should be.
    """

    kind: str
    where: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.found}; expected {self.expected}"


def verify(folder: str, rules: pa.Table | None = None, now: datetime | None = None) -> list[Finding]:
    """Everything that is wrong with a release.

    Args:
        folder: the release.
        rules: ``rule``[n] to check the released pairs against, if any.
        now: when the rules have to be in force; the present if not given.

    Raises:
        ReleaseError: no release, an unfinished one, or one that a newer fairshard made.
    """
    release = Release(folder)
    manifest = _manifest.load(release)
    findings = list(_files(release, manifest))
    try:
        catalog = open_release(folder)
        findings += _counts(catalog, manifest)
        for row in catalog.dicts("SELECT shard_id, path FROM shard ORDER BY shard_id"):
            findings += _shard(release, catalog, row["shard_id"])
        if rules is not None:
            findings += _opted_out(catalog, rules, manifest["policy"], now or datetime.now(UTC))
    except (ReleaseError, SqlError) as error:
        findings.append(Finding("unreadable", error.where, error.found.partition("\n")[0], "the tables of a release"))
    return findings


def _files(release: Release, manifest: dict[str, Any]) -> Iterator[Finding]:
    listed, present = manifest["files"], set(release.files())
    for name, fact in sorted(listed.items()):
        # A name that leads elsewhere is never opened: only what lies in the release is read.
        if name not in present or posixpath.normpath(name) != name:
            yield Finding("missing_file", name, "is not there", f"{fact['bytes']} bytes")
            continue
        found = release.fact(name)
        if (found.sha256, found.bytes) != (fact["sha256"], fact["bytes"]):
            yield Finding(
                "changed_file", name, f"{found.bytes} bytes, sha256 {found.sha256}",
                f"{fact['bytes']} bytes, sha256 {fact['sha256']}",
            )  # fmt: skip
    for name in sorted(present - set(listed) - {MANIFEST, CATALOG}):
        yield Finding("extra_file", name, "is there", "only files that the manifest lists")


def _counts(catalog: Catalog, manifest: dict[str, Any]) -> Iterator[Finding]:
    """Conservation, and the manifest's numbers against the tables'."""
    found = {"counts": _manifest.counts(catalog), "sources": _manifest.sources(catalog)}
    for name, recount in found.items():
        if recount != manifest[name]:
            yield Finding("wrong_count", f"{MANIFEST}: {name}", f"tables say {recount}", f"{manifest[name]}")
    for row in catalog.dicts(_REPEATED):
        yield Finding("wrong_count", f"pair {row['pair_id']}", f"is there {row['n']} times", "once")
    if manifest.get("policy_fingerprint") != fingerprint(manifest["policy"]):
        yield Finding("changed_file", f"{MANIFEST}: policy", "has another fingerprint", "the policy as released")


def _shard(release: Release, catalog: Catalog, shard_id: int) -> Iterator[Finding]:
    """The samples of one shard against the tables and the sidecar."""
    tar, table = shard_name(shard_id), shard_name(shard_id, "parquet")
    expected = catalog.dicts(_KEYS, shard_id=shard_id)
    try:
        described = read_parquet(f"{release.root}/{table}").to_pylist()
        with release.fs.open(release.path(tar), "rb") as file:
            samples = list(_compared(read_samples(file, tar), expected, described))  # type: ignore[arg-type]
    except (ReleaseError, OSError, pa.ArrowException) as error:
        yield Finding("unreadable", tar, str(error), "a whole shard and its sidecar")
        return
    for key, problem, wanted in samples:
        if problem:
            yield Finding("wrong_sample", f"{tar}: {key}", problem, wanted)


def _compared(
    samples: Iterator[Sample], expected: list[dict[str, Any]], described: list[dict[str, Any]]
) -> Iterator[tuple[str, str, str]]:
    for sample, row, meta in zip_longest(samples, expected, described):
        if sample is None or row is None or meta is None:
            key = sample.key if sample else row["key"] if row else meta["key"]
            places = zip(("tar", "pairs", "sidecar"), (sample, row, meta), strict=True)
            yield (
                key,
                f"is not in {', '.join(name for name, there in places if there is None)}",
                "a sample in all three",
            )
        else:
            yield (sample.key, *_difference(sample, row, meta))


def _difference(sample: Sample, row: dict[str, Any], meta: dict[str, Any]) -> tuple[str, str]:
    """What differs between a sample and its rows, and what it should be; empty if nothing does."""
    pictures = {name: data for name, data in sample.parts.items() if name not in ("json", "txt")}
    if len(pictures) != 1 or len(sample.parts) != 3:
        return f"has the parts {', '.join(sorted(sample.parts))}", "a picture, json and txt"
    try:
        stated = json.loads(sample.parts["json"])
    except (ValueError, RecursionError):
        return "its JSON cannot be read", "JSON"
    if sample.key != row["key"] or stated != meta:
        return "its JSON differs from the sidecar", f"the sample {row['key']}"
    if meta["pair_id"] != row["pair_id"] or sample.parts["txt"] != row["caption"].encode() != meta["caption"].encode():
        return f"is pair {meta['pair_id']} or has another caption", f"pair {row['pair_id']} with its caption"
    size = len(next(iter(pictures.values())))
    return (f"its picture has {size} bytes", f"{row['bytes']}") if size != row["bytes"] else ("", "")


def _opted_out(catalog: Catalog, rules: pa.Table, policy: dict[str, Any], now: datetime) -> Iterator[Finding]:
    for row in violations(catalog, rules, policy, now):
        key = row["rule_key"] if row["rule_key"] is not None else f"rule {row['rule_id']}"
        yield Finding(
            "opted_out", f"sample {row['sample_key']} (pair {row['pair_id']}, {row['url']})",
            f"registry {row['registry']} says deny by {row['scope']}: {key}", "no reservation",
        )  # fmt: skip
