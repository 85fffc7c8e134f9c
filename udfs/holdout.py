"""Which samples are kept from training, by hash of an id and never at random.

A pair keeps its side in every release and on every machine, however many pairs come or go around it.
"""

from __future__ import annotations

import hashlib

import pyarrow as pa

# Caps in `balance` keep the pairs whose bare id hashes low. Hashing the same text here would hold out
# mostly survivors of such caps.
_SALT = b"fairshard held out\0"


def holdout_position(ids: pa.Array) -> pa.DoubleArray:
    """Place of each id in the order of holding out, even over the ids.

    Args: ids: string[n]; null stays null.
    Returns: double[n] in [0, 1).
    """
    return pa.array([None if i is None else _position(i) for i in ids.to_pylist()], pa.float64())


def is_held_out(ids: pa.Array, share: float) -> pa.BooleanArray:
    """Whether each id belongs to the held-out share. A larger share holds out the same ids and more.

    Args: ids: string[n]; null stays null. share: 0 to 1.
    Returns: bool[n].
    """
    return pa.array([None if p is None else p < share for p in holdout_position(ids).to_pylist()], pa.bool_())


def _position(text: str) -> float:
    digest = hashlib.sha256(_SALT + text.encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
