"""The HTTP client against real servers on loopback, most of them hostile."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import ipaddress
import socket
import ssl
import struct
import tracemalloc
import zlib
from collections import Counter
from contextlib import aclosing, asynccontextmanager

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from fairshard.pipelines import _answer, _http, _sessions
from fairshard.pipelines._answer import Validators
from fairshard.pipelines._connect import Failure, Target, target, tls_context
from fairshard.pipelines._http import Client, HttpOptions, Request
from fairshard.schemas.errors import ConfigError

LOOPBACK = HttpOptions(
    allow_private=True, retries=0, backoff_s=0.01, connect_timeout_s=2, total_timeout_s=5, max_bytes=100_000
)


def options(**changes) -> HttpOptions:
    return HttpOptions(**{**LOOPBACK.__dict__, **changes})


def through(proxy: str, **changes) -> HttpOptions:
    """Options to ask a server as a proxy, so that it plays any number of hosts."""
    return options(**{"proxy": proxy, "allow_private": False, **changes})


@asynccontextmanager
async def site(answer):
    """A well-behaved server: ``answer`` makes a response of an aiohttp request. Gives its URL."""
    runner = web.ServerRunner(web.Server(answer, access_log=None), shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw_site(serve, tls: ssl.SSLContext | None = None):
    """A server that reads a request's head, then lets ``serve(reader, writer, head)`` do what it likes."""

    async def connected(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if await serve(reader, writer, head) != "again":
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def says(*parts: bytes):
    """A raw server's behaviour: send these bytes and close."""

    async def serve(_reader, writer, _head):
        for part in parts:
            writer.write(part)
            await writer.drain()

    return serve


def ask_raw(serve, opts: HttpOptions = LOOPBACK, path: str = "/"):
    """Ask a raw server for one URL."""

    async def run():
        async with raw_site(serve) as url, Client(opts) as client:
            return await client.get(url + path)

    return asyncio.run(run())


def ask(answer, opts: HttpOptions = LOOPBACK, path: str = "/", **kwargs):
    """Ask a well-behaved server for one URL."""

    async def run():
        async with site(answer) as url, Client(opts) as client:
            return await client.get(url + path, **kwargs)

    return asyncio.run(run())


def redirects(table: dict[str, str], status: int = 302, headers: dict | None = None):
    """A site whose paths redirect as ``table`` says; other paths answer ``ok``."""

    async def answer(request):
        if request.path in table:
            return web.Response(status=status, headers={"Location": table[request.path], **(headers or {})})
        return web.Response(body=b"ok")

    return answer


# The plain case


def test_a_body_its_headers_and_what_was_sent():
    seen = []

    async def answer(request):
        seen.append(request)
        headers = [("X-Robots-Tag", "noai"), ("Set-Cookie", "a=1"), ("x-robots-tag", "otherbot: none")]
        return web.Response(body=b"pixels", headers=headers)

    async def run():
        async with site(answer) as url, Client(LOOPBACK) as client:
            port = url.rpartition(":")[2]
            await client.get(url)
            return port, await client.get(f"http://127.0.0.1:{port}/a b?x=1#part")

    port, fetched = asyncio.run(run())
    assert (fetched.status, fetched.body, fetched.error, fetched.attempts) == (200, b"pixels", None, 1)
    assert fetched.final_url == f"http://127.0.0.1:{port}/a%20b?x=1"
    assert fetched.hops[0].values("x-robots-tag") == ["noai", "otherbot: none"]
    assert fetched.headers == fetched.hops[0].headers
    sent = seen[1].headers
    assert sent["User-Agent"].startswith("fairshard/") and sent["Accept-Encoding"] == "identity"
    assert "Cookie" not in sent and "Authorization" not in sent


def test_header_bytes_that_are_no_utf8_become_text():
    fetched = ask_raw(says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-A: caf\xe9\r\nX-B: caf\xc3\xa9\r\n\r\n"))
    assert dict(fetched.headers) == {"content-length": "0", "x-a": "café", "x-b": "café"}


def test_connections_are_kept():
    connections = set()

    async def answer(request):
        connections.add(request.transport)
        return web.Response(body=b"x" * 5000)

    async def run():
        async with site(answer) as url, Client(LOOPBACK) as client:
            return [await client.get(f"{url}/{number}") for number in range(20)]

    assert all(fetched.error is None for fetched in asyncio.run(run()))
    assert len(connections) == 1


def counts_connections(is_open: Counter):
    async def answer(request):
        is_open[request.transport] += 1
        return web.Response(body=b"x")

    return answer


async def until_open(is_open: Counter, most: int):
    async with asyncio.timeout(5):
        while sum(not transport.is_closing() for transport in is_open) > most:
            await asyncio.sleep(0.01)


def test_idle_connections_are_bounded(monkeypatch):
    monkeypatch.setattr(_sessions, "KEPT_CONNECTIONS", 4)
    is_open = Counter()

    async def run():
        async with site(counts_connections(is_open)) as url, Client(through(url, per_host=1)) as client:
            for number in range(40):
                assert (await client.get(f"http://h{number % 20}.example/")).error is None
            await until_open(is_open, 4)

    asyncio.run(run())
    assert sorted(is_open.values()) == [1] * 32 + [2] * 4


def test_get_all_keeps_a_hosts_connection_until_its_last_url():
    is_open = Counter()

    async def run():
        async with site(counts_connections(is_open)) as url, Client(through(url, per_host=2)) as client:
            requests = [Request(f"http://h{number % 30}.example/") for number in range(180)]
            assert {fetched.error async for _, fetched in client.get_all(requests)} == {None}
            await until_open(is_open, 0)

    asyncio.run(run())
    assert len(is_open) <= 60 and is_open.total() == 180


# Status codes, retries, pauses


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (403, 1), (410, 1), (304, 1), (206, 1), (500, 3), (502, 3)])
def test_a_status_is_an_error_and_retried_only_where_that_can_help(status, asked):
    count = Counter()

    async def answer(request):
        count[request.path] += 1
        return web.Response(status=status)

    fetched = ask(answer, options(retries=2))
    assert (fetched.error, fetched.status, fetched.body) == (f"http_{status}", status, b"")
    assert (fetched.attempts, count["/"]) == (asked, asked)


