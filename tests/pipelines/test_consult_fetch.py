"""Asking hosts and fetching images on an invented web: who is asked for what, and what is kept of the answers."""

from __future__ import annotations

import io
import json
from collections import Counter
from contextlib import contextmanager
from urllib.parse import urlsplit

import numpy as np
import pytest
from aiohttp import web
from click.testing import CliRunner
from crawl_world import HOST_FILES, OPEN, World, make
from logged_web import logged_web
from PIL import Image
from small_world import picture

from fairshard.pipelines import _fetcher, _run, consult, fetch
from fairshard.pipelines._work import STAGES, Work
from fairshard.pipelines.cli import main
from fairshard.schemas.errors import ConfigError
from fairshard.udfs.hashing import fingerprint


@pytest.fixture
def world(tmp_path) -> World:
    return make(tmp_path)


def test_a_host_that_gives_no_rules_is_held_and_asked_for_nothing_else(world):
    hosts = {
        "busy.example": {"robots": {"status": 503}, **OPEN},
        "shut.example": {"robots": {"serve": "close"}, **OPEN},
        "slow.example": {"robots": {"serve": "drip"}, **OPEN},
        "often.example": {"robots": {"status": 429}, **OPEN},
        "part.example": {"robots": {"status": 206}, **OPEN},
        "loop.example": {"robots": {"redirect": "http://loop.example/robots.txt"}, **OPEN},
        "open.example": OPEN,
    }
    world.run(hosts, [f"http://{host}/p/0.jpg" for host in [*hosts, "nowhere.example"]], consult={"timeout_s": 0.5})
    fates = world.fates()
    assert fates.pop("http://open.example/p/0.jpg") == "alive"
    assert Counter(fates.values()) == {"hold:robots_txt": 7}
    assert world.images_asked() == ["http://open.example/p/0.jpg"]


def test_held_pairs_are_asked_about_again_by_a_later_run_and_answered_hosts_are_not(world):
    hosts = {"busy.example": {"robots": {"status": 503}, **OPEN}, "open.example": OPEN}
    pairs = [f"http://{host}/p/0.jpg" for host in hosts]
    world.run(hosts, pairs)
    assert world.fates()["http://busy.example/p/0.jpg"] == "hold:robots_txt"
    for path in (world.folder / "work" / "_done" / "consult").glob("ask-*.json"):  # an hour later
        path.write_text(json.dumps({**json.loads(path.read_text()), "expires_at": "2020-01-01T00:00:00+00:00"}))
    world.run({**hosts, "busy.example": OPEN}, pairs)
    assert set(world.fates().values()) == {"alive"}
    assert world.images_asked() == ["http://busy.example/p/0.jpg"]
    assert {urlsplit(url).netloc for url in world.requests} == {"busy.example"}


def test_answers_that_were_stored_but_not_yet_judged_are_judged_by_the_next_run(world, monkeypatch):
    pairs = ["http://open.example/p/0.jpg"]
    world.run({"open.example": OPEN}, pairs, until="consult")
    for path in (world.folder / "work" / "_done" / "consult").glob("ask-*.json"):
        path.unlink()
    closed = {"open.example": {"robots": "User-agent: *\nDisallow: /", **OPEN}}
    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(consult, "judge", killed)
        world.run(closed, pairs, until="consult")
    world.run(closed, pairs)
    assert world.requests == []
    assert world.fates() == {"http://open.example/p/0.jpg": "deny:robots_txt"}


def killed(_task) -> int:
    raise InterruptedError


def test_a_config_laxer_than_its_policy_is_refused(world):
    with world.serve({"open.example": OPEN}) as proxy:
        for wanted in ("off", "cached"):
            world.job(proxy, ["http://open.example/p/0.jpg"], {}, consult={"host_files": wanted})
            result = CliRunner().invoke(main, ["-q", "run", str(world.folder / "job.yaml")])
            assert result.exit_code == 3
            assert f"consult.host_files: is '{wanted}', but the policy policy says 'fetch'" in result.stderr
    assert world.requests == []
    assert not (world.folder / "work").exists()


