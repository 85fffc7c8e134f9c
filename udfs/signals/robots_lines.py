"""The lines and groups of a robots.txt, before anybody asks what they say.

RFC 9309 rules, Content-Signal, AIPREF and RSL all live in this file, and they disagree on which lines are rules,
that is, after which lines a user-agent line begins a new group. So the lines are read once and grouped per
protocol.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from . import quoted

MAX_BYTES = 500 * 1024
"""RFC 9309, section 2.5: at least 500 KiB are read. The rest is not."""

RULES = frozenset({"allow", "disallow"})
"""RFC 9309, section 2.2: the lines after which a user-agent line begins a new group."""

EXTENDED_RULES = RULES | {"content-signal", "content-usage", "license"}
"""The same for the protocols that add lines of their own: each of them defines its line as a rule."""

_KNOWN = EXTENDED_RULES | {"user-agent", "sitemap", "crawl-delay"}
_NAME_BYTES = 64  # longer than any name, short enough to be remembered by the thousand
_SYNONYMS = {
    "useragent": "user-agent",
    "user agent": "user-agent",
    "content-signals": "content-signal",
}

_LINE_END = re.compile(rb"\r\n|\r|\n")
_BOM = b"\xef\xbb\xbf"
_PREAMBLE = re.compile(rb"\s*(?:<!--.*?-->\s*|<\?.*?\?>\s*)*", re.DOTALL)
_TAG = re.compile(rb"<(!doctype|/?[a-z][a-z0-9-]*)[\s/>]", re.IGNORECASE)
_HTML = frozenset(
    b"!doctype html head body title meta link script style base noscript template div p span a b i em strong br hr "
    b"pre code center font h1 h2 h3 h4 h5 h6 table tbody tr td th ul ol li dl dt dd img iframe frame frameset "
    b"noframes form input button main section article aside header footer nav svg blockquote".split()
)

_TOKEN = re.compile(r"[A-Za-z_-]*")
_EVERYONE = re.compile(r"\*(?![A-Za-z0-9_.*-])")


@dataclass(frozen=True, slots=True)
class Line:
    """One ``name: value`` line.

    Attributes:
        name: the canonical name in lower case, misspellings of known names corrected.
        value: the value without comment and surrounding white space.
    """

    name: str
    value: bytes

    @property
    def text(self) -> str:
        """The value as text."""
        return self.value.decode("utf-8", "replace")

    @property
    def raw(self) -> str:
        """The line as evidence shows it."""
        return f"{self.name}: {quoted(self.value)}"


@dataclass(frozen=True, slots=True)
class Group:
    """The agents that some user-agent lines name, and the lines that follow."""

    agents: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """The lines of all groups that bind an agent.

    Attributes:
        named: true if a group names the agent; false if everybody's groups were taken.
        lines: their lines, merged in file order.
    """

    named: bool
    lines: tuple[Line, ...]


def read_lines(body: bytes) -> tuple[Line, ...]:
    """All lines that have a name and a value, wherever they stand. No body raises.

    Args:
        body: the document as it came; only the first 500 KiB are read. UTF-16 is read if a mark says so.

    Source: RFC 9309, section 2.2: only CR, LF and CR LF end a line, and a comment begins at ``#``.
    """
    text = _cut(body)
    if text.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = text.decode("utf-16", "replace").encode("utf-8")
    while text.startswith(_BOM):
        text = text[len(_BOM) :]
    if is_html(text):
        return ()
    found = (_line(raw.partition(b"#")[0].strip()) for raw in _LINE_END.split(text))
    return tuple(line for line in found if line is not None)


def groups_of(lines: Sequence[Line], rules: frozenset[str]) -> tuple[tuple[Line, ...], tuple[Group, ...]]:
    """The lines before any user-agent line, and the groups in file order.

    Args:
        lines: as ``read_lines`` returns them.
        rules: names of the lines that close a run of user-agent lines.
    """
    preamble: list[Line] = []
    groups: list[Group] = []
    agents: list[str] = []
    members: list[Line] = []
    closed = False
    for line in lines:
        if line.name == "user-agent":
            if closed:
                groups.append(Group(tuple(agents), tuple(members)))
                agents, members, closed = [], [], False
            agents.append(line.text)
        elif agents:
            members.append(line)
            closed = closed or line.name in rules
        else:
            preamble.append(line)
    if agents:
        groups.append(Group(tuple(agents), tuple(members)))
    return tuple(preamble), tuple(groups)


def choose(groups: Sequence[Group], agent: str) -> Choice:
    """The groups that name the agent, merged; if none does, the groups for everybody, merged.

    Args:
        agent: our product token; its case does not matter.
    """
    named = [group for group in groups if any(names(value, agent) for value in group.agents)]
    bound = named or [group for group in groups if any(_EVERYONE.match(value) for value in group.agents)]
    return Choice(bool(named), tuple(line for group in bound for line in group.lines))


def names(value: str, agent: str) -> bool:
    """Whether a user-agent value is this product token, whole and in any case.

    The value is cut at the first character that no token holds (RFC 9309, section 2.2.1). A digit is such a
    character by the letter of the RFC, but tokens with digits are in use, and cutting ``img2dataset`` to ``img``
    would address somebody else: such a value is compared as it stands.
    """
    value = value[: len(agent) + 1]  # a longer name is another one, and some are as long as the file
    cut = _TOKEN.match(value)
    end = cut.end() if cut else 0
    token = value if end < len(value) and value[end] in "0123456789" else value[:end]
    return bool(token) and token.lower() == agent.strip().lower()


def is_html(text: bytes) -> bool:
    """Whether a document begins with an HTML tag: the page of an error, not a robots.txt."""
    start = _PREAMBLE.match(text, 0)
    tag = _TAG.match(text, start.end() if start else 0)
    return tag is not None and tag.group(1).lower().lstrip(b"/") in _HTML


def _cut(body: bytes) -> bytes:
    """The first 500 KiB, without a last line that was cut in two: half a path is another path."""
    if len(body) <= MAX_BYTES:
        return body
    whole = body[:MAX_BYTES]
    if body[MAX_BYTES] in b"\r\n" or whole.endswith((b"\r", b"\n")):
        return whole
    return whole[: max(whole.rfind(b"\n"), whole.rfind(b"\r")) + 1]


def _line(text: bytes) -> Line | None:
    before, colon, value = text.partition(b":")
    name = _canonical(before.strip()[:_NAME_BYTES].lower())
    if colon and name in _KNOWN:
        return Line(name, value.strip())
    # A missing colon is forgiven in a line of two words (Google's parser does so too).
    words = text.split(None, 2)
    if len(words) == 2 and (forgiven := _canonical(words[0][:_NAME_BYTES].lower())) in _KNOWN:
        return Line(forgiven, words[1])
    return Line(name, value.strip()) if colon else None


@lru_cache(maxsize=1024)
def _canonical(name: bytes) -> str:
    text = " ".join(name.decode("utf-8", "replace").split())
    if text in _KNOWN:
        return text
    if text.startswith("d") and len(text) <= 11 and _edits(text, "disallow") <= 2:
        return "disallow"
    return _SYNONYMS.get(text, text)


def _edits(left: str, right: str) -> int:
    """Edit distance with transposition of neighbours (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        older, before, row = before, row, [i] + [0] * len(right)
        for j, b in enumerate(right, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                row[j] = min(row[j], older[j - 2] + 1)
    return row[-1]