def test_503_then_200():
    statuses = iter([503, 503, 200])

    async def answer(_request):
        return web.Response(status=next(statuses), body=b"late")

    fetched = ask(answer, options(retries=2))
    assert (fetched.body, fetched.error, fetched.attempts, len(fetched.hops)) == (b"late", None, 3, 1)


def test_retry_after_holds_the_whole_host_but_no_other():
    times = {}

    async def answer(request):
        first = not times
        times.setdefault((request.host, request.path), []).append(asyncio.get_running_loop().time())
        return web.Response(status=429, headers={"Retry-After": "1"}) if first else web.Response()

    async def run():
        told = asyncio.Event()
        async with site(answer) as url, Client(through(url, retries=1)) as client:
            first = asyncio.create_task(client.get("http://a.example/told", stop=lambda _hop: bool(told.set())))
            await told.wait()
            return await asyncio.gather(first, client.get("http://a.example/next"), client.get("http://b.example/"))

    assert [fetched.error for fetched in asyncio.run(run())] == [None, None, None]
    start, again = times["a.example", "/told"]
    assert again - start > 0.9 and times["a.example", "/next"][0] - start > 0.9
    assert times["b.example", "/"][0] < again


def test_a_host_that_asks_for_an_hour_is_not_asked_again():
    paths = []

    async def answer(request):
        paths.append(request.path)
        return web.Response(status=429, headers={"Retry-After": "3600"})

    async def run():
        async with site(answer) as url, Client(options(retries=2)) as client:
            return await client.get(f"{url}/1"), await client.get(f"{url}/2")

    first, second = asyncio.run(run())
    assert (first.error, first.status, first.attempts) == ("pause", 429, 1)
    assert (second.error, second.hops) == ("pause", ())
    assert paths == ["/1"]


def test_a_dead_host_is_given_up():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]

    async def run():
        async with Client(options(retries=2, max_failures=4)) as client:
            return [await client.get(f"http://127.0.0.1:{port}/{number}") for number in range(3)]

    fetched = asyncio.run(run())
    assert [one.error for one in fetched] == ["connect", "connect", "host_down"]
    assert [one.attempts for one in fetched] == [3, 1, 1]


# Turns


def peaks(active: Counter, peak: Counter, name: str):
    active[name] += 1
    peak[name] = max(peak[name], active[name])


@pytest.mark.parametrize("per_host", [1, 3])
def test_requests_at_once_to_one_host_are_bounded_through_a_proxy_too(per_host):
    active, peak, ports = Counter(), Counter(), tuple(range(8000, 8040))

    async def answer(request):
        names = [request.host.partition(":")[0], "all"]
        for name in names:
            peaks(active, peak, name)
        await asyncio.sleep(0.01)
        active.subtract(names)
        return web.Response()

    async def run():
        async with site(answer) as url, Client(through(url, per_host=per_host, ports=ports)) as client:
            requests = [Request(f"http://h{number % 2}.example:{8000 + number}/") for number in range(40)]
            return [fetched.error async for _, fetched in client.get_all(requests)]

    assert asyncio.run(run()) == [None] * 40
    assert peak == {"h0.example": per_host, "h1.example": per_host, "all": 2 * per_host}


