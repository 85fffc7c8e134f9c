"""The directives of ``X-Robots-Tag`` and of HTML ``meta name="robots"``, which share one syntax.

A line is a list of directives between commas. ``name:`` addresses what follows to one agent. That makes the
colon ambiguous: it also stands inside directives that carry a value, and inside the dates of
``unavailable_after``, which hold commas as well. Splitting at the first colon, as the best known downloader
does, lets ``noai, max-image-preview:large`` through.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .robots_lines import names

# Google's list of directives with a value; none of them opens a scope.
VALUED = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})

NO_AI = frozenset({"noai", "noml"})
NO_IMAGE_AI = "noimageai"
NO_INDEX = frozenset({"noindex", "none"})
NO_IMAGE_INDEX = "noimageindex"

_WORD = re.compile(r"[^\s;\"']+")


def refusal(text: str, agent: str, *, image: bool, respect_noindex: bool = False) -> str:
    """The directive of a line that refuses training to us; empty if there is none.

    Args:
        text: the value of one header line, or of one ``content`` attribute.
        agent: our product token.
        image: whether the asset is anything but text, which ``noimageai`` does not bind.
        respect_noindex: a policy choice: ``noindex``, ``none`` and, of images, ``noimageindex`` refuse too.
    """
    for scope, directive in directives(text):
        word = directive.lower()
        refused = word in NO_AI or (image and word == NO_IMAGE_AI)
        refused = refused or (respect_noindex and (word in NO_INDEX or (image and word == NO_IMAGE_INDEX)))
        if refused and (scope in ("", "*") or names(scope, agent)):
            return word
    return ""


def directives(text: str) -> Iterator[tuple[str, str]]:
    """Each word of a line with the scope it stands in; an empty scope is everybody.

    Directives with a value are left out: no value of theirs is a directive.
    """
    scope = ""
    dated = False
    for part in text.split(","):
        if dated and part.strip()[:1].isdigit():
            dated = False  # the rest of a date such as "Friday, 25-Jun-10 15:00:00 UTC"
            continue
        scope, rest, dated = _scope(part, scope)
        for word in _WORD.findall(rest):
            yield scope, word


def _scope(part: str, scope: str) -> tuple[str, str, bool]:
    """The scope after a part, the directives left in it, and whether a date may go on after the comma."""
    *scopes, rest = (side.strip() for side in part.split(":"))
    for name in scopes:
        if name.lower() in VALUED:
            return scope, "", name.lower() == "unavailable_after"
        scope = name
    return scope, rest, False
