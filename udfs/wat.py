"""WAT: what Common Crawl keeps of each page, as JSON: headers, head, links.

Format: https://github.com/commoncrawl/ia-web-commons (``ExtractingParseObserver``: of ``img`` it keeps ``src``,
``alt`` and ``title``, of ``html`` its language as a meta element ``HTML@/lang``, and no JSON-LD).

What is read of a record stands below as types, which msgspec fills straight from its bytes. Links are nearly all of a record,
and most show no picture, so ``_links.c`` takes them out first where they are written as Common Crawl writes them. A record
that is not of these types (a number for a text, NaN, half a surrogate pair, bytes that are no UTF-8, no JSON at all) is read
anew by ``json``, and of it what fits. Tests hold the three to each other. They differ in whole numbers of over 4,300 digits,
which Python refuses to convert, and which msgspec passes over.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Container
from functools import cache
from typing import Any, NamedTuple, get_args, get_origin

import numpy as np
from msgspec import MsgspecError, Struct, field
from msgspec.json import Decoder
from msgspec.structs import fields

from .compiled import links as compiled
from .pages import MAX_IMAGES
from .signals.html_page import Page

_SIGN = b"IMG@"
_PICTURE = "IMG@/src"
_TAKEN = secrets.token_hex(
    8
)  # path of a link that stands for those that `_links.c` has taken out, and that no record can know
_MARK = b'{"path":"%b"}' % _TAKEN.encode()
LANGUAGE = frozenset({"html@/lang", "html@/xml:lang"})
"""Names of the meta elements that state the language of a page."""


class Link(Struct, gc=False):
    """An element that leads elsewhere: which, where to, and what it says of that."""

    path: str = ""
    url: str = ""
    alt: str = ""
    rel: str = ""
    type: str = ""


class Meta(Struct, gc=False):
    """A ``meta`` element."""

    name: str = ""
    content: str = ""


class Head(Struct, gc=False):
    """The ``head`` of a page."""

    title: str = field(default="", name="Title")
    base: str = field(default="", name="Base")
    metas: list[Meta] = field(default_factory=list, name="Metas")
    links: list[Link] = field(default_factory=list, name="Link")


class Html(Struct, gc=False):
    """A page."""

    head: Head = field(default_factory=Head, name="Head")
    links: list[Link] = field(default_factory=list, name="Links")


class Message(Struct, gc=False):
    """The first line of a response."""

    status: str = field(default="", name="Status")


class Http(Struct, gc=False):
    """A response: its lines, of which each name has one value or several, and its page."""

    message: Message = field(default_factory=Message, name="Response-Message")
    headers: dict[str, str | list[str]] = field(default_factory=dict, name="Headers")
    html: Html = field(default_factory=Html, name="HTML-Metadata")


class Payload(Struct, gc=False):
    """What a record is about."""

    response: Http = field(default_factory=Http, name="HTTP-Response-Metadata")


class About(Struct, gc=False):
    """The record of the WARC file from which this one was made."""

    uri: str = field(default="", name="WARC-Target-URI")
    date: str = field(default="", name="WARC-Date")
    truncated: str = field(default="", name="WARC-Truncated")


class Said(Struct, gc=False):
    """An envelope."""

    about: About = field(default_factory=About, name="WARC-Header-Metadata")
    payload: Payload = field(default_factory=Payload, name="Payload-Metadata")


class Document(Struct, gc=False):
    """A record."""

    said: Said = field(default_factory=Said, name="Envelope")


_decode = Decoder(Document).decode


class Pictures(NamedTuple):
    """Those of a page, the first 10,000, as columns that need no objects in between.

    Attributes:
        count: how many the page shows.
        urls, captions: in UTF-8, one after the other.
        url_bytes, caption_bytes: the size of each, int32.
    """

    count: int
    urls: bytes
    url_bytes: bytes
    captions: bytes
    caption_bytes: bytes

    @property
    def rows(self) -> int:
        """How many of them are here."""
        return len(self.url_bytes) // 4

    @classmethod
    def of(cls, links: list[Link]) -> Pictures:
        """Those to which links lead."""
        shown = links[:MAX_IMAGES]
        return cls(len(links), *_column([link.url for link in shown]), *_column([link.alt for link in shown]))


def _column(texts: list[str]) -> tuple[bytes, bytes]:
    """Texts in UTF-8, half a surrogate pair replaced, and the size of each."""
    encoded = [text.encode("utf-8", "replace") for text in texts]
    return b"".join(encoded), np.array([len(text) for text in encoded], np.int32).tobytes()


class Envelope(NamedTuple):
    """One page that shows pictures.

    Attributes:
        url: of the page; empty if the record does not say.
        title, base: as the page states them; likewise.
        date: when the response was crawled; likewise.
        cut: whether the archive has a part of the page alone.
        metas: its meta elements.
        pictures: what it shows.
        licences: links with ``rel=license``.
        response: what the record says of it.
    """

    url: str
    title: str
    base: str
    date: str
    cut: bool
    metas: list[Meta]
    pictures: Pictures
    licences: list[Link]
    response: Http

    def metas_of(self, names: Container[str]) -> tuple[tuple[str, str], ...]:
        """Name, in lower case, and content of the meta elements of some names."""
        return tuple([(name, meta.content) for meta in self.metas if (name := meta.name.strip().lower()) in names])

    @property
    def status(self) -> int:
        """Of the response; 0 if the record does not say."""
        text = self.response.message.status
        return int(text) if len(text) == 3 and text.isascii() and text.isdigit() else 0

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Name and value of each line of the response, repeats kept."""
        given = self.response.headers.items()
        return [(name.strip(), value) for name, values in given for value in _listed(values)]

    def page(self, names: Container[str]) -> Page:
        """Its HTML, as far as the record tells of it, with the meta elements of some names."""
        licences = tuple((link.url, link.type.partition(";")[0].strip().lower()) for link in self.licences)
        return Page(self.metas_of(names), licences, (), self.base)


