"""What an HTML page holds that opt-out protocols read: meta elements, licence links, JSON-LD, RSL.

A scanner after the tokenizer of the WHATWG HTML standard (section 13.2.5), scripting off. The usual parsers were
tried and are not used, because none is bounded in time: lexbor (selectolax) took 90 s for 1 MB of ``<div>`` and
169 s for one tag with 200,000 attributes, and html5lib is slower still. This one is linear; a test holds it to
lexbor's answers on ordinary pages. Regular expressions over the whole page, which other tools use, take comments,
scripts and titles for elements.
"""

from __future__ import annotations

import codecs
import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_BYTES = 4 * 1024 * 1024
"""Pages are read up to here; browsers show longer ones, but nobody states terms after four megabytes."""

_SPACE = r"[\t\n\f\r ]"
_OPENING = re.compile(r"<(?:(?P<comment>!--)|(?P<close>/?)(?P<name>[A-Za-z][^\t\n\f\r />]*)|[!?]|/[^A-Za-z])")
_COMMENT_END = re.compile(r"--!?>")
_ATTRIBUTE = re.compile(
    r"[\t\n\f\r /]*+(?:(?P<end>>)|(?P<name>=?[^\t\n\f\r />=]*+)"
    rf"(?:{_SPACE}*+={_SPACE}*+"
    r"""(?:"(?P<double>[^"]*+)"|'(?P<single>[^']*+)'|(?P<open>["'])|(?P<bare>[^\t\n\f\r >]*+)))?)"""
)
_REFERENCE = re.compile(r"&(?:#[0-9]{1,8};?|#[xX][0-9A-Fa-f]{1,8};?|[A-Za-z][A-Za-z0-9]{0,31}(?:;|(?![=A-Za-z0-9])))")
_SCRIPT_MARK = re.compile(r"<!--(?!>)|-->|<(/?)script(?=[\t\n\f\r />])", re.IGNORECASE)
_RAW_END = {
    name: re.compile(rf"</{name}(?=[\t\n\f\r />])", re.IGNORECASE)
    for name in ("style", "title", "textarea", "xmp", "iframe", "noembed", "noframes")
}
# In SVG and MathML no element is raw text. These end them (section 13.2.6.5), or hold HTML in them again.
_FOREIGN = frozenset(("svg", "math"))
_HTML_AGAIN = re.compile(
    "b|big|blockquote|body|br|center|code|d[dlt]|div|em|embed|h[1-6r]|head|i|img|li|listing|menu|meta|nobr|ol|p|pre|ruby|"
    "s|small|span|strong|strike|su[bp]|table|tt|ul?|var|foreignobject|desc|m[inos]|mtext|annotation-xml"
)
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


@dataclass(frozen=True, slots=True)
class Tag:
    """One start tag: lower-case name, attributes by lower-case name (the first of equals), raw text it opens."""

    name: str
    attributes: dict[str, str]
    text: str = ""

    def get(self, name: str) -> str:
        """An attribute without surrounding white space; empty if it is not there."""
        return self.attributes.get(name, "").strip()


@dataclass(frozen=True, slots=True)
class Page:
    """A scanned page.

    Attributes:
        metas: name (lower case) and content of each ``meta`` element that has a name.
        licences: target and media type of each link with ``rel=license``.
        json_ld: text of each ``script`` of type ``application/ld+json``.
        base: target of the first ``base`` element; empty if there is none.
        rsl: text of each ``script`` of type ``application/rsl+xml``.
    """

    metas: tuple[tuple[str, str], ...] = ()
    licences: tuple[tuple[str, str], ...] = ()
    json_ld: tuple[str, ...] = ()
    base: str = ""
    rsl: tuple[str, ...] = ()


def parse(body: bytes) -> Page:
    """Scans a page. No body raises.

    Args:
        body: the page; UTF-16 if a byte order mark says so, else read as UTF-8. Other encodings of the web hold
            ASCII, and directives and URLs are ASCII.
    """
    return of_tags(tags(_decoded(body[:MAX_BYTES])))


