"""robots.txt beyond the corpus: statuses, limits, hostile files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairshard.udfs.signals import robots_txt
from fairshard.udfs.signals.ai_agents import TRAINING_AGENTS
from fairshard.udfs.signals.robots_lines import MAX_BYTES, names, read_lines

URL = "https://a.example/x/y.jpg"


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(200, "deny"), (203, "deny"), (404, "none"), (401, "none"), (410, "none"), (429, "hold"), (500, "hold"),
     (503, "hold"), (0, "hold"), (301, "hold"), (304, "hold"), (100, "hold"), (999, "hold")],
)  # fmt: skip
def test_status(status, verdict):
    file = robots_txt.from_response(status, b"User-agent: *\nDisallow: /")
    assert file.verdict(URL, "fairshard").verdict == verdict


@pytest.mark.parametrize(
    ("body", "delay_s"),
    [
        (b"", None),
        (b"User-agent: *\nDisallow: /x\nCrawl-delay: 2.5 # seconds\n", 2.5),
        (b"User-agent: otherbot\nCrawl-delay: 9\n\nUser-agent: *\nDisallow:\n", 9),  # no rule between: one group
        (b"User-agent: otherbot\nDisallow: /\nCrawl-delay: 9\n\nUser-agent: *\nDisallow:\n", None),
        (b"User-agent: *\nCrawl-delay: 9\nDisallow: /y\n\nUser-agent: FairShard\nAllow: /\n", None),  # ours alone
        (b"User-agent: fairshard\nAllow: /\ncrawl-delay: 1\n\nUser-agent: fairshard\nCrawl-Delay: 3s\n", 3),
        (b"Crawl-delay: 9\nUser-agent: *\nAllow: /\n", None),  # belongs to nobody
        (b"User-agent: *\nCrawl-delay: soon\nCrawl-delay: -5\nCrawl-delay:\nCrawl-delay: .5\n", 0.5),
        (b"User-agent: *\nCrawl-delay: " + b"9" * 400, float("inf")),
        (b"<html>\nUser-agent: *\nCrawl-delay: 9\n", None),
    ],
)
def test_crawl_delay_of_the_group_that_counts(body, delay_s):
    assert robots_txt.parse(body).crawl_delay_s("fairshard") == delay_s


def test_evidence_shows_the_winning_line():
    file = robots_txt.parse(b"User-agent: *\nAllow: /x\nDISALLOW:/x/y # ours\n")
    evidence = file.verdict(URL, "fairshard")
    assert (evidence.verdict, evidence.scope, evidence.value, evidence.source) == (
        "deny", "user-agent: *", "disallow: /x/y", "/robots.txt",
    )  # fmt: skip


@given(st.binary(max_size=300))
def test_no_bytes_raise_and_none_permit_by_accident(body):
    file = robots_txt.parse(b"User-agent: *\n" + body)
    assert file.verdict(URL, "fairshard", "any").verdict in ("none", "deny", "allow")
    if b"llow" not in body.lower():
        assert file.verdict(URL, "fairshard", "any").verdict == "none"


LINE = st.sampled_from(
    [
        "User-agent: *",
        "User-agent: fairshard",
        "User-agent: other",
        "Disallow: /",
        "Allow: /x/",
        "Disallow: /x/y*g$",
        "Disallow:",
        "Sitemap: x",
        "# Allow: /",
        "",
        "Foo: bar",
        "Dissallow: /x",
        "Disallow /x",
    ]
)


@given(st.lists(LINE, max_size=12), st.sampled_from(["\n", "\r\n", "\r"]))
def test_line_ends_blank_lines_and_comments_change_nothing(lines, end):
    plain = robots_txt.parse("\n".join(lines).encode()).verdict(URL, "fairshard")
    dressed = [f"  {line}\t # note" for line in lines for line in (line, "")]
    assert robots_txt.parse(("\ufeff" + end.join(dressed)).encode()).verdict(URL, "fairshard") == plain


@given(st.lists(LINE, max_size=12))
def test_unknown_lines_change_nothing(lines):
    plain = robots_txt.parse("\n".join(lines).encode()).verdict(URL, "fairshard")
    mixed = "\nCrawl-delay: 1\n<p>\n".join(lines).encode()
    assert robots_txt.parse(mixed).verdict(URL, "fairshard") == plain


def test_utf_16_is_read_if_it_is_marked():
    body = "\ufeffUser-agent: *\nDisallow: /".encode("utf-16-le")
    assert robots_txt.parse(body).verdict(URL, "fairshard").verdict == "deny"


@pytest.mark.parametrize(("over", "verdict"), [(0, "deny"), (1, "deny"), (2, "none"), (15, "none")])
def test_only_the_first_500_kib_are_read_and_no_half_line(over, verdict):
    agent, rule = b"User-agent: *\n", b"Disallow: /x/y\n"
    filler = b"#" * (MAX_BYTES - len(agent) - len(rule) - 1 + over) + b"\n"
    body = agent + filler + rule + b"Allow: /\n" * 10
    assert robots_txt.parse(body).verdict(URL, "fairshard").verdict == verdict


def test_a_file_of_100_megabytes_costs_no_more_than_500_kib():
    body = b"User-agent: *\nDisallow: /\n" * 4_000_000
    assert len(read_lines(body)) < 2 * MAX_BYTES / 13


def test_a_file_full_of_pattern_bombs():
    bombs = b"\n".join(b"Disallow: /" + b"*a" * 40 + b"*%d$" % n for n in range(4_000))
    file = robots_txt.parse(b"User-agent: *\n" + bombs)
    assert file.verdict("https://a.example/" + "a" * 2_000, "fairshard").verdict == "none"


@pytest.mark.parametrize(
    ("value", "agent", "named"),
    [
        ("fairshard", "FairShard", True),
        ("fairshard/1.0 (+https://a.example)", "fairshard", True),
        ("fairshard2", "fairshard", False),
        ("fairshard-image", "fairshard", False),
        ("img2dataset", "img2dataset", True),
        ("img", "img2dataset", False),
        ("*", "fairshard", False),
        ("", "fairshard", False),
        ("", "", False),
    ],
)
def test_names(value, agent, named):
    assert names(value, agent) is named


@pytest.mark.parametrize("agent", TRAINING_AGENTS)
def test_every_listed_agent_can_be_named(agent):
    file = robots_txt.parse(f"User-agent: {agent.upper()}\nDisallow: /x/".encode())
    assert file.verdict(URL, "fairshard", "any").verdict == "deny"
    assert file.verdict("https://a.example/z", "fairshard", "any").verdict == "none"
    assert file.verdict(URL, "fairshard").verdict == "none"


def test_a_search_crawler_is_no_proxy():
    body = b"".join(b"User-agent: %s\n" % name for name in (b"Googlebot", b"bingbot", b"OAI-SearchBot", b"Applebot"))
    assert robots_txt.parse(body + b"Disallow: /").verdict(URL, "fairshard", "any").verdict == "none"


LINES = ["User-agent: *", "User-agent: fairshard", "User-agent: GPTBot", "User-agent: Bingbot", "Disallow: /", "Allow: /",
         "Disallow: /x", "Allow: /x/y", "Disallow: *.jpg$", "Disallow:", "Content-Signal: ai-train=no"]  # fmt: skip


@given(st.lists(st.sampled_from(LINES), max_size=12), st.sampled_from(["/", "/x", "/x/y/z.jpg", "/z"]))
def test_the_quick_way_to_a_refusal_finds_what_the_verdict_is(lines, path):
    file, url = robots_txt.parse("\n".join(lines).encode()), "https://a.example" + path
    own, any_of_them = file.verdict(url, "fairshard"), file.verdict(url, "fairshard", "any")
    found = file.refusal(url, "fairshard")
    expected = (own, False) if own.verdict == "deny" else (any_of_them, True) if any_of_them.verdict == "deny" else None
    assert found == expected
    assert found is None or file.can_close("fairshard")
