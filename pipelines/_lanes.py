"""Whose turn is next among many requests: a lane for each host, and no worker waits for a host that wants a pause."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from ._answer import Fetched, Hop, Request
from ._connect import Failure, Target, url_host
from ._politeness import Hosts


@dataclass(slots=True)
class Trip:
    """A request on its way: the chain of the current attempt, and the sums of all.

    Attributes:
        last: nothing else is to be asked of the host on this connection.
        not_before: of the next attempt, by ``time.monotonic``.
        silent_since: when an answer to it was last heard, an attempt of it last ended, or else the first began; likewise.
    """

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
    not_before: float = 0.0
    silent_since: float = 0.0

    def begin(self, start: Target, total_timeout_s: float) -> None:
        """Begin an attempt."""
        self.target, self.left_s = start, total_timeout_s
        self.hops, self.asked, self.failure = [], set(), None
        self.attempts += 1
        self.silent_since = self.silent_since or time.monotonic()

    def fetched(self) -> Fetched:
        """What came of it."""
        code, detail = (self.failure.code, self.failure.detail) if self.failure else (None, "")
        return Fetched(
            self.request.url, tuple(self.hops), self.body, code, detail, self.attempts, round(self.elapsed_s, 6)
        )


@dataclass(slots=True)
class Lane:
    """What is still to be asked of one host; a trip is there to be tried again."""

    host: str
    waiting: deque[Request | Trip] = field(default_factory=deque)


class Lanes:
    """The lanes of many requests, most requests first.

    A lane is listed once for each request that its host may have at once. One whose host is to be left alone for a
    while is put aside, and comes first when the while is over.

    Attributes:
        total: number of requests.
        listed: number of lanes at once.
    """

    def __init__(self, requests: Iterable[Request], hosts: Hosts, per_host: int):
        by_host: dict[str, Lane] = {}
        for request in requests:
            name = url_host(request.url)
            by_host.setdefault(name, Lane(name)).waiting.append(request)
        lanes = sorted(by_host.values(), key=lambda lane: -len(lane.waiting))
        self._hosts = hosts
        self._ready: asyncio.LifoQueue[Lane] = asyncio.LifoQueue()
        self.total = sum(len(lane.waiting) for lane in lanes)
        self.listed = 0
        for lane in reversed(lanes):
            for _ in range(min(per_host, len(lane.waiting))):
                self._ready.put_nowait(lane)
                self.listed += 1

    async def next(self) -> Lane:
        """A lane to work on; waits while all are worked on or put aside."""
        return await self._ready.get()

    def put_aside(self, lane: Lane) -> bool:
        """Put a lane aside if what is first in it may not be asked for yet."""
        first = lane.waiting[0]
        wait_s = self._hosts[lane.host].wait_s
        if isinstance(first, Trip):
            wait_s = max(wait_s, first.not_before - time.monotonic())
        if wait_s <= 0:
            return False
        asyncio.get_running_loop().call_later(wait_s, self._ready.put_nowait, lane)
        return True
