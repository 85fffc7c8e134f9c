"""Rows of lists in canonical form, each either usable or with the reason why it is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from ..schemas.tables import PAIR, REJECTED
from ..udfs.arrow import pc
from ..udfs.text import caption_clean, two_hashes
from ..udfs.urls import has_credentials, host_domain, href_and_key, key_host
from ._files import arrow_filesystem

_FOUND_LATER = ("host", "domain", "source")
# Usable rows without a reason, with their host still to be found; ``check_id`` tells different pairs of one id apart.
CANDIDATE = pa.schema(
    [field.with_nullable(True) for field in PAIR.schema if field.name not in _FOUND_LATER]
    + [pa.field("check_id", pa.int64()), REJECTED.schema.field("reason").with_nullable(True)]
)
_OPTIONAL = [
    field.name
    for field in CANDIDATE
    if field.name not in ("pair_id", "check_id", "url", "url_key", "caption", "source_row", "reason")
]
_SEPARATOR = "\x1f"  # cannot occur in a cleaned caption


def candidates(raw: pa.RecordBatch, caption_max_chars: int) -> pa.RecordBatch:
    """Canonical form of raw rows.

    Args:
        raw: ``_raw.RAW``; a reason that stands there counts.
        caption_max_chars: where captions are cut.

    Returns:
        ``CANDIDATE``[n]; ``reason`` is null where the row is usable, and the ids where it is not.
    """
    count = raw.num_rows
    url, url_broken = _text(raw.column("url"))
    caption, caption_broken = _text(raw.column("caption"))
    trimmed = pc.utf8_trim_whitespace(url)
    href, key = href_and_key(trimmed)
    text = caption_clean(caption, pa.repeat(pa.scalar(caption_max_chars, pa.int32()), count))
    own = pc.case_when(
        pc.make_struct(
            pc.or_(url_broken, caption_broken),
            pc.fill_null(pc.equal(pc.binary_length(trimmed), 0), True),
            pc.is_null(href),
            pc.is_null(key),
            has_credentials(trimmed),
            pc.is_null(text),
        ),
        "bad_encoding", "null_url", "bad_url", "unsupported_scheme", "credentials", "null_caption",
    )  # fmt: skip
    reason = pc.coalesce(raw.column("reason"), own)
    usable = pc.is_null(reason)
    pair_id, check_id = two_hashes(pc.binary_join_element_wise(key, text, _SEPARATOR, null_handling="emit_null"))
    columns = {
        "pair_id": pc.if_else(usable, pair_id, pa.scalar(None, pa.int64())),
        "check_id": pc.if_else(usable, check_id, pa.scalar(None, pa.int64())),
        "url": href,
        "url_key": key,
        "caption": text,
        "source_row": raw.column("source_row"),
        "reason": reason,
        **{name: _optional(raw.column(name), CANDIDATE.field(name).type) for name in _OPTIONAL},
    }
    return pa.RecordBatch.from_pydict({name: columns[name] for name in CANDIDATE.names}, schema=CANDIDATE)


def pairs(usable: pa.RecordBatch, source: str) -> pa.RecordBatch:
    """``pair`` rows of usable candidates of one source."""
    host = key_host(usable.column("url_key"))
    once = host.dictionary_encode()
    found = {
        "host": host,
        # The public suffix list is a Python affair: asked once a host, not once a pair.
        "domain": host_domain(once.dictionary).take(once.indices),
        "source": pa.repeat(pa.scalar(source), usable.num_rows),
    }
    columns = [found[name] if name in found else usable.column(name) for name in PAIR.schema.names]
    return pa.RecordBatch.from_arrays(columns, schema=PAIR.schema)


def spooled(batches: Iterable[pa.RecordBatch], path: str) -> Iterator[pa.RecordBatch]:
    """The same candidates, each written to a file as it passes: plain Arrow, since they are soon read again."""
    fs, plain = arrow_filesystem(path)
    with fs.open_output_stream(plain) as sink, pa.ipc.new_stream(sink, CANDIDATE) as writer:
        for batch in batches:
            writer.write_batch(batch)
            yield batch


def unspooled(path: str) -> Iterator[pa.RecordBatch]:
    """The candidates of such a file."""
    fs, plain = arrow_filesystem(path)
    with fs.open_input_stream(plain) as source, pa.ipc.open_stream(source) as reader:
        yield from reader


def _text(array: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Bytes as text, null where they are not UTF-8, and which those were."""
    try:
        return array.cast(pa.string()), pa.repeat(pa.scalar(False), len(array))
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
    if array.null_count == len(array):
        return pa.nulls(len(array), kind)
    if kind == pa.string():
        text = pc.utf8_trim_whitespace(_text(array)[0])
        return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    if kind == pa.int32():
        rounded = pc.round(array)
        sane = pc.and_(pc.greater(rounded, 0), pc.less(rounded, 2**31))
        return pc.if_else(sane, rounded, pa.scalar(None, pa.float64())).cast(kind)
    finite = pc.is_finite(array)
    return pc.if_else(finite, array, pa.scalar(None, pa.float64())).cast(kind)
