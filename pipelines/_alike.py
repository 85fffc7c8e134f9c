"""Pictures of a release that look like one: by the hashes of all of them, read and compared side by side.

Perceptual hashes are spread over their whole range, so that no statistics of a file rule it out, and an index of what
lies within 31 of 256 bits in eight orientations would outweigh the hashes. To compare with all of ten million takes
less than a second (docs/scaling.md).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..udfs.arrow import pc
from ..udfs.hashing import is_pdq, pdq_words, phash_words
from ..udfs.nearest import Words, within
from ._store import arrow_filesystem

ALIKE = pa.schema([("pair_id", pa.int64()), ("match", pa.string()), ("distance", pa.int32())])
_HASHES = ("phash", "pdq", "pdq_quality")


@dataclass(frozen=True)
class Look:
    """What a picture is sought by.

    Attributes:
        phash: uint64[1, 1].
        pdq: uint64[q, 4], of its orientations.
        phash_radius, pdq_radius: most bits that may differ.
        min_quality: pictures of a lower PDQ quality are too flat to look like anything.
    """

    phash: Words
    pdq: Words
    phash_radius: int
    pdq_radius: int
    min_quality: int


def alike(files: Sequence[str], look: Look) -> pa.Table:
    """The pictures that look like one, each by every hash that says so.

    Args:
        files: Parquet of ``image``, as a release has it.
        look: what is sought.

    Returns:
        ``ALIKE``[n], of no order: match is phash or pdq, distance the bits that differ.

    Raises:
        OSError, pa.ArrowException: a file cannot be read.
    """
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # Arrow and NumPy work outside of the interpreter's lock
        found = [batch for batches in pool.map(lambda file: list(_of_file(file, look)), files) for batch in batches]
    return pa.Table.from_batches(found, ALIKE)


def _of_file(path: str, look: Look) -> Iterator[pa.RecordBatch]:
    fs, plain = arrow_filesystem(path)
    with fs.open_input_file(plain) as source:
        file = pq.ParquetFile(source)
        for group in range(file.num_row_groups):
            hashes = file.read_row_group(group, columns=list(_HASHES), use_threads=False).combine_chunks()
            found = {name: rows for name, rows in _of_hashes(hashes, look).items() if len(rows[0])}
            if not found:
                continue
            ids = file.read_row_group(group, columns=["pair_id"], use_threads=False)["pair_id"].to_numpy()
            for name, (rows, distances) in found.items():
                columns = [ids[rows], pa.repeat(name, len(rows)), distances]
                yield pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=ALIKE)


def _of_hashes(hashes: pa.Table, look: Look) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Rows and distances by each hash. Neither what is no hash nor that of a flat picture counts."""
    phash, pdq, quality = (pa.concat_arrays(hashes[name].chunks) for name in _HASHES)
    telling = pc.fill_null(pc.greater_equal(quality, look.min_quality), False)
    return {
        "phash": _telling(
            within(look.phash, phash_words(phash), look.phash_radius), pc.and_(telling, phash.is_valid())
        ),
        "pdq": _telling(within(look.pdq, pdq_words(pdq), look.pdq_radius), pc.and_(telling, is_pdq(pdq))),
    }


def _telling(found: tuple[np.ndarray, np.ndarray], telling: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    rows, distances = found
    count = telling.to_numpy(zero_copy_only=False)[rows]
    return rows[count], distances[count]
