import re
import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairshard.schemas.errors import ContractError
from fairshard.udfs import text
from fairshard.udfs.arrow import pc, udf


def clean(caption, most=2000):
    return text.caption_clean(pa.array([caption], pa.string()), pa.array([most], pa.int32()))[0].as_py()


@pytest.mark.parametrize(
    ("caption", "cleaned"),
    [
        ("a\x00b\n\tc  d", "a b c d"),
        ("  \u00a0 ", None),
        ("\x00\x01", None),
        ("e\u0301t\u00e9", "été"),
        ("\ufeffhi\u202e", "hi"),
        ("می‌خواهم", "می‌خواهم"),  # the joiner of Persian stays
        (None, None),
    ],
)
def test_caption_clean(caption, cleaned):
    assert clean(caption) == cleaned


def test_a_caption_is_cut_by_characters():
    assert clean("ä" * 100_000, 2000) == "ä" * 2000
    assert clean("ab cd", 3) == "ab"


@given(st.text(max_size=50))
def test_cleaning_is_idempotent(caption):
    once = clean(caption)
    assert once is None or clean(once) == once


def cleaned_slowly(caption: str, most: int) -> str | None:
    """By Python's own tables."""
    spaced = re.sub("[\x00-\x1f\x7f-\x9f\ufeff\u202a-\u202e\u2066-\u2069\u2028\u2029]+", " ", caption)
    return re.sub(" {2,}", " ", unicodedata.normalize("NFC", spaced)).strip()[:most].strip() or None


PIECES = st.sampled_from([
    *"ab.! \t\x00\u00e9\u0301\u00a0\u00c5\u212b\u0374\u037e\u0387\u0439\u0306\u0438\u3000\u3099\u304b\u4e2d\uac00\u1100\u1161"
    "\u11a8\u2013\u2122\u2126\u200d\ufe0f\U0001f600\ufeff\u202e\x85", "word ",
])  # fmt: skip


@given(st.lists(PIECES, max_size=12).map("".join), st.integers(1, 12))
def test_a_caption_is_cleaned_as_unicode_says(caption, most):
    assert clean(caption, most) == cleaned_slowly(caption, most)


def test_no_character_that_is_taken_for_clean_changes_or_combines():
    every = [chr(code) for code in range(0x20000) if not 0xD800 <= code < 0xE000]
    passed = pa.array(every).filter(pc.match_substring_regex(pa.array(every), text._CLEAN)).to_pylist()
    assert {"a", "\u00e9", "\u0439", "\u4e2d", "\uac00"} < set(passed)
    parts = (unicodedata.decomposition(char).split() for char in every)
    combining = {chr(int(pair[1], 16)) for pair in parts if len(pair) == 2 and not pair[0].startswith("<")}
    assert [char for char in passed if char in combining or char.isspace() or unicodedata.combining(char)] == []
    assert unicodedata.normalize("NFC", "".join(passed)) == "".join(passed)


def test_keys_for_comparison():
    captions = pa.array(["A cat!  on-a mat", "a CAT on a mat", "!!!", None])
    assert text.caption_key(captions).to_pylist() == ["a cat on a mat", "a cat on a mat", "!!!", None]
    names = pa.array([" Ana  BÉ ", "Straße", "  ", None])
    assert text.name_key(names).to_pylist() == ["ana bé", "strasse", None, None]


@pytest.mark.parametrize(
    ("caption", "template"),
    [
        ("IMG_1234.jpg", "img # jpg"),
        ("img-77.JPG", "img # jpg"),
        ("Product 5512 - Buy online at X", "product # buy online at x"),
        ("photo, 1024x768 px, 31.12.2019", "photo # px #"),
        ("550e8400-e29b-41d4-a716-446655440000", "#"),
        ("商品5512号 送料無料", "商品#号 送料無料"),  # no space parts the number from the words
        ("модель а5", "модель а#"),
        ("٣ صور", "# صور"),
        ("½ cup, ﬁg. Ⅳ", "# cup fig iv"),
        ("no number", "no number"),
        ("!!!", "!!!"),
        (None, None),
    ],
)
def test_caption_template(caption, template):
    assert text.caption_template(pa.array([caption], pa.string())).to_pylist() == [template]


@given(st.text(max_size=30), st.lists(st.integers(0, 10**9), min_size=2, max_size=2))
def test_a_template_knows_no_number(caption, numbers):
    one, other = text.caption_template(pa.array([f"{caption} {number} end" for number in numbers])).to_pylist()
    assert one == other and not any(char.isdigit() for char in one)


def test_counts():
    assert text.word_count(pa.array(["a b  c", "", None])).to_pylist() == [3, 0, None]
    assert text.char_count(pa.array(["äb", "", None])).to_pylist() == [2, 0, None]


def test_phrases():
    texts = ["a b c", None, "x", ""]
    found = text.phrases(pa.array(texts), pa.array([2] * 4, pa.int32())).to_pylist()
    assert found == [["a", "b", "c", "a b", "b c"], None, ["x"], [""]]


def test_the_hash_is_xxh3_and_never_changes():
    # As xxhsum prints them.
    assert text.stable_hash(pa.array(["", None, "a"])).to_pylist() == [
        0x2D06800538D394C2,
        None,
        0xE6C632B61E964E1F - 2**64,
    ]


def test_the_second_hash_is_xxh64():
    first, second = text.two_hashes(pa.array(["", None, "a"]))
    assert first.equals(text.stable_hash(pa.array(["", None, "a"])))
    assert second.to_pylist() == [0xEF46DB3751D8E999 - 2**64, None, 0xD24EC4F1A98C6E5B - 2**64]


def test_a_function_is_held_to_its_contract():
    @udf(pa.string(), returns=pa.int64())
    def wrong(value):
        return pa.array([1], pa.int32())

    with pytest.raises(ContractError, match=r"int32\[1\] came back; expected int64\[1\]"):
        wrong(pa.array(["a"]))
    with pytest.raises(ContractError, match="an argument of int64"):
        wrong(pa.array([1]))
    with pytest.raises(ContractError, match="2 arguments"):
        wrong(pa.array(["a"]), pa.array(["a"]))


def test_chunks_are_joined():
    chunked = pa.chunked_array([["a"], [], ["b c"]], pa.string())
    assert text.word_count(chunked).to_pylist() == [1, 2]
