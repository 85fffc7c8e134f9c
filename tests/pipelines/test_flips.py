"""PDQ of flips and rotations: made, and compared with lists, where the policy says so."""

from __future__ import annotations

from datetime import UTC, datetime

import crawl_world
import pytest
from crawl_world import OPEN, World

from fairshard.pipelines import consult, screen

LOOKS = {"registries": [{"name": "looks", "path": "looks.txt", "scope": "pdq"}]}
PAIRS = ["http://a.example/p/0.jpg", "http://a.example/p/1.jpg"]


@pytest.fixture
def world(tmp_path) -> World:
    (tmp_path / "looks.txt").write_text("0f" * 32 + "\n")
    return crawl_world.make(tmp_path)


def test_a_policy_that_comes_to_match_flips_asks_again_and_one_that_ceases_to_does_not(world):
    with_flips = {"extends": "strict", "pdq_min_quality": 0}
    without = {**with_flips, "pdq_dihedral": False}
    for policy, requests, sizes in (
        (without, PAIRS, [None, None]), (with_flips, PAIRS, [256, 256]), (without, [], [256, 256]),
    ):  # fmt: skip
        world.run({"a.example": OPEN}, PAIRS, policy, **LOOKS)
        assert world.images_asked() == requests
        turns = world.store.read("image")["pdq_dihedral"].to_pylist()
        assert [turn and len(turn) for turn in turns] == sizes
        assert set(world.fates().values()) == {"alive"}


def test_pictures_whose_flips_nobody_hashed_are_held_where_they_would_be_compared(make_duckdb_work):
    image = {"pdq_quality": 100, "pdq": bytes(32)}
    images = [{**image, "pair_id": 1, "pdq_dihedral": None}, {**image, "pair_id": 2, "pdq_dihedral": bytes(256)}]
    pairs = [{"pair_id": number, "url_key": str(number), "caption": ""} for number in (1, 2)]
    work = make_duckdb_work(LOOKS, pair=pairs, image=images)
    (work.job.folder / "looks.txt").write_text("0f" * 32)
    consult.match_registries(work, datetime.now(UTC))
    work.clear()
    screen.match_lists(work, datetime.now(UTC))
    (held,) = work.store.read("signal").to_pylist()
    assert (held["pair_id"], held["verdict"], held["scope"], held["source"]) == (1, "hold", "pdq", "looks")
