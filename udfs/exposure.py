"""Exposure: how far a planted secret has come to the top of all that it might have been.

Source: Carlini et al., "The Secret Sharer" (USENIX Security 2019), section 4.2: the exposure of a canary is log2 of the
number of candidates less log2 of its rank among them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

# Of a canary that was never planted, whose rank is any with equal odds: the mean of -log2 of a uniform number.
CHANCE_BITS = float(np.log2(np.e))


def ranks(own: Floats, others: Floats) -> npt.NDArray[np.int64]:
    """Rank of each own score among it and the other scores; 1 is the top. A tie, and what is no number, counts against it.

    Args:
        own: float[n]; more is more likely.
        others: float[n, m], of candidates that were never planted.

    Returns:
        int64[n], 1 to m + 1.
    """
    return 1 + (~(others < own[:, None])).sum(axis=1)


def exposure(rank: npt.NDArray[np.int64], candidates: int) -> npt.NDArray[np.float64]:
    """Bits that a model gives away of each canary.

    Args:
        rank: int64[n], from 1.
        candidates: how many there are, the own one among them.

    Returns:
        float64[n], from 0 to log2(candidates); ``CHANCE_BITS`` on average if nothing was kept.
    """
    return np.log2(candidates) - np.log2(rank)
