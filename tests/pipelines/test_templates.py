"""Templates of captions, and which of them are near: against every two compared, on every engine."""

from __future__ import annotations

import itertools

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairshard.pipelines._templates import BANDED, SHARED, TEMPLATE, templates
from fairshard.udfs.components import components
from fairshard.udfs.shingles import BANDS, text_jaccard
from fairshard.udfs.text import caption_template


def grouped(work, captions, least=0.7, ids=None):
    """Sets of captions' numbers that share a template or near ones; those alone left out."""
    ids = list(range(len(captions))) if ids is None else ids
    work.engine.clear()
    work.engine.register("alive", pa.table({"pair_id": pa.array(ids, pa.int64()), "caption": captions}))
    templates(work.engine, least)
    rows = work.engine.rows("SELECT pair_id, template_id FROM of_template").to_pylist()
    assert sorted(row["pair_id"] for row in rows) == sorted(ids)
    return together((row["template_id"], row["pair_id"]) for row in rows)


def together(members):
    groups = {}
    for group, member in members:
        groups.setdefault(group, set()).add(member)
    return {frozenset(group) for group in groups.values() if len(group) > 1}


def compared(captions, least):
    """The same by comparing every two."""
    template = caption_template(pa.array(captions, pa.string()))
    pairs = list(itertools.combinations(range(len(captions)), 2))
    left, right = (pa.array([pair[end] for pair in pairs], pa.int64()) for end in (0, 1))
    near = pa.array(text_jaccard(template.take(left), template.take(right)).to_numpy() >= least)
    ids, groups = components(left.filter(near), right.filter(near))
    return together(zip(groups.to_pylist(), ids.to_pylist(), strict=True))


CAPTIONS = [
    "IMG_1234.jpg", "img-77.JPG", "Product 5512 - Buy online at Yarnhouse", "product 9 — buy online at yarnhouse!",
    "A quiet harbour in the evening, with boats and two fishermen on the pier",
    "A quiet harbour in the evening, with boats and three fishermen on the pier",
    "a quiet harbor in the evening with boats and three fishermen on the pier",
    "Vintage red dress with long sleeves | Etsy", "Vintage red dress with long sleeves",
    "山の上にある古い神社と満開の桜の木、春の朝の旅の写真素材", "山の上にある古い神社と満開の桜の木、春の夜の旅の写真素材",
    "下龙湾的日落和渔船，越南旅游摄影作品", "下龙湾的日落和渔船，越南旅游摄影作品集",
    "Старый деревянный дом у реки поздней осенью", "старый деревянный дом у реки, поздней осенью 2019", "Another dog", "a cat", "a bat",
]  # fmt: skip


def test_groups_are_those_of_comparing_every_two_on_every_engine(make_work):
    expected = {frozenset(group) for group in [(0, 1), (2, 3), (4, 5, 6), (7, 8), (9, 10), (11, 12), (13, 14)]}
    assert grouped(make_work({}), CAPTIONS) == compared(CAPTIONS, 0.7) == expected


def test_equal_templates_alone_on_every_engine(make_work):
    work = make_work({})
    assert grouped(work, CAPTIONS, least=1) == grouped(work, CAPTIONS, least=None) == {
        frozenset((0, 1)), frozenset((2, 3)),
    }  # fmt: skip


BASES = ["a quiet harbour in the evening with boats and fishermen on the pier", "vintage red dress with long sleeves",
         "山の上の古い神社と桜の木春の朝の写真素材です"]  # fmt: skip
EDITED = st.tuples(
    st.sampled_from(BASES), st.lists(st.tuples(st.integers(0, 60), st.sampled_from("xyz神")), max_size=2)
)


def edited(base, edits):
    for place, letter in edits:
        base = base[: place % len(base)] + letter + base[place % len(base) + 1 :]
    return base


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(EDITED, max_size=10).map(lambda drawn: [edited(*one) for one in drawn]), st.randoms())
def test_groups_hold_what_is_surely_near_and_nothing_that_is_not(make_duckdb_work, captions, random):
    """At 0.9 one pair in 10^8 shares no band; below the index nothing may be tied."""
    work = make_duckdb_work({})
    found = grouped(work, captions)
    assert all(any(sure <= group for group in found) for sure in compared(captions, 0.9))
    assert all(any(group <= possible for possible in compared(captions, 0.7)) for group in found)
    ids = random.sample(range(len(captions)), len(captions))
    assert grouped(work, [captions[n] for n in ids], ids=ids) == found


def test_a_caption_that_occurs_very_often_is_searched_with_once(make_duckdb_work):
    work = make_duckdb_work({})
    captions = [f"IMG_{n}.jpg" for n in range(20_000)]
    assert grouped(work, captions) == {frozenset(range(20_000))}
    assert work.engine.rows("SELECT template FROM template").to_pylist() == [{"template": "img # jpg"}]


def test_ties_of_a_crowd_grow_with_its_number(make_duckdb_work):
    """Different templates, all near each other: a word of four letters in a long sentence."""
    letters = [a + b + c + "e" for a, b, c in itertools.product("bcdfghklmnprst", "aeiou", "dgklmnprstvz")]
    sentence = "the {} company is the leading seller of hand made oak furniture for house, office and garden since then"
    work = make_duckdb_work({})
    assert grouped(work, [sentence.format(word) for word in letters]) == {frozenset(range(len(letters)))}
    ties = work.engine.rows("SELECT count(*) AS ties FROM tie")["ties"][0].as_py()
    assert len(letters) <= ties <= 4 * BANDS * len(letters) < len(letters) ** 2 / 2


def test_only_bands_that_templates_share_are_kept(make_duckdb_work):
    engine = make_duckdb_work({}).engine
    captions = [*CAPTIONS[4:6], "nothing like it at all"]
    engine.register("alive", pa.table({"pair_id": [1, 2, 3], "caption": captions}))
    engine.step("template", TEMPLATE, keep=True)
    engine.step("banded", BANDED)
    rows = engine.rows(SHARED)
    assert rows.num_rows and set(rows["place"].to_pylist()) == {1, 2}
    assert len(set(rows["template_id"].to_pylist())) == 2
