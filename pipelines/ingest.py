"""ingest: image-text lists into canonical pairs.

Every row of every source becomes one ``pair`` or one ``rejected`` row with a reason. The lists are read and
normalised file by file, in Arrow; one SQL pass then finds rows that say the same as an earlier one.

Source rows whose canonical URL and cleaned caption are equal are one pair: the first, by source name and
row, stays. A caption is cut at ``ingest.caption_max_chars`` characters.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from ..schemas.config import fingerprint
from ..schemas.tables import PAIR, REJECTED
from ..udfs.arrow import pc
from ..udfs.text import caption_clean, stable_hash
from ..udfs.urls import url_href, url_key
from . import _sources
from ._sources import SourceFile
from ._store import write_parquet
from ._work import Work

READS = ()
WRITES = ("pair", "rejected")

# Rows as they come out of the Arrow step: usable ones without a reason, with their domain still to be found.
CANDIDATE = pa.schema(
    [field.with_nullable(True) for field in PAIR.schema if field.name not in ("host", "domain")]
    + [REJECTED.schema.field("reason").with_nullable(True)]
)

# Ids that occur more than once are few; only their rows are sorted.
REPEATED = "SELECT pair_id FROM candidate WHERE reason IS NULL GROUP BY pair_id HAVING count(*) > 1"

RANKED = """
SELECT candidate.pair_id, source, source_row, url_key, caption,
       row_number() OVER (PARTITION BY candidate.pair_id ORDER BY source, source_row) AS place,
       first_value(url_key) OVER (PARTITION BY candidate.pair_id ORDER BY source, source_row) AS first_key,
       first_value(caption) OVER (PARTITION BY candidate.pair_id ORDER BY source, source_row) AS first_caption
FROM candidate JOIN repeated ON candidate.pair_id = repeated.pair_id
WHERE reason IS NULL
"""

# A different pair with the same 64-bit id would be merged by every later join, so it is set aside by name.
LATER = """
SELECT source, source_row,
       CASE WHEN url_key = first_key AND caption = first_caption THEN 'duplicate_row' ELSE 'id_collision' END AS reason
FROM ranked WHERE place > 1
"""

ALL_REJECTED = """
SELECT source, source_row, reason FROM candidate WHERE reason IS NOT NULL
UNION ALL
SELECT source, source_row, reason FROM later
"""

KEPT = """
SELECT candidate.*, key_host(candidate.url_key) AS host
FROM candidate LEFT JOIN later
  ON candidate.source = later.source AND candidate.source_row = later.source_row
WHERE candidate.reason IS NULL AND later.source IS NULL
"""

# The public suffix list is a Python affair: asked once a host, not once a pair.
HOST = "SELECT host, host_domain(host) AS domain FROM (SELECT DISTINCT host FROM kept) AS distinct_host"

ALL_PAIRS = "SELECT kept.*, host_name.domain FROM kept JOIN host_name ON kept.host = host_name.host"


@dataclass(frozen=True)
class Normalise:
    """One file to normalise: what a worker is given."""

    file: SourceFile
    caption_max_chars: int
    target: str


def normalise(task: Normalise) -> int:
    """Read one list and write its rows as ``CANDIDATE``. Returns the number of rows."""
    batches = (candidates(batch, task.file.source, task.caption_max_chars) for batch in _sources.read(task.file))
    return write_parquet(task.target, CANDIDATE, batches)


def candidates(raw: pa.RecordBatch, source: str, caption_max_chars: int) -> pa.RecordBatch:
    """Canonical form of raw rows, each either usable or with a reason.

    Args:
        raw: ``_sources.RAW``.
        source: name of the source.
        caption_max_chars: where captions are cut.

    Returns:
        ``CANDIDATE``[n]; ``reason`` is null where the row is usable, and ``pair_id`` where it is not.
    """
    count = raw.num_rows
    url, url_broken = _text(raw.column("url"))
    caption, caption_broken = _text(raw.column("caption"))
    trimmed = pc.utf8_trim_whitespace(url)
    href = url_href(trimmed)
    key = url_key(href)
    text = caption_clean(caption, pa.array([caption_max_chars] * count, pa.int32()))
    reason = pc.case_when(
        pc.make_struct(
            raw.column("malformed"),
            pc.or_(url_broken, caption_broken),
            pc.fill_null(pc.equal(pc.utf8_length(trimmed), 0), True),
            pc.is_null(href),
            pc.is_null(key),
            pc.is_null(text),
        ),
        "malformed_row", "bad_encoding", "null_url", "bad_url", "unsupported_scheme", "null_caption",
    )  # fmt: skip
    usable = pc.is_null(reason)
    separator = pa.scalar("\x1f")  # cannot occur in a cleaned caption
    pair_id = stable_hash(pc.binary_join_element_wise(key, text, separator, null_handling="emit_null"))
    columns = {
        "pair_id": pc.if_else(usable, pair_id, pa.scalar(None, pa.int64())),
        "url": href,
        "url_key": key,
        "caption": text,
        "source": pa.array([source] * count, pa.string()),
        "source_row": raw.column("source_row"),
        "reason": reason,
        **{name: _optional(raw.column(name), PAIR.schema.field(name).type) for name in _OPTIONAL},
    }
    return pa.RecordBatch.from_pydict({name: columns[name] for name in CANDIDATE.names}, schema=CANDIDATE)


def run(work: Work) -> None:
    """Read the sources of the job.

    Raises:
        SourceError: a source is missing, empty, of another format or without the columns it needs.
    """
    files = _sources.resolve(work.job)
    task = work.task("ingest", "all", fingerprint(work.version, "ingest", work.job.config.ingest, files))
    if task.done:
        return
    work.store.prune("ingest", ["all"])
    with task:
        parts = [
            Normalise(file, work.job.config.ingest.caption_max_chars, task.scratch(f"{number}.parquet"))
            for number, file in enumerate(files)
        ]
        done = work.map("ingest", normalise, parts, lambda rows: f"{rows:,} rows")
        task.rows_in = sum(done)
        task.extra["sources"] = [file.source for file in files]
        work.engine.scan("candidate", [part.target for part in parts], CANDIDATE)
        work.engine.step("repeated", REPEATED)
        work.engine.step("ranked", RANKED)
        work.engine.step("later", LATER)
        work.engine.step("kept", KEPT)
        work.engine.step("host_name", HOST)
        work.write(task, "rejected", ALL_REJECTED)
        work.write(task, "pair", ALL_PAIRS)


_OPTIONAL = [
    field.name
    for field in PAIR.schema
    if field.name not in ("pair_id", "url", "url_key", "host", "domain", "caption", "source", "source_row")
]


def _text(array: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Bytes as text, null where they are not UTF-8, and which those were."""
    try:
        return array.cast(pa.string()), pa.array([False] * len(array))
    except pa.ArrowInvalid:
        decoded = pa.array([_decoded(value) for value in array.to_pylist()], pa.string())
        return decoded, pc.and_(pc.is_valid(array), pc.is_null(decoded))


def _decoded(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _optional(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column of the source's own, null where it is out of range or empty: it can refuse nothing."""
    if kind == pa.string():
        text = pc.utf8_trim_whitespace(_text(array)[0])
        return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    if kind == pa.int32():
        rounded = pc.round(array)
        sane = pc.and_(pc.greater(rounded, 0), pc.less(rounded, 2**31))
        return pc.if_else(sane, rounded, pa.scalar(None, pa.float64())).cast(kind)
    finite = pc.is_finite(array)
    return pc.if_else(finite, array, pa.scalar(None, pa.float64())).cast(kind)
