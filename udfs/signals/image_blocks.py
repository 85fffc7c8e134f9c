"""The metadata blocks of a picture file, by its bytes: XMP, EXIF, IPTC.

JPEG, PNG, WebP, GIF and TIFF. Pillow is not used: it needs a file that it can decode, joins no extended XMP, and
reads XMP out of neither GIF nor compressed PNG text. Here a file that breaks off still gives every whole block
before the break.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from .tiff import directories

MAX_INFLATED_BYTES = 8 * 1024 * 1024
"""Of all compressed text of a file; more is no metadata."""

_XMP = b"http://ns.adobe.com/xap/1.0/\x00"
_EXTENDED = b"http://ns.adobe.com/xmp/extension/\x00"
_EXIF = b"Exif\x00\x00"
_PHOTOSHOP = b"Photoshop 3.0\x00"
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_XMP = b"XML:com.adobe.xmp"
_GIF_XMP = b"XMP DataXMP"
_GIF_TRAILER = b"\x01\xff\xfe\xfd"


@dataclass(slots=True, eq=False)
class Blocks:
    """What a file holds. Two are equal only if they are one, so that what is found in one can be remembered.

    Attributes:
        media_type: by the bytes; empty if it is none of the five.
        xmp: packets.
        extended_xmp: extended packets of a JPEG by the id that the main packet calls them by.
        exif: TIFF structures.
        iptc: IPTC-IIM data sets.
        c2pa: blocks that hold a C2PA manifest store, whole or not.
    """

    media_type: str = ""
    xmp: list[bytes] = field(default_factory=list)
    extended_xmp: dict[str, bytes] = field(default_factory=dict)
    exif: list[bytes] = field(default_factory=list)
    iptc: list[bytes] = field(default_factory=list)
    c2pa: list[bytes] = field(default_factory=list)

    @property
    def says_nothing(self) -> bool:
        """Whether there is no block at all in a file of a known type."""
        held = self.xmp, self.extended_xmp, self.exif, self.iptc, self.c2pa
        return bool(self.media_type) and not any(held)


def read(data: bytes) -> Blocks:
    """All blocks of a file. No bytes raise; what is malformed is passed over."""
    blocks = Blocks(media_type(data))
    match blocks.media_type:
        case "image/jpeg":
            _read_jpeg(data, blocks)
        case "image/png":
            _read_png(data, blocks)
        case "image/webp":
            _read_webp(data, blocks)
        case "image/gif":
            _read_gif(data, blocks)
        case "image/tiff":
            _read_tiff(data, blocks)
    return blocks


def media_type(data: bytes) -> str:
    """The media type by the first bytes; empty if it is none of the five."""
    if data.startswith(b"\xff\xd8"):
        return "image/jpeg"
    if data.startswith(_PNG):
        return "image/png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data.startswith((b"II*\x00", b"MM\x00*")):
        return "image/tiff"
    return ""


def _read_jpeg(data: bytes, blocks: Blocks) -> None:
    extended: dict[bytes, dict[int, bytes]] = {}
    photoshop: list[bytes] = []
    jumbf: dict[bytes, list[bytes]] = {}
    for marker, segment in _segments(data):
        if marker == 0xE1 and segment.startswith(_XMP):
            blocks.xmp.append(segment[len(_XMP) :])
        elif marker == 0xE1 and segment.startswith(_EXTENDED) and len(segment) > len(_EXTENDED) + 40:
            head = segment[len(_EXTENDED) :][:40]
            pieces = extended.setdefault(head[:32], {})
            pieces.setdefault(int.from_bytes(head[36:40]), segment[len(_EXTENDED) + 40 :])
        elif marker == 0xE1 and segment.startswith(_EXIF):
            blocks.exif.append(segment[len(_EXIF) :])
        elif marker == 0xED and segment.startswith(_PHOTOSHOP):
            photoshop.append(segment[len(_PHOTOSHOP) :])
        elif marker == 0xEB and segment.startswith(b"JP"):
            # Box instance, packet number, and then the box, whose head every later packet repeats.
            parts = jumbf.setdefault(segment[2:4], [])
            parts.append(segment[16:] if parts else segment[8:])
    for name, pieces in extended.items():
        blocks.extended_xmp[name.decode("ascii", "replace")] = b"".join(pieces[offset] for offset in sorted(pieces))
    blocks.iptc.extend(_photoshop_iptc(b"".join(photoshop)))
    blocks.c2pa.extend(b"".join(parts) for parts in jumbf.values())


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of each segment before the picture; the last one may be cut short."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in (0xD8, 0x01) or 0xD0 <= marker <= 0xD7:  # no content
            at += 2
            continue
        if marker in (0xDA, 0xD9):
            return
        length = int.from_bytes(data[at + 2 : at + 4])
        if length < 2:
            return
        yield marker, data[at + 4 : at + 2 + length]
        at += 2 + length


def _photoshop_iptc(resources: bytes) -> Iterator[bytes]:
    """IPTC-IIM among Photoshop image resources (number 0x0404)."""
    at = 0
    while resources[at : at + 4] == b"8BIM" and at + 12 <= len(resources):
        number = int.from_bytes(resources[at + 4 : at + 6])
        name = resources[at + 6] + 1
        start = at + 6 + name + name % 2
        size = int.from_bytes(resources[start : start + 4])
        if number == 0x0404:
            yield resources[start + 4 : start + 4 + size]
        at = start + 4 + size + size % 2


def _read_png(data: bytes, blocks: Blocks) -> None:
    at, left = len(_PNG), MAX_INFLATED_BYTES
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4])
        kind, chunk = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        if kind in (b"iTXt", b"tEXt", b"zTXt") and chunk.startswith(_PNG_XMP + b"\x00"):
            text, compressed = _png_text(kind, chunk[len(_PNG_XMP) + 1 :])
            packet = _inflated(text, left) if compressed else text
            left -= len(packet) if compressed else 0
            blocks.xmp.append(packet)
        elif kind == b"eXIf":
            blocks.exif.append(chunk)
        elif kind == b"caBX":
            blocks.c2pa.append(chunk)
        at += 12 + length


def _png_text(kind: bytes, rest: bytes) -> tuple[bytes, bool]:
    """The text of a text chunk after its keyword, and whether it is compressed (PNG, third edition, section 11.3.3)."""
    if kind == b"tEXt":
        return rest, False
    if kind == b"zTXt":
        return rest[1:], True
    # After language and translated keyword.
    return rest[2:].partition(b"\x00")[2].partition(b"\x00")[2], rest[:1] == b"\x01"


def _inflated(data: bytes, limit: int) -> bytes:
    if limit <= 0:
        return b""  # to zlib, zero is no limit
    try:
        return zlib.decompressobj().decompress(data, limit)
    except zlib.error:
        return b""


def _read_webp(data: bytes, blocks: Blocks) -> None:
    at = 12
    while at + 8 <= len(data):
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        chunk = data[at + 8 : at + 8 + length]
        if kind in (b"XMP ", b"XMP\x00"):
            blocks.xmp.append(chunk)
        elif kind == b"EXIF":
            blocks.exif.append(chunk.removeprefix(_EXIF))
        elif kind == b"C2PA":
            blocks.c2pa.append(chunk)
        at += 8 + length + length % 2


def _read_gif(data: bytes, blocks: Blocks) -> None:
    if len(data) < 13:
        return
    at = 13 + (3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    last_trailer = data.rfind(_GIF_TRAILER)
    while at + 2 <= len(data):
        if data[at] == 0x2C:  # image: descriptor, colour table, code size, data
            packed = data[at + 9] if at + 9 < len(data) else 0
            at += 11 + (3 << ((packed & 7) + 1) if packed & 0x80 else 0)
        elif data[at] == 0x21:
            at += 2
            if data[at : at + 9] == b"\x0bC2PA_GIF":
                blocks.c2pa.append(_gif_sub_blocks(data, at + 12))
            if data[at : at + 12] == b"\x0b" + _GIF_XMP:
                packet, at = _gif_packet(data, at + 12, last_trailer)
                blocks.xmp.append(packet)
        else:
            return
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1


def _gif_sub_blocks(data: bytes, at: int) -> bytes:
    parts = []
    while at < len(data) and data[at]:
        parts.append(data[at + 1 : at + 1 + data[at]])
        at += data[at] + 1
    return b"".join(parts)


def _gif_packet(data: bytes, start: int, last_trailer: int) -> tuple[bytes, int]:
    """A packet, and where the sub-blocks go on.

    XMP stands in a GIF as it is, not in sub-blocks, with a 258-byte trailer that leads any reader to the end. Where
    the trailer is missing, the text ends at the first NUL.
    """
    if start <= last_trailer:
        end = data.find(_GIF_TRAILER, start)
        return data[start:end], end
    end = data.find(b"\x00", start)
    return data[start : end if end >= 0 else len(data)], start


def _read_tiff(data: bytes, blocks: Blocks) -> None:
    blocks.exif.append(data)
    left = len(data)  # values of a sound file do not overlap
    for directory in directories(data):
        for tag, found in ((700, blocks.xmp), (33723, blocks.iptc), (52545, blocks.c2pa)):
            values = directory.raw(tag)
            left -= sum(map(len, values))
            if left < 0:
                return
            found.extend(values)
