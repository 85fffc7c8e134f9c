"""The contract of every table: columns, types, units, keys.

A table is a folder of Parquet files in the work directory and a view in ``catalog.duckdb``.
``docs/tables.md`` is generated from this file.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

UTC = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Table:
    """One table: its Arrow schema, the columns that identify a row, and who writes it."""

    name: str
    doc: str
    key: tuple[str, ...]
    schema: pa.Schema


def _column(name: str, kind: pa.DataType, doc: str, null: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=null, metadata={"doc": doc})


def _optional(name: str, kind: pa.DataType, doc: str) -> pa.Field:
    return _column(name, kind, doc, null=True)


_PAIR_ID = _column("pair_id", pa.int64(), "Stable 64-bit hash of url_key and caption")

PAIR = Table(
    "pair",
    "One image-text pair of the sources, canonical and deduplicated by (url_key, caption).",
    ("pair_id",),
    pa.schema(
        [
            _PAIR_ID,
            _column("url", pa.string(), "The URL to ask for, by the WHATWG standard, without a fragment"),
            _column("url_key", pa.string(), "Canonical form for matching: host and path without scheme or www."),
            _column("host", pa.string(), "Lower-case host (punycode), without www. and port"),
            _column("domain", pa.string(), "Registrable domain by the public suffix list; the host if it has none"),
            _optional("page_url", pa.string(), "The page the image was found on"),
            _optional("page_title", pa.string(), "Its title"),
            _optional("page_language", pa.string(), "Its language, as it states it"),
            _column("caption", pa.string(), "Text, control characters cleaned, cut at ingest.caption_max_chars"),
            _column("source", pa.string(), "Name of the source"),
            _column("source_row", pa.int64(), "Row in the source, from 0"),
            _optional("width_px", pa.int32(), "Width as the source states it"),
            _optional("height_px", pa.int32(), "Height as the source states it"),
            _optional("licence", pa.string(), "Licence as the source states it"),
            _optional("creator", pa.string(), "Creator as the source states it"),
            _optional("similarity", pa.float32(), "The source's CLIP similarity of picture and text"),
            _optional("nsfw", pa.string(), "The source's NSFW tag"),
            _optional("p_unsafe", pa.float32(), "The source's probability of being unsafe, 0 to 1"),
            _optional("p_watermark", pa.float32(), "The source's probability of a watermark, 0 to 1"),
            _optional("aesthetic", pa.float32(), "The source's aesthetic score"),
        ]
    ),
)

REJECTED = Table(
    "rejected",
    "A source row that is not a usable pair.",
    ("source", "source_row"),
    pa.schema(
        [
            _column("source", pa.string(), "Name of the source"),
            _column("source_row", pa.int64(), "Row in the source, from 0"),
            _column(
                "reason",
                pa.string(),
                "null_url, bad_url, null_caption, duplicate_row, short_caption, damaged_record, ...",
            ),
        ]
    ),
)

RULE = Table(
    "rule",
    "One entry of an opt-out registry or hash list, its key normalised for matching.",
    ("rule_id",),
    pa.schema(
        [
            _column(
                "rule_id",
                pa.int64(),
                "Stable hash of registry, scope, key and action; of a permission, also of its purpose and dates",
            ),
            _column("registry", pa.string(), "Name of the registry"),
            _column(
                "scope", pa.string(), "url, url_prefix, host, domain, creator, licence, md5, sha256, phash, pdq, iscc"
            ),
            _column("key", pa.string(), "The key in its canonical form"),
            _column("action", pa.string(), "deny or allow"),
            _optional("purpose", pa.string(), "The purpose it covers; null covers all"),
            _optional("declared_by", pa.string(), "Who declared it"),
            _optional("valid_from", UTC, "Not in force before"),
            _optional("withdrawn_at", UTC, "Not in force from"),
            _optional("evidence", pa.string(), "Where the declaration can be seen"),
            _column("sensitive", pa.bool_(), "Its key never appears in anything published"),
        ]
    ),
)

ANSWER = Table(
    "answer",
    "What a registry's endpoint answered about a URL.",
    ("registry", "endpoint", "url"),
    pa.schema(
        [
            _column("registry", pa.string(), "Name of the endpoint"),
            _column("endpoint", pa.string(), "URL that was asked"),
            _column("url", pa.string(), "URL it was asked about"),
            _column("url_key", pa.string(), "Its canonical form, by which the answer was found"),
            _column("verdict", pa.string(), "deny, hold (no answer that can be read), allow or none"),
            _column("value", pa.string(), "The answer as far as it is read, or why there is none"),
            _column("answered_at", UTC, "When it was asked"),
            _column("parser", pa.string(), "Version of fairshard that read it"),
        ]
    ),
)

HOST_FILE = Table(
    "host_file",
    "A file in which a host states its terms, or that it names for them, as fetched.",
    ("origin", "kind", "url", "fetched_at"),
    pa.schema(
        [
            _column("origin", pa.string(), "Scheme, host and port whose terms these are"),
            _column("kind", pa.string(), "robots_txt, ai_txt, tdmrep_json, rsl"),
            _column("url", pa.string(), "URL that was asked for; of an earlier download, shard and row"),
            _optional("final_url", pa.string(), "URL that answered, after redirects"),
            _column("status", pa.int32(), "HTTP status; 0: no answer"),
            _optional("body", pa.binary(), "The body, cut at the size the protocol reads"),
            _optional("sha256", pa.string(), "SHA-256 of the body, hex"),
            _optional("error", pa.string(), "Why there is no answer"),
            _optional("crawl_delay_s", pa.float64(), "Seconds between two requests that a robots.txt asks us for"),
            _column("fetched_at", UTC, "When it was asked"),
        ]
    ),
)

SIGNAL = Table(
    "signal",
    "One piece of evidence about one pair. Records what was said; decides nothing.",
    ("pair_id", "kind", "scope", "source", "rule_id", "hop"),
    pa.schema(
        [
            _PAIR_ID,
            _column(
                "kind", pa.string(), "Protocol: registry, hash_list, robots_txt, content_signal, aipref, ai_txt, ..."
            ),
            _column("verdict", pa.string(), "deny, hold, cond, allow or none"),
            _column("scope", pa.string(), "What the statement is about: url, host, domain, asset, page, sha256, ..."),
            _optional("value", pa.string(), "The raw statement; null if the rule is sensitive"),
            _column("source", pa.string(), "Where it was said: registry name, URL of the file, header of a URL"),
            _optional("rule_id", pa.int64(), "The registry entry, where there is one"),
            _optional("hop", pa.int32(), "Response of the redirect chain that said it, or whose host did, from 0"),
            _optional("only_if", pa.string(), "The policy under which it counts, such as purpose=genai; null: any"),
            _column("observed_at", UTC, "When it was read"),
            _column("parser", pa.string(), "Version of fairshard that read it"),
        ]
    ),
)

IMAGE = Table(
    "image",
    "What asking for a pair's image gave: one row for every pair asked for.",
    ("pair_id",),
    pa.schema(
        [
            _PAIR_ID,
            _column("asked_url", pa.string(), "URL that was asked for"),
            _column("status", pa.string(), "ok, opted_out (bytes not kept), failed, or left for a later run"),
            _optional("http_status", pa.int32(), "Status of the last response"),
            _optional("final_url", pa.string(), "URL that answered, after redirects; null: nobody was asked"),
            _optional(
                "mime", pa.string(), "Media type by the bytes, not by the header; null: the original is not at hand"
            ),
            _optional("size_bytes", pa.int64(), "Size of the original"),
            _optional("width_px", pa.int32(), "Width of the original, upright"),
            _optional("height_px", pa.int32(), "Height of the original, upright"),
            _optional("sha256", pa.string(), "SHA-256 of the original bytes, hex"),
            _optional("md5", pa.string(), "MD5 of the original bytes, hex"),
            _optional("phash", pa.int64(), "64-bit pHash, the bits imagehash gives"),
            _optional("pdq", pa.binary(), "256-bit PDQ, 32 bytes, the bits ThreatExchange prints"),
            _optional("pdq_quality", pa.int32(), "PDQ quality, 0 to 100"),
            _optional(
                "colours",
                pa.binary(),
                "Mean colours of 16 by 16 cells on white, 768 bytes, row by row in RGB; null also where transparency shows nothing",
            ),
            _optional(
                "pdq_dihedral",
                pa.binary(),
                "PDQ of the eight flips and rotations, 8 times 32 bytes; made where the policy asks for it",
            ),
            _optional("iscc_image", pa.int64(), "ISCC Content-Code Image, 64 bits; made where a registry lists ISCCs"),
            _optional("iscc_instance", pa.int64(), "ISCC Instance-Code, its first 64 bits; likewise"),
            _optional(
                "file_creators", pa.list_(pa.string()), "Names in the file: XMP dc:creator, EXIF Artist, IPTC by-line"
            ),
            _optional("file_licence", pa.string(), "Licence that the file states: SPDX id, or its URL"),
            _optional("work_shard", pa.string(), "Tar in the work directory that holds the rendition"),
            _optional("work_key", pa.string(), "Name of the member in work_shard"),
            _optional("work_offset", pa.int64(), "First byte of the rendition in work_shard"),
            _optional("work_bytes", pa.int64(), "Size of the rendition"),
            _optional("work_width_px", pa.int32(), "Width of the rendition"),
            _optional("work_height_px", pa.int32(), "Height of the rendition"),
            _optional("etag", pa.string(), "ETag that the original came with, to be asked by"),
            _optional("last_modified", pa.string(), "Last-Modified that it came with, likewise"),
            _column("fetched_at", UTC, "When it was asked for"),
            _optional("error", pa.string(), "Reason code where status is failed or left"),
        ]
    ),
)

SCORE = Table(
    "score",
    "What was measured on a pair.",
    ("pair_id", "kind"),
    pa.schema(
        [
            _PAIR_ID,
            _column("kind", pa.string(), "language, caption_words, ...; visual_cluster: distance from its centre"),
            _optional("value", pa.float64(), "The measure"),
            _optional("label", pa.string(), "Its label: the language code, the number of the cluster"),
        ]
    ),
)

DROPPED = Table(
    "dropped",
    "A pair that goes no further: one stage, one reason, a pointer to the evidence.",
    ("pair_id",),
    pa.schema(
        [
            _PAIR_ID,
            _column("stage", pa.string(), "The stage that dropped it"),
            _column(
                "reason",
                pa.string(),
                "Reason code, such as deny:robots_txt, failed:http_404, left:pause, near_duplicate",
            ),
            _optional("evidence", pa.string(), "What decided: source and raw statement, or measure and limit"),
        ]
    ),
)

EMBEDDING = Table(
    "embedding",
    "What a model sees in the picture of a pair that reached dedup. Written where the config names a model.",
    ("pair_id",),
    pa.schema(
        [
            _PAIR_ID,
            _column("model", pa.string(), "SHA-256 of the model's checkpoint, hex"),
            _column("sha256", pa.string(), "SHA-256 of the original whose rendition it saw, hex"),
            _column(
                "vector", pa.list_(pa.float32()), "Unit length; rounded to 16 bits, which compress to half the size"
            ),
        ]
    ),
)

DUPLICATE = Table(
    "duplicate",
    "A pair that belongs to a group of pairs with the same or nearly the same picture.",
    ("pair_id",),
    pa.schema(
        [
            _PAIR_ID,
            _column("group_id", pa.int64(), "Smallest pair_id of the group"),
            _column("keeper_id", pa.int64(), "The pair of the group that stays"),
            _column(
                "kind",
                pa.string(),
                "exact, phash, pdq, semantic: the strictest tie to the keeper; linked: through others",
            ),
            _optional(
                "distance",
                pa.int32(),
                "From the keeper, by kind: bits that differ; semantic: thousandths of cosine distance; null for linked",
            ),
        ]
    ),
)

SAMPLE = Table(
    "sample",
    "A released pair and where it lies.",
    ("pair_id",),
    pa.schema(
        [
            _PAIR_ID,
            _column("shard_id", pa.int32(), "The shard"),
            _column("key", pa.string(), "Key in the shard"),
            _column("bytes", pa.int64(), "Size of the picture in the shard"),
            _column("weight", pa.float64(), "Weight for training; 1 unless a stage says otherwise"),
        ]
    ),
)

SHARD = Table(
    "shard",
    "One WebDataset shard of the release.",
    ("shard_id",),
    pa.schema(
        [
            _column("shard_id", pa.int32(), "Number of the shard, from 0"),
            _column("path", pa.string(), "Path in the release"),
            _column("rows", pa.int64(), "Samples in it"),
            _column("bytes", pa.int64(), "Size of the tar"),
            _column("sha256", pa.string(), "SHA-256 of the tar, hex"),
        ]
    ),
)

# Not one of TABLES: it is made from a release and a run, far from any work directory.
AUDIT = Table(
    "audit",
    "What an audit measured: of the run as a whole, where pair_id is null, and of single pairs or files.",
    ("kind", "subject"),
    pa.schema(
        [
            _column(
                "kind",
                pa.string(),
                "later_opt_out, leaked_picture, leaked_caption, membership, memorised, canary, replication, style, ...",
            ),
            _column("subject", pa.string(), "all, a score, the key of a sample, a creator, a file or a line"),
            _optional("pair_id", pa.int64(), "The released pair in question"),
            _optional("other_id", pa.int64(), "The trained pair it resembles"),
            _optional("value", pa.float64(), "The measure; null if it could not be taken"),
            _optional("threshold", pa.float64(), "What it is compared with"),
            _column("finding", pa.bool_(), "Whether it is over the threshold"),
            _column("detail", pa.string(), "In words"),
        ]
    ),
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        PAIR,
        REJECTED,
        RULE,
        ANSWER,
        HOST_FILE,
        SIGNAL,
        IMAGE,
        SCORE,
        DROPPED,
        EMBEDDING,
        DUPLICATE,
        SAMPLE,
        SHARD,
    )
}
