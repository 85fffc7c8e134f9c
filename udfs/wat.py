"""WAT: what Common Crawl keeps of each page, as JSON: headers, head, links.

Format: https://github.com/commoncrawl/ia-web-commons (``ExtractingParseObserver``: of ``img`` it keeps ``src``,
``alt`` and ``title``, of ``html`` its language as a meta element ``HTML@/lang``, and no JSON-LD).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .signals.html_page import Page

_PICTURE = "IMG@/src"


@dataclass(frozen=True, slots=True)
class Envelope:
    """One page.

    Attributes:
        url, date, status: of the response that was crawled; empty or 0 where the envelope does not say.
        headers: name and value, repeats kept.
        page: meta elements, licence links and base, as of an HTML page.
        title, language: as the page states them; empty if it does not.
        pictures: URL as written and alternative text of each, empty if it has none.
    """

    url: str
    date: str
    status: int
    headers: tuple[tuple[str, str], ...]
    page: Page
    title: str
    language: str
    pictures: list[tuple[str, str]]


def envelope(content: bytes) -> Envelope | None:
    """The page of one WAT record, if it shows pictures. Returns None if it shows none.

    Raises:
        ValueError: it shows pictures and cannot be read. Nothing else is raised, whatever the content.
    """
    if b"IMG@" not in content:  # requests, records of the crawl itself, pages without pictures: most of a file
        return None
    try:
        document = json.loads(content.decode("utf-8", "replace"), strict=False)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    said = _at(document, "Envelope")
    response = _at(said, "Payload-Metadata", "HTTP-Response-Metadata")
    page = _at(response, "HTML-Metadata")
    links = _objects(page.get("Links"))
    found = [link for link in links if link.get("path") == _PICTURE]
    if not found:
        return None
    about, head = _at(said, "WARC-Header-Metadata"), _at(page, "Head")
    metas = tuple((name, _text(meta.get("content"))) for meta in _objects(head.get("Metas")) if (name := _name(meta)))
    return Envelope(
        _text(about.get("WARC-Target-URI")),
        _text(about.get("WARC-Date")),
        _status(_text(_at(response, "Response-Message").get("Status"))),
        tuple(_headers(_at(response, "Headers"))),
        Page(metas, tuple(_licences(links, head)) if b"license" in content else (), (), _text(head.get("Base"))),
        _text(head.get("Title")),
        next((text for name, text in metas if name in ("html@/lang", "html@/xml:lang")), ""),
        [(_text(link.get("url")), _text(link.get("alt"))) for link in found],
    )


def _at(value: Any, *names: str) -> dict:
    """What lies at a path of an object; an empty object where there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[dict]:
    if not isinstance(value, list):
        return []
    return value if set(map(type, value)) == {dict} else [item for item in value if isinstance(item, dict)]


def _text(value: object) -> str:
    return value if type(value) is str else str(value) if type(value) is int else ""


def _name(meta: dict) -> str:
    return _text(meta.get("name")).strip().lower()


def _status(text: str) -> int:
    return int(text) if len(text) == 3 and text.isascii() and text.isdigit() else 0


def _headers(found: dict) -> Iterator[tuple[str, str]]:
    for name, value in found.items():
        for one in value if isinstance(value, list) else [value]:
            yield name, _text(one)


def _licences(links: list[dict], head: dict) -> Iterator[tuple[str, str]]:
    """Target and media type of each link with ``rel=license``."""
    for link in (*links, *_objects(head.get("Link"))):
        if "rel" in link and "license" in _text(link["rel"]).lower().split():
            yield _text(link.get("url")), _text(link.get("type")).partition(";")[0].lower()
