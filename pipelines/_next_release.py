"""The release that follows another one: its tables, shards, card, catalog and manifest, for ``takedown``."""

from __future__ import annotations

import hashlib
import os
import posixpath
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from ..schemas.errors import ReleaseError, StageError
from ..schemas.release import OUTCOME, PUBLIC_TABLES, SIDECAR, TOMBSTONE, public
from ..schemas.tables import PAIR, SHARD
from ..udfs.arrow import pc
from . import _card, _manifest
from ._catalog import Catalog, open_release, write_catalog
from ._engine import DuckDBEngine
from ._public import COUNTED, SENSITIVE_SIGNAL, publish
from ._registries import HASH_SCOPES
from ._release import MANIFEST, TOMBSTONES, FileFact, Release
from ._shards import copy_sample, finish, read_samples, shard_name
from ._store import read_parquet

# Samples that go, each with one rule; a sensitive one first, so that it decides what may be said.
TAKEN = """
SELECT ranked.*, 'deny:' || CASE WHEN hash_scope.scope IS NULL THEN 'registry' ELSE 'hash_list' END AS reason
FROM (
    SELECT outcome.pair_id, outcome.url, outcome.shard_id, outcome.key, violation.rule_id, violation.registry,
           violation.scope, violation.rule_key,
           row_number() OVER (
               PARTITION BY outcome.pair_id
               ORDER BY CASE WHEN violation.rule_key IS NULL THEN 0 ELSE 1 END,
                        violation.registry, violation.scope, violation.rule_id
           ) AS place
    FROM violation JOIN outcome ON violation.pair_id = outcome.pair_id
    WHERE outcome.outcome = 'released'
) AS ranked
LEFT JOIN hash_scope ON ranked.scope = hash_scope.scope
WHERE place = 1
"""

# Pairs of which nothing may be said from now on, those dropped before and matched by a sensitive rule too. The
# duplicates that were left out in favour of such a pair look like it, so their hashes would tell the rule's key.
WITHHELD = """
SELECT pair_id FROM violation WHERE rule_key IS NULL
UNION
SELECT duplicate.pair_id
FROM duplicate
JOIN violation ON duplicate.keeper_id = violation.pair_id
JOIN outcome ON duplicate.pair_id = outcome.pair_id
WHERE violation.rule_key IS NULL AND outcome.outcome = 'dropped'
"""

# The tables of the next release, under the names that the queries of ``_public`` read.
NEXT_PAIR = f"SELECT {', '.join(PAIR.schema.names)} FROM outcome WHERE NOT outcome.withheld"
DROPPED = """
SELECT pair_id, stage, reason, evidence FROM outcome WHERE outcome.outcome = 'dropped' AND NOT outcome.withheld
UNION ALL
SELECT pair_id, 'takedown' AS stage, reason, registry || ' (' || scope || '): ' || rule_key AS evidence FROM taken
"""
SAMPLE = """
SELECT outcome.pair_id, outcome.shard_id, outcome.key, outcome.bytes, outcome.weight
FROM outcome LEFT JOIN taken ON outcome.pair_id = taken.pair_id
WHERE outcome.outcome = 'released' AND taken.pair_id IS NULL
"""
ALL_COUNTED = f"""
SELECT source, 'dropped' AS outcome, stage, reason, true AS withheld FROM outcome WHERE outcome.withheld
UNION ALL
SELECT * FROM ({COUNTED}) AS newly_counted
"""
RULE = """
SELECT old_rule.* FROM old_rule LEFT JOIN today ON old_rule.rule_id = today.rule_id AND today.sensitive
WHERE today.rule_id IS NULL
UNION ALL
SELECT today.* FROM today
JOIN (SELECT DISTINCT rule_id FROM violation) AS used ON today.rule_id = used.rule_id
LEFT JOIN old_rule ON today.rule_id = old_rule.rule_id
WHERE NOT today.sensitive AND old_rule.rule_id IS NULL
"""
SIGNAL = """
SELECT * FROM old_signal
UNION ALL
SELECT violation.pair_id, CASE WHEN hash_scope.scope IS NULL THEN 'registry' ELSE 'hash_list' END AS kind,
       'deny' AS verdict, violation.scope, violation.rule_key AS value, violation.registry AS source, violation.rule_id,
       CAST(NULL AS INTEGER) AS hop, CAST(NULL AS VARCHAR) AS only_if, $parser AS parser
FROM violation
JOIN taken ON violation.pair_id = taken.pair_id
LEFT JOIN hash_scope ON violation.scope = hash_scope.scope
LEFT JOIN old_signal ON violation.pair_id = old_signal.pair_id AND violation.rule_id = old_signal.rule_id
WHERE violation.rule_key IS NOT NULL AND old_signal.pair_id IS NULL
"""
TOMBSTONE_ROWS = """
SELECT shard, key, CASE WHEN withheld.pair_id IS NULL THEN stone.pair_id END AS pair_id,
       CASE WHEN withheld.pair_id IS NULL THEN url END AS url, reason, registry,
       CASE WHEN withheld.pair_id IS NULL THEN rule_id END AS rule_id
FROM (
    SELECT shard, key, pair_id, url, reason, registry, rule_id FROM old_tombstone
    UNION ALL
    SELECT shard.path AS shard, taken.key, taken.pair_id, url, reason, registry, rule_id
    FROM taken JOIN old_shard AS shard ON taken.shard_id = shard.shard_id
) AS stone
LEFT JOIN withheld ON stone.pair_id = withheld.pair_id
ORDER BY shard, key
"""

