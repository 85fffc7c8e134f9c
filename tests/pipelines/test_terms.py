"""What the files of a host say about its URLs, whatever is in them or instead of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairshard.pipelines._terms import HostTerms
from fairshard.schemas.verdicts import DENY, HOLD, VERDICTS

ORIGIN = "http://a.example"
PATHS = {
    "robots_txt": "/robots.txt",
    "ai_txt": "/ai.txt",
    "tdmrep_json": "/.well-known/tdmrep.json",
    "rsl": "/terms.xml",
}
NAMES_RSL = b"License: http://a.example/terms.xml\n"
RSL = b'<rsl xmlns="https://rslstandard.org/rsl"><content url="/"><license>%s</license></content></rsl>'
REFUSALS = {
    "robots_txt": b"User-agent: *\nDisallow: /",
    "ai_txt": b"User-agent: *\nDisallow: *.jpg",
    "tdmrep_json": b'[{"location": "/", "tdm-reservation": 1}]',
    "rsl": RSL % b'<prohibits type="usage">ai-train</prohibits>',
}


def terms(given: dict[str, bytes | int]) -> HostTerms:
    """By kind of file, a body or a status without one; others are 404."""
    rows = []
    for kind, path in PATHS.items():
        body = given.get(kind, NAMES_RSL if kind == "robots_txt" else 404)
        is_body = isinstance(body, bytes)
        rows.append({
            "origin": ORIGIN, "kind": kind, "url": ORIGIN + path, "status": 200 if is_body else body,
            "body": body if is_body else None, "error": None if is_body else "why", "fetched_at": datetime(2026, 1, 1, tzinfo=UTC),
        })  # fmt: skip
    return HostTerms(ORIGIN, rows)


def said(given: dict[str, bytes | int], path: str = "/p/x.jpg") -> list[tuple]:
    found = [one.row(1) for one in terms(given).about(ORIGIN + path)]
    return [tuple(row[name] for name in ("verdict", "kind", "scope", "only_if") if row[name]) for row in found]


GROUP = b"User-agent: *\nAllow: /\n"
CASES = {
    "nothing": ({}, []),
    "robots.txt closes": ({"robots_txt": REFUSALS["robots_txt"]}, [("deny", "robots_txt", "url")]),
    "an Allow is leave to fetch": ({"robots_txt": GROUP}, []),
    "closed to a crawler for training": (
        {"robots_txt": b"User-agent: GPTBot\nDisallow: /"}, [("deny", "robots_txt", "url", "ai_agent_proxy=any")]),
    "closed to both": ({"robots_txt": b"User-agent: *\nUser-agent: GPTBot\nDisallow: /"}, [("deny", "robots_txt", "url")]),
    "Content-Signal": ({"robots_txt": GROUP + b"Content-Signal: ai-train=no"}, [("deny", "content_signal", "host")]),
    "Content-Signal permits": ({"robots_txt": b"Content-Signal: ai-train=yes"}, [("allow", "content_signal", "host")]),
    "Content-Usage": ({"robots_txt": GROUP + b"Content-Usage: /p/ train-ai=n"}, [("deny", "aipref", "url")]),
    "Content-Usage elsewhere": ({"robots_txt": GROUP + b"Content-Usage: /q/ train-ai=n"}, []),
    "ai.txt": ({"ai_txt": REFUSALS["ai_txt"]}, [("deny", "ai_txt", "url")]),
    "ai.txt closes sounds": ({"ai_txt": b"User-agent: *\nDisallow: *.mp3"}, []),
    "ai.txt fails": ({"ai_txt": 503}, [("hold", "ai_txt", "host")]),
    "tdmrep.json": ({"tdmrep_json": REFUSALS["tdmrep_json"]}, [("deny", "tdmrep", "url")]),
    "tdmrep.json fails": ({"tdmrep_json": 503}, []),
    "RSL": ({"rsl": REFUSALS["rsl"]}, [("deny", "rsl", "url")]),
    "RSL for money": ({"rsl": RSL % b'<permits>ai-train</permits><payment type="purchase"/>'}, [("cond", "rsl", "url")]),
    "RSL fails": ({"rsl": 0}, [("hold", "rsl", "host")]),
    "RSL that nobody names": ({"robots_txt": b"", "rsl": REFUSALS["rsl"]}, []),
    "five RSL files": ({"robots_txt": b"".join(b"License: /%d.xml\n" % n for n in range(5))}, [("hold", "rsl", "host")] * 5),
    "no answer": ({"robots_txt": 0, **{kind: REFUSALS[kind] for kind in ("ai_txt", "rsl")}}, [("hold", "robots_txt", "host")]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_said(case):
    given, expected = CASES[case]
    assert said(given) == expected


def test_a_row_says_where_when_and_by_what_it_was_read():
    (one,) = terms({"ai_txt": REFUSALS["ai_txt"]}).about(f"{ORIGIN}/x.jpg")
    row = one.row(7)
    assert row.pop("parser")
    assert row == {
        "pair_id": 7, "kind": "ai_txt", "verdict": "deny", "scope": "url", "value": "disallow: *.jpg; our group",
        "source": "http://a.example/ai.txt", "rule_id": None, "hop": None, "only_if": None,
        "observed_at": datetime(2026, 1, 1, tzinfo=UTC),
    }  # fmt: skip


def test_hosts_that_say_nothing_are_told_apart_without_a_url():
    assert terms({}).silent
    assert terms({"robots_txt": GROUP, "ai_txt": b"Sitemap: /x", "tdmrep_json": b"[]", "rsl": b"<rsl/>"}).silent
    assert not terms({"ai_txt": 500}).silent
    assert not HostTerms(ORIGIN, []).silent  # a host that nobody asked


BOMB = b'<!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><rsl xmlns="https://rslstandard.org/rsl">&b;</rsl>'
ERRORS = [0, 429, 500, 503, b"", b"\x00\xff" * 999, b"<html>User-agent: *\nAllow: /", b"[" * 99_999, b"{", BOMB,
          RSL[:50], b"Disallow\n" * 9_999]  # fmt: skip


@pytest.mark.parametrize("refusing", REFUSALS)
@pytest.mark.parametrize("failing", [*PATHS])
def test_no_failure_of_one_file_takes_back_what_another_says(refusing, failing):
    for error in ERRORS:
        both = {refusing: REFUSALS[refusing], failing: error}
        found = [verdict for verdict, *_ in said(both)]
        if failing == refusing:
            is_robots = isinstance(error, int) and error in (0, 429, 500, 503)
            assert found == ([HOLD] if is_robots and refusing != "tdmrep_json" else []), error
        elif failing == "robots_txt" and refusing == "rsl" and isinstance(error, bytes):
            assert "allow" not in found  # it is not named any more
        else:
            assert {DENY, HOLD} & set(found), error


@given(
    st.fixed_dictionaries({}, optional={kind: st.binary(max_size=300) for kind in PATHS}), st.sampled_from([*REFUSALS])
)
def test_any_bytes_are_read_and_never_hide_a_refusal(bodies, refusing):
    bodies.pop("robots_txt", None)
    found = said({**bodies, refusing: REFUSALS[refusing]})
    assert {verdict for verdict, *_ in found} <= set(VERDICTS)
    assert DENY in {verdict for verdict, *_ in found}


@given(st.binary(max_size=300), st.text(max_size=30))
def test_any_robots_txt_and_any_path_are_read(body, path):
    assert {verdict for verdict, *_ in said({"robots_txt": body}, "/" + path)} <= set(VERDICTS)
