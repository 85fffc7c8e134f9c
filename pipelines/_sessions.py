"""Connections that are kept for the next request, as many as a process can hold."""

from __future__ import annotations

import time
from collections.abc import Mapping

import aiohttp

from ._answer import HttpOptions
from ._connect import KEEP_ALIVE_S, Resolver, Target, connector

# Some honest sites send a Content-Security-Policy longer than the 8,190 bytes that aiohttp allows by default.
_HEADER_BYTES = 32 * 1024
# Idle connections hold file descriptors, of which a process often has 1,024.
KEPT_CONNECTIONS = 400


class Sessions:
    """Sends requests; keeps a connection while fewer hosts than can be kept were asked of late."""

    def __init__(self, options: HttpOptions):
        self._options = options
        self._kept_hosts: dict[str, float] = {}
        self._max_kept = max(1, KEPT_CONNECTIONS // options.per_host)

    def open(self) -> None:
        """Begin; there has to be a running loop."""
        self._resolver = Resolver(2 * self._options.concurrency)
        self._keeping, self._closing = self._session(keep_alive=True), self._session(keep_alive=False)

    async def close(self) -> None:
        """Close all connections."""
        await self._keeping.close()
        await self._closing.close()
        await self._resolver.close()

    async def get(self, to: Target, last: bool, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """Send a request. Raises what aiohttp does.

        Args:
            to: what to ask for.
            last: nothing else is to be asked of the host on this connection.
            headers: beside those of every request.
        """
        now, kept = time.monotonic(), self._kept_hosts
        while kept and kept[oldest := next(iter(kept))] < now - 2 * KEEP_ALIVE_S:
            del kept[oldest]
        was_kept = kept.pop(to.host, None) is not None
        if last:
            return await self._keeping.get(to.url, headers={**headers, "Connection": "close"}, allow_redirects=False)
        if not was_kept and len(kept) >= self._max_kept:
            return await self._closing.get(to.url, headers=headers, allow_redirects=False)
        kept[to.host] = now  # at the end: the dictionary is in order of use
        return await self._keeping.get(to.url, headers=headers, allow_redirects=False)

    def _session(self, keep_alive: bool) -> aiohttp.ClientSession:
        options = self._options
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
