"""Asking again: what failed by class, everything if that is wished for, and what opted out never otherwise."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter

import pytest
from aiohttp import web
from click.testing import CliRunner
from crawl_world import World, make
from logged_web import LoggedWeb, logged_web
from small_world import picture

from fairshard.pipelines import _again, _run, fetch
from fairshard.pipelines._work import STAGES
from fairshard.pipelines.cli import main
from fairshard.schemas.errors import ConfigError

SCREENED = STAGES[: STAGES.index("screen") + 1]
NOAI = {"X-Robots-Tag": "noai"}


@pytest.fixture
def world(tmp_path) -> World:
    return make(tmp_path)


def site(pictures: dict[str, tuple[int, dict[str, str], int]], robots: str = ""):
    """By path: the number of its picture (which is also its ETag), headers of all its answers, its status."""

    async def answer(request: web.BaseRequest) -> web.Response:
        if request.path == "/robots.txt":
            return web.Response(text=robots)
        if request.path not in pictures:
            return web.Response(status=404)
        number, headers, status = pictures[request.path]
        tag = f'"v{number}"'
        if status == 200 and request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers={**headers, "ETag": tag})
        return web.Response(status=status, body=picture(number), headers={**headers, "ETag": tag})

    return answer


def run(world: World, played: LoggedWeb, pairs: list, *, retry=(), refresh=False, **config) -> dict:
    played.log.clear()
    job = world.job(played.proxy_url, pairs, config.pop("policy", {}), **config)
    found = _run.run(job, SCREENED, retry=retry, refresh=refresh)
    return next(stage for stage in found["stages"] if stage["stage"] == "fetch")


def images(world: World) -> dict[str, dict]:
    return {row["asked_url"]: row for row in world.store.read("image").to_pylist()}


def urls(*paths: str) -> list[str]:
    return [f"http://a.example{path}" for path in paths]


def test_an_unchanged_picture_is_not_sent_again_and_comes_out_the_same(world):
    answer = site({"/0.jpg": (0, {}, 200), "/1.jpg": (1, {}, 200)})
    with logged_web(answer) as played:
        run(world, played, urls("/0.jpg", "/1.jpg"))
        first, members = images(world), world.members()
        found = run(world, played, urls("/0.jpg", "/1.jpg"), refresh=True)
        assert {one.path: one.headers.get("If-None-Match") for one in played.log if one.path.endswith("jpg")} == {
            "/0.jpg": '"v0"', "/1.jpg": '"v1"',
        }  # fmt: skip
        assert found["made_now"] and "left" not in found
        again = images(world)
        assert all(again[url]["fetched_at"] > first[url]["fetched_at"] for url in first)
        moved = {"fetched_at": None, "work_offset": None}
        assert {url: row | moved for url, row in again.items()} == {url: row | moved for url, row in first.items()}
        assert sorted(world.members()) == sorted(members)
        run(world, played, urls("/0.jpg", "/1.jpg"))
        assert played.log == []


def test_what_the_new_answers_say_counts(world):
    kept, tagged, _, changed, opened = paths = [f"/{number}.jpg" for number in range(5)]
    before = {path: (number, {}, 200) for number, path in enumerate(paths)} | {opened: (4, NOAI, 200)}
    with logged_web(site(before)) as played:
        run(world, played, urls(*paths))
        assert list(world.fates().values()) == ["alive"] * 4 + ["deny:x_robots_tag"]
        first = images(world)
        after = {kept: (0, {}, 200), tagged: (1, NOAI, 200), changed: (5, {}, 200), opened: (4, {}, 200)}
        played.answer = site(after)
        run(world, played, urls(*paths))
        assert played.log == []  # nobody asks without being told to
        run(world, played, urls(*paths), refresh=True)
        assert played.paths() == paths
    assert list(world.fates().values()) == ["alive", "deny:x_robots_tag", "failed:http_404", "alive", "alive"]
    again = images(world)
    assert [(again[url]["status"], again[url]["sha256"] == first[url]["sha256"]) for url in urls(*paths)] == [
        ("ok", True), ("opted_out", False), ("failed", False), ("ok", False), ("ok", False),
    ]  # fmt: skip
    assert len(world.members()) == 3


def test_what_hosts_say_in_files_is_asked_for_again_too(world):
    with logged_web(site({"/0.jpg": (0, {}, 200)})) as played:
        run(world, played, urls("/0.jpg"))
        played.answer = site({"/0.jpg": (0, {}, 200)}, "User-agent: *\nDisallow: /\n")
        run(world, played, urls("/0.jpg"), refresh=True)
        assert played.paths() == [] and len(played.log) == 3
    assert set(world.fates().values()) == {"deny:robots_txt"}
    assert world.members() == []


def test_a_304_that_does_not_repeat_a_header_leaves_what_it_said(world):
    """As RFC 9111 has it. The picture is there because a permission is recorded."""
    (world.folder / "letters.csv").write_text("url,action,evidence\nhttp://a.example/0.jpg,allow,letter\n")
    registries = [{"name": "letters", "path": "letters.csv", "scope": "url"}]
    with logged_web(site({"/0.jpg": (0, NOAI, 200)})) as played:
        run(world, played, urls("/0.jpg"), registries=registries)
        played.answer = site({"/0.jpg": (0, {}, 200)})
        run(world, played, urls("/0.jpg"), registries=registries, refresh=True)
        assert tags(world) == ["X-Robots-Tag of http://a.example/0.jpg"]
        played.answer = site({"/0.jpg": (0, {"X-Robots-Tag": "all"}, 200)})
        run(world, played, urls("/0.jpg"), registries=registries, refresh=True)
        assert tags(world) == []
    assert set(world.fates().values()) == {"alive"}


def tags(world: World) -> list[str]:
    return [row["source"] for row in world.store.read("signal").to_pylist() if row["kind"] == "x_robots_tag"]


def test_a_picture_is_not_lost_to_a_server_that_is_down(world):
    with logged_web(site({"/0.jpg": (0, {}, 200)})) as played:
        run(world, played, urls("/0.jpg"))
        first = images(world)
        played.answer = site({"/0.jpg": (0, {}, 503)})
        assert run(world, played, urls("/0.jpg"), refresh=True)["left"] == {"refresh": 1}
    assert images(world) == first
    assert set(world.fates().values()) == {"alive"}


def test_a_refresh_that_was_stopped_is_continued_by_the_next_run(world, monkeypatch):
    with logged_web(site({"/0.jpg": (0, {}, 200)})) as played:
        run(world, played, urls("/0.jpg"))
        with monkeypatch.context() as patch, pytest.raises(InterruptedError):
            patch.setattr(fetch, "fetch", stopped)
            run(world, played, urls("/0.jpg"), refresh=True)
        run(world, played, urls("/0.jpg"))
        assert [one.headers["If-None-Match"] for one in played.log] == ['"v0"']
        run(world, played, urls("/0.jpg"))
        assert played.log == []


def stopped(_task) -> int:
    raise InterruptedError


FAILING = {"/0.jpg": (0, {}, 404), "/1.jpg": (1, {}, 500), "/2.jpg": (2, NOAI, 200), "/3.jpg": (3, {}, 200)}


@pytest.mark.parametrize(
    ("classes", "asked"),
    [
        ((), []),
        (("timeout", "dns"), []),
        (("5xx",), ["/1.jpg"]),
        (("404",), ["/0.jpg"]),
        (("4xx", "500"), ["/0.jpg", "/1.jpg"]),
    ],
)
def test_failures_are_asked_for_again_by_class(world, classes, asked):
    pairs = urls(*FAILING)
    with logged_web(site(FAILING)) as played:
        found = run(world, played, pairs)
        assert found["failed"] == {"http_404": 1, "http_500": 1}
        played.answer = site({path: (number, {}, 200) for path, (number, _, _) in FAILING.items()})
        found = run(world, played, pairs, retry=classes)
        assert played.paths() == asked
        run(world, played, pairs)
        assert played.log == []
    fates = Counter(world.fates().values())
    assert fates["deny:x_robots_tag"] == 1 and fates["alive"] == 1 + len(asked)


def test_what_opted_out_is_asked_for_once_whatever_changes(world):
    url = "http://a.example/0.jpg"
    with logged_web(site({"/0.jpg": (0, NOAI, 200), "/1.jpg": (1, {}, 200)})) as played:
        run(world, played, [url])
        assert played.paths() == ["/0.jpg"]
        for pairs, config in (
            ([url], {"fetch": {"image_size": 32, "timeout_s": 3}}),
            ([(url, "another caption"), "http://a.example/1.jpg"], {}),
            ([(url, "a third")], {"policy": {"extends": "strict", "purpose": "genai"}}),
        ):
            run(world, played, pairs, **config)
            assert "/0.jpg" not in played.paths()
            fates = world.fates()
            assert [fate for one, fate in fates.items() if one.startswith(url)] == ["deny:x_robots_tag"]


def test_a_killed_run_does_not_forget_who_refused(world):
    """It is killed while the second picture is on its way, after the first has refused."""
    refusing, kept = site({"/0.jpg": (0, NOAI, 200), "/1.jpg": (1, {}, 200)}), world.folder / "work" / "_refused"
    with logged_web(refusing) as played:
        job = world.job(played.proxy_url, urls("/0.jpg", "/1.jpg"), {}, fetch={"per_host": 1})

        async def kills(request: web.BaseRequest) -> web.Response:
            if request.path == "/1.jpg":
                while not list(kept.glob("*.jsonl")):
                    await asyncio.sleep(0.01)
                process.kill()
            return await refusing(request)

        played.answer = kills
        entry = "from fairshard.pipelines.cli import main; main()"
        process = subprocess.Popen([sys.executable, "-c", entry, "-q", "run", str(world.folder / "job.yaml")])
        process.communicate(timeout=60)
        assert process.returncode == -9 and played.paths() == ["/0.jpg", "/1.jpg"]
        played.answer = refusing
        played.log.clear()
        _run.run(job, SCREENED)
        assert played.paths() == ["/1.jpg"]
    assert list(world.fates().values()) == ["deny:x_robots_tag", "alive"]
    assert list(kept.iterdir()) == []


def test_a_class_that_is_none_is_named(world):
    assert _again.classes("timeout, 5xx,404,5xx") == ("timeout", "5xx", "404")
    for text, said in {"timeot": "'timeot' is no class of failures", ",": "names no class of failures"}.items():
        with pytest.raises(ConfigError, match=said):
            _again.classes(text)
    told = CliRunner().invoke(main, ["run", "--help"], terminal_width=200).output
    assert all(name in told for name in _again.CLASSES)
    world.job(None, urls("/0.jpg"), {})
    for words, said in (
        (["--retry", "timeot"], "Did you mean 'timeout'?"),
        (["--retry", "5xx", "--until", "consult"], "go with a run of all partitions of fetch"),
        (["--refresh", "--only", "fetch", "--partition", "0000"], "go with a run of all partitions of fetch"),
    ):
        result = CliRunner().invoke(main, ["-q", "run", str(world.folder / "job.yaml"), *words])
        assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
    assert not (world.folder / "work").exists()


def test_wishes_that_cannot_be_read_end_the_run(world):
    (world.folder / "work").mkdir()
    world.store.put("again.json", json.dumps({"retry": []}).encode())
    with pytest.raises(ConfigError, match=r"again\.json: is not what a run has written"):
        _again.wishes(world.store)
