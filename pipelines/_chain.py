"""Releases that follow one another: a takedown's next release names the SHA-256 of its forerunner's manifest.

From one release to the next, samples may go and nothing else may change. What went is in ``tombstones.parquet``, and a
shard that was written anew is, byte for byte, the former one without the samples that have a tombstone.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ..schemas.release import TOMBSTONE
from . import _manifest
from ._catalog import Catalog, compared
from ._files import listed
from ._next_release import require_whole
from ._release import MANIFEST, TOMBSTONES, Release, Sink
from ._shards import copy_sample, finish, read_samples
from ._store import read_parquet

# What a takedown leaves as it was.
_LASTING = ("title", "policy", "settings", "registries", "endpoints")
_LASTING_COUNTS = ("rows", "rejected")

_SAMPLE = """
SELECT printf('shards/%05d.tar', shard_id) AS shard, key, pair_id, url, caption, creator, licence, bytes, weight
FROM {name} WHERE outcome = 'released'
"""
_WRONG = """
SELECT shard, key, 'is not as it was in the previous release' AS found FROM (FROM later EXCEPT FROM former)
UNION ALL
SELECT shard, key, 'was in the previous release, and is gone without a tombstone'
FROM former ANTI JOIN later USING (shard, key) ANTI JOIN new_stone USING (shard, key)
UNION ALL
SELECT shard, key, 'has a tombstone, and is there' FROM later SEMI JOIN stone USING (shard, key)
UNION ALL
SELECT shard, key, 'has a tombstone, and was not in the previous release'
FROM new_stone ANTI JOIN former USING (shard, key)
UNION ALL
SELECT shard, key, 'has lost its tombstone' FROM old_stone ANTI JOIN stone USING (shard, key)
ORDER BY shard, key, found LIMIT 20
"""
_NEW_STONE = "SELECT shard, key FROM stone ANTI JOIN old_stone USING (shard, key)"

Wrong = tuple[str, str, str]  # where, what was found, what was expected


@dataclass(frozen=True)
class Member:
    """A release among others.

    Attributes:
        folder: of the release.
        sha256: of its manifest, hex.
        manifest: read.
    """

    folder: str
    sha256: str
    manifest: dict[str, Any]

    @property
    def previous(self) -> str | None:
        """SHA-256 of the manifest of its forerunner; None of a first release."""
        return self.manifest.get("previous_release")

    @property
    def takedowns(self) -> list[dict[str, Any]]:
        """What made it from a first release."""
        return self.manifest.get("takedowns", [])


def member(folder: str) -> Member:
    """A release by its folder.

    Raises:
        ReleaseError: as ``_manifest.load``.
    """
    release = Release(folder)
    manifest = _manifest.load(release)
    return Member(folder, hashlib.sha256(release.fs.cat_file(release.path(MANIFEST))).hexdigest(), manifest)


def members(folder: str) -> list[Member]:
    """The finished releases in a folder: what began with one release together, the last of it first, else by name.

    Raises:
        ReleaseError: one has a manifest that cannot be read.
    """
    found = [member(path) for path in reversed(_releases_in(folder))]
    first = [one.takedowns[0]["previous_release"] if one.takedowns else one.sha256 for one in found]
    order = sorted(range(len(found)), key=lambda at: (first.index(first[at]), -len(found[at].takedowns)))
    return [found[at] for at in order]


def forerunner(one: Member) -> Member | None:
    """The release that another one was made from, if it is among its neighbours.

    Raises:
        ReleaseError: as ``_manifest.load``.
    """
    neighbours = _releases_in(os.path.dirname(os.path.abspath(one.folder))) if "://" not in one.folder else []
    for path in neighbours:
        if hashlib.sha256(Release(path).fs.cat_file(f"{path}/{MANIFEST}")).hexdigest() == one.previous:
            return member(path)
    return None


def broken(one: Member, before: Member) -> Iterator[Wrong]:
    """What is wrong between a release and its forerunner.

    Raises:
        ReleaseError: the forerunner is not what its manifest says.
    """
    if one.previous != before.sha256:
        found = f"is {one.previous}" if one.previous else "is not there"
        yield f"{MANIFEST}: previous_release", found, f"{before.sha256}, of the manifest in {before.folder}"
        return
    old = Release(before.folder)
    require_whole(old, before.manifest, [name for name in before.manifest["files"] if name.startswith("pairs/")])
    catalog = compared(before.folder, one.folder)
    try:
        _name_stones(catalog, one, before)
        yield from _manifests(catalog, one, before)
        for row in catalog.dicts(_WRONG):
            yield f"{row['shard']}: {row['key']}", row["found"], "samples that stay as they were or have a tombstone"
        yield from _shards(catalog, one, before)
    finally:
        catalog.connection.close()


def _name_stones(catalog: Catalog, one: Member, before: Member) -> None:
    for name, side in (("stone", one), ("old_stone", before)):
        catalog.connection.register(name, _stones(side))
    for name, outcome in (("former", "earlier"), ("later", "outcome")):
        catalog.keep(name, _SAMPLE.format(name=outcome))
    catalog.keep("new_stone", _NEW_STONE)


def _stones(one: Member) -> pa.Table:
    release = Release(one.folder)
    if TOMBSTONES not in one.manifest["files"]:
        return TOMBSTONE.empty_table()
    require_whole(release, one.manifest, [TOMBSTONES])
    return read_parquet(f"{release.root}/{TOMBSTONES}", ["shard", "key"])


def _manifests(catalog: Catalog, one: Member, before: Member) -> Iterator[Wrong]:
    for name in _LASTING:
        if one.manifest.get(name) != before.manifest.get(name):
            yield f"{MANIFEST}: {name}", "is another", f"as in {before.folder}"
    for name in _LASTING_COUNTS:
        found, expected = (side.manifest["counts"].get(name) for side in (one, before))
        if found != expected:
            yield f"{MANIFEST}: counts: {name}", f"is {found}", f"{expected}, as in {before.folder}"
    last = one.takedowns[-1] if one.takedowns else {}
    gone = catalog.dicts("SELECT count(*) AS n FROM new_stone")[0]["n"]
    if (last.get("previous_release"), last.get("pairs")) != (before.sha256, gone):
        yield f"{MANIFEST}: takedowns", f"ends with {last.get('pairs')} pairs", f"{gone} from {before.sha256}"
    if one.takedowns[:-1] != before.takedowns:
        yield f"{MANIFEST}: takedowns", "begins otherwise", f"as in {before.folder}"


def _shards(catalog: Catalog, one: Member, before: Member) -> Iterator[Wrong]:
    """Each shard against the former one: the same bytes, or those bytes without what has a tombstone."""
    gone: dict[str, set[str]] = {}
    for row in catalog.dicts("SELECT shard, key FROM new_stone"):
        gone.setdefault(row["shard"], set()).add(row["key"])
    former, later = before.manifest["files"], one.manifest["files"]
    for name in sorted(name for name in {*former, *later} if re.fullmatch(r"shards/\d+\.tar", name)):
        if name in gone and name in later and name in former:
            expected = _without(Release(before.folder), name, gone[name])
        else:
            expected = None if name in gone else former.get(name, {}).get("sha256")
        found = later.get(name, {}).get("sha256")
        if found != expected:
            yield (
                name,
                f"has sha256 {found}" if found else "is gone",
                f"{expected or 'no such shard'}, by {before.folder}",
            )


def _without(old: Release, tar: str, gone: set[str]) -> str:
    """SHA-256 of a shard without some samples."""
    with old.fs.open(old.path(tar), "rb") as file, open(os.devnull, "wb") as nowhere:
        sink = Sink(nowhere)
        for sample in read_samples(file, tar):  # type: ignore[arg-type]
            if sample.key not in gone:
                copy_sample(sink, sample)
        finish(sink)
    return sink.fact().sha256


def _releases_in(folder: str) -> list[str]:
    """Folders with a manifest, by name; hidden ones are unfinished."""
    within = Release(folder)
    names = (path.rstrip("/").rpartition("/")[2] for path in listed(within.fs, within.base))
    shown = sorted((name for name in names if not name.startswith(".")), key=_natural)
    return [f"{within.root}/{name}" for name in shown if within.exists(f"{name}/{MANIFEST}")]


def _natural(name: str) -> list[tuple[int, str]]:
    """So that release-10 comes after release-9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name)]
