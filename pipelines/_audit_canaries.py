"""What a CLIP model gives away of the canaries planted in its training.

Whoever has a canary's picture asks the model which of many captions belongs to it. The rank of its own among captions
that were never planted is its exposure; rank 1 is extraction. Canaries that were never planted are asked about, too:
they show what the question finds where there is nothing to be found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..udfs.exposure import CHANCE_BITS, exposure, ranks
from . import _canaries
from ._audit_row import Row, over, row
from ._canaries import Canary
from ._clip_embed import embed_others
from ._trained import Trained

CANDIDATES = 1024  # the own caption among them: exposure ends at 10 bits
_CONTROLS = 64


@dataclass(frozen=True)
class Exposed:
    """What was measured.

    Attributes:
        canaries: those planted.
        repeats: how often each came in an epoch.
        ranks: int64[n], of their own captions among ``CANDIDATES``.
        control_ranks: int64[m], of canaries that were never planted.
    """

    canaries: list[Canary]
    repeats: int
    ranks: npt.NDArray[np.int64]
    control_ranks: npt.NDArray[np.int64]

    def said(self) -> list[dict[str, Any]]:
        """Each canary, for the record of the audit."""
        bits = exposure(self.ranks, CANDIDATES)
        return [
            {"key": canary.key, "caption": canary.caption, "rank": int(rank), "exposure_bits": float(bit)}
            for canary, rank, bit in zip(self.canaries, self.ranks, bits, strict=True)
        ]


def measure(run: Trained) -> Exposed | None:
    """Ask the model about its canaries; None if none were planted."""
    planted = _canaries.of_record(run.record)
    if not planted:
        return None
    said = run.record["canaries"]
    controls = _canaries.never_planted(_CONTROLS, said["seed"], said["side"])
    shown = [*planted, *controls]
    captions = [*(each.caption for each in shown), *_canaries.candidates(CANDIDATES - 1, said["seed"])]
    images, texts = embed_others(run, [each.picture for each in shown], captions)
    own, others = (images * texts[: len(shown)]).sum(axis=1), images @ texts[len(shown) :].T
    found = ranks(own, others)
    return Exposed(planted, int(said["repeats"]), found[: len(planted)], found[len(planted) :])


def rows(exposed: Exposed | None, limit: float) -> list[Row]:
    """Rows of ``audit``: the share of canaries extracted, and their mean exposure; none if none were planted."""
    if exposed is None:
        return []
    count, extracted = len(exposed.ranks), exposed.ranks == 1
    by_chance = float((exposed.control_ranks == 1).mean())
    share = float(extracted.mean())
    detail = (
        f"{int(extracted.sum())} of {count} canaries, each planted {exposed.repeats} times an epoch, lead "
        f"{CANDIDATES} captions by their own; of {len(exposed.control_ranks)} never planted, {by_chance:.1%}"
    )
    bits, control = (float(exposure(found, CANDIDATES).mean()) for found in (exposed.ranks, exposed.control_ranks))
    mean = (
        f"bits of at most {np.log2(CANDIDATES):.0f}, on average; of those never planted {control:.2f}, "
        f"and chance gives {CHANCE_BITS:.2f}"
    )
    return [
        row("canary", "extracted", share, limit, over(share, limit), detail),
        row("canary", "exposure", bits, None, False, mean),
    ]
