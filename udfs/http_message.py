"""An HTTP response as archives keep it: status, headers and, unpacked within a bound, the body."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

_STATUS = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+([1-5]\d\d)(?!\d)")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
_PACKED = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP = b"\x1f\x8b"

# What no text holds, by the first bytes (WHATWG MIME Sniffing, section 3, "binary data byte", and section 7.1).
_BINARY = bytes([*range(0x09), 0x0B, *range(0x0E, 0x1B), *range(0x1C, 0x20)])
_MARKS = (b"\xfe\xff", b"\xff\xfe", b"\xef\xbb\xbf")
_SNIFFED_BYTES = 1_445

MAX_HEAD_BYTES = 256 * 1024
MAX_HEADERS = 1_000


@dataclass(frozen=True, slots=True)
class Message:
    """One response.

    Attributes:
        status: 100 to 599.
        headers: name and value of each line, in order, repeats kept; bytes that are no UTF-8 read as Latin-1.
        body: as stored; see ``unpacked``.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """The first value of a header; empty if there is none. ``name`` in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), "")


def parse(block: bytes) -> Message | None:
    """Reads a response. Returns None where the bytes do not begin like one.

    Lines without a colon are skipped and old line folding is undone (RFC 9112, section 5.2).
    """
    status = _STATUS.match(block)
    if status is None:
        return None
    end = _HEAD_END.search(block, 0, MAX_HEAD_BYTES)
    head, body = (block[: end.start()], block[end.end() :]) if end else (block[:MAX_HEAD_BYTES], b"")
    lines = _FOLD.sub(b" ", head).split(b"\n", MAX_HEADERS + 1)[1 : MAX_HEADERS + 1]
    pairs = (line.partition(b":") for line in lines)
    return Message(int(status[1]), tuple((_text(name), _text(value)) for name, colon, value in pairs if colon), body)


def unpacked(message: Message, max_bytes: int) -> tuple[bytes, bool]:
    """The body without transfer and content coding, up to ``max_bytes``, and whether it is all there.

    Crawlers often store bodies unpacked and the headers as they came. So bytes that are not in the coding they claim
    are taken as they are. Brotli and zstd are not unpacked; see ``is_packed``.
    """
    body, joined, inflated = message.body, True, True
    if "chunked" in message.header("transfer-encoding").lower():
        body, joined = _joined(body, max_bytes)
    if message.header("content-encoding").strip().lower() in _PACKED:
        body, inflated = _inflated(body, max_bytes)
    return body[:max_bytes], joined and inflated and len(body) <= max_bytes


def is_packed(message: Message) -> bool:
    """Whether the body is, by header and bytes, in a coding that is not unpacked here: Brotli, zstd, gzip twice."""
    coding = message.header("content-encoding").strip().lower()
    if coding in ("", "identity") or coding in _PACKED:
        return False
    chunked = "chunked" in message.header("transfer-encoding").lower()
    head = (_joined(message.body, _SNIFFED_BYTES)[0] if chunked else message.body)[:_SNIFFED_BYTES]
    return not head.startswith(_MARKS) and head.translate(None, _BINARY) != head


def _joined(body: bytes, max_bytes: int) -> tuple[bytes, bool]:
    """The chunks of a chunked body, and whether the last is there; the body itself if it does not begin with one."""
    parts: list[bytes] = []
    at = size = 0
    while size <= max_bytes and (chunk := _CHUNK.match(body, at)):
        length = int(chunk[1], 16)
        if length == 0:
            return b"".join(parts), True
        parts.append(body[chunk.end() : chunk.end() + length])
        size += len(parts[-1])
        at = chunk.end() + length
        at += 2 if body.startswith(b"\r\n", at) else 1
        if at >= len(body):
            break
    return (b"".join(parts), False) if parts else (body, True)


def _inflated(body: bytes, max_bytes: int) -> tuple[bytes, bool]:
    """What gzip or zlib bytes hold, as far as they are whole, and whether they are; bytes of neither as they are."""
    for window in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):
        decoder = zlib.decompressobj(window)
        try:
            found = decoder.decompress(body, max_bytes)
        except zlib.error:
            continue
        if found or decoder.eof:
            return found, decoder.eof and not decoder.unused_data.startswith(_GZIP)
    return body, not body.startswith(_GZIP)


def _text(raw: bytes) -> str:
    raw = raw.strip()
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
