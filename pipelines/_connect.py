"""From a URL to a connection: what may be asked for, name lookup, TLS, and stable codes for what fails."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import ada_url
import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from ._address import refusal

RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})
KEEP_ALIVE_S = 15.0
_DNS_CACHE_S = 300
_DETAIL_CHARS = 300

WEB_PORTS = (80, 443, 8080, 8443)
"""What is asked where a config names no ports: those that web servers for everybody listen at. A crawler that any list
can point at port 25 or 6379 of other people's machines is a tool for attacks."""
_PORT_OF = {"http:": 80, "https:": 443}

# aiohappyeyeballs may merge the errors of several addresses into a plain OSError; the errno survives, and no
# operating system has a negative one.
_REFUSED_ERRNO = -1

# Everything that a server, its name or its certificate can make aiohttp raise. RuntimeError: a transport that
# is closed under a read.
_WEB_ERRORS = (aiohttp.ClientError, HttpProcessingError, OSError, ValueError, RuntimeError)


class Failure(Exception):
    """Why one exchange came to nothing. Ends up in a row, never with the caller.

    Attributes:
        code: stable, one of those listed at ``Fetched.error``.
        detail: for people; at most 300 characters, fit for UTF-8.
        retry: whether asking again may help.
    """

    def __init__(self, code: str, detail: object = "", retry: bool = False):
        text = str(detail).encode("utf-8", "backslashreplace").decode()
        self.code, self.detail, self.retry = code, " ".join(text.split())[:_DETAIL_CHARS], retry
        super().__init__(code, self.detail)


class Bounds(NamedTuple):
    """What may be asked for.

    Attributes:
        allow_private: permit addresses that are not public.
        by_name: also refuse names that mean this machine (``localhost``), since a proxy will resolve them.
        ports: that may be asked; None: any.
    """

    allow_private: bool = False
    by_name: bool = False
    ports: Collection[int] | None = WEB_PORTS


_PUBLIC = Bounds()


class Target(NamedTuple):
    """A URL that may be asked for: as text, as aiohttp wants it, and its host without final dot."""

    href: str
    url: URL
    host: str


def target(url: str, base: str | None = None, bounds: Bounds = _PUBLIC) -> Target:
    """Parse a URL, or a Location relative to ``base``, and refuse what must not be asked for.

    Args:
        url: by the WHATWG standard, so ``http://2130706433/`` is 127.0.0.1 here as in a browser. Its fragment is
            dropped.
        base: the URL that redirected here.
        bounds: of what may be asked for.

    Raises:
        Failure: ``bad_url``, ``unsupported_scheme``, ``credentials``, ``refused_address`` or ``refused_port``.

    Source: WHATWG URL Standard, section 4; RFC 6761, section 6.3 (localhost).
    """
    try:
        parsed = ada_url.URL(url, base)
        href = parsed.href
        if not href.startswith(("http://", "https://")):
            raise Failure("unsupported_scheme", _shown(href))
        if "@" in href and (parsed.username or parsed.password):
            raise Failure("credentials", "has a user name or password, which are nobody's to use; remove them")
        if "#" in href:
            parsed.hash = ""
            href = parsed.href.removesuffix("#")
        host = parsed.hostname.rstrip(".")
        built = URL(href, encoded=True)
    except (ValueError, AttributeError) as error:
        raise Failure("bad_url", _shown(url)) from error
    if not bounds.allow_private:
        _refuse_private(host, parsed.host_type != ada_url.HostType.DEFAULT, bounds.by_name)
    if bounds.ports is not None:
        _refuse_port(int(parsed.port or _PORT_OF[parsed.protocol]), bounds.ports)
    return Target(href, built, host)


def _refuse_private(host: str, is_address: bool, by_name: bool) -> None:
    reason = refusal(host.strip("[]")) if is_address else None
    if by_name and (host == "localhost" or host.endswith(".localhost")):
        reason = "loopback"
    if reason:
        raise Failure("refused_address", f"{host} is {reason}")


