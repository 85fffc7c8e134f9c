"""From the entries of a registry to ``rule`` rows, column by column: there may be millions.

A doubtful entry is read as the restriction it may be; a permission needs evidence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from ..schemas.config import Registry
from ..schemas.tables import RULE
from ..udfs.arrow import pc
from ..udfs.hash_lists import WITHDRAWN
from ..udfs.iscc import canonical_iscc
from ..udfs.text import name_key, stable_hash
from ..udfs.urls import key_host, url_key
from ._progress import log

_HEX_DIGITS = {"md5": 32, "sha256": 64, "phash": 16, "pdq": 64}
_ALLOW = ("allow",)
_READ = ("action", "status", "purpose", "declared_by", "evidence", "valid_from", "withdrawn_at")
_TIMES = ("valid_from", "withdrawn_at")
_RESTRICTION = ("registry", "scope", "key", "action")
_TIME = RULE.schema.field("valid_from").type


def rule_rows(
    registry: Registry, keys: pa.Array, scopes: pa.Array, columns: Mapping[str, pa.Array]
) -> tuple[pa.Table, pa.Array, pa.Array]:
    """The rules that a registry's entries make.

    Args:
        registry: its entry in the config.
        keys: string[n]
        scopes: string[n], of each; null where it cannot be told, and so the key cannot be read.
        columns: the others by name, string[n] or UTC time[n].

    Returns:
        ``rule``[m]; boolean[n], the entries that they come from; boolean[n], those whose key cannot be read.
    """
    count = len(keys)
    said = {name: _said(columns.get(name, pa.nulls(count, pa.string()))) for name in _READ}
    times = {name: _times(said[name], registry, name) for name in _TIMES}
    made = {
        "registry": pa.repeat(registry.name, count),
        "scope": scopes,
        "key": _normal_keys(scopes, keys),
        "action": pc.if_else(_is_one_of(said["action"], _ALLOW), "allow", "deny"),  # an unknown word restricts
        **{name: said[name] for name in ("purpose", "declared_by", "evidence")},
        **times,
        "sensitive": pa.repeat(registry.sensitive, count),
    }
    there = pc.invert(_is_one_of(said["status"], sorted(WITHDRAWN)))
    malformed = pc.and_(there, pc.is_null(made["key"]))
    read = pc.and_not(there, malformed)
    doubt = _doubt(made["action"], said, times)
    _warn_of_doubt(registry, doubt.filter(read))
    used = pc.and_(read, pc.is_null(doubt))
    good = pa.table(made).filter(used)
    return _widest(good.append_column("rule_id", _ids(good))), used, malformed


def normal_keys(scope: str, keys: pa.Array) -> pa.Array:
    """Keys in the form in which pairs and images carry them.

    Args: keys: string[n]; null stays null.
    Returns: string[n]; null where a key is none of its scope.
    """
    return _NORMAL[scope](pc.utf8_trim_whitespace(keys))


def _normal_keys(scopes: pa.Array, keys: pa.Array) -> pa.Array:
    found = pa.nulls(len(keys), pa.string())
    for scope in scopes.unique().drop_null().to_pylist():
        found = pc.if_else(pc.fill_null(pc.equal(scopes, scope), False), normal_keys(scope, keys), found)
    return found


def _said(column: pa.Array) -> pa.Array:
    """Text without white space around it, null where nothing is left; times as they are."""
    if column.type == _TIME:
        return column
    text = pc.utf8_trim_whitespace(column)
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def _is_one_of(text: pa.Array, words: Sequence[str]) -> pa.Array:
    return pc.is_in(pc.utf8_lower(text), pa.array(words))


def _times(column: pa.Array, registry: Registry, name: str) -> pa.Array:
    """Times; null, which means "in force", where one cannot be read."""
    if column.type == _TIME:
        return column
    coded = column.dictionary_encode()
    parsed = pa.array([_time(text) for text in coded.dictionary.to_pylist()], _TIME)
    if parsed.null_count:
        log.warning("registry %s: a %s that is no ISO 8601 date is ignored; the entry stays in force",
                    registry.name, name)  # fmt: skip
    return parsed.take(coded.indices)


def _time(text: str) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(text)
        return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _doubt(action: pa.Array, said: Mapping[str, pa.Array], times: Mapping[str, pa.Array]) -> pa.Array:
    """string[n]: why a permission does not count; null if it does, or is a restriction."""
    unread = {name: pc.and_(pc.is_valid(said[name]), pc.is_null(times[name])) for name in _TIMES}
    why = pc.case_when(
        pc.make_struct(pc.is_null(said["evidence"]), *unread.values()),
        "without evidence", *(f"with an unreadable {name}" for name in unread),
    )  # fmt: skip
    return pc.if_else(pc.equal(action, "allow"), why, pa.scalar(None, pa.string()))


def _warn_of_doubt(registry: Registry, doubt: pa.Array) -> None:
    for why, count in sorted(Counter(doubt.drop_null().to_pylist()).items()):
        log.warning("registry %s: 'allow' %s is not honoured (%d entries)", registry.name, why, count)


def _ids(made: pa.Table) -> pa.Array:
    """int64[n]: what makes a rule. Restrictions on one key are one; permissions must not lend each other time."""
    texts = pc.binary_join_element_wise(*(made[name] for name in _RESTRICTION), "\x1f").combine_chunks()
    allow = pc.equal(made["action"], "allow").combine_chunks()
    permissions = made.filter(allow).select([*_RESTRICTION, "purpose", *_TIMES]).to_pylist()
    longer = pa.array(["\x1f".join(map(str, row.values())) for row in permissions], pa.string())
    return stable_hash(pc.replace_with_mask(texts, allow, longer))


def _widest(made: pa.Table) -> pa.Table:
    """One row a rule; of several restrictions with the same key, one for all their time and purposes."""
    counts = pc.value_counts(made["rule_id"])
    several = pc.is_in(made["rule_id"], counts.field("values").filter(pc.greater(counts.field("counts"), 1)))
    made = made.append_column("place", pa.array(range(len(made)), pa.int64()))
    widened: dict[int, dict[str, Any]] = {}
    for row in made.filter(several).to_pylist():
        old = widened.setdefault(row["rule_id"], row)
        old["valid_from"] = _either(min, old["valid_from"], row["valid_from"])
        old["withdrawn_at"] = _either(max, old["withdrawn_at"], row["withdrawn_at"])
        old["purpose"] = old["purpose"] if old["purpose"] == row["purpose"] else None
    alone = made.filter(pc.invert(several))
    merged = pa.concat_tables([alone, pa.Table.from_pylist(list(widened.values()), made.schema)]).sort_by("place")
    return merged.select(RULE.schema.names).cast(RULE.schema)


def _either(choose: Callable, left: datetime | None, right: datetime | None) -> datetime | None:
    return None if left is None or right is None else choose(left, right)


def _url(keys: pa.Array) -> pa.Array:
    # A name alone gets the slash that a parser would add: what is canonical needs none.
    slash = pc.if_else(pc.match_substring_regex(keys, r"^[^/?#\\]+$"), "/", "")
    scheme = pc.if_else(pc.match_substring(keys, "://"), "", "https://")
    return url_key(pc.binary_join_element_wise(scheme, keys, slash, ""))


def _host(keys: pa.Array) -> pa.Array:
    return key_host(_url(keys))


def _domain(keys: pa.Array) -> pa.Array:
    return _host(pc.replace_substring_regex(keys, r"^(\*\.)?\.?", ""))


def _digest(digits: int) -> Callable[[pa.Array], pa.Array]:
    def normal(keys: pa.Array) -> pa.Array:
        folded = pc.utf8_lower(keys)
        is_hex = pc.match_substring_regex(folded, rf"^[0-9a-f]{{{digits}}}$")
        return pc.if_else(is_hex, folded, pa.scalar(None, pa.string()))

    return normal


def _iscc(keys: pa.Array) -> pa.Array:
    return pa.array([None if key is None else canonical_iscc(key) for key in keys.to_pylist()], pa.string())


_NORMAL: dict[str, Callable[[pa.Array], pa.Array]] = {
    "url": _url,
    "url_prefix": _url,
    "host": _host,
    "domain": _domain,
    "creator": name_key,
    "licence": name_key,
    "iscc": _iscc,
    **{scope: _digest(digits) for scope, digits in _HEX_DIGITS.items()},
}
