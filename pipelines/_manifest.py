"""``manifest.json``: what a release is, in numbers, and the SHA-256 of every file in it.

It is written last and removed first: a release without one is unfinished. Keys are sorted, and nothing in it
depends on when or where the release was made.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from ..schemas.config import Job, fingerprint
from ..schemas.errors import ReleaseError
from ..udfs.merkle import root
from ._catalog import Catalog
from ._release import FORMAT, MANIFEST, FileFact, Release

# What `fetch` does to the pictures. Its other keys say how politely it asked, which is not the release's affair.
_RENDITION = (
    "max_bytes", "max_pixels", "max_redirects", "image_size", "resize_mode", "resize_only_if_bigger",
    "encode_format", "encode_quality",
)  # fmt: skip

_PER_SOURCE = """
SELECT source, sum(rejected)::BIGINT AS rejected, sum(dropped)::BIGINT AS dropped, sum(released)::BIGINT AS released
FROM (
    SELECT source, count(*) AS rejected, 0 AS dropped, 0 AS released FROM rejected GROUP BY source
    UNION ALL
    SELECT source, 0, count(*) FILTER (outcome = 'dropped'), count(*) FILTER (outcome = 'released')
    FROM outcome GROUP BY source
)
GROUP BY source ORDER BY source
"""


def build(
    catalog: Catalog, job: Job, hashes: Mapping[str, str], rules: Mapping[str, int], model: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The manifest of a release, but for its ``files``.

    Args:
        catalog: the release's own tables, complete.
        job: what made it.
        hashes: SHA-256 of each registry's file, by name, where known.
        rules: number of rules by registry.
        model: what is known of the one that pictures were compared by; None where there was none.
    """
    settings = _settings(job, model)
    return {
        "format": FORMAT,
        "fairshard": version("fairshard"),
        "title": job.config.emit.title,
        "policy": asdict(job.policy),
        "policy_fingerprint": fingerprint(job.policy),
        "settings": settings,
        "settings_fingerprint": fingerprint(settings),
        "sources": sources(catalog),
        "registries": _registries(job, hashes, rules),
        # A query may hold what is nobody's business.
        "endpoints": [{"name": one.name, "url": one.url.partition("?")[0]} for one in job.config.endpoints],
        "counts": counts(catalog),
    }


def counts(catalog: Catalog) -> dict[str, Any]:
    """Rows of a release by where they ended. ``verify`` compares these with the manifest's."""
    (totals,) = catalog.dicts(
        "SELECT (SELECT count(*) FROM rejected) AS rejected, count(*) FILTER (outcome = 'dropped') AS dropped, "
        "count(*) FILTER (outcome = 'released') AS released, count(*) FILTER (withheld) AS withheld FROM outcome"
    )
    stages: dict[str, dict[str, int]] = {}
    for row in catalog.dicts("SELECT stage, reason, rows FROM reason ORDER BY stage, reason"):
        stages.setdefault(row["stage"], {})[row["reason"]] = row["rows"]
    return {
        **totals,
        "rows": totals["rejected"] + totals["dropped"] + totals["released"],
        "reasons": stages,
        "funnel": catalog.dicts("SELECT stage, removed, rows_left FROM funnel ORDER BY position"),
        "shards": catalog.dicts("SELECT count(*) AS n FROM shard")[0]["n"],
    }


def sources(catalog: Catalog) -> list[dict[str, Any]]:
    """Rows of each source, and where they ended."""
    return [
        {"name": row.pop("source"), "rows": sum(row.values()), **row} for row in catalog.dicts(_PER_SOURCE)
    ]  # fmt: skip


def dump(manifest: Mapping[str, Any], files: Mapping[str, FileFact]) -> bytes:
    """The manifest as it is written."""
    listed = {name: asdict(fact) for name, fact in files.items()}
    document = {**manifest, "files": listed, "merkle_root": merkle_root(listed)}
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def merkle_root(files: Mapping[str, Mapping[str, Any]]) -> str:
    """One hash for all files of a manifest, hex: of lines ``sha256 bytes name``, in the order of names, see `merkle`."""
    lines = (f"{fact['sha256']} {fact['bytes']} {name}\n" for name, fact in sorted(files.items()))
    return root([line.encode() for line in lines]).hex()


