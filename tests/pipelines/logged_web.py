"""A web on loopback, played by a function behind a proxy, that writes down when it was asked and over what."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic

from aiohttp import web

Answer = Callable[[web.BaseRequest], Awaitable[web.Response]]


@dataclass
class Logged:
    """One request: when it came and when its answer was ready (seconds of this machine's clock)."""

    host: str
    path: str
    headers: dict[str, str]
    connection: int
    at_once: int
    began: float
    ended: float = 0.0


@dataclass
class LoggedWeb:
    """``answer`` may be replaced while it runs."""

    answer: Answer
    log: list[Logged] = field(default_factory=list)
    proxy_url: str = ""
    _open: Counter = field(default_factory=Counter)

    def of(self, host: str) -> list[Logged]:
        """The requests to one host, in order."""
        return [one for one in self.log if one.host == host]

    def paths(self, host: str = "a.example") -> list[str]:
        """What one host was asked for, sorted, without the files in which it states its terms."""
        terms = {"/robots.txt", "/ai.txt", "/.well-known/tdmrep.json"}
        return sorted(one.path for one in self.of(host) if one.path not in terms)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer and log a request."""
        host = request.url.host or ""
        self._open[host] += 1
        one = Logged(host, request.path, dict(request.headers), id(request.transport), self._open[host], monotonic())
        self.log.append(one)
        try:
            return await self.answer(request)
        finally:
            self._open[host] -= 1
            one.ended = monotonic()


@contextmanager
def logged_web(answer: Answer) -> Iterator[LoggedWeb]:
    """Serve in a thread."""
    played, ready, stops = LoggedWeb(answer), threading.Event(), []

    async def serve() -> None:
        runner = web.ServerRunner(web.Server(played.handle, access_log=None), shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        stop = asyncio.Event()
        stops.append((asyncio.get_running_loop(), stop))
        played.proxy_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield played
    finally:
        stops[0][0].call_soon_threadsafe(stops[0][1].set)
        thread.join()
