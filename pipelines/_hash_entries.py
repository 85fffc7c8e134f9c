"""Entries of a hash list: of which kind each hash is, and which of them can be compared with anything.

What a file says goes first: a column that names the kind, columns named after kinds, a word before the digits. Then the
scope of the registry, and under ``hash``, which takes whatever kind each entry says, the number of digits.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce

import pyarrow as pa

from ..schemas.config import Registry
from ..udfs.arrow import pc
from ..udfs.hash_lists import NO_HASH, SCOPES, WITHDRAWN, kind_of
from ._registry_file import BadLine, Entries

ANY = "hash"
LIST_SCOPES = (ANY, *SCOPES)

# How lists call their columns, without case and punctuation.
_VALUES = ("key", "value", "hash", "hashvalue", "hashdigest", "indicator", "rawindicator", "tdrawindicator", "signal",
           "signalstr", "signalvalue", "signalhash")  # fmt: skip
_KINDS = ("kind", "type", "signaltype", "indicatortype", "tdindicatortype", "hashtype", "algorithm")
_STATUSES = ("status", "hashstatus", "tdstatus")
_FLAGS = ("shoulddelete", "deleted", "withdrawn", "tombstone")

# `HEX`, `HEX  name.jpg` as md5sum prints, `HEX,100,name.jpg`; and `pdq HEX`, `MD5 (name.jpg) = HEX`.
_BARE = r"^(?P<key>[0-9A-Fa-f]{16,})(?:[\s,;*].*)?$"
_NAMED = r"^(?P<kind>[A-Za-z][0-9A-Za-z_+-]*)(?:\s*\(.*\)\s*=|[\s:=,])\s*(?P<key>[0-9A-Fa-f]{16,})(?:[\s,;].*)?$"
_BY_DIGITS = {16: "phash", 32: "md5", 40: "sha1", 96: "sha512", 128: "sha512"}
_EITHER = "^[0-9A-Fa-f]{64}$"  # PDQ or sha256
_UNKNOWN = "of unknown kind"


@dataclass(frozen=True)
class Hashes:
    """What of a hash list can be compared.

    Attributes:
        keys: string[n], as they stand.
        scopes: string[n], one of ``SCOPES``; null where that cannot be told.
        entries: columns and places of the same n.
        left_out: how many entries were left out, by the name of their kind.
    """

    keys: pa.Array
    scopes: pa.Array
    entries: Entries
    left_out: dict[str, int]


def hashes(registry: Registry, entries: Entries) -> Hashes | None:
    """The hashes of a list that the registry's scope asks for; None where no column holds any.

    Raises:
        BadLine: it cannot be told whether entries are PDQ or sha256.
    """
    names = {_folded(name): name for name in reversed(entries.columns)}
    value, kind = _value(registry, names), _kind(entries, names)
    by_kind = {name: kind_of(name) for name in entries.columns if kind_of(name) not in (None, NO_HASH)}
    if registry.scope == ANY and registry.column is None and kind is None and {*by_kind.values()} & {*SCOPES}:
        keys, kinds, entries = _unpivoted(entries, by_kind)
    elif value is not None:
        keys, kinds = _split(entries.columns[value].cast(pa.string()))
        kinds = pc.coalesce(entries.columns[kind].cast(pa.string()), kinds) if kind else kinds
    elif (name := _headless(registry, entries)) is not None:
        entries = _with_header(entries)
        keys, kinds = _split(entries.columns[name])
    else:
        return None
    return _chosen(registry, keys, kinds, _with_status(entries, names))


def _folded(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _value(registry: Registry, names: Mapping[str, str]) -> str | None:
    wanted = (registry.column,) if registry.column else (registry.scope, *_VALUES)
    return next((names[_folded(name)] for name in wanted if _folded(name) in names), None)


def _kind(entries: Entries, names: Mapping[str, str]) -> str | None:
    """The column that says of which kind each hash is: one in which at least one word is a kind."""
    for name in _KINDS:
        column = entries.columns[names[name]].cast(pa.string()) if name in names else pa.array([], pa.string())
        if any(kind_of(word) is not None for word in column.unique().drop_null().to_pylist()):
            return names[name]
    return None


def _unpivoted(entries: Entries, by_kind: Iterable[str]) -> tuple[pa.Array, pa.Array, Entries]:
    """An entry for each hash of a row. A row without any stays one, of no kind."""
    count = len(entries.places)
    columns = {name: _text(entries.columns[name]) for name in by_kind}
    empty = reduce(pc.and_, (pc.is_null(column) for column in columns.values()))
    parts = [(pa.nulls(count, pa.string()), pa.nulls(count, pa.string()), empty)]
    parts += [(column, pa.repeat(name, count), pc.is_valid(column)) for name, column in columns.items()]
    keys, kinds, there = (pa.concat_arrays(list(column)) for column in zip(*parts, strict=True))
    rows = pa.concat_arrays([pa.array(range(count), pa.int64())] * len(parts)).filter(there)
    taken = {name: column.take(rows) for name, column in entries.columns.items()}
    return keys.filter(there), kinds.filter(there), replace(entries, columns=taken, places=entries.places.take(rows))


def _split(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Digits, and the word before them if there is one. What is built otherwise stays as it is."""
    text = _text(column)
    bare, named = pc.extract_regex(text, _BARE), pc.extract_regex(text, _NAMED)
    key = pc.coalesce(pc.struct_field(bare, "key"), pc.struct_field(named, "key"), text)
    return key, pc.if_else(pc.is_null(bare), pc.struct_field(named, "kind"), pa.scalar(None, pa.string()))


