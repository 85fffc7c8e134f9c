"""Two pictures of a diffusion run: its losses, and a grid of samples."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ._train_pictures import BLUE, ORANGE, mean, new_axes, save

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
    """Pictures in a grid, each above its caption."""
    from matplotlib.figure import Figure

    rows = -(-len(samples) // _COLUMNS)
    size = (_COLUMNS * _SIDE_INCHES, rows * (_SIDE_INCHES + 0.6) + 0.3)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    figure.suptitle(title, fontsize=10)
    places = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for place in places:
        place.axis("off")
    for place, (caption, picture) in zip(places, samples, strict=False):
        place.imshow(picture, interpolation="nearest")
        lines = textwrap.wrap(caption, _LINE_CHARS, max_lines=_LINES, placeholder=" …")
        # A caption's author may write what matplotlib would read as mathematics.
        place.set_title("\n".join(lines), y=-0.02, va="top", fontsize=7, parse_math=False)
    save(figure, path)
