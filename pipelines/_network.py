"""Whether anybody can be reached: where nobody answers any more, silence says nothing about the host that was asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from enum import Enum
from itertools import islice

from ._connect import url_host

Knock = Callable[[str], Awaitable[bool | None]]
"""Whether the host of a URL answers; None if it cannot be asked now."""

_WITNESSES = 3
_LEAST = 2
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 5.0


class Finding(Enum):
    """What silence came from: the host, a network that is back by now, or one that has stopped for good."""

    HOST, BACK, GONE = "host", "back", "gone"


class Network:
    """Tells a network that has stopped from a host that has.

    Where a URL gets no answer, and nobody else has got one of late, a few hosts are asked, those first that answered
    last. If none of them answers, the network is waited for. If it stays away, nobody is asked for anything more, and
    what has no answer yet is left for a later run.

    Attributes:
        down: why nobody is asked any more, in words; empty while that is not so.
    """

    def __init__(self, urls: Iterable[str], max_wait_s: float):
        """``urls`` of hosts that can be asked before any has answered; ``max_wait_s``: for the network to come back."""
        self.down = ""
        self._urls, self._max_wait_s = {url_host(url): url for url in urls}, max_wait_s
        self._answered: dict[str, str] = {}
        self._heard_at = self._asked_at = 0.0
        self._was_away = (0.0, -1.0)
        self._asking = asyncio.Lock()

    def heard(self, host: str, url: str) -> float:
        """Take note of a response. Returns when that was, by ``time.monotonic``."""
        self._answered.pop(host, None)
        self._answered[host] = url
        if len(self._answered) > _WITNESSES:
            del self._answered[next(iter(self._answered))]
        self._heard_at = time.monotonic()
        return self._heard_at

    async def finding(self, since: float, knock: Knock) -> Finding:
        """What the silence came from that began at a time, by ``time.monotonic``. May wait for the network."""
        async with self._asking:
            if not self.down and max(self._heard_at, self._asked_at) <= since:
                self._asked_at = time.monotonic()
                if _is_silent(await self._ask(knock)):
                    await self._wait(knock)
        if self.down:
            return Finding.GONE
        began, ended = self._was_away
        return Finding.BACK if began <= since <= ended else Finding.HOST

    async def _wait(self, knock: Knock) -> None:
        began, until, wait_s = self._heard_at, time.monotonic() + self._max_wait_s, _FIRST_WAIT_S
        while (left_s := until - time.monotonic()) > 0:
            await asyncio.sleep(min(wait_s, left_s))
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            if True in await self._ask(knock):
                self._was_away = (began, time.monotonic())
                return
        self.down = "the network has stopped: nobody answers any more"

    async def _ask(self, knock: Knock) -> list[bool | None]:
        return await asyncio.gather(*(knock(url) for url in islice(self._witnesses(), _WITNESSES)))

    def _witnesses(self) -> Iterator[str]:
        yield from reversed(self._answered.values())
        yield from (url for host, url in self._urls.items() if host not in self._answered)


def _is_silent(answers: list[bool | None]) -> bool:
    return True not in answers and answers.count(False) >= _LEAST