def _text(column: pa.Array) -> pa.Array:
    """Without white space around it; null where nothing is left."""
    trimmed = pc.utf8_trim_whitespace(column.cast(pa.string()))
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def _headless(registry: Registry, entries: Entries) -> str | None:
    """The only cell of the first row that is a hash: then it is no header."""
    found = [name for name in entries.columns if len(name.strip()) in _digits(registry.scope) and _is_hex(name.strip())]
    return found[0] if len(found) == 1 and registry.column is None else None


def _digits(scope: str) -> tuple[int, ...]:
    by_scope = {"md5": 32, "sha256": 64, "phash": 16, "pdq": 64}
    return tuple(set(by_scope.values())) if scope == ANY else (by_scope[scope],)


def _is_hex(text: str) -> bool:
    return re.fullmatch("[0-9A-Fa-f]+", text) is not None


def _with_header(entries: Entries) -> Entries:
    columns = {name: pa.concat_arrays([pa.array([name]), column]) for name, column in entries.columns.items()}
    return replace(entries, columns=columns, places=pa.concat_arrays([pa.array([1], pa.int64()), entries.places]))


def _with_status(entries: Entries, names: Mapping[str, str]) -> Entries:
    """The same with what withdraws an entry, by whatever name, in the column ``status``."""
    count, columns = len(entries.places), entries.columns
    status = next((columns[names[name]] for name in _STATUSES if name in names), pa.nulls(count, pa.string()))
    flags = (pc.is_in(pc.utf8_lower(_text(columns[names[name]])), pa.array(["true", "1", "yes"]))
             for name in _FLAGS if name in names)  # fmt: skip
    gone = reduce(pc.or_, flags, pa.array([False] * count))
    return replace(entries, columns={**columns, "status": pc.if_else(gone, "withdrawn", status.cast(pa.string()))})


def _chosen(registry: Registry, keys: pa.Array, kinds: pa.Array, entries: Entries) -> Hashes:
    labels = pc.if_else(pc.is_null(kinds), _unnamed(registry, keys), _named(kinds, keys))
    there = pc.invert(pc.is_in(pc.utf8_lower(_text(entries.columns["status"])), pa.array(sorted(WITHDRAWN))))
    doubtful = pc.and_(there, pc.and_(pc.is_null(labels), pc.fill_null(pc.match_substring_regex(keys, _EITHER), False)))
    if registry.scope == ANY and (count := pc.sum(doubtful).as_py()):
        raise BadLine(f"{count} entries have 64 digits and name no kind that is known: write 'scope: pdq' or "
                      "'scope: sha256', or the kind before each")  # fmt: skip
    wanted = SCOPES if registry.scope == ANY else (registry.scope,)
    read = pc.or_(pc.is_in(labels, pa.array(wanted)), pc.is_null(labels))
    left_out = Counter(labels.filter(pc.and_(there, pc.invert(read))).to_pylist())
    columns = {name: column.filter(read) for name, column in entries.columns.items()}
    kept = replace(entries, columns=columns, places=entries.places.filter(read))
    return Hashes(keys.filter(read), labels.filter(read), kept, dict(sorted(left_out.items())))


def _named(kinds: pa.Array, keys: pa.Array) -> pa.Array:
    """string[n]: what the words mean. A word nobody knows before what may be a hash of ours is in doubt: null."""
    coded = kinds.dictionary_encode()
    meant = pa.array([kind_of(word) for word in coded.dictionary.to_pylist()], pa.string()).take(coded.indices)
    ours = pc.match_substring_regex(_text(keys), r"^(?:[0-9A-Fa-f]{16}|[0-9A-Fa-f]{32}|[0-9A-Fa-f]{64})$")
    return pc.if_else(pc.or_(pc.is_valid(meant), pc.fill_null(ours, True)), meant, _UNKNOWN)


def _unnamed(registry: Registry, keys: pa.Array) -> pa.Array:
    """string[n]: of which kind hashes are whose kind nobody names; null where that cannot be told."""
    count = len(keys)
    if registry.scope != ANY:
        return pa.repeat(registry.scope, count)
    digits = pc.if_else(pc.match_substring_regex(keys, "^[0-9A-Fa-f]+$"), pc.utf8_length(keys), 0)
    cases = [(pc.equal(digits, length), kind) for length, kind in _BY_DIGITS.items()]
    return pc.case_when(pc.make_struct(*(case for case, _ in cases)), *(kind for _, kind in cases))


def in_words(left_out: Mapping[str, int]) -> str:
    """Counts by kind, such as ``30 photodna, 10 sha1``."""
    return ", ".join(f"{count:,} {kind}" for kind, count in left_out.items())
