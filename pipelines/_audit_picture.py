"""A picture of memorisation: how far the own caption leads, for trained and for held-out pairs."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from ._audit_model import Memory
from ._train_pictures import BLUE, GREY, ORANGE

_SIZE_INCHES, _DPI, _BINS = (8.0, 4.5), 120, 40


def draw(memory: Memory | None, threshold: float | None) -> bytes:
    """Histograms of the margin on both sides, as a PNG.

    Args:
        memory: what was measured; None draws an empty picture that says so.
        threshold: margin above which a trained pair counts as memorised.
    """
    # Not pyplot: it keeps every figure in a global list and may ask for a display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    axes.set(title="Memorisation: not measured, too few pairs")
    if memory is not None and threshold is not None:
        _histograms(axes, memory, threshold)
    buffer = io.BytesIO()
    # Without the date and the version of the library, the same numbers give the same bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _histograms(axes: Any, memory: Memory, threshold: float) -> None:
    attack, size = memory.attacks["margin"], len(memory.held_out)
    trained, held_out = memory.trained_ties.margin[:size], memory.held_out_ties.margin
    bins = np.linspace(min(trained.min(), held_out.min()), max(trained.max(), held_out.max()), _BINS + 1)
    axes.hist(held_out, bins, color=ORANGE, alpha=0.6, label=f"held out ({size} pairs)")
    axes.hist(trained, bins, color=BLUE, alpha=0.6, label=f"trained ({size} pairs)")
    axes.axvline(threshold, color=GREY, linestyle="--", label="counts as memorised to the right")
    axes.set(
        title=f"Trained or held out? AUC {attack.auc:.2f} ({attack.low:.2f} to {attack.high:.2f}); chance is 0.5",
        xlabel="lead of the own caption over the nearest other one (cosine similarity)",
        ylabel="pairs",
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
