"""Which caption a line repeats: as comparing it with every caption tells, in whatever batches captions come."""

from __future__ import annotations

import functools

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairshard.pipelines._audit_row import Row
from fairshard.pipelines._audit_text import RUN_WORDS, _Search
from fairshard.udfs.overlap import length, longest_shared_run, spaced
from fairshard.udfs.text import caption_key

TEXTS = st.lists(st.sampled_from(["a", "B", "c!", "猫", "é"]), min_size=1, max_size=24).map(" ".join)


def audited(lines: list[str], captions: list[str], batch: int = 3) -> list[Row]:
    """Captions have their place for an id, and come in any order."""
    search = _Search(dict(enumerate(lines, 1)))
    order = sorted(range(len(captions)), key=lambda place: (place % 2, -place))
    for start in range(0, len(order), batch):
        ids = order[start : start + batch]
        search.look(pa.array(ids, pa.int64()), pa.array([captions[one] for one in ids], pa.string()))
    return [search.row(number) for number in range(1, len(lines) + 1)]


@functools.cache
def words(text: str) -> list[str]:
    return spaced(caption_key(pa.array([text])))[0].as_py().split()


def closest(line: str, captions: list[str]) -> tuple[int | None, float]:
    """The caption, and what it shares, by comparing them all."""
    found = []
    for place, caption in enumerate(captions):
        shared = longest_shared_run(words(line), words(caption))
        if words(line) == words(caption):
            found.append((0 if line == caption else 1, -length(words(caption)), place))
        elif shared >= RUN_WORDS:
            found.append((2, -shared, place))
    return (min(found)[2], -min(found)[1]) if found else (None, 0.0)


@settings(max_examples=25)
@given(st.lists(TEXTS, min_size=1, max_size=4), st.lists(TEXTS, max_size=8))
def test_the_closest_is_that_of_comparing_them_all(lines, captions):
    lines += captions[:1]
    rows = audited(lines, captions)
    assert [(row["pair_id"], row["value"]) for row in rows] == [closest(line, captions) for line in lines]


CHINESE = "一只黑猫躺在窗台上看着外面的雪花慢慢落下来"


@pytest.mark.parametrize(
    ("line", "value", "detail"),
    [
        (CHINESE, 10.5, "repeats it verbatim; 1 released pairs have this caption"),
        (
            f"「{CHINESE}」",
            10.5,
            "repeats it but for case, punctuation and spacing; 1 released pairs have this caption",
        ),
        (f"图中{CHINESE[2:]}。", 9.5, "shares 9.5 words in a row with it"),
        (CHINESE[:12], 0.0, "repeats no caption"),
    ],
)
def test_scripts_without_spaces_are_compared_by_character(line, value, detail):
    (row,) = audited([line], ["a cat", CHINESE])
    assert (row["value"], row["detail"], row["finding"]) == (value, detail, value > 0)


def test_captions_without_letters():
    rows = audited([":-)", "!!!"], ["!!!", "!!", "!!!"])
    assert [(row["pair_id"], row["finding"]) for row in rows] == [(None, False), (0, True)]
    assert "2 released pairs" in rows[1]["detail"]
