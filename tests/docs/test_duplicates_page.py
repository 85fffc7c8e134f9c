"""docs/duplicates.md describes the defaults as they are."""

from __future__ import annotations

import pytest
from pages import ROOT, page, rows, section

from fairshard.schemas.config import Balance, Dedup
from fairshard.udfs.shingles import BANDS, ROWS

PAGE = " ".join(page("docs/duplicates.md").split())


def test_the_radii_are_the_defaults():
    config = Dedup()
    phash, pdq, levels = config.phash_max_distance, config.confirming_pdq_max_distance, config.colour_max_distance
    said = (
        f"their pHash differs by at most {phash} bits of 64, their PDQ by at most {pdq} of 256, and their colours by at"
    )
    assert f"{said} most {levels} levels of 256" in PAGE
    assert f"**{phash}, {pdq}, {levels}**" in PAGE  # the row of the table that it was chosen from
    assert f"of PDQ quality below {config.pdq_min_quality} (`pdq_min_quality`)" in PAGE
    assert config.pdq_max_distance is None and config.colour_spared_cells == 0


def test_the_rule_for_watermarks_is_the_one_that_was_measured(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from duplicates_quality import MARKS

    keys = ("pdq_max_distance", "colour_max_distance", "colour_spared_cells")
    said = "dedup: {" + ", ".join(f"{key}: {getattr(MARKS, key)}" for key in keys) + "}"
    assert said in PAGE


def test_near_captions_are_found_as_the_page_says():
    assert f"`template_min_jaccard`, {Balance().template_min_jaccard} by default" in PAGE
    assert f"{BANDS} MinHash bands of {ROWS} hashes" in PAGE
    captions = section(page("docs/duplicates.md"), "Captions")
    head, _, compared = [line.strip("|").split("|")[1:] for line in captions.splitlines() if line.startswith("|")][-3:]
    curve = [1 - (1 - float(index) ** ROWS) ** BANDS for index in head]
    assert [float(said) for said in compared] == pytest.approx(curve, abs=0.0005)


def test_every_edit_of_a_caption_has_a_row(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from planted_captions import EDITS

    assert [row[0] for row in rows(section(page("docs/duplicates.md"), "What is found"))] == list(EDITS)


def test_every_kind_of_copy_has_a_row(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from planted_copies import CHANGES

    assert [row[0] for row in rows(section(page("docs/duplicates.md"), "At the defaults"))] == list(CHANGES)