def envelope(content: bytes) -> Envelope | None:
    """The page of one WAT record, if it shows pictures. Returns None if it shows none.

    Raises:
        ValueError: it shows pictures and cannot be read. Nothing else is raised, whatever the content.
    """
    try:
        usual = _usual(content)
        if usual is not None:
            return page_of(*usual)
        if _SIGN in content:
            return page_of(_decode(content).said)
    except (MsgspecError, ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        if _SIGN in content:
            return page_of(tolerant(content))
    return None  # requests, records of the crawl itself, pages without pictures


def _usual(content: bytes) -> tuple[Said, Pictures] | None:
    """A record without its pictures, and these; None if it is not written as usual."""
    if compiled is None or (taken := compiled.pictures(content, MAX_IMAGES, _MARK)) is None:
        return None
    said = _decode(taken[0]).said
    links = said.payload.response.html.links
    if not links or links[0].path != _TAKEN:
        return None  # they were not the page's
    return said, Pictures._make(taken[1:])


def tolerant(content: bytes) -> Said:
    """What fits of JSON of any kind; texts that are whole numbers do.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        return _filled(Document, json.loads(content.decode("utf-8", "replace"), strict=False)).said
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _filled(kind: Any, value: Any) -> Any:
    if kind is str:
        return value if type(value) is str else str(value) if type(value) is int else ""
    if get_origin(kind) is list:
        (item,) = get_args(kind)
        if item is Meta and not _is_list_of_texts(value):
            raise ValueError("meta elements that cannot be read may have said something")
        return [_filled(item, one) for one in value if isinstance(one, dict)] if isinstance(value, list) else []
    given = value if isinstance(value, dict) else {}
    if get_origin(kind) is dict:
        if not _is_of_texts(value):
            raise ValueError("headers that cannot be read may have said something")
        return {name: [_filled(str, one) for one in _listed(values)] for name, values in given.items()}
    return kind(**{name: _filled(of, given.get(key)) for name, key, of in _fields(kind)})


def _is_of_texts(value: Any) -> bool:
    """Whether names have texts or numbers, one or several, or there is nothing."""
    texts = [text for texts in value.values() for text in _listed(texts)] if isinstance(value, dict) else [value]
    return all(text is None or type(text) in (str, int) for text in texts)


def _is_list_of_texts(value: Any) -> bool:
    """The same of meta elements, of which names and contents count."""
    if not isinstance(value, list):
        return value is None
    return all(
        isinstance(one, dict) and _is_of_texts({key: one.get(key) for key in ("name", "content")}) for one in value
    )


@cache
def _fields(kind: type[Struct]) -> list[tuple[str, str, Any]]:
    """Of each field its name, its key in JSON and its type."""
    return [(found.name, found.encode_name, found.type) for found in fields(kind)]


def page_of(said: Said, pictures: Pictures | None = None) -> Envelope | None:
    """The page of a record; None if it shows no pictures. ``said`` no longer holds its links then.

    Args: pictures: if they are no longer among its links.
    """
    about, response = said.about, said.payload.response
    links, head = response.html.links, response.html.head
    response.html.links = []  # pages wait to be a batch, and all their links need not
    if pictures is None:
        pictures = Pictures.of([link for link in links if link.path == _PICTURE])
    if not pictures.count:
        return None
    licences = [link for link in links + head.links if link.rel and "license" in link.rel.lower().split()]
    cut = about.truncated != ""
    return Envelope(about.uri, head.title, head.base, about.date, cut, head.metas, pictures, licences, response)


def _listed(value: Any) -> list:
    return value if isinstance(value, list) else [value]
