"""What the headers of a redirect chain say, and which response said it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fairshard.pipelines._answer import Hop
from fairshard.pipelines._headers import licence_links, said_in_headers

AT = datetime(2026, 1, 1, tzinfo=UTC)


def chain(*headers: dict[str, str], status: int = 200) -> list[Hop]:
    """A redirect for each but the last."""
    last = len(headers) - 1
    return [
        Hop(f"http://a.example/{number}", status if number == last else 302, tuple(each.items()))
        for number, each in enumerate(headers)
    ]


CASES = [
    ([{}], []),
    ([{"x-robots-tag": "noai"}, {}], [("x_robots_tag", "deny", 0, None)]),
    ([{}, {"x-robots-tag": "otherbot: noai"}], []),
    ([{"x-robots-tag": "noindex"}], [("x_robots_tag", "deny", 0, "noindex=deny")]),
    ([{"x-robots-tag": "noimageindex"}], [("x_robots_tag", "deny", 0, "noindex=deny")]),
    ([{"x-robots-tag": "noindex, noai"}], [("x_robots_tag", "deny", 0, None)]),
    ([{"content-signal": "ai-train=no"}, {}], [("content_signal", "deny", 0, None)]),
    ([{"content-signals": "ai-train=no"}], [("content_signal", "deny", 0, None)]),
    ([{"content-signal": "ai-train=yes"}, {}], []),
    ([{}, {"content-signal": "ai-train=yes"}], [("content_signal", "allow", 1, None)]),
    ([{"content-usage": "train-ai=n"}, {}], []),  # a preference is about the content it comes with
    ([{}, {"content-usage": "train-ai=n"}], [("aipref", "deny", 1, None)]),
    ([{"content-usage": "train-ai=n,,"}], []),  # no dictionary of RFC 9651
    ([{"tdm-reservation": "1"}, {"tdm-reservation": "0"}], [("tdmrep", "deny", 0, None)]),
    ([{"tdm-reservation": "1", "tdm-policy": "http://a.example/p"}], [("tdmrep", "cond", 0, None)]),
]


@pytest.mark.parametrize(("headers", "expected"), CASES)
def test_what_is_said(headers, expected):
    found = [one.row(1) for one in said_in_headers(chain(*headers), AT)]
    assert [(row["kind"], row["verdict"], row["hop"], row["only_if"]) for row in found] == expected
    assert all(f"http://a.example/{row['hop']}" in row["source"] for row in found)


def test_payment_required_is_a_way_to_a_licence():
    (one,) = said_in_headers(chain({}, {}, status=402), AT)
    assert (one.evidence.kind, one.evidence.verdict, one.hop) == ("http_status", "cond", 1)


LINK = '</terms.xml>; rel="{}"; type="{}"'


@pytest.mark.parametrize(
    ("link", "status", "named"),
    [
        (LINK.format("license", "application/rsl+xml"), 200, ["http://a.example/terms.xml"]),
        (LINK.format("license", "application/rsl+xml"), 302, []),
        (LINK.format("license", "text/html"), 200, []),
        (LINK.format("next", "application/rsl+xml"), 200, []),
        ("<", 200, []),
    ],
)
def test_licence_files_that_a_link_names(link, status, named):
    (hop,) = chain({"link": link}, status=status)
    assert licence_links(hop) == named
