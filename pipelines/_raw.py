"""Rows as sources give them, before anything is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ..schemas.tables import SIGNAL
from ..udfs.arrow import pc
from ..udfs.laion import laion_reason

# Column of the raw schema, its type, and what lists call it. The first alias that is there is read.
COLUMNS: dict[str, tuple[pa.DataType, tuple[str, ...]]] = {
    "url": (pa.binary(), ("url", "image_url", "img_url", "image")),
    "caption": (pa.binary(), ("text", "caption", "alt", "alt_text", "top_caption")),
    "page_url": (pa.binary(), ("page_url", "page", "source_page")),
    "width_px": (pa.float64(), ("original_width", "width", "width_px")),
    "height_px": (pa.float64(), ("original_height", "height", "height_px")),
    "licence": (pa.binary(), ("license", "licence")),
    "creator": (pa.binary(), ("creator", "author", "artist", "photographer")),
    "similarity": (pa.float64(), ("similarity", "clip_similarity")),
    "nsfw": (pa.binary(), ("nsfw",)),
    "p_unsafe": (pa.float64(), ("punsafe", "p_unsafe")),
    "p_watermark": (pa.float64(), ("pwatermark", "p_watermark")),
    "page_title": (pa.binary(), ("page_title",)),
    "page_language": (pa.binary(), ("page_language",)),
    "aesthetic": (pa.float64(), ("aesthetic_score", "aesthetic", "aesthetics")),
}
RAW = pa.schema(
    [
        pa.field("source_row", pa.int64()),
        pa.field("reason", pa.string()),
        *(pa.field(name, kind) for name, (kind, _) in COLUMNS.items()),
    ]
)

# Evidence, by the number of the row it is about instead of by its pair.
SAID = pa.schema([pa.field("source_row", pa.int64()), *(field for field in SIGNAL.schema if field.name != "pair_id")])


@dataclass(frozen=True)
class SourceFile:
    """One file of a source: what a worker is given.

    Attributes:
        source: name in tables; of a glob, the source's name and the file's.
        path: absolute path or URL.
        format: parquet, csv, tsv, jsonl, wat, warc or img2dataset (the Parquet file of a shard).
        stamp: size and time of change, of a shard's pictures too, so that an edited list is read again.
        row_groups: the first that is read and the first that is not, of a part of a Parquet file.
        first_row: number of its first row in the whole file.
    """

    source: str
    path: str
    format: str
    stamp: str
    row_groups: tuple[int, int] | None = None
    first_row: int = 0


def archived(first: int, columns: Mapping[str, pa.Array]) -> pa.RecordBatch:
    """Rows of an archive as ``RAW``, numbered from ``first``, what LAION threw away with its reason.

    Args:
        columns: string[n] each: ``url``, ``caption``, ``reason`` where there is one already, and what else is known.
    """
    url, reason = columns["url"], columns["reason"]
    lost = laion_reason(url, columns["caption"])
    known = {
        **columns,
        "source_row": pa.array(np.arange(first, first + len(url))),
        "reason": pc.coalesce(reason, lost) if reason.null_count < len(reason) else lost,
    }
    given = [known[name.name].cast(name.type) if name.name in known else pa.nulls(len(url), name.type) for name in RAW]
    return pa.RecordBatch.from_arrays(given, schema=RAW)


def strings(values: Sequence[str | None]) -> pa.Array:
    """string[n]; half a surrogate pair, which JSON can hold and UTF-8 cannot, as a replacement character."""
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        return pa.array([value and value.encode("utf-8", "replace").decode() for value in values], pa.string())
