import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairshard.udfs import shingles
from fairshard.udfs.shingles import BANDS, ROWS, outline_jaccard, text_bands, text_jaccard, text_outline

TEXTS = st.one_of(st.none(), st.text("ab 商品の山", max_size=12), st.text(max_size=6))


def shingle_set(text):
    text = f"\x02{text}"
    padded = text + "\0" * 4
    return {padded[n : n + (3 if char >= "\u2e80" else 5)] for n, char in enumerate(text)}


def jaccard_slowly(left, right):
    if left is None or right is None:
        return None
    mine, its = shingle_set(left), shingle_set(right)
    return len(mine & its) / len(mine | its)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=20))
def test_jaccard_is_that_of_the_sets(pairs):
    left, right = (pa.array([pair[end] for pair in pairs], pa.string()) for end in (0, 1))
    assert text_jaccard(left, right).to_pylist() == [jaccard_slowly(*pair) for pair in pairs]


def test_jaccard_of_more_rows_than_a_block_has(monkeypatch):
    monkeypatch.setattr(shingles, "_MOST_ROWS", 3)
    left = pa.array(["a cat", "a cat", None, "", "red dress", "a", "x"])
    right = pa.array(["a cat", "a cap", "x", "", "red dresses", "b", "x"])
    assert text_jaccard(left, right).to_pylist() == [
        jaccard_slowly(*pair) for pair in zip(left.to_pylist(), right.to_pylist(), strict=True)
    ]


def test_bands_never_change():
    bands = text_bands(pa.array(["a cat on a mat", None, "猫が座る"])).to_pylist()
    assert [len(bands[0]), bands[1], len(bands[2])] == [BANDS, None, BANDS]
    assert [bands[0][0], bands[0][-1], bands[2][0]] == [-5963400432070207751, 1929299447679032364, -6126724512984256965]


def test_bands_depend_on_the_text_alone():
    texts = ["a cat on a mat", "a dog", "", "猫が座る", "a cat on a mat"]
    together = text_bands(pa.array(texts)).to_pylist()
    assert together == [text_bands(pa.array([text])).to_pylist()[0] for text in texts]
    assert text_bands(pa.array(texts)[1:3]).to_pylist() == together[1:3]
    assert text_bands(pa.array([], pa.string())).to_pylist() == []


@pytest.mark.parametrize("script", ["abcdefghij klmnop", "".join(map(chr, range(0x4E00, 0x4F00)))])
def test_texts_meet_as_often_as_the_curve_says(script):
    draw = np.random.default_rng(0)
    letters = np.array(list(script))
    texts = ["".join(draw.choice(letters, 60)) for _ in range(4000)]
    share = draw.integers(20, 60, len(texts))
    others = [text[:kept] + other[kept:] for text, other, kept in zip(texts, reversed(texts), share, strict=True)]
    index = text_jaccard(pa.array(texts), pa.array(others)).to_numpy()
    mine, its = (np.array(text_bands(pa.array(one)).to_pylist()) for one in (texts, others))
    for low in (0.3, 0.4, 0.5, 0.6, 0.7):
        some = (index >= low) & (index < low + 0.1)
        expected = 1 - (1 - index[some] ** ROWS) ** BANDS
        assert np.mean((mine == its)[some].any(axis=1)) == pytest.approx(expected.mean(), abs=0.06)
        assert np.mean((mine == its)[some]) == pytest.approx(np.mean(index[some] ** ROWS), rel=0.2, abs=0.01)


def test_through_sql_on_every_engine(make_work):
    texts = [f"caption {n} of a cat" if n % 7 else None for n in range(3000)]
    engine = make_work({}).engine
    engine.register("given", pa.table({"n": range(len(texts)), "text": texts}))
    rows = engine.rows(
        "SELECT n, text_bands(text) AS bands, text_jaccard(text, 'caption 1 of a cat') AS jaccard FROM given"
    ).sort_by("n")
    given_texts = pa.array(texts)
    assert rows["bands"].to_pylist() == text_bands(given_texts).to_pylist()
    assert rows["jaccard"].to_pylist() == text_jaccard(given_texts, pa.array(["caption 1 of a cat"] * 3000)).to_pylist()


LONGER = st.one_of(TEXTS, st.text("abc d", min_size=20, max_size=700))


@given(st.lists(st.tuples(LONGER, LONGER), max_size=20))
def test_outlines_never_say_less_than_the_index(pairs):
    left, right = (pa.array([pair[end] for pair in pairs], pa.string()) for end in (0, 1))
    most = outline_jaccard(text_outline(left), text_outline(right)).to_pylist()
    for bound, index in zip(most, text_jaccard(left, right).to_pylist(), strict=True):
        assert (bound is None) == (index is None)
        assert bound is None or index <= bound <= 1


def test_outlines_tell_other_texts_apart():
    draw = np.random.default_rng(1)
    texts = pa.array(["".join(draw.choice(list("abcdefghij klmnop"), length)) for length in range(20, 220)])
    most = outline_jaccard(text_outline(texts), text_outline(texts.take(pa.array(range(199, -1, -1))))).to_numpy()
    assert most.max() < 0.5
    assert outline_jaccard(text_outline(texts), text_outline(texts)).to_pylist() == [1.0] * len(texts)


def test_outlines_never_change(monkeypatch):
    texts = pa.array(["a cat on a mat", None, "猫が座る", "a cat on a mat"])
    outlines = text_outline(texts)
    digests = [outline and hashlib.sha256(outline).hexdigest()[:16] for outline in outlines.to_pylist()]
    assert digests == ["273cec82b69a0cb2", None, "c4f67c75e0de73fb", "273cec82b69a0cb2"]
    monkeypatch.setattr(shingles, "_MOST_ROWS", 3)
    assert text_outline(texts).equals(outlines)
    assert text_outline(texts[1:3]).equals(outlines[1:3])
    assert text_outline(pa.array([], pa.string())).equals(pa.array([], pa.binary()))
    assert outline_jaccard(outlines[1:3], outlines[2:]).to_pylist()[0] is None
