"""Content-Signal: ``ai-train`` in robots.txt or as a response header (contentsignals.org, Cloudflare, 2025).

There is no grammar, so case and spaces are folded. It says nothing about crawling: ``Allow: /`` next to
``ai-train=no`` opens the site to search and closes it to training.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ...schemas.verdicts import ALLOW, DENY, HOLD, NONE
from . import Evidence, Response, strictest_evidence
from .robots_txt import SOURCE, Robots

KIND = "content_signal"
HEADERS = ("Content-Signal", "Content-Signals")
LINE = "content-signal"

# A refusal is found wherever it stands; a permission has to be a whole, well-formed part between commas.
_REFUSAL = re.compile(r"""(?<![\w-])ai[-_]train\s*[=:]\s*["']?no(?![\w-])""", re.IGNORECASE)
_PERMISSION = re.compile(r"\s*ai-train\s*=\s*yes\s*", re.IGNORECASE)


def verdict(robots: Robots, hops: Sequence[Response], agent: str) -> Evidence:
    """What robots.txt and the response headers say about training.

    Args:
        robots: of the host. Our group's lines count; if they say nothing of training, those before any group.
        hops: every response for the asset. A refusal on any of them counts, a permission on the last alone.
        agent: our product token.

    Returns:
        Evidence: ``deny``, ``allow``, ``none``; ``hold`` if robots.txt is undetermined and no header refuses.
    """
    return strictest_evidence(KIND, [_in_robots(robots, agent), *_in_headers(hops)])


def _in_robots(robots: Robots, agent: str) -> Evidence:
    if robots.hold:
        return Evidence(KIND, HOLD, source=SOURCE, detail=robots.hold)
    own, preamble = robots.lines_for(agent, LINE)
    found = Evidence(KIND)
    for scope, lines in (("our group", own), ("whole site", preamble)):
        found = strictest_evidence(KIND, _read((line.text for line in lines), scope, SOURCE))
        if found.verdict != NONE:
            break
    return found


def _in_headers(hops: Sequence[Response]) -> Iterable[Evidence]:
    for hop in hops:
        for name in HEADERS:
            for piece in _read(hop.lines(name), "asset", f"{name} of {hop.url}"):
                if piece.verdict == DENY or hop is hops[-1]:
                    yield piece


def _read(texts: Iterable[str], scope: str, source: str) -> Iterable[Evidence]:
    for text in texts:
        verdict = NONE
        if _REFUSAL.search(text):
            verdict = DENY
        elif any(_PERMISSION.fullmatch(part) for part in text.split(",")):
            verdict = ALLOW
        yield Evidence(KIND, verdict, scope, text, source)
