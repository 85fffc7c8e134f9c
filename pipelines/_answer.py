"""What is asked over HTTP and what comes back: options, request, hop, answer, and a body within its bound."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import aiohttp

from ._connect import WEB_PORTS, Bounds, Failure, failures
from ._politeness import Manners

_LOOK_AFTER_S = 0.5


@dataclass(frozen=True, kw_only=True)
class HttpOptions(Manners):
    """How to ask. The fields of ``Manners`` belong to it.

    Attributes:
        user_agent: product token first; robots.txt is honoured under it.
        proxy: HTTP proxy for all requests, ``http://host:port``. The environment's proxies are not used.
        allow_private: permit addresses that are not public (an intranet, a test).
        ports: that may be asked, be it after redirects; None: ``WEB_PORTS``, and with ``allow_private`` any. The
            proxy's own may be any.
        concurrency: requests at once in one ``get_all``, and as many single ``get``s.
        connect_timeout_s: bound on name lookup, connection and TLS handshake together.
        total_timeout_s: bound on one attempt, all hops, from connecting to the last byte; waiting for a turn
            is not counted.
        max_bytes: longest body, decoded.
        max_redirects: redirects followed.
        retries: further attempts after 429, 500, 502, 503, 504 or a broken connection. One that breaks before
            any answer is also tried once more by aiohttp itself, since a kept one may just have expired.
    """

    user_agent: str = "fairshard/0.1 (image-text dataset curation; honours robots.txt as 'fairshard')"
    proxy: str | None = None
    allow_private: bool = False
    ports: tuple[int, ...] | None = None
    concurrency: int = 64
    connect_timeout_s: float = 10.0
    total_timeout_s: float = 30.0
    max_bytes: int = 20_000_000
    max_redirects: int = 5
    retries: int = 2

    @property
    def bounds(self) -> Bounds:
        """What may be asked for."""
        unset = None if self.allow_private else WEB_PORTS
        return Bounds(self.allow_private, self.proxy is not None, unset if self.ports is None else self.ports)


@dataclass(frozen=True, slots=True)
class Hop:
    """One response: the URL asked, its status, and its headers in order, repeated ones too.

    Names are in lower case; values are text fit for UTF-8 (bytes that are no UTF-8 are read as Latin-1).
    """

    url: str
    status: int
    headers: tuple[tuple[str, str], ...]

    def values(self, name: str) -> list[str]:
        """Every value of a header, in order. ``name`` in lower case."""
        return [value for key, value in self.headers if key == name]


class Validators(NamedTuple):
    """What a server named the version by that we have of a URL: asked with it, 304 says that it is still the same."""

    url: str
    etag: str | None
    last_modified: str | None

    @property
    def headers(self) -> dict[str, str]:
        """Request headers. Source: RFC 9110, section 13.1."""
        named = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Request:
    """One URL to ask for.

    Attributes:
        url: absolute, http or https.
        max_bytes: instead of ``HttpOptions.max_bytes``.
        stop: called with each response of the chain before its body is read; True ends the exchange.
        key: whatever the caller wants to find the answer by.
        cut: a longer body is no error: its first ``max_bytes`` are the answer, and the rest is not read.
        known: sent with the request for the very URL that it is about, be it after redirects.
    """

    url: str
    max_bytes: int | None = None
    stop: Callable[[Hop], bool] | None = None
    key: Any = None
    cut: bool = False
    known: Validators | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """What asking gave.

    Attributes:
        url: as it was asked for.
        hops: the responses of the last attempt's redirect chain in order; empty where nothing answered.
        body: decoded bytes; empty unless ``error`` is None.
        error: None for a complete 2xx response, else ``http_404`` and so on, timeout, dns, connect, tls,
            refused_address, refused_port, credentials, unsupported_scheme, bad_url, too_large, redirect_loop,
            too_many_redirects, truncated, bad_response, stopped; or, if it was not asked for (see ``Host``),
            host_down, crawl_delay, pause, wait, network.
        detail: the error for people.
        attempts: how often the chain was begun.
        elapsed_s: time spent in exchanges, waiting for turns left out.
    """

    url: str
    hops: tuple[Hop, ...]
    body: bytes
    error: str | None
    detail: str
    attempts: int
    elapsed_s: float

    @property
    def status(self) -> int:
        """Status of the last response; 0 where nothing answered."""
        return self.hops[-1].status if self.hops else 0

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Headers of the last response."""
        return self.hops[-1].headers if self.hops else ()

    @property
    def final_url(self) -> str:
        """The URL that answered last; the one asked for where nothing did."""
        return self.hops[-1].url if self.hops else self.url


