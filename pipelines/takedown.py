"""takedown: the next release, without the pairs that rules of today forbid.

Every released pair is judged as ``verify`` judges it. A shard without a forbidden pair is linked or copied byte for
byte; one with such a pair is written anew without it, the other samples in their order and under their keys; one that
would be empty is left away. The pairs removed stay in the books as dropped, stage ``takedown``, and
``tombstones.parquet`` tells holders of an earlier release which samples to delete. The tables are published by the
very queries that ``emit`` uses.

What a sensitive rule forbids is counted and no more: of the next release, nobody can tell its URL, its id or the
rule, nor that of a duplicate left out for its sake. Whoever kept the earlier release can still compare the two.

The next release is made in a hidden folder beside its place and moved there when it is whole; a killed takedown leaves
no more than that folder, ``.NAME.*.part``, which may be deleted. On a remote file
system it is made in place, the manifest last: a release without one is unfinished.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from ..schemas import typed_yaml
from ..schemas.errors import InputError, ReleaseError
from ..schemas.policy import Policy
from ..udfs.arrow import pc
from . import _card, _manifest
from ._engine import DuckDBEngine
from ._next_release import NextRelease, Taken, require_whole
from ._recheck import RELEASED, SHOWN, forbidden
from ._registries import Loaded, warn_of_age
from ._release import MANIFEST, TOMBSTONES, Release
from .verify import loaded, secret_names, warn_of_endpoints

__all__ = ["Taken", "next_release", "takedown", "text"]


def takedown(
    folder: str, out: str, registries: Sequence[str], sensitive: Sequence[str] = (), now: datetime | None = None
) -> Taken:
    """Make the next release of ``folder`` in ``out``.

    Args:
        folder: the release.
        out: where to; must not exist, or be an empty folder.
        registries: ``SCOPE=FILE`` each, as ``verify`` takes them.
        sensitive: the same, of lists whose keys may not be published. A list that the release or an earlier
            takedown calls sensitive by the same name is so without being listed here.
        now: when the rules have to be in force; the present if not given.

    Raises:
        InputError: no registry is given, one is not of that form, or ``out`` is not free.
        RegistryError: a registry cannot be read.
        ReleaseError: the release is unfinished, or its files are not those that its manifest lists.
        MissingExtra: the dataset card needs jinja2 and matplotlib.
    """
    if not registries and not sensitive:
        raise InputError("takedown", "is given no registry", "--registry SCOPE=FILE")
    manifest = _manifest.load(Release(folder))
    lists = [*loaded(registries, secret_names(manifest)), *loaded(sensitive, None)]
    return next_release(folder, out, lists, now or datetime.now(UTC))


def next_release(folder: str, out: str, lists: Sequence[Loaded], now: datetime) -> Taken:
    """The same by registries that have been read.

    Args:
        folder, out, now: as ``takedown`` has them.
        lists: the registries. Those of ``secret_names`` have to be sensitive.

    Raises:
        InputError, ReleaseError, MissingExtra: as ``takedown``.
    """
    _card.require()
    old = Release(folder)
    manifest = _manifest.load(old)
    for where, found, expected in _manifest.faults(manifest):
        raise ReleaseError(f"{old.root}: {where}", found, expected, "Nothing was written")
    _require_free(old, out)
    read = ("pairs/", "tables/", TOMBSTONES)
    require_whole(old, manifest, sorted(name for name in {*old.files(), *manifest["files"]} if name.startswith(read)))
    rules = pa.concat_tables([each.rules for each in lists])
    policy = typed_yaml.build(Policy, manifest["policy"], f"{MANIFEST}: policy")
    warn_of_age(lists, policy, now)
    warn_of_endpoints(manifest)
    # A sensitive rule also silences what is told of pairs that were dropped for other reasons, as in `emit`.
    pairs = SHOWN if any(each.registry.sensitive for each in lists) else RELEASED
    violation = forbidden(old, rules, policy, now, pairs)
    if not pc.count(violation["sample_key"]).as_py():
        return Taken()
    with _place(out) as (new, scratch):
        engine = DuckDBEngine(os.cpu_count() or 1, None, f"{scratch}/spill")
        try:
            step = NextRelease(old, new, manifest, engine, scratch)
            step.judge(violation, rules)
            step.publish(_entry(lists))
        finally:
            engine.close()
    step.taken.release = out
    return step.taken


def text(taken: Taken) -> str:
    """What a takedown did, in words."""
    if taken.release is None:
        return "nothing to take down: no released pair is forbidden by these registries; nothing was written"
    lines = [f"{taken.pairs:,} released pairs are gone"]
    lines += [f"  {name} forbids {count:,}" for name, count in taken.registries.items()]
    lines += [f"{taken.withheld:,} pairs are only counted from now on"] if taken.withheld else []
    shards = (
        f"shards: {len(taken.rewritten):,} rewritten, {len(taken.removed):,} removed, {taken.unchanged:,} unchanged"
    )
    return "\n".join([*lines, shards, f"next release: {taken.release}"])


def _entry(lists: Sequence[Loaded]) -> dict[str, Any]:
    """What the manifest says of the registries of a takedown."""
    found = []
    for each in lists:
        entry = {"name": each.registry.name, "scope": each.registry.scope, "rows": each.rules.num_rows}
        entry["sensitive"] = each.registry.sensitive
        found.append(entry if each.registry.sensitive else {**entry, "sha256": each.sha256})
    return {"registries": sorted(found, key=lambda entry: (entry["name"], entry["scope"]))}


def _require_free(old: Release, out: str) -> None:
    if "://" in out:
        if Release(out).files():
            raise InputError(out, "is not empty", "a folder that does not exist yet")
        return
    if os.path.lexists(out) and (not os.path.isdir(out) or os.listdir(out)):
        found = "is not empty" if os.path.isdir(out) else "is a file"
        raise InputError(out, found, "a folder that does not exist yet")
    root = os.path.realpath(old.base)
    if "://" not in old.root and os.path.commonpath([root, os.path.realpath(out)]) == root:
        raise InputError(out, f"lies in the release {old.root}", "a folder of its own")


@contextmanager
def _place(out: str) -> Iterator[tuple[Release, str]]:
    """Where to make the next release, and a folder for what is needed on the way."""
    if "://" in out:
        with tempfile.TemporaryDirectory() as scratch:
            yield Release(out), scratch
        return
    parent, name = os.path.split(os.path.abspath(out))
    try:
        os.makedirs(parent, exist_ok=True)
    except OSError as error:
        raise InputError(out, f"cannot be made ({error.strerror})", "a folder that can be written to") from error
    with tempfile.TemporaryDirectory(dir=parent, prefix=f".{name}.", suffix=".part") as folder:
        yield Release(f"{folder}/release"), f"{folder}/scratch"
        os.replace(f"{folder}/release", out)
