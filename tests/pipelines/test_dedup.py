import itertools
import random

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairshard.pipelines import _near, dedup
from fairshard.udfs.colours import colour_distance

PDQ = bytes(range(32))
UNLIKE = bytes(range(100, 132))
RADII = {
    "phash_max_distance": 4, "confirming_pdq_max_distance": 60, "pdq_max_distance": 31, "colour_max_distance": None,
}  # fmt: skip


def flipped(pdq, bits):
    """A PDQ that differs in the given number of bits."""
    return (int.from_bytes(pdq, "big") ^ ((1 << bits) - 1)).to_bytes(32, "big")


def grey(level, cells=()):
    """Colours that are grey, but for some cells."""
    return bytes([255 if cell in cells else level for cell in range(256) for _ in "rgb"])


def picture(pair_id, sha256=None, phash=None, pdq=None, quality=100, size=(100, 100), colours=None):
    """A picture unlike all others, but for what is given. With a pHash alone, PDQ is near enough to confirm it."""
    rng = random.Random(str(pair_id))
    unlike = rng.getrandbits(64) - 2**63
    confirming = (sum(1 << bit for bit in rng.sample(range(256), 24))).to_bytes(32, "big")  # any two: 32 to 48 bits
    return {
        "pair_id": pair_id,
        "sha256": sha256 or f"{pair_id:064x}",
        "phash": unlike if phash is None else phash,
        "pdq": pdq or (rng.randbytes(32) if phash is None else confirming),
        "pdq_quality": quality,
        "colours": colours,
        "width_px": size[0],
        "height_px": size[1],
    }


def run(make, images, config=None, **tables):
    """``duplicate`` as pair_id: (group_id, keeper_id, kind, distance), and ``dropped`` as pair_id: (reason, evidence)."""
    pairs = [{"pair_id": image["pair_id"], "url_key": str(image["pair_id"]), "caption": "a"} for image in images]
    work = make({"dedup": {**RADII, **(config or {})}}, pair=pairs, image=images, **tables)
    dedup.run(work)
    duplicate = {
        row["pair_id"]: (row["group_id"], row["keeper_id"], row["kind"], row["distance"])
        for row in work.store.read("duplicate").to_pylist()
    }
    rows = work.store.read("dropped", ["dedup"]).to_pylist()
    assert {row["stage"] for row in rows} <= {"dedup"}
    return duplicate, {row["pair_id"]: (row["reason"], row["evidence"]) for row in rows}


def test_every_tie_on_every_engine(make_work):
    images = [
        picture(1),
        picture(10, sha256="a"), picture(-11, sha256="a"),
        picture(20, phash=0), picture(21, phash=0b1111, size=(200, 100)), picture(22, phash=0b11111 << 40),
        picture(30, pdq=PDQ), picture(31, pdq=flipped(PDQ, 31)), picture(32, pdq=flipped(PDQ[::-1], 32)),
        picture(40, phash=-1), picture(41, phash=-1 ^ 0b111), picture(42, phash=-1 ^ 0b111111),
        picture(50, phash=99, pdq=UNLIKE), picture(51, phash=99, pdq=flipped(UNLIKE, 60)),
        picture(60, phash=777 << 30, pdq=UNLIKE[::-1]), picture(61, phash=777 << 30, pdq=flipped(UNLIKE[::-1], 61)),
        picture(70, phash=55 << 50, pdq=b"short"), picture(71, phash=55 << 50, pdq=b"short"),
    ]  # fmt: skip
    duplicate, dropped = run(make_work, images)
    assert duplicate == {
        10: (-11, -11, "exact", 0), -11: (-11, -11, "exact", 0),
        20: (20, 21, "phash", 4), 21: (20, 21, "exact", 0),
        30: (30, 30, "exact", 0), 31: (30, 30, "pdq", 31),
        40: (40, 40, "exact", 0), 41: (40, 40, "phash", 3), 42: (40, 40, "linked", None),
        50: (50, 50, "exact", 0), 51: (50, 50, "phash", 0),
    }  # fmt: skip
    assert dropped == {
        10: ("exact_duplicate", "keeper=-11 kind=exact distance=0"),
        20: ("near_duplicate", "keeper=21 kind=phash distance=4"),
        31: ("near_duplicate", "keeper=30 kind=pdq distance=31"),
        41: ("near_duplicate", "keeper=40 kind=phash distance=3"),
        42: ("near_duplicate", "keeper=40 kind=linked"),
        51: ("near_duplicate", "keeper=50 kind=phash distance=0"),
    }