def test_requests_at_once_are_bounded():
    active, peak = Counter(), Counter()

    async def answer(_request):
        peaks(active, peak, "all")
        await asyncio.sleep(0.01)
        active["all"] -= 1
        return web.Response()

    async def run():
        async with site(answer) as url, Client(through(url, concurrency=5)) as client:
            requests = [Request(f"http://h{number}.example/") for number in range(40)]
            return [fetched.error async for _, fetched in client.get_all(requests)]

    assert asyncio.run(run()) == [None] * 40
    assert peak["all"] == 5


def test_a_slow_host_stalls_no_other_not_even_by_redirects():
    """Forty URLs lead to a host that does not answer; it holds two places of four, never more."""

    async def run():
        release = asyncio.Event()

        async def answer(request):
            if request.host == "slow.example":
                await release.wait()
            if request.path == "/to-slow":
                return web.Response(status=302, headers={"Location": "http://slow.example/end"})
            return web.Response()

        slow = [Request(f"http://slow.example/{number}", key="slow") for number in range(20)]
        slow += [Request(f"http://r{number}.example/to-slow", key="slow") for number in range(20)]
        fast = [Request(f"http://f{number % 10}.example/", key="fast") for number in range(200)]
        order = []
        async with site(answer) as url, Client(through(url, concurrency=4)) as client, asyncio.timeout(10):
            async for request, fetched in client.get_all(slow + fast):
                assert fetched.error is None
                order.append(request.key)
                if order.count("fast") == len(fast):
                    release.set()
        return order

    assert asyncio.run(run()) == ["fast"] * 200 + ["slow"] * 40


def test_hosts_that_wait_hold_up_no_other_however_many_they_are(monkeypatch):
    monkeypatch.setattr(_http, "KEPT_CONNECTIONS", 4)

    async def answer(request):
        again = request.host.startswith("busy") and request.path == "/0"
        return web.Response(status=429, headers={"Retry-After": "30"}) if again else web.Response()

    async def run():
        slow = [Request(f"http://{kind}{host}.example/{number}") for kind in ("busy", "slow", "down")
                for host in range(9) for number in range(4)]  # fmt: skip
        fast = [Request(f"http://f{host}.example/", key="fast") for host in range(20)]
        async with site(answer) as url, Client(through(url, concurrency=2, retries=1)) as client, asyncio.timeout(10):
            for host in range(9):
                client.hosts[f"slow{host}.example"].slow_down(30)
            found = Counter()
            async with aclosing(client.get_all(slow + fast)) as answers:
                async for request, _ in answers:
                    found[request.key] += 1
                    if found["fast"] == len(fast):
                        return

    asyncio.run(run())


def test_bytes_a_second_are_bounded_over_all_connections_and_no_time_runs_out():
    began = []

    async def answer(_request):
        began.append(asyncio.get_running_loop().time())
        return web.Response(body=bytes(20_000))

    async def run():
        opts = through("", max_bytes_per_s=200_000, total_timeout_s=0.3, per_host=1)
        async with site(answer) as url, Client(options(**{**opts.__dict__, "proxy": url})) as client:
            requests = [Request(f"http://h{number % 4}.example/") for number in range(12)]
            return [fetched.error async for _, fetched in client.get_all(requests)]

    assert asyncio.run(run()) == [None] * 12
    assert began[-1] - began[0] > 8 * 20_000 / 200_000 - 0.1  # when four are under way, eight were read


def test_clients_of_one_loop_may_be_polite_together():
    async def run():
        async with Client(LOOPBACK) as one, Client(options(per_host=1), one) as other:
            one.hosts["a.example"].slow_down(3)
            return other.host_of("http://a.example/x").delay_s, other.pace is one.pace

    assert asyncio.run(run()) == (3, True)


def test_answers_that_nobody_takes_are_bounded_and_block_no_single_get():
    begun = Counter()

    async def answer(request):
        begun[request.path] += 1
        return web.Response(body=b"x" * 1000)

    async def run():
        async with site(answer) as url, Client(through(url, concurrency=4, per_host=1)) as client:
            requests = [Request(f"http://h{number % 10}.example/batch") for number in range(50)]
            async with asyncio.timeout(10), aclosing(client.get_all(requests)) as answers:
                await anext(answers)
                for number in range(30):
                    assert (await client.get(f"http://h{number % 10}.example/single")).error is None

    asyncio.run(run())
    assert begun["/single"] == 30
    assert begun["/batch"] <= 4


def test_get_all_answers_every_request_once_whatever_it_is():
    urls = ["http://a.example/", "http://a.example/", "nonsense", "file:///etc/passwd", "http://10.0.0.1/", ""]

    async def run():
        async with site(redirects({})) as url, Client(through(url)) as client:
            requests = [Request(url, key=number) for number, url in enumerate(urls)]
            return sorted([(request.key, fetched.error) async for request, fetched in client.get_all(requests)])

    errors = [None, None, "bad_url", "unsupported_scheme", "refused_address", "bad_url"]
    assert asyncio.run(run()) == list(enumerate(errors))


