"""A web that means no good: a proxy on loopback behind which each host does one thing that no server should.

``HOSTILE`` says what each host does and what has to become of its URL, ``HOSTILE_FILES`` the same of hosts whose
robots.txt is the trap. All other files are missing, and the URL of a host is ``http://HOST/p.jpg``.
"""

from __future__ import annotations

import asyncio
import datetime
import gzip
import os
import socket
import ssl
import struct
import threading
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from small_world import picture

from fairshard.examples.sample_web import bodies

MAX_BYTES = 1_000_000
"""What the job has to allow for an image, so that the bombs are too large for it."""

JPEG = picture(0)
_OK = b"HTTP/1.1 200 OK\r\n"
_WHOLE = _OK + b"Content-Length: %d\r\n\r\n" % len(JPEG) + JPEG
_MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_CHUNK = b"10000\r\n" + bytes(65536) + b"\r\n"
# VP8L of 16,384 by 16,384 pixels, as its header says, and next to no data.
_WEBP_CHUNK = b"VP8L" + struct.pack("<IBI", 5 + 64, 0x2F, 16383 | 16383 << 14) + bytes(64)
WEBP_BOMB = b"RIFF" + struct.pack("<I", 4 + len(_WEBP_CHUNK)) + b"WEBP" + _WEBP_CHUNK

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""What a host does once it has read the head of a request. The connection is closed afterwards."""


def says(*parts: bytes) -> Behaviour:
    """Send these bytes."""

    async def behave(_reader, writer):
        writer.writelines(parts)
        await writer.drain()

    return behave


def body(data: bytes, *headers: bytes) -> Behaviour:
    """Send a proper answer."""
    lines = b"".join(header + b"\r\n" for header in (*headers, b"Content-Length: %d" % len(data)))
    return says(_OK + lines + b"\r\n" + data)


def leads_to(url: bytes, *headers: bytes) -> Behaviour:
    lines = b"".join(header + b"\r\n" for header in (*headers, b"Location: " + url, b"Content-Length: 0"))
    return says(b"HTTP/1.1 302 Found\r\n" + lines + b"\r\n")


def without_end(head: bytes, piece: bytes, pause_s: float = 0.0) -> Behaviour:
    """Send one piece after the other until the client has had enough."""

    async def behave(_reader, writer):
        writer.write(head)
        while not writer.is_closing():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return behave


def at_length(head: bytes, piece: bytes, times: int) -> Behaviour:
    async def behave(_reader, writer):
        writer.write(head)
        for _ in range(times):
            writer.write(piece)
            await writer.drain()

    return behave


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


def half_closed(data: bytes) -> Behaviour:
    """Close one direction, and go on listening in the other."""

    async def behave(reader, writer):
        writer.write(data)
        writer.write_eof()
        await reader.read()

    return behave


def reset_after(data: bytes) -> Behaviour:
    async def behave(_reader, writer):
        writer.write(data)
        await writer.drain()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return behave


def answers_hello(data: bytes) -> Behaviour:
    """Wait for the client's part of the handshake, then send these bytes, so that no reset overtakes them."""

    async def behave(reader, writer):
        await reader.read(65536)
        writer.write(data)
        writer.write_eof()
        await reader.read()

    return behave


async def grows(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Redirect to another URL each time."""
    await leads_to(b"?" + os.urandom(8).hex().encode())(reader, writer)


async def breaks_tls(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer in what is no TLS, on a connection that was set up properly."""
    os.write(writer.get_extra_info("socket").fileno(), b"no record of TLS" * 100)


def _gzip_bomb(megabytes: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(megabytes)), packer.flush()])


_BOMB = _gzip_bomb(200)

