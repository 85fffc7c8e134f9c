"""The page scanner: lexbor's answers on ordinary pages, and an answer at all on hostile ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from fairshard.udfs.signals import html_meta, html_page

PARTS = st.sampled_from(
    [
        '<meta name="robots" content="noai">',
        "<META NAME=Robots CONTENT='no&#97;i, index'/>",
        "<meta content=noai name=fairshard id=x>",
        '<meta name=a name=b content="x > y">',
        "<!-- <meta name=c content=d> -->",
        "<!--><meta name=e content=f>",
        "<!-- --!><meta name=g content=h>",
        "<title><meta name=i content=j></title>",
        "<script>'<meta name=k content=l>'</script>",
        "<script><!-- <script></script><meta name=m content=n> --></script>",
        "<style><meta name=o content=p></style>",
        "<noscript><meta name=q content=r></noscript>",
        "<template><meta name=s content=t></template>",
        "<textarea><meta name=u content=v></textarea>",
        "<iframe><meta name=w content=x></iframe>",
        "<p title=don't><meta name=y content=z>",
        "<div><span>",
        "</div></p>",
        "<meta\nname\t=\r'aa'\fcontent = bb>",
        "<meta name=cc content=a&copy=1&amp;b&lt>",
        "<svg><style><meta name=dd content=ee></style></svg>",
        "<svg viewBox='0 0 1 1'><title>x</title><path d='M0 0'/></svg>",
        "<svg/>",
        "<a href=x rel='LICENSE nofollow'>",
        "<!doctype html>",
        "</ x><? y ><//z>",
        "text & < 1",
    ]
)


@given(st.lists(PARTS, max_size=10))
def test_agrees_with_lexbor(parts):
    page = "".join(parts)
    tree = LexborHTMLParser(page)
    found = [(tag.attributes.get("name"), tag.attributes.get("content")) for tag in tree.css("meta")]
    expected = [(name.lower(), (content or "").strip()) for name, content in found if name]
    assert list(html_page.parse(page.encode()).metas) == expected


@given(st.text("<>!-/= \"'&;abmet\n", max_size=60), st.binary(max_size=60))
def test_no_page_raises(text, data):
    html_page.parse(text.encode())
    html_page.parse(data)


@pytest.mark.parametrize(
    "bomb",
    [
        "<div>" * 200_000,
        "<b>" * 500 + "<div></b>" * 100_000,
        "<html " + " ".join(f"a{n}=b" for n in range(200_000)) + ">",
        "<" * 1_000_000,
        '<a b="' * 100_000,
        "<!--" * 200_000,
        "<script><!--<script>" * 50_000,
        "<title>" * 100_000,
        "<template>" * 100_000,
        "<a " + "= " * 300_000,
        '<meta content="' + "&" * 1_000_000 + '">',
        '<meta content="&#' + "9" * 1_000_000 + ';">',
    ],
    ids=lambda bomb: bomb[:12],
)
def test_pages_made_to_hang_do_not(bomb):
    page = html_page.parse(b"<meta name=robots content=noai>" + bomb.encode())
    assert html_meta.verdict(page.metas, "fairshard", image=True).verdict == "deny"


def test_encodings():
    page = '<meta name="robots" content="noai">'
    for body in (page.encode("utf-16"), ("\ufeff" + page).encode("utf-16-be"), page.encode("utf-8-sig")):
        assert html_page.parse(body).metas == (("robots", "noai"),)
    assert html_page.parse("<meta name='robots' content='é, noai'>".encode("latin-1")).metas[0][1].endswith("noai")


def test_links_and_data():
    page = html_page.parse(
        b"<base href=/b/><base href=/c/><link rel=license type='application/rsl+xml; x' href=' /l.xml '>"
        b"<script type='application/LD+json'>{}</script><script>{}</script>"
    )
    assert page.base == "/b/"
    assert page.licences == (("/l.xml", "application/rsl+xml"),)
    assert page.json_ld == ("{}",)
