"""What is to be asked for again although it has been answered: failures of some classes, or everything.

The wish is kept in the work directory with the time it was made. So a run that is killed is continued by the next,
whatever its options: an answer stands if it is younger than the wishes that concern it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from ..schemas.errors import ConfigError, did_you_mean
from ._clock import ahead
from ._store import Mark, Store

_FILE = "again.json"

# By class of ``--retry``: the codes of ``image.error`` that belong to it. Those of addresses and credentials that are
# refused, and of pictures that came whole, belong to none: asking again would give the same. What ports are refused is
# for the config to say, and it may say otherwise by now.
CLASSES: dict[str, frozenset[str]] = {
    **{
        code: frozenset({code})
        for code in ("timeout", "dns", "connect", "tls", "truncated", "bad_response", "host_down", "refused_port")
    },
    "redirect": frozenset({"redirect_loop", "too_many_redirects"}),
    "4xx": frozenset(f"http_{status}" for status in range(400, 500)),
    "5xx": frozenset(f"http_{status}" for status in range(500, 600)),
}


def classes(text: str) -> tuple[str, ...]:
    """The classes that a list such as ``timeout,5xx,404`` names.

    Raises:
        ConfigError: there is no such class.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in CLASSES and not _is_status(name):
            known = f"{', '.join(CLASSES)}, or a status such as 404"
            near = did_you_mean(name, CLASSES)
            raise ConfigError(
                "--retry", f"'{name}' is no class of failures", known, near if "Known" not in near else ""
            )
    if not names:
        raise ConfigError(
            "--retry", "names no class of failures", f"some of {', '.join(CLASSES)}, or a status such as 404"
        )
    return names


@dataclass(frozen=True)
class Again:
    """Wishes to ask again.

    Attributes:
        refresh: when everything was wished for; None: never.
        retry: when failures of a class were.
    """

    refresh: datetime | None = None
    retry: Mapping[str, datetime] = field(default_factory=dict)

    def concerns(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of ``image`` is to be asked for again. One that opted out is by ``refresh`` alone."""
        at = row["fetched_at"]
        if self.refresh is not None and _before(at, self.refresh):
            return True
        return row["status"] == "failed" and any(_before(at, wished) for wished in self._wished([row["error"]]))

    def unmakes(self, mark: Mark) -> bool:
        """Whether a partition of ``fetch`` has to be made again for such rows."""
        wished = self._wished(mark.extra.get("failed", ()))
        return older(mark, self.refresh) or any(older(mark, at) for at in wished)

    def _wished(self, errors: Iterable[str]) -> list[datetime]:
        return [at for name, at in self.retry.items() if not _codes(name).isdisjoint(errors)]


class Wish(NamedTuple):
    """A wish of one run: classes of failures to ask for again, and whether to ask for everything."""

    retry: Sequence[str]
    refresh: bool


def wish(store: Store, new: Wish) -> None:
    """Take note of a wish, besides those that were made before. One of a clock that was ahead is made anew."""
    now, known = datetime.now(UTC), wishes(store)
    refresh = now if new.refresh or (known.refresh and ahead(known.refresh, now)) else known.refresh
    retry = {name: now if ahead(at, now) else at for name, at in known.retry.items()}
    again = Again(refresh, {**retry, **dict.fromkeys(new.retry, now)})
    if again != known:
        refreshed = again.refresh.isoformat() if again.refresh else None
        kept = {"refresh": refreshed, "retry": {name: at.isoformat() for name, at in again.retry.items()}}
        store.put(_FILE, json.dumps(kept, indent=1).encode())


def wishes(store: Store) -> Again:
    """The wishes of all runs so far.

    Raises:
        ConfigError: their file is damaged.
    """
    if not store.fs.exists(store.path(_FILE)):
        return Again()
    try:
        kept = json.loads(store.fs.cat_file(store.path(_FILE)))
        retry = {name: datetime.fromisoformat(at) for name, at in kept["retry"].items()}
        return Again(datetime.fromisoformat(kept["refresh"]) if kept["refresh"] else None, retry)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        found = f"is not what a run has written ({error})"
        raise ConfigError(store.path(_FILE), found, hint="Delete it and run again") from error


def older(mark: Mark, at: datetime | None) -> bool:
    """Whether a partition was begun before a wish was made."""
    if at is None:
        return False
    committed_at = datetime.fromisoformat(mark.committed_at)
    return _before(committed_at, at) or committed_at - timedelta(seconds=mark.seconds) < at


def _before(at: datetime, wished: datetime) -> bool:
    return at < wished or ahead(at)


def _codes(name: str) -> frozenset[str]:
    return CLASSES.get(name) or frozenset({f"http_{name}"})


def _is_status(name: str) -> bool:
    return len(name) == 3 and name.isascii() and name.isdigit() and name[0] in "12345"
