"""Rows of WAT records: what is told from a page's URL without parsing it is what a parser says."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from fairshard.pipelines._page_terms import are_silent
from fairshard.pipelines._wat_rows import _ON_PLAIN_HOST
from fairshard.udfs.signals.image_object import absolute
from fairshard.udfs.urls import canonical_key

PARTS = st.sampled_from(
    [
        "a",
        "xn",
        "--",
        "-",
        ".",
        "www.",
        "0x1",
        "1",
        "example",
        "@",
        ":80",
        ":",
        "/",
        "?",
        "#",
        "%2e",
        " ",
        "_",
        "\\",
        "\n",
        "B",
    ]
)
URLS = st.tuples(
    st.sampled_from(["http://", "https://", "https:/", "ftp://"]), st.lists(PARTS, max_size=8).map("".join)
)


@given(URLS.map("".join))
@example("https://www.site-1.example/blog/post-1.html")
@example("http://a.example?x=1")
@example("https://a.example/b\tc d")
@example("https://" + "a" * 300 + ".example/")
def test_a_plain_host_is_where_a_slash_leads(url):
    found = _ON_PLAIN_HOST.match(url)
    if found:
        assert canonical_key(url) is not None
        assert absolute(absolute(url, ""), "/").rstrip("/") == found[1]


def test_usual_pages_are_on_plain_hosts():
    for url in ("https://www.site-1.example/blog/", "http://a.example", "https://xbox.example?x#y"):
        assert _ON_PLAIN_HOST.match(url)


def test_names_of_headers_are_known_with_blanks_and_in_any_case():
    assert are_silent((), ["Server", "Content-Type", "X-Robots"])
    assert not any(
        are_silent((), ["Server", name]) for name in (" X-ROBOTS-Tag", "tdm-reservation\t", "link", "content-USAGE ")
    )
