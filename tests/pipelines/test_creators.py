"""Listed creators, wherever a name can stand: the source's column, the caption, the file."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fairshard.pipelines import consult, screen

PAIRS = [
    {"pair_id": 1, "creator": " mara  LINDQVIST ", "caption": "boats"},
    {"pair_id": 2, "caption": "Boats, by Mara Lindqvist (2019)"},
    {"pair_id": 3, "caption": "a mara, and a lindqvist"},
    {"pair_id": 4, "caption": "Tamara Lindqvists boats"},
    {"pair_id": 5, "caption": "a harbour"},
    {"pair_id": 6, "caption": "after Ola Ek", "creator": "Nobody"},
]
IMAGES = [
    {"pair_id": 5, "file_creators": ["Somebody Else", "Mara Lindqvist"], "final_url": "https://a.example/1.jpg"},
    {"pair_id": 6, "file_creators": ["mara.lindqvist"], "final_url": "https://a.example/1.jpg"},
]


CAPTIONS = [(2, "deny", "caption", "creator_in_caption=deny")]


@pytest.mark.parametrize(("policy", "captions"), [("strict", CAPTIONS), ("eu", [])])
def test_a_listed_name_is_found_where_it_stands(make_work, policy, captions):
    registry = {"name": "artists", "path": "artists.csv", "scope": "creator"}
    work = make_work({"registries": [registry], "policy": policy}, pair=PAIRS, image=IMAGES)
    lines = "creator,action,evidence\nMara Lindqvist,deny,\nOla Ek,allow,letter\n"
    (work.job.folder / "artists.csv").write_text(lines)
    consult.match_registries(work, datetime.now(UTC))
    work.clear()
    screen.match_lists(work, datetime.now(UTC))
    rows = work.store.read("signal").to_pylist()
    found = sorted((row["pair_id"], row["verdict"], row["scope"], row["only_if"]) for row in rows)
    assert found == [(1, "deny", "creator", None), *captions, (5, "deny", "creator", None)]
