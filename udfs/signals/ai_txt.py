"""Spawning's ai.txt: which file types may be used for training, in robots syntax.

``*.ext`` is a file type here, not a path pattern: it matches the final extension of the path, in any case and
without the query, so that ``*.c`` leaves ``.css`` alone. Other formats that go by the same name state nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...schemas.verdicts import ALLOW, DENY, HOLD, NONE
from . import Evidence
from .path_pattern import Pattern, Target, compiled, target_of
from .robots_lines import RULES, Line, choose, groups_of, read_lines

KIND = "ai_txt"
SOURCE = "/ai.txt"

_FILE_TYPE = re.compile(rb"\*(\.[A-Za-z0-9_.+-]+)\$?")


@dataclass(frozen=True, slots=True)
class Rule:
    """One Allow or Disallow line: a file type in lower case, or a path pattern."""

    allow: bool
    length: int
    line: Line
    file_type: bytes = b""
    pattern: Pattern | None = None

    def matches(self, target: Target) -> bool:
        """Whether the rule covers a URL."""
        if self.pattern:
            return self.pattern.matches(target)
        return target.path.rpartition(b"/")[2].lower().endswith(self.file_type)


class AiTxt:
    """A parsed ai.txt, or what stands for one that could not be had.

    Attributes:
        hold: why the file could not be determined; empty if it could.
    """

    def __init__(self, lines: tuple[Line, ...] = (), hold: str = ""):
        self.hold = hold
        self._groups = groups_of(lines, RULES)[1]
        self._rules: dict[str, list[Rule]] = {}

    def verdict(self, url: str, agent: str) -> Evidence:
        """What the file says about one URL: the longest matching rule, Allow among equals.

        Args:
            url: an absolute URL.
            agent: our product token.
        """
        if self.hold:
            return Evidence(KIND, HOLD, source=SOURCE, detail=self.hold)
        target = target_of(url)
        rule = next((rule for rule in self._rules_for(agent) if rule.matches(target)), None)
        if rule is None:
            return Evidence(KIND, NONE, source=SOURCE)
        return Evidence(KIND, ALLOW if rule.allow else DENY, "our group", rule.line.raw, SOURCE)

    def has_rules(self, agent: str) -> bool:
        """Whether it says anything about any URL."""
        return bool(self._rules_for(agent))

    def _rules_for(self, agent: str) -> list[Rule]:
        if agent not in self._rules:
            self._rules[agent] = _sorted_rules(choose(self._groups, agent).lines)
        return self._rules[agent]


def parse(body: bytes) -> AiTxt:
    """Reads an ai.txt once per host. No body raises."""
    return AiTxt(read_lines(body))


def from_response(status: int, body: bytes = b"") -> AiTxt:
    """The ai.txt that an answer stands for, by the rules of robots.txt: 4xx none; 5xx, 429, no answer hold."""
    if 200 <= status < 300:
        return parse(body)
    if 400 <= status < 500 and status != 429:
        return AiTxt()
    return AiTxt(hold=f"ai.txt: status {status}" if status else "ai.txt: no answer")


def _sorted_rules(lines: tuple[Line, ...]) -> list[Rule]:
    rules = [rule for line in lines if line.name in RULES and (rule := _rule(line))]
    return sorted(rules, key=lambda rule: (-rule.length, not rule.allow))


def _rule(line: Line) -> Rule | None:
    file_type = _FILE_TYPE.fullmatch(line.value)
    if file_type:
        return Rule(line.name == "allow", len(line.value), line, file_type=file_type[1].lower())
    pattern = compiled(line.value)
    return Rule(line.name == "allow", pattern.length, line, pattern=pattern) if pattern else None
