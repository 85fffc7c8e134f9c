"""Reading web archives: the pictures of their pages as ``RAW`` rows, with what the pages say about them.

A row is a picture that a page shows, or a record that could not be read; ``reason`` says why a row is no pair. Records
are read one by one and handed on in batches, so memory does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pyarrow as pa

from ..schemas.tables import SIGNAL
from ..udfs import charset, http_message, pages, wat
from ..udfs.arrow import pc
from ..udfs.laion import laion_reason
from ..udfs.signals.html_page import MAX_BYTES
from ..udfs.signals.image_object import absolute
from ..udfs.signals.licence import base_url
from ..udfs.urls import canonical_key
from ._page_terms import PageTerms, licence_of
from ._raw import RAW, SourceFile
from ._said import Said
from ._warc import DAMAGED, TYPES, Record, records

# Evidence, by the number of the row it is about instead of by its pair.
SAID = pa.schema([pa.field("source_row", pa.int64()), *(field for field in SIGNAL.schema if field.name != "pair_id")])

_BATCH_ROWS = 16_384
_MAX_BLOCK_BYTES = http_message.MAX_HEAD_BYTES + MAX_BYTES
_MAX_JSON_BYTES = 64 << 20
_HTML = ("text/html", "application/xhtml+xml")
_UNKNOWN = datetime(1970, 1, 1, tzinfo=UTC)

_LOOK_AHEAD = 100


def holds_records(path: str) -> bool:
    """Whether a file is a WARC file at all: whether one of its first records can be read."""
    return any(record.kind for record in islice(records(path, TYPES, 0), _LOOK_AHEAD))


def read(file: SourceFile) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """``RAW`` batches of an archive, in order, and with each the ``SAID`` rows about its pairs.

    Raises:
        OSError: the file cannot be read, as opposed to unpacked.
    """
    rows = _Rows()
    for _ in _wat_pages(file.path, rows) if file.format == "wat" else _warc_pages(file.path, rows):
        if len(rows.url) >= _BATCH_ROWS:
            yield rows.taken()
    if rows.url:
        yield rows.taken()


@dataclass
class _Rows:
    """Rows that wait to be a batch."""

    first: int = 0
    url: list[str] = field(default_factory=list)
    caption: list[str] = field(default_factory=list)
    reason: list[str | None] = field(default_factory=list)
    page: list[tuple[str | None, ...]] = field(default_factory=list)
    own: dict[int, tuple[str | None, str | None]] = field(default_factory=dict)
    said: list[dict[str, Any]] = field(default_factory=list)

    def reject(self, reason: str) -> None:
        """A row for what is no picture."""
        self._add([("", "")], (None, None, None), reason)

    def add(self, shown: list[tuple[str, str]], page: tuple[str, str, str], said: list[Said]) -> int:
        """Rows for the pictures of a page: URL, title and language of it, and what it says. Returns the first row."""
        first = len(self.url)
        self._add(shown, tuple(text or None for text in page), None)
        if said:
            rows = [one.row(0) for one in said]
            self.said += [{**row, "source_row": self.first + first + n} for n in range(len(shown)) for row in rows]
        return first

    def describe(self, row: int, licence: str | None, creator: str | None, said: Said | None) -> None:
        """What a page says of one picture."""
        self.own[row] = (licence, creator)
        if said is not None:
            self.said.append({**said.row(0), "source_row": self.first + row})

    def _add(self, shown: list[tuple[str, str]], page: tuple[str | None, ...], reason: str | None) -> None:
        for url, caption in shown:
            self.url.append(url)
            self.caption.append(caption)
        self.reason += [reason] * len(shown)
        self.page += [page] * len(shown)

    def taken(self) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """The rows as a batch; none are left."""
        count = len(self.url)
        url, caption = _strings(self.url), _strings(self.caption)
        own = [self.own.get(row, (None, None)) for row in range(count)] if self.own else [(None, None)] * count
        licences, creators = zip(*own, strict=True)
        page_url, title, language = zip(*self.page, strict=True)
        columns = {
            "source_row": pa.array(range(self.first, self.first + count), pa.int64()),
            "reason": pc.coalesce(pa.array(self.reason, pa.string()), laion_reason(url, caption)),
            "url": url, "caption": caption, "licence": _strings(licences), "creator": _strings(creators),
            "page_url": _strings(page_url), "page_title": _strings(title), "page_language": _strings(language),
        }  # fmt: skip
        given = [
            columns[name.name].cast(name.type) if name.name in columns else pa.nulls(count, name.type) for name in RAW
        ]
        said = pa.RecordBatch.from_pylist(self.said, schema=SAID)
        self.__init__(self.first + count)
        return pa.RecordBatch.from_arrays(given, schema=RAW), said


def _wat_pages(path: str, rows: _Rows) -> Iterator[None]:
    for record in records(path, ("metadata",), _MAX_JSON_BYTES):
        yield _add_wat(record, rows)


def _add_wat(record: Record, rows: _Rows) -> None:
    try:
        page = wat.envelope(record.content)
    except ValueError:
        page = None
        record = DAMAGED
    if not record.kind or record.cut:
        rows.reject("damaged_record")
    elif page is not None and canonical_key(page.url) is None:
        rows.reject("bad_page_url")
    elif page is not None:
        shown = list(_resolved(page.pictures[: pages.MAX_IMAGES], base_url(page.page, page.url)))
        terms = PageTerms(page.url, page.status, page.headers, page.page, _date(page.date))
        rows.add(shown, (page.url, page.title, page.language), terms.said())
        if len(page.pictures) > len(shown):
            rows.reject("page_cut")


def _resolved(pictures: list[tuple[str, str]], base: str) -> Iterator[tuple[str, str]]:
    """Pictures with absolute URLs. Most are absolute, or begin at the root of the host."""
    root = absolute(base, "/").rstrip("/")
    for url, alt in pictures:
        if url.startswith(("https://", "http://")) or not url.strip():
            yield url, alt
        elif url.startswith("/") and not url.startswith(("//", "/\\")):
            yield root + url, alt
        else:
            yield absolute(base, url), alt


def _warc_pages(path: str, rows: _Rows) -> Iterator[None]:
    for record in records(path, ("response",), _MAX_BLOCK_BYTES):
        yield _add_warc(record, rows)


def _add_warc(record: Record, rows: _Rows) -> None:
    message = http_message.parse(record.content)
    reason = _no_page(record, message)
    if reason is not None or message is None:
        rows.reject(reason or "no_http")
        return
    body = http_message.unpacked(message, MAX_BYTES + 1)
    page = pages.read(charset.decoded(body, message.header("content-type")), record.uri)
    terms = PageTerms(record.uri, message.status, message.headers, page.page, _date(record.date))
    said = terms.said()
    language = page.language or message.header("content-language")
    first = rows.add([(image.url, image.caption) for image in page.images], (record.uri, page.title, language), said)
    for row, image in enumerate(page.images, first):
        if image.described != pages.NOTHING:
            creator = next(iter(image.described.creators), None)
            rows.describe(row, licence_of(image.described), creator, terms.said_of(image.described))
    if page.cut or record.cut:
        rows.reject("page_cut")


def _no_page(record: Record, message: http_message.Message | None) -> str | None:
    """Why a response is no page; None if it is one."""
    if not record.kind:
        return "damaged_record"
    if message is None:
        return "no_http"
    if not 200 <= message.status < 300:
        return "http_status"
    if canonical_key(record.uri) is None:
        return "bad_page_url"
    kind = message.header("content-type").partition(";")[0].strip().lower()
    is_html = kind in _HTML or (not kind and message.body.lstrip()[:1] == b"<")
    if not is_html:
        return "not_html"
    return "packed_body" if http_message.is_packed(message) else None


def _date(text: str) -> datetime:
    """When a page was crawled. The beginning of time, if the archive does not say."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return _UNKNOWN
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _strings(values: Sequence[str | None]) -> pa.Array:
    """string[n]; half a surrogate pair, which JSON can hold and UTF-8 cannot, as a replacement character."""
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        return pa.array([value and value.encode("utf-8", "replace").decode() for value in values], pa.string())