CACHED = {"extends": "strict", "host_files": "cached"}


def test_cached_rules_hold_what_is_not_in_the_cache(world):
    world.run({"open.example": OPEN}, ["http://open.example/p/0.jpg"], CACHED)
    assert world.requests == []
    assert world.fates() == {"http://open.example/p/0.jpg": "hold:robots_txt"}


def test_cached_rules_are_used_while_they_are_fresh(world):
    hosts = {
        "open.example": OPEN,
        "shut.example": {"robots": "User-agent: *\nDisallow: /", **OPEN},
        "new.example": OPEN,
    }
    pairs = [f"http://{host}/p/0.jpg" for host in ("open.example", "shut.example")]
    world.run(hosts, pairs, until="consult")
    pairs += ["http://new.example/p/0.jpg"]
    world.run(hosts, pairs, CACHED)
    assert world.requests == ["http://open.example/p/0.jpg"]
    assert list(world.fates().values()) == ["alive", "deny:robots_txt", "hold:robots_txt"]
    world.run(hosts, pairs, {**CACHED, "host_file_max_age_days": 0})
    assert set(world.fates().values()) == {"hold:robots_txt"}
    assert world.requests == []


def test_a_policy_may_ignore_host_files_and_a_config_may_be_stricter(world):
    hosts = {"shut.example": {"robots": "User-agent: *\nDisallow: /", **OPEN}}
    off, pairs = {"extends": "strict", "host_files": "off"}, ["http://shut.example/p/0.jpg"]
    world.run(hosts, pairs, off)
    assert (world.requests, set(world.fates().values())) == (pairs, {"alive"})
    world.run(hosts, pairs, off, consult={"host_files": "fetch"})
    assert set(world.fates().values()) == {"deny:robots_txt"}


def test_a_refusal_on_a_redirect_hop_ends_the_exchange_there(world):
    noai = [["X-Robots-Tag", "noai, max-image-preview:large"]]
    hosts = {
        "hop.example": {"paths": {"/p/": {"redirect": "http://end.example/p/{name}", "headers": noai}}},
        "plain.example": {"paths": {"/p/": {"redirect": "http://end.example/p/{name}"}}},
        "end.example": {"paths": {"/p/": {}, "/p/1.jpg": {"headers": [["tdm-reservation", "1"]]}}},
    }
    pairs = ["http://hop.example/p/0.jpg", "http://plain.example/p/1.jpg", "http://plain.example/p/2.jpg"]
    world.run(hosts, pairs)
    assert list(world.fates().values()) == ["deny:x_robots_tag", "deny:tdmrep", "alive"]
    assert "http://end.example/p/0.jpg" not in world.requests
    signals = {row["kind"]: (row["hop"], row["source"]) for row in world.store.read("signal").to_pylist()}
    assert signals == {
        "x_robots_tag": (0, "X-Robots-Tag of http://hop.example/p/0.jpg"),
        "tdmrep": (1, "response header of http://end.example/p/1.jpg"),
    }


REFUSALS = {
    "noai": [["X-Robots-Tag", "noai"]],
    "noimageai": [["X-Robots-Tag", "all"], ["X-Robots-Tag", "NoImageAI"]],
    "scoped": [["X-Robots-Tag", "fairshard: noai"]],
    "tdm": [["tdm-reservation", "1"]],
    "cond": [["tdm-reservation", "1"], ["tdm-policy", "http://a.example/policy"]],
}


def test_opted_out_bytes_are_never_stored(world):
    paths = {f"/{name}/": {"headers": headers} for name, headers in REFUSALS.items()}
    hosts = {"a.example": {"paths": {**paths, "/open/": {"headers": [["X-Robots-Tag", "otherbot: noai"]]}}}}
    pairs = [f"http://a.example/{name}/{number}.jpg" for number, name in enumerate([*REFUSALS, "open"])]
    world.run(hosts, pairs)
    images = {row["final_url"]: row for row in world.store.read("image").to_pylist()}
    assert {url: row["status"] for url, row in images.items()} == dict.fromkeys(pairs[:-1], "opted_out") | {
        pairs[-1]: "ok"
    }
    assert world.members() == [images[pairs[-1]]["work_key"]]
    told = {"pair_id", "asked_url", "status", "http_status", "final_url", "fetched_at"}
    for url in pairs[:-1]:
        assert {name for name, value in images[url].items() if value is not None} == told
    assert list(world.fates().values()) == ["deny:x_robots_tag"] * 3 + ["deny:tdmrep", "cond:tdmrep", "alive"]