def load(release: Release) -> dict[str, Any]:
    """The manifest of a release.

    Raises:
        ReleaseError: there is none, it is damaged, or a newer fairshard wrote it.
    """
    where = release.path(MANIFEST)
    try:
        document = json.loads(release.fs.cat_file(where))
    except FileNotFoundError as error:
        raise ReleaseError(where, "does not exist", "a finished release", "Run the job to its end") from error
    except (ValueError, RecursionError) as error:
        raise ReleaseError(where, f"is not JSON ({error})", "the manifest of a release") from error
    if not isinstance(document, dict) or not _has(document, ("files", "counts", "policy")):
        raise ReleaseError(where, "lacks 'files', 'counts' or 'policy'", "the manifest of a release")
    if document.get("format") != FORMAT:
        raise ReleaseError(where, f"is of format {document.get('format')!r}", FORMAT, "Use the fairshard that made it")
    if not isinstance(document.get("sources"), list) or not all(_is_fact(fact) for fact in document["files"].values()):
        raise ReleaseError(where, "has a malformed entry in 'files' or 'sources'", "sha256 and bytes for each file")
    if not _is_told(document):
        raise ReleaseError(where, "has a malformed entry in 'counts' or 'endpoints'", "as a run writes it")
    if not _is_chain(document):
        raise ReleaseError(
            where, "has a malformed entry in 'previous_release' or 'takedowns'", "as a takedown writes it"
        )
    return document


def faults(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What of a manifest does not go with the rest of it: where, what was found, what was expected."""
    if manifest.get("merkle_root") != merkle_root(manifest["files"]):
        yield f"{MANIFEST}: merkle_root", str(manifest.get("merkle_root")), "that of its files"
    if manifest.get("policy_fingerprint") != fingerprint(manifest["policy"]):
        yield f"{MANIFEST}: policy", "has another fingerprint", "the policy as released"


def require_unchanged(release: Release, manifest: Mapping[str, Any], *folders: str) -> None:
    """Refuse a release of which a file is not the one that its manifest lists. What leads elsewhere is never opened.

    Args:
        release: whose files are read to their end.
        manifest: of it; only ``files`` is looked at, and of each file only its hash.
        folders: of which all files are checked, such as ``pairs/``; none stands for all.

    Raises:
        ReleaseError: naming the first file that is missing, unreadable or another.
    """
    for name, fact in sorted(manifest["files"].items()):
        if folders and not name.startswith(folders):
            continue
        if posixpath.isabs(name) or ".." in name.split("/"):
            raise ReleaseError(release.path(MANIFEST), f"lists '{name}'", "files of the release")
        try:
            found = release.fact(name).sha256
        except OSError as error:
            raise ReleaseError(release.path(name), f"cannot be read ({error.strerror or error})",
                               f"the file that {MANIFEST} lists", "Run `fairshard verify` on the release") from error  # fmt: skip
        if found != fact["sha256"]:
            raise ReleaseError(release.path(name), f"has sha256 {found}", f"{fact['sha256']}, as {MANIFEST} says",
                               "It is not the file that was released. Run `fairshard verify` on the release")  # fmt: skip


def _is_told(document: dict) -> bool:
    """Whether what verbs tell of a manifest can be read."""
    endpoints = document.get("endpoints", [])
    if not isinstance(document["counts"].get("withheld", 0), int) or not isinstance(endpoints, list):
        return False
    return all(isinstance(one, dict) and {"name", "url"} <= one.keys() for one in endpoints)


def _is_chain(document: dict) -> bool:
    """Whether what is said of earlier releases can be read."""
    takedowns, previous = document.get("takedowns", []), document.get("previous_release")
    if not isinstance(takedowns, list) or not isinstance(previous, str | None):
        return False
    return all(
        isinstance(entry, dict)
        and isinstance(entry.get("previous_release"), str)
        and isinstance(entry.get("pairs"), int)
        for entry in takedowns
    )


def _has(document: dict, keys: Iterable[str]) -> bool:
    return all(isinstance(document.get(key), dict) for key in keys)


def _is_fact(fact: Any) -> bool:
    return isinstance(fact, dict) and isinstance(fact.get("sha256"), str) and isinstance(fact.get("bytes"), int)


def _settings(job: Job, model: Mapping[str, Any] | None) -> dict[str, Any]:
    """The part of the config that decides what is in the release. A model is told by its hash, not by its path."""
    config = job.config
    sections = {name: asdict(getattr(config, name)) for name in ("ingest", "filter", "dedup", "balance", "emit")}
    sections["dedup"] |= {"embedding_model": model, "embedding_architecture": None}
    return {**sections, "fetch": {key: getattr(config.fetch, key) for key in _RENDITION}}


def _registries(job: Job, hashes: Mapping[str, str], rules: Mapping[str, int]) -> list[dict[str, Any]]:
    listed = []
    for registry in sorted(job.config.registries, key=lambda registry: registry.name):
        entry: dict[str, Any] = {"name": registry.name, "scope": registry.scope, "rows": rules.get(registry.name, 0)}
        entry["sensitive"] = registry.sensitive
        if not registry.sensitive:
            entry["sha256"] = hashes.get(registry.name)
        if registry.dated is not None:
            entry["dated"] = registry.dated
        listed.append(entry)
    return listed
