"""explain: the whole story of one pair, from a work directory or a release.

Where it came from, what was said about it, what the gate decided and on what evidence, what its picture is, which
pairs it duplicates, what the filters measured, and where in the release it lies.
"""

from __future__ import annotations

from typing import Any

from ..schemas.errors import InputError
from ..schemas.tables import PAIR
from ._catalog import Catalog, open_catalog
from ._registries import normal_key
from ._shards import shard_name
from ._story import explain_text as text

__all__ = ["explain", "text"]

# Pairs whose URL is like the one asked for, of the same host if there are any.
_NEAREST = """
SELECT pair_id, url, caption, outcome FROM outcome
WHERE host = key_host($key) OR domain = host_domain(key_host($key))
ORDER BY host = key_host($key) DESC, jaro_winkler_similarity(url_key, $key) DESC, pair_id LIMIT 5
"""
_MEMBERS = """
SELECT duplicate.pair_id, url, outcome, kind, distance
FROM duplicate LEFT JOIN outcome ON duplicate.pair_id = outcome.pair_id
WHERE group_id = $group_id ORDER BY duplicate.pair_id LIMIT 50
"""
# What is recorded about a pair in tables with several rows of it.
_OF_PAIR = {
    "signal": "SELECT * FROM signal WHERE pair_id = $id ORDER BY kind, scope, source, hop NULLS FIRST, rule_id",
    "image": "SELECT * FROM image WHERE pair_id = $id",
    "duplicate": "SELECT * FROM duplicate WHERE pair_id = $id",
    "score": "SELECT * FROM score WHERE pair_id = $id ORDER BY kind",
}

_TACIT = ("pair_id", "pdq_dihedral")  # the first goes without saying, the second is the PDQ seven more times


def explain(folder: str, *, url: str | None = None, pair_id: int | None = None) -> dict[str, Any]:
    """Everything that is recorded about a pair.

    Args:
        folder: a work directory or a release.
        url: of the picture, in any spelling; several pairs may share it.
        pair_id: of the pair.

    Returns:
        asked, found, directory (work or release), pairs (one story each), nearest (pairs with a URL like it, if there
        is no pair) and note (why there may be none, or null).

    Raises:
        ReleaseError: the folder is neither a work directory nor a finished release.
        InputError: neither or both of url and pair_id are given.
    """
    if (url is None) == (pair_id is None):
        raise InputError("explain", "needs one thing to look for", "a URL or a pair id")
    catalog = open_catalog(folder)
    key = normal_key("url", url) if url is not None else None
    found = _find(catalog, key, pair_id)
    return {
        "asked": {"url": url, "url_key": key, "pair_id": pair_id},
        "found": bool(found),
        "directory": "release" if catalog.is_release else "work",
        "pairs": [_story(catalog, row) for row in found],
        "nearest": catalog.dicts(_NEAREST, key=key) if key and not found else [],
        "note": None if found else _note(catalog, key is None and url is not None),
    }


def _find(catalog: Catalog, key: str | None, pair_id: int | None) -> list[dict[str, Any]]:
    if pair_id is not None:
        return catalog.dicts("SELECT * FROM outcome WHERE pair_id = $id", id=pair_id)
    if key is None:
        return []
    return catalog.dicts("SELECT * FROM outcome WHERE url_key = $key ORDER BY pair_id", key=key)


def _story(catalog: Catalog, row: dict[str, Any]) -> dict[str, Any]:
    """One pair, from its row of the view ``outcome``."""
    facts = {
        table: [_readable(found) for found in catalog.dicts(sql, id=row["pair_id"])] for table, sql in _OF_PAIR.items()
    }
    dropped = {name: row[name] for name in ("stage", "reason", "evidence")}
    return {
        "pair": {name: row[name] for name in PAIR.schema.names if row[name] is not None},
        "outcome": row["outcome"],
        "signals": facts["signal"],
        "dropped": dropped if row["outcome"] == "dropped" else None,
        "image": next(iter(facts["image"]), None),
        "duplicate": _group(catalog, facts["duplicate"]),
        "scores": facts["score"],
        "sample": _place(row) if row["outcome"] == "released" else None,
    }


def _group(catalog: Catalog, own: list[dict[str, Any]]) -> dict[str, Any] | None:
    return {**own[0], "members": catalog.dicts(_MEMBERS, group_id=own[0]["group_id"])} if own else None


def _place(row: dict[str, Any]) -> dict[str, Any]:
    return {"shard": shard_name(row["shard_id"]), **{name: row[name] for name in ("key", "bytes", "weight")}}


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    """A row as JSON can hold it, hashes as they are printed."""
    shown = {name: value for name, value in row.items() if name not in _TACIT and value is not None}
    if "phash" in shown:
        shown["phash"] = f"{shown['phash'] & (2**64 - 1):016x}"
    if "pdq" in shown:
        shown["pdq"] = shown["pdq"].hex()
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in shown.items()}


def _note(catalog: Catalog, is_no_url: bool) -> str | None:
    """Why a pair may not be found."""
    rejected = catalog.dicts("SELECT reason, count(*) AS n FROM rejected GROUP BY reason ORDER BY n DESC, reason")
    withheld = catalog.dicts("SELECT count(*) AS n FROM outcome WHERE withheld")[0]["n"]
    notes = ["That is not an http or https URL, and rows with others are rejected."] if is_no_url else []
    if rejected:
        reasons = ", ".join(f"{row['reason']}: {row['n']:,}" for row in rejected)
        notes.append(f"Rows of the sources that were rejected are known by number only ({reasons}).")
    if withheld:
        notes.append(f"{withheld:,} pairs are covered by lists that may not be published, and cannot be looked up.")
    return " ".join(notes) or None
