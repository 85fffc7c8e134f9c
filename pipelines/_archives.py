"""Reading web archives: the pictures of their pages as ``RAW`` rows, with what the pages say about them.

A row is a picture that a page shows, or a record that could not be read; ``reason`` says why a row is no pair. Records
are read one by one and handed on in batches, so memory does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa

from ..schemas.errors import MissingExtra
from ..udfs import charset, http_message, pages
from ..udfs.signals.html_page import MAX_BYTES
from ..udfs.urls import canonical_key
from ._page_terms import PageTerms, crawled, licence_of
from ._raw import SAID, SourceFile, archived, strings
from ._said import Said
from ._warc import TYPES, Record, records

_BATCH_ROWS = 16_384
_BATCH_BYTES = 128 << 20
_SAID_BYTES = 4_000  # one statement about one picture, at most
_MAX_BLOCK_BYTES = http_message.MAX_HEAD_BYTES + MAX_BYTES
_HTML = ("text/html", "application/xhtml+xml")

_LOOK_AHEAD = 100


def kinds_of(path: str) -> set[str]:
    """The formats that a file may be of, by its first records: ``wat``, ``warc``, or neither; empty if it holds no record."""
    found = set()
    for record in islice(records(path, TYPES, 1), _LOOK_AHEAD):
        if record.kind:
            is_json = record.kind == "metadata" and record.content == b"{"
            found.add("wat" if is_json else "warc" if record.kind == "response" else "neither")
    return found


def read(file: SourceFile) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """``RAW`` batches of an archive, in order, and with each the ``SAID`` rows about its pairs.

    Raises:
        OSError: the file cannot be read, as opposed to unpacked.
    """
    if file.format == "wat":
        yield from _wat_batches(file.path)
        return
    rows = _Rows()
    for _ in _warc_pages(file.path, rows):
        if len(rows.url) >= _BATCH_ROWS or rows.bytes >= _BATCH_BYTES:
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
    bytes: int = 0

    def reject(self, reason: str) -> None:
        """A row for what is no picture."""
        self._add([("", "")], (None, None, None), reason)

    def add(self, shown: list[tuple[str, str]], page: tuple[str, str, str], said: list[Said]) -> int:
        """Rows for the pictures of a page: URL, title and language of it, and what it says. Returns the first row."""
        first = len(self.url)
        self.bytes += len(shown) * (sum(map(len, page)) + len(said) * _SAID_BYTES)
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
        self.bytes += sum(len(url) + len(caption) for url, caption in shown)
        self.reason += [reason] * len(shown)
        self.page += [page] * len(shown)

    def taken(self) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """The rows as a batch; none are left."""
        count = len(self.url)
        own = [self.own.get(row, (None, None)) for row in range(count)] if self.own else [(None, None)] * count
        licences, creators = zip(*own, strict=True)
        page_url, title, language = zip(*self.page, strict=True)
        told = {
            "reason": self.reason, "url": self.url, "caption": self.caption, "licence": licences, "creator": creators,
            "page_url": page_url, "page_title": title, "page_language": language,
        }  # fmt: skip
        rows = archived(self.first, {name: strings(texts) for name, texts in told.items()})
        said = pa.RecordBatch.from_pylist(self.said, schema=SAID)
        self.__init__(self.first + count)
        return rows, said


def _wat_batches(path: str) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    try:
        from . import _wat_rows
    except ImportError as error:
        raise MissingExtra("crawl", "reading WAT files", "msgspec") from error
    return _wat_rows.batches(path)


def _warc_pages(path: str, rows: _Rows) -> Iterator[None]:
    for record in records(path, ("response",), _MAX_BLOCK_BYTES):
        yield _add_warc(record, rows)


def _add_warc(record: Record, rows: _Rows) -> None:
    message = http_message.parse(record.content)
    reason = _no_page(record, message)
    if reason is not None or message is None:
        rows.reject(reason or "no_http")
        return
    body, is_whole = http_message.unpacked(message, MAX_BYTES)
    page = pages.read(charset.decoded(body, message.header("content-type")), record.uri)
    cut = page.cut or record.cut or record.truncated or not is_whole
    terms = PageTerms(record.uri, message.status, message.headers, page.page, crawled(record.date), cut)
    said = terms.said()
    _, language = pages.stated("", page.language or message.header("content-language"))
    first = rows.add([(image.url, image.caption) for image in page.images], (record.uri, page.title, language), said)
    for row, image in enumerate(page.images, first):
        if image.described != pages.NOTHING:
            creator = next((name[: pages.MAX_TITLE_CHARS] for name in image.described.creators), None)
            rows.describe(row, licence_of(image.described), creator, terms.said_of(image.described))
    if cut or page.more:
        rows.reject("page_cut")


def _no_page(record: Record, message: http_message.Message | None) -> str | None:
    """Why a response is no page; None if it is one."""
    if not record.kind:
        return "damaged_record"
    if message is None:
        return "no_http"
    if not 200 <= message.status < 300:
        return "http_status"
    if len(record.uri) > pages.MAX_URL_CHARS or canonical_key(record.uri) is None:
        return "bad_page_url"
    kind = message.header("content-type").partition(";")[0].strip().lower()
    is_html = kind in _HTML or (not kind and message.body.lstrip()[:1] == b"<")
    if not is_html:
        return "not_html"
    return "packed_body" if http_message.is_packed(message) else None