def test_a_cancelled_get_gives_its_turn_and_place_back():
    async def run():
        asked, release = asyncio.Event(), asyncio.Event()

        async def answer(request):
            if request.path == "/stuck":
                asked.set()
                await release.wait()
            return web.Response()

        async with site(answer) as url, Client(options(concurrency=1, per_host=1)) as client:
            for _ in range(3):
                asked.clear()
                stuck = asyncio.create_task(client.get(f"{url}/stuck"))
                waiting = asyncio.create_task(client.get(f"{url}/stuck"))
                await asked.wait()
                waiting.cancel()
                stuck.cancel()
                await asyncio.gather(stuck, waiting, return_exceptions=True)
            async with asyncio.timeout(5):
                fetched = await client.get(f"{url}/free")
            release.set()
            return fetched

    assert asyncio.run(run()).error is None


# Time and size


def test_a_slow_drip_is_cut():
    async def drip(_reader, writer, _head):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    fetched = ask_raw(drip, options(total_timeout_s=0.3, retries=2))
    assert (fetched.error, fetched.status, fetched.body, fetched.attempts) == ("timeout", 200, b"", 1)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_long_body_is_cut_where_that_is_asked_for(compressed):
    text = b"User-agent: *\nDisallow: /\n" + b"# filler\n" * 200_000

    async def answer(request):
        body = gzip.compress(text) if compressed else text
        return web.Response(body=body, headers={"Content-Encoding": "gzip"} if compressed else {})

    async def run():
        async with (
            site(answer) as url,
            Client(LOOPBACK) as client,
            aclosing(client.get_all([Request(url, 1000, cut=True)])) as answers,
        ):
            return [found async for _, found in answers]

    (fetched,) = asyncio.run(run())
    assert (fetched.error, fetched.body) == (None, text[:1000])


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_pauses_is_waited_for(chunked):
    async def pause(_reader, writer, _head):
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 2"
        writer.write(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        for part in (b"1\r\na\r\n", b"1\r\nb\r\n0\r\n\r\n") if chunked else (b"a", b"b"):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(1.2 * _answer._LOOK_AFTER_S)
        writer.close()

    fetched = ask_raw(pause, options(total_timeout_s=5))
    assert (fetched.error, fetched.body) == (None, b"ab")


def test_time_is_bounded_over_all_hops():
    async def answer(request):
        await asyncio.sleep(0.2)
        return web.Response(status=302, headers={"Location": request.path + "x"})

    fetched = ask(answer, options(total_timeout_s=0.5, max_redirects=100))
    assert fetched.error == "timeout"
    assert len(fetched.hops) <= 2


def test_a_server_that_never_answers():
    async def silent(reader, _writer, _head):
        await reader.read()

    fetched = ask_raw(silent, options(total_timeout_s=0.2))
    assert (fetched.error, fetched.status, fetched.hops) == ("timeout", 0, ())


def test_an_endless_body_is_cut():
    cut = []

    async def endless(_reader, writer, _head):
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
                await writer.drain()
        except OSError:
            cut.append(True)

    async def run():
        async with raw_site(endless) as url, Client(LOOPBACK) as client, asyncio.timeout(5):
            fetched = await client.get(url)
            while not cut:
                await asyncio.sleep(0.01)
            return fetched

    fetched = asyncio.run(run())
    assert (fetched.error, fetched.body) == ("too_large", b"")


def test_an_announced_size_is_refused_before_it_is_sent():
    async def announces(reader, writer, _head):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n")
        await reader.read()  # until the client hangs up

    fetched = ask_raw(announces)
    assert (fetched.error, fetched.detail) == ("too_large", "Content-Length 100001, over 100000")


def test_a_size_bound_of_one_request():
    async def answer(_request):
        return web.Response(body=b"x" * 11)

    assert ask(answer, max_bytes=10).error == "too_large"
    assert ask(answer, max_bytes=11).body == b"x" * 11


@pytest.mark.parametrize(
    ("coding", "body", "error"),
    [
        ("gzip", gzip.compress(b"hello", mtime=0), None),
        ("X-GZIP", gzip.compress(b"hello", mtime=0), None),
        ("deflate", zlib.compress(b"hello"), None),
        ("identity", b"hello", None),
        ("gzip", gzip.compress(bytes(100_001), mtime=0), "too_large"),
        ("gzip", gzip.compress(b"hello", mtime=0)[:-4], "truncated"),
        ("gzip", gzip.compress(b"hello", mtime=0) + b"more", "bad_response"),
        ("gzip", b"hello", "bad_response"),
        ("br", b"hello", "bad_response"),
        ("gzip, gzip", gzip.compress(gzip.compress(b"hello", mtime=0), mtime=0), "bad_response"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_compressed_bodies_are_decoded_within_the_bound(coding, body, error):
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    fetched = ask_raw(says(head, body))
    assert (fetched.error, fetched.body) == (error, b"" if error else b"hello")


def test_a_compressed_bomb_takes_no_more_memory_than_the_bound():
    bomb = gzip.compress(bytes(50_000_000))
    tracemalloc.start()
    try:
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
        assert ask_raw(says(head, bomb)).error == "too_large"
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


# Broken servers


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", b"short"), "truncated"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nhel"), "truncated"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n"), "truncated"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"zz\r\nhello\r\n"), "bad_response"),
        ((b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(9999)) + b"\r\n",), "bad_response"),
        ((b"HTTP/1.1 200 OK\r\nX: ", *[b"y" * 65536] * 8), "bad_response"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",), "bad_response"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",), "bad_response"),
        ((b"HTTP/1.1 999999 OK\r\n\r\n",), "bad_response"),
        ((b"220 mail.example ESMTP\r\n",), "bad_response"),
        ((b"\x15\x03\x01\x00\x02\x02\x0a",), "bad_response"),
        ((b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",), "http_101"),
        ((b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",), "bad_response"),
        ((b"HTTP/1.1 302 Found\r\nLocation: http://[/\r\nContent-Length: 0\r\n\r\n",), "bad_url"),
        ((), "connect"),
    ],
)
def test_a_broken_answer_has_a_code(parts, error):
    fetched = ask_raw(says(*parts))
    assert (fetched.error, fetched.body) == (error, b"")


def test_a_chunk_that_is_malformed_after_the_first_packet():
    headers_seen = asyncio.Event()

    async def serve(reader, writer, _head):
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await headers_seen.wait()
        writer.write(b"zz\r\nhello\r\n")
        await reader.read()

    async def run():
        async with raw_site(serve) as url, Client(LOOPBACK) as client:
            return await client.get(url, stop=lambda _hop: bool(headers_seen.set()))

    fetched = asyncio.run(run())
    assert (fetched.error, fetched.detail, fetched.body) == ("bad_response", "malformed chunk", b"")


def test_a_reset_connection_is_asked_again():
    count = Counter()

    async def resets_at_first(_reader, writer, _head):
        count["requests"] += 1
        if count["requests"] <= 3:  # aiohttp asks twice of its own accord
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    fetched = ask_raw(resets_at_first, options(retries=1))
    assert (fetched.error, fetched.body, fetched.attempts) == (None, b"ok", 2)


def test_a_connection_that_expired_is_no_failure():
    """The server closes each connection after one answer, without saying so."""
    ok = says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def run():
        async with raw_site(ok) as url, Client(LOOPBACK) as client:
            return [(await client.get(url)).error for _ in range(10)]

    assert asyncio.run(run()) == [None] * 10


@pytest.mark.parametrize("url", ["http://a..b/", f"http://{'a' * 64}.example/"])
def test_a_name_that_no_lookup_can_carry(url):
    async def run():
        async with Client(LOOPBACK) as client:
            return await client.get(url)

    assert asyncio.run(run()).error == "dns"


def test_no_answer_raises():
    """Whatever bytes a server sends, there is an error or a complete 2xx response."""
    ok = b"HTTP/1.1 200 OK\r\n"
    chunked = ok + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    heads = st.sampled_from([b"", ok, ok + b"\r\n", chunked, b"HTTP/1.1 302 Found\r\nLocation: "])
    said = []

    async def serve(_reader, writer, _head):
        writer.write(said[-1])

    with asyncio.Runner() as runner:
        server = raw_site(serve)
        url = runner.run(server.__aenter__())
        client = runner.run(Client(options(max_failures=10**9, max_delay_s=0, max_wait_s=10**9)).__aenter__())

        @settings(max_examples=150)
        @given(heads, st.binary(max_size=200))
        def check(head, rest):
            said.append(head + rest)
            fetched = runner.run(client.get(url))
            assert (fetched.error is None) == (fetched.status in {*range(200, 206), *range(207, 300)}) or fetched.error

        check()
        runner.run(client.__aexit__())
        runner.run(server.__aexit__(None, None, None))


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_leave_every_hop_as_evidence(status):
    table = {"/a/b": "../c?x=1", "/c": "//127.0.0.1:PORT/d#top"}

    async def run():
        async with site(redirects(table, status, {"X-Robots-Tag": "noai"})) as url, Client(LOOPBACK) as client:
            table["/c"] = table["/c"].replace("PORT", url.rpartition(":")[2])
            return url, await client.get(f"{url}/a/b")

    url, fetched = asyncio.run(run())
    assert [(hop.url, hop.status) for hop in fetched.hops] == [
        (f"{url}/a/b", status), (f"{url}/c?x=1", status), (f"{url}/d", 200),
    ]  # fmt: skip
    assert [hop.values("x-robots-tag") for hop in fetched.hops] == [["noai"], ["noai"], []]
    assert (fetched.final_url, fetched.body, fetched.error) == (f"{url}/d", b"ok", None)


@pytest.mark.parametrize(
    ("table", "error", "hops"),
    [
        ({"/": "/"}, "redirect_loop", 1),
        ({"/": "/a", "/a": "/#again"}, "redirect_loop", 2),
        ({"/": "/1", **{f"/{n}": f"/{n + 1}" for n in range(1, 6)}}, "too_many_redirects", 6),
        ({"/": "file:///etc/passwd"}, "unsupported_scheme", 1),
        ({"/": "data:image/png;base64,AAAA"}, "unsupported_scheme", 1),
        ({"/": "javascript:alert(1)"}, "unsupported_scheme", 1),
        ({"/": "ftp://127.0.0.1/"}, "unsupported_scheme", 1),
        ({"/": "http://"}, "bad_url", 1),
    ],
)
def test_redirects_that_lead_nowhere(table, error, hops):
    fetched = ask(redirects(table))
    assert (fetched.error, len(fetched.hops), fetched.body) == (error, hops, b"")


def test_five_redirects_are_followed():
    assert ask(redirects({"/": "/1", **{f"/{n}": f"/{n + 1}" for n in range(1, 5)}})).body == b"ok"


def test_a_version_is_named_to_the_url_it_is_of_and_no_other():
    named = {}

    async def answer(request):
        named[request.path] = [request.headers.get(name) for name in ("If-None-Match", "If-Modified-Since")]
        return (
            web.Response(status=302, headers={"Location": "/b"}) if request.path == "/a" else web.Response(status=304)
        )

    async def run():
        async with site(answer) as url, Client(LOOPBACK) as client:
            known = Validators(f"{url}/b", 'W/"1"', "Mon, 01 Jan 2024 00:00:00 GMT")
            return [fetched async for _, fetched in client.get_all([Request(f"{url}/a", known=known)])]

    (fetched,) = asyncio.run(run())
    assert (fetched.error, fetched.attempts) == ("http_304", 1)
    assert named == {"/a": [None, None], "/b": ['W/"1"', "Mon, 01 Jan 2024 00:00:00 GMT"]}


def test_a_retry_begins_the_chain_again():
    statuses = iter([302, 500, 302, 200])

    async def answer(_request):
        return web.Response(status=next(statuses), headers={"Location": "/next"})

    fetched = ask(answer, options(retries=1))
    assert ([hop.status for hop in fetched.hops], fetched.attempts) == ([302, 200], 2)


# Addresses


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://2852039166/",
        "http://0xa9.0xfe.0xa9.0xfe/",
        "http://0251.0376.0251.0376/",
        "http://127.1/",
        "http://①②⑦.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "//10.0.0.1/",
        "http://localhost/",
        "http://api.LOCALHOST./",
    ],
)
def test_a_redirect_to_a_private_address_is_not_followed(location):
    hosts = []

    async def answer(request):
        hosts.append(request.host)
        return web.Response(status=302, headers={"Location": location})

    async def run():
        async with site(answer) as url, Client(through(url, retries=2)) as client:
            return await client.get("http://public.example/")

    fetched = asyncio.run(run())
    assert (fetched.error, fetched.attempts, len(fetched.hops)) == ("refused_address", 1, 1)
    assert hosts == ["public.example"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "2130706433"])