def hop_of(url: str, response: aiohttp.ClientResponse) -> Hop:
    """The evidence of a response, before its body is read."""
    headers = tuple((name.lower(), _text(value)) for name, value in response.headers.items())
    return Hop(url, response.status, headers)


def _text(value: str) -> str:
    """aiohttp hands bytes that are no UTF-8 over as lone surrogates, which no table could hold."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape").decode("latin-1")
    return value


Spend = Callable[[int], Awaitable[None]]
"""Called with the size of what was read; returns when more may be."""


async def read_body(
    response: aiohttp.ClientResponse, max_bytes: int, cut: bool = False, spend: Spend | None = None
) -> bytes:
    """The body, decoded if it comes compressed; with ``cut`` only its first ``max_bytes``.

    Raises:
        Failure: ``too_large`` past ``max_bytes`` in what is announced, received or decoded; ``truncated``,
            ``bad_response``, and whatever else ends a connection.
    """
    with failures():
        body = await _received(response, max_bytes, cut, spend)
    coding = ",".join(response.headers.getall("Content-Encoding", ())).strip().lower()
    if not body or coding in ("", "identity"):
        return body
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise Failure("bad_response", f"Content-Encoding {coding}, though identity was asked for")
    return _decoded(body, max_bytes, cut)


async def _received(response: aiohttp.ClientResponse, max_bytes: int, cut: bool, spend: Spend | None) -> bytes:
    announced = response.content_length
    if announced is not None and announced > max_bytes and not cut:
        raise Failure("too_large", f"Content-Length {announced}, over {max_bytes}")
    chunks, size = [], 0
    while chunk := await _next_chunk(response):
        size += len(chunk)
        chunks.append(chunk)
        if spend is not None:
            await spend(len(chunk))
        if size > max_bytes and cut:
            response.close()
            return b"".join(chunks)[:max_bytes]
        if size > max_bytes:
            raise Failure("too_large", f"over {max_bytes} bytes")
    return b"".join(chunks)


async def _next_chunk(response: aiohttp.ClientResponse) -> bytes:
    """What has arrived; empty at the end.

    A chunked body whose later part is malformed leaves aiohttp 3.14's reader waiting for ever: the parser tells
    the connection, and not the reader. So whenever nothing comes for a while, the connection is looked at.
    """
    while True:
        try:
            async with asyncio.timeout(_LOOK_AFTER_S):
                return await response.content.readany()
        except TimeoutError:
            # The protocol is a queue and false while that is empty: its absence has to be asked for.
            protocol = response.connection.protocol if response.connection is not None else None
            if protocol is None or protocol.exception() is not None:
                raise Failure("bad_response", "malformed chunk") from None


def _decoded(body: bytes, max_bytes: int, cut: bool) -> bytes:
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, by its first bytes
    try:
        decoded = decoder.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise Failure("bad_response", f"Content-Encoding: {error}") from error
    if len(decoded) > max_bytes or (cut and len(body) == max_bytes):
        if cut:
            return decoded[:max_bytes]
        raise Failure("too_large", f"over {max_bytes} bytes when decoded")
    if not decoder.eof:
        raise Failure("truncated", "compressed body without its end", retry=True)
    if decoder.unused_data:
        raise Failure("bad_response", "bytes after the end of a compressed body")
    return decoded
