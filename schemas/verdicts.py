"""The five verdicts, and the one order between them."""

from __future__ import annotations

from collections.abc import Iterable

DENY = "deny"
"""Opted out, or closed to us."""
HOLD = "hold"
"""Could not be determined: do not download, ask again later."""
COND = "cond"
"""Reserved, but conditions are offered: a ``deny`` until a licence is recorded."""
ALLOW = "allow"
"""Explicitly permitted."""
NONE = "none"
"""No usable statement."""

VERDICTS = (DENY, HOLD, COND, ALLOW, NONE)
"""In order of severity: across protocols the first one found is the answer."""

PURPOSES = ("train", "genai")
"""What data is wanted for. Statements about generative training alone bind ``genai`` only."""


def strictest(verdicts: Iterable[str]) -> str:
    """The most severe of some verdicts; ``none`` if there are none.

    Raises:
        ValueError: a word that is no verdict, which must not be taken for silence.
    """
    found = set(verdicts)
    if unknown := found.difference(VERDICTS):
        raise ValueError(f"{min(unknown)!r} is no verdict; expected one of {', '.join(VERDICTS)}")
    return min(found, key=VERDICTS.index, default=NONE)
