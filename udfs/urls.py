"""URLs: the WHATWG form to ask for, and the canonical key to match on.

Nearly all URLs of a crawl are canonical already. Those are told apart by one RE2 pattern, in Arrow, and
passed through; only the others are parsed one by one. A property test holds the two paths together.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote_to_bytes

import ada_url
import pyarrow as pa
from publicsuffixlist import PublicSuffixList

from .arrow import pc, udf

# What a WHATWG parser leaves as it is: a lower-case DNS name whose last label is no number (so no IPv4), no
# port, and in path and query only characters that are never encoded. Dot segments and punycode, which a parser
# has to look into, are excluded by _SUSPECT.
_PLAIN = (
    r"^https?://[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z][a-z0-9-]*/"
    r"[A-Za-z0-9._~!$&()*+,;=:@/%-]*(\?[A-Za-z0-9._~!$&()*+,;=:@/?%-]*)?$"
)
_SUSPECT = r"/\.|(?i:%2e)|xn--"

# A key that needs no percent-decoding: host and path of a plain URL without any escape.
_KEY_PREFIX = r"^https?://(www\.)?"
_KEEP = frozenset(b"!$&'()*+,;=:@/?-._~[]")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


@udf(pa.string(), returns=pa.string())
def url_href(url: pa.Array) -> pa.Array:
    """The URL as a browser would ask for it: WHATWG serialisation without fragment, user and password.

    Args: url: string[n]; null stays null. Surrounding white space is ignored, as by a browser.
    Returns: string[n]; null where it is not an absolute URL. Any scheme. Raises nothing per row.
    Source: WHATWG URL Standard, sections 4.4 and 4.5.
    """
    return _slow_where_needed(url, url, _is_plain(url), canonical_href)


@udf(pa.string(), returns=pa.string())
def url_key(url: pa.Array) -> pa.Array:
    """The canonical key on which pairs and registries meet.

    Scheme (http or https), ``www.``, user, default port, final dot and fragment go; the host is lower-case
    punycode; unreserved characters are decoded, others encoded with capital hex; dot segments are resolved.
    Order of the query, case of the path and slashes stay.

    Args: url: string[n]; null stays null.
    Returns: string[n], such as ``example.org/a%20b.jpg?x=1``; null where it is not an http(s) URL.
    Source: RFC 3986, section 6.2.2 (normalisation that never merges two resources a server tells apart).
    """
    plain = pc.and_(_is_plain(url), pc.invert(pc.match_substring(url, "%")))
    return _slow_where_needed(url, pc.replace_substring_regex(url, _KEY_PREFIX, ""), plain, canonical_key)


@udf(pa.string(), returns=pa.string())
def url_origin(url: pa.Array) -> pa.Array:
    """Scheme, host and port of each URL in WHATWG form: the thing that has a robots.txt.

    Args: url: string[n], as ``url_href`` returns it; null stays null.
    Returns: string[n], such as ``https://example.org:8080``; null where there is no host.
    """
    found = pc.extract_regex(url, r"^(?P<origin>https?://[^/?#]+)")
    return pc.struct_field(found, "origin")


@udf(pa.string(), returns=pa.string())
def key_host(key: pa.Array) -> pa.Array:
    """Host of each URL key, without port.

    Args: key: string[n], as ``url_key`` returns it; null stays null.
    Returns: string[n]; an IPv6 host keeps its brackets.
    """
    found = pc.extract_regex(key, r"^(?P<host>\[[^\]]*\]|[^/?:]*)")
    return pc.struct_field(found, "host")


@udf(pa.string(), returns=pa.string())
def host_domain(host: pa.Array) -> pa.Array:
    """Registrable domain of each host; the host itself where it has none (an address, a bare suffix).

    Args: host: string[n] of lower-case punycode; null stays null. Meant for distinct hosts.
    Returns: string[n], such as ``example.co.uk``.
    Source: publicsuffix.org, private section included (a blog on a shared host is its own domain).
    """
    return pa.array([None if name is None else registrable_domain(name) for name in host.to_pylist()], pa.string())


@udf(pa.string(), returns=pa.list_(pa.string()))
def host_suffixes(host: pa.Array) -> pa.Array:
    """The host and every parent of it on a label boundary: what a domain rule has to equal to cover it.

    Args: host: string[n]; null gives null. An address has no parents.
    Returns: list<string>[n]; ``a.b.example`` gives ``[a.b.example, b.example, example]``.
    """
    return pa.array([None if name is None else _suffixes(name) for name in host.to_pylist()], pa.list_(pa.string()))


def canonical_href(url: str) -> str | None:
    """``url_href`` of one URL."""
    try:
        parsed = ada_url.URL(url.strip())
        parsed.hash = ""
        if parsed.username or parsed.password:
            parsed.username = parsed.password = ""
    except (ValueError, UnicodeError):
        return None
    return parsed.href.removesuffix("#")


def canonical_key(url: str) -> str | None:
    """``url_key`` of one URL."""
    href = canonical_href(url)
    if href is None or not href.startswith(("http://", "https://")):
        return None
    authority, slash, rest = href.partition("://")[2].partition("/")
    host, port = _split_port(authority)
    host = host.rstrip(".").removeprefix("www.")
    # https on 80 and http on 443 are real ports; the default of either scheme goes, since schemes are equal.
    port = "" if port in ("80", "443") else port
    if not host:
        return None
    return f"{host}{':' + port if port else ''}{slash}{_normal_escapes(rest)}"


@lru_cache(maxsize=1)
def _public_suffixes() -> PublicSuffixList:
    return PublicSuffixList()


def registrable_domain(host: str) -> str:
    """``host_domain`` of one host."""
    if _is_address(host):
        return host
    return _public_suffixes().privatesuffix(host) or host


def _is_plain(url: pa.Array) -> pa.Array:
    return pc.and_(pc.match_substring_regex(url, _PLAIN), pc.invert(pc.match_substring_regex(url, _SUSPECT)))


def _slow_where_needed(source: pa.Array, result: pa.Array, plain: pa.Array, one) -> pa.Array:
    """``result`` where ``plain``, and ``one`` of each source value elsewhere."""
    slow = pc.and_(pc.is_valid(source), pc.invert(pc.fill_null(plain, False)))
    if not pc.any(slow).as_py():
        return result
    values = [one(value) for value in source.filter(slow).to_pylist()]
    return pc.replace_with_mask(result, slow, pa.array(values, pa.string()))


def _split_port(authority: str) -> tuple[str, str]:
    host, colon, port = authority.rpartition(":")
    return (host, port) if colon and not port.endswith("]") else (authority, "")


_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")


def _normal_escapes(text: str) -> str:
    """Percent-encoding in its one normal form; text that is plain ASCII comes back quickly."""
    if "%" not in text and re.fullmatch(r"[\w!$&'()*+,;=:@/?\-.~\[\]]*", text, re.ASCII):
        return text
    # The dot of an escaped dot segment has been resolved by the parser before this.
    raw = _ESCAPE.sub(_one_escape, text.encode())
    return "".join(
        chr(byte) if byte in _KEEP or byte in _UNRESERVED or byte == 0x25 else f"%{byte:02X}" for byte in raw
    )


def _one_escape(match: re.Match[bytes]) -> bytes:
    byte = unquote_to_bytes(match[0])
    return byte if byte[0] in _UNRESERVED else match[0].upper()


def _is_address(host: str) -> bool:
    return host.startswith("[") or host.replace(".", "").isdigit()


def _suffixes(host: str) -> list[str]:
    if _is_address(host):
        return [host]
    labels = host.split(".")
    return [".".join(labels[start:]) for start in range(len(labels))]
