"""Opt-out protocols: one module each, bytes or headers in, evidence out. No I/O, no engine, no policy.

Every reader obeys the same three rules. Restrictions are read leniently and grants strictly. What cannot be
parsed is recorded and states nothing: no bytes at all become ``allow`` by accident. No input raises, hangs
or asks for more memory than a small multiple of its own size.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ...schemas.verdicts import NONE, strictest

VALUE_CHARS = 1_000
"""How much of a raw statement is kept as evidence."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one protocol says about one asset.

    Attributes:
        kind: the protocol, such as ``robots_txt``.
        verdict: one of ``schemas.verdicts.VERDICTS``.
        scope: what the statement covers in its own terms: a group and path, a location, a label.
        value: the statement as it was found; at most 1,000 characters, control characters as spaces.
        source: where it was found: a file name or URL, a header of a hop, a block inside the file.
        tags: facts that stand next to a verdict, sorted, such as ``synthetic`` or a licence's SPDX id.
        detail: why the verdict is not plainer, such as ``malformed: ...``; empty if all was clear.
    """

    kind: str
    verdict: str = NONE
    scope: str = ""
    value: str = ""
    source: str = ""
    tags: tuple[str, ...] = ()
    detail: str = ""

    def __post_init__(self) -> None:
        for name in ("scope", "value", "source", "detail"):
            object.__setattr__(self, name, quoted(getattr(self, name)))
        object.__setattr__(self, "tags", tuple(sorted(set(self.tags))))


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response of a redirect chain, without its body.

    Attributes:
        url: what was asked for.
        status: HTTP status; 0 is no answer.
        headers: name and value of each header line, in order, repeats kept.
    """

    url: str = ""
    status: int = 200
    headers: Sequence[tuple[str, str]] = field(default_factory=tuple)

    def lines(self, name: str) -> list[str]:
        """The values of all header lines of that name, in order."""
        wanted = name.lower()
        return [value for key, value in self.headers if key.strip().lower() == wanted]


def quoted(raw: str | bytes) -> str:
    """Raw text made safe to store and print: bounded, UTF-8, no control characters."""
    if isinstance(raw, bytes):
        raw = raw[: VALUE_CHARS * 4].decode("utf-8", "replace")
    return _CONTROL.sub(" ", raw[:VALUE_CHARS])


def strictest_evidence(kind: str, found: Iterable[Evidence]) -> Evidence:
    """The piece of evidence that decides, with the tags of all; a plain ``none`` if there is nothing."""
    pieces = list(found)
    if not pieces:
        return Evidence(kind)
    verdict = strictest(piece.verdict for piece in pieces)
    deciding = [piece for piece in pieces if piece.verdict == verdict]
    chosen = next((piece for piece in deciding if piece.value or piece.detail), deciding[0])
    tags = tuple(tag for piece in pieces for tag in piece.tags)
    return Evidence(kind, verdict, chosen.scope, chosen.value, chosen.source, tags, chosen.detail)
