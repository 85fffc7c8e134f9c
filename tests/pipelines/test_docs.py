"""The table reference says what the contracts say."""

from __future__ import annotations

from pathlib import Path

from fairshard.pipelines.docs import reference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tables.md"


def test_the_table_reference_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == reference(), "run 'make docs'"