LICENCES = "url,action,evidence\nhttp://a.example/noai/0.jpg,allow,http://a.example/letter\n"
LICENCE_LIST = [{"name": "licences", "path": "licences.csv", "scope": "url"}]


def test_a_recorded_licence_opens_what_headers_close(world):
    hosts = {"a.example": {"paths": {"/noai/": {"headers": REFUSALS["noai"]}, "/p/": {}}}}
    pairs = [f"http://a.example/{name}.jpg" for name in ("noai/0", "noai/1", "p/2")]
    (world.folder / "licences.csv").write_text(LICENCES)
    world.run(hosts, pairs, until="emit", registries=LICENCE_LIST)
    assert list(world.fates().values()) == ["alive", "deny:x_robots_tag", "alive"]
    assert (world.store.read("sample").num_rows, len(world.members())) == (2, 2)
    # Withdrawn: the bytes go, too, and nobody has to be asked.
    (world.folder / "licences.csv").write_text(LICENCES.replace("0.jpg", "9.jpg"))
    world.run(hosts, pairs, until="emit", registries=LICENCE_LIST)
    assert world.images_asked() == []
    assert list(world.fates().values()) == ["deny:x_robots_tag", "deny:x_robots_tag", "alive"]
    assert (world.store.read("sample").num_rows, len(world.members())) == (1, 1)
    # And recorded again.
    (world.folder / "licences.csv").write_text(LICENCES)
    world.run(hosts, pairs, until="emit", registries=LICENCE_LIST)
    assert world.images_asked() == [pairs[0]]
    assert list(world.fates().values()) == ["alive", "deny:x_robots_tag", "alive"]


def test_a_licence_for_one_pair_opens_the_url_for_that_pair_alone(world):
    hosts = {"a.example": {"paths": {"/noai/": {"headers": REFUSALS["noai"]}}}}
    rows = [("http://a.example/noai/0.jpg", "by Ada"), ("http://a.example/noai/0.jpg", "by nobody")]
    (world.folder / "licences.csv").write_text("creator,action,evidence\nAda,allow,letter\n")
    creators = [{"name": "licences", "path": "licences.csv", "scope": "creator"}]
    with world.serve(hosts) as proxy:
        job = world.job(proxy, rows, {}, registries=creators)
        lines = [{"url": url, "text": text, "creator": text.removeprefix("by ")} for url, text in rows]
        (world.folder / "list.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
        _run.run(job, STAGES[: STAGES.index("screen") + 1])
    assert list(world.fates().values()) == ["alive", "deny:x_robots_tag"]
    assert sorted(row["status"] for row in world.store.read("image").to_pylist()) == ["ok", "opted_out"]
    assert world.images_asked() == ["http://a.example/noai/0.jpg"]


def test_a_url_of_several_pairs_is_asked_for_once(world):
    url = "http://a.example/p/0.jpg"
    world.run({"a.example": OPEN}, [(url, "one"), (url, "two"), (url + "#top", "three"), (url, "one")])
    assert world.images_asked() == [url]
    images = world.store.read("image").to_pylist()
    assert len(images) == 3 and len({(row["work_offset"], row["sha256"]) for row in images}) == 1
    assert len(world.members()) == 1


def test_large_pictures_are_looked_at_like_others(world):
    small, large = picture(0), io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (700, 700, 3), np.uint8)
    Image.fromarray(noise).save(large, "png")
    assert len(large.getvalue()) > _fetcher._LARGE_BYTES > len(small)
    for number, data in enumerate((small, large.getvalue(), b"\x89PNG\r\n\x1a\n" + bytes(_fetcher._LARGE_BYTES))):
        (world.folder / "pictures" / f"{number}.jpg").write_bytes(data)
    world.run({"a.example": OPEN}, [f"http://a.example/p/{number}.jpg" for number in range(3)])
    found = {row["size_bytes"]: row for row in world.store.read("image").to_pylist()}
    assert [row["status"] for _, row in sorted(found.items())] == ["ok", "failed", "ok"]
    assert found[len(large.getvalue())]["phash"] == fingerprint(large.getvalue()).phash


