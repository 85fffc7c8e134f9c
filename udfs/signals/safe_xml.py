"""XML of strangers: namespaces resolved, document types refused, depth and size bounded.

expat is used as it is, with one handler more. Whatever needs a DOCTYPE (entity bombs, external entities, default
attributes) ends at the DOCTYPE, before anything is expanded. lxml would need four switches for the same.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Protocol
from xml.parsers import expat

MAX_BYTES = 8 * 1024 * 1024
MAX_ELEMENTS = 250_000
"""More than a long edit history has; each costs a hundred times its four bytes."""
MAX_DEPTH = 256
"""Deeper than any document of the formats read here; deep trees make later steps recurse."""


class XmlError(ValueError):
    """A document that is refused or not well-formed."""


def parse(data: bytes) -> ET.Element:
    """The root element; names are ``{namespace}local``, as in ElementTree.

    Raises:
        XmlError: not well-formed, a DOCTYPE, too long, too deep or of too many elements.
    """
    if len(data) > MAX_BYTES:
        raise XmlError(f"{len(data)} bytes, expected at most {MAX_BYTES}")
    tree = _Tree()
    feed(data, tree)
    return tree.builder.close()


class Handler(Protocol):
    """Takes the elements of a document in its order; names are ``{namespace}local``."""

    def start(self, name: str, attributes: dict[str, str]) -> None: ...

    def data(self, text: str) -> None: ...

    def end(self, name: str) -> None: ...


def feed(data: bytes, handler: Handler) -> None:
    """Give a document to a handler, element by element. Nothing is kept, so that a document may be of any length.

    Raises:
        XmlError: not well-formed, a DOCTYPE, too deep; or what the handler raises.
    """
    bounded = _Bounded(handler)
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    parser.StartElementHandler = bounded.start
    parser.EndElementHandler = bounded.end
    parser.CharacterDataHandler = handler.data
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise XmlError(str(error)) from error


class _Bounded:
    """Stops before elements are nested too deep."""

    def __init__(self, handler: Handler) -> None:
        self._handler, self._depth = handler, 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise XmlError(f"deeper than {MAX_DEPTH} elements")
        self._handler.start(_qualified(name), {_qualified(key): value for key, value in attributes.items()})

    def end(self, name: str) -> None:
        self._depth -= 1
        self._handler.end(_qualified(name))


class _Tree:
    """Feeds a TreeBuilder."""

    def __init__(self) -> None:
        self.builder = ET.TreeBuilder()
        self._count = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS:
            raise XmlError(f"more than {MAX_ELEMENTS} elements")
        self.builder.start(name, attributes)

    def data(self, text: str) -> None:
        self.builder.data(text)

    def end(self, name: str) -> None:
        self.builder.end(name)


def _qualified(name: str) -> str:
    return "{" + name if "}" in name else name


def _refuse_doctype(*_: object) -> None:
    raise XmlError("has a DOCTYPE, which is refused")
