"""How the benchmark of captions plants near-duplicates and counts pairs."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fairshard.udfs.text import caption_template

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module


def test_pairs_are_right_if_of_one_family(load):
    bench = load("captions")
    make = load("planted_captions").Caption
    captions = [make(str(n), family, "alone", "Latin") for n, family in enumerate([1, 1, 1, 2, 2])]
    captions += [make("x", 3, "names in a sentence", "Latin"), make("y", 3, "names in a sentence", "Latin")]
    told = bench.score(captions, np.array([7, 7, 8, 8, 9, 10, 11]))
    assert told == "5 groups; of pairs, precision 0.50000, recall 0.2500"


def test_copies_near_enough_and_found(load):
    bench = load("captions")
    make = load("planted_captions").Caption
    kinds = ["original", "a word added", "a word added", "a word added"]
    captions = [make("", 1, kind, "Latin") for kind in kinds]
    template = pa.array(["a cat on a mat", "a cat on a mat", "a cat on a mat", "nothing like it"])
    told = bench.copies(captions, template, np.array([1, 1, 2, 1]), 0.7)
    assert told == {("a word added", "Latin"): (2 / 3, 1 / 2, 2 / 3)}


def test_what_is_planted(load):
    planted = load("planted_captions")
    captions = planted.planted(2_000)
    assert captions == planted.planted(2_000)
    assert {caption.kind for caption in captions} > set(planted.EDITS) | {"alone", "original", "shop page"}
    originals = {caption.family: caption.text for caption in captions if caption.kind == "original"}
    equal = [caption for caption in captions if caption.kind == "case and punctuation"]
    for one in (equal, [caption for caption in captions if caption.kind == "a number added"]):
        templates = caption_template(pa.array([caption.text for caption in one])).to_pylist()
        base = caption_template(pa.array([originals[caption.family] for caption in one])).to_pylist()
        assert [text.removesuffix(" #") for text in templates] == base


def test_datasketch_is_given_the_same_shingles(load, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tests/udfs")
    from test_shingles import shingle_set

    for text in ("a cat on a mat", "猫が座る mat", ""):
        assert load("captions")._shingles(text) == {shingle.ljust(5, "\0") for shingle in shingle_set(text)}
