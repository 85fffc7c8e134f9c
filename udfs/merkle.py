"""A Merkle tree over the files of a release: one hash that stands for all, and proves that one file is among them.

Source: RFC 9162, section 2.1.1: leaves and nodes are hashed apart, and the left subtree holds the largest power of two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

_LEAF, _NODE = b"\x00", b"\x01"


def root(entries: Sequence[bytes]) -> bytes:
    """The hash of a list of entries, in order.

    Returns: 32 bytes, SHA-256; of no entries the hash of nothing.
    """
    if not entries:
        return hashlib.sha256(b"").digest()
    # From the leaves up: a last node without a neighbour goes up as it is, which gives the tree of the RFC.
    level = [hashlib.sha256(_LEAF + entry).digest() for entry in entries]
    while len(level) > 1:
        paired = [hashlib.sha256(_NODE + left + right).digest() for left, right in zip(level[::2], level[1::2])]  # noqa: B905
        level = paired + level[2 * len(paired) :]
    return level[0]