def test_a_looser_policy_asks_for_what_it_opens_and_nothing_else(world):
    hosts = {
        "busy.example": {"robots": {"status": 503}, **OPEN},
        "a.example": {"paths": {"/p/": {}, "/noai/": {"headers": REFUSALS["noai"]}, "/gone/": {"status": 410}}},
    }
    pairs = [
        f"http://{name}.jpg" for name in ("busy.example/p/0", "a.example/p/1", "a.example/noai/2", "a.example/gone/3")
    ]
    world.run(hosts, pairs)
    first = {row["pair_id"]: row for row in world.store.read("image").to_pylist()}
    world.run(hosts, pairs, {"extends": "strict", "hold": "keep"})
    assert world.requests == [pairs[0]]
    assert list(world.fates().values()) == ["alive", "alive", "deny:x_robots_tag", "failed:http_410"]
    world.run(hosts, pairs, {"extends": "strict", "hold": "keep", "binding": ["registry", "robots_txt"]})
    assert world.requests == [pairs[2]]
    assert list(world.fates().values()) == ["alive", "alive", "alive", "failed:http_410"]
    again = {row["pair_id"]: row for row in world.store.read("image").to_pylist()}
    kept = [pair_id for pair_id, row in first.items() if row["status"] == "ok"]
    assert [again[pair_id]["fetched_at"] for pair_id in kept] == [first[pair_id]["fetched_at"] for pair_id in kept]
    # Strict again: what is closed once more leaves the work directory.
    world.run(hosts, pairs)
    assert list(world.fates().values()) == ["hold:robots_txt", "alive", "deny:x_robots_tag", "failed:http_410"]
    assert len(world.members()) == 1


def test_another_rendition_is_fetched_anew(world):
    pairs = ["http://a.example/p/0.jpg"]
    world.run({"a.example": OPEN}, pairs)
    world.run({"a.example": OPEN}, pairs, fetch={"concurrency": 3})  # manners change nothing
    assert world.requests == []
    world.run({"a.example": OPEN}, pairs, fetch={"image_size": 32})
    assert world.requests == pairs
    assert min(world.store.read("image").select(["work_width_px", "work_height_px"]).to_pylist()[0].values()) == 32


def test_a_partition_that_does_not_exist_is_named(world):
    job = world.job(None, ["http://a.example/p/0.jpg"], {})
    with pytest.raises(ConfigError, match="there is no '0002'; expected 0000 to 0001"):
        fetch.run(Work(job), ["0000", "0002"])


@contextmanager
def loopback_site(data: bytes):
    """A plain server on loopback, not a proxy: gives its URL and the paths it was asked for."""
    asked: list[str] = []

    async def answer(request):
        asked.append(request.path)
        return web.Response(body=data, status=200 if request.path.endswith(".jpg") else 404)

    with logged_web(answer) as site:
        yield site.proxy_url, asked


@pytest.mark.parametrize("allowed", [False, True])
def test_private_addresses_are_asked_only_if_the_config_says_so(world, allowed):
    with loopback_site(picture(1)) as (site, asked):
        job = world.job(None, [f"{site}/x.jpg"], {"hold": "keep"}, fetch={"allow_private": allowed})
        _run.run(job, STAGES[:3])
    assert world.fates() == {f"{site}/x.jpg": "alive" if allowed else "failed:refused_address"}
    assert sorted(asked) == (sorted([*HOST_FILES, "/x.jpg"]) if allowed else [])
