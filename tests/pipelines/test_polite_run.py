"""How polite a run is, by the log of those it asks: connections, delays, pauses, and what is left for later."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from click.testing import CliRunner
from crawl_world import World, make
from logged_web import LoggedWeb, logged_web
from small_world import picture

from fairshard.pipelines import _run
from fairshard.pipelines._work import STAGES, Work
from fairshard.pipelines.cli import main

# The half that needs no file but robots.txt: what another file might have said does not count.
ROBOTS_ALONE = {"extends": "strict", "binding": ["registry", "robots_txt"]}


@pytest.fixture
def world(tmp_path) -> World:
    return make(tmp_path)


def hosts(robots: dict[str, str], **special: web.Response):
    """Hosts by their robots.txt, with pictures at ``/NUMBER.jpg``; ``special`` answers by the name of a path."""

    async def answer(request: web.BaseRequest) -> web.Response:
        if request.path == "/robots.txt" and request.url.host in robots:
            return web.Response(text=robots[request.url.host])
        name = request.path.strip("/").removesuffix(".jpg")
        if name in special:
            made = special[name]
            return web.Response(status=made.status, headers=made.headers)
        return web.Response(body=picture(int(name))) if name.isdigit() else web.Response(status=404)

    return answer


def run(world: World, web: LoggedWeb, pairs: list[str], policy: dict | None = None, **fetch) -> dict:
    web.log.clear()
    job = world.job(web.proxy_url, pairs, policy or {}, fetch=fetch)
    return _run.run(job, STAGES[: STAGES.index("screen") + 1])


def left(found: dict) -> dict:
    return next(stage for stage in found["stages"] if stage["stage"] == "fetch").get("left", {})


def pictures(host: str, count: int) -> list[str]:
    return [f"http://{host}/{number}.jpg" for number in range(count)]


def test_no_host_sees_more_connections_than_configured_and_its_rules_are_asked_for_once(world):
    pairs = [*pictures("a.example", 12), *pictures("b.example", 5)]
    with logged_web(hosts({"a.example": ""})) as web:
        run(world, web, pairs, per_host=2)
        assert set(world.fates().values()) == {"alive"}
        asked = Counter(urlsplit(f"//{one.host}{one.path}").geturl() for one in web.log)
        assert set(asked.values()) == {1} and len(asked) == len(pairs) + 2 * 3
        assert max(one.at_once for one in web.log) <= 2
        for host in ("a.example", "b.example"):
            of_host = [one.connection for one in web.of(host) if one.path.endswith(".jpg")]
            assert len(set(of_host)) <= 2 < len(of_host)


@pytest.mark.parametrize("robots", ["", "User-agent: *\nCrawl-delay: 0.1\n"])
def test_requests_to_a_host_keep_their_distance_over_all_stages(world, robots):
    with logged_web(hosts({"slow.example": robots})) as web:
        pairs = [*pictures("slow.example", 4), *pictures("b.example", 4)]
        run(world, web, pairs, min_delay_s=0 if robots else 0.1)
        log = web.of("slow.example")
    assert len(log) == 3 + 4
    assert min(later.began - one.ended for one, later in pairwise(log)) >= 0.1
    assert set(world.fates().values()) == {"alive"}


def test_the_bound_on_bytes_is_shared_out_among_those_who_run_at_once(world):
    work = Work(world.job(None, pictures("a.example", 1), {}, workers=4, fetch={"max_bytes_per_s": 1000}))
    assert [work.http_shared(tasks)["max_bytes_per_s"] for tasks in (1, 2, 16)] == [1000, 500, 250]
    work.close()


def test_our_group_says_how_slowly(world):
    robots = "User-agent: otherbot\nDisallow: /x\nCrawl-delay: 900\n\nUser-agent: *\nDisallow: /x\n"
    with logged_web(hosts({"a.example": robots})) as web:
        run(world, web, pictures("a.example", 3))
    assert set(world.fates().values()) == {"alive"}


def test_a_host_that_is_too_slow_is_left_until_there_is_time(world):
    robots = {"a.example": "User-agent: fairshard\nCrawl-delay: 0.05\n"}
    pairs = [*pictures("a.example", 2), *pictures("b.example", 1)]
    with logged_web(hosts(robots)) as web:
        found = run(world, web, pairs, ROBOTS_ALONE, max_delay_s=0.01)
        assert [one.path for one in web.of("a.example")] == ["/robots.txt"]
        assert list(world.fates().values()) == ["left:crawl_delay"] * 2 + ["alive"]
        assert left(found) == {"crawl_delay": 2}
        (why, *_) = [row["evidence"] for row in world.store.read("dropped").to_pylist()]
        assert why == "robots.txt asks for 0.05 s between requests"
        found = run(world, web, pairs, ROBOTS_ALONE, max_delay_s=0.01)
        assert (web.log, left(found)) == ([], {"crawl_delay": 2})
        found = run(world, web, pairs, ROBOTS_ALONE, max_delay_s=1)
        assert (set(world.fates().values()), left(found)) == ({"alive"}, {})
        assert len(web.of("a.example")) == 2 + 2 and not web.of("b.example")


def test_of_a_host_that_is_too_slow_the_terms_are_not_known(world):
    with logged_web(hosts({"a.example": "User-agent: *\nCrawl-delay: 3600\n"})) as web:
        found = run(world, web, pictures("a.example", 2))
        assert [one.path for one in web.log] == ["/robots.txt"]
        assert [stage.get("left") for stage in found["stages"]] == [None, {"crawl_delay": 2}, None, None]
        result = CliRunner().invoke(main, ["-q", "run", str(world.folder / "job.yaml"), "--until", "consult"])
        assert result.exit_code == 4 and "left for a later run of consult: crawl_delay 2" in result.stdout
    assert set(world.fates().values()) == {"hold:ai_txt"}
    (why,) = {row["evidence"] for row in world.store.read("dropped").to_pylist()}
    assert why.endswith("ai.txt was not asked for: robots.txt asks for 3600 s between requests")


def marks(world: World) -> list:
    return sorted((world.folder / "work" / "_done" / "fetch").glob("*.json"))


def later(world: World, *, pause_is_over: bool) -> None:
    """Have the markers of `fetch` look as they would a while later."""
    for path in marks(world):
        mark = json.loads(path.read_text())
        mark["expires_at"] = "2020-01-01T00:00:00+00:00"
        if pause_is_over:
            mark["extra"]["paused"] = dict.fromkeys(mark["extra"].get("paused", {}), "2020-01-01T00:00:00+00:00")
        path.write_text(json.dumps(mark))


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_of_an_hour_is_kept_by_later_runs_and_holds_up_nobody_else(world, status):
    busy = web.Response(status=status, headers={"Retry-After": "3600"})
    pairs = [*pictures("a.example", 1), "http://a.example/busy.jpg", *pictures("b.example", 3)]
    with logged_web(hosts({}, busy=busy)) as played:
        job = world.job(played.proxy_url, pairs, {}, fetch={"per_host": 1})
        result = CliRunner().invoke(main, ["-q", "run", str(world.folder / "job.yaml"), "--until", "screen"])
        assert result.exit_code == 4, result.output
        assert "left for a later run of fetch: pause " in result.stdout
        assert played.paths() == ["/0.jpg", "/busy.jpg"]
        fates = world.fates()
        assert fates["http://a.example/busy.jpg"] == "left:pause"
        assert {fates[url] for url in pairs if "b.example" in url} == {"alive"}

        played.answer = hosts({})  # it would answer, but has asked for an hour
        played.log.clear()
        assert left(_run.run(job, STAGES[:4])) and played.log == []
        later(world, pause_is_over=False)
        assert left(_run.run(job, STAGES[:4])) and played.log == []
        later(world, pause_is_over=True)
        played.answer = hosts({}, busy=web.Response(status=404))
        assert left(_run.run(job, STAGES[:4])) == {}
        assert played.paths() == ["/busy.jpg"]


def test_one_run_waits_so_long_for_a_host_and_the_next_goes_on(world):
    pairs = pictures("a.example", 6)
    log, counts = [], [{"wait": len(pairs)}]
    with logged_web(hosts({"a.example": "User-agent: *\nCrawl-delay: 0.05\n"})) as web:
        while counts[-1]:
            counts.append(left(run(world, web, pairs, max_wait_s=0.22)))
            log += web.of("a.example")
    assert len(counts) > 2
    assert sorted(one.path for one in log if one.path.endswith(".jpg")) == [urlsplit(url).path for url in pairs]
    assert min(later.began - one.ended for one, later in pairwise(log)) >= 0.05  # from run to run, too
    assert set(world.fates().values()) == {"alive"}