# Tables from which nothing goes unless a pair is withheld.
_FACTS = ("image", "score", "duplicate")


@dataclass
class Taken:
    """What a takedown did.

    Attributes:
        release: the next release; null if there was nothing to take down, and nothing was written.
        pairs: samples that are gone.
        withheld: pairs, dropped ones too, of which nothing is said any more.
        rewritten, removed: paths of shards that differ, or are gone.
        unchanged: shards with the same bytes as before.
        registries: samples that each registry forbids; one that several forbid counts in each.
    """

    release: str | None = None
    pairs: int = 0
    withheld: int = 0
    rewritten: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unchanged: int = 0
    registries: dict[str, int] = field(default_factory=dict)


@dataclass
class NextRelease:
    """The way from one release to the next, with all tables on one engine."""

    old: Release
    new: Release
    manifest: dict[str, Any]
    engine: DuckDBEngine
    scratch: str
    taken: Taken = field(default_factory=Taken)
    facts: dict[str, FileFact] = field(default_factory=dict)

    def judge(self, violation: pa.Table, rules: pa.Table) -> None:
        """Name the tables of the next release on the engine, all but ``shard``."""
        engine, present = self.engine, self.old.files()
        scans = {"outcome": ("pairs/", OUTCOME), "old_tombstone": (TOMBSTONES, TOMBSTONE)}
        scans |= {name: (f"tables/{name}-", public(name)) for name in _FACTS}
        scans |= {f"old_{name}": (f"tables/{name}-", public(name)) for name in ("rule", "signal", "shard")}
        for name, (prefix, schema) in scans.items():
            engine.scan(name, [f"{self.old.root}/{file}" for file in present if file.startswith(prefix)], schema)
        engine.register("violation", violation)
        engine.register("today", rules)
        engine.register("hash_scope", pa.table({"scope": list(HASH_SCOPES)}))
        engine.step("taken", TAKEN, keep=True)
        engine.step("withheld", WITHHELD, keep=True)
        engine.step("rule", RULE, keep=True)
        engine.step("signal", SIGNAL, parser=version("fairshard"))
        engine.step("sensitive_signal", SENSITIVE_SIGNAL, keep=True)
        for name, sql in (("pair", NEXT_PAIR), ("dropped", DROPPED), ("sample", SAMPLE), ("counted", ALL_COUNTED)):
            engine.step(name, sql)

    def publish(self, entry: dict[str, Any]) -> None:
        """Write the next release; the manifest last."""
        self._count()
        self._shards()
        changed = [name for name in PUBLIC_TABLES if self._changes(name)]
        for name in self.manifest["files"]:
            if name.startswith("tables/") and not name.startswith(tuple(f"tables/{table}-" for table in changed)):
                self._keep(name)
        self.facts |= publish(self.engine, lambda name: f"{self.scratch}/{name}", self.new, changed)
        stones = self.engine.rows(TOMBSTONE_ROWS).select(TOMBSTONE.names).cast(TOMBSTONE).combine_chunks()
        self.facts[TOMBSTONES] = self.new.write_parquet(TOMBSTONES, TOMBSTONE, stones.to_batches())
        catalog = open_release(self.new.root)
        try:
            document = self._document(catalog, entry)
            self.facts |= _card.write(self.new, catalog, document)
        finally:
            catalog.connection.close()
        write_catalog(self.new)
        self.new.put(MANIFEST, _manifest.dump(document, self.facts))

    def _changes(self, table: str) -> bool:
        return table != "rejected" and (table not in _FACTS or bool(self.taken.withheld))

    def _count(self) -> None:
        rows, taken = self.engine.rows, self.taken
        taken.pairs = rows("SELECT count(*) AS n FROM taken")["n"][0].as_py()
        taken.withheld = rows("SELECT count(*) AS n FROM withheld")["n"][0].as_py()
        found = rows(
            "SELECT registry, count(DISTINCT violation.pair_id) AS n FROM violation "
            "WHERE sample_key IS NOT NULL GROUP BY registry ORDER BY registry"
        )
        taken.registries = {row["registry"]: row["n"] for row in found.to_pylist()}

    def _shards(self) -> None:
        touched = set(self.engine.rows("SELECT DISTINCT shard_id FROM taken")["shard_id"].to_pylist())
        kept = []
        for row in self.engine.rows("SELECT * FROM old_shard ORDER BY shard_id").to_pylist():
            if row["shard_id"] in touched:
                kept += self._without(row)
                continue
            for ending in ("tar", "parquet"):
                self._keep(shard_name(row["shard_id"], ending))
            self.taken.unchanged += 1
            kept.append(row)
        self.engine.register("shard", pa.Table.from_pylist(kept, SHARD.schema))

    def _without(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        """Write one shard without what is taken. Returns its row of ``shard``, none if nothing is left."""
        shard_id = row["shard_id"]
        tar, table = shard_name(shard_id), shard_name(shard_id, "parquet")
        require_whole(self.old, self.manifest, [tar, table])
        gone = self.engine.rows("SELECT key FROM taken WHERE shard_id = $shard_id", shard_id=shard_id)["key"]
        described = read_parquet(f"{self.old.root}/{table}")
        described = described.filter(pc.invert(pc.is_in(described["key"], value_set=gone.combine_chunks())))
        if not described.num_rows:
            self.taken.removed.append(tar)
            return []
        fact = _rewrite(self.old, self.new, tar, set(gone.to_pylist()))
        batches = described.select(SIDECAR.names).cast(SIDECAR).combine_chunks().to_batches()
        self.facts |= {tar: fact, table: self.new.write_parquet(table, SIDECAR, batches)}
        self.taken.rewritten.append(tar)
        return [{**row, "rows": described.num_rows, "bytes": fact.bytes, "sha256": fact.sha256}]

    def _keep(self, name: str) -> None:
        """The same file in the next release. Its hash is the manifest's; a shard is not read for it."""
        fact = self.manifest["files"].get(name)
        if fact is None or self.old.size(name) != fact["bytes"]:
            raise _changed(self.old, name)
        _link(self.old, self.new, name)
        self.facts[name] = FileFact(**fact)

    def _document(self, catalog: Catalog, entry: dict[str, Any]) -> dict[str, Any]:
        """The manifest of the next release, but for its ``files``."""
        before = hashlib.sha256(self.old.fs.cat_file(self.old.path(MANIFEST))).hexdigest()
        counts = _manifest.counts(catalog)
        moved = {
            **{name: counts[name] for name in ("rows", "rejected")},
            "released": counts["released"] + self.taken.pairs,
        }
        for name, found in moved.items():
            if found != self.manifest["counts"].get(name):
                raise StageError(
                    "takedown", f"{found} rows are {name}", str(self.manifest["counts"].get(name)),
                    "Nothing was published. Check the release with `fairshard verify`",
                )  # fmt: skip
        entry = {"previous_release": before, "pairs": self.taken.pairs, **entry}
        return {
            **{name: value for name, value in self.manifest.items() if name != "files"},
            "fairshard": version("fairshard"),
            "previous_release": before,
            "takedowns": [*self.manifest.get("takedowns", []), entry],
            "sources": _manifest.sources(catalog),
            "counts": counts,
        }


def require_whole(release: Release, manifest: dict[str, Any], names: Iterable[str]) -> None:
    """What is read has to be what was released, or the next release would vouch for a forgery."""
    for name in names:
        fact = manifest["files"].get(name)
        # A name that leads elsewhere is never opened: only what lies in the release is read.
        if fact is None or posixpath.normpath(name) != name or not release.exists(name):
            raise _changed(release, name)
        if asdict(release.fact(name)) != fact:
            raise _changed(release, name)


def _changed(release: Release, name: str) -> ReleaseError:
    return ReleaseError(
        release.path(name), "is missing, or not what the manifest lists", "the file as it was released",
        "Nothing was written. `fairshard verify` names every difference",
    )  # fmt: skip


def _rewrite(old: Release, new: Release, tar: str, gone: set[str]) -> FileFact:
    with old.fs.open(old.path(tar), "rb") as file, new.create(tar) as sink:
        for sample in read_samples(file, tar):  # type: ignore[arg-type]
            if sample.key not in gone:
                copy_sample(sink, sample)
        finish(sink)
    return sink.fact()


def _link(old: Release, new: Release, name: str) -> None:
    """A hard link where the file system has them, else a copy. Files of a release are replaced, never written to."""
    if "file" in old.fs.protocol and "file" in new.fs.protocol:
        os.makedirs(os.path.dirname(new.path(name)), exist_ok=True)
        try:
            os.link(os.path.realpath(old.path(name)), new.path(name))
            return
        except OSError:  # another device, or a file system without links
            pass
    with old.fs.open(old.path(name), "rb") as file, new.create(name) as sink:
        shutil.copyfileobj(file, sink, 1 << 20)
