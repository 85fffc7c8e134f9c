"""A full disk, a network that stops: a run says what is left, the next one ends as if nothing had happened."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from aiohttp import web
from click.testing import CliRunner
from crawl_world import World, make
from logged_web import LoggedWeb, logged_web
from small_world import picture
from stopped_network import Network, network

from fairshard.pipelines import _run
from fairshard.pipelines._work import STAGES
from fairshard.pipelines.cli import main

HOSTS = [f"{letter}.example" for letter in "abcdefgh"]
PAIRS = [f"http://{host}/{number}.jpg" for host in HOSTS for number in range(4)]
PAIRS += ["http://a.example/gone.jpg", "http://b.example/noai.jpg", "http://dead.example/0.jpg"]
UNTIL_FETCH, UNTIL_SCREEN = STAGES[:3], STAGES[:4]


async def answer(request: web.BaseRequest) -> web.Response:
    if request.url.host == "dead.example" and request.path.endswith(".jpg"):
        assert request.transport is not None
        request.transport.close()
    name = request.path.strip("/").removesuffix(".jpg")
    if name == "noai":
        return web.Response(body=picture(9), headers={"X-Robots-Tag": "noai"})
    seed = HOSTS.index(str(request.url.host)) * 4 + int(name) if name.isdigit() and request.url.host in HOSTS else None
    return web.Response(status=404) if seed is None else web.Response(body=picture(seed))


@pytest.fixture
def world(tmp_path) -> World:
    (tmp_path / "disturbed").mkdir()
    return make(tmp_path / "disturbed")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict:
    world = make(tmp_path_factory.mktemp("undisturbed"))
    with logged_web(answer) as played:
        _run.run(job(world, played.proxy_url), UNTIL_SCREEN)
    found = outcome(world)
    fates = Counter(row["reason"] for row in found["dropped"])
    assert (len(found["image"]), fates) == (
        len(PAIRS),
        {"failed:http_404": 1, "failed:connect": 1, "deny:x_robots_tag": 1},
    )
    return found


def job(world: World, proxy: str, **fetch):
    return world.job(proxy, PAIRS, {}, fetch={"partitions": 2, "timeout_s": 10, "retries": 1, **fetch})


def outcome(world: World) -> dict:
    """Rows of every table, and each picture by the hash of its original: without times, and where it lies."""
    times = {"fetched_at", "observed_at", "answered_at", "work_offset"}
    rows = {
        name: sorted(
            (
                {key: value for key, value in row.items() if key not in times}
                for row in world.store.read(name).to_pylist()
            ),
            key=repr,
        )
        for name in ("pair", "image", "signal", "dropped")
    }
    pictures = {row["work_key"]: stored(world, row) for row in world.store.read("image").to_pylist() if row["work_key"]}
    return {**rows, "pictures": pictures, "members": sorted(world.members())}


def stored(world: World, row: dict) -> bytes:
    shard = (world.folder / "work" / row["work_shard"]).read_bytes()
    return shard[row["work_offset"] : row["work_offset"] + row["work_bytes"]]


# --- no room ------------------------------------------------------------------------------------------------


def test_without_room_fetch_says_where_and_what_to_do_and_keeps_no_half(world, undisturbed):
    with logged_web(answer) as played:
        made = job(world, played.proxy_url)
        _run.run(made, STAGES[:2])
        done = subprocess.run(
            [str(Path(sys.executable).with_name("fairshard")), "-q", "run", str(world.folder / "job.yaml"), "--until", "screen"],
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert f"{world.folder}/work/_scratch/fetch-000" in done.stderr
        assert "cannot be written (File too large)" in done.stderr
        assert "Make room and run again: what was committed stays" in done.stderr
        for mark in world.store.marks("fetch"):
            assert all((world.folder / "work" / name).exists() for name in mark.extra["kept"])
        assert not list((world.folder / "work" / "_scratch").rglob("*.tar"))
        _run.run(made, UNTIL_SCREEN)
        assert outcome(world) == undisturbed


# --- the network stops --------------------------------------------------------------------------------------


def stopped_at(played: LoggedWeb, between: Network, count: int) -> None:
    """Stop the network when so many pictures have been asked for."""
    asked = iter(range(1, count + 1))

    async def counted(request: web.BaseRequest) -> web.Response:
        if request.path.endswith(".jpg") and next(asked, 0) == count:
            between.stop()
        return await answer(request)

    played.answer = counted


def cli(world: World) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["-q", "run", str(world.folder / "job.yaml"), "--until", "screen"])
    return result.exit_code, result.output


def test_when_the_network_stops_the_rest_is_left_and_a_later_run_goes_on(world, undisturbed):
    with logged_web(answer) as played, network(played.proxy_url) as between:
        job(world, between.url, timeout_s=1, max_delay_s=0.1)
        stopped_at(played, between, 12)
        code, said = cli(world)
        assert code == 4 and "left for a later run of fetch: network " in said, said
        fates = Counter(row["reason"] for row in world.store.read("dropped").to_pylist())
        assert fates["left:network"] >= len(PAIRS) - 12 - 4 and not fates["failed:timeout"], fates
        assert not fates["failed:host_down"]
        between.go_on()
        played.answer = answer
        assert cli(world)[0] == 0
        assert outcome(world) == undisturbed


def test_when_the_network_stops_for_a_while_nothing_is_left(world, undisturbed):
    with logged_web(answer) as played, network(played.proxy_url) as between:
        job(world, between.url, timeout_s=1)
        stopped_at(played, between, 12)
        between.when_given_up = lambda stopped: stopped.go_on() if stopped.given_up == 20 else None
        code, _ = cli(world)
        assert (code, between.given_up >= 20) == (0, True)
        assert outcome(world) == undisturbed


def test_one_host_that_is_gone_still_costs_ten_attempts_and_not_one_a_picture(world):
    pairs = [f"http://a.example/{number}.jpg" for number in range(60)]

    async def gone(request: web.BaseRequest) -> web.Response:
        if any(one.path.endswith(".jpg") for one in played.log):
            assert request.transport is not None
            request.transport.close()
        return web.Response(status=404)

    with logged_web(gone) as played:
        made = world.job(played.proxy_url, pairs, {}, fetch={"partitions": 1, "timeout_s": 10, "retries": 0})
        _run.run(made, UNTIL_SCREEN)
    assert set(world.fates().values()) == {"failed:connect", "failed:host_down"}
    assert len(played.paths()) < 35  # aiohttp tries a kept connection twice, and robots.txt is asked for now and then


def test_hosts_that_are_gone_are_no_stopped_network(world):
    gone = {"a.example", "b.example", "c.example"}

    async def some(request: web.BaseRequest) -> web.Response:
        if request.url.host in gone and request.path.endswith(".jpg"):
            assert request.transport is not None
            request.transport.close()
        return await answer(request)

    with logged_web(some) as played:
        found = _run.run(job(world, played.proxy_url, partitions=1), UNTIL_SCREEN)
    assert "left" not in found["stages"][2]
    failed = [url for url, fate in world.fates().items() if fate in ("failed:connect", "failed:host_down")]
    assert {url.split("/")[2] for url in failed} == gone | {"dead.example"}
