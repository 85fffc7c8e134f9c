"""The invisible watermark, on pictures that the ``invisible-watermark`` package marked (JPEG, quality 85)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fairshard.udfs.signals import watermark

FILES = Path(__file__).parent / "watermarked"


def _pixels(name: str) -> np.ndarray:
    return np.asarray(Image.open(FILES / name).convert("RGB"))


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("sd_1.jpg", "Stable Diffusion 1"),
        ("sd_2.jpg", "Stable Diffusion 2"),
        ("sd_xl.jpg", "Stable Diffusion XL"),
        ("flux.jpg", "FLUX"),
        ("none.jpg", None),
    ],
)
def test_model(name, model):
    assert watermark.model(_pixels(name)) == model


def test_verdict_is_a_tag():
    found = watermark.verdict(_pixels("sd_xl.jpg"))
    assert (found.verdict, found.value, found.tags) == ("none", "Stable Diffusion XL", ("synthetic",))
    assert watermark.verdict(_pixels("none.jpg")).tags == ()


@pytest.mark.parametrize("shape", [(0, 0), (1, 70_000), (255, 256), (300, 301), (7, 10_000)])
def test_any_size_and_flat_pictures(shape):
    for value in (0, 77, 255):
        assert watermark.model(np.full((*shape, 3), value, np.uint8)) is None


def test_noise_is_no_watermark():
    noise = np.random.default_rng(0).integers(0, 256, (20, 256, 256, 3), np.uint8)
    assert [watermark.model(picture) for picture in noise] == [None] * 20
