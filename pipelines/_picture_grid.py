"""A picture of pairs of pictures, side by side, with a line about each pair."""

from __future__ import annotations

import io
import itertools
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

_SIDE, _GAP, _LINE, _COLUMNS = 128, 8, 16, 4
_FONT_PX, _LINE_CHARS, _LINES = 10, 44, 3
_INK, _PALE, _ALARM = "#222222", "#DDDDDD", "#D55E00"


@dataclass(frozen=True)
class Cell:
    """A pair.

    Attributes:
        left, right: the pictures; None leaves a grey square.
        text: about them; what is too long is cut, and letters that the font lacks are left out as [...].
        marked: whether it is to catch the eye.
    """

    left: Image.Image | None
    right: Image.Image | None
    text: str
    marked: bool


def grid(title: str, cells: Sequence[Cell]) -> bytes:
    """The pairs row by row, as a PNG. Without any it says so."""
    font = _font()
    columns = min(_COLUMNS, max(1, len(cells)))
    wide, high = 2 * _SIDE + 3 * _GAP, _SIDE + _LINES * _LINE + 2 * _GAP
    rows = -(-len(cells) // columns)
    sheet = Image.new("RGB", (max(columns, 2) * wide + _GAP, rows * high + 3 * _LINE), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((_GAP, _GAP), title if cells else f"{title}: none", _INK, font)
    for number, cell in enumerate(cells):
        x, y = _GAP + number % columns * wide, 2 * _LINE + number // columns * high
        for picture, at in ((cell.left, x), (cell.right, x + _SIDE + _GAP)):
            sheet.paste(_fitted(picture), (at, y))
        if cell.marked:
            pen.rectangle((x - 3, y - 3, x + 2 * _SIDE + _GAP + 2, y + _SIDE + 2), outline=_ALARM, width=3)
        for line, text in enumerate(_lines(_in_font(cell.text, font))):
            pen.text((x, y + _SIDE + 4 + line * _LINE), text, _ALARM if cell.marked else _INK, font)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _fitted(picture: Image.Image | None) -> Image.Image:
    """The whole picture in a square; small ones are scaled up pixel by pixel, so that they show what they are."""
    square = Image.new("RGB", (_SIDE, _SIDE), _PALE)
    if picture is not None:
        scale = _SIDE / max(picture.size)
        size = tuple(max(1, round(side * scale)) for side in picture.size)
        how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
        small = picture.convert("RGB").resize((size[0], size[1]), how)
        square.paste(small, ((_SIDE - small.width) // 2, (_SIDE - small.height) // 2))
    return square


def _font() -> Any:
    """DejaVu Sans, which comes with matplotlib: Pillow's own font has no accents."""
    from matplotlib import get_data_path

    return ImageFont.truetype(Path(get_data_path()) / "fonts/ttf/DejaVuSans.ttf", _FONT_PX)


def _in_font(text: str, font: Any) -> str:
    """A text, with [...] for each run of letters that the font has not: it would draw a box for each."""
    # No font has a noncharacter, so what is drawn for that is what is drawn for all that is missing.
    missing = bytes(font.getmask("\uffff"))
    runs = itertools.groupby(text, lambda letter: bytes(font.getmask(letter)) == missing)
    return "".join("[...]" if lacking else "".join(letters) for lacking, letters in runs)


def _lines(text: str) -> list[str]:
    return textwrap.wrap(text, _LINE_CHARS, max_lines=_LINES, placeholder=" …")
