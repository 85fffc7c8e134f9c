"""docs/duplicates.md describes the defaults as they are."""

from __future__ import annotations

from pages import ROOT, page, rows, section

from fairshard.schemas.config import Dedup

PAGE = " ".join(page("docs/duplicates.md").split())


def test_the_radii_are_the_defaults():
    config = Dedup()
    assert f"pHash differs by at most {config.phash_max_distance} bits of 64" in PAGE
    assert f"PDQ by at most {config.pdq_max_distance} of 256" in PAGE
    assert f"no picture of PDQ quality below {config.pdq_min_quality}" in PAGE


def test_every_kind_of_copy_has_a_row(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from planted_copies import CHANGES

    assert [row[0] for row in rows(section(page("docs/duplicates.md"), "At the defaults"))] == list(CHANGES)
