"""X-Robots-Tag: ``noai``, ``noimageai``, ``noml`` and, by policy, ``noindex`` in response headers.

There is no standard. The syntax is Google's, the AI directives are DeviantArt's (2022); ``noml`` comes from
the search engine Mojeek. Nothing here grants: ``all`` is about search.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ...schemas.verdicts import DENY, NONE
from . import Evidence, Response
from .directives import refusal

KIND = "x_robots_tag"
HEADER = "X-Robots-Tag"


def verdict(hops: Sequence[Response], agent: str, also: Collection[str] = ()) -> Evidence:
    """What the headers of an asset say.

    Args:
        hops: every response of the redirect chain. Each line of each counts, at any status: who redirects to
            a copy or answers 404 still speaks for the URL that was asked for.
        agent: our product token.
        also: words that refuse too, as in ``directives.refusal``.

    Returns:
        Evidence: ``deny`` or ``none``.
    """
    image = not is_text(hops[-1]) if hops else True
    lines = [(hop, text) for hop in hops for text in hop.lines(HEADER)]
    for hop, text in lines:
        word = refusal(text, agent, image=image, also=also)
        if word:
            return Evidence(KIND, DENY, word, text, f"{HEADER} of {hop.url}")
    return Evidence(KIND, NONE, value=lines[0][1] if lines else "", source=HEADER if lines else "")


def is_text(response: Response) -> bool:
    """Whether a response says it is ``text/*``. Without a Content-Type an asset counts as an image."""
    types = [value.strip().lower() for value in response.lines("Content-Type")]
    return bool(types) and all(value.startswith("text/") for value in types)
