"""Looks a C2PA manifest store over before a library reads it (JUMBF, ISO 19566-5; CBOR, RFC 8949).

c2pa-python (0.38) believes the length that a CBOR string claims and allocates it: five bytes cost four gigabytes
and seconds. So every length is first held against the bytes that are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

MAX_BOXES = 20_000
MAX_DEPTH = 32
MAX_ITEMS = 500_000
"""CBOR items of one file; the thumbnails of a manifest are no items."""

STORE = b"jumb\x00\x00\x00"
"""What stands after the length of a superbox whose description box comes first, as it has to."""

_SUPERBOX, _CBOR, _COMPRESSED = b"jumb", b"cbor", b"brob"
_BYTES, _TEXT, _ARRAY, _MAP = 2, 3, 4, 5
_WIDTHS = {24: 1, 25: 2, 26: 4, 27: 8}
_INDEFINITE = 31


def problem(stores: Iterable[bytes]) -> str:
    """What makes the manifest stores of a file unfit to be handed on; empty if nothing does.

    Args:
        stores: the boxes of each as they stand in the file, segments joined. They may lie inside each other.
    """
    try:
        items = 0
        for store in stores:
            for kind, start, end in _boxes(store):
                if kind == _COMPRESSED:
                    return "a compressed manifest, whose size is not known beforehand"
                if kind == _CBOR:
                    items = _check_cbor(store, start, end, items)
    except ValueError as error:
        return str(error)
    return ""


def stores(data: bytes) -> Iterator[bytes]:
    """The manifest stores in a file whose container keeps them in one piece, wherever they stand."""
    at = data.find(STORE)
    while at >= 0:
        start = at - 4
        if start >= 0 and data[at + 8 : at + 16] == b"jumdc2pa":
            yield data[start : start + int.from_bytes(data[start:at])]
        at = data.find(STORE, at + 1)


def _boxes(store: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of the content of each box, inner boxes included."""
    todo, seen = [(0, len(store), 0)], 0
    while todo:
        at, end, depth = todo.pop()
        while at < end:
            size, head = int.from_bytes(store[at : at + 4]), 8
            kind = store[at + 4 : at + 8]
            if size == 1:
                size, head = int.from_bytes(store[at + 8 : at + 16]), 16
            elif size == 0:
                size = end - at
            seen += 1
            if size < head or at + size > end or seen > MAX_BOXES or depth > MAX_DEPTH:
                raise ValueError(f"malformed: a box of {size} bytes at {at}")
            yield kind, at + head, at + size
            if kind == _SUPERBOX:
                todo.append((at + head, at + size, depth + 1))
            at += size


def _check_cbor(data: bytes, at: int, end: int, items: int) -> int:
    """Walks the heads of all items of a box; returns how many there were, on top of ``items``."""
    while at < end:
        major, low = data[at] >> 5, data[at] & 31
        width = _WIDTHS.get(low, 0)
        value = int.from_bytes(data[at + 1 : at + 1 + width]) if width else low
        start, at = at, at + 1 + width
        if major in (_BYTES, _TEXT) and low != _INDEFINITE:
            at += value
        elif major in (_ARRAY, _MAP) and low != _INDEFINITE and value > end - at:
            raise ValueError(f"malformed: a list of {value} items at {start}")
        items += 1
        if at > end or items > MAX_ITEMS:
            raise ValueError(f"malformed: an item of {at - start} bytes at {start}")
    return items
