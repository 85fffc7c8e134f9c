"""AIPREF: the IETF's ``Content-Usage``, as a response header and as a rule in robots.txt.

Sources: draft-ietf-aipref-vocab (the label ``train-ai`` with the tokens ``y`` and ``n``) and
draft-ietf-aipref-attach (where it stands). The value is a Dictionary of RFC 9651, whose own failure rule
applies: one bad character and the whole field states nothing. http-sf implements that exactly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import http_sf

from ...schemas.verdicts import ALLOW, DENY, HOLD, NONE, strictest
from . import Evidence, Response, strictest_evidence
from .path_pattern import Pattern, compiled, target_of
from .robots_txt import SOURCE, Robots

KIND = "aipref"
HEADER = "Content-Usage"
LINE = "content-usage"
MAX_BYTES = 64 * 1024

_VALUES = {"y": ALLOW, "n": DENY}
_LENIENT_VALUES = _VALUES | {"yes": ALLOW, "no": DENY}
_PATH = re.compile(rb"(/\S*)\s*(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reading:
    """How far the letter of the drafts is left.

    Attributes:
        lenient: also ``ai-train``, and the tokens ``yes`` and ``no``.
        legacy: also the labels of earlier drafts, ``ai`` and ``train-genai``.
    """

    lenient: bool = False
    legacy: bool = False

    def labels(self) -> tuple[str, ...]:
        """The dictionary keys that speak of training."""
        return ("train-ai", *(("ai-train",) * self.lenient), *(("ai", "train-genai") * self.legacy))


def verdict(robots: Robots, hops: Sequence[Response], url: str, agent: str, reading: Reading | None = None) -> Evidence:
    """What robots.txt and the final response say about training; the stricter of the two wins.

    Args:
        robots: of the host.
        hops: every response for the asset; a preference is about the content of its own message, so only
            the last one counts.
        url: the asset.
        agent: our product token.
        reading: how far to leave the letter of the drafts; not at all if None.

    Returns:
        Evidence: ``deny``, ``allow``, ``none``; ``hold`` if robots.txt is undetermined and the header does not
        refuse.
    """
    reading = reading or Reading()
    return strictest_evidence(KIND, [_in_robots(robots, url, agent, reading), _in_header(hops, reading)])


def preference(field: bytes, reading: Reading) -> tuple[str, str]:
    """The verdict of one field value, and what is wrong with it if it cannot be parsed."""
    if len(field) > MAX_BYTES:
        return NONE, f"malformed: {len(field)} bytes, expected at most {MAX_BYTES}"
    try:
        members: Any = http_sf.parse(field, tltype="dictionary")
    except (http_sf.StructuredFieldError, ValueError, OverflowError) as error:
        return NONE, f"malformed: {error}"
    values = _LENIENT_VALUES if reading.lenient else _VALUES
    found = (members[label][0] for label in reading.labels() if label in members)
    return strictest(values.get(str(value), NONE) for value in found if isinstance(value, http_sf.Token)), ""


def _in_header(hops: Sequence[Response], reading: Reading) -> Evidence:
    lines = [value.strip(" \t") for value in hops[-1].lines(HEADER)] if hops else []
    if not lines:
        return Evidence(KIND)
    text = ", ".join(lines)
    found, detail = preference(text.encode("utf-8", "surrogatepass"), reading)
    return Evidence(KIND, found, "asset", text, HEADER, detail=detail)


def _in_robots(robots: Robots, url: str, agent: str, reading: Reading) -> Evidence:
    if robots.hold:
        return Evidence(KIND, HOLD, source=SOURCE, detail=robots.hold)
    rules = _rules(robots, agent, reading)
    if not rules:
        return Evidence(KIND)
    if robots.closes(url, agent):
        return Evidence(KIND, source=SOURCE, detail="no preference is implied for a path that is disallowed")
    target = target_of(url)
    matching = [
        (pattern.length if pattern else 0, found)
        for pattern, found in rules
        if pattern is None or pattern.matches(target)
    ]
    longest = max((length for length, _ in matching), default=0)
    return strictest_evidence(KIND, (found for length, found in matching if length == longest))


@lru_cache(maxsize=2)  # URLs come host by host
def _rules(robots: Robots, agent: str, reading: Reading) -> list[tuple[Pattern | None, Evidence]]:
    """The rules for an agent: path, None for all, and what is said; of the matching ones the longest decide alone."""
    rules = []
    for line in robots.lines_for(agent, LINE)[0]:
        path = _PATH.match(line.value)
        says, detail = preference(path[2] if path else line.value, reading)
        scope = path[1].decode("utf-8", "replace") if path else "all paths"
        found = Evidence(KIND, says, scope, line.raw, SOURCE, detail=detail)
        rules.append((compiled(path[1]) if path else None, found))
    return rules
