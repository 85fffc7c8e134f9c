"""Terms that a fetch meets on its way: of URLs that redirects lead to, and in licence files that ``Link`` headers name.

``consult`` asked the hosts of the list. Where a response points to terms that nobody has read yet, the exchange ends
before the next request, or before the body. When all others are through, the terms are had (from what ``consult``
stored, or by asking), and what they do not refuse goes on from where it stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from ..schemas.verdicts import NONE
from ..udfs.signals import ai_txt, robots_txt, rsl
from ..udfs.urls import url_origin
from ._headers import KINDS as HEADER_KINDS
from ._headers import REDIRECTS, licence_links, said_in_headers
from ._host_asker import Asker, Key, key_of
from ._hosts import known_files, stored_files
from ._said import Said
from ._store import Store
from ._terms import MAX_LICENCE_FILES, HostTerms

if TYPE_CHECKING:  # aiohttp is an extra
    from ._answer import Validators
    from ._connect import Bounds
    from ._http import Client, Fetched, Hop, Request

# Kinds of evidence whose refusal ends an exchange.
KINDS = HEADER_KINDS | {robots_txt.KIND, ai_txt.KIND, rsl.KIND}

_Licence = tuple[rsl.RslFile | None, datetime | None]
"""An RSL file and when it was fetched; None gave no answer."""

_NOT_READ: _Licence = (None, None)


@dataclass(frozen=True)
class Way:
    """How terms are had on the way.

    Attributes:
        how: ``fetch``, ``cached`` or ``off``, as for all host files.
        max_age_s: an answer that this partition stored is taken again while it is younger,
        since: unless it is older than this.
        partitions: of ``consult``, whose answers are looked at first.
        http: keyword arguments of ``HttpOptions``.
    """

    how: str
    max_age_s: float
    since: datetime | None
    partitions: int
    http: tuple[tuple[str, Any], ...]


class Wish(NamedTuple):
    """A URL to ask for.

    Attributes:
        licensed: a permission is recorded for it, so nothing on the way ends the exchange.
        known: the version of it that is there already.
    """

    url: str
    licensed: bool
    known: Validators | None


@dataclass(frozen=True, slots=True)
class _Leg:
    """The way from a URL of the list: it goes on at ``start``, after the responses ``before``.

    ``stopped`` is the answer that it was stopped at, once it was.
    """

    url: str
    licensed: bool
    known: Validators | None
    start: str
    before: tuple[Hop, ...] = ()
    stopped: Any = None


class Onward:
    """Asks for the URLs of one partition, and for the terms that they lead to."""

    def __init__(self, way: Way, store: Store, partition: str, refuses: Callable[[Said], bool]):
        """``refuses``: whether a piece of evidence ends an exchange, unless a permission is recorded."""
        self._way, self._store, self._refuses = way, store, refuses
        known = known_files(store, "fetch", partition, timedelta(seconds=way.max_age_s), way.since)
        self._files: dict[Key, dict] = dict(known) if way.how != "off" else {}
        self._terms: dict[str, HostTerms] = {}
        self._licences: dict[str, dict[str, _Licence]] = {}  # by origin of the response, then by URL
        self._seen: set[str] = set()  # URLs that were asked for, or that redirects have led to
        self._closed: dict[str, Hop] = {}  # those that refused, with what they said
        self._wanted: dict[str, set[str]] = {}  # licence files by origin of the response; "" is the host's own files

    @property
    def host_files(self) -> list[dict]:
        """Rows of ``host_file`` that ``consult`` has not."""
        return [self._files[key] for key in sorted(self._files)]

    async def answers(self, client: Client, wishes: Iterable[Wish]) -> AsyncGenerator[tuple[str, Fetched]]:
        """Ask for URLs; answers come as they are complete. ``client`` asks for the images.

        A redirect to a URL that has been asked for waits for what that says: who refused is not asked again.
        """
        legs = [_Leg(wish.url, wish.licensed, wish.known, wish.url) for wish in wishes]
        while legs:
            self._seen.update(leg.start for leg in legs)
            stopped = []
            async with aclosing(client.get_all(self._requests(legs))) as answers:
                async for request, fetched in answers:
                    for leg in request.key:
                        whole = self._joined(leg, fetched, client.options.max_redirects)
                        onward = self._onward(leg, whole)
                        if onward is None:
                            yield leg.url, whole
                        else:
                            stopped.append(onward)
            await self._learn(client)
            legs = []
            for leg in stopped:
                closed = self._closed.get(leg.start)
                if leg.licensed or not (closed or self._refused(leg.stopped.hops[-1])):
                    legs.append(leg)
                else:
                    yield leg.url, replace(leg.stopped, hops=(*leg.before, closed)) if closed else leg.stopped

    def _requests(self, legs: Iterable[_Leg]) -> list[Request]:
        """One for all ways that lead to the same URL."""
        from ._http import Request

        same: dict[tuple, list[_Leg]] = {}
        for leg in legs:
            same.setdefault((leg.start, leg.licensed, leg.known), []).append(leg)
        return [
            Request(start, stop=partial(self._stop, licensed), key=tuple(ways), known=known)
            for (start, licensed, known), ways in same.items()
        ]

    def said(self, hops: Sequence[Hop], at: datetime) -> list[Said]:
        """What a redirect chain and the terms it led to say."""
        return [*said_in_headers(hops, at), *self._said_on_the_way(hops)]

    def _said_on_the_way(self, hops: Sequence[Hop]) -> Iterator[Said]:
        for number, hop in enumerate(hops):
            target = self._target(hop)
            terms = self._terms.get(_origin(target)) if target else None
            if target and terms:
                yield from (replace(said, hop=number + 1) for said in terms.about(target))
        if hops and self._way.how != "off" and (named := licence_links(hops[-1])):
            _, unread = self._unread(hops[-1])
            yield from self._said_in_licences(hops[-1], [url for url in named if url not in unread], len(hops) - 1)

    def _said_in_licences(self, hop: Hop, named: list[str], number: int) -> Iterator[Said]:
        read = self._licences.get(_origin(hop.url), {})
        for url in named:
            file, at = read.get(url, _NOT_READ)
            evidence = rsl.unanswered(url) if file is None else file.verdict(hop.url, source=url)
            if evidence.verdict != NONE:
                yield Said(evidence, at or datetime.now(UTC), "url", hop=number)

    def _stop(self, licensed: bool, hop: Hop) -> bool:
        """Whether an exchange ends at a response: its terms are not known yet, or refuse, or it leads where others did."""
        if not licensed and self._refused(hop):
            self._closed[hop.url] = hop
            return True
        target = self._target(hop)
        again = target in self._seen
        if target:
            self._seen.add(target)
        return again or bool(self._unread(hop)[1])

    def _refused(self, hop: Hop) -> bool:
        return any(map(self._refuses, self.said((hop,), datetime.now(UTC))))

    def _unread(self, hop: Hop) -> tuple[str, set[str]]:
        """The terms that a response leads to and that nobody has read: whose, and which licence files."""
        target = self._target(hop)
        if self._way.how == "off":
            return "", set()
        if target:
            origin = _origin(target)
            return origin, set() if origin in self._terms else {""}
        named = licence_links(hop)
        if not named:
            return "", set()
        origin = _origin(hop.url)
        read = self._licences.get(origin, {})
        return origin, set(named) - read.keys() if len(read) < MAX_LICENCE_FILES else set()

    def _joined(self, leg: _Leg, fetched: Fetched, max_redirects: int) -> Fetched:
        """The answer as if it had come in one exchange."""
        whole = replace(fetched, url=leg.url, hops=leg.before + fetched.hops)
        if fetched.error not in (None, "stopped"):
            return whole
        if len(whole.hops) > max_redirects + 1:
            return replace(whole, body=b"", error="too_many_redirects", detail=f"more than {max_redirects}")
        target = self._target(whole.hops[-1])
        if target in {hop.url for hop in whole.hops}:
            return replace(whole, error="redirect_loop", detail=target)
        return whole

    def _onward(self, leg: _Leg, fetched: Fetched) -> _Leg | None:
        """Where an exchange that was stopped for want of terms goes on; None if it is over."""
        if fetched.error != "stopped":
            return None
        *before, last = fetched.hops
        if not leg.licensed and self._refused(last):
            return None
        origin, unread = self._unread(last)
        target = self._target(last)
        if not target and not unread:
            return None
        if unread:
            self._wanted.setdefault(origin, set()).update(unread)
        start, hops = (target, fetched.hops) if target else (last.url, tuple(before))
        return _Leg(leg.url, leg.licensed, leg.known, start, hops, fetched)

    def _target(self, hop: Hop) -> str | None:
        """Where a response redirects to; None if nowhere, or to what is refused anyhow."""
        if hop.status not in REDIRECTS:
            return None
        from ._connect import Failure, target

        try:
            return next((target(location, hop.url, self._bounds).href for location in hop.values("location")), None)
        except Failure:
            return None

    @cached_property
    def _bounds(self) -> Bounds:
        from ._answer import HttpOptions

        return HttpOptions(**dict(self._way.http)).bounds

    async def _learn(self, beside: Client) -> None:
        """Read what is wanted: from what ``consult`` stored, from what is known here, or by asking."""
        wanted, self._wanted = self._wanted, {}
        if not wanted:
            return
        if self._way.how == "cached":
            await self._read(Asker(None, self._files), wanted, beside)
            return
        from ._http import Client, HttpOptions

        async with Client(HttpOptions(**dict(self._way.http)), beside) as client:
            await self._read(Asker(client, self._files), wanted, client)

    async def _read(self, asker: Asker, wanted: Mapping[str, set[str]], client: Client) -> None:
        stored = stored_files(self._store, sorted(wanted), self._way.partitions)
        for row in (row for rows in stored.values() for row in rows if row["crawl_delay_s"]):
            client.host_of(row["origin"]).slow_down(row["crawl_delay_s"], row["fetched_at"])
        hosts = sorted(origin for origin, urls in wanted.items() if "" in urls)
        asked = await asker.all_files([origin for origin in hosts if origin not in stored])
        for row in asked:
            stored.setdefault(row["origin"], []).append(row)
        self._terms |= {origin: HostTerms(origin, stored.get(origin, ())) for origin in hosts}
        files = await asyncio.gather(*(
            self._licence(asker, origin, url, stored.get(origin, ()))
            for origin, urls in sorted(wanted.items())
            for url in sorted(urls - {""})[: MAX_LICENCE_FILES - len(self._licences.get(origin, {}))]
        ))  # fmt: skip
        self._files |= {key_of(row): row for row in (*asked, *filter(None, files))}

    async def _licence(self, asker: Asker, origin: str, url: str, stored: Sequence[dict]) -> dict | None:
        """Read a licence file. Returns its row if ``consult`` has none."""
        row = next((row for row in stored if (row["kind"], row["url"]) == (rsl.KIND, url)), None)
        new = None if row else await asker.file(origin, rsl.KIND, url)
        row = row or new
        read = (rsl.from_response(row["status"], row["body"] or b""), row["fetched_at"]) if row else _NOT_READ
        self._licences.setdefault(origin, {})[url] = read
        return new


def _origin(url: str) -> str:
    return url_origin(pa.array([url], pa.string()))[0].as_py() or url
