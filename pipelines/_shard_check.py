"""Whether the shards of a release hold what its tables and sidecars say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

import pyarrow as pa

from ..schemas.errors import ReleaseError
from ._catalog import Catalog
from ._release import Release
from ._shards import Sample, read_samples, shard_name, stated
from ._store import read_parquet

_RELEASED = """
SELECT coalesce(shard_id, -1) AS shard_id, key, pair_id, caption, bytes FROM outcome
WHERE outcome = 'released' ORDER BY ALL
"""
_TAR = re.compile(r"shards/(\d+)\.tar")

Wrong = tuple[str, str, str, str]  # kind, where, what was found, what was expected


def shards(release: Release, catalog: Catalog, manifest: Mapping[str, Any]) -> Iterator[Wrong]:
    """What is wrong with the shards that the manifest, the table ``shard`` or a pair names.

    Raises:
        ReleaseError, SqlError: a table cannot be read.
    """
    named = {int(found[1]) for name in manifest["files"] if (found := _TAR.fullmatch(name))}
    for row in catalog.dicts("SELECT shard_id, path, bytes, sha256 FROM shard ORDER BY shard_id"):
        named.add(row["shard_id"])
        fact = manifest["files"].get(row["path"], {})
        if row["path"] != shard_name(row["shard_id"]) or (fact.get("sha256"), fact.get("bytes")) != (
            row["sha256"],
            row["bytes"],
        ):
            yield "wrong_count", f"tables/shard: {row['path']}", "has another name, size or hash", "as in the manifest"
    for shard_id, rows in groupby(catalog.streamed(_RELEASED), key=lambda row: row["shard_id"]):
        named.discard(shard_id)
        yield from _shard(release, shard_id, {row["key"]: row for row in rows})
    for shard_id in sorted(named):
        yield from _shard(release, shard_id, {})


def _shard(release: Release, shard_id: int, rows: dict[str, dict]) -> Iterator[Wrong]:
    """The samples of one shard against the tables and the sidecar."""
    tar, table = shard_name(shard_id), shard_name(shard_id, "parquet")
    try:
        described = {meta["key"]: meta for meta in read_parquet(f"{release.root}/{table}").to_pylist()}
        with release.fs.open(release.path(tar), "rb") as file:
            for sample in read_samples(file, tar):  # type: ignore[arg-type]
                row, meta = rows.pop(sample.key, None), described.pop(sample.key, None)
                for found, expected in _differences(sample, row, meta):
                    yield "wrong_sample", f"{tar}: {sample.key}", found, expected
    except (ReleaseError, OSError, pa.ArrowException, KeyError) as error:
        yield "unreadable", tar, str(error), "a whole shard and its sidecar"
        return
    for key in sorted({*rows, *described}):
        yield "wrong_sample", f"{tar}: {key}", "is in pairs or in the sidecar, but not in the tar", "in all"


def _differences(sample: Sample, row: dict | None, meta: dict | None) -> Iterator[tuple[str, str]]:
    """What is wrong with a sample, and what it should be."""
    pictures = [data for name, data in sample.parts.items() if name not in ("json", "txt")]
    if row is None or meta is None:
        yield "is not in pairs, not in the sidecar, or twice in the tar", "once in each"
    elif len(pictures) != 1 or len(sample.parts) != 3:
        yield f"has the parts {', '.join(sorted(sample.parts))}", "a picture, json and txt"
    else:
        if _json(sample.parts["json"]) != stated(meta) or meta["pair_id"] != row["pair_id"]:
            yield f"its JSON or its sidecar (pair {meta['pair_id']}) says something else", f"pair {row['pair_id']}"
        if not sample.parts["txt"].decode(errors="replace") == meta["caption"] == row["caption"]:
            yield "its caption is another in the tar, the sidecar or pairs", "the same everywhere"
        if len(pictures[0]) != row["bytes"]:
            yield f"its picture has {len(pictures[0])} bytes", f"{row['bytes']}"


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
