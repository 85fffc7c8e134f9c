"""Pictures that look like one, found among all hashes of some files."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fairshard.pipelines._alike import ALIKE, Look, alike
from fairshard.udfs.hashing import pdq_words, phash_words

CODES = [bytes(range(number, number + 32)) for number in (0, 100)]


def look(**changes):
    words = {"phash": phash_words(pa.array([0b1111])), "pdq": pdq_words(pa.array(CODES))}
    return Look(**{**words, "phash_radius": 2, "pdq_radius": 31, "min_quality": 50, **changes})


def flipped(code: bytes, bits: int) -> bytes:
    return (int.from_bytes(code, "big") ^ (2**bits - 1)).to_bytes(32, "big")


def files(folder, rows):
    """The rows in two files, the second in two row groups."""
    schema = pa.schema([(name, kind) for name, kind in zip(("pair_id", "phash", "pdq", "pdq_quality"),
                        (pa.int64(), pa.int64(), pa.binary(), pa.int32()), strict=True)])  # fmt: skip
    table = pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema)
    half = len(rows) // 2
    for name, part in (("a", table.slice(0, half)), ("b", table.slice(half))):
        pq.write_table(part, folder / f"{name}.parquet", row_group_size=max(1, (len(rows) - half + 1) // 2))
    return [str(folder / f"{name}.parquet") for name in "ab"]


def found(paths, **changes):
    table = alike(paths, look(**changes))
    assert table.schema.equals(ALIKE)
    return sorted((row["pair_id"], row["match"], row["distance"]) for row in table.to_pylist())


def test_by_either_hash_within_its_radius(tmp_path):
    rows = [
        (1, 0b1111, None, 50),
        (2, 0b1001, flipped(CODES[1], 31), 90),
        (3, 0b10000, flipped(CODES[0], 32), 90),  # five bits, and one too many
        (4, None, CODES[0], 100),
        (5, -1, CODES[1][:31], 100),  # no PDQ hash has 31 bytes
        (6, None, None, None),
    ]
    expected = [(1, "phash", 0), (2, "pdq", 31), (2, "phash", 2), (4, "pdq", 0)]
    assert found(files(tmp_path, rows)) == expected


def test_nothing_is_like_a_flat_picture_or_none(tmp_path):
    rows = [(1, 0b1111, CODES[0], 49), (2, 0b1111, CODES[0], None), (3, None, None, 90), (4, None, b"", 90)]
    assert found(files(tmp_path, rows)) == []
    # What is no hash counts as zeros on the way.
    zeros = np.zeros((1, 1), np.uint64), np.zeros((1, 4), np.uint64)
    assert found(files(tmp_path, rows), phash=zeros[0], pdq=zeros[1]) == []


def test_no_files():
    assert alike([], look()).equals(ALIKE.empty_table())
