"""The pictures of WAT records as ``RAW`` rows. Columns are made page by page, and rows of them many pages at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ..udfs import wat
from ..udfs.arrow import pc
from ..udfs.pages import MAX_IMAGES
from ..udfs.signals.html_page import Page
from ..udfs.signals.image_object import absolute
from ..udfs.signals.licence import base_url
from ..udfs.urls import canonical_key
from ._page_terms import PageTerms, are_silent, crawled
from ._raw import SAID, archived, strings
from ._warc import records

_BATCH_ROWS = 16_384
_MAX_JSON_BYTES = 64 << 20

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
        if len(waiting.url) >= _BATCH_ROWS:
            rows, said = waiting.rows()
            yield rows, said
            waiting = _Waiting(waiting.first + rows.num_rows)
    if waiting.url:
        yield waiting.rows()


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
        pages, count: and how many rows each has.
        url, caption: of each row, as written; empty for what is no picture.
        speaking: pages that may say something about training, by their place.
    """

    first: int = 0
    pages: list[_Page] = field(default_factory=list)
    count: list[int] = field(default_factory=list)
    url: list[str] = field(default_factory=list)
    caption: list[str] = field(default_factory=list)
    speaking: dict[int, wat.Envelope] = field(default_factory=dict)

    def reject(self, reason: str) -> None:
        """A row for what is no picture."""
        self._add(_Page(reason), [""], [""])

    def add(self, page: wat.Envelope) -> None:
        """Rows for the pictures of a page."""
        url, base = page.url, page.base
        plain = _ON_PLAIN_HOST.match(url) if url.isascii() else None
        if plain is None and canonical_key(url) is None:
            self.reject("bad_page_url")
            return
        if page.licences or not are_silent(page.metas, page.said.payload.response.headers):
            self.speaking[len(self.pages)] = page
        shown = page.pictures if len(page.pictures) <= MAX_IMAGES else page.pictures[:MAX_IMAGES]
        root = plain[1] if plain and not base else None
        told = _Page(None, url, page.title or None, page.language or None, base, root)
        self._add(told, [link.url for link in shown], [link.alt for link in shown])
        if shown is not page.pictures:
            self.reject("page_cut")

    def _add(self, page: _Page, urls: list[str], captions: list[str]) -> None:
        self.pages.append(page)
        self.count.append(len(urls))
        self.url += urls
        self.caption += captions

    def rows(self) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """The batch, and what is said about its rows."""
        page = pa.array(np.repeat(np.arange(len(self.count)), self.count))
        told = dict(zip(_Page._fields, zip(*self.pages, strict=True), strict=True))
        names = {"reason": "reason", "url": "page_url", "title": "page_title", "language": "page_language"}
        columns = {names[name]: strings(told[name]).take(page) for name in names}
        columns |= {"url": self._absolute(page, strings(told["root"])), "caption": strings(self.caption)}
        return archived(self.first, columns), self._said()

    def _absolute(self, page: pa.Array, roots: pa.Array) -> pa.Array:
        """URLs of pictures, resolved. Most are absolute, or begin at the root of the host."""
        url, root = strings(self.url), roots.take(page)
        is_web = pc.or_(pc.starts_with(url, "https://"), pc.starts_with(url, "http://"))
        from_root = pc.and_not(pc.starts_with(url, "/"), pc.or_(pc.starts_with(url, "//"), pc.starts_with(url, "/\\")))
        joined = pc.binary_join_element_wise(pc.if_else(from_root, root, ""), url, "")
        others = pc.invert(pc.or_(is_web, pc.and_(from_root, root.is_valid())))
        owners = zip(np.flatnonzero(others), page.filter(others).to_pylist(), strict=True)
        resolved = [_resolved(self.url[row], self.pages[number]) for row, number in owners]
        return pc.replace_with_mask(joined, others, strings(resolved))

    def _said(self) -> pa.RecordBatch:
        """What pages say about their pictures."""
        starts = self.first + np.cumsum(self.count) - self.count
        rows = [
            {**row, "source_row": picture}
            for number, page in self.speaking.items()
            for said in [[one.row(0) for one in _terms(page).said()]]
            for picture in range(starts[number], starts[number] + self.count[number])
            for row in said
        ]
        return pa.RecordBatch.from_pylist(rows, schema=SAID)


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
    return PageTerms(page.url, page.status, page.headers, page.page, crawled(page.date))
