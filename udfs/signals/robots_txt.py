"""robots.txt: whether a URL is closed to us (RFC 9309).

``urllib.robotparser`` and Protego, the usual parsers, are not used. The standard library takes the first match
instead of the longest, matches parts of tokens and knows no wildcards; Protego merges the groups of different
agents by prefix, and neither can tell "allowed by a rule" from "no rule", which are two verdicts here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...schemas.verdicts import ALLOW, DENY, HOLD, NONE
from . import Evidence
from .ai_agents import TRAINING_AGENTS
from .path_pattern import Pattern, Target, compiled, target_of
from .robots_lines import EXTENDED_RULES, RULES, Choice, Line, choose, groups_of, read_lines

KIND = "robots_txt"
SOURCE = "/robots.txt"

_NOTHING = Evidence(KIND, NONE, source=SOURCE)
_SECONDS = re.compile(rb"\d+(\.\d*)?|\.\d+")


@dataclass(frozen=True, slots=True)
class Rule:
    """One Allow or Disallow line that can match something."""

    allow: bool
    pattern: Pattern
    line: Line


@dataclass(frozen=True, slots=True)
class _RuleSet:
    """The rules that bind one agent, longest first and Allow first among equals: the first match wins."""

    named: bool
    rules: tuple[Rule, ...]
    prefixes: tuple[bytes, ...]

    def winner(self, target: Target) -> Rule | None:
        # Most URLs match no rule at all, and one call in C tells so.
        if not target.plain.startswith(self.prefixes) and not target.encoded.startswith(self.prefixes):
            return None
        return next((rule for rule in self.rules if rule.pattern.matches(target)), None)


class Robots:
    """A robots.txt, or what stands for one that could not be had.

    Attributes:
        lines: all lines in file order, for the protocols that live in the same file.
        hold: why the file could not be determined; empty if it could.
    """

    def __init__(self, lines: Sequence[Line] = (), hold: str = ""):
        self.lines = tuple(lines)
        self.hold = hold
        self._groups = groups_of(self.lines, RULES)[1]
        self._rules: dict[Line, Rule | None] = {}  # a line in the groups of thirty agents is compiled once
        self._rule_sets: dict[str, _RuleSet] = {}
        self._proxies: dict[str, _RuleSet] | None = None
        self._choices: dict[str, Choice] = {}
        self._preamble: tuple[Line, ...] = ()

    def verdict(self, url: str | Target, agent: str, ai_agent_proxy: str = "off") -> Evidence:
        """What the file says about one URL.

        Args:
            url: an absolute URL, or its path and query; or the ready target, if several files are asked.
            agent: our product token.
            ai_agent_proxy: ``any``: unless a group names us, a URL that is closed to the own group of a
                crawler for training is closed to us.

        Returns:
            Evidence: ``allow`` or ``deny`` by the winning rule, ``none`` if no rule matches, ``hold`` if
            there is no answer yet.
        """
        if self.hold:
            return Evidence(KIND, HOLD, source=SOURCE, detail=self.hold)
        target = target_of(url) if isinstance(url, str) else url
        rules = self._rules_for(agent)
        found = _evidence(rules.winner(target), agent if rules.named else "*")
        if found.verdict == DENY or rules.named or ai_agent_proxy != "any":
            return found
        return self._by_proxy(target) or found

    def closes(self, url: str | Target, agent: str) -> bool:
        """Whether the winning rule for an agent is a Disallow."""
        return self.verdict(url, agent).verdict == DENY

    def refusal(self, url: str | Target, agent: str) -> tuple[Evidence, bool] | None:
        """The Disallow that closes a URL, and whether it does so as to a crawler for training alone.

        None is what ``verdict`` calls anything else, found in less time: most URLs are closed to nobody.
        """
        target = target_of(url) if isinstance(url, str) else url
        rules = self._rules_for(agent)
        rule = rules.winner(target)
        if rule and not rule.allow:
            return _evidence(rule, agent if rules.named else "*"), False
        found = None if rules.named else self._by_proxy(target)
        return (found, True) if found else None

    def can_close(self, agent: str) -> bool:
        """Whether ``refusal`` finds any URL at all: of most hosts no URL has to be judged."""
        rules = self._rules_for(agent)
        sets = [rules, *([] if rules.named else self._proxy_rules().values())]
        return any(not rule.allow for one in sets for rule in one.rules)

    def lines_for(self, agent: str, name: str) -> tuple[list[Line], list[Line]]:
        """The lines of one name in the groups that bind an agent, and those before any group.

        For protocols whose own lines are rules: here a user-agent line after one begins a new group.
        """
        if agent not in self._choices:
            self._preamble, groups = groups_of(self.lines, EXTENDED_RULES)
            self._choices[agent] = choose(groups, agent)
        own = [line for line in self._choices[agent].lines if line.name == name]
        return own, [line for line in self._preamble if line.name == name]

    def crawl_delay_s(self, agent: str) -> float | None:
        """Seconds between two requests that the groups of an agent ask for, the most of several; None: no word of it.

        RFC 9309 does not know the line. So it begins no group and belongs to the one that it stands in.
        """
        own = (line.value for line in choose(self._groups, agent).lines if line.name == "crawl-delay")
        found = [float(seconds.group()) for value in own if (seconds := _SECONDS.match(value))]
        return max(found, default=None)

    def _by_proxy(self, target: Target) -> Evidence | None:
        for other, rules in self._proxy_rules().items():
            if (rule := rules.winner(target)) and not rule.allow:
                return _evidence(rule, other, detail=f"closed to {other}, an agent that collects training data")
        return None

    def _proxy_rules(self) -> dict[str, _RuleSet]:
        if self._proxies is None and all(value == "*" for group in self._groups for value in group.agents):
            self._proxies = {}
        if self._proxies is None:
            choices = {other: choose(self._groups, other) for other in TRAINING_AGENTS}
            self._proxies = {other: self._rule_set(choice) for other, choice in choices.items() if choice.named}
        return self._proxies

    def _rules_for(self, agent: str) -> _RuleSet:
        if agent not in self._rule_sets:
            self._rule_sets[agent] = self._rule_set(choose(self._groups, agent))
        return self._rule_sets[agent]

    def _rule_set(self, choice: Choice) -> _RuleSet:
        for line in choice.lines:
            if line.name in RULES and line not in self._rules:
                pattern = compiled(line.value)
                self._rules[line] = Rule(line.name == "allow", pattern, line) if pattern else None
        rules = [rule for line in choice.lines if (rule := self._rules.get(line))]
        rules.sort(key=lambda rule: (-rule.pattern.length, not rule.allow))
        prefixes = dict.fromkeys(prefix for rule in rules for prefix in rule.pattern.prefixes)
        return _RuleSet(choice.named, tuple(rules), tuple(prefixes))


def parse(body: bytes) -> Robots:
    """Reads a robots.txt once per host. No body raises; an HTML page states nothing."""
    return Robots(read_lines(body))


def from_response(status: int, body: bytes = b"") -> Robots:
    """The robots.txt that an answer stands for.

    Args:
        status: of the last response after all redirects; 0 is no answer.
        body: of the last response.

    Source: RFC 9309, section 2.3.1: 4xx is "no rules", 5xx is "complete disallow", read here as ``hold``,
        since it is to be asked again. 429 says "later", not "no rules". A redirect that leads nowhere is
        undetermined as well: the RFC would let us go on, failing closed does not.
    """
    if 200 <= status < 300:
        return parse(body)
    if 400 <= status < 500 and status != 429:
        return Robots()
    return Robots(hold=f"robots.txt: status {status}" if status else "robots.txt: no answer")


def _evidence(rule: Rule | None, group: str, detail: str = "") -> Evidence:
    if rule is None:
        return _NOTHING
    verdict = ALLOW if rule.allow else DENY
    return Evidence(KIND, verdict, f"user-agent: {group}", rule.line.raw, SOURCE, detail=detail)
