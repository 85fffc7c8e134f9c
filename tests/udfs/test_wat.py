"""WAT records: what is filled straight from the bytes of a record is what ``json`` reads in them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairshard.udfs import wat

LINKS = [
    {"path": "A@/href", "url": "/", "text": 'IMG@/src "quoted"'},
    {"path": "IMG@/src", "url": "/a.jpg", "alt": "a boät \U0001f600", "title": "x"},
    {"path": "A@/href", "url": "/by", "rel": "nofollow License", "type": "text/html; charset=x"},
    {"path": "IMG@/src", "url": "https://b.example/b.jpg"},
]
HEAD = {
    "Title": "a page", "Base": "/b/", "Link": [{"path": "LINK@/href", "url": "/l", "rel": "license"}],
    "Metas": [{"name": " ROBOTS ", "content": "noai"}, {"name": "HTML@/lang", "content": "de"}, {"property": "og:x"}],
}  # fmt: skip
HEADERS = {"Server": "x", "X-Robots-Tag": ["noai", "all"], "Link": "</t>"}
RESPONSE = {
    "Response-Message": {"Status": "200"}, "Headers": HEADERS, "HTML-Metadata": {"Head": HEAD, "Links": LINKS}
}  # fmt: skip
ABOUT = {"WARC-Date": "2026-01-02T03:04:05Z", "WARC-Target-URI": "https://a.example/", "Size": 12, "Ratio": -1.5e3}
DOCUMENT = {"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": RESPONSE}, "WARC-Header-Metadata": ABOUT}}
RECORDS = [
    json.dumps(DOCUMENT, ensure_ascii=escaped, separators=separators).encode()
    for escaped in (False, True)
    for separators in ((",", ":"), (", ", ": "))
]

# What json takes and others do not, or take otherwise.
ODD = [
    b"NaN", b"-Infinity", b"null", b"12", b"1e999", b"9" * 40, b"true", b"[]", b"{}", b'""', b"\xff", b"\xed\xa0\x80", b"\x01",
    b"\n", b"\\ud800", b"\\ude00", b"\\u0000", b"\\", b"\\/", b'"', b",", b'"path":"IMG@/src",', b'"Links":[],',
    b'"Headers":{"a":1},', b'"Envelope":{},', b'"Metas":null,', b'[{"path":"IMG@/src"}],', b'"alt":7,', b"\xef\xbb\xbf",
    b'"\\u0055RL":1,', b"license", b"}", b"]", b"\r\n\r\n",
]  # fmt: skip


def cut_in(record: bytes, cuts: list[tuple[float, int, bytes]]) -> bytes:
    for place, length, put in cuts:
        start = int(place * len(record))
        record = record[:start] + put + record[start + length :]
    return record


PLACES = st.tuples(
    st.floats(0, 1), st.integers(0, 3) | st.integers(0, 60), st.sampled_from(ODD) | st.binary(max_size=3)
)
MUTATED = st.builds(cut_in, st.sampled_from(RECORDS), st.lists(PLACES, min_size=1, max_size=3))


def swapped(value: Any, odd: list[Any]) -> Any:
    """A document in which some values are of another type."""
    if isinstance(value, dict):
        value = {key: swapped(one, odd) for key, one in value.items()}
    elif isinstance(value, list):
        value = [swapped(one, odd) for one in value]
    other = odd.pop()
    return value if other == "as it is" else other


OTHERS = st.sampled_from([None, 7, -0, 1.5, True, [], {}, "", ["x", 3], {"IMG@/src": 1}, "\ud800", 2**70, float("nan")])
TURNED = st.lists(st.sampled_from(range(80)).flatmap(lambda at: OTHERS.map(lambda one: (at, one))), max_size=2).map(
    lambda turns: json.dumps(swapped(DOCUMENT, [dict(turns).get(at, "as it is") for at in range(80)])).encode()
)


def told(read: Any) -> Any:
    """What an envelope tells, or that it cannot be read."""
    try:
        page = read()
    except ValueError:
        return "not read"
    return page and (
        page.url, page.date, page.status, page.headers, page.page, page.title, page.language,
        [(link.url, link.alt) for link in page.pictures],
    )  # fmt: skip


@settings(max_examples=400)
@given(MUTATED | TURNED)
def test_both_ways_to_read_a_record_tell_the_same(content):
    if b"IMG@" in content:
        assert told(lambda: wat.envelope(content)) == told(lambda: wat.page_of(wat.tolerant(content), content))


@pytest.mark.parametrize("content", RECORDS)
def test_records_of_the_usual_types_need_no_json(content, monkeypatch):
    monkeypatch.setattr(wat, "tolerant", lambda content: pytest.fail("read by json"))
    page = wat.envelope(content)
    assert page is not None
    assert (page.url, page.date, page.status) == ("https://a.example/", "2026-01-02T03:04:05Z", 200)
    assert page.headers == [("Server", "x"), ("X-Robots-Tag", "noai"), ("X-Robots-Tag", "all"), ("Link", "</t>")]
    assert page.page.metas == (("robots", "noai"), ("html@/lang", "de"))
    assert (page.page.licences, page.page.base) == ((("/by", "text/html"), ("/l", "")), "/b/")
    assert (page.title, page.language) == ("a page", "de")
    assert [(link.url, link.alt) for link in page.pictures] == [
        ("/a.jpg", "a boät \U0001f600"), ("https://b.example/b.jpg", "")
    ]  # fmt: skip
