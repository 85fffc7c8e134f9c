"""The pictures of WAT records as ``RAW`` rows. Columns are made page by page, and rows of them many pages at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ..udfs import wat
from ..udfs.arrow import pc
from ..udfs.pages import MAX_IMAGES, MAX_URL_CHARS, stated
from ..udfs.signals.html_page import Page
from ..udfs.signals.image_object import absolute
from ..udfs.signals.licence import base_url
from ..udfs.urls import canonical_key
from ._page_terms import META_NAMES, PageTerms, are_silent, crawled
from ._raw import SAID, archived, strings
from ._warc import records

_BATCH_ROWS = 16_384
_BATCH_BYTES = 128 << 20
_SAID_BYTES = 16_000  # about a picture, at most; most say nothing
_MAX_JSON_BYTES = 64 << 20
_METAS = META_NAMES | wat.LANGUAGE

# A page on a host of which no parser changes or refuses a character, and what its "/" leads to.
_ON_PLAIN_HOST = re.compile(r"(https?://(?:(?!xn)[a-z0-9-]+\.)*(?!xn)[a-z][a-z0-9-]*)(?:[/?#]|\Z)")


def batches(path: str) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """``RAW`` batches of a WAT file, in order, and with each the ``SAID`` rows about its pairs.

    Raises:
        OSError: the file cannot be read, as opposed to unpacked.
    """
    waiting = _Waiting()
    for record in records(path, ("metadata",), _MAX_JSON_BYTES):
        try:
            page = wat.envelope(record.content)
        except ValueError:
            page = None
            record = record._replace(kind="")
        if not record.kind or record.cut:
            waiting.reject("damaged_record")
        elif page is not None:
            waiting.add(page)
        if waiting.count >= _BATCH_ROWS or waiting.bytes >= _BATCH_BYTES:
            rows, said = waiting.rows()
            yield rows, said
            waiting = _Waiting(waiting.first + rows.num_rows)
    if waiting.count:
        yield waiting.rows()


_NO_PICTURE = wat.Pictures.of([wat.Link()])


class _Page(NamedTuple):
    """A page, or with a reason the place of a record that is none. Texts as the page states them."""

    reason: str | None = None
    url: str | None = None
    title: str | None = None
    language: str | None = None
    base: str = ""
    root: str | None = None
    """What its "/" leads to, if that is plain."""


@dataclass
class _Waiting:
    """Pages that wait to be a batch.

    Attributes:
        first: number of the first row.
        pages, pictures: and the rows of each; empty texts for what is no picture.
        count, bytes: of all rows, and what their texts take.
        speaking: pages that may say something about training, by their place.
    """

    first: int = 0
    pages: list[_Page] = field(default_factory=list)
    pictures: list[wat.Pictures] = field(default_factory=list)
    count: int = 0
    bytes: int = 0
    speaking: dict[int, wat.Envelope] = field(default_factory=dict)

    def reject(self, reason: str) -> None:
        """A row for what is no picture."""
        self._add(_Page(reason), _NO_PICTURE)

    def add(self, page: wat.Envelope) -> None:
        """Rows for the pictures of a page."""
        url, base = page.url, page.base
        plain = _ON_PLAIN_HOST.match(url) if url.isascii() else None
        if len(url) > MAX_URL_CHARS or (plain is None and canonical_key(url) is None):
            self.reject("bad_page_url")
            return
        if not page.response.message.status.startswith("2") and page.status:
            self.reject("http_status")
            return
        metas = page.metas_of(_METAS)
        if page.cut or page.licences or not are_silent(metas, page.response.headers):
            self.speaking[len(self.pages)] = page
            self.bytes += page.pictures.rows * _SAID_BYTES
        root = plain[1] if plain and not base else None
        title, language = stated(page.title, next((text for name, text in metas if name in wat.LANGUAGE), ""))
        self._add(_Page(None, url, title or None, language or None, base, root), page.pictures)
        if page.cut or page.pictures.count > MAX_IMAGES:
            self.reject("page_cut")

    def _add(self, page: _Page, pictures: wat.Pictures) -> None:
        self.pages.append(page)
        self.pictures.append(pictures)
        self.count += pictures.rows
        once = len(page.url or "") + len(page.title or "")
        self.bytes += len(pictures.urls) + len(pictures.captions) + pictures.rows * once

    def rows(self) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """The batch, and what is said about its rows."""
        rows_of = [pictures.rows for pictures in self.pictures]
        page = pa.array(np.repeat(np.arange(len(self.pages)), rows_of))
        told = dict(zip(_Page._fields, zip(*self.pages, strict=True), strict=True))
        names = {"reason": "reason", "url": "page_url", "title": "page_title", "language": "page_language"}
        columns = {names[name]: strings(told[name]).take(page) for name in names}
        _, urls, url_bytes, captions, caption_bytes = zip(*self.pictures, strict=True)
        url = self._absolute(_texts(urls, url_bytes), page, strings(told["root"]))
        columns |= {"url": url, "caption": _texts(captions, caption_bytes)}
        return archived(self.first, columns), self._said(self.first + np.cumsum(rows_of) - rows_of)

    def _absolute(self, url: pa.Array, page: pa.Array, roots: pa.Array) -> pa.Array:
        """URLs of pictures, resolved. Most are absolute, or begin at the root of the host."""
        relative = pc.invert(pc.or_(pc.starts_with(url, "https://"), pc.starts_with(url, "http://")))
        given, owner = url.filter(relative), page.filter(relative)
        root, begins = roots.take(owner), pc.or_(pc.starts_with(given, "//"), pc.starts_with(given, "/\\"))
        others = pc.invert(pc.and_(pc.and_not(pc.starts_with(given, "/"), begins), root.is_valid()))
        pairs = zip(given.filter(others).to_pylist(), owner.filter(others).to_pylist(), strict=True)
        resolved = strings([_resolved(text, self.pages[number]) for text, number in pairs])
        joined = pc.replace_with_mask(pc.binary_join_element_wise(root, given, ""), others, resolved)
        return pc.replace_with_mask(url, relative, joined)

    def _said(self, starts: np.ndarray) -> pa.RecordBatch:
        """What pages say about their pictures: all of it about each. ``starts``: the first row of each page."""
        rows: list[dict] = []
        picks, pictures = [np.arange(0)], [np.arange(0)]
        for number, page in self.speaking.items():
            said = [one.row(0) for one in _terms(page).said()]
            count = page.pictures.rows
            picks.append(np.tile(np.arange(len(rows), len(rows) + len(said)), count))
            pictures.append(np.repeat(np.arange(starts[number], starts[number] + count), len(said)))
            rows += said
        given = pa.RecordBatch.from_pylist(rows, schema=SAID).take(pa.array(np.concatenate(picks)))
        place = SAID.get_field_index("source_row")
        return given.set_column(place, SAID.field(place), pa.array(np.concatenate(pictures), SAID.field(place).type))


def _texts(pieces: Sequence[bytes], sizes: Sequence[bytes]) -> pa.Array:
    """string[n] of what pages have, as ``Pictures`` holds it."""
    ends = np.cumsum(np.frombuffer(b"".join(sizes), np.int32), dtype=np.int32)
    offsets = np.concatenate((np.zeros(1, np.int32), ends))
    return pa.StringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(b"".join(pieces)))


def _resolved(url: str, page: _Page) -> str:
    """One URL, resolved."""
    if page.url is None or not url.strip():
        return url
    base, root = _base(page.url, page.base)
    if url.startswith("/") and not url.startswith(("//", "/\\")):
        return root + url
    return absolute(base, url)


@lru_cache(maxsize=64)  # the pictures of a page come one after the other
def _base(page_url: str, base: str) -> tuple[str, str]:
    """What the links of a page are resolved against, and what its "/" leads to."""
    found = base_url(Page(base=base), page_url)
    return found, absolute(found, "/").rstrip("/")


def _terms(page: wat.Envelope) -> PageTerms:
    return PageTerms(page.url, page.status, page.headers, page.page(META_NAMES), crawled(page.date), page.cut)
