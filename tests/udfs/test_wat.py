"""WAT records: what is filled straight from the bytes of a record is what ``json`` reads in them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loops import needs_links

from fairshard.udfs import wat
from fairshard.udfs.compiled import links as compiled

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


METAS = {"robots", *wat.LANGUAGE}


def pictures(page: wat.Envelope) -> list[tuple[str, str]]:
    """URL and text of each picture."""
    found = page.pictures
    assert len(found.url_bytes) == len(found.caption_bytes) == 4 * found.rows
    columns = ((found.urls, found.url_bytes), (found.captions, found.caption_bytes))
    ends = [np.cumsum(np.frombuffer(sizes, np.int32)) for _, sizes in columns]
    texts = [
        [data[end - size : end].decode() for end, size in zip(places, np.frombuffer(sizes, np.int32), strict=True)]
        for places, (data, sizes) in zip(ends, columns, strict=True)
    ]
    assert [len(data) for data, _ in columns] == [places[-1] for places in ends]
    return list(zip(*texts, strict=True))


def told(read: Any) -> Any:
    """What an envelope tells, or that it cannot be read."""
    try:
        page = read()
    except ValueError:
        return "not read"
    return page and (
        page.url, page.date, page.status, page.headers, page.page(METAS), page.title,
        page.pictures.count, pictures(page),
    )  # fmt: skip


@pytest.fixture(scope="module", params=[pytest.param(True, marks=needs_links, id="compiled"), False])
def way(request):
    """Whether pictures are taken out by the compiled reader first."""
    with pytest.MonkeyPatch.context() as patch:
        if not request.param:
            patch.setattr(wat, "compiled", None)
        yield request.param


@settings(max_examples=600)
@given(MUTATED | TURNED)
def test_all_ways_to_read_a_record_tell_the_same(way, content):
    if b"IMG@" in content:
        assert told(lambda: wat.envelope(content)) == told(lambda: wat.page_of(wat.tolerant(content)))
    else:
        assert wat.envelope(content) is None


@pytest.mark.parametrize("content", RECORDS)
def test_records_of_the_usual_types_need_no_json(way, content, monkeypatch):
    monkeypatch.setattr(wat, "tolerant", lambda content: pytest.fail("read by json"))
    page = wat.envelope(content)
    assert page is not None
    assert (page.url, page.date, page.status) == ("https://a.example/", "2026-01-02T03:04:05Z", 200)
    assert page.headers == [("Server", "x"), ("X-Robots-Tag", "noai"), ("X-Robots-Tag", "all"), ("Link", "</t>")]
    assert page.metas_of(METAS) == page.page(METAS).metas == (("robots", "noai"), ("html@/lang", "de"))
    assert page.metas_of(wat.LANGUAGE) == (("html@/lang", "de"),)
    assert (page.page(()).licences, page.page(()).base) == ((("/by", "text/html"), ("/l", "")), "/b/")
    assert page.title == "a page"
    assert pictures(page) == [("/a.jpg", "a boät \U0001f600"), ("https://b.example/b.jpg", "")]


def compact(links: Any, **other: Any) -> bytes:
    """A record as Common Crawl writes them, with other links."""
    html = {"Head": HEAD, "Links": links, **other}
    response = {**RESPONSE, "HTML-Metadata": html}
    document = {"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": response}, "WARC-Header-Metadata": ABOUT}}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


PICTURE = {"path": "IMG@/src", "url": "/a.jpg", "alt": "a boat"}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=80) | st.sampled_from(
    ['"', "\\", "\n\t\b\f\r/", "\x00\x1f\x7f", "é", "\u2028", "\U0001f600", "x" * 64, 'x" ,"rel":"y']
)


@needs_links
@given(st.lists(st.tuples(st.booleans(), TEXTS, TEXTS), min_size=1, max_size=6), st.booleans())
def test_texts_of_any_kind_are_taken_out_as_json_has_them(given, escaped):
    links = [
        {"path": "IMG@/src", "url": url, "alt": alt} if shown else {"path": "A@/href", "url": url, "text": alt}
        for shown, url, alt in given
    ]
    content = json.dumps(json.loads(compact(links)), ensure_ascii=escaped, separators=(",", ":")).encode()
    assert compiled.pictures(content, 10_000, b"{}")[1] == sum(shown for shown, _, _ in given)
    page = wat.envelope(content)
    assert (pictures(page) if page else []) == [(url, alt) for shown, url, alt in given if shown]


UNUSUAL = {
    "no links": [], "a null": [{**PICTURE, "alt": None}], "a number": [{**PICTURE, "width": 7}], "a list": [{**PICTURE, "x": []}],
    "a picture with a rel": [{**PICTURE, "rel": "x"}], "no path": [{"url": "/a.jpg"}], "no object": ["IMG@/src"],
    "half a pair": [{**PICTURE, "alt": "\ud800"}],
}  # fmt: skip


@needs_links
@pytest.mark.parametrize("kind", UNUSUAL)
def test_links_of_an_unusual_form_are_left_to_the_parser(kind):
    assert compiled.pictures(compact(UNUSUAL[kind]), 10_000, b"{}") is None


@needs_links
@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"path":"IMG', b'"path": "IMG'), (b'"alt"', b'"url"'), (b'"alt"', b'"al\\u0074"'), (b"IMG@", b"IMG\\u0040"),
     (b"a boat", b"a\x01boat"), (b"a boat", b"a\xffboat"), (b"a boat", b"\xc0\xaf"), (b"a boat", b"\xed\xa0\x80"),
     (b"a boat", b"\xf4\x90\x80\x80"), (b"a boat", b"\xe2\x82"), (b"a boat", b"\\x"), (b"a boat", b"\\u12"),
     (b"a boat", b"\\ude00"), (b"a boat", b"\\ud83dx"), (b"}]}", b"},]}"), (b"}]}", b"}}]"), (b"}]}", b"}"), (b'"Links"', b'"L"')],
)  # fmt: skip
def test_bytes_of_an_unusual_form_are_left_to_the_parser(old, new):
    content = compact([PICTURE])
    assert compiled.pictures(content, 10_000, b"{}") is not None
    assert compiled.pictures(content.replace(old, new), 10_000, b"{}") is None
    for end in range(len(content)):  # it reads no byte beyond the last
        taken = compiled.pictures(content[:end], 10_000, b"{}")
        assert taken is None or end > content.index(b"]", content.index(b'"Links"'))


@needs_links
def test_links_that_are_not_the_pages_are_not_taken_for_its():
    for other in ({"Other": {"Links": [PICTURE]}}, {"Other": {"Links": []}}):
        page = wat.envelope(compact([PICTURE], **other))
        assert page is not None
        assert pictures(page) == [("/a.jpg", "a boat")]
    elsewhere = json.dumps({"Other": {"Links": [PICTURE]}}, separators=(",", ":")).encode()
    assert compiled.pictures(elsewhere, 10_000, b"{}") is not None
    assert wat.envelope(elsewhere) is None


def test_links_that_say_they_were_taken_are_not_taken_for_those():
    """In a record that has links twice, of which the second count, and are not written as usual."""
    content = compact([PICTURE], Links2=[{"path": "taken"}, {**PICTURE, "url": "/b.jpg"}]).replace(
        b'"Links2":', b'"Links": '
    )
    page = wat.envelope(content)
    assert page is not None
    assert pictures(page) == [("/b.jpg", "a boat")]


UNREADABLE = {
    "one meta": {"Metas": {"name": "robots", "content": "noai"}},
    "content in a list": {"Metas": [{"name": "robots", "content": ["noai"]}, {"name": "a", "content": {"b": 1}}]},
    "a fraction": {"Metas": [{"name": "tdm-reservation", "content": 1.0}]},
    "a name that is none": {"Metas": [{"name": ["robots"], "content": [["noai"]]}]},
    "pairs": {"Headers": [["X-Robots-Tag", "noai"]]},
    "a list in a list": {"Headers": {"X-Robots-Tag": [["noai"]]}},
    "an object": {"Headers": {"X-Robots-Tag": {"a": "noai"}}},
}  # fmt: skip


@pytest.mark.parametrize("kind", UNREADABLE)
def test_statements_of_an_unknown_form_are_no_silence(way, kind):
    response = {"Headers": {}, "HTML-Metadata": {"Head": {}, "Links": [PICTURE]}}
    for name, value in UNREADABLE[kind].items():
        (response if name == "Headers" else response["HTML-Metadata"]["Head"])[name] = value
    document = {"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": response}, "WARC-Header-Metadata": ABOUT}}
    with pytest.raises(ValueError):
        wat.envelope(json.dumps(document).encode())


def test_names_and_types_are_read_without_blanks(way):
    head = {
        "Link": [{"path": "LINK@/href", "url": "/l", "rel": "license", "type": " application/RSL+xml ; charset=utf-8"}]
    }
    response = {"Headers": {" X-Robots-Tag ": "noai"}, "HTML-Metadata": {"Head": head, "Links": [PICTURE]}}
    document = {"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": response}, "WARC-Header-Metadata": ABOUT}}
    page = wat.envelope(json.dumps(document).encode())
    assert page is not None
    assert page.headers == [("X-Robots-Tag", "noai")]
    assert page.page(()).licences == (("/l", "application/rsl+xml"),)


def test_of_a_page_with_very_many_pictures_the_first_are_here(way):
    page = wat.envelope(compact([{**PICTURE, "url": f"/{number}.jpg"} for number in range(10_003)]))
    assert page is not None
    assert page.pictures.count == 10_003
    assert [url for url, _ in pictures(page)] == [f"/{number}.jpg" for number in range(10_000)]


@needs_links
def test_a_record_larger_than_the_usual_space_is_read():
    page = wat.envelope(compact([{**PICTURE, "alt": "é" * 400_000}, PICTURE]))
    assert page is not None
    assert pictures(page) == [("/a.jpg", "é" * 400_000), ("/a.jpg", "a boat")]


@needs_links
def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="fewer than no pictures"):
        compiled.pictures(b"{}", -1, b"{}")
    with pytest.raises(TypeError):
        compiled.pictures("{}", 1, b"{}")
