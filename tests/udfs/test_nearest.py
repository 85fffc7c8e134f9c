"""The nearest of many hashes."""

from __future__ import annotations

import imagehash
import numpy as np
from PIL import Image, ImageOps

from fairshard.udfs.nearest import hash_words, nearest, phash_dihedral


def test_the_nearest_row_of_any_query_and_the_first_of_equals():
    hashes = hash_words([bytes(32), b"\xff" * 32, b"\xff" * 32, b"\x0f" + bytes(31)])
    assert nearest(hash_words([b"\xff" * 31 + b"\xfe"]), hashes) == (1, 1)
    assert nearest(hash_words([b"\xf0" * 32, b"\x0f" + bytes(30) + b"\x03"]), hashes) == (3, 2)


def test_phash_of_every_orientation():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8)).resize((200, 160))
    found = {f"{int.from_bytes(code, 'little'):016x}" for code in phash_dihedral(np.asarray(picture))}
    upright = [picture.rotate(angle, expand=True) for angle in (0, 90, 180, 270)]
    assert found == {str(imagehash.phash(turned)) for side in upright for turned in (side, ImageOps.mirror(side))}
