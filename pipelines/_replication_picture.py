"""Two pictures of replication: how alike generated pictures are to trained ones, and the nearest side by side."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from ._picture_grid import Cell, grid
from ._replication import CANARY, HELD_OUT, TRAINED, Replication
from ._train_pictures import BLUE, GREY, ORANGE

_SIZE_INCHES, _DPI, _BINS, _SHOWN = (10.0, 4.5), 120, 30, 24


def draw(found: Replication) -> bytes:
    """Similarity of generated and of held-out pictures, and by how often a picture was trained on, as a PNG."""
    # Not pyplot: it keeps every figure in a global list and may ask for a display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    _distribution(left, found)
    _by_copies(right, found)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    # Without the date and the version of the library, the same numbers give the same bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def draw_matches(found: Replication, views: Mapping[str, Image.Image]) -> bytes:
    """Generated pictures that are most alike to a trained one, beside it, as a PNG.

    Args:
        views: trained pictures by key, as the model was shown them.
    """
    order = np.argsort(-found.near.similarity, kind="stable")[:_SHOWN]
    marked = found.by_similarity | found.by_hash | found.by_phash
    cells = []
    for place in order:
        each, key = found.asked[place], found.near.keys[place]
        text = f"{found.near.similarity[place]:.3f} {key} ({each.side}): {each.caption}"
        cells.append(Cell(found.pictures[place], views.get(key), text, bool(marked[place])))
    return grid("Generated (left) and the nearest trained picture (right), as the model saw it", cells)


def _distribution(axes: Any, found: Replication) -> None:
    control, made = found.control.similarity, found.near.similarity[found.of(TRAINED, HELD_OUT)]
    ends = min(control.min(), made.min()), max(control.max(), made.max())
    bins = np.linspace(ends[0], ends[1] + 1e-6, _BINS + 1)
    shares = [np.full(len(values), 1 / len(values)) for values in (control, made)]
    axes.hist(control, bins, weights=shares[0], color=ORANGE, alpha=0.6, label=f"real, held out ({len(control)})")
    axes.hist(made, bins, weights=shares[1], color=BLUE, alpha=0.6, label=f"generated ({len(made)})")
    axes.axvline(found.threshold, color=GREY, linestyle="--", label="replicas to the right")
    axes.set(title="Alike to the nearest trained picture", xlabel="cosine similarity", ylabel="share")
    axes.legend(frameon=False)


def _by_copies(axes: Any, found: Replication) -> None:
    for side, colour in ((TRAINED, BLUE), (CANARY, ORANGE)):
        of = np.flatnonzero(found.of(side))
        if len(of):
            copies = [found.asked[place].copies for place in of]
            axes.scatter(
                copies,
                found.near.similarity[of],
                color=colour,
                alpha=0.5,
                s=16,
                label="canary" if side == CANARY else "caption of a pair",
            )
    axes.axhline(found.threshold, color=GREY, linestyle="--")
    axes.set_xscale("log")
    axes.set(
        title="By how often its caption's picture was trained on",
        xlabel="times an epoch, near-duplicates included",
        ylabel="cosine similarity",
    )
    axes.legend(frameon=False)
