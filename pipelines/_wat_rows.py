"""The pictures of WAT records as ``RAW`` rows. Columns are made page by page, and rows of them many pages at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from ..udfs import pages, wat
from ..udfs.arrow import pc
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
    waiting = _Pages()
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
            waiting = _Pages(waiting.first + rows.num_rows)
    if waiting.url:
        yield waiting.rows()


@dataclass
class _Pages:
    """Pages that wait to be a batch, and records that are none: columns of pictures, and columns of pages.

    Attributes:
        first: number of the first row.
        url, caption: of each picture, as written; empty for what is no page.
        count: pictures of each page, or 1.
        reason: of each page; None if it is one.
        page_url, title, language, base: of each page, as it states them.
        root: where a path that begins with a slash begins; None if the page is not of the usual kind.
        speaking: pages that may say something about training, by their number.
    """

    first: int = 0
    url: list[str] = field(default_factory=list)
    caption: list[str] = field(default_factory=list)
    count: list[int] = field(default_factory=list)
    reason: list[str | None] = field(default_factory=list)
    page_url: list[str | None] = field(default_factory=list)
    title: list[str | None] = field(default_factory=list)
    language: list[str | None] = field(default_factory=list)
    base: list[str] = field(default_factory=list)
    root: list[str | None] = field(default_factory=list)
    speaking: dict[int, wat.Envelope] = field(default_factory=dict)

    def reject(self, reason: str) -> None:
        """A row for what is no picture."""
        self._add([""], [""], reason, "", "", "", "", None)

    def add(self, page: wat.Envelope) -> None:
        """Rows for the pictures of a page."""
        url, base = page.url, page.base
        plain = _ON_PLAIN_HOST.match(url) if url.isascii() else None
        if plain is None and canonical_key(url) is None:
            self.reject("bad_page_url")
            return
        if page.licences or not are_silent(page.metas, page.said.payload.response.headers):
            self.speaking[len(self.count)] = page
        shown = page.pictures[: pages.MAX_IMAGES]
        urls, captions = [link.url for link in shown], [link.alt for link in shown]
        root = plain[1] if plain and not base else None
        self._add(urls, captions, None, url, page.title, page.language, base, root)
        if len(page.pictures) > len(shown):
            self.reject("page_cut")

    def _add(
        self, urls: list[str], captions: list[str], reason: str | None, page_url: str, title: str, language: str,
        base: str, root: str | None,
    ) -> None:  # fmt: skip
        self.url += urls
        self.caption += captions
        self.count.append(len(urls))
        self.reason.append(reason)
        self.page_url.append(page_url or None)
        self.title.append(title or None)
        self.language.append(language or None)
        self.base.append(base)
        self.root.append(root)

    def rows(self) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """The batch."""
        page = pa.array(np.repeat(np.arange(len(self.count)), self.count))
        told = {
            "reason": self.reason, "page_url": self.page_url, "page_title": self.title, "page_language": self.language
        }  # fmt: skip
        columns = {name: strings(texts).take(page) for name, texts in told.items()}
        columns |= {"url": self._absolute(page), "caption": strings(self.caption)}
        return archived(self.first, columns), self._said()

    def _absolute(self, page: pa.Array) -> pa.Array:
        """URLs of pictures, resolved. Most are absolute, or begin at the root of the host."""
        url, root = strings(self.url), strings(self.root).take(page)
        is_web = pc.or_(pc.starts_with(url, "https://"), pc.starts_with(url, "http://"))
        from_root = pc.and_not(pc.starts_with(url, "/"), pc.or_(pc.starts_with(url, "//"), pc.starts_with(url, "/\\")))
        joined = pc.binary_join_element_wise(pc.if_else(from_root, root, ""), url, "")
        others = pc.invert(pc.or_(is_web, pc.and_(from_root, root.is_valid())))
        rows = np.flatnonzero(others)
        resolved = [
            self._resolved(self.url[row], number)
            for row, number in zip(rows, page.filter(others).to_pylist(), strict=True)
        ]
        return pc.replace_with_mask(joined, others, strings(resolved))

    def _resolved(self, url: str, number: int) -> str:
        if self.reason[number] or not url.strip():
            return url
        base = base_url(Page(base=self.base[number]), self.page_url[number] or "")
        if url.startswith("/") and not url.startswith(("//", "/\\")):
            return absolute(base, "/").rstrip("/") + url
        return absolute(base, url)

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


def _terms(page: wat.Envelope) -> PageTerms:
    return PageTerms(page.url, page.status, page.headers, page.page, crawled(page.said.about.date))
