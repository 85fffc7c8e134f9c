"""Terms of hosts on an invented web: which files are asked for, what a redirect or a Link leads to, what fails."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from crawl_world import OPEN, World, make

from fairshard.pipelines import plan
from fairshard.schemas import policy as policies

RSL = '<rsl xmlns="https://rslstandard.org/rsl"><content url="/">%s</content></rsl>'
CLOSED_TERMS = RSL % '<license><prohibits type="usage">ai-train</prohibits></license>'
OPEN_TERMS = RSL % '<license><permits type="usage">all</permits></license>'
CLOSED = {"robots": "User-agent: *\nDisallow: /", **OPEN}


@pytest.fixture
def world(tmp_path) -> World:
    return make(tmp_path)


def file(body: str) -> dict:
    return {"body": body, "content_type": "text/plain"}


def first_pictures(hosts: dict) -> list[str]:
    return [f"http://{host}/p/0.jpg" for host in hosts]


AI_TXT = {
    "shut.example": (file("User-agent: *\nDisallow: *.jpg"), "deny:ai_txt"),
    "sound.example": (file("User-agent: *\nDisallow: *.mp3"), "alive"),
    "later.example": ({"status": 503}, "hold:ai_txt"),
    "part.example": ({"status": 206}, "hold:ai_txt"),
    "often.example": ({"status": 429}, "hold:ai_txt"),
    "close.example": ({"serve": "close"}, "hold:ai_txt"),
    "slow.example": ({"serve": "drip"}, "hold:ai_txt"),
    "cut.example": ({"serve": "cut"}, "hold:ai_txt"),
    "loop.example": ({"redirect": "http://loop.example/ai.txt"}, "hold:ai_txt"),
    "inside.example": ({"redirect": "http://169.254.169.254/ai.txt"}, "hold:ai_txt"),
    "endless.example": ({"serve": "endless"}, "alive"),  # its first 500 KiB state nothing
    "garbage.example": ({"serve": "bomb"}, "alive"),
    "page.example": ({"serve": "html"}, "alive"),
    "none.example": ({"status": 410}, "alive"),
}


def test_ai_txt_and_every_way_it_can_fail(world):
    hosts = {host: {"ai": answer, **OPEN} for host, (answer, _) in AI_TXT.items()}
    world.run(hosts, first_pictures(hosts), consult={"timeout_s": 0.7})
    assert list(world.fates().values()) == [fate for _, fate in AI_TXT.values()]
    assert not [url for url in world.requests if "169.254" in url]
    kept = {row["origin"]: row for row in world.store.read("host_file").to_pylist() if row["kind"] == "ai_txt"}
    assert len(kept["http://endless.example"]["body"]) == 512_000
    assert all(row["fetched_at"] and (row["sha256"] is None) is (row["error"] is not None) for row in kept.values())


RSL_FILES = {
    "shut.example": ({"/terms": file(CLOSED_TERMS)}, ["/terms"], "deny:rsl"),
    "free.example": ({"/terms": file(OPEN_TERMS)}, ["/terms"], "alive"),
    "both.example": ({"/a": file(OPEN_TERMS), "/b": file(CLOSED_TERMS)}, ["/a", "/b"], "deny:rsl"),
    "elsewhere.example": ({}, ["http://shut.example/terms"], "deny:rsl"),
    "none.example": ({}, ["/terms"], "alive"),  # 404: there is no such file
    "later.example": ({"/terms": {"status": 503}}, ["/terms"], "hold:rsl"),
    "part.example": ({"/terms": {"status": 206}}, ["/terms"], "hold:rsl"),
    "odd.example": ({}, ["http://["], "hold:rsl"),
    "slow.example": ({"/terms": {"serve": "drip"}}, ["/terms"], "hold:rsl"),
    "endless.example": ({"/terms": {"serve": "endless"}}, ["/terms"], "hold:rsl"),
    "garbage.example": ({"/terms": {"serve": "bomb"}}, ["/terms"], "alive"),
    "inside.example": ({}, ["http://127.0.0.1/terms"], "hold:rsl"),
    "local.example": ({}, ["file:///etc/passwd"], "hold:rsl"),
    "many.example": ({}, [f"/{n}" for n in range(5)], "hold:rsl"),
}


def test_rsl_files_that_robots_txt_names_and_every_way_they_can_fail(world):
    hosts = {
        host: {"robots": "".join(f"License: {url}\n" for url in named), "paths": {**OPEN["paths"], **files}}
        for host, (files, named, _) in RSL_FILES.items()
    }
    world.run(hosts, first_pictures(hosts), consult={"timeout_s": 0.7})
    assert list(world.fates().values()) == [fate for *_, fate in RSL_FILES.values()]
    assert Counter(world.requests)["http://shut.example/terms"] <= 2  # once in each partition of hosts
    assert "http://many.example/4" not in world.requests


def test_a_redirect_leads_to_hosts_with_rules_of_their_own(world):
    def leading(host: str) -> dict:
        return {"paths": {"/p/": {"redirect": f"http://{host}/p/{{name}}"}}}

    hosts = {
        "to-closed.example": leading("closed.example"),
        "to-held.example": leading("held.example"),
        "to-open.example": leading("open.example"),
        "to-reserved.example": leading("reserved.example"),
        "to-none.example": leading("nowhere.example"),
        "on.example": leading("step.example"),
        "own.example": {
            "robots": "User-agent: *\nDisallow: /q/",
            "paths": {"/p/": {"redirect": "http://own.example/q/{name}"}, "/q/": {}},
        },
    }
    ends = {
        "step.example": leading("closed.example"),
        "closed.example": CLOSED,
        "held.example": {"robots": {"status": 503}, **OPEN},
        "open.example": OPEN,
        "reserved.example": {"ai": "User-agent: *\nDisallow: *.jpg", **OPEN},
    }
    pairs = [f"http://{host}/p/{number}.jpg" for host in hosts for number in (0, 1)]
    world.run({**hosts, **ends}, pairs)
    ended = ["deny:robots_txt", "hold:robots_txt", "alive", "deny:ai_txt", "hold:robots_txt", "deny:robots_txt",
             "deny:robots_txt"]  # fmt: skip
    assert list(world.fates().values()) == [fate for fate in ended for _ in (0, 1)]
    assert not [url for url in world.requests if "//closed.example/p" in url or "/q/" in url]
    assert max(Counter(world.images_asked()).values()) == 1
    closed = [
        row for row in world.store.read("signal").to_pylist() if row["source"] == "http://closed.example/robots.txt"
    ]
    assert sorted(row["hop"] for row in closed) == [1, 1, 2, 2]
    world.run({**hosts, **ends}, pairs)
    assert world.requests == []


def test_what_a_redirect_leads_to_may_be_licensed(world):
    hosts = {"a.example": {"paths": {"/p/": {"redirect": "http://b.example/p/{name}"}}}, "b.example": CLOSED}
    pairs = ["http://a.example/p/0.jpg", "http://a.example/p/1.jpg"]
    (world.folder / "licences.csv").write_text(f"url,action,evidence\n{pairs[0]},allow,letter\n")
    world.run(hosts, pairs, registries=[{"name": "licences", "path": "licences.csv", "scope": "url"}])
    assert list(world.fates().values()) == ["alive", "deny:robots_txt"]
    assert "http://b.example/p/1.jpg" not in world.requests
    world.run(hosts, pairs, {"extends": "strict", "host_files": "cached"})  # no licence any more
    # What b.example says was read then, so nobody is asked for a second time.
    assert (set(world.fates().values()), world.requests) == ({"deny:robots_txt"}, [])
    world.run(hosts, pairs, {"extends": "strict", "host_files": "off"})
    assert set(world.fates().values()) == {"alive"}


def test_a_redirect_to_a_host_that_may_not_be_asked_is_held(world):
    hosts = {"a.example": {"paths": {"/p/": {"redirect": "http://b.example/p/{name}"}}}, "b.example": OPEN}
    pairs = ["http://a.example/p/0.jpg"]
    world.run(hosts, pairs, until="consult")
    world.run(hosts, pairs, {"extends": "strict", "host_files": "cached"})
    assert world.fates() == {pairs[0]: "hold:robots_txt"}
    world.run(hosts, pairs)
    assert world.fates() == {pairs[0]: "alive"}


def link(url: str) -> dict:
    return {"headers": [["Link", f'<{url}>; rel="license"; type="application/rsl+xml"']]}


def test_a_link_to_terms_ends_the_exchange_until_they_are_read(world):
    hosts = {
        "a.example": {"paths": {
            "/shut/": link("/closed.xml"), "/free/": link("/open.xml"), "/lost/": link("http://nowhere.example/t"),
            "/inside/": link("http://10.0.0.1/t"), "/odd/": link("http://["), "/away/": {"redirect": "http://b.example/p/{name}"},
            "/closed.xml": file(CLOSED_TERMS), "/open.xml": file(OPEN_TERMS),
        }},
        "b.example": {"paths": {"/p/": link("http://a.example/closed.xml")}},
        "c.example": {"paths": {f"/p/{number}.jpg": link(f"/{number}.xml") for number in range(6)}},
    }  # fmt: skip
    pairs = [f"http://a.example/{name}/{number}.jpg" for name in ("shut", "free") for number in range(3)]
    pairs += [f"http://a.example/{name}/5.jpg" for name in ("lost", "inside", "odd", "away")]
    pairs += [f"http://c.example/p/{number}.jpg" for number in range(6)]
    world.run(hosts, pairs)
    few, too_many = ["alive"] * 4, ["hold:rsl"] * 2
    ended = ["deny:rsl"] * 3 + ["alive"] * 3 + ["hold:rsl", "hold:rsl", "hold:rsl", "deny:rsl"] + few + too_many
    assert list(world.fates().values()) == ended
    asked = Counter(world.requests)
    assert (asked["http://a.example/open.xml"], asked["http://c.example/5.xml"]) == (1, 0)
    assert len(world.members()) == 7
    world.run(hosts, pairs)
    assert world.requests == []


def test_another_policy_reads_the_same_evidence_otherwise(world):
    hosts = {
        "crawler.example": {"robots": "User-agent: GPTBot\nDisallow: /", **OPEN},
        "index.example": {"paths": {"/p/": {"headers": [["X-Robots-Tag", "noindex"]]}}},
        "signal.example": {"robots": "User-agent: *\nContent-Signal: ai-train=no", **OPEN},
        "held.example": {"robots": {"status": 503}, **OPEN},
    }
    pairs = first_pictures(hosts)
    changes = {"eu": {}, "off": {"extends": "strict", "ai_agent_proxy": "off", "noindex": "ignore"},
               "few": {"extends": "strict", "binding": ["aipref"]}}  # fmt: skip
    world.run(hosts, pairs)
    assert list(world.fates().values()) == [
        "deny:robots_txt",
        "deny:x_robots_tag",
        "deny:content_signal",
        "hold:robots_txt",
    ]
    first = [row for row in world.store.read("signal").to_pylist() if row["hop"] is None]
    with world.serve(hosts) as proxy:
        job = world.job(proxy, pairs, {})
        for name, policy in changes.items():
            (world.folder / f"{name}.yaml").write_text(json.dumps(policy or {"extends": name}))
            found = plan.judged(job, policies.load(f"{name}.yaml", world.folder))
            reasons = {row["reason"] for row in found["dropped"]}
            assert reasons == {"deny:content_signal", "hold:robots_txt"} if name != "few" else {"hold:robots_txt"}
    assert world.requests == []
    world.run(hosts, pairs, {"extends": "eu"})
    assert list(world.fates().values()) == ["alive", "alive", "deny:content_signal", "hold:robots_txt"]
    assert world.images_asked() == ["http://crawler.example/p/0.jpg", "http://index.example/p/0.jpg"]
    assert len(world.requests) == 2
    assert [row for row in world.store.read("signal").to_pylist() if row["hop"] is None] == first


def test_who_refused_is_not_asked_again_by_way_of_a_redirect(world):
    """Be it in the list as well, on the host that redirects or on another."""
    shut = {"headers": [["X-Robots-Tag", "noai"]]}
    hosts = {
        "a.example": {"paths": {
            "/p/": {}, "/shut/": shut, "/here/": {"redirect": "http://a.example/shut/{name}"},
            "/there/": {"redirect": "http://b.example/shut/0.jpg"}, "/fine/": {"redirect": "http://b.example/p/0.jpg"},
        }},
        "b.example": {"paths": {"/p/": {}, "/shut/": shut}},
    }  # fmt: skip
    names = ["here/0", "shut/0", "there/1", "there/2", "there/3", "fine/1", "fine/2", "p/0"]
    pairs = [f"http://a.example/{name}.jpg" for name in names]
    world.run(hosts, pairs, fetch={"partitions": 1})
    assert list(world.fates().values()) == ["deny:x_robots_tag"] * 5 + ["alive"] * 3
    asked = Counter(world.requests)
    assert (asked["http://a.example/shut/0.jpg"], asked["http://b.example/shut/0.jpg"]) == (1, 1)
    assert asked["http://b.example/p/0.jpg"] == 1
