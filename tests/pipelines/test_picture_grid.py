from __future__ import annotations

import io

import pytest
from PIL import Image

from fairshard.pipelines import _picture_grid
from fairshard.pipelines._picture_grid import Cell

pytest.importorskip("matplotlib", reason="needs the extra [train]")


def test_letters_that_the_font_lacks_are_left_out_and_that_is_shown():
    font = _picture_grid._font()
    assert _picture_grid._in_font("0.97: 一只猫, Café, Пингвин 猫", font) == "0.97: [...], Café, Пингвин [...]"
    assert _picture_grid._in_font("", font) == ""


def test_a_grid_has_a_place_for_each_pair():
    pair = Cell(Image.new("RGB", (16, 16), "red"), None, "word " * 100, True)
    heights = [Image.open(io.BytesIO(_picture_grid.grid("Pairs", [pair] * count))).height for count in (0, 1, 4, 5)]
    assert heights[0] < heights[1] == heights[2] < heights[3]
