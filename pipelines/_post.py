"""Posting to one endpoint, as politely and as bounded as ``_http`` gets: turns, pauses, retries, addresses, size.

No redirect is followed: a key that was meant for one host would go to another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiohttp

from ._answer import HttpOptions, read_body
from ._connect import RETRIED_STATUSES, Failure, Resolver, connector, failures, target
from ._politeness import OVERLOADED, Host, retry_after_s

_PAUSES = frozenset(f"http_{status}" for status in OVERLOADED)


class Poster:
    """Posts bodies to one URL. An asynchronous context manager, of one event loop."""

    def __init__(self, url: str, headers: Mapping[str, str], options: HttpOptions):
        """Raises Failure for a URL that must not be asked."""
        self._options, self._host = options, Host(options)
        # The operator named this URL, so its port is for him to say.
        self._to = target(url, bounds=options.bounds._replace(ports=None))
        self._headers = {"User-Agent": options.user_agent, "Accept-Encoding": "identity", **headers}

    async def __aenter__(self) -> Poster:
        options = self._options
        self._resolver = Resolver(1)
        guard = not options.allow_private and options.proxy is None
        self._session = aiohttp.ClientSession(
            connector=connector(self._resolver, guard=guard, keep_alive=True),
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=options.connect_timeout_s),
            auto_decompress=False,
            proxy=options.proxy,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._resolver.close()

    async def post(self, body: bytes) -> bytes:
        """The body of a complete 2xx response.

        Raises:
            Failure: the last attempt's; its codes are those of ``Fetched.error``. Nothing else that the web does.
        """
        attempt = 1
        while True:
            try:
                return await self._attempt(body, attempt)
            except Failure as failure:
                if not failure.retry or attempt > self._options.retries or self._host.down:
                    raise
                if failure.code not in _PAUSES:  # then the host itself pauses
                    await asyncio.sleep(self._options.backoff(attempt))
            attempt += 1

    async def _attempt(self, body: bytes, attempt: int) -> bytes:
        host = self._host
        await host.enter()
        answered = False
        try:
            if host.down:
                raise Failure(host.code, host.down)
            host.asked()
            async with asyncio.timeout(self._options.total_timeout_s):
                with failures():
                    response = await self._session.post(self._to.url, data=body, allow_redirects=False)
                answered = True
                return await self._read(response, attempt)
        except TimeoutError as error:
            failure = Failure("timeout", f"not complete within {self._options.total_timeout_s} s")
            self._failed(failure, answered)
            raise failure from error
        except Failure as failure:
            self._failed(failure, answered)
            raise
        finally:
            host.ended()
            host.leave()

    def _failed(self, failure: Failure, answered: bool) -> None:
        if not answered:
            self._host.failed(failure.code, failure.detail)

    async def _read(self, response: aiohttp.ClientResponse, attempt: int) -> bytes:
        try:
            self._host.answered(response.status, retry_after_s(response.headers.get("Retry-After")), attempt)
            if response.status != 200:
                # Without the reason phrase: it could repeat the key.
                raise Failure(f"http_{response.status}", retry=response.status in RETRIED_STATUSES)
            return await read_body(response, self._options.max_bytes, False)
        finally:
            response.release()  # closes the connection if the body was not read to its end