def test_keeper_has_most_pixels_then_the_lowest_id(make_duckdb_work):
    sizes = {5: (10, 300), 3: (50, 61), 4: (61, 50), -9: (None, None)}
    duplicate, dropped = run(make_duckdb_work, [picture(n, phash=7, size=size) for n, size in sizes.items()])
    assert {row[1] for row in duplicate.values()} == {3} and set(dropped) == {5, 4, -9}


def test_the_strictest_tie_to_the_keeper_is_told(make_duckdb_work):
    images = [picture(1, "a", 0, PDQ), picture(2, "a", 0, PDQ), picture(3, "b", 0, PDQ), picture(4, "c", 99, PDQ)]
    duplicate, _ = run(make_duckdb_work, images)
    assert {n: row[2:] for n, row in duplicate.items()} == {
        1: ("exact", 0), 2: ("exact", 0), 3: ("phash", 0), 4: ("phash", 4),
    }  # fmt: skip


def test_without_colours_flat_pictures_are_compared_by_their_bytes_alone(make_duckdb_work):
    images = [picture(n, phash=0, pdq=bytes(32), quality=quality) for n, quality in enumerate((49, 49, None, 50, 50))]
    images += [picture(n, sha256="flat", quality=0) for n in (8, 9)]
    duplicate, _ = run(make_duckdb_work, images)
    assert {n: row[1:] for n, row in duplicate.items()} == {
        3: (3, "exact", 0), 4: (3, "phash", 0), 8: (8, "exact", 0), 9: (8, "exact", 0),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({}, {1, 2, 3, 4, 5, 6}),
        ({"exact": False}, {3, 4, 5, 6}),
        ({"phash_max_distance": None}, {1, 2, 5, 6}),
        ({"phash_max_distance": 0}, {1, 2, 5, 6}),
        ({"pdq_max_distance": None}, {1, 2, 3, 4}),
        ({"pdq_max_distance": 19}, {1, 2, 3, 4}),
        ({"pdq_max_distance": 20, "phash_max_distance": None, "exact": False}, {5, 6}),
        ({"exact": False, "phash_max_distance": None, "pdq_max_distance": None}, set()),
    ],
)
def test_each_kind_can_be_switched_off(make_duckdb_work, config, found):
    images = [picture(1, sha256="a"), picture(2, sha256="a"), picture(3, phash=0), picture(4, phash=1)]
    images += [picture(5, pdq=PDQ), picture(6, pdq=flipped(PDQ, 20))]
    assert set(run(make_duckdb_work, images, config)[0]) == found


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({}, {1, 2}),
        ({"confirming_pdq_max_distance": 49}, set()),
        ({"confirming_pdq_max_distance": 80}, {1, 2, 3}),
        ({"confirming_pdq_max_distance": None}, {1, 2, 3, 4}),
        ({"confirming_pdq_max_distance": 80, "pdq_max_distance": None}, {1, 2, 3}),
    ],
)
@pytest.mark.parametrize("split_above", [None, 1])
def test_how_far_pdq_may_differ_where_phash_is_near(make_duckdb_work, config, found, split_above):
    images = [picture(1, phash=0, pdq=PDQ, size=(999, 999)), picture(2, phash=1, pdq=flipped(PDQ, 50))]
    images += [picture(3, phash=2, pdq=flipped(PDQ[::-1], 80)[::-1]), picture(4, phash=3, pdq=b"none")]
    duplicate, _ = run(make_duckdb_work, images, {**config, "split_above": split_above})
    assert set(duplicate) == found
    assert {row[2] for pair_id, row in duplicate.items() if pair_id > 1} <= {"phash"}


