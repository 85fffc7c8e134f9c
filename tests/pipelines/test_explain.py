import json

import pytest
import small_world

from fairshard.pipelines import balance
from fairshard.pipelines.explain import explain, text
from fairshard.schemas.errors import InputError


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return small_world.emitted(tmp_path_factory.mktemp("world")).parent


BOTH = pytest.mark.parametrize("kind", ["work", "release"])


@BOTH
def test_a_pair_that_was_opted_out(world, kind):
    (story,) = explain(str(world / kind), url="http://WWW.no.example/41.jpg")["pairs"]
    assert story["outcome"] == "dropped"
    assert story["dropped"] == {
        "stage": "consult", "reason": "deny:robots_txt",
        "evidence": "https://no.example/robots.txt (url): Disallow: /",
    }  # fmt: skip
    (signal,) = story["signals"]
    assert ("observed_at" in signal) == (kind == "work")
    assert (signal["verdict"], signal["kind"], signal["hop"]) == ("deny", "robots_txt", 0)
    assert (story["image"], story["duplicate"], story["sample"], story["scores"]) == (None, None, None, [])


@BOTH
def test_a_released_pair_and_its_group(world, kind):
    (story,) = explain(str(world / kind), pair_id=-(2**62))["pairs"]
    assert story["sample"] == {
        "shard": "shards/00001.tar", "key": "000011", "bytes": len(small_world.PICTURES[-(2**62)]), "weight": 1.0,
    }  # fmt: skip
    assert [(member["pair_id"], member["outcome"]) for member in story["duplicate"]["members"]] == [
        (-(2**62), "released"),
        (43, "dropped"),
    ]
    assert (len(story["image"]["phash"]), len(story["image"]["pdq"])) == (16, 64)
    assert story["scores"] == [{"kind": "language", "value": 0.9, "label": "de"}]


@BOTH
def test_answers_are_json(world, kind):
    for pair_id in (3, 41, 42, 43, -9):
        answer = explain(str(world / kind), pair_id=pair_id)
        assert answer["found"] and answer["directory"] == kind
        assert json.loads(json.dumps(answer)) == answer


@BOTH
def test_words(world, kind):
    words = text(explain(str(world / kind), pair_id=43))
    assert words.startswith("pair 43: dropped\n  url       https://b.example/43.jpg\n")
    assert f"    {-(2**62)} released (keeper) https://a.example/{-(2**62)}.jpg" in words
    assert words.endswith(f"  decision  left out by dedup, near_duplicate because of pdq 4 bits from pair {-(2**62)}")


def test_words_cannot_steer_a_terminal(world):
    words = text(explain(str(world / "work"), pair_id=41))
    assert "Disallow: /\N{REPLACEMENT CHARACTER}[2J" in words
    assert "\x1b" not in words


def test_a_failed_download(world):
    words = text(explain(str(world / "release"), url="https://b.example/42.jpg"))
    assert "  image     failed: http_404" in words


def test_a_pair_before_emit(tmp_path):
    work = small_world.make(tmp_path)
    (story,) = explain(work.store.root, pair_id=3)["pairs"]
    assert (story["outcome"], story["sample"]) == ("alive", None)
    assert text(explain(work.store.root, pair_id=3)).endswith(
        "decision  none yet: no stage has left it out, and it has not been released"
    )


def test_a_cap_is_said_in_words(make_duckdb_work):
    pairs = [{"pair_id": n, "url_key": str(n), "caption": f"IMG_{n}.jpg"} for n in (1, 2)]
    work = make_duckdb_work({"balance": {"max_per_template": 1}}, pair=pairs)
    balance.run(work)
    words = "".join(text(explain(work.store.root, pair_id=n)) for n in (1, 2))
    assert (
        "left out by balance, cap_template (too many with nearly the same caption, numbers aside)"
        " because of template=img # jpg rank=2 cap=1" in words
    )


def test_unknown_url_of_a_known_host(world):
    answer = explain(str(world / "release"), url="https://a.example/4.jpg")
    assert not answer["found"] and answer["pairs"] == []
    assert {row["pair_id"] for row in answer["nearest"]} == {3, -9, -(2**62)}
    assert answer["nearest"][0]["url"] == "https://a.example/3.jpg"
    words = text(answer)
    assert words.startswith("Not found: https://a.example/4.jpg")
    assert "rejected are known by number only (null_url: 2, duplicate_row: 1)" in words


def test_unknown_host_of_a_known_domain(world):
    nearest = explain(str(world / "work"), url="https://cdn.b.example/5.jpg")["nearest"]
    assert {row["pair_id"] for row in nearest} == {5, 2**62, 42, 43}


@pytest.mark.parametrize("url", ["ftp://a.example/3.jpg", "no url", "", "data:,x"])
def test_what_is_no_web_address(world, url):
    answer = explain(str(world / "work"), url=url)
    assert not answer["found"] and answer["note"].startswith("That is not an http or https URL")


def test_a_withheld_pair_is_not_known_to_the_release(world):
    for question in ({"pair_id": 77}, {"url": "https://hidden-painter.example/77.jpg"}):
        answer = explain(str(world / "release"), **question)
        assert not answer["found"] and answer["nearest"] == []
        assert "2 pairs are covered by lists that may not be published" in answer["note"]
    assert explain(str(world / "work"), pair_id=77)["pairs"][0]["dropped"]["reason"] == "deny:registry"


@pytest.mark.parametrize("question", [{}, {"url": "https://a.example/", "pair_id": 3}])
def test_one_thing_is_asked(world, question):
    with pytest.raises(InputError, match="needs one thing to look for; expected a URL or a pair id"):
        explain(str(world / "work"), **question)
