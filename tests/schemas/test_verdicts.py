"""The order of the verdicts."""

from __future__ import annotations

import pytest

from fairshard.schemas.verdicts import VERDICTS, strictest


def test_strictest():
    assert [strictest(VERDICTS[n:]) for n in range(5)] == ["deny", "hold", "cond", "allow", "none"]
    assert strictest([]) == "none"
    assert strictest(["none", "allow", "hold", "cond"]) == "hold"


def test_a_word_that_is_no_verdict_is_not_taken_for_silence():
    with pytest.raises(ValueError, match="denied"):
        strictest(["none", "denied"])
