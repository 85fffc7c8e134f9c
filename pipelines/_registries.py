"""Opt-out registries and hash lists: read, checked for age, and normalised into ``rule`` rows.

Fail closed: a registry that is missing, empty, too old or unreadable refuses the run before anything is asked
of anybody. A doubtful entry is read as the restriction it may be; a permission needs evidence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import pyarrow as pa

from ..schemas.config import Job, Registry
from ..schemas.errors import InputError, RegistryError
from ..schemas.policy import Policy
from ..schemas.tables import RULE
from ..udfs.arrow import pc
from ._clock import ALLOWED_OF_FILES
from ._files import file_system, reached
from ._hash_entries import LIST_SCOPES, hashes, in_words
from ._progress import log
from ._registry_file import READERS, BadLine, Entries, ending, places
from ._registry_rules import normal_keys, rule_rows

HASH_SCOPES = ("md5", "sha256", "phash", "pdq", "iscc")
_KEY_ALIASES = ("key", "value", "hash")


@dataclass(frozen=True)
class Loaded:
    """A registry that was read.

    Attributes:
        registry: its entry in the config.
        rules: ``rule``[n].
        sha256: of the file.
        malformed: entries whose key could not be read.
        left_out: entries of hashes that cannot be compared with anything, or that the scope does not ask for, by kind.
        changed_at: when the file was last changed; None where that is not known.
    """

    registry: Registry
    rules: pa.Table
    sha256: str
    malformed: int
    left_out: dict[str, int]
    changed_at: datetime | None


def check(job: Job, now: datetime) -> None:
    """Refuse a job with a registry that is missing, empty or staler than the policy allows. Reads no entry.

    Raises:
        RegistryError: naming the registry, what was found and what to do.
    """
    for registry in job.config.registries:
        with _reached(registry, job.path(registry.path)):
            _check_file(job, registry, now)


def load(job: Job, now: datetime) -> list[Loaded]:
    """All registries of a job.

    Raises:
        RegistryError: one is missing, empty, stale, or has no usable column or entry.
        InputError: one has more malformed entries than its ``max_malformed`` allows.
    """
    check(job, now)
    return [load_one(registry, job.path(registry.path)) for registry in job.config.registries]


def load_one(registry: Registry, path: str) -> Loaded:
    """One registry, whatever its age.

    Raises:
        RegistryError, InputError: as ``load``.
    """
    _check_ending(registry, path)
    try:
        with _reached(registry, path):
            fs, plain = file_system(path)
            changed_at = _changed_at(fs.info(plain), registry)
            data = fs.cat_file(plain)
        made, lost, left_out = _read(registry, path, data)
    except (BadLine, pa.ArrowException, OSError, ValueError, OverflowError, RecursionError) as error:
        raise _refusal(registry, f"cannot be read ({_why(error, registry)})", "a readable list") from error
    return Loaded(registry, made, hashlib.sha256(data).hexdigest(), lost, left_out, changed_at)


def _reached(registry: Registry, path: str) -> AbstractContextManager[None]:
    return reached(path, lambda found, hint: _refusal(registry, f"'{path}' {found}", "a readable list", hint))


def forget() -> None:
    """Give back the memory of lists that were read."""
    _read.cache_clear()


def warn_of_age(registries: Iterable[Loaded], policy: Policy, now: datetime) -> None:
    """Say aloud which registries are older than a policy allows, where that refuses nothing."""
    limit = policy.registry_max_age_days
    for one in registries:
        if one.changed_at is not None and now - one.changed_at > timedelta(days=limit):
            log.warning("registry %s is %s old, more than the %g days that the policy allows: later opt-outs are not in it",
                        one.registry.name, _days(now - one.changed_at), limit)  # fmt: skip


def next_change(rules: pa.Table, now: datetime) -> datetime | None:
    """When the next rule comes into force or goes out of it; None if none ever does."""
    times = [time for column in ("valid_from", "withdrawn_at") for time in rules[column].to_pylist() if time]
    return min((time for time in times if time > now), default=None)


def in_force(rules: pa.Table, now: datetime, purpose: str = "genai") -> pa.Table:
    """The rules that hold at a time for a purpose; those for ``genai`` are all that hold for any policy.

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
    return normal_keys(scope, pa.array([key], pa.string()))[0].as_py()


def _check_file(job: Job, registry: Registry, now: datetime) -> None:
    path = job.path(registry.path)
    fs, plain = file_system(path)
    if not fs.exists(plain):
        raise _refusal(registry, f"'{registry.path}' does not exist", "a readable list")
    info = fs.info(plain)
    if info["type"] != "file" or not info["size"]:
        raise _refusal(registry, f"'{registry.path}' is {'empty' if info['type'] == 'file' else 'a folder'}", "a list")
    _check_ending(registry, path)
    limit = registry.max_age_days if registry.max_age_days is not None else job.policy.registry_max_age_days
    changed = _changed_at(info, registry)
    if changed is None:
        raise _refusal(registry, f"the age of '{registry.path}' is not known", "a file with a time of change")
    if now - changed > timedelta(days=limit):
        found = f"'{registry.path}' is {_days(now - changed)} old"
        raise _refusal(registry, found, f"at most {limit:g} days", "Fetch it anew")
    if changed - now > ALLOWED_OF_FILES:
        found = f"'{registry.path}' was changed {_days(changed - now)} from now"
        hint = "Its age is not known. Set the clock of this machine, or fetch it anew"
        raise _refusal(registry, found, "a time that is over", hint)


