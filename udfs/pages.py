"""The pictures that an HTML page shows, with their captions, and what the page says of itself and of them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .signals.html_page import MAX_BYTES, Page, Tag, of_tags, tags
from .signals.image_object import ImageObject, absolute, by_key
from .signals.licence import base_url
from .urls import canonical_key

MAX_IMAGES = 10_000
"""Pictures of a page that are read; who shows more shows a list."""

MAX_URL_CHARS = 8_192
MAX_TITLE_CHARS = 1_000
MAX_LANGUAGE_CHARS = 100
MAX_DESCRIBED_CHARS = 10_000
"""What is kept of texts that a page states once and each of its pictures repeats, so that no page fills memory."""

# Where scripts that load pictures late keep what they will put into ``src``.
_LATE = ("data-src", "data-original", "data-lazy-src", "data-lazy")
_SETS = ("data-srcset", "data-lazy-srcset", "srcset")
_COMMA = re.compile(r",(?=\s)|(?<=\d[wx]),")  # others belong to URLs
_SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)[wx]")
_NO_PICTURE = re.compile(r"\s*(?:$|#|data:|about:|javascript:)", re.IGNORECASE)

NOTHING = ImageObject()


@dataclass(frozen=True, slots=True)
class Image:
    """One ``img`` element.

    Attributes:
        url: absolute; as written where it cannot be.
        caption: its alternative text, or else the ``caption`` of its ImageObject; empty if there is neither.
        described: what an ImageObject of the page says about this very picture.
    """

    url: str
    caption: str
    described: ImageObject


@dataclass(frozen=True, slots=True)
class Shown:
    """A page as a source of pairs.

    Attributes:
        page: meta elements, licence links, JSON-LD.
        title, language: as the page states them; empty if it does not.
        images: in order.
        cut: whether there is more of the page than is read.
        more: whether it shows more pictures than are read.
    """

    page: Page = field(default_factory=Page)
    title: str = ""
    language: str = ""
    images: tuple[Image, ...] = ()
    cut: bool = False
    more: bool = False


def read(text: str, url: str) -> Shown:
    """Reads a page. No text raises.

    Args:
        text: the page; characters beyond ``html_page.MAX_BYTES`` are not looked at.
        url: where it was found; relative references start there, or at its ``base`` element.
    """
    seen = _Seen()
    page = of_tags(seen.passing(tags(text[:MAX_BYTES])))
    base = base_url(page, url)
    described = by_key(page.json_ld, base)
    images = tuple(_image(source, alt, base, described) for source, alt in seen.images[:MAX_IMAGES])
    cut, more = len(text) > MAX_BYTES, len(seen.images) > MAX_IMAGES
    return Shown(page, *stated(seen.title, seen.language), images, cut, more)


def stated(title: str, language: str) -> tuple[str, str]:
    """Title and language of a page, the title up to 1,000 characters. No tag of a language has over 100 (RFC 5646, 4.4)."""
    return title[:MAX_TITLE_CHARS], language if len(language) <= MAX_LANGUAGE_CHARS else ""


@dataclass
class _Seen:
    """What passes by in the one scan of a page that its terms are not read from."""

    title: str = ""
    language: str = ""
    images: list[tuple[str, str]] = field(default_factory=list)

    def passing(self, found: Iterable[Tag]) -> Iterator[Tag]:
        for tag in found:
            if tag.name == "img" and len(self.images) <= MAX_IMAGES:
                self.images.append((source_of(tag), tag.get("alt")))
            elif tag.name == "title" and not self.title:
                self.title = html.unescape(tag.text).strip()
            elif tag.name == "html" and not self.language:
                self.language = tag.get("lang") or tag.get("xml:lang")
            yield tag


def source_of(tag: Tag) -> str:
    """Where the picture of an ``img`` element lies, as written; empty if it does not say.

    What a script will load late comes first, for then ``src`` holds a stand-in; then ``src``; then the largest
    candidate of ``srcset``.
    """
    for text in (*(tag.get(name) for name in _LATE), tag.get("src"), *(largest(tag.get(name)) for name in _SETS)):
        if not _NO_PICTURE.match(text):
            return text
    return tag.get("src")


def largest(srcset: str) -> str:
    """The URL of the candidate with the greatest width or density; the first of equals.

    Source: WHATWG HTML, section 4.8.4.3.10.
    """
    best, most = "", -1.0
    for candidate in _COMMA.split(srcset):
        words = candidate.split()
        size = next(filter(None, map(_SIZE.fullmatch, words[1:])), None)
        if words and (found := float(size[1]) if size else 1.0) > most:
            best, most = words[0].strip(","), found
    return best


def _image(source: str, alt: str, base: str, described: dict[str, ImageObject]) -> Image:
    url = absolute(base, source) if source else ""
    about = described.get(canonical_key(url) or "", NOTHING) if described else NOTHING
    return Image(url, alt or about.caption[:MAX_DESCRIBED_CHARS], about)
