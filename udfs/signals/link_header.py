"""The ``Link`` response header (RFC 8288)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

HEADER = "Link"

_TARGET = re.compile(r"[\s,]*<([^<>]*)>")
_PARAMETER = re.compile(r"\s*;\s*(?:([^\s=;,\"<>]+)(?:\s*=\s*(?:\"((?:[^\"\\]|\\.)*+)\"|([^\s;,\"<>]*)))?)?")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Link:
    """One link.

    Attributes:
        target: as written.
        relations: its ``rel`` tokens in lower case.
        media_type: its ``type`` in lower case, without parameters; empty if it has none.
        anchor: the context, if it is not the resource itself; None if there is no such parameter.
    """

    target: str
    relations: frozenset[str]
    media_type: str
    anchor: str | None


def links(lines: Iterable[str]) -> Iterator[Link]:
    """The links of all header lines. What cannot be parsed is skipped up to the next target."""
    for line in lines:
        at = 0
        while at < len(line):
            target = _TARGET.match(line, at)
            if not target:
                at = line.find("<", at + 1)
                if at < 0:
                    break
                continue
            parameters, at = _parameters(line, target.end())
            yield Link(
                target[1].strip(),
                frozenset(parameters.get("rel", "").lower().split()),
                parameters.get("type", "").partition(";")[0].strip().lower(),
                parameters.get("anchor"),
            )


def _parameters(line: str, at: int) -> tuple[dict[str, str], int]:
    found: dict[str, str] = {}
    while (match := _PARAMETER.match(line, at)) and match.end() > at:
        at = match.end()
        if match[1]:
            quoted = match[2]
            value = _ESCAPE.sub(r"\1", quoted) if quoted is not None else match[3] or ""
            found.setdefault(match[1].lower(), value)  # RFC 8288, section 3.3: the first rel counts
    return found, at
