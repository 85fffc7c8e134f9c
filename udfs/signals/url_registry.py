"""Opt-out registries by URL: the answer that a list, or a Spawning-style endpoint, gives about one URL.

Both sides are compared in canonical form, so a registry that lists ``http://www.example.org:80/a`` covers
``https://example.org/a``. Answers are found by the URL they name, never by their position.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from ...schemas.verdicts import ALLOW, DENY, HOLD, NONE
from ..urls import canonical_key, url_key
from . import Evidence, strictest_evidence

KIND = "url_registry"
_READ = ("url", "optOut", "optIn")


def verdict(entries: Iterable[object] | None, url: str, ignore_query_for: Sequence[str] = ()) -> Evidence:
    """What a registry says about a URL.

    Args:
        entries: URLs, or objects with ``url``, ``host`` (this very host) or ``url_prefix`` and perhaps
            ``withdrawn_at``, ``optOut``, ``optIn``. Malformed entries are skipped. None: it gave no answer.
        url: the asset.
        ignore_query_for: hosts whose query only resizes, so that it is dropped on both sides.

    Returns:
        Evidence: ``deny``, ``allow`` (opted in and not out), ``none``, or ``hold``.
    """
    if entries is None:
        return Evidence(KIND, HOLD, detail="the registry gave no answer")
    hosts = frozenset(filter(None, map(_host, ignore_query_for)))
    key = _key(url, hosts)
    if key is None:
        return Evidence(KIND, HOLD, value=url, detail="not an http(s) URL, so it cannot be looked up")
    found = (piece for entry in entries if (piece := _entry(entry, key, hosts)) is not None)
    return strictest_evidence(KIND, found)


def answers(body: bytes, urls: Sequence[str]) -> list[Evidence]:
    """What the answer of a Spawning-style endpoint says about each URL that it was asked about.

    Args:
        body: JSON, ``{"urls": [{"url": ..., "optOut": true, "optIn": false}, ...]}``, in any order.
        urls: what was asked; http(s).

    Returns:
        Evidence of each URL: the strictest of the rows that name it in any spelling; ``hold`` where none does, where
        its ``optOut`` is no plain yes or no, and of every URL if the body is of another form. Raises nothing.
    Source: opts-api.spawningaiapi.com, ``POST /api/v2/query/urls``, as datadiligence 0.1.7 asks it.
    """
    rows = _rows(body)
    if rows is None:
        return [Evidence(KIND, HOLD, detail="the answer is not of the form {urls: [...]}")] * len(urls)
    key_of = dict(zip(urls, url_key(pa.array(urls, pa.string())).to_pylist(), strict=True))
    said: dict[str, list[Evidence]] = {key: [] for key in key_of.values()}
    for row in rows:
        named = row.get("url") if isinstance(row, dict) else None
        if isinstance(named, str) and (key := key_of.get(named) or canonical_key(named)) in said:
            said[key].append(_row_evidence(row))
    unnamed = Evidence(KIND, HOLD, detail="the answer does not name this URL")
    found = {key: strictest_evidence(KIND, pieces) if pieces else unnamed for key, pieces in said.items()}
    return [found[key_of[url]] for url in urls]


def _rows(body: bytes) -> list | None:
    try:
        document = json.loads(body, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        return None
    rows = document.get("urls") if isinstance(document, dict) else None
    return rows if isinstance(rows, list) else None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Of two values of one name, which counts would be anybody's guess."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a name twice")
    return made


def _row_evidence(row: Mapping[str, Any]) -> Evidence:
    # Only what is read: the rest (ids, times) may differ from one asking to the next. What is nested may be too deep.
    raw = json.dumps({name: row[name] for name in _READ if name in row and not isinstance(row[name], (dict, list))})
    if _is_yes(row.get("optOut")):
        return Evidence(KIND, DENY, "url", raw)
    if row.get("optOut") is not False:
        return Evidence(KIND, HOLD, "url", raw, detail="optOut is neither true nor false")
    return Evidence(KIND, ALLOW if row.get("optIn") is True else NONE, "url", raw)


def _is_yes(opt_out: object) -> bool:
    return opt_out == 1 or (isinstance(opt_out, str) and opt_out.strip().lower() in ("true", "1", "yes"))


def _entry(entry: object, key: str, hosts: frozenset[str]) -> Evidence | None:
    if isinstance(entry, str):
        entry = {"url": entry}
    if not isinstance(entry, dict) or entry.get("withdrawn_at"):
        return None
    for scope in ("url", "host", "url_prefix"):
        named = entry.get(scope)
        if isinstance(named, str) and _covers(scope, named, key, hosts):
            return Evidence(KIND, _answer(entry), scope, named, "registry")
    return None


def _covers(scope: str, named: str, key: str, hosts: frozenset[str]) -> bool:
    if scope == "host":
        host = _host(named)
        authority = key.partition("/")[0]
        return host is not None and host in (authority, authority.rpartition(":")[0])
    listed = _key(named, hosts)
    if listed is None:
        return False
    return key == listed if scope == "url" else key.startswith(listed)


def _answer(entry: dict) -> str:
    """Being listed is an opt-out, unless flags say otherwise; a refusal is read leniently, a grant strictly."""
    opt_out, opt_in = entry.get("optOut"), entry.get("optIn")
    if _is_yes(opt_out) or (opt_out is None and opt_in is None):
        return DENY
    return ALLOW if opt_in is True and opt_out in (None, False) else NONE


def _key(url: str, ignore_query_for: frozenset[str]) -> str | None:
    key = canonical_key(url)
    if key is not None and key.partition("/")[0] in ignore_query_for:
        return key.partition("?")[0]
    return key


def _host(named: str) -> str | None:
    """The host (and port, if it is not the default) of a host entry, in the form of URL keys."""
    text = named.strip()
    key = canonical_key(text if "://" in text else f"http://{text}/")
    return None if key is None else key.partition("/")[0]
