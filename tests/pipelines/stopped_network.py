"""A network that can be stopped: a proxy on loopback that hands on bytes both ways, until it is told not to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


class Network:
    """Connections are taken even while it is stopped, as by a router that has lost its uplink.

    Attributes:
        url: where it listens.
        given_up: connections that who opened them has closed while it was stopped.
        when_given_up: called at each of them.
    """

    def __init__(self, beyond: str):
        self._beyond = urlsplit(beyond)
        self._flows = threading.Event()
        self._flows.set()
        self.url = ""
        self.given_up = 0
        self.when_given_up: Callable[[Network], None] = lambda _: None

    def stop(self) -> None:
        self._flows.clear()

    def go_on(self) -> None:
        self._flows.set()

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its beginning to its end."""
        far = await asyncio.open_connection(self._beyond.hostname, self._beyond.port)
        ways = [self._hand_on(reader, far[1], True), self._hand_on(far[0], writer, False)]
        with suppress(ConnectionError):
            await asyncio.wait([asyncio.ensure_future(way) for way in ways], return_when=asyncio.FIRST_COMPLETED)
        writer.close()
        far[1].close()

    async def _hand_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, is_near: bool) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65_536):
                while not self._flows.is_set():
                    if is_near and source.at_eof():
                        break
                    await asyncio.sleep(0.005)
                target.write(data)
                await target.drain()
        if is_near and not self._flows.is_set():
            self.given_up += 1
            self.when_given_up(self)


@contextmanager
def network(beyond: str) -> Iterator[Network]:
    """A network in front of a proxy, in a thread."""
    made, ready, stops = Network(beyond), threading.Event(), []

    async def serve() -> None:
        server = await asyncio.start_server(made.join, "127.0.0.1", 0)
        made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        stop = asyncio.Event()
        stops.append((asyncio.get_running_loop(), stop))
        ready.set()
        await stop.wait()
        server.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield made
    finally:
        stops[0][0].call_soon_threadsafe(stops[0][1].set)
        thread.join()
