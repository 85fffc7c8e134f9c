"""fairshard's own watermark: found where it was written, also after JPEG and WebP, and nowhere else."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from fairshard.udfs.signals import tile_mark, watermark


def soft(seed: int, width: int, height: int) -> np.ndarray:
    """A picture of soft patches of all colours and brightnesses."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def encoded(rgb: np.ndarray, **how) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, **how)
    return np.asarray(Image.open(buffer).convert("RGB"))


@pytest.mark.parametrize("size", [(64, 64), (65, 79), (200, 90), (256, 256)])
def test_a_mark_is_found_also_after_jpeg_and_webp(size):
    for seed in range(5):
        plain = soft(seed, *size)
        written = tile_mark.marked(plain)
        assert written.shape == plain.shape and not tile_mark.is_marked(plain)
        assert np.abs(written.astype(int) - plain).mean() < 4
        assert tile_mark.is_marked(written)
        assert tile_mark.is_marked(encoded(written, format="JPEG", quality=85))
        assert tile_mark.is_marked(encoded(written, format="WEBP", quality=80))


@pytest.mark.parametrize("level", [0, 1, 127, 254, 255])
def test_flat_pictures(level):
    plain = np.full((64, 72, 3), level, np.uint8)
    assert not tile_mark.is_marked(plain)
    assert tile_mark.is_marked(encoded(tile_mark.marked(plain), format="JPEG", quality=85))


def test_the_same_picture_is_marked_the_same_and_left_as_it_is():
    plain = soft(9, 64, 64)
    before = plain.copy()
    assert np.array_equal(tile_mark.marked(plain), tile_mark.marked(plain)) and np.array_equal(plain, before)


def test_small_pictures_carry_none():
    for shape in ((63, 500), (500, 63), (0, 0), (1, 1)):
        plain = np.zeros((*shape, 3), np.uint8)
        assert tile_mark.marked(plain) is plain and not tile_mark.is_marked(plain)


def test_noise_is_no_mark():
    noise = np.random.default_rng(0).integers(0, 256, (200, 64, 64, 3), np.uint8)
    assert not any(tile_mark.is_marked(picture) for picture in noise)


def test_the_reader_of_watermarks_names_it():
    found = watermark.verdict(tile_mark.marked(soft(1, 64, 64)))
    assert (found.verdict, found.value, found.tags) == ("none", "fairshard", ("synthetic",))
