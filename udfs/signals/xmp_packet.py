"""Properties of XMP packets, whatever their prefixes, and in each of the shapes that RDF gives them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from .image_blocks import Blocks
from .safe_xml import MAX_BYTES, XmlError, parse

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
DATA_MINING = "{http://ns.useplus.org/ldf/xmp/1.0/}DataMining"
SOURCE_TYPE = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
RIGHTS = "{http://purl.org/dc/elements/1.1/}rights"
CREATOR = "{http://purl.org/dc/elements/1.1/}creator"
PROVENANCE = "{http://purl.org/dc/terms/}provenance"
WEB_STATEMENT = "{http://ns.adobe.com/xap/1.0/rights/}WebStatement"
CC_LICENSE = "{http://creativecommons.org/ns#}license"
HAS_EXTENDED = "{http://ns.adobe.com/xmp/note/}HasExtendedXMP"

_WANTED = frozenset((DATA_MINING, SOURCE_TYPE, RIGHTS, CREATOR, PROVENANCE, WEB_STATEMENT, CC_LICENSE, HAS_EXTENDED))
_OLD_NAMES = {
    "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourcefileType": SOURCE_TYPE,
    "{http://web.resource.org/cc/}license": CC_LICENSE,
}


@dataclass(slots=True)
class Properties:
    """What the packets of one file say.

    Attributes:
        values: by qualified name, in order, white space trimmed, empty ones left out.
        orphaned: the same of extended packets that no main packet of the file names: anybody can append
            one, so nothing in them permits.
        problems: what was malformed.
    """

    values: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    orphaned: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    problems: list[str] = field(default_factory=list)

    def get(self, name: str) -> list[str]:
        """The values of a property."""
        return list(self.values.get(name, ()))


@lru_cache(maxsize=4)  # four readers in turn ask for those of one file
def properties(blocks: Blocks) -> Properties:
    """The wanted properties of all packets of a file. No bytes raise; a malformed packet states nothing.

    Together the packets are read up to the length of one: a file with more would take its readers minutes.
    """
    found, read = Properties(), 0
    for packet in blocks.xmp:
        read += _collect(packet, found.values, found.problems, read)
    named = frozenset(found.values.get(HAS_EXTENDED, ()))
    for name, packet in blocks.extended_xmp.items():
        read += _collect(packet, found.values if name in named else found.orphaned, found.problems, read)
    return found


def _collect(packet: bytes, values: dict[str, list[str]], problems: list[str], read: int) -> int:
    """Adds the properties of a packet. Returns how many bytes of it were read, after ``read`` of other packets."""
    if len(packet) + read > MAX_BYTES:
        problems.append(f"malformed: a packet of {len(packet)} bytes, expected at most {MAX_BYTES} in all")
        return 0
    # Padding of NULs would be an error to expat; in UTF-16, where NULs are half of the text, it is left alone.
    text = packet if packet.startswith((b"\xff\xfe", b"\xfe\xff")) else packet.strip(b"\x00\t\n\r ")
    try:
        root = parse(text)
    except XmlError as error:
        problems.append(f"malformed: {error}")
        return len(packet)
    for name, value in _pairs(root):
        if value.strip():
            values[name].append(value.strip())
    return len(packet)


def _pairs(root: ET.Element) -> Iterator[tuple[str, str]]:
    for element in root.iter():
        for key, value in element.items():
            if (name := _OLD_NAMES.get(key, key)) in _WANTED:
                yield name, value
        if (name := _OLD_NAMES.get(element.tag, element.tag)) in _WANTED:
            yield from ((name, value) for value in _element_values(element))


def _element_values(element: ET.Element) -> Iterator[str]:
    """Text, ``rdf:resource`` or ``rdf:value`` of a property, or of the items of its array. Not deeper: a tree
    of properties inside properties would be read over and over."""
    for level in ([element], list(element), [item for child in element for item in child]):
        for node in level:
            yield node.text or ""
            yield node.get(f"{RDF}resource", "")
            yield node.get(f"{RDF}value", "")
