"""What LAION threw away, held to the rule as one would write it for a single pair."""

import random
import re

import pyarrow as pa
import pytest

from fairshard.udfs.laion import laion_reason


def _reason(url: str | None, caption: str | None) -> str | None:
    if url is None or caption is None or not caption.strip() or not re.match(r"(?i)\s*https?:", url):
        return None
    if len(url) > 2_048:
        return "long_url"
    if re.split(r"[?#]", url)[0].lower().endswith((".svg", ".gif", ".ico")):
        return "format"
    return "short_caption" if len(caption.strip()) < 5 else None


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://a.example/x.jpg", None),
        ("https://a.example/x.GIF", "format"),
        ("https://a.example/x.svg?w=2", "format"),
        ("https://a.example/x.ico#top", "format"),
        ("https://a.example/x.jpg?from=x.gif", None),
        ("https://a.example/x.jpg#?x.svg", None),
        ("https://www.iconfinder.com/x.gifs/1", None),
        ("https://a.example/" + "x" * 2_048 + ".gif", "long_url"),
        ("data:image/gif;base64,x.gif", None),
    ],
)
def test_urls(url: str, reason: str | None) -> None:
    assert laion_reason(pa.array([url]), pa.array(["a caption"])).to_pylist() == [reason] == [_reason(url, "a caption")]


@pytest.mark.parametrize(
    ("caption", "reason"), [("", None), ("  \u3000", None), (" four ", "short_caption"), ("five5", None)]
)
def test_captions(caption: str, reason: str | None) -> None:
    assert laion_reason(pa.array(["http://a.example/x.png"]), pa.array([caption])).to_pylist() == [reason]


def test_no_rows() -> None:
    none = pa.array([], pa.string())
    assert laion_reason(none, none).to_pylist() == []


def test_parts_of_arrays() -> None:
    """Slices, nulls and texts of any kind, at any place of an array."""
    draw = random.Random(7)
    pieces = (
        "https://a.example/",
        "HTTP://b.example/",
        "ftp://",
        " http:",
        "x",
        ".gif",
        ".SVG",
        ".ico",
        "?",
        "#",
        "é",
        "",
        "y" * 3_000,
    )
    urls = [
        draw.choice([None, "".join(draw.choices(pieces[:4], k=1) + draw.choices(pieces, k=4))]) for _ in range(4_000)
    ]
    captions = [draw.choice([None, "", " ", "abc", "a caption"]) for _ in urls]
    url, caption = pa.array(urls), pa.array(captions)
    for start, size in ((0, 4_000), (1, 3_999), (1_234, 77), (4_000, 0), (9, 1)):
        found = laion_reason(url.slice(start, size), caption.slice(start, size)).to_pylist()
        assert found == [
            _reason(*pair) for pair in zip(urls[start : start + size], captions[start : start + size], strict=True)
        ]
    assert {"format", "long_url", "short_caption", None} == set(laion_reason(url, caption).to_pylist())