def of_tags(found: Iterable[Tag]) -> Page:
    """What the start tags of a page hold of it."""
    metas, licences, base = [], [], ""
    scripts: dict[str, list[str]] = {"application/ld+json": [], "application/rsl+xml": []}
    for tag in found:
        if tag.name == "meta" and tag.get("name"):
            metas.append((tag.get("name").lower(), tag.get("content")))
        elif tag.name in ("a", "area", "link") and "license" in tag.get("rel").lower().split():
            licences.append((tag.get("href"), _media_type(tag)))
        elif tag.name == "script" and _media_type(tag) in scripts:
            scripts[_media_type(tag)].append(tag.text)
        elif tag.name == "base":
            base = base or tag.get("href")
    json_ld, rsl = map(tuple, scripts.values())
    return Page(tuple(metas), tuple(licences), json_ld, base, rsl)


def _media_type(tag: Tag) -> str:
    return tag.get("type").partition(";")[0].strip().lower()


def tags(text: str) -> Iterator[Tag]:
    """The start tags of a page outside comments, raw text and templates, in order.

    Elements inside ``noscript`` are found, as by a browser without scripts.
    """
    at, templates, foreign = 0, 0, 0
    while opening := _OPENING.search(text, at):
        name = (opening["name"] or "").lower()
        if not name:
            at = _after_comment(text, opening)
            continue
        attributes, at = _attributes(text, opening.end())
        if attributes is None:
            return  # the page ends inside a tag, which a parser drops
        if opening["close"]:
            templates -= name == "template" and templates > 0
            foreign -= name in _FOREIGN and foreign > 0
            continue
        templates += name == "template"
        foreign = 0 if _HTML_AGAIN.fullmatch(name) else foreign + (name in _FOREIGN and text[at - 2] != "/")
        start, (end, at) = at, (at, at) if foreign else _raw_text(name, text, at)
        if not templates:
            yield Tag(name, attributes, text[start:end])


def _after_comment(text: str, opening: re.Match[str]) -> int:
    """Where a comment ends. ``<!-->`` and ``<!--->`` are whole; an open one takes the rest of the page."""
    if opening["comment"]:
        if text.startswith(">", opening.end()) or text.startswith("->", opening.end()):
            return text.index(">", opening.end()) + 1
        end = _COMMENT_END.search(text, opening.end())
        return end.end() if end else len(text)
    end = text.find(">", opening.end() - 1)
    return end + 1 if end >= 0 else len(text)


def _attributes(text: str, at: int) -> tuple[dict[str, str] | None, int]:
    found: dict[str, str] = {}
    while match := _ATTRIBUTE.match(text, at):
        if match["end"]:
            return found, match.end()
        if match["open"] or match.end() == len(text):
            break
        at = match.end()
        value = match["double"] or match["single"] or match["bare"] or ""
        found.setdefault(match["name"].lower(), _unescaped(value))
    return None, len(text)


def _raw_text(name: str, text: str, at: int) -> tuple[int, int]:
    """Where the raw text that a tag opens ends, and where scanning goes on."""
    if name == "plaintext":
        return len(text), len(text)
    if name == "script":
        end = _script_end(text, at)
    elif name in _RAW_END:
        close = _RAW_END[name].search(text, at)
        end = close.start() if close else len(text)
    else:
        return at, at
    return end, end


def _script_end(text: str, at: int) -> int:
    """A ``</script>`` inside ``<!-- <script>`` does not end the script (states 13.2.5.15 to 31)."""
    escaped = doubly = False
    for mark in _SCRIPT_MARK.finditer(text, at):
        word = mark[0].lower()
        if word == "-->":
            escaped = doubly = False
        elif word == "<!--":
            escaped = True
        elif word == "<script":
            doubly = escaped
        elif doubly:
            doubly = False
        else:
            return mark.start()
    return len(text)


def _unescaped(value: str) -> str:
    return _REFERENCE.sub(lambda found: html.unescape(found[0]), value) if "&" in value else value


def _decoded(body: bytes) -> str:
    for mark, encoding in _BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(encoding, "replace")
    return body.decode("utf-8", "replace")
