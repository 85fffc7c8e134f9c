"""The nearest of many hashes."""

from __future__ import annotations

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageOps

from fairshard.udfs.nearest import hash_words, nearest, phash_dihedral, within


def test_the_nearest_row_of_any_query_and_the_first_of_equals():
    hashes = hash_words([bytes(32), b"\xff" * 32, b"\xff" * 32, b"\x0f" + bytes(31)])
    assert nearest(hash_words([b"\xff" * 31 + b"\xfe"]), hashes) == (1, 1)
    assert nearest(hash_words([b"\xf0" * 32, b"\x0f" + bytes(30) + b"\x03"]), hashes) == (3, 2)


@pytest.mark.parametrize("words", [1, 2, 4])
def test_all_within_a_radius_of_any_query(words):
    random = np.random.default_rng(words)
    queries, hashes = (random.integers(0, 2**64, (count, words), np.uint64) for count in (3, 40_000))
    planted = np.arange(0, 40_000, 97)
    flips = np.sort(random.random((len(planted), 64 * words)), axis=1)[:, [40]] > random.random(
        (len(planted), 64 * words)
    )
    hashes[planted] = queries[planted % 3] ^ np.packbits(flips & (random.random(flips.shape) < 0.4), axis=1).view(
        np.uint64
    )
    distances = np.bitwise_count(hashes[:, None] ^ queries).sum(axis=2, dtype=np.int32).min(axis=1)
    rows, found = within(queries, hashes, radius := int(np.median(distances[planted])))
    assert np.array_equal(rows, np.flatnonzero(distances <= radius)) and np.array_equal(found, distances[rows])
    assert 100 < len(rows) < 410
    assert [len(part) for part in within(queries, hashes[:0], radius)] == [0, 0]


def test_phash_of_every_orientation():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8)).resize((200, 160))
    found = {f"{int.from_bytes(code, 'little'):016x}" for code in phash_dihedral(np.asarray(picture))}
    upright = [picture.rotate(angle, expand=True) for angle in (0, 90, 180, 270)]
    assert found == {str(imagehash.phash(turned)) for side in upright for turned in (side, ImageOps.mirror(side))}
