"""URLs: the WHATWG form to ask for, and the canonical key to match on.

Nearly all URLs of a crawl are canonical already. Those are told apart by one RE2 pattern, in Arrow, and
passed through; only the others are parsed one by one. A property test holds the two paths together.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import ada_url
import numpy as np
import pyarrow as pa
from publicsuffixlist import PSLFILE, PublicSuffixList

from .arrow import pc, udf

# What neither a WHATWG parser nor the key changes, but for what stands before the host: a lower-case DNS name whose
# last label is no number (so no IPv4), no port; in path and query only characters that are never encoded, and of
# escapes those that stay, in capitals. Labels that begin with "xn", perhaps punycode, and path segments that begin
# with a dot or hold "%2E", perhaps dot segments, are left to the parser.
_LABEL, _LAST = (rf"(?:[{first}][a-z0-9-]*|x(?:[a-mo-z0-9-][a-z0-9-]*)?)" for first in ("a-wyz0-9-", "a-wyz"))
_CHAR = r"[A-Za-z0-9_~!$&()*+,;=:@-]|%(?:[0189A-F][0-9A-F]|2[0-9A-CF]|3[A-F]|[46]0|5[B-E]|7[B-DF])"
_PLAIN = rf"^https?://(?:{_LABEL}\.)*{_LAST}(?:/(?:(?:{_CHAR})(?:[.]|{_CHAR})*)?)+(?:\?(?:[./?]|{_CHAR})*)?$"
_KEY_PREFIX = r"^https?://(www\.)?"

_ADDRESS = r"^(?:\[|[0-9.]*[0-9][0-9.]*$)"

# Of a path or query in WHATWG form, what the key writes otherwise, if it writes it otherwise at all.
_ODD = re.compile(r"%[0-9A-Fa-f]{2}|[^\w!$&'()*+,;=:@/?\-.~\[\]]", re.ASCII)
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


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
    return _slow_where_needed(url, _without_prefix(url), _is_plain(url), canonical_key)


def href_and_key(url: pa.Array) -> tuple[pa.Array, pa.Array]:
    """``url_href`` and ``url_key``, for half the work where both are needed.

    Args: url: string[n]; null stays null.
    """
    plain = _is_plain(url)
    href = _slow_where_needed(url, url, plain, canonical_href)
    return href, _slow_where_needed(href, _without_prefix(href), plain, _href_key)


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
    found = pc.struct_field(pc.extract_regex(key, r"^(?P<host>[^/?:]*)"), "host")
    return _slow_where_needed(key, found, pc.invert(pc.starts_with(key, "[")), _bracketed)


@udf(pa.string(), returns=pa.string())
def host_domain(host: pa.Array) -> pa.Array:
    """Registrable domain of each host; the host itself where it has none (an address, a bare suffix).

    Args: host: string[n] of lower-case punycode; null stays null. Meant for distinct hosts.
    Returns: string[n], such as ``example.co.uk``.
    Source: publicsuffix.org, private section included (a blog on a shared host is its own domain).
    """
    # A host of two labels is its own registrable domain, or has none, which comes to the same.
    short = pc.less(pc.count_substring(host, "."), 2)
    named = pc.and_not(pc.invert(short), pc.match_substring_regex(host, _ADDRESS))
    if not pc.any(named).as_py():
        return host
    found = pc.extract_regex(host, r"^(?:[^.]+\.)+(?P<two>[^.]+\.(?P<last>[^.]+))$")
    two, last = pc.struct_field(found, "two"), pc.struct_field(found, "last")
    longer = pc.or_(pc.is_in(two, value_set=_suffix_ends()), pc.is_in(last, value_set=_suffix_ends()))
    of_two = pc.and_(named, pc.and_not(pc.is_valid(two), longer))
    return _slow_where_needed(host, pc.if_else(short, host, two), pc.or_(short, of_two), registrable_domain)


@udf(pa.string(), returns=pa.list_(pa.string()))
def host_suffixes(host: pa.Array) -> pa.Array:
    """The host and every parent of it on a label boundary: what a domain rule has to equal to cover it.

    Args: host: string[n]; null gives null. An address has no parents; no parent has more characters than DNS allows.
    Returns: list<string>[n]; ``a.b.example`` gives ``[a.b.example, b.example, example]``.
    Source: RFC 1035, section 2.3.4 (255 octets, which are 253 characters).
    """
    parents = pc.and_not(pc.match_substring(host, "."), pc.match_substring_regex(host, _ADDRESS))
    values, rows = [host.drop_null()], [np.flatnonzero(host.is_valid())]
    longer, row = host.filter(parents), np.flatnonzero(pc.fill_null(parents, False))
    longer = pc.utf8_slice_codeunits(longer, -254)  # or a name of a million labels would have a million parents
    while len(longer):
        longer = pc.replace_substring_regex(longer, r"^[^.]*\.", "")
        values.append(longer)
        rows.append(row)
        more = pc.match_substring(longer, ".")
        longer, row = longer.filter(more), row[more]
    owner = np.concatenate(rows)
    ends = np.cumsum(np.bincount(owner, minlength=len(host)))
    offsets = pa.array(np.concatenate([[0], ends]), pa.int32())
    flat = pa.concat_arrays(values).take(pa.array(np.argsort(owner, kind="stable")))
    return pa.ListArray.from_arrays(offsets, flat, mask=host.is_null())


def canonical_href(url: str) -> str | None:
    """``url_href`` of one URL."""
    try:
        parsed = ada_url.URL(url.strip())
        href = parsed.href
        if "#" in href:
            parsed.hash = ""
            href = parsed.href.removesuffix("#")
        if "@" in href and (parsed.username or parsed.password):
            parsed.username = parsed.password = ""
            href = parsed.href.removesuffix("#")
    except (ValueError, UnicodeError):
        return None
    return href


def has_credentials(url: pa.Array) -> pa.Array:
    """Whether URLs have a user name or a password, by the WHATWG standard; false where they are null or no URL.

    Args: url: string[n].
    Returns: bool[n].
    """
    suspects = pc.fill_null(pc.match_substring(url, "@"), False)
    found = pa.array(map(_names_user, url.filter(suspects).to_pylist()), pa.bool_())
    return pc.replace_with_mask(pa.repeat(pa.scalar(False), len(url)), suspects, found)


def _names_user(url: str) -> bool:
    try:
        parsed = ada_url.URL(url.strip())
    except (ValueError, UnicodeError):
        return False
    return bool(parsed.username or parsed.password)


def canonical_key(url: str) -> str | None:
    """``url_key`` of one URL."""
    href = canonical_href(url)
    return None if href is None else _href_key(href)


@lru_cache(maxsize=1)
def _public_suffixes() -> PublicSuffixList:
    return PublicSuffixList()


@lru_cache(maxsize=1)
def _suffix_ends() -> pa.Array:
    """The last two labels of all suffixes that have as many, and the last of those that any label may stand before.

    Every other host is in a suffix of one label, so its registrable domain is its last two.
    """
    lines = Path(PSLFILE).read_text("utf-8").splitlines()
    rules = [line.split()[0].lstrip("!") for line in lines if line.strip() and not line.startswith("//")]
    ends = {".".join(rule.split(".")[-2:]) for rule in rules if "." in rule}
    forms = {form for end in ends for form in (end, end.encode("idna").decode())}
    return pa.array(sorted(form.removeprefix("*.") for form in forms))


@lru_cache(maxsize=1 << 19)
def registrable_domain(host: str) -> str:
    """``host_domain`` of one host."""
    if re.match(_ADDRESS, host):
        return host
    return _public_suffixes().privatesuffix(host) or host


def _href_key(href: str) -> str | None:
    if not href.startswith(("http://", "https://")):
        return None
    authority, slash, rest = href.partition("://")[2].partition("/")
    host, port = _split_port(authority)
    host = host.rstrip(".").removeprefix("www.")
    # https on 80 and http on 443 are real ports; the default of either scheme goes, since schemes are equal.
    port = "" if port in ("80", "443") else port
    if not host:
        return None
    return f"{host}{':' + port if port else ''}{slash}{_normal_escapes(rest)}"


def _is_plain(url: pa.Array) -> pa.Array:
    return pc.match_substring_regex(url, _PLAIN)


def _without_prefix(url: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(url, _KEY_PREFIX, "")


def _slow_where_needed(source: pa.Array, result: pa.Array, plain: pa.Array, one: Callable) -> pa.Array:
    """``result`` where ``plain``, and ``one`` of each source value elsewhere."""
    slow = pc.and_(pc.is_valid(source), pc.invert(pc.fill_null(plain, False)))
    if not pc.any(slow).as_py():
        return result
    values = [one(value) for value in source.filter(slow).to_pylist()]
    return pc.replace_with_mask(result, slow, pa.array(values, pa.string()))


def _bracketed(key: str) -> str:
    """Host of a key that begins with a bracket: an IPv6 address."""
    address, bracket, _ = key.partition("]")
    return address + bracket if bracket else re.split(r"[/?:]", key, maxsplit=1)[0]


def _split_port(authority: str) -> tuple[str, str]:
    host, colon, port = authority.rpartition(":")
    return (host, port) if colon and not port.endswith("]") else (authority, "")


def _normal_escapes(text: str) -> str:
    """Percent-encoding in its one normal form. The dot of an escaped dot segment has been resolved before this."""
    return _ODD.sub(_one_escape, text)


@lru_cache(maxsize=1024)
def _normal_form(odd: str) -> str:
    if len(odd) == 3:
        byte = chr(int(odd[1:], 16))
        return byte if byte in _UNRESERVED else odd.upper()
    return "".join(f"%{byte:02X}" for byte in odd.encode())


def _one_escape(match: re.Match[str]) -> str:
    return _normal_form(match[0])
