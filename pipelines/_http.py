"""The HTTP client of `consult` and `fetch`: asynchronous, polite, bounded, and stopped by an opt-out.

aiohttp does the protocol. What it leaves open is decided here: redirects are followed by hand, so that each
hop's headers are evidence and can end the exchange; hosts get turns; size, time and addresses are bounded.
Nothing that a server does is an exception: it ends in ``Fetched.error``.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable
from functools import partial

from ..schemas.errors import ConfigError
from ..udfs.urls import canonical_key
from ._answer import Fetched, Hop, HttpOptions, Request, hop_of, read_body
from ._connect import RETRIED_STATUSES, Failure, Target, failures, target, url_host
from ._headers import REDIRECTS
from ._lanes import Lanes, Trip
from ._network import Finding, Network
from ._pace import Pace
from ._politeness import HOST_DOWN, LEFT, NETWORK, NO_ANSWER, OVERLOADED, Host, Hosts, retry_after_s
from ._sessions import KEPT_CONNECTIONS, Sessions

# Failures that a network can be to blame for.
_SILENT = NO_ANSWER | {"truncated", HOST_DOWN}

__all__ = ["Client", "Fetched", "Hop", "HttpOptions", "Request"]


class Client:
    """Asks for URLs. An asynchronous context manager, of one event loop.

    Without a proxy, an address is judged when it is connected to, so a name that changes its address between
    two lookups gains nothing. Through a proxy only addresses and ``localhost`` in URLs can be refused: which
    addresses other names have is seen by the proxy alone, and has to be refused there. The proxy itself may
    have any address.

    Cookies are neither kept nor sent. Compression is not asked for; a body that comes compressed with gzip or
    deflate all the same is decoded up to the size bound.

    Attributes:
        hosts: those that were asked, with their turns.
        pace: bounds bytes a second; None: nothing does.
        requests: those that were made, by class of their status; ``no_answer``: without any.
        network: tells when nobody can be reached; None: nobody asks.
    """

    def __init__(self, options: HttpOptions | None = None, beside: Client | None = None):
        """``beside``: a client of the same loop whose hosts, pace and network this one shares.

        Raises:
            ConfigError: a proxy that is no http(s) URL.
        """
        self.options = options or HttpOptions()
        proxy = self.options.proxy
        if proxy and canonical_key(proxy) is None:  # what stands before an @ may be a password
            raise ConfigError("proxy", proxy.rpartition("@")[2], "http://host:port")
        bound = self.options.max_bytes_per_s
        self.hosts = beside.hosts if beside else Hosts(self.options)
        self.pace = beside.pace if beside else Pace(bound) if bound else None
        self.requests: Counter[str] = beside.requests if beside else Counter()
        self.network: Network | None = beside.network if beside else None
        self._sessions = Sessions(self.options)

    async def __aenter__(self) -> Client:
        self._places = asyncio.Semaphore(self.options.concurrency)
        self._sessions.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._sessions.close()

    async def get(
        self,
        url: str,
        *,
        max_bytes: int | None = None,
        stop: Callable[[Hop], bool] | None = None,
        cut: bool = False,
    ) -> Fetched:
        """Ask for one URL; see ``Request``. Raises nothing that the web does; what ``stop`` raises comes through."""
        trip = self._trip(Request(url, max_bytes, stop, cut=cut))
        while await self._attempt(trip, self._places):
            await asyncio.sleep(trip.not_before - time.monotonic())
        self._places.release()
        return trip.fetched()

    async def get_all(self, requests: Iterable[Request]) -> AsyncGenerator[tuple[Request, Fetched]]:
        """Ask for many URLs; answers come as they are complete, in any order.

        The requests are read at once and sorted by host, hosts with most URLs first. At most ``concurrency``
        answers are in memory, being read or waiting to be taken: taking them slowly slows the asking.
        Close the iterator (``contextlib.aclosing``) to stop early.
        """
        places = asyncio.Semaphore(self.options.concurrency)
        answers: asyncio.Queue[tuple[Request, Fetched] | asyncio.Task[None]] = asyncio.Queue()
        lanes = Lanes(requests, self.hosts, self.options.per_host)
        # No more than connections are kept, so the hosts that are busy can all keep theirs; those put aside hold none.
        begun = min(lanes.listed, max(KEPT_CONNECTIONS, 2 * self.options.concurrency))
        tasks = [asyncio.create_task(self._work(lanes, places, answers)) for _ in range(begun)]
        for task in tasks:
            task.add_done_callback(lambda done: None if done.cancelled() else answers.put_nowait(done))
        try:
            for _ in range(lanes.total):
                answer = await answers.get()
                if isinstance(answer, asyncio.Task):
                    answer.result()  # raises what `stop` raised: workers end in no other way
                    continue
                yield answer
                places.release()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, lanes: Lanes, places: asyncio.Semaphore, answers: asyncio.Queue) -> None:
        """Ask for the URLs of one host after the other's, without end."""
        while True:
            lane = await lanes.next()
            while lane.waiting and not lanes.put_aside(lane):
                first = lane.waiting.popleft()
                trip = first if isinstance(first, Trip) else self._trip(first)
                trip.last = len(lane.waiting) < self.options.per_host
                if await self._attempt(trip, places):
                    lane.waiting.append(trip)
                else:
                    answers.put_nowait((trip.request, trip.fetched()))

    def host_of(self, url: str) -> Host:
        """The host of a URL."""
        return self.hosts[url_host(url)]

    def _trip(self, request: Request) -> Trip:
        return Trip(request, self.options.max_bytes if request.max_bytes is None else request.max_bytes)

    async def _attempt(self, trip: Trip, places: asyncio.Semaphore) -> bool:
        """One attempt. Whether there is to be another; if not, a place is held for the body."""
        try:
            start = self._target(trip.request.url)
        except Failure as failure:
            trip.failure = failure
            await places.acquire()
            return False
        trip.begin(start, self.options.total_timeout_s)
        host = await self._follow(trip, places)
        if not self._again(trip, host) and not await self._doubt(trip, host):
            return False
        places.release()
        trip.silent_since = time.monotonic()
        overloaded = bool(trip.hops) and trip.hops[-1].status in OVERLOADED  # then the host itself pauses
        trip.not_before = time.monotonic() + (0.0 if overloaded else self.options.backoff(trip.attempts))
        return True

    def _again(self, trip: Trip, host: Host) -> bool:
        if trip.failure is None or not trip.failure.retry:
            return False
        if host.code in LEFT:  # it says "later", and a later run will ask
            trip.failure = Failure(host.code, host.down)
            return False
        return trip.attempts <= self.options.retries and not host.down

    async def _doubt(self, trip: Trip, host: Host) -> bool:
        """Whether a failure is to be put down to the network, and the URL asked for again; or left, if that is gone."""
        failure = trip.failure
        if self.network is None or failure is None or failure.code not in _SILENT:
            return False
        half = (trip.silent_since + time.monotonic()) / 2
        finding = await self.network.finding(host.down_at if failure.code == HOST_DOWN else half, self._knock)
        if finding is Finding.GONE:
            trip.failure = Failure(NETWORK, self.network.down)
        elif finding is Finding.BACK:
            host.revive()
        return finding is Finding.BACK

    async def _knock(self, url: str) -> bool | None:
        """Whether the host of a URL answers at all; None if it is not to be asked, or has no turn to give for long."""
        try:
            start = self._target("/robots.txt", url)
            host = self.hosts[start.host]
            async with asyncio.timeout(self.options.total_timeout_s):
                await host.enter()
        except (Failure, TimeoutError):
            return None
        try:
            if host.code in LEFT:
                return None
            trip = self._trip(Request(start.href, stop=lambda _: True))
            trip.begin(start, min(self.options.connect_timeout_s, self.options.total_timeout_s))
            await self._in_time(trip, start, host)  # one that was given up may be back with the network
            return bool(trip.hops)
        finally:
            host.leave()

    async def _follow(self, trip: Trip, places: asyncio.Semaphore) -> Host:
        """One attempt along all redirects. Holds a place on return, and gives the host it ended at."""
        while trip.target:
            host = self.hosts[trip.target.host]
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

    async def _exchange(self, trip: Trip, to: Target, host: Host) -> Target | None:
        """One request and its response, in what is left of the attempt's time; the redirect's target if any."""
        if self.network and self.network.down:
            trip.failure = Failure(NETWORK, self.network.down)
            return None
        if host.down:
            trip.failure = Failure(host.code, host.down)
            return None
        answers = len(trip.hops)
        onward = await self._in_time(trip, to, host)
        if trip.failure and len(trip.hops) == answers:
            host.failed(trip.failure.code, trip.failure.detail)
        return onward

    async def _in_time(self, trip: Trip, to: Target, host: Host) -> Target | None:
        host.asked()
        answers, clock = len(trip.hops), asyncio.get_running_loop().time
        started = clock()
        deadline = asyncio.timeout_at(started + trip.left_s)
        try:
            async with deadline:
                return await self._ask(trip, to, host, deadline)
        except TimeoutError:
            failure = Failure("timeout", f"not complete within {self.options.total_timeout_s} s")
        except Failure as raised:
            failure = raised
        finally:
            host.ended()
            trip.left_s = (deadline.when() or started) - clock()
            trip.elapsed_s += clock() - started
            self.requests[f"{trip.hops[-1].status // 100}xx" if len(trip.hops) > answers else "no_answer"] += 1
        trip.failure = failure
        return None

    async def _ask(self, trip: Trip, to: Target, host: Host, deadline: asyncio.Timeout) -> Target | None:
        trip.asked.add(to.href)
        known = trip.request.known
        with failures():
            headers = known.headers if known and known.url == to.href else {}
            response = await self._sessions.get(to, trip.last and not trip.hops, headers)
        try:
            hop = hop_of(to.href, response)
            trip.hops.append(hop)
            if self.network:
                trip.silent_since = self.network.heard(to.host, to.href)
            host.answered(hop.status, retry_after_s(response.headers.get("Retry-After")), trip.attempts)
            if trip.request.stop and trip.request.stop(hop):
                raise Failure("stopped", f"by the headers of {hop.url}")
            if hop.status in REDIRECTS:
                return self._onward(trip, hop)
            # A 206 that nobody asked for may be a part of anything.
            if not 200 <= hop.status < 300 or hop.status == 206:
                raise Failure(f"http_{hop.status}", response.reason or "", hop.status in RETRIED_STATUSES)
            spend = partial(self.pace.spend, deadline=deadline) if self.pace else None
            trip.body = await read_body(response, trip.max_bytes, trip.request.cut, spend)
        finally:
            response.release()  # closes the connection if the body was not read to its end
        return None

    def _onward(self, trip: Trip, hop: Hop) -> Target:
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
        return target(url, base, self.options.bounds)


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
