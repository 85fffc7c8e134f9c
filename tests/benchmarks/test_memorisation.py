"""How the experiment on memorisation plants duplicates and counts copies."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("memorisation")


def test_planted_captions_are_listed_as_often_as_said_each_time_elsewhere(bench):
    rows, copies = bench.planted_list(pictures=40, each=2)
    listed = Counter(caption for _, caption in rows)
    assert Counter(copies.values()) == {1: 2, 4: 2, 16: 2, 64: 2}
    assert {caption: listed[caption] for caption in copies} == copies
    assert len(listed) == 40 and sum(listed.values()) == len({url for url, _ in rows}) == 40 + 2 * (3 + 15 + 63)


def test_likeness_knows_neither_brightness_nor_contrast(bench):
    pytest.importorskip("diffusers", reason="needs the extra [train]")
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    one, faded = bench.as_pixels(Image.fromarray(noise), 32), bench.as_pixels(Image.fromarray(noise // 2 + 60), 32)
    other = bench.as_pixels(Image.fromarray(np.roll(noise, 7, axis=0)), 32)
    assert one @ faded > 0.99 and abs(one @ other) < 0.1


def test_what_counts_as_a_copy(bench):
    copies = {"a": 1, "b": 64}
    models = [bench.Drawn({"a": [0.1, 0.2], "b": [0.9, 0.7]}, {"a": [30, 30], "b": [2, 40]}, {}),
              bench.Drawn({"a": [0.1, 0.2], "b": [0.9, 0.9]}, {"a": [30, 30], "b": [2, 10]}, {})]  # fmt: skip
    table = bench.table({"left in": models, "without": []}, copies, threshold=0.8).splitlines()
    assert table[2:] == ["| 1 | 1 | left in | 0.15 ± 0.00 | 0 % ± 0 % | 0 % ± 0 % |",
                         "| 64 | 1 | left in | 0.85 ± 0.07 | 75 % ± 35 % | 75 % ± 35 % |"]  # fmt: skip
