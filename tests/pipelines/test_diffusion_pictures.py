"""Samples with captions in any script: as a picture, and as lines."""

from __future__ import annotations

import base64
import io
import json
import warnings

import pytest
from PIL import Image

from fairshard.pipelines import _diffusion_pictures

pytest.importorskip("matplotlib", reason="needs the extra [train]")

CAPTIONS = ["a cat", "一只猫", "Ełk, Żółw i $x_1$", "قطة"]
SAMPLES = [(caption, Image.new("RGB", (16, 16), colour)) for caption, colour in zip(CAPTIONS, ["red"] * 4, strict=True)]


def test_no_caption_becomes_a_row_of_boxes(tmp_path, monkeypatch):
    monkeypatch.setattr(_diffusion_pictures, "_FONTS", ("DejaVu Sans", "no such font"))
    families = _diffusion_pictures._families()
    assert families == ["DejaVu Sans"]
    assert [_diffusion_pictures._has_letters(families, text) for text in CAPTIONS] == [True, False, True, True]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of each glyph that is missing
        _diffusion_pictures.draw_samples(tmp_path / "samples.png", SAMPLES, "Samples")
    assert Image.open(tmp_path / "samples.png").width > 500


def test_each_sample_is_a_line_with_its_caption_and_a_marked_picture(tmp_path):
    _diffusion_pictures.write_samples(tmp_path / "samples.jsonl", SAMPLES, {"model": "tiny", "release": "5d41"})
    rows = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["caption"] for row in rows] == CAPTIONS
    data = base64.b64decode(rows[0]["png"])
    assert b"trainedAlgorithmicMedia" in data
    assert Image.open(io.BytesIO(data)).convert("RGB").getpixel((0, 0)) == (255, 0, 0)
