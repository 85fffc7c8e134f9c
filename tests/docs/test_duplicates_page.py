"""docs/duplicates.md describes the defaults as they are."""

from __future__ import annotations

import pytest
from pages import ROOT, page, rows, section

from fairshard.schemas.config import Balance, Dedup
from fairshard.udfs.shingles import BANDS, ROWS

PAGE = " ".join(page("docs/duplicates.md").split())


def test_the_radii_are_the_defaults():
    config = Dedup()
    phash, confirming = config.phash_max_distance, config.confirming_pdq_max_distance
    assert f"pHash differs by at most {phash} bits of 64 and their PDQ by at most {confirming}" in PAGE
    assert f"PDQ differs by at most {config.pdq_max_distance} bits of 256" in PAGE
    assert f"by more than {config.colour_max_distance} levels of 256" in PAGE
    alike, further, furthest = (getattr(config, f"alike_{of}_max_distance") for of in ("colour", "phash", "pdq"))
    assert f"by at most {alike}, a pHash within {further} and a PDQ within {furthest} do" in PAGE
    assert f"**{config.colour_max_distance}, {alike}**" in PAGE  # the row of the table that it was chosen from
    assert f"picture of PDQ quality below {config.pdq_min_quality} is" in PAGE
    assert f"with a PDQ within {confirming};" in PAGE


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
