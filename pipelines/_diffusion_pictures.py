"""Two pictures of a diffusion run: its losses, and a grid of samples; and these one by one."""

from __future__ import annotations

import base64
import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ._marks import marked_png
from ._train_pictures import BLUE, ORANGE, mean, new_axes, save

SAMPLES = "samples.jsonl"
# The first comes with matplotlib and has Latin, Greek, Cyrillic and Arabic; the others where a system has them.
_FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "WenQuanYi Zen Hei",
          "Hiragino Sans GB", "PingFang SC", "Microsoft YaHei", "Yu Gothic", "Arial Unicode MS")  # fmt: skip
_COLUMNS, _SIDE_INCHES, _LINE_CHARS, _LINES = 4, 2.0, 30, 3


def draw_losses(path: Path, rows: Sequence[Mapping[str, Any]], prediction: str) -> None:
    """Mean loss of each epoch and the held-out loss.

    Args:
        path: of the PNG.
        rows: of metrics.jsonl.
        prediction: what the loss is of, as ``DiffusionConfig`` calls it.
    """
    epochs = sorted({row["epoch"] for row in rows})
    means = [mean([row["loss"] for row in rows if row["epoch"] == epoch and "loss" in row]) for epoch in epochs]
    held_out = [(row["epoch"], row["held_out_loss"]) for row in rows if "held_out_loss" in row]
    figure, axes = new_axes("Denoising loss", "epoch", f"mean squared error, {prediction}")
    axes.plot(epochs, means, color=BLUE, marker="o", markersize=3, label="training, mean of the epoch")
    axes.plot(*zip(*held_out, strict=True), color=ORANGE, marker="o", markersize=3, label="held out, averaged weights")
    axes.set_yscale("log")  # an untrained model's loss is many times that of a trained one
    axes.legend(frameon=False)
    save(figure, path)


def draw_samples(path: Path, samples: Sequence[tuple[str, Image.Image]], title: str) -> None:
    """Pictures in a grid, each above its caption; where no font here has its letters, that says so instead."""
    from matplotlib.figure import Figure

    rows, families = -(-len(samples) // _COLUMNS), _families()
    size = (_COLUMNS * _SIDE_INCHES, rows * (_SIDE_INCHES + 0.6) + 0.3)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    figure.suptitle(title, fontsize=10)
    places = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for place in places:
        place.axis("off")
    for number, (place, (caption, picture)) in enumerate(zip(places, samples, strict=False), 1):
        place.imshow(picture, interpolation="nearest")
        shown = (
            caption
            if _has_letters(families, caption)
            else f"(line {number} of {SAMPLES}: no font here has its letters)"
        )
        lines = textwrap.wrap(shown, _LINE_CHARS, max_lines=_LINES, placeholder=" …")
        # A caption's author may write what matplotlib would read as mathematics.
        place.set_title("\n".join(lines), y=-0.03, pad=0, va="top", fontsize=7, parse_math=False, fontfamily=families)
    save(figure, path)


def write_samples(path: Path, samples: Sequence[tuple[str, Image.Image]], about: dict[str, str]) -> None:
    """Captions and pictures as JSON lines, each picture a PNG in base64 with the mark of what was generated.

    Args:
        path: of the file.
        samples: as of ``draw_samples``.
        about: see ``marked_png``.
    """
    pictures = [base64.b64encode(marked_png(picture, about)).decode() for _, picture in samples]
    rows = [{"caption": caption, "png": png} for (caption, _), png in zip(samples, pictures, strict=True)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _families() -> list[str]:
    """Those of ``_FONTS`` that are installed, the first of which comes with matplotlib."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return [name for name in _FONTS if name in installed]


def _has_letters(families: list[str], text: str) -> bool:
    """Whether each character is in one of the fonts."""
    from matplotlib.font_manager import findfont, get_font

    fonts = [get_font(findfont(name)) for name in families]
    return all(any(font.get_char_index(ord(letter)) for font in fonts) for letter in text)
