"""The HTTP client of `consult` and `fetch`: asynchronous, polite, bounded, and stopped by an opt-out.

aiohttp does the protocol. What it leaves open is decided here: redirects are followed by hand, so that each
hop's headers are evidence and can end the exchange; hosts get turns; size, time and addresses are bounded.
Nothing that a server does is an exception: it ends in ``Fetched.error``.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, field

import aiohttp

from ..schemas.errors import ConfigError
from ._answer import Fetched, Hop, HttpOptions, Request, hop_of, read_body
from ._connect import (
    KEEP_ALIVE_S,
    RETRIED_STATUSES,
    Failure,
    Resolver,
    Target,
    connector,
    failures,
    target,
    url_host,
)
from ._headers import REDIRECTS
from ._politeness import OVERLOADED, Host, retry_after_s

__all__ = ["Client", "Fetched", "Hop", "HttpOptions", "Request"]

# Some honest sites send a Content-Security-Policy longer than the 8,190 bytes that aiohttp allows by default.
_HEADER_BYTES = 32 * 1024
# Idle connections hold file descriptors, of which a process often has 1,024. `get_all` begins no more requests
# than this, so the hosts it is busy with can all keep theirs; those that wait for a pause hold no place.
_KEPT_CONNECTIONS = 400
_CLOSE = {"Connection": "close"}


@dataclass(slots=True)
class _Trip:
    """A request on its way: the chain of the current attempt, and the sums of all."""

    request: Request
    max_bytes: int
    last: bool = False
    target: Target | None = None
    hops: list[Hop] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    body: bytes = b""
    failure: Failure | None = None
    attempts: int = 0
    left_s: float = 0.0
    elapsed_s: float = 0.0

    def begin(self, start: Target, total_timeout_s: float) -> None:
        self.target, self.left_s = start, total_timeout_s
        self.hops, self.asked, self.failure = [], set(), None
        self.attempts += 1

    def fetched(self) -> Fetched:
        code, detail = (self.failure.code, self.failure.detail) if self.failure else (None, "")
        return Fetched(
            self.request.url, tuple(self.hops), self.body, code, detail, self.attempts, round(self.elapsed_s, 6)
        )


class Client:
    """Asks for URLs. An asynchronous context manager, of one event loop.

    Without a proxy, an address is judged when it is connected to, so a name that changes its address between
    two lookups gains nothing. Through a proxy only addresses and ``localhost`` in URLs can be refused: which
    addresses other names have is seen by the proxy alone, and has to be refused there. The proxy itself may
    have any address.

    Cookies are neither kept nor sent. Compression is not asked for; a body that comes compressed with gzip or
    deflate all the same is decoded up to the size bound.
    """

    def __init__(self, options: HttpOptions | None = None):
        """Raises ConfigError for a proxy that is no http(s) URL."""
        self.options = options or HttpOptions()
        if self.options.proxy:
            try:
                target(self.options.proxy, allow_private=True)
            except Failure as error:
                raise ConfigError("proxy", self.options.proxy, "http://host:port") from error
        self._hosts: dict[str, Host] = {}
        self._kept_hosts: dict[str, float] = {}
        self._max_kept = max(1, _KEPT_CONNECTIONS // self.options.per_host)

    async def __aenter__(self) -> Client:
        self._places = asyncio.Semaphore(self.options.concurrency)
        self._resolver = Resolver(2 * self.options.concurrency)
        self._keeping, self._closing = self._session(keep_alive=True), self._session(keep_alive=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._keeping.close()
        await self._closing.close()
        await self._resolver.close()

    async def get(
        self,
        url: str,
        *,
        max_bytes: int | None = None,
        stop: Callable[[Hop], bool] | None = None,
        cut: bool = False,
    ) -> Fetched:
        """Ask for one URL; see ``Request``. Raises nothing that the web does; what ``stop`` raises comes through."""
        fetched = await self._fetch(Request(url, max_bytes, stop, cut=cut), self._places)
        self._places.release()
        return fetched

    async def get_all(self, requests: Iterable[Request]) -> AsyncGenerator[tuple[Request, Fetched]]:
        """Ask for many URLs; answers come as they are complete, in any order.

        The requests are read at once and sorted by host, hosts with most URLs first. At most ``concurrency``
        answers are in memory, being read or waiting to be taken: taking them slowly slows the asking.
        Close the iterator (``contextlib.aclosing``) to stop early.
        """
        places = asyncio.Semaphore(self.options.concurrency)
        answers: asyncio.Queue[tuple[Request, Fetched] | asyncio.Task[None]] = asyncio.Queue()
        lanes, total = _lanes(requests, self.options.per_host)
        begun = min(len(lanes), max(_KEPT_CONNECTIONS, 2 * self.options.concurrency))
        tasks = [asyncio.create_task(self._work(lanes, places, answers)) for _ in range(begun)]
        for task in tasks:
            task.add_done_callback(lambda done: None if done.cancelled() else answers.put_nowait(done))
        try:
            while total:
                answer = await answers.get()
                if isinstance(answer, asyncio.Task):
                    answer.result()  # raises what `stop` raised
                    continue
                total -= 1
                yield answer
                places.release()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, lanes: deque[deque[Request]], places: asyncio.Semaphore, answers: asyncio.Queue) -> None:
        """Ask for the URLs of one host after the other's."""
        while lanes:
            lane = lanes.popleft()
            while lane:
                request = lane.popleft()
                last = len(lane) < self.options.per_host
                answers.put_nowait((request, await self._fetch(request, places, last)))

    async def _fetch(self, request: Request, places: asyncio.Semaphore, last: bool = False) -> Fetched:
        """All attempts for one request. Holds one of ``places`` on return, for the body it returns.

        ``last``: nothing else is to be asked of the host on this connection.
        """
        limit = self.options.max_bytes if request.max_bytes is None else request.max_bytes
        trip = _Trip(request, limit, last)
        try:
            start = self._target(request.url)
        except Failure as failure:
            trip.failure = failure
            await places.acquire()
            return trip.fetched()
        while True:
            trip.begin(start, self.options.total_timeout_s)
            host = await self._follow(trip, places)
            if not self._again(trip, host):
                return trip.fetched()
            places.release()
            if not trip.hops or trip.hops[-1].status not in OVERLOADED:  # then the host itself pauses
                await asyncio.sleep(self.options.backoff(trip.attempts))

    def _again(self, trip: _Trip, host: Host) -> bool:
        retry = trip.failure is not None and trip.failure.retry
        return retry and trip.attempts <= self.options.retries and not host.down

    async def _follow(self, trip: _Trip, places: asyncio.Semaphore) -> Host:
        """One attempt along all redirects. Holds a place on return, and gives the host it ended at."""
        while trip.target:
            host = self._host(trip.target.host)
            await _begin(host, places)
            try:
                trip.target = await self._exchange(trip, trip.target, host)
            except BaseException:
                places.release()
                raise
            finally:
                host.leave()
            if trip.target:
                places.release()
        return host

    async def _exchange(self, trip: _Trip, to: Target, host: Host) -> Target | None:
        """One request and its response, in what is left of the attempt's time; the redirect's target if any."""
        if host.down:
            trip.failure = Failure("host_down", host.down)
            return None
        host.asked()
        started, answers = time.monotonic(), len(trip.hops)
        try:
            async with asyncio.timeout(trip.left_s):
                return await self._ask(trip, to, host)
        except TimeoutError:
            failure = Failure("timeout", f"not complete within {self.options.total_timeout_s} s")
        except Failure as raised:
            failure = raised
        finally:
            spent_s = time.monotonic() - started
            trip.left_s -= spent_s
            trip.elapsed_s += spent_s
        trip.failure = failure
        if len(trip.hops) == answers:
            host.failed(failure.code, failure.detail)
        return None

    async def _ask(self, trip: _Trip, to: Target, host: Host) -> Target | None:
        trip.asked.add(to.href)
        with failures():
            response = await self._send(to, trip.last and not trip.hops)
        try:
            hop = hop_of(to.href, response)
            trip.hops.append(hop)
            host.answered(hop.status, retry_after_s(response.headers.get("Retry-After")), trip.attempts)
            if trip.request.stop and trip.request.stop(hop):
                raise Failure("stopped", f"by the headers of {hop.url}")
            if hop.status in REDIRECTS:
                return self._onward(trip, hop)
            # A 206 that nobody asked for may be a part of anything.
            if not 200 <= hop.status < 300 or hop.status == 206:
                raise Failure(f"http_{hop.status}", response.reason or "", hop.status in RETRIED_STATUSES)
            trip.body = await read_body(response, trip.max_bytes, trip.request.cut)
        finally:
            response.release()  # closes the connection if the body was not read to its end
        return None

    def _onward(self, trip: _Trip, hop: Hop) -> Target:
        locations = hop.values("location")
        if not locations:
            raise Failure("bad_response", f"{hop.status} without a Location")
        onward = self._target(locations[0], hop.url)
        if onward.href in trip.asked:
            raise Failure("redirect_loop", onward.href)
        if len(trip.hops) > self.options.max_redirects:
            raise Failure("too_many_redirects", f"more than {self.options.max_redirects}")
        return onward

    def _target(self, url: str, base: str | None = None) -> Target:
        options = self.options
        return target(url, base, allow_private=options.allow_private, by_name=options.proxy is not None)

    def _host(self, name: str) -> Host:
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = Host(self.options)
        return host

    async def _send(self, to: Target, last: bool) -> aiohttp.ClientResponse:
        """Send a request; keep its connection while fewer hosts than can be kept were asked of late."""
        now, kept = time.monotonic(), self._kept_hosts
        while kept and kept[oldest := next(iter(kept))] < now - 2 * KEEP_ALIVE_S:
            del kept[oldest]
        was_kept = kept.pop(to.host, None) is not None
        if last:
            return await self._keeping.get(to.url, headers=_CLOSE, allow_redirects=False)
        if not was_kept and len(kept) >= self._max_kept:
            return await self._closing.get(to.url, allow_redirects=False)
        kept[to.host] = now  # at the end: the dictionary is in order of use
        return await self._keeping.get(to.url, allow_redirects=False)

    def _session(self, keep_alive: bool) -> aiohttp.ClientSession:
        options = self.options
        guard = not options.allow_private and options.proxy is None
        return aiohttp.ClientSession(
            connector=connector(self._resolver, guard=guard, keep_alive=keep_alive),
            headers={"User-Agent": options.user_agent, "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=options.connect_timeout_s),
            auto_decompress=False,
            proxy=options.proxy,
            max_line_size=_HEADER_BYTES,
            max_field_size=_HEADER_BYTES,
        )


async def _begin(host: Host, places: asyncio.Semaphore) -> None:
    """Get a turn and a place, holding neither while waiting for the other.

    So a slow host keeps no place from others, and a caller who asks for one more URL while it lets its answers
    wait (they hold the places) finds the host's turns free.
    """
    while True:
        await host.enter()
        if not places.locked():
            await places.acquire()  # at once
            return
        host.leave()
        await places.acquire()
        if await host.enter_at_once():
            return
        places.release()


def _lanes(requests: Iterable[Request], per_host: int) -> tuple[deque[deque[Request]], int]:
    """Requests by host, most first. A host's lane is listed once for each request it may have at once."""
    by_host: dict[str, deque[Request]] = {}
    for request in requests:
        by_host.setdefault(url_host(request.url), deque()).append(request)
    lanes = sorted(by_host.values(), key=len, reverse=True)
    total = sum(map(len, lanes))
    return deque(lane for lane in lanes for _ in range(min(per_host, len(lane)))), total
