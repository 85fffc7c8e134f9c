"""Protocols in response headers: X-Robots-Tag, Content-Signal, AIPREF, Link."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairshard.udfs.signals import Response, aipref, content_signal, html_meta, robots_txt, rsl, x_robots_tag
from fairshard.udfs.signals.directives import NO_IMAGE_INDEX, directives
from fairshard.udfs.signals.link_header import links

NO_ROBOTS = robots_txt.Robots()


def hops(*headers: tuple[str, str]) -> list[Response]:
    return [Response("https://a.example/x.jpg", 200, headers)]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("noai, max-image-preview:large", [("", "noai")]),
        ("unavailable_after: Friday, 25-Jun-10 15:00:00 UTC, noai", [("", "noai")]),
        ("UNAVAILABLE_AFTER: 25 Jun 2010 15:00:00 PST, a: noai", [("a", "noai")]),
        ("a: unavailable_after: Friday, 25-Jun-10 15:00:00 UTC, noai", [("a", "noai")]),
        ("a: max-snippet: -1, noai, b: x, noml", [("a", "noai"), ("b", "x"), ("b", "noml")]),
        ("noindex nofollow; noai", [("", "noindex"), ("", "nofollow"), ("", "noai")]),
        ("max-image-preview:large; noai", [("", "noai")]),
        ("max-snippet:-1 noai, a: max-snippet: 5; noml", [("", "noai"), ("a", "noml")]),
        ("index; max-snippet:-1; b: noai; noimageai", [("", "index"), ("b", "noai"), ("b", "noimageai")]),
        ("max-snippet:noai", []),
        ("unavailable_after: 2030-01-01 15:00:00; noai", [("", "noai")]),
        ("unavailable_after: Friday, 25-Jun-10 15:00:00 UTC; noai; b", [("", "noai"), ("", "b")]),
        ("unavailable_after: 25 Jun 2010 15:00:00 PST noai", [("", "noai")]),
        ("noai|noimageai", [("", "noai"), ("", "noimageai")]),
        ("a: noai: true", [("noai", "true")]),
        (" , ,", []),
        (": noai", [("", "noai")]),
        ("a:", []),
    ],
)
def test_directives(line, found):
    assert list(directives(line)) == found


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("noai.", "noai"),
        ("max-snippet: 1; noml", "noml"),
        ("*: noai", "noai"),
        ("other: noai", ""),
        ("noaix", ""),
    ],
)
def test_refusals(line, word):
    assert x_robots_tag.verdict(hops(("X-Robots-Tag", line)), "fairshard").scope == word


@pytest.mark.parametrize("unit", ["a:", "unavailable_after:;", "max-snippet:", "max-snippet:1;", "noai:", ";:", "a b:"])
def test_a_long_line_is_read_in_one_pass(unit):
    """Of a million pieces; what copied the rest at each of them would not end."""
    assert sum(1 for _ in directives(unit * 1_000_000)) <= 2_000_000


@given(st.text(max_size=80))
def test_no_header_raises_or_grants(text):
    found = hops(("X-Robots-Tag", text), ("Content-Signal", text), ("Content-Usage", text), ("Link", text))
    assert x_robots_tag.verdict(found, "fairshard", NO_IMAGE_INDEX).verdict in ("deny", "none")
    signal = content_signal.verdict(NO_ROBOTS, found, "fairshard")
    assert signal.verdict != "allow" or "yes" in text.lower()
    usage = aipref.verdict(NO_ROBOTS, found, found[0].url, "fairshard", aipref.Reading(True, True))
    assert usage.verdict != "allow" or "=y" in text
    assert rsl.locations(NO_ROBOTS, found, found[0].url, "fairshard") == [] or "rsl+xml" in text.lower()


def test_a_flood_of_headers():
    lines = [("X-Robots-Tag", "a: noai, " * 1_000)] * 1_000 + [("x-robots-tag", "noml")]
    assert x_robots_tag.verdict(hops(*lines), "fairshard").verdict == "deny"
    lines = [("Content-Usage", "train-ai=y")] * 100_000
    found = aipref.verdict(NO_ROBOTS, hops(*lines), "https://a.example/", "fairshard")
    assert (found.verdict, found.detail[:9]) == ("none", "malformed")


@pytest.mark.parametrize(
    "text", [":" * 4_000_000, "a" * 2_000_000 + ": " + "noai " * 400_000], ids=["many scopes", "a long scope"]
)
def test_scopes_made_to_hang_do_not(text):
    metas = [("robots", text), ("robots", "noml")]
    assert html_meta.verdict(metas, "fairshard", image=True).scope == "noml"


def test_ten_thousand_hops():
    chain = [Response(f"https://a.example/{n}", 302) for n in range(10_000)]
    chain[5_000] = Response("https://a.example/5000", 302, [("X-Robots-Tag", "noai")])
    assert x_robots_tag.verdict(chain, "fairshard").source == "X-Robots-Tag of https://a.example/5000"


def test_evidence_is_bounded_and_printable():
    found = x_robots_tag.verdict(hops(("X-Robots-Tag", "noai\r\n\x00\ud800" + "x" * 5_000)), "fairshard")
    assert 990 < len(found.value) <= 1_000
    assert found.value.isprintable()


def test_a_permission_needs_a_well_formed_part():
    for text in ("ai-train=yes please", "ai-train=yes=no", "x ai-train=yes", '"ai-train=yes"', "ai-train: yes"):
        assert content_signal.verdict(NO_ROBOTS, hops(("Content-Signal", text)), "fairshard").verdict == "none"


def test_a_redirect_can_refuse_but_not_permit():
    for value, verdict in (("ai-train=no", "deny"), ("ai-train=yes", "none")):
        chain = [Response("https://a.example/1", 302, [("Content-Signal", value)]), *hops()]
        assert content_signal.verdict(NO_ROBOTS, chain, "fairshard").verdict == verdict


def test_groups_of_robots_txt_end_at_each_protocols_lines():
    body = b"User-agent: fairshard\nLicense: /a.xml\nUser-agent: *\nLicense: /b.xml\nContent-Usage: train-ai=n\n"
    file = robots_txt.parse(body)
    assert rsl.locations(file, hops(), "https://a.example/x", "fairshard") == ["https://a.example/a.xml"]
    assert rsl.locations(file, hops(), "https://a.example/x", "other") == ["https://a.example/b.xml"]
    assert aipref.verdict(file, hops(), "https://a.example/x", "fairshard").verdict == "none"
    assert aipref.verdict(file, hops(), "https://a.example/x", "other").verdict == "deny"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('<a>; rel="x LICENSE"; type="Application/RSL+xml; q=1"', [("a", "application/rsl+xml", True)]),
        ("<a>;rel=license, <b>; rel=license", [("a", "", True), ("b", "", True)]),
        ('<a,b>; title="x,<y>;\\""; rel=license', [("a,b", "", True)]),
        ('nonsense <c>; rel="license', [("c", "", False)]),
        ("<a", []),
        ("<a>; rel=next; rel=license", [("a", "", False)]),
    ],
)
def test_link_header(line, found):
    assert [(link.target, link.media_type, "license" in link.relations) for link in links([line])] == found