@pytest.mark.parametrize("split_above", [None, 1])
def test_colours_confirm_what_hashes_find_on_every_engine(make_work, split_above):
    turned = PDQ[::-1]
    images = [
        picture(1, phash=0, colours=grey(100), size=(300, 300)), picture(2, phash=1, colours=grey(116)),
        picture(3, phash=0, colours=grey(180), size=(200, 200)), picture(4, phash=0, colours=grey(180)),  # of another colour
        picture(5, phash=0, colours=grey(100, cells=(99,))),  # with a logo
        picture(6, phash=0), picture(7, phash=0, colours=b"short"),  # unknown: only equal bytes tie them
        picture(8, sha256="a"), picture(9, sha256="a", phash=0),
        picture(10, phash=-1, colours=grey(50), size=(300, 300), quality=0), picture(11, phash=-2, colours=grey(50), quality=0),
        picture(30, pdq=turned, colours=grey(9)), picture(31, pdq=flipped(turned, 31), colours=grey(10)),
        picture(32, pdq=flipped(turned, 31), colours=grey(90)), picture(33, pdq=turned),
        picture(34, pdq=turned, colours=grey(9), quality=49),
    ]  # fmt: skip
    duplicate, _ = run(make_work, images, {"colour_max_distance": 16, "split_above": split_above})
    assert {n: row[1:] for n, row in duplicate.items()} == {
        1: (1, "exact", 0), 2: (1, "phash", 1),
        3: (3, "exact", 0), 4: (3, "phash", 0),
        8: (8, "exact", 0), 9: (8, "exact", 0),
        10: (10, "exact", 0), 11: (10, "phash", 1),
        30: (30, "exact", 0), 31: (30, "pdq", 31),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"colour_max_distance": 16}, {1, 2}),
        ({"colour_max_distance": 100}, {1, 2, 3}),
        ({"colour_max_distance": 124}, {1, 2, 3}),
        ({"colour_max_distance": 125}, {1, 2, 3, 4}),
        ({"colour_max_distance": 0, "colour_spared_cells": 1}, {1, 2, 4}),
        ({"colour_max_distance": 100, "confirming_pdq_max_distance": 29}, set()),
        ({"colour_max_distance": None}, {1, 3, 4, 5}),  # the second is flat, the fifth unknown
        ({"phash_max_distance": None}, set()),
    ],
)
def test_how_far_colours_may_differ(make_duckdb_work, config, found):
    images = [
        picture(1, phash=0, colours=grey(100), size=(300, 300)), picture(2, phash=0, colours=grey(100), quality=9),
        picture(3, phash=7, colours=grey(0)), picture(4, phash=0, colours=grey(100, cells=(99,))),
        picture(5, phash=0),
    ]  # fmt: skip
    assert set(run(make_duckdb_work, images, config)[0]) == found


def test_one_url_with_two_captions_is_one_picture(make_duckdb_work):
    image = picture(1)
    pairs = [{"pair_id": n, "url_key": "a.example/1.jpg", "caption": str(n)} for n in (1, 2)]
    work = make_duckdb_work({}, pair=pairs, image=[image, {**image, "pair_id": 2}])
    dedup.run(work)
    assert work.store.read("dropped")["reason"].to_pylist() == ["exact_duplicate"]


def test_pictures_without_hashes_and_pairs_without_pictures(make_duckdb_work):
    images = [{"pair_id": n, "pdq_quality": 100, "pdq": b"short" if n else None} for n in range(3)]
    work = make_duckdb_work({}, pair=[{"pair_id": n, "url_key": str(n), "caption": ""} for n in range(5)], image=images)
    dedup.run(work)
    assert work.store.read("duplicate").num_rows == work.store.read("dropped").num_rows == 0


def test_pairs_dropped_before_are_no_keepers(make_duckdb_work):
    gone = [{"pair_id": 1, "stage": "filter", "reason": "language"}]
    images = [picture(1, phash=0, size=(999, 999)), picture(2, phash=0), picture(3, phash=0)]
    assert set(run(make_duckdb_work, images, dropped=gone)[0]) == {2, 3}


def test_a_blank_picture_that_occurs_often_stays_linear(make_duckdb_work):
    blank = {**picture(0, pdq=PDQ, phash=3), "sha256": None}
    images = [{**blank, "pair_id": n, "sha256": f"{n // 2:064x}"} for n in range(100_000)]
    duplicate, dropped = run(make_duckdb_work, images)
    assert len(duplicate) == 100_000 and set(range(100_000)) - set(dropped) == {0}


def test_a_picture_that_occurs_in_many_near_copies_stays_linear(make_duckdb_work, monkeypatch):
    """Two bits of 256 can be flipped in 32,640 ways; all pairs of 100,000 pictures would be 5 billion."""
    places = itertools.islice(itertools.cycle(itertools.combinations(range(256), 2)), 100_000)
    near = [(1 << one | 1 << other).to_bytes(32, "big") for one, other in places]
    other = (2**100 - 1).to_bytes(32, "big")
    images = [picture(n, pdq=pdq) for n, pdq in enumerate([bytes(32), *near, other, flipped(other, 3)])]
    config = {"phash_max_distance": None, "split_above": None}
    searched = []
    monkeypatch.setattr(_near, "near", lambda engine, *args, near=_near.near: (
        searched.append(engine.rows("SELECT count(*) AS rows FROM word")["rows"][0].as_py()), near(engine, *args),
    ))  # fmt: skip
    duplicate, _ = run(make_duckdb_work, images, config)
    assert {row[1] for row in duplicate.values()} == {0, 100_001}
    assert len(duplicate) == len(images)
    assert searched[0] < 4 * 1000