def _refuse_port(port: int, ports: Collection[int]) -> None:
    if port not in ports:
        raise Failure("refused_port", f"port {port} is not one of fetch.ports ({', '.join(map(str, ports))})")


def _shown(url: str) -> str:
    """A URL to quote: what stands before an @ may be a password."""
    return url.rpartition("@")[2]


def url_host(url: str) -> str:
    """Host of a URL, to sort by; empty where it has none."""
    try:
        return ada_url.URL(url).hostname.rstrip(".")
    except (ValueError, AttributeError):
        return ""


@functools.cache
def tls_context() -> ssl.SSLContext:
    """The one TLS context of the process: reading the system's certificates takes tens of milliseconds.

    An intranet's authority is added by the environment variable SSL_CERT_FILE, as everywhere with OpenSSL.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Resolver(AbstractResolver):
    """Name lookup by the system, on threads of its own.

    aiohttp's would use the event loop's threads, six of them on two cores, and a handful of names whose
    servers are gone would hold up all others.
    """

    def __init__(self, threads: int):
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Addresses of a host. Raises socket.gaierror, also for names that no lookup can carry."""
        try:
            found = await asyncio.get_running_loop().run_in_executor(
                self._threads,
                functools.partial(
                    socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
                ),
            )
        except UnicodeError as error:  # an empty or overlong label fails in Python's IDNA codec
            raise socket.gaierror(socket.EAI_NONAME, str(error)) from error
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=proto,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """Forget the lookups that have not begun; a running one cannot be stopped."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def connector(resolver: Resolver, *, guard: bool, keep_alive: bool) -> aiohttp.TCPConnector:
    """aiohttp's connection pool, without limits of its own.

    Args:
        resolver: shared; closed by its owner.
        guard: refuse to connect to addresses that are not public.
        keep_alive: keep connections for the next request to the same host.
    """
    return aiohttp.TCPConnector(
        limit=0,
        resolver=resolver,
        ttl_dns_cache=_DNS_CACHE_S,
        ssl=tls_context(),
        socket_factory=_public_socket if guard else None,
        force_close=not keep_alive,
        keepalive_timeout=KEEP_ALIVE_S if keep_alive else None,
    )


def _public_socket(addr_info: tuple) -> socket.socket:
    """A socket for an address, which the connector connects to next: no lookup in between can change it."""
    family, kind, proto, _, address = addr_info
    reason = refusal(address[0])
    if reason:
        raise OSError(_REFUSED_ERRNO, f"{address[0]} is {reason}")
    return socket.socket(family, kind, proto)


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """Turn whatever a server can make aiohttp raise into a ``Failure``."""
    try:
        yield
    except _WEB_ERRORS as error:
        raise _failure(error) from error


def _failure(error: Exception) -> Failure:
    """The stable code of an error. The order matters: aiohttp's classes inherit from one another."""
    match error:
        case TimeoutError():
            return Failure("timeout", error, retry=True)
        case aiohttp.ClientHttpProxyError():
            detail = f"the proxy answered {error.status} to CONNECT"
            return Failure("connect", detail, retry=error.status in RETRIED_STATUSES)
        case aiohttp.ClientConnectorDNSError():
            return Failure("dns", error.os_error, retry=error.os_error.errno == socket.EAI_AGAIN)
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return Failure("tls", error)
        case aiohttp.ClientOSError() if isinstance(error.__cause__, ssl.SSLError):  # after the handshake
            return Failure("tls", error, retry=True)
        case aiohttp.ClientConnectorError() if error.os_error.errno == _REFUSED_ERRNO:
            return Failure("refused_address", error.os_error.strerror)
        case aiohttp.ClientPayloadError():
            return Failure("truncated", error, retry=True)
        case aiohttp.InvalidURL():
            return Failure("bad_url", error)
        case aiohttp.ClientResponseError() | HttpProcessingError():
            return Failure("bad_response", error.message)
        case aiohttp.ClientError() | OSError() | RuntimeError():
            return Failure("connect", str(error) or type(error).__name__, retry=True)
        case _:
            return Failure("bad_response", error)
