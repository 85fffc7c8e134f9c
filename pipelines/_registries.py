"""Opt-out registries and hash lists: read, checked for age, and normalised into ``rule`` rows.

Fail closed: a registry that is missing, empty, too old or unreadable refuses the run before anything is asked
of anybody. A doubtful entry is read as the restriction it may be; a permission needs evidence.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from ..schemas.config import Job, Registry
from ..schemas.errors import RegistryError
from ..schemas.tables import RULE
from ..udfs.arrow import pc
from ..udfs.text import fold_name, stable_hash
from ..udfs.urls import canonical_key
from ._progress import log

HASH_SCOPES = ("md5", "sha256", "phash", "pdq")
_HEX_DIGITS = {"md5": 32, "sha256": 64, "phash": 16, "pdq": 64}
# Entries lost to malformed keys are opt-outs lost: a few typing errors are said aloud, more refuse the run.
_MAX_MALFORMED = 0.05
_GONE = frozenset({"withdrawn", "deleted", "tombstone", "tombstoned", "removed"})
_KEY_ALIASES = ("key", "value", "hash")


@dataclass(frozen=True)
class Loaded:
    """A registry that was read.

    Attributes:
        registry: its entry in the config.
        rules: ``rule``[n].
        sha256: of the file.
        malformed: entries whose key could not be read.
    """

    registry: Registry
    rules: pa.Table
    sha256: str
    malformed: int


def check(job: Job, now: datetime) -> None:
    """Refuse a job with a registry that is missing, empty or staler than the policy allows. Reads no entry.

    Raises:
        RegistryError: naming the registry, what was found and what to do.
    """
    for registry in job.config.registries:
        _check_file(job, registry, now)


def load(job: Job, now: datetime) -> list[Loaded]:
    """All registries of a job.

    Raises:
        RegistryError: one is missing, empty, stale, has no usable column or too many malformed entries.
    """
    check(job, now)
    return [load_one(registry, job.path(registry.path)) for registry in job.config.registries]


def load_one(registry: Registry, path: str) -> Loaded:
    """One registry, whatever its age.

    Raises:
        RegistryError: as ``load``.
    """
    try:
        fs, plain = fsspec.core.url_to_fs(path)
        data = fs.cat_file(plain)
        rows = _READERS[_ending(path)](data)
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        # Parsers quote the line they stumble over, and that may be a key.
        reason = type(error).__name__ if registry.sensitive else " ".join(str(error).split())[:200]
        raise _refusal(registry, f"cannot be read ({reason})", "a readable list") from error
    entries, malformed = _entries(registry, rows)
    found = len(entries) + malformed
    if malformed > _MAX_MALFORMED * found:
        raise _refusal(registry, f"{malformed} of {found} entries are no {registry.scope}", f"{registry.scope} keys")
    if malformed:
        log.warning("registry %s: %d of %d entries are no %s and were left out", registry.name, malformed, found,
                    registry.scope)  # fmt: skip
    return Loaded(registry, _rules(registry, entries), hashlib.sha256(data).hexdigest(), malformed)


def next_change(rules: pa.Table, now: datetime) -> datetime | None:
    """When the next rule comes into force or goes out of it; None if none ever does."""
    times = [time for column in ("valid_from", "withdrawn_at") for time in rules[column].to_pylist() if time]
    return min((time for time in times if time > now), default=None)


def in_force(rules: pa.Table, now: datetime, purpose: str) -> pa.Table:
    """The rules that hold at a time for a purpose.

    A restriction whose purpose is unknown counts; only one about ``genai`` alone leaves ``train`` open. A permission
    counts for its own purpose, ``train`` including ``genai``, or without one for all.
    """
    moment = pa.scalar(now, RULE.schema.field("valid_from").type)
    begun = pc.fill_null(pc.less_equal(rules["valid_from"], moment), True)
    ended = pc.fill_null(pc.less_equal(rules["withdrawn_at"], moment), False)
    other = pc.fill_null(pc.equal(rules["purpose"], "genai"), False) if purpose == "train" else pa.scalar(False)
    covered = pc.is_in(rules["purpose"], pa.array(["train", purpose, None], pa.string()))
    elsewhere = pc.and_not(pc.equal(rules["action"], "allow"), covered)
    return rules.filter(pc.and_not(pc.and_not(pc.and_not(begun, ended), other), elsewhere))


def normal_key(scope: str, key: str) -> str | None:
    """A key in the form in which pairs and images carry it; None where it is none of its scope."""
    return _NORMAL[scope](key.strip())


def _check_file(job: Job, registry: Registry, now: datetime) -> None:
    path = job.path(registry.path)
    fs, plain = fsspec.core.url_to_fs(path)
    if not fs.exists(plain):
        raise _refusal(registry, f"'{registry.path}' does not exist", "a readable list")
    info = fs.info(plain)
    if info["type"] != "file" or not info["size"]:
        raise _refusal(registry, f"'{registry.path}' is {'empty' if info['type'] == 'file' else 'a folder'}", "a list")
    if _ending(path) not in _READERS:
        raise _refusal(registry, f"'{registry.path}' ends in '{_ending(path)}'", ", ".join(_READERS))
    limit = registry.max_age_days if registry.max_age_days is not None else job.policy.registry_max_age_days
    changed = _changed_at(info)
    if changed is None:
        raise _refusal(registry, f"the age of '{registry.path}' is not known", "a file with a time of change")
    if now - changed > timedelta(days=limit):
        age = (now - changed).total_seconds() / 86400
        raise _refusal(registry, f"'{registry.path}' is {age:.1f} days old", f"at most {limit:g} days", "Fetch it anew")


def _changed_at(info: dict[str, Any]) -> datetime | None:
    changed = info.get("mtime") or info.get("LastModified") or info.get("last_modified") or info.get("created")
    if isinstance(changed, (int, float)):
        return datetime.fromtimestamp(changed, UTC)
    if isinstance(changed, datetime):
        return changed if changed.tzinfo else changed.replace(tzinfo=UTC)
    return None


def _refusal(registry: Registry, found: str, expected: str, hint: str = "") -> RegistryError:
    return RegistryError(
        f"registry {registry.name}", found, expected, hint or "Nothing has been requested; fix it and run again"
    )


def _ending(path: str) -> str:
    return posixpath.splitext(path)[1].lower()


def _read_text(data: bytes) -> list[dict[str, str]]:
    lines = data.decode("utf-8-sig").splitlines()
    return [{"key": line.strip()} for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _read_table(delimiter: str) -> Callable[[bytes], list[dict[str, Any]]]:
    def read(data: bytes) -> list[dict[str, Any]]:
        header = data.decode("utf-8-sig").splitlines()[0] if data.strip() else ""
        names = [name.strip().strip('"') for name in header.split(delimiter)]
        table = pa_csv.read_csv(
            pa.BufferReader(data.removeprefix(b"\xef\xbb\xbf")),
            pa_csv.ReadOptions(column_names=names, skip_rows=1),
            pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
        return table.to_pylist()

    return read


def _read_jsonl(data: bytes) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in data.decode("utf-8-sig").split("\n") if line.strip()]
    return [row if isinstance(row, dict) else {"key": row} for row in rows]


def _read_parquet(data: bytes) -> list[dict[str, Any]]:
    return pq.read_table(pa.BufferReader(data)).to_pylist()


_READERS: dict[str, Callable[[bytes], list[dict[str, Any]]]] = {
    ".txt": _read_text,
    ".csv": _read_table(","),
    ".tsv": _read_table("\t"),
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}


def _entries(registry: Registry, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    column = _key_column(registry, rows)
    entries, malformed = [], 0
    for row in rows:
        raw = row.get(column)
        if str(row.get("status") or "").strip().lower() in _GONE:
            continue
        key = normal_key(registry.scope, str(raw)) if raw is not None else None
        if key is None:
            malformed += 1
            continue
        entry = _entry(registry, row, key)
        if entry["action"] == "allow" and (doubt := _doubt(entry, row)):
            log.warning("registry %s: an 'allow' %s is not honoured", registry.name, doubt)
            continue
        entries.append(entry)
    return entries, malformed


def _key_column(registry: Registry, rows: list[dict[str, Any]]) -> str:
    if not rows:
        raise _refusal(registry, f"'{registry.path}' has no entry", "at least one entry")
    names = list(dict.fromkeys(name for row in rows[:1000] for name in row))
    by_fold = {name.casefold(): name for name in reversed(names)}
    wanted = (registry.column,) if registry.column else (registry.scope, *_KEY_ALIASES)
    for name in wanted:
        if name.casefold() in by_fold:
            return by_fold[name.casefold()]
    # Without a header, the first key is taken for a column.
    found = f"has {len(names)} other columns" if registry.sensitive else f"has the columns {', '.join(names)}"
    raise _refusal(registry, found, f"one called '{wanted[0]}'", "Or set 'column' of the registry")


def _entry(registry: Registry, row: dict[str, Any], key: str) -> dict[str, Any]:
    action = str(row.get("action") or "deny").strip().lower()
    return {
        "registry": registry.name,
        "scope": registry.scope,
        "key": key,
        "action": "allow" if action == "allow" else "deny",  # an unknown word restricts
        "purpose": _optional(row.get("purpose")),
        "declared_by": _optional(row.get("declared_by")),
        "valid_from": _time(row.get("valid_from"), registry, "valid_from"),
        "withdrawn_at": _time(row.get("withdrawn_at"), registry, "withdrawn_at"),
        "evidence": _optional(row.get("evidence")),
        "sensitive": registry.sensitive,
    }


def _doubt(entry: dict[str, Any], row: dict[str, Any]) -> str:
    """Why a permission does not count; empty if it does."""
    if not entry["evidence"]:
        return "without evidence"
    unread = [name for name in ("valid_from", "withdrawn_at") if entry[name] is None and _optional(row.get(name))]
    return f"with an unreadable {unread[0]}" if unread else ""


def _rules(registry: Registry, entries: list[dict[str, Any]]) -> pa.Table:
    ids = stable_hash(pa.array(["\x1f".join(_identity(entry)) for entry in entries], pa.string()))
    rows = [{"rule_id": rule_id, **entry} for rule_id, entry in zip(ids.to_pylist(), entries, strict=True)]
    return pa.Table.from_pylist(list(_widest(rows)), schema=RULE.schema)


def _identity(entry: dict[str, Any]) -> list[str]:
    """What makes a rule. Restrictions on the same key are one; permissions must not lend each other time or purpose."""
    names = ["registry", "scope", "key", "action"]
    if entry["action"] == "allow":
        names += ["purpose", "valid_from", "withdrawn_at"]
    return [str(entry[name]) for name in names]


def _widest(rows: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """One row a rule; of several restrictions with the same key, one for all their time and purposes."""
    seen: dict[int, dict[str, Any]] = {}
    for row in rows:
        old = seen.setdefault(row["rule_id"], row)
        if old is not row:
            old["valid_from"] = _either(min, old["valid_from"], row["valid_from"])
            old["withdrawn_at"] = _either(max, old["withdrawn_at"], row["withdrawn_at"])
            old["purpose"] = old["purpose"] if old["purpose"] == row["purpose"] else None
    return seen.values()


def _either(choose: Callable, left: datetime | None, right: datetime | None) -> datetime | None:
    return None if left is None or right is None else choose(left, right)


def _optional(value: Any) -> str | None:
    return str(value).strip() or None if value is not None else None


def _time(value: Any, registry: Registry, name: str) -> datetime | None:
    """A time; null, which means "in force", where it cannot be read."""
    if value is None or not str(value).strip():
        return None
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    try:
        parsed = datetime.fromisoformat(str(value).strip())
    except ValueError:
        log.warning("registry %s: a %s that is no ISO 8601 date is ignored; the entry stays in force",
                    registry.name, name)  # fmt: skip
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _url(key: str) -> str | None:
    return canonical_key(key if "://" in key else f"https://{key}")


def _host(key: str) -> str | None:
    found = _url(key)
    if found is None:
        return None
    return re.split(r"[/:]", found, maxsplit=1)[0] if not found.startswith("[") else found.partition("]")[0] + "]"


def _domain(key: str) -> str | None:
    return _host(key.removeprefix("*.").removeprefix(".")) if key else None


def _digest(digits: int) -> Callable[[str], str | None]:
    pattern = re.compile(rf"[0-9a-f]{{{digits}}}")

    def normal(key: str) -> str | None:
        folded = key.lower()
        return folded if pattern.fullmatch(folded) else None

    return normal


_NORMAL: dict[str, Callable[[str], str | None]] = {
    "url": _url,
    "url_prefix": _url,
    "host": _host,
    "domain": _domain,
    "creator": fold_name,
    "licence": fold_name,
    **{scope: _digest(digits) for scope, digits in _HEX_DIGITS.items()},
}
