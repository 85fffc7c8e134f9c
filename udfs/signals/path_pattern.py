"""Path patterns of robots.txt, which TDMRep, AIPREF, ai.txt and RSL share.

``*`` is any run of characters, ``$`` at the end is the end, everything else is itself. A pattern is matched by
searching its literal pieces from left to right. That is exact, because every ``*`` may take the shortest run
that lets the rest match, and linear, where a regular expression would backtrack: ``/*a*a*a*a*b$`` hangs the
ones that translate to ``re``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

# RFC 3986, section 2.3.
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ESCAPED = {bytes((low,)): b"%%%02X" % low for low in range(256)}

# An escape, or an octet that a URL may not hold as it is. `*` and `$` are left: each caller knows what they mean.
_IRREGULAR = re.compile(rb"%[0-9A-Fa-f]{2}|[^A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]")

# RFC 9309, section 2.2.2, has reserved octets compared in their encoded form: its table turns
# `?baz=https://foo.bar` into `?baz=https%3A%2F%2Ffoo.bar`. What divides a URL stays: `/` and `?` before the
# query, `&` and `=` in it. `+` stays too, since forms write a space that way.
_RESERVED_IN_PATH = re.compile(rb"[:\[\]@!'(),;&=]")
_RESERVED_IN_QUERY = re.compile(rb"[:/?\[\]@!'(),;]")

_DOTS = re.compile(rb"/\.{1,2}(?:/|$)")

# A URL whose path is compared as it stands: unreserved characters, no segment that begins with a dot, no query.
_PLAIN = re.compile(r"https?://[^/?#\s]+((?:/[A-Za-z0-9\-_~][A-Za-z0-9\-._~]*)+)")


@dataclass(frozen=True, slots=True)
class Target:
    """Path and query of a URL, as patterns are compared with it.

    Attributes:
        plain: unreserved octets decoded, others than RFC 3986 allows encoded, hex digits in capitals.
        encoded: the same with reserved octets encoded as well.
    """

    plain: bytes
    encoded: bytes

    @property
    def path(self) -> bytes:
        """The path alone."""
        return self.plain.partition(b"?")[0]


class Pattern:
    """One compiled path pattern.

    Attributes:
        text: the pattern as it was written.
        length: its octets after percent-encoding, which is what makes one pattern longer than another.
    """

    __slots__ = ("_encoded", "_plain", "length", "text")

    def __init__(self, text: bytes):
        self.text = text
        anchored = text.endswith(b"$")
        body = _normal(text[:-1] if anchored else text)
        self.length = len(body) + anchored
        body = body.replace(b"$", b"%24")
        self._plain = _Pieces(body, anchored)
        encoded = _encode_reserved(body)
        self._encoded = self._plain if encoded == body else _Pieces(encoded, anchored)

    @property
    def prefixes(self) -> tuple[bytes, bytes]:
        """What a matching target begins with, in its plain or in its encoded form."""
        return self._plain.first, self._encoded.first

    def matches(self, target: Target) -> bool:
        """Whether the pattern matches from the first octet of the path on."""
        if self._plain.match(target.plain):
            return True
        if self._encoded is self._plain and target.encoded is target.plain:
            return False
        return self._encoded.match(target.encoded)


class _Pieces:
    """The literal pieces between the stars."""

    __slots__ = ("anchored", "first", "last", "middle", "starred")

    def __init__(self, body: bytes, anchored: bool):
        self.first, *rest = body.split(b"*")
        self.starred = bool(rest)
        self.last = rest[-1] if rest else b""
        self.middle = [piece for piece in rest[:-1] if piece]
        self.anchored = anchored

    def match(self, path: bytes) -> bool:
        if not path.startswith(self.first):
            return False
        if not self.starred:
            return not self.anchored or len(path) == len(self.first)
        start = len(self.first)
        for piece in self.middle:
            found = path.find(piece, start)
            if found < 0:
                return False
            start = found + len(piece)
        if self.anchored:
            return len(path) - start >= len(self.last) and path.endswith(self.last)
        return path.find(self.last, start) >= 0


def compiled(text: bytes) -> Pattern | None:
    """The pattern of a rule, or None where it can match nothing.

    Args:
        text: the value of a rule. RFC 9309 has it begin with ``/``; a leading ``*`` is forgiven.
    """
    return Pattern(text) if text.startswith((b"/", b"*")) else None


@lru_cache(maxsize=4096)
def target_of(url: str) -> Target:
    """What of a URL is compared with patterns: path and query, ``/`` if there is no path, no fragment.

    Args:
        url: an absolute URL, or a path and query that begins with ``/``. Dot segments are resolved, since the
            request resolves them.
    """
    if plain_url := _PLAIN.fullmatch(url):
        path = plain_url[1].encode()
        return Target(path, path)
    text = url.strip().partition("#")[0].encode("utf-8", "surrogatepass")
    if not text.startswith(b"/"):
        _, _, after = text.partition(b"://")
        start = re.search(rb"[/?]", after)
        text = after[start.start() :] if start else b"/"
    if text.startswith(b"?"):
        text = b"/" + text
    path, mark, query = _normal(text).partition(b"?")
    if _DOTS.search(path):
        path = _without_dot_segments(path)
    plain = (path + mark + query).replace(b"*", b"%2A").replace(b"$", b"%24")
    encoded = _encode_reserved(plain)
    return Target(plain, plain if encoded == plain else encoded)


def _normal(text: bytes) -> bytes:
    return _IRREGULAR.sub(_normal_octet, text)


def _normal_octet(match: re.Match[bytes]) -> bytes:
    found = match.group()
    if len(found) == 1:
        return _ESCAPED[found]
    octet = int(found[1:], 16)
    return bytes((octet,)) if octet in _UNRESERVED else found.upper()


def _encode_reserved(text: bytes) -> bytes:
    path, mark, query = text.partition(b"?")
    path = _RESERVED_IN_PATH.sub(lambda found: _ESCAPED[found.group()], path)
    return path + mark + _RESERVED_IN_QUERY.sub(lambda found: _ESCAPED[found.group()], query)


def _without_dot_segments(path: bytes) -> bytes:
    """RFC 3986, section 5.2.4, for a path that begins with a slash. Empty segments stay."""
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment != b".":
            kept.append(segment)
    ends_open = segments[-1] in (b".", b"..")
    return b"/" + b"/".join(kept) + (b"/" if ends_open and kept else b"")
