"""WARC and WAT files for tests, written byte by byte: not by the library that reads them."""

from __future__ import annotations

import gzip
import json
from typing import Any

URI = "https://a.example/p/page.html"
DATE = "2026-01-02T03:04:05Z"


def record(kind: str, block: bytes, uri: str = URI, length: object = None, date: str = DATE) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {uri}\r\nWARC-Date: {date}\r\n"
        f"WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000000>\r\n"
        f"Content-Length: {len(block) if length is None else length}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def html(body: str | bytes, *headers: str, uri: str = URI, status: str = "200 OK", media: str = "text/html") -> bytes:
    """A response record of a page."""
    lines = "".join(f"{line}\r\n" for line in (f"Content-Type: {media}", *headers) if line)
    data = body if isinstance(body, bytes) else body.encode()
    return record("response", f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + data, uri)


def page(*images: str, head: str = "") -> str:
    """A page with some pictures, each by its URL and captioned with five words."""
    shown = "".join(f'<img src="{url}" alt="words about {url} are here">' for url in images)
    return f"<!doctype html><html lang=en><head><title>A page</title>{head}</head><body>{shown}</body></html>"


def wat(
    links: list[dict] | None = None, metas: list[dict] | None = None, uri: str = URI, base: str | None = None,
    headers: dict[str, Any] | None = None, title: str = "A page", **other: Any,
) -> bytes:  # fmt: skip
    """A metadata record about a page, as Common Crawl writes them."""
    head: dict[str, Any] = {"Title": title, "Metas": metas or []}
    head |= {"Base": base} if base else {}
    response = {
        "Response-Message": {"Version": "HTTP/1.1", "Status": "200", "Reason": "OK"},
        "Headers": {"Content-Type": "text/html", **(headers or {})},
        "HTML-Metadata": {"Head": head, "Links": links or []},
    }
    envelope = {
        "Format": "WARC",
        "WARC-Header-Metadata": {"WARC-Type": "response", "WARC-Date": DATE, "WARC-Target-URI": uri},
        "Payload-Metadata": {"HTTP-Response-Metadata": response, **other},
    }
    document = {"Container": {"Filename": "x.warc.gz"}, "Envelope": envelope}
    return record("metadata", json.dumps(document, separators=(",", ":")).encode(), uri)


def picture(url: str, alt: str | None = "some words about it") -> dict:
    """A link of a WAT record."""
    return {"path": "IMG@/src", "url": url} | ({} if alt is None else {"alt": alt})


def packed(*records: bytes) -> bytes:
    """A .gz file, one member a record."""
    return b"".join(gzip.compress(one, mtime=0) for one in records)