def chain(length, step):
    """Pictures each of which is near the next, the first the largest."""
    return [picture(n, phash=(1 << step * n) - 1, size=(500 - n, 1)) for n in range(length)]


def test_long_chains_are_split_by_distance_to_the_keeper_on_every_engine(make_work):
    images = [*chain(12, 4), picture(50, phash=-1), picture(51, phash=-2), picture(52, phash=-3)]
    duplicate, dropped = run(make_work, images, {"split_above": 11})
    assert {n: row[:2] for n, row in duplicate.items()} == {
        **{n: (n // 2 * 2, n // 2 * 2) for n in range(12)},
        50: (50, 50), 51: (50, 50), 52: (50, 50),
    }  # fmt: skip
    assert set(dropped) == {1, 3, 5, 7, 9, 11, 51, 52}


def test_split_groups_are_reported_and_others_are_left(make_duckdb_work, caplog):
    images = [*chain(12, 4), *(picture(100 + n, sha256="logo") for n in range(30))]
    pairs = [{"pair_id": image["pair_id"], "url_key": str(image["pair_id"]), "caption": "a"} for image in images]
    work = make_duckdb_work({"dedup": {**RADII, "split_above": 5}}, pair=pairs, image=images)
    dedup.run(work)
    assert work.store.mark("dedup", "all").extra["split_groups"] == [{"group_id": 0, "members": 12, "became": 6}]
    assert "12 pictures were chained together" in caplog.text and "split into 6" in caplog.text
    kept = work.store.read("duplicate").group_by("group_id").aggregate([("pair_id", "count")]).to_pylist()
    assert {row["group_id"]: row["pair_id_count"] for row in kept} == {100: 30, **dict.fromkeys(range(0, 12, 2), 2)}
    unsplit = make_duckdb_work({"dedup": {**RADII, "split_above": None}}, pair=pairs, image=images)
    dedup.run(unsplit)
    assert unsplit.store.mark("dedup", "all").extra["split_groups"] == []
    assert set(unsplit.store.read("duplicate")["group_id"].to_pylist()) == {0, 100}


def expected_groups(images, radius, levels):
    """By comparing every two, again and again."""

    def tied(a, b):
        colours = [pa.array([image["colours"]], pa.binary()) for image in (a, b)]
        near = (a["phash"] ^ b["phash"]).bit_count() <= radius and colour_distance(*colours, pa.array([0], pa.int32()))[
            0
        ].as_py() <= levels
        return a["sha256"] == b["sha256"] or near

    group = {image["pair_id"]: image["pair_id"] for image in images}
    for _ in images:
        for a in images:
            for b in images:
                if tied(a, b):
                    group[a["pair_id"]] = min(group[a["pair_id"]], group[b["pair_id"]])
    members = list(group.values())
    return {pair_id: one for pair_id, one in group.items() if members.count(one) > 1}


IMAGES = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 2**9), st.integers(1, 3), st.integers(0, 4)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(IMAGES, st.integers(0, 3), st.sampled_from([0, 20, 60]), st.randoms())
def test_groups_are_those_of_brute_force_in_any_order_and_need_no_second_pass(
    make_duckdb_work, rows, radius, levels, shuffler
):
    images = [
        picture(n * 31 - 100, sha, phash, colours=grey(40 * step), size=(side, 10))
        for n, (sha, phash, side, step) in enumerate(rows)
    ]
    config = {"phash_max_distance": radius, "pdq_max_distance": None, "colour_max_distance": levels}
    config["confirming_pdq_max_distance"] = None
    duplicate, dropped = run(make_duckdb_work, images, config)
    assert {pair_id: row[0] for pair_id, row in duplicate.items()} == expected_groups(images, radius, levels)
    keepers = {row[1] for row in duplicate.values()}
    assert set(dropped) == set(duplicate) - keepers
    assert run(make_duckdb_work, shuffler.sample(images, len(images)), config) == (duplicate, dropped)
    left = [image for image in images if image["pair_id"] not in dropped]
    assert run(make_duckdb_work, left, config) == ({}, {})
