"""One row of ``audit``, and the rule that makes it a finding."""

from __future__ import annotations

from typing import TypedDict


class Row(TypedDict):
    """A row of ``audit``; see ``schemas.tables.AUDIT``."""

    kind: str
    subject: str
    pair_id: int | None
    other_id: int | None
    value: float | None
    threshold: float | None
    finding: bool
    detail: str


def row(
    kind: str,
    subject: str,
    value: float | None,
    threshold: float | None,
    finding: bool,
    detail: str,
    pair_id: int | None = None,
    other_id: int | None = None,
) -> Row:
    """A row of ``audit``."""
    return {
        "kind": kind, "subject": subject, "pair_id": pair_id, "other_id": other_id, "value": value,
        "threshold": threshold, "finding": finding, "detail": detail,
    }  # fmt: skip


def over(value: float, limit: float) -> bool:
    """Whether a measure is more than it may be. What cannot be compared is: NaN must not pass."""
    return not value <= limit
