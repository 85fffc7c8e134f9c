"""Path patterns: against a plain oracle, and against patterns made to hang."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairshard.udfs.signals.path_pattern import compiled, target_of

PIECES = st.text("ab/", max_size=3)


@given(st.lists(PIECES, min_size=1, max_size=5), st.booleans(), st.text("ab/", max_size=12))
def test_agrees_with_the_definition(pieces, anchored, path):
    pattern = compiled(("/" + "*".join(pieces) + ("$" if anchored else "")).encode())
    assert pattern and pattern.matches(target_of("/" + path)) == _matches("/" + pieces[0], pieces[1:], anchored, path)


def _matches(first, rest, anchored, path):
    """Tries every split: slow and plainly right."""
    text = "/" + path
    ends = {len(first)} if text.startswith(first) else set()
    for piece in rest:
        ends = {
            start + len(piece) for end in ends for start in range(end, len(text) + 1) if text.startswith(piece, start)
        }
    return len(text) in ends if anchored else bool(ends)


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_is_a_target_and_a_pattern(url, pattern):
    found = compiled(pattern.encode("utf-8", "surrogatepass"))
    assert (found is None) == (not pattern.startswith(("/", "*")))
    assert found is None or found.matches(target_of(url)) in (True, False)


@given(st.text(max_size=30))
def test_a_path_matches_itself_and_is_not_normalised_twice(text):
    path = "/" + text.partition("#")[0].strip().replace("*", "%2A").replace("$", "%24")
    target = target_of(path)
    assert target_of(target.plain.decode()) == target
    assert compiled(target.plain).matches(target)


def test_patterns_made_to_hang_do_not():
    path = target_of("/" + "a" * 5_000)
    assert not compiled(b"/" + b"*a" * 4_000 + b"*b$").matches(path)
    assert compiled(b"/" + b"*a" * 4_000 + b"$").matches(path)
    assert not compiled(b"/" + b"*a" * 5_001).matches(path)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://a.example", b"/"),
        ("https://a.example?x=1", b"/?x=1"),
        ("https://a.example/a/./b/../c//d", b"/a/c//d"),
        ("https://a.example/%2e%2E/a", b"/a"),
        ("https://a.example/../..", b"/"),
        ("https://a.example/a/..", b"/"),
        ("https://a.example/a/b/..", b"/a/"),
        ("https://a.example/%7Ea%2fb%", b"/~a%2Fb%25"),
        ("/a b*c$", b"/a%20b%2Ac%24"),
        ("https://a.example/a?b=/../c", b"/a?b=/../c"),
    ],
)
def test_target(url, path):
    assert target_of(url).plain == path


@pytest.mark.parametrize(
    ("pattern", "url", "matches"),
    [
        # The table of RFC 9309, section 2.2.2.
        ("/foo/bar?baz=quz", "/foo/bar?baz=quz", True),
        ("/foo/bar?baz=https://foo.bar", "/foo/bar?baz=https%3A%2F%2Ffoo.bar", True),
        ("/foo/bar?baz=https%3A%2F%2Ffoo.bar", "/foo/bar?baz=https://foo.bar", True),
        ("/foo/bar/ツ", "/foo/bar/%E3%83%84", True),
        ("/foo/bar/%62%61%7A", "/foo/bar/baz", True),
        ("/*=https://foo", "/foo/bar?baz=https://foo.bar", True),
        ("/a@b", "/a%40b", True),
        ("/a/b", "/a%2Fb", False),
        ("/a?b", "/a%3Fb", False),
        ("/a?b=1%262", "/a?b=1&2", False),
    ],
)
def test_escapes(pattern, url, matches):
    assert compiled(pattern.encode()).matches(target_of(url)) is matches


@given(st.from_regex(r"https?://[a-z:.@]{1,9}(/[a-z%.?#$~:-]{0,4}){0,4}", fullmatch=True))
def test_plain_urls_are_read_in_less_time_and_not_otherwise(url):
    assert target_of(url) == target_of(f" {url}")  # what is not plain goes the long way
