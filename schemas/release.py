"""The contract of a release: what each of its Parquet files holds.

    manifest.json            what the release is, and the SHA-256 of every other file; manifest.schema.json is its schema
    manifest.sig             the maintainer's Ed25519 signature of it, if there is one
    shards/00000.tar         WebDataset shard in img2dataset's layout
    shards/00000.parquet     its samples, ``SIDECAR``
    pairs/00000.parquet      every pair of the sources with its outcome, ``OUTCOME``
    tables/NAME.parquet      the other tables, as ``public`` says
    tombstones.parquet       what takedowns removed, ``TOMBSTONE``; not in a first release
    catalog.duckdb           views over all of these; derived, so that the manifest does not list it
    report.html              the same in pictures; derived, on demand
    README.md, funnel.png    the dataset card
    croissant.json           the same for machines: Croissant 1.0 with the RAI vocabulary

No file holds a time of observation or a path of the machine, so that the release is a function of its inputs,
policy and version. The work directory keeps the times.
"""

from __future__ import annotations

import pyarrow as pa

from .tables import PAIR, TABLES


def _column(name: str, kind: pa.DataType, doc: str, null: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable=null, metadata={"doc": doc})


SIDECAR = pa.schema(
    [
        # The names that img2dataset gives, first.
        _column("caption", pa.string(), "Caption, also in KEY.txt", null=False),
        _column("url", pa.string(), "URL the picture was fetched from", null=False),
        _column("key", pa.string(), "Key in the shard", null=False),
        _column("status", pa.string(), "success: nothing else is in a shard", null=False),
        _column("error_message", pa.string(), "Always null; for readers of img2dataset's layout"),
        _column("width", pa.int32(), "Width of the picture in the shard, px"),
        _column("height", pa.int32(), "Height of the picture in the shard, px"),
        _column("original_width", pa.int32(), "Width of the original, px"),
        _column("original_height", pa.int32(), "Height of the original, px"),
        _column("sha256", pa.string(), "SHA-256 of the original bytes, hex"),
        _column("pair_id", pa.int64(), "Id of the pair in every table", null=False),
        _column("source", pa.string(), "Name of the source", null=False),
        _column("source_row", pa.int64(), "Row in the source, from 0", null=False),
        _column("licence", pa.string(), "Licence as the source states it"),
        _column("creator", pa.string(), "Creator as the source states it"),
        _column("page_url", pa.string(), "Page the picture was found on"),
        _column("phash", pa.string(), "pHash of the original, 16 hex digits"),
        _column("pdq", pa.string(), "PDQ of the original, 64 hex digits"),
    ]
)

# A pair that a sensitive rule removed is counted and no more: `withheld` is true, and whatever could
# identify it is null, its id and row in the source too, because both can be looked up in a public list.
OUTCOME = pa.schema(
    [
        *(field.with_nullable(field.name != "source") for field in PAIR.schema),
        _column("outcome", pa.string(), "released or dropped", null=False),
        _column("stage", pa.string(), "The stage that dropped it"),
        _column("reason", pa.string(), "Reason code, such as deny:robots_txt"),
        _column("evidence", pa.string(), "What decided"),
        _column("shard_id", pa.int32(), "The shard it is in"),
        _column("key", pa.string(), "Key in the shard"),
        _column("bytes", pa.int64(), "Size of the picture in the shard"),
        _column("weight", pa.float64(), "Weight for training"),
        _column("withheld", pa.bool_(), "A sensitive rule covers it: only counted", null=False),
    ]
)

# One line for each sample that a takedown removed from this release's forerunners: whoever holds a copy of one of
# them finds it there by shard and key.
TOMBSTONE = pa.schema(
    [
        _column("shard", pa.string(), "Path of the shard it was in", null=False),
        _column("key", pa.string(), "Its key in that shard", null=False),
        _column("pair_id", pa.int64(), "Id of the pair; null if a sensitive rule removed it"),
        _column("url", pa.string(), "URL of the picture; null if a sensitive rule removed it"),
        _column("reason", pa.string(), "deny:registry or deny:hash_list", null=False),
        _column("registry", pa.string(), "Name of the registry", null=False),
        _column("rule_id", pa.int64(), "The rule in tables/rule; null if it is sensitive"),
    ]
)

# Tables that go out as they are, but for columns that mean nothing outside the work directory would make two equal
# runs differ, or show pictures. Rows of withheld pairs, sensitive rules and signals by them stay behind.
_PRIVATE = {
    "signal": ("observed_at",),
    "image": (
        "asked_url", "work_shard", "work_key", "work_offset", "work_bytes", "work_width_px", "work_height_px", "etag",
        "last_modified", "fetched_at",
        "colours",  # a picture in small, also of those that were dropped
    ),
}  # fmt: skip
PUBLIC_TABLES = ("rejected", "rule", "signal", "image", "score", "duplicate", "shard")


def public(table: str) -> pa.Schema:
    """The schema in which a table goes out."""
    hidden = _PRIVATE.get(table, ())
    return pa.schema([field for field in TABLES[table].schema if field.name not in hidden])