HOSTILE: dict[str, tuple[Behaviour, str]] = {
    # Time
    "drip": (without_end(_OK + b"Content-Length: 100000\r\n\r\n", b"x", 0.05), "failed:timeout"),
    "drip-of-headers": (without_end(_OK, b"X", 0.05), "failed:timeout"),
    "drip-of-chunks": (without_end(_OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 0.05), "failed:timeout"),
    "silent": (silent, "failed:timeout"),
    "continues": (without_end(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.001), "failed:timeout"),
    # Length
    "endless": (without_end(_OK + b"Transfer-Encoding: chunked\r\n\r\n", _CHUNK), "failed:too_large"),
    "endless-until-close": (without_end(_OK + b"\r\n", bytes(65536)), "failed:too_large"),
    "announces-much": (says(_OK + b"Content-Length: 999999999999999\r\n\r\n"), "failed:too_large"),
    "announces-no-number": (says(_OK + b"Content-Length: 99999999999999999999\r\n\r\n"), "failed:bad_response"),
    "announces-too-much": (says(_OK + b"Content-Length: %d\r\n\r\n" % (len(JPEG) + 1) + JPEG), "failed:truncated"),
    "announces-too-little": (says(_OK + b"Content-Length: 900\r\n\r\n" + JPEG), "failed:bad_response"),
    "announces-less-than-nothing": (says(_OK + b"Content-Length: -1\r\n\r\n" + JPEG), "failed:bad_response"),
    "announces-twice": (says(_OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), "failed:bad_response"),
    "announces-both": (
        says(_OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "failed:bad_response",
    ),
    "chunk-of-16-exabytes": (
        says(_OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n" + JPEG), "failed:truncated",
    ),
    "chunk-of-what": (says(_OK + b"Transfer-Encoding: chunked\r\n\r\nwhat\r\n"), "failed:bad_response"),
    "chunk-without-end": (
        without_end(_OK + b"Transfer-Encoding: chunked\r\n\r\n5;", b"x" * 1000), "failed:timeout",
    ),
    # Bombs
    "gzip-bomb": (body(_BOMB, b"Content-Encoding: gzip"), "failed:too_large"),
    "gzip-in-gzip": (body(gzip.compress(_BOMB), b"Content-Encoding: gzip, gzip"), "failed:bad_response"),
    "gzip-cut": (body(gzip.compress(JPEG)[:-4], b"Content-Encoding: gzip"), "failed:truncated"),
    "brotli": (body(JPEG, b"Content-Encoding: br"), "failed:bad_response"),
    "page": (body(b"<!doctype html><title>not here</title>"), "failed:not_an_image"),
    "nothing": (body(b""), "failed:empty"),
    "half-a-picture": (body(JPEG[: len(JPEG) // 2]), "failed:truncated"),
    "png-bomb": (body(bodies.bomb()), "failed:too_many_pixels"),
    "png-bomb-whole": (body(bodies.bomb_whole()), "failed:too_many_pixels"),
    "webp-bomb": (body(WEBP_BOMB), "failed:too_many_pixels"),
    # Headers
    "many-headers": (says(_OK, *(b"X-%d: y\r\n" % n for n in range(20_000)), b"\r\n"), "failed:bad_response"),
    "long-header": (says(_OK, b"X: ", b"y" * 1_000_000, b"\r\n\r\n"), "failed:bad_response"),
    "endless-header": (without_end(_OK + b"X: ", b"y" * 4096), "failed:bad_response"),
    "endless-headers": (without_end(_OK, b"X: y\r\n" * 100), "failed:bad_response"),
    "garbage-after-status": (says(b"HTTP/1.1 200 \x00\xff\x01\r\n\x00\x01\x02: \xff\r\n\r\n"), "failed:bad_response"),
    "no-status": (says(b"HTTP/1.1\r\n\r\n"), "failed:bad_response"),
    "huge-status": (says(b"HTTP/1.1 999999 OK\r\n\r\n"), "failed:bad_response"),
    "no-http": (says(b"220 mail.example ESMTP\r\n"), "failed:bad_response"),
    "http-0.9": (says(JPEG), "failed:bad_response"),
    "http-9": (says(b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n"), "failed:bad_response"),
    "http-1.0": (says(b"HTTP/1.0 200 OK\r\n\r\n" + JPEG), "alive"),
    "teapot": (says(b"HTTP/1.1 418 \r\nContent-Length: 0\r\n\r\n"), "failed:http_418"),
    "gone": (says(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"), "failed:http_410"),
    "pay": (says(b"HTTP/1.1 402 Payment Required\r\nContent-Length: 0\r\n\r\n"), "failed:http_402"),
    "fails": (says(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"), "failed:http_500"),
    "asks-for-a-century": (
        says(b"HTTP/1.1 503 Busy\r\nRetry-After: 3153600000\r\nContent-Length: 0\r\n\r\n"), "left:pause",
    ),
    # Connections
    "closes": (says(), "failed:connect"),
    "resets": (reset_after(b""), "failed:connect"),
    "resets-midway": (reset_after(_WHOLE[:1000]), "failed:truncated"),
    "half-closed": (half_closed(b""), "failed:connect"),
    "half-closed-midway": (half_closed(_WHOLE[:1000]), "failed:truncated"),
    "half-closed-at-the-end": (half_closed(_WHOLE), "alive"),
    # Redirects
    "loop": (leads_to(b"/p.jpg"), "failed:redirect_loop"),
    "grows": (grows, "failed:too_many_redirects"),
    "ping": (leads_to(b"http://pong.example/p.jpg"), "failed:redirect_loop"),
    "pong": (leads_to(b"http://ping.example/p.jpg"), "failed:redirect_loop"),
    "to-nowhere": (says(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"), "failed:bad_response"),
    "to-a-file": (leads_to(b"file:///etc/passwd"), "failed:unsupported_scheme"),
    "to-metadata": (leads_to(b"http://169.254.169.254/latest/meta-data/"), "failed:refused_address"),
    "to-a-number": (leads_to(b"http://2852039166/"), "failed:refused_address"),
    "to-localhost": (leads_to(b"http://localhost:22/"), "failed:refused_address"),
    "to-this-machine": (leads_to(b"http://[::ffff:127.0.0.1]/"), "failed:refused_address"),
    "to-a-mail-server": (leads_to(b"http://mail.example:25/"), "failed:refused_port"),
    "to-tls-on-another-port": (leads_to(b"https://mail.example:465/"), "failed:refused_port"),
    "to-a-user": (leads_to(b"http://ada:secret@mail.example/p.jpg"), "failed:credentials"),
    "to-a-host-of-rules-without-end": (leads_to(b"http://robots-drip.example/p.jpg"), "hold:robots_txt"),
    "to-broken-tls": (leads_to(b"https://tls-garbage.example/p.jpg"), "hold:robots_txt"),
    "licence-without-end": (body(JPEG, b'Link: <http://endless.example/p.jpg>; rel="license"; type="application/rsl+xml"'),
                            "hold:rsl"),
    "licence-at-a-store": (body(JPEG, b'Link: <http://redis.example:6379/>; rel="license"; type="application/rsl+xml"'),
                           "hold:rsl"),
}  # fmt: skip
CHAIN = 12
HOSTILE |= {
    f"chain-{n}": (leads_to(f"http://chain-{n + 1}.example/p.jpg".encode()), "failed:too_many_redirects")
    for n in range(CHAIN)
}
HOSTILE[f"chain-{CHAIN}"] = (says(_WHOLE), "alive")
for _near in range(1, 6):  # five redirects are followed
    HOSTILE[f"chain-{CHAIN - _near}"] = (HOSTILE[f"chain-{CHAIN - _near}"][0], "alive")

# What robots.txt is, and why it gave no answer; None: it gave one, and the picture may be had.
HOSTILE_FILES: dict[str, tuple[Behaviour, str | None]] = {
    "robots-of-100-megabytes": (
        at_length(_OK + b"Content-Length: 104857600\r\n\r\n", b"# filler\n" * 7282, 1600),
        None,
    ),
    "robots-without-end": (without_end(_OK + b"Transfer-Encoding: chunked\r\n\r\n", _CHUNK), None),
    "robots-bomb": (body(_BOMB, b"Content-Encoding: gzip"), None),
    "robots-drip": (without_end(_OK + b"Content-Length: 100000\r\n\r\n", b"#", 0.05), "timeout"),
    "robots-silent": (silent, "timeout"),
    "robots-loop": (leads_to(b"/robots.txt"), "redirect_loop"),
    "robots-grows": (grows, "too_many_redirects"),
    "robots-at-a-mail-server": (leads_to(b"http://mail.example:25/robots.txt"), "refused_port"),
    "robots-of-a-user": (leads_to(b"http://ada:secret@mail.example/robots.txt"), "credentials"),
    "robots-headers": (without_end(_OK, b"X: y\r\n" * 100), "bad_response"),
    "robots-garbage": (says(bytes(range(256)) * 4), "bad_response"),
    "robots-resets": (reset_after(_OK), "connect"),
    "robots-half-closed": (half_closed(_OK + b"Content-Length: 100\r\n\r\nUser-agent: *\n"), "truncated"),
}

# Hosts of https: what happens after CONNECT, and the error of robots.txt; None: the handshake goes well.
HOSTILE_TLS: dict[str, tuple[Behaviour | str, str | None]] = {
    "tls-garbage": (answers_hello(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "tls"),
    "tls-closes": (answers_hello(b""), "connect"),
    "tls-silent": (silent, "timeout"),
    "tls-alert": (answers_hello(b"\x15\x03\x03\x00\x02\x02\x28"), "tls"),
    "tls-unknown": ("unknown", "tls"),
    "tls-other-name": ("other", "tls"),
    "tls-breaks": ("known", None),
}

# URLs of the list that nobody is asked for.
AT_OTHER_PORTS = ("http://mail.example:25/p.jpg", "http://redis.example:6379/p.jpg", "https://mail.example:465/p.jpg")


def expected(hosts: int) -> dict[str, str]:
    """By URL, what has to become of it."""
    fates = {f"http://{name}.example/p.jpg": fate for name, (_, fate) in HOSTILE.items()}
    fates |= {f"http://{name}.example/p.jpg": _after(error) for name, (_, error) in HOSTILE_FILES.items()}
    fates |= {f"https://{name}.example/p.jpg": _after(error) for name, (_, error) in HOSTILE_TLS.items()}
    fates["https://tls-breaks.example/p.jpg"] = "failed:tls"
    fates |= dict.fromkeys(AT_OTHER_PORTS, _after("refused_port"))
    return fates | {f"http://h{number}.example/p.jpg": "alive" for number in range(hosts)}


def _after(error: str | None) -> str:
    return "hold:robots_txt" if error else "alive"


def expected_errors() -> dict[str, str]:
    """By host, why robots.txt gave no answer."""
    silent = {f"{name}.example": error for name, (_, error) in (*HOSTILE_FILES.items(), *HOSTILE_TLS.items()) if error}
    return silent | {str(urlsplit(url).hostname): "refused_port" for url in AT_OTHER_PORTS}


def expected_hosts(hosts: int) -> set[str]:
    """Who is asked, without ``.example``."""
    urls = expected(hosts).keys() - {*AT_OTHER_PORTS}
    return {str(urlsplit(url).hostname).removesuffix(".example") for url in urls}


@contextmanager
def hostile_web(folder: Path) -> Iterator[tuple[str, set[str]]]:
    """Serve it in a thread; certificates go into ``folder``, those to trust into ``ca.pem``.

    Gives the proxy's URL, and the hosts that were asked for.
    """
    asked: set[str] = set()
    tls = {name: _certificate(folder, name) for name in ("known", "unknown", "other")}
    ready, started = threading.Event(), []

    async def serve() -> None:
        server = await asyncio.start_server(lambda *pair: _connected(*pair, tls, asked), "127.0.0.1", 0, backlog=512)
        stop = asyncio.Event()
        started.extend([server.sockets[0].getsockname()[1], asyncio.get_running_loop(), stop])
        ready.set()
        await stop.wait()
        server.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="hostile-web", daemon=True)
    thread.start()
    ready.wait()
    port, loop, stop = started
    try:
        yield f"http://127.0.0.1:{port}", asked
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


async def _connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tls: dict, asked: set[str]) -> None:
    with suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
        async for host, path in _requests(reader):
            asked.add(host)
            if path == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
                behave, _ = HOSTILE_TLS[host]
                if not isinstance(behave, str):
                    await behave(reader, writer)
                    break
                await writer.start_tls(tls[behave])
            elif behave := _behaviour(host, path):
                await behave(reader, writer)
                break
            else:  # a server like any other
                writer.write(_WHOLE if path == "/p.jpg" else _MISSING)
    writer.close()


def _behaviour(host: str, path: str) -> Behaviour | None:
    if path == "/robots.txt":
        return HOSTILE_FILES[host][0] if host in HOSTILE_FILES else None
    if host == "tls-breaks" and path == "/p.jpg":
        return breaks_tls
    return HOSTILE[host][0] if host in HOSTILE and path == "/p.jpg" else None


async def _requests(reader: asyncio.StreamReader) -> AsyncIterator[tuple[str, str]]:
    """Host, without ``.example``, and path of each request of a connection; of CONNECT that word."""
    inside = ""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target = head.split(b" ", 2)[:2]
        text = target.decode()
        host, _, path = text.removeprefix("http://").partition("/")
        if method == b"CONNECT":
            inside = text.partition(":")[0].removesuffix(".example")
            yield inside, "CONNECT"
        else:
            path = "/" + path.partition("?")[0]
            yield inside or host.removesuffix(".example"), path


def _certificate(folder: Path, name: str) -> ssl.SSLContext:
    """A server's context: ``known`` is trusted, ``unknown`` is not, ``other`` is trusted for another host."""
    key = ec.generate_private_key(ec.SECP256R1())
    title = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"test {name}")])
    covers = "elsewhere.example" if name == "other" else "tls-breaks.example"
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(title, title, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(covers)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / f"{name}.pem").write_bytes(pem + key.private_bytes(*form))
    if name != "unknown":
        with open(folder / "ca.pem", "ab") as trusted:
            trusted.write(pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / f"{name}.pem")
    return context
