"""Records of WARC files, plain or gzip, read one by one: a damaged record costs itself, not the file.

FastWARC finds records and unpacks them. It stops for good at the first byte that is wrong, so reading begins again at
the next place where a record may begin: a gzip member, since every record is one of its own (WARC 1.1, annex D), or
``WARC/1`` in a file that is not packed.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..schemas.errors import MissingExtra
from ._files import file_system
from ._progress import log

_GZIP = re.compile(rb"\x1f\x8b\x08[\x00-\x1f]")
_PLAIN = re.compile(rb"WARC/1\.[01]\r?\n")
_TOKEN, _LENGTH = re.compile(r"[A-Za-z0-9_-]+"), re.compile(r"[0-9]{1,30}")
_LONGEST_MARK = 10
_BLOCK_BYTES = 1 << 20
_TRIES = 1_000
"""Places in a row where no record begins, after which the rest of a file is given up: a whole file has none."""

TYPES = ("warcinfo", "response", "resource", "request", "metadata", "revisit", "conversion", "continuation")

# A record whose stated length is too large goes on into the next one.
_NEXT_RECORD = b"\r\n\r\nWARC/1."


class Record(NamedTuple):
    """One record, or with ``kind`` empty the place of one that cannot be read.

    Attributes:
        kind: its type, such as ``response``.
        found: as FastWARC has it.
        content: its block, up to the bytes asked for.
        cut: whether the block is longer.
    """

    kind: str = ""
    found: Any = None
    content: bytes = b""
    cut: bool = False

    @property
    def uri(self) -> str:
        """Its ``WARC-Target-URI``; empty if it has none."""
        return self.found.headers.get("WARC-Target-URI") or ""

    @property
    def date(self) -> str:
        """Its ``WARC-Date``; likewise."""
        return self.found.headers.get("WARC-Date") or ""

    @property
    def truncated(self) -> bool:
        """Whether who wrote it says that there was more."""
        return bool(self.found.headers.get("WARC-Truncated"))


DAMAGED = Record()


class _File:
    """A file as FastWARC reads it. Its reader turns every error into one of the format; this keeps the real one."""

    def __init__(self, file: Any):
        self._file = file
        self.error: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            return self._file.read(size)
        except Exception as error:  # of a remote file system, it may be of any class
            self.error = error
            raise

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        """It is closed by whoever opened it."""


def records(path: str, kinds: tuple[str, ...], max_bytes: int) -> Iterator[Record]:
    """The records of some types, in order, and ``DAMAGED`` for what cannot be read.

    Args:
        path: of a WARC file, on any file system.
        kinds: types to give, in lower case.
        max_bytes: what is read of a block at most.

    Raises:
        OSError: the file cannot be read, as opposed to unpacked.
        MissingExtra: fastwarc is not installed.
    """
    fs, plain = file_system(path)
    with fs.open(plain, "rb") as opened:
        file = _File(opened)
        mark = _GZIP if file.read(2) == b"\x1f\x8b" else _PLAIN
        start: int | None = 0
        tries, ended, told = 0, False, False
        while start is not None and tries < _TRIES:
            run = _Run(start)
            for record in _whole(file, run, kinds, max_bytes):
                tries, ended, told = 0, False, False
                yield record
            if run.ended and mark is _PLAIN:
                return
            # The reader sees an end in an empty member, and in one that ends within the head of its record. What is wrong up
            # to the next record is one record.
            cut = run.ended and not run.read and start > 0 and not _is_empty(file, start)
            if not told and (cut or not (run.ended or ended)):
                told = True
                yield DAMAGED
            ended, tries = ended or run.ended, tries + 1
            start = _find(file, mark, run.place + 1)
    if tries == _TRIES:
        log.warning("%s: no record in %d places; not read beyond byte %d", path, tries, start)


@dataclass
class _Run:
    """Records that follow each other without a fault: where the last of them begins, and whether the file ends there.

    ``read``: whether there is any.
    """

    place: int
    ended: bool = False
    read: bool = False


def _whole(file: _File, run: _Run, kinds: tuple[str, ...], max_bytes: int) -> Iterator[Record]:
    """Records from a place on, up to a damaged one or the end."""
    warc = _fastwarc()
    types = {int(getattr(warc.WarcRecordType, kind)): kind for kind in TYPES}
    file.seek(run.place)
    start = run.place
    try:
        for found in warc.ArchiveIterator(file, parse_http=False):
            run.place, run.read = max(found.stream_pos, start), True
            kind, size = types.get(int(found.record_type), ""), found.content_length
            if (not kind or size == 0) and not _is_whole(found.headers, size):
                return
            if kind in kinds:
                wanted = min(size, max_bytes)
                content = found.reader.read(wanted)
                # A carriage return is looked for first: it is found in a fraction of the time, and JSON has none.
                if len(content) < wanted or (b"\r" in content and _NEXT_RECORD in content):
                    return
                yield Record(kind, found, content, size > max_bytes)
    except (OSError, ValueError):
        if file.error is not None:
            raise file.error from None
        return
    run.ended = True


def _is_empty(file: _File, start: int) -> bool:
    """Whether a gzip member holds nothing."""
    file.seek(start)
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        return decoder.decompress(file.read(_BLOCK_BYTES), 1) == b"" and decoder.eof
    except zlib.error:
        return False


def _is_whole(headers: Any, size: int) -> bool:
    """Whether a record names its type and its length. FastWARC reads a length that is nonsense as 0."""
    kind, length = ((headers.get(name) or "").strip() for name in ("WARC-Type", "Content-Length"))
    return _TOKEN.fullmatch(kind) is not None and _LENGTH.fullmatch(length) is not None and int(length) == size


def _find(file: _File, mark: re.Pattern[bytes], start: int) -> int | None:
    """Where a record may begin, from a place on."""
    file.seek(start)
    block = b""
    while more := file.read(_BLOCK_BYTES):
        block += more
        if found := mark.search(block):
            return start + found.start()
        start += max(len(block) - _LONGEST_MARK, 0)
        block = block[-_LONGEST_MARK:]
    return None


def _fastwarc() -> Any:
    try:
        from fastwarc import warc
    except ImportError as error:
        raise MissingExtra("crawl", "reading WARC and WAT files", "fastwarc") from error
    return warc
