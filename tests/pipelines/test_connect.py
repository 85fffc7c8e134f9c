"""What may be asked for: ports and credentials, of a URL alone and in a run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from aiohttp import web
from crawl_world import HOST_FILES, World, make
from logged_web import logged_web
from small_world import picture

from fairshard.pipelines import _run
from fairshard.pipelines._again import CLASSES
from fairshard.pipelines._answer import HttpOptions
from fairshard.pipelines._connect import WEB_PORTS, Bounds, Failure, target
from fairshard.pipelines._post import Poster
from fairshard.pipelines._work import STAGES

PUBLIC, ANYTHING = Bounds(), Bounds(allow_private=True, ports=None)


@pytest.fixture
def world(tmp_path) -> World:
    return make(tmp_path)


def refused(url: str, base: str | None = None, bounds: Bounds = PUBLIC) -> Failure:
    with pytest.raises(Failure) as raised:
        target(url, base, bounds)
    assert not raised.value.retry
    return raised.value


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example/", "https://a.example/", "http://a.example:80/", "http://a.example:443/",
        "https://a.example:80/", "http://a.example:8080/", "https://a.example:8443/", "http://a.example:/",
        "http://a.example:0080/", "HTTP://A.example:00443/", "http://8.8.8.8:8080/", "http:\\\\a.example:8080\\x:22",
        "http://a.example/:22", "http://a.example/?x=http://b.example:22/", "http://a.example/#:22",
    ],
)  # fmt: skip
def test_ports_of_web_servers_may_be_asked(url):
    assert "a.example" in target(url).href or "8.8.8.8" in target(url).href


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://a.example:22/", 22), ("https://a.example:25/", 25), ("http://a.example:6379/x.jpg", 6379),
        ("http://a.example:0/", 0), ("http://a.example:65535/", 65535), ("http://a.example:00022/", 22),
        ("http://a.example:2\t2/", 22), ("http://8.8.8.8:11211/", 11211),
        ("http://[2001:4860:4860::8888]:22/", 22),
    ],
)  # fmt: skip
def test_other_ports_may_not(url, port):
    failure = refused(url)
    assert failure.code == "refused_port"
    assert failure.detail == f"port {port} is not one of fetch.ports (80, 443, 8080, 8443)"
    assert target(url, bounds=ANYTHING).url.port == port


def test_a_port_that_is_not_stated_is_that_of_the_scheme():
    assert refused("http://a.example/", bounds=Bounds(ports=(443,))).detail == "port 80 is not one of fetch.ports (443)"
    assert refused("https://a.example/", bounds=Bounds(ports=(80,))).detail == "port 443 is not one of fetch.ports (80)"
    assert target("https://a.example/", bounds=Bounds(ports=(443,))).host == "a.example"


def test_a_location_is_judged_by_where_it_leads():
    base = "http://a.example:8080/x"
    assert target("/y", base).href == "http://a.example:8080/y"
    assert refused("//b.example:22/", base).code == "refused_port"
    assert refused("//ada@b.example/", base).code == "credentials"
    assert refused("/y", base, Bounds(ports=(80,))).code == "refused_port"


@pytest.mark.parametrize(
    "url",
    [
        "http://ada:secret@a.example/", "http://ada@a.example/", "http://:secret@a.example/",
        "https://a:b:secret@a.example", "http://ada%40b:secret@a.example/", "http:\\\\ada:secret@a.example",
        "http://ada:secret@a.example:22/#x", "http://ada@b:secret@a.example/", "http:ada:secret@a.example/",
    ],
)  # fmt: skip
def test_credentials_are_refused_and_not_repeated(url):
    for bounds in (PUBLIC, ANYTHING):
        failure = refused(url, bounds=bounds)
        assert failure.code == "credentials"
        assert failure.detail == "has a user name or password, which are nobody's to use; remove them"
        assert "secret" not in str(failure)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://ada:secret@a.example/", "unsupported_scheme"), ("http://ada:secret@a b/", "bad_url"),
        ("http://ada:sec/secret@a.example/", "bad_url"), ("http://ada:secret@a.example:99999/@", "bad_url"),
        ("ada:secret@a.example", "unsupported_scheme"),
    ],
)  # fmt: skip
def test_what_is_no_url_of_the_web_is_quoted_without_its_password(url, code):
    failure = refused(url)
    assert failure.code == code
    assert "secret" not in str(failure)


@pytest.mark.parametrize(
    "url", ["http://@a.example/@x", "http://:@a.example/", "http://a.example/u:p@b", "http://a.example#u:p@b"]
)
def test_an_at_sign_alone_is_none(url):
    assert target(url).url.host == "a.example" and "#" not in target(url).href


@pytest.mark.parametrize(
    ("allow_private", "ports", "bound"),
    [(False, None, WEB_PORTS), (True, None, None), (False, (22,), (22,)), (True, (22,), (22,))],
)
def test_any_port_goes_with_private_addresses_alone_and_unless_ports_are_named(allow_private, ports, bound):
    assert HttpOptions(allow_private=allow_private, ports=ports).bounds.ports == bound


def test_failures_of_ports_can_be_asked_for_again_once_the_config_says_otherwise():
    assert CLASSES["refused_port"] == {"refused_port"}
    assert not [name for name, codes in CLASSES.items() if "credentials" in codes]


# Endpoints, consult and fetch


def test_an_endpoint_is_asked_at_the_port_that_its_operator_named():
    async def run():
        async def answer(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with Poster(url, {}, HttpOptions(allow_private=True, ports=(80,), retries=0)) as poster:
            try:
                return await poster.post(b"")
            finally:
                server.close()

    assert asyncio.run(run()) == b"ok"
    Poster("https://api.example:9443/", {}, HttpOptions())


def run_on_loopback(world: World, ports: Callable[[int], list[int] | None], policy: dict) -> tuple[list[str], str]:
    """Run a list of one URL of a server on loopback, given what ``fetch.ports`` is by its port.

    Returns the paths that were asked for, and the URL.
    """
    asked: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        asked.append(request.path)
        return web.Response(body=picture(1), status=200 if request.path.endswith(".jpg") else 404)

    with logged_web(answer) as site:
        url = f"{site.proxy_url}/x.jpg"
        fetch = {"allow_private": True, "ports": ports(int(site.proxy_url.rpartition(":")[2]))}
        _run.run(world.job(None, [url], policy, fetch=fetch), STAGES[: STAGES.index("fetch") + 1])
    return sorted(asked), url


@pytest.mark.parametrize("ports", [lambda port: [port], lambda port: [80, port], lambda _: None])
def test_a_host_at_a_port_that_may_be_asked_is(world, ports):
    asked, url = run_on_loopback(world, ports, {})
    assert asked == sorted([*HOST_FILES, "/x.jpg"])
    assert world.fates() == {url: "alive"}


@pytest.mark.parametrize(("policy", "fate"), [({}, "hold:robots_txt"), ({"hold": "keep"}, "failed:refused_port")])
def test_a_host_at_another_port_is_held_and_never_asked(world, policy, fate):
    asked, url = run_on_loopback(world, lambda _: [80, 443], policy)
    assert asked == []
    assert world.fates() == {url: fate}
    (file,) = world.store.read("host_file").to_pylist()
    assert (file["kind"], file["error"], file["status"]) == ("robots_txt", "refused_port", 0)
    held = {(row["kind"], row["verdict"]) for row in world.store.read("signal").to_pylist()}
    assert held == {("robots_txt", "hold")}


def test_host_files_and_licences_that_lead_to_another_port_hold(world):
    """A file of the host's own that redirects there gives no answer; nobody is asked at that port."""
    seen: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        host, path = request.url.host, request.path
        seen.append(f"{host}:{request.url.port}{path}")
        if (host, path) in {("robots.example", "/robots.txt"), ("ai.example", "/ai.txt")}:
            return web.Response(status=302, headers={"Location": f"http://mail.example:25{path}"})
        if (host, path) == ("licence.example", "/robots.txt"):
            return web.Response(text="License: http://mail.example:25/l.xml\n")
        return web.Response(body=picture(1), status=200 if path.endswith(".jpg") else 404)

    names = ("robots", "ai", "licence", "open")
    with logged_web(answer) as played:
        urls = [f"http://{name}.example/x.jpg" for name in names]
        _run.run(world.job(played.proxy_url, urls, {}), STAGES[: STAGES.index("fetch") + 1])
    wanted = ("hold:robots_txt", "hold:ai_txt", "hold:rsl", "alive")
    assert world.fates() == dict(zip(urls, wanted, strict=True))
    assert not [one for one in seen if "mail.example" in one], json.dumps(seen)
    errors = {row["error"] for row in world.store.read("host_file").to_pylist()} - {None, "http_404"}
    assert errors == {"refused_port"}
