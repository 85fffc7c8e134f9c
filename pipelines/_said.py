"""A piece of evidence as it is recorded: who said it, when, and under which policies it counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.metadata import version
from typing import Any

from ..udfs.signals import Evidence

AGENT = "fairshard"
"""Our product token: what robots.txt groups and header scopes call us by."""


@dataclass(frozen=True, slots=True)
class Said:
    """Evidence and its circumstances: a row of ``signal`` but for the pair.

    Attributes:
        evidence: what was said.
        observed_at: when it was read.
        scope: ``asset``: said by the response itself; ``url`` or ``host``: said in a file about one or all.
        origin: completes a source that is a path.
        hop: response of a redirect chain that said it, or whose host did.
        only_if: the line of a policy under which it counts, such as ``noindex=deny``; None: under any.
    """

    evidence: Evidence
    observed_at: datetime
    scope: str
    origin: str = ""
    hop: int | None = None
    only_if: str | None = None

    def row(self, pair_id: int) -> dict[str, Any]:
        """The row of a pair."""
        said = self.evidence
        return {
            "pair_id": pair_id,
            "kind": said.kind,
            "verdict": said.verdict,
            "scope": self.scope,
            "value": "; ".join(part for part in (said.value, said.scope, said.detail) if part) or None,
            "source": self.origin + said.source if said.source.startswith("/") else said.source or self.origin,
            "rule_id": None,
            "hop": self.hop,
            "only_if": self.only_if,
            "observed_at": self.observed_at,
            "parser": parser(),
        }


def said_of(row: Mapping[str, Any]) -> Said:
    """What a row of ``signal`` has recorded; its row for the same pair is the same again."""
    evidence = Evidence(row["kind"], row["verdict"], value=row["value"] or "", source=row["source"])
    return Said(evidence, row["observed_at"], row["scope"], hop=row["hop"], only_if=row["only_if"])


@cache
def parser() -> str:
    """The version that reads evidence."""
    return version("fairshard")
