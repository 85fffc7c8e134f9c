"""Directories of a TIFF structure, which is also what EXIF is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

ARTIST, COPYRIGHT = 315, 33432

MAX_DIRECTORIES = 16  # each may name the whole file as its metadata
MAX_ENTRIES = 4_096
MAX_TEXT = 64 * 1024

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}


@dataclass(frozen=True, slots=True)
class Directory:
    """One image file directory: tag, start and length of each value, in file order."""

    data: bytes
    entries: tuple[tuple[int, int, int], ...]

    def raw(self, tag: int) -> list[bytes]:
        """The value of a tag as it stands in the file: one, or none. A tag may stand in a directory once."""
        found = ((start, length) for entry, start, length in self.entries if entry == tag and length)
        return [self.data[start : start + length] for start, length in islice(found, 1)]

    def texts(self, tag: int) -> list[str]:
        """The value of a tag as text: UTF-8 or else Latin-1, cut into its NUL-separated parts."""
        return [text for value in self.raw(tag) for part in value[:MAX_TEXT].split(b"\x00") if (text := _text(part))]


def directories(data: bytes) -> Iterator[Directory]:
    """The directories of the main chain. No bytes raise; a loop ends it."""
    order = {b"II": "little", b"MM": "big"}.get(data[:2])
    if order is None:
        return
    at = _number(data, 4, 4, order)
    seen: set[int] = set()
    while at and at not in seen and len(seen) < MAX_DIRECTORIES:
        seen.add(at)
        count = min(_number(data, at, 2, order), MAX_ENTRIES)
        places = range(at + 2, min(at + 2 + 12 * count, len(data) - 11), 12)
        yield Directory(data, tuple(_entry(data, place, order) for place in places))
        at = _number(data, at + 2 + 12 * count, 4, order)


def _entry(data: bytes, at: int, order: str) -> tuple[int, int, int]:
    tag, kind, count = (_number(data, at + skip, size, order) for skip, size in ((0, 2), (2, 2), (4, 4)))
    length = _SIZES.get(kind, 0) * count
    return tag, at + 8 if length <= 4 else _number(data, at + 8, 4, order), length


def _number(data: bytes, at: int, size: int, order: str) -> int:
    return int.from_bytes(data[at : at + size], "little" if order == "little" else "big")


def _text(part: bytes) -> str:
    try:
        return part.decode("utf-8").strip()
    except UnicodeDecodeError:
        return part.decode("latin-1").strip()
