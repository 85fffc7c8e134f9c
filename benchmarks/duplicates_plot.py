"""The curves of duplicates_quality.py, small enough for a page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
from duplicates_scores import Tally, together
from PIL import Image
from planted_copies import CHANGES, EASY

matplotlib.use("Agg")


def plot(
    tallies: Mapping[tuple[str, str, str], Tally],
    heaps: Sequence[str],
    measures: Mapping[str, tuple[int, int]],
    out: Path,
) -> None:
    """Write ``duplicates.png``: recall of each kind of copy by radius, and precision on the easy kinds together.

    Args:
        tallies: by heap of pictures, change and measure.
        heaps: a row of panels each.
        measures: a column each: the radius to mark, and the largest one to draw.
        out: folder.
    """
    width = 3.4 * len(measures) + 1.8
    figure, panels = plt.subplots(
        len(heaps), len(measures), figsize=(width, 3.2 * len(heaps)), sharey=True, sharex="col", squeeze=False
    )
    for row, pictures in zip(panels, heaps, strict=True):
        for panel, (name, (marked, most)) in zip(row, measures.items(), strict=True):
            _draw(panel, {change: tallies[pictures, change, name] for change in CHANGES}, most)
            panel.axvline(marked, color="0.5", lw=0.8)
            panel.set(title=f"{name}, {pictures}", ylim=(0, 1.02))
        row[0].set_ylabel("recall of copies; precision")
    for panel, name in zip(panels[-1], measures, strict=True):
        panel.set_xlabel("cosine distance, steps of 0.005" if name == "embedding" else "radius, bits")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="center right", fontsize=7)
    figure.tight_layout(rect=(0, 0, 1 - 1.5 / width, 1))
    picture = io.BytesIO()
    figure.savefig(picture, dpi=80)
    with Image.open(picture) as drawn:
        drawn.convert("RGB").quantize(200).save(out / "duplicates.png", optimize=True)


def _draw(panel: Any, tallies: dict[str, Tally], most: int) -> None:
    for number, (change, found) in enumerate(tallies.items()):
        style = ("-", "--")[number // 10]
        panel.plot(found.recall()[: most + 1], style, color=f"C{number % 10}", lw=1, label=change)
    pooled = together([tallies[change] for change in EASY])
    panel.plot(pooled.precision()[: most + 1], "k-", lw=2, label="precision, easy kinds")
    panel.plot(pooled.precision(within_topics=False)[: most + 1], "k:", lw=2, label="the same, across topics")
    panel.grid(alpha=0.3)
