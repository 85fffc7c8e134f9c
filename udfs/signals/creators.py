"""Who made a picture, by what stands inside the file: XMP ``dc:creator``, EXIF Artist, IPTC by-line.

For registries that list creators. Whoever strips metadata hides from this, and whoever writes it can name anybody.
"""

from __future__ import annotations

from collections.abc import Iterator

from .image_blocks import Blocks
from .tiff import ARTIST, directories
from .xmp_packet import CREATOR, properties

MAX_CREATORS = 64

_BY_LINE = b"\x1c\x02\x50"  # IPTC-IIM 2:80
_UTF_8 = b"\x1b%G"  # IPTC-IIM 1:90, the escape sequence that says so


def creators(blocks: Blocks) -> list[str]:
    """The names that a file gives, as they are written, without repetition.

    Args:
        blocks: of the file.

    Returns:
        list[str]: at most 64. A semicolon divides the artists of one EXIF field (Exif 3.0, section 4.6.6).
    """
    names: dict[str, None] = {}
    for name in _names(blocks):
        if name and len(names) < MAX_CREATORS:
            names[name] = None
    return list(names)


def _names(blocks: Blocks) -> Iterator[str]:
    found = properties(blocks)
    yield from found.get(CREATOR)
    yield from found.orphaned.get(CREATOR, ())
    for exif in blocks.exif:
        for directory in directories(exif):
            yield from (part.strip() for text in directory.texts(ARTIST) for part in text.split(";"))
    for records in blocks.iptc:
        yield from _by_lines(records)


def _by_lines(records: bytes) -> Iterator[str]:
    """The by-lines among IPTC-IIM data sets: marker, record, number, length, value."""
    encoding = "utf-8" if _UTF_8 in records[:64] else "latin-1"
    at = 0
    while records[at : at + 1] == b"\x1c" and at + 5 <= len(records):
        length = int.from_bytes(records[at + 3 : at + 5])
        if length & 0x8000:
            return  # extended data sets, which no by-line needs
        if records.startswith(_BY_LINE, at):
            yield records[at + 5 : at + 5 + length].decode(encoding, "replace").strip("\x00 ")
        at += 5 + length