def test_a_private_address_is_refused_when_it_is_connected_to(host):
    """``localhost`` is a name like any other here: only its address tells."""
    connections = Counter()

    async def run():
        server = await asyncio.start_server(lambda *_: connections.update("c"), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with Client(options(allow_private=False, ports=(port,), retries=2)) as client:
            fetched = await client.get(f"http://{host}:{port}/")
        server.close()
        return fetched

    fetched = asyncio.run(run())
    assert (fetched.error, fetched.hops, not connections) == ("refused_address", (), True)
    assert "loopback" in fetched.detail


@given(st.text() | st.text("htps:/@[].#?%\\01x ", max_size=40).map("http://".__add__))
def test_any_text_is_a_target_or_a_reason(url):
    try:
        assert isinstance(target(url), Target)
    except Failure as failure:
        assert failure.code in ("bad_url", "unsupported_scheme", "credentials", "refused_address", "refused_port")


# Ports and credentials


@asynccontextmanager
async def counting_site(connections: Counter):
    """A server that counts who connects, whatever they say. Gives its port."""

    async def connected(_reader, writer):
        connections.update(["made"])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def redirected_to(location: str, both: bool, hops: int = 1):
    """Ask a site that redirects to ``location``, in which ``PORT`` is another's; whether that one's may be asked.

    Returns what asking gave, the ports of the two, and the connections that the other saw.
    """
    connections = Counter()

    async def run():
        async with counting_site(connections) as other:
            table = {f"/{number}": f"/{number + 1}" for number in range(hops - 1)}
            table[f"/{hops - 1}"] = location.replace("PORT", str(other))
            async with site(redirects(table)) as url:
                own = int(url.rpartition(":")[2])
                async with Client(options(ports=(own, other) if both else (own,), retries=2)) as client:
                    return await client.get(f"{url}/0"), own, other

    return *asyncio.run(run()), connections


@pytest.mark.parametrize("hops", [1, 3])
def test_a_redirect_to_another_port_is_refused_before_anything_is_connected_to(hops):
    fetched, own, other, connections = redirected_to("http://127.0.0.1:PORT/", both=False, hops=hops)
    assert (fetched.error, fetched.attempts, len(fetched.hops)) == ("refused_port", 1, hops)
    assert fetched.detail == f"port {other} is not one of fetch.ports ({own})"
    assert not connections


@pytest.mark.parametrize("hops", [1, 3])
def test_a_redirect_to_a_port_that_may_be_asked_is_followed(hops):
    fetched, *_, connections = redirected_to("http://127.0.0.1:PORT/", both=True, hops=hops)
    assert (fetched.error, fetched.body, connections["made"]) == (None, b"ok", 1)


@pytest.mark.parametrize("user", ["ada:secret@", "ada@", ":secret@"])
def test_a_redirect_with_credentials_is_refused_before_anything_is_connected_to(user):
    fetched, *_, connections = redirected_to(f"http://{user}127.0.0.1:PORT/", both=True)
    assert (fetched.error, fetched.attempts, len(fetched.hops)) == ("credentials", 1, 1)
    assert "secret" not in fetched.detail + fetched.final_url and not connections


def test_a_redirect_to_an_empty_user_is_one_to_none():
    fetched, *_, connections = redirected_to("http://:@127.0.0.1:PORT/@#user:pw@", both=True)
    assert (fetched.error, connections["made"]) == (None, 1)
    assert fetched.final_url.endswith("/@")


@pytest.mark.parametrize(("ports", "error"), [(None, None), ((80,), "refused_port")])
def test_servers_of_trials_may_listen_anywhere_unless_ports_are_named(ports, error):
    connections = Counter()

    async def run():
        async with counting_site(connections) as port, Client(options(ports=ports, retries=2)) as client:
            requests = [Request(f"http://127.0.0.1:{port}/{number}") for number in range(2)]
            return [fetched async for _, fetched in client.get_all(requests)]

    answers = asyncio.run(run())
    assert {fetched.error for fetched in answers} == {error}
    assert bool(connections) == (error is None)


def test_the_port_of_a_proxy_is_for_whoever_set_it_and_so_are_its_credentials():
    async def run():
        async with site(redirects({})) as url:
            proxy = url.replace("http://", "http://ada:secret@")
            async with Client(through(proxy)) as client:
                return [await client.get(f"http://a.example{port}/") for port in ("", ":8080", ":22")]

    assert [fetched.error for fetched in asyncio.run(run())] == [None, None, "refused_port"]


def test_the_password_of_a_proxy_that_is_none_is_not_repeated():
    with pytest.raises(ConfigError, match=r"proxy\.example") as error:
        Client(options(proxy="ftp://ada:secret@proxy.example"))
    assert "secret" not in str(error.value)


# Opt-outs end the exchange


def test_stop_ends_at_a_redirects_header():
    asked = []

    async def answer(request):
        asked.append(request.path)
        tag = "noai" if request.path == "/hop" else "all"
        return web.Response(status=302, headers={"Location": "/hop" if tag == "all" else "/image", "X-Robots-Tag": tag})

    fetched = ask(answer, stop=lambda hop: "noai" in hop.values("x-robots-tag"))
    assert (fetched.error, [hop.status for hop in fetched.hops]) == ("stopped", [302, 302])
    assert asked == ["/", "/hop"]


def test_stop_leaves_the_body_unread():
    hung_up = []

    async def serve(reader, writer, _head):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\nTDM-Reservation: 1\r\n\r\n")
        hung_up.append(await reader.read())  # returns when the client closes, before any byte of the body

    async def run():
        async with raw_site(serve) as url, Client(LOOPBACK) as client, asyncio.timeout(5):
            fetched = await client.get(url, stop=lambda hop: hop.values("tdm-reservation") == ["1"])
            while not hung_up:
                await asyncio.sleep(0.01)
            return fetched

    fetched = asyncio.run(run())
    assert (fetched.error, fetched.body, fetched.status) == ("stopped", b"", 200)


def test_stop_sees_every_response_and_a_stop_is_final():
    seen = []

    async def answer(request):
        return web.Response(status=503 if request.path == "/end" else 302, headers={"Location": "/end"})

    def stop(hop):
        seen.append(hop.status)
        return hop.status == 503

    fetched = ask(answer, options(retries=2), stop=stop)
    assert (fetched.error, fetched.attempts, seen) == ("stopped", 1, [302, 503])


def test_what_stop_raises_comes_through():
    def stop(_hop):
        raise KeyError("a mistake of the caller")

    async def all_of_them():
        async with site(redirects({})) as url, Client(LOOPBACK) as client:
            return [answer async for answer in client.get_all([Request(url, stop=stop), Request(url)])]

    with pytest.raises(KeyError):
        ask(redirects({}), stop=stop)
    with pytest.raises(KeyError):
        asyncio.run(all_of_them())


# Proxy and TLS


def test_a_proxy_is_asked_for_the_whole_url(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # the environment's is not used
    seen = []

    async def answer(request):
        seen.append((request.method, str(request.url), request.headers["Host"]))
        return web.Response(body=b"ok")

    async def run():
        async with site(answer) as url, Client(through(url)) as client:
            return await client.get("http://images.example/a?b=1")

    assert asyncio.run(run()).body == b"ok"
    assert seen == [("GET", "http://images.example/a?b=1", "images.example")]


@pytest.mark.parametrize(("status", "asked"), [(403, 1), (502, 3)])
def test_a_proxy_that_refuses_connect(status, asked):
    methods = []

    async def serve(_reader, writer, head):
        methods.append(head.split()[0])
        writer.write(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)

    async def run():
        async with raw_site(serve) as url, Client(through(url, retries=2)) as client:
            return await client.get("https://images.example/")

    fetched = asyncio.run(run())
    assert (fetched.error, fetched.detail) == ("connect", f"the proxy answered {status} to CONNECT")
    assert (fetched.attempts, methods) == (asked, [b"CONNECT"] * asked)


def test_a_proxy_that_is_not_there():
    async def run():
        async with Client(through("http://127.0.0.1:1")) as client:
            return await client.get("http://images.example/"), await client.get("https://images.example/")

    assert [fetched.error for fetched in asyncio.run(run())] == ["connect", "connect"]


@pytest.mark.parametrize("proxy", ["nonsense", "socks5://127.0.0.1:1080", "127.0.0.1:8080"])
def test_a_proxy_that_is_no_url(proxy):
    with pytest.raises(ConfigError, match=r"expected http://host:port"):
        Client(options(proxy=proxy))


@pytest.fixture
def server_tls(tmp_path, monkeypatch):
    """A server's TLS context with a throw-away certificate for 127.0.0.1 and images.example, which is trusted."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("images.example")]
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "ca.pem").write_bytes(pem)
    (tmp_path / "both.pem").write_bytes(pem + private)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "both.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    tls_context.cache_clear()
    yield context
    tls_context.cache_clear()


async def keeps_answering(_reader, writer, _head):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    return "again"


def test_https_with_one_context_and_one_handshake(server_tls):
    async def run():
        async with raw_site(keeps_answering, server_tls) as url:
            for _ in range(2):
                async with Client(LOOPBACK) as client:
                    assert [(await client.get(url)).body for _ in range(5)] == [b"ok"] * 5

    asyncio.run(run())
    assert server_tls.session_stats()["accept_good"] == 2  # one a client
    assert tls_context.cache_info().misses == 1


def test_https_through_a_proxy(server_tls):
    async def run():
        async with raw_site(keeps_answering, server_tls) as origin:

            async def tunnel(reader, writer, head):
                assert head.startswith(b"CONNECT images.example:443 ")
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(origin.rpartition(":")[2]))
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
                await asyncio.gather(pipe(reader, far_writer), pipe(far_reader, writer))

            async with raw_site(tunnel) as url, Client(through(url)) as client:
                return [await client.get("https://images.example/") for _ in range(2)]

    assert [fetched.body for fetched in asyncio.run(run())] == [b"ok", b"ok"]


async def pipe(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


def test_a_certificate_that_is_not_trusted(server_tls, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    tls_context.cache_clear()

    async def run():
        async with raw_site(keeps_answering, server_tls) as url, Client(options(retries=2)) as client:
            return await client.get(url)

    fetched = asyncio.run(run())
    assert (fetched.error, fetched.attempts) == ("tls", 1)


def test_https_on_a_port_that_speaks_http():
    fetched = asyncio.run(_https_of_http())
    assert fetched.error == "tls"


async def _https_of_http():
    async with site(redirects({})) as url, Client(LOOPBACK) as client:
        return await client.get(url.replace("http:", "https:"))
