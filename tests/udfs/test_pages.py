"""Pictures of HTML pages: where they lie, and that no page takes long or raises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairshard.udfs import charset, http_message, pages
from fairshard.udfs.signals.html_page import Tag

SETS = {
    "": "",
    "a.jpg": "a.jpg",
    "a.jpg 1x, b.jpg 2x": "b.jpg",
    "a.jpg 480w,b.jpg 800w": "b.jpg",
    " \n a.jpg 1.5x,\n b.jpg": "a.jpg",
    "/w_300,h_200/a.jpg 300w, /w_600,h_400/a.jpg 600w": "/w_600,h_400/a.jpg",
    "data:image/png;base64,AA 1x, real.jpg 2x": "real.jpg",
    "a.jpg 100h, b.jpg soon": "a.jpg",
    ", ,": "",
    "/big.jpg 2000w 1000h, /small.jpg 100w": "/big.jpg",
}


@pytest.mark.parametrize("srcset", SETS)
def test_the_largest_candidate(srcset):
    assert pages.largest(srcset) == SETS[srcset]


SOURCES = [
    ({"src": "a.jpg", "srcset": "b.jpg 2x"}, "a.jpg"),
    ({"src": "a.jpg", "data-src": "late.jpg"}, "late.jpg"),
    ({"src": "data:image/gif;base64,R0", "srcset": "b.jpg 2x"}, "b.jpg"),
    ({"src": "a.jpg", "data-src": "data:,"}, "a.jpg"),
    ({"data-srcset": "c.jpg 1x", "srcset": "data:, 1x"}, "c.jpg"),
    ({"src": "javascript:void(0)"}, "javascript:void(0)"),
    ({"alt": "nothing"}, ""),
]


@pytest.mark.parametrize(("attributes", "source"), SOURCES)
def test_where_a_picture_lies(attributes, source):
    assert pages.source_of(Tag("img", attributes)) == source


BOMBS = [
    "<img srcset='" + "a " * 1_000_000 + "'>",
    "<img srcset='" + "," * 2_000_000 + "'>",
    "<base href='https://a.example/" + "x" * 2_000 + "/'>" + "<img src=a alt=b>" * 100_000,
    '<script type="application/ld+json">['
    + '{"@type":"ImageObject","contentUrl":"a","license":"b"},' * 30_000
    + "0]</script>",
]


@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
def test_a_page_made_to_take_long_ends_within_its_bounds(bomb):
    assert len(pages.read(bomb, "https://a.example/").images) in (0, 1, pages.MAX_IMAGES)


@given(st.binary(max_size=300), st.text(max_size=60))
def test_no_bytes_raise(body, said):
    text = charset.decoded(body, said)
    assert all(image.url is not None for image in pages.read(text, said).images)
    message = http_message.parse(b"HTTP/1.1 200 OK\r\n" + said.encode("utf-8", "replace") + b"\r\n\r\n" + body)
    assert message is not None
    assert len(http_message.unpacked(message, 100)[0]) <= 100


@given(st.binary(max_size=2_000), st.integers(1, 500))
def test_chunks_are_joined(body, size):
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    packed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    message = http_message.parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + packed)
    assert message is not None
    assert http_message.unpacked(message, 10_000) == (body, True)
