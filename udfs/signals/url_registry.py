"""Opt-out registries by URL: the answer that a list, or a Spawning-style endpoint, gives about one URL.

Both sides are compared in canonical form, so a registry that lists ``http://www.example.org:80/a`` covers
``https://example.org/a``. Answers are found by the URL they name, never by their position.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...schemas.verdicts import ALLOW, DENY, HOLD, NONE
from ..urls import canonical_key
from . import Evidence, strictest_evidence

KIND = "url_registry"


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
    listed = _key(named, hosts) if scope == "url" else canonical_key(named)
    if listed is None:
        return False
    return key == listed if scope == "url" else key.startswith(listed)


def _answer(entry: dict) -> str:
    """Being listed is an opt-out, unless flags say otherwise; a refusal is read leniently, a grant strictly."""
    if "optOut" not in entry and "optIn" not in entry:
        return DENY
    opt_out = entry.get("optOut")
    if opt_out == 1 or (isinstance(opt_out, str) and opt_out.strip().lower() in ("true", "1", "yes")):
        return DENY
    return ALLOW if entry.get("optIn") is True and opt_out in (None, False) else NONE


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
