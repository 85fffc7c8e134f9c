"""Members of tar files, with headers as ``tarfile`` writes them for names and sizes of the usual kind.

It takes as long for a header as for hashing a picture, so what is the same in all of them is made once.
"""

from __future__ import annotations

import functools
import tarfile

# Where a header has what differs. Source: POSIX.1-2017, pax, "ustar Interchange Format".
_NAME, _SIZE, _SUM = slice(0, 100), slice(124, 136), slice(148, 156)
_LARGEST = 8**11 - 1  # that eleven octal digits hold


def member(name: str, data: bytes) -> bytes:
    """A regular file without time, owner or user name: header, content, and zeros up to a whole block."""
    return b"".join((_header(name, len(data)), data, bytes(-len(data) % tarfile.BLOCKSIZE)))


def _header(name: str, size: int) -> bytes:
    if not name.isascii() or len(name) > _NAME.stop or size > _LARGEST:
        return _by_tarfile(name, size)  # in PAX's words, which plain ustar lacks
    between, before_sum, after_sum, rest = _frame()
    named, sized = name.encode(), b"%011o\0" % size
    total = rest + sum(named) + sum(sized)
    return b"".join((named.ljust(_NAME.stop, b"\0"), between, sized, before_sum, b"%06o\0 " % total, after_sum))


def _by_tarfile(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.PAX_FORMAT)


@functools.cache
def _frame() -> tuple[bytes, bytes, bytes, int]:
    """What stands between name, size and checksum and after it, and what all that adds to the checksum."""
    header = _by_tarfile("", 0)
    parts = header[_NAME.stop : _SIZE.start], header[_SIZE.stop : _SUM.start], header[_SUM.stop :]
    blank = len(header[_SUM]) * ord(" ")  # the checksum counts as spaces
    return *parts, sum(map(sum, parts)) + blank
