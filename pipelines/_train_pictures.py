"""Two pictures of a training run: its losses, and its held-out retrieval beside chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..udfs.retrieval import Retrieval

# Colour-blind safe: Okabe and Ito, "Color Universal Design" (2008).
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#777777"
_SIZE_INCHES, _DPI = (8.0, 4.5), 120


def draw_losses(path: Path, rows: Sequence[Mapping[str, Any]], batch_size: int) -> None:
    """Loss of every step, its mean an epoch, and the held-out loss, by epoch.

    Args:
        path: of the PNG.
        rows: of metrics.jsonl.
        batch_size: a contrastive loss guesses among this many; ln(batch_size) is what guessing costs.
    """
    steps = [row for row in rows if "loss" in row]
    epochs = sorted({row["epoch"] for row in steps})
    a_step = len(epochs) / len(steps)
    means = [mean([row["loss"] for row in steps if row["epoch"] == epoch]) for epoch in epochs]
    held_out = [(row["epoch"], row["held_out_loss"]) for row in rows if "held_out_loss" in row]
    figure, axes = new_axes("Contrastive loss", "epoch", "loss")
    axes.plot([(n + 1) * a_step for n in range(len(steps))], [row["loss"] for row in steps],
              color=BLUE, alpha=0.3, linewidth=1, label="training, each step")  # fmt: skip
    axes.plot(epochs, means, color=BLUE, marker="o", markersize=3, label="training, mean of the epoch")
    axes.plot(*zip(*held_out, strict=True), color=ORANGE, marker="o", markersize=3, label="held out")
    axes.axhline(math.log(batch_size), color=GREY, linestyle="--", label=f"guessing among {batch_size}")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    save(figure, path)


def draw_retrieval(path: Path, directions: Mapping[str, Retrieval]) -> None:
    """Recall at each k with its 95 % interval beside what chance gives; one group of bars a direction."""
    figure, axes = new_axes("Held-out retrieval", "", "recall")
    place, labels = 0.0, []
    for direction, found in directions.items():
        for recall in found.recall:
            low, high = recall.value - recall.low, recall.high - recall.value
            axes.bar(place - 0.2, recall.value, 0.38, color=BLUE, label=None if labels else "model, 95 % interval")
            axes.errorbar(place - 0.2, recall.value, [[low], [high]], color="black", capsize=3, linewidth=1)
            axes.bar(place + 0.2, recall.chance, 0.38, color=GREY, label=None if labels else "chance")
            axes.annotate(f"{recall.value:.0%}", (place - 0.2, recall.high), (0, 3), textcoords="offset points",
                          ha="center", fontsize=9)  # fmt: skip
            middle = recall is found.recall[len(found.recall) // 2]
            labels.append((place, f"@{recall.k}\n{direction if middle else ''}"))
            place += 1
        place += 0.7
    axes.set_xticks([at for at, _ in labels], [text for _, text in labels])
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.set_ylim(0, min(1.08, max(r.high for found in directions.values() for r in found.recall) + 0.08))
    axes.legend(frameon=False)
    save(figure, path)


def new_axes(title: str, x: str, y: str) -> tuple[Any, Any]:
    # Not pyplot: it keeps every figure in a global list and may ask for a display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    return figure, axes


def save(figure: Any, path: Path) -> None:
    # Without the date and the version of the library, the same numbers give the same bytes.
    figure.savefig(path, metadata={"Software": None})


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
