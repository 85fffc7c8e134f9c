"""The directives of ``X-Robots-Tag`` and of HTML ``meta name="robots"``, which share one syntax.

A line is a list of directives between commas. ``name:`` addresses what follows to one agent. That makes the
colon ambiguous: it also stands inside directives that carry a value, and inside the dates of
``unavailable_after``, which hold commas as well. Splitting at the first colon, as the best known downloader
does, lets ``noai, max-image-preview:large`` through.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import lru_cache

from .robots_lines import names

# Google's list of directives with a value; none of them opens a scope.
VALUED = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
_DATED = "unavailable_after"

NO_AI = frozenset({"noai", "noml"})
NO_IMAGE_AI = "noimageai"
NO_INDEX = frozenset({"noindex", "none"})
NO_IMAGE_INDEX = NO_INDEX | {"noimageindex"}
_AGAINST = NO_AI | {NO_IMAGE_AI}

_SCOPE_CHARS = 256  # longer than any name, short enough to be compared at every directive
_WORD = re.compile(r"[^\s;|\"']+")
_VALUE = re.compile(r"\s*[^\s;|]*")


def refusal(text: str, agent: str, *, image: bool, also: Collection[str] = ()) -> str:
    """The directive of a line that refuses training to us; empty if there is none.

    Args:
        text: the value of one header line, or of one ``content`` attribute.
        agent: our product token.
        image: whether the asset is anything but text, which ``noimageai`` does not bind.
        also: search engines' words that refuse too, a policy choice: ``NO_INDEX`` or ``NO_IMAGE_INDEX``.
    """
    for scope, directive in directives(text):
        word = directive.lower().rstrip(".")
        refused = word in NO_AI or word in also or (image and word == NO_IMAGE_AI)
        if refused and _addresses(scope, agent):
            return word
    return ""


def directives(text: str) -> Iterator[tuple[str, str]]:
    """Each word of a line with the scope it stands in; an empty scope is everybody.

    The values of directives are left out; what stands after them, be it without a comma, is not.
    """
    scope, dated = "", False
    for part in text.split(","):
        pieces = part.split(":")[::-1]
        if dated and part.strip()[:1].isdigit():
            yield from _date(pieces, scope)  # the rest of one such as "Friday, 25-Jun-10 15:00:00 UTC"
        dated = False
        while pieces:
            name = pieces.pop()
            *before, last = name.replace(";", " ; ").split() or [""]
            word = last.lower()
            if not pieces:
                yield from _words(name, scope)
                break
            yield from _words(" ".join(before), scope)  # a comma is missing before the name
            if word == _DATED:
                dated = True
                yield from _date(pieces, scope)
            elif word in VALUED:
                pieces.append(_VALUE.sub("", pieces.pop(), count=1))
            else:
                scope = name.strip(" \t;")[:_SCOPE_CHARS]


def _date(pieces: list[str], scope: str) -> Iterator[tuple[str, str]]:
    """Words against training in a date. Takes it off the end of ``pieces``: it holds colons, and a semicolon ends it."""
    while pieces:
        date, semicolon, rest = pieces.pop().partition(";")
        yield from ((scope, word) for _, word in _words(date, scope) if word.lower() in _AGAINST)
        if semicolon:
            pieces.append(rest)
            return


def _words(text: str, scope: str) -> Iterator[tuple[str, str]]:
    return ((scope, word) for word in _WORD.findall(text))


@lru_cache(maxsize=256)
def _addresses(scope: str, agent: str) -> bool:
    """Whether a scope is everybody's or ours. Where a comma is missing, the name is not its first word."""
    return not scope or any(word == "*" or names(word, agent) for word in scope.split())