def _why(error: Exception, registry: Registry) -> str:
    """What is wrong with a file. Parsers quote what they stumble over, and that may be a key."""
    if isinstance(error, BadLine):
        return str(error)
    said = type(error).__name__ if registry.sensitive else " ".join(str(error).split())[:200]
    return getattr(error, "strerror", None) or said


def _check_ending(registry: Registry, path: str) -> None:
    if ending(path) not in READERS:
        raise _refusal(registry, f"'{registry.path}' ends in '{ending(path)}'", ", ".join(READERS))


def _days(age: timedelta) -> str:
    return f"{age.total_seconds() / 86400:.1f} days"


def _changed_at(info: dict[str, Any], registry: Registry) -> datetime | None:
    """When a list was last changed: by its file, or by its ``dated`` if that is earlier."""
    known = (info.get(name) for name in ("mtime", "LastModified", "last_modified", "created"))
    changed = next((time for time in known if time is not None), None)
    if isinstance(changed, (int, float)):
        changed = datetime.fromtimestamp(changed, UTC)
    file = changed.replace(tzinfo=changed.tzinfo or UTC) if isinstance(changed, datetime) else None
    stated = datetime.fromisoformat(registry.dated).replace(tzinfo=UTC) if registry.dated else None
    return min((time for time in (file, stated) if time), default=None)


def _refusal(registry: Registry, found: str, expected: str, hint: str = "") -> RegistryError:
    return RegistryError(
        f"registry {registry.name}", found, expected, hint or "Nothing has been requested; fix it and run again"
    )


@lru_cache(maxsize=64)  # a run reads its lists before it begins, to refuse it, and once more when it comes to them
def _read(registry: Registry, path: str, data: bytes) -> tuple[pa.Table, int, dict[str, int]]:
    """The rules in a file, how many entries had no key that can be read, and how many were left out by kind."""
    entries = READERS[ending(path)](data)
    if not len(entries.places):
        raise _refusal(registry, f"'{registry.path}' has no entry", "at least one entry")
    if entries.more:
        log.warning(
            "registry %s: the file says that the list goes on; what is not in it is not looked for", registry.name
        )
    left_out: dict[str, int] = {}
    found = hashes(registry, entries) if registry.scope in LIST_SCOPES else None
    if found is not None:
        keys, scopes, entries, left_out = found.keys, found.scopes, found.entries, found.left_out
    else:
        keys = _key_column(registry, entries)
        scopes = pa.repeat(registry.scope, len(keys))
    made, used, malformed = rule_rows(registry, keys, scopes, entries.columns)
    lost = entries.places.filter(malformed).to_pylist()
    _judge(registry, path, pc.sum(used).as_py() or 0, lost, left_out)
    return made, len(lost), left_out


def _judge(registry: Registry, path: str, used: int, lost: list[int], left_out: dict[str, int]) -> None:
    """Say aloud what is not used of a list; entries lost are opt-outs lost, so of none, or of many, there is no run."""
    said = f"{len(lost)} of {used + len(lost)} entries are no {registry.scope}" if lost else ""
    others = f"{sum(left_out.values())} are of other kinds and left out: {in_words(left_out)}" if left_out else ""
    if any(kind in LIST_SCOPES for kind in left_out):
        others += "; 'scope: hash' reads all that can be compared"
    if not used and (lost or left_out):
        found = "; ".join(filter(None, [f"{said} ({places(path, lost)})" if lost else "", others]))
        raise _refusal(registry, found, f"{registry.scope} keys")
    if len(lost) > registry.max_malformed * (used + len(lost)):
        raise InputError(
            f"registry {registry.name}", f"{said} ({places(path, lost)})", f"at most {registry.max_malformed:.0%}",
            "Nothing has been requested; mend the list, or say how much of it may be lost: 'max_malformed' of the registry",
        )  # fmt: skip
    for text in filter(None, [f"{said} and were left out ({places(path, lost)})" if lost else "", others]):
        log.warning("registry %s: %s", registry.name, text)


def _key_column(registry: Registry, entries: Entries) -> pa.Array:
    names = list(entries.columns)
    by_fold = {name.casefold(): name for name in reversed(names)}
    wanted = (registry.column,) if registry.column else (registry.scope, *_KEY_ALIASES)
    for name in wanted:
        if name.casefold() in by_fold:
            return entries.columns[by_fold[name.casefold()]].cast(pa.string())
    # Without a header, the first key is taken for a column.
    found = f"has {len(names)} other columns" if registry.sensitive else f"has the columns {', '.join(names)}"
    raise _refusal(registry, found, f"one called '{wanted[0]}'", "Or set 'column' of the registry")
