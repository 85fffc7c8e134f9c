"""XML of strangers: namespaces resolved, document types refused, depth and size bounded.

expat is used as it is, with one handler more. Whatever needs a DOCTYPE (entity bombs, external entities, default
attributes) ends at the DOCTYPE, before anything is expanded. lxml would need four switches for the same.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
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
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    parser.StartElementHandler = tree.start
    parser.EndElementHandler = tree.end
    parser.CharacterDataHandler = tree.builder.data
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(data, True)
        return tree.builder.close()
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise XmlError(str(error)) from error


class _Tree:
    """Feeds a TreeBuilder."""

    def __init__(self) -> None:
        self.builder = ET.TreeBuilder()
        self._depth = self._count = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._count += 1
        if self._depth > MAX_DEPTH:
            raise XmlError(f"deeper than {MAX_DEPTH} elements")
        if self._count > MAX_ELEMENTS:
            raise XmlError(f"more than {MAX_ELEMENTS} elements")
        self.builder.start(_qualified(name), {_qualified(key): value for key, value in attributes.items()})

    def end(self, name: str) -> None:
        self._depth -= 1
        self.builder.end(_qualified(name))


def _qualified(name: str) -> str:
    return "{" + name if "}" in name else name


def _refuse_doctype(*_: object) -> None:
    raise XmlError("has a DOCTYPE, which is refused")
