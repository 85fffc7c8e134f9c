"""Which network addresses the client may connect to: public unicast ones, and no others.

An image list is written by strangers: a URL in it must not make this machine ask its own services, its
neighbours or a cloud's metadata service. The blocks are listed here instead of asked from ``ipaddress``,
whose answers differ between Python releases.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

IPv4 = ipaddress.IPv4Address
IPv6 = ipaddress.IPv6Address

# IANA IPv4 Special-Purpose Address Registry, and multicast (RFC 5771).
_IPV4_BLOCKS = {
    ipaddress.IPv4Network(block): name
    for block, name in {
        "0.0.0.0/8": "unspecified",
        "10.0.0.0/8": "private",
        "100.64.0.0/10": "carrier NAT",
        "127.0.0.0/8": "loopback",
        "169.254.0.0/16": "link-local",
        "172.16.0.0/12": "private",
        "192.0.0.0/24": "reserved",
        "192.0.2.0/24": "documentation",
        "192.88.99.0/24": "reserved",
        "192.168.0.0/16": "private",
        "198.18.0.0/15": "benchmarking",
        "198.51.100.0/24": "documentation",
        "203.0.113.0/24": "documentation",
        "224.0.0.0/4": "multicast",
        "240.0.0.0/4": "reserved",
    }.items()
}

# IANA IPv6 Special-Purpose Address Registry. Whatever is outside 2000::/3 is refused without being listed.
_IPV6_GLOBAL = ipaddress.IPv6Network("2000::/3")
_IPV6_BLOCKS = {
    ipaddress.IPv6Network(block): name
    for block, name in {
        "::/128": "unspecified",
        "::1/128": "loopback",
        "2001::/23": "reserved",  # Teredo, benchmarking, ORCHID
        "2001:db8::/32": "documentation",
        "3fff::/20": "documentation",
        "fc00::/7": "private",
        "fe80::/10": "link-local",
        "ff00::/8": "multicast",
    }.items()
}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@lru_cache(maxsize=4096)
def refusal(address: str) -> str | None:
    """Why an address is not to be connected to.

    Args:
        address: an IPv4 or IPv6 address as text, without brackets; a scope (``%eth0``) is allowed.

    Returns:
        The kind of block it is in (``loopback``, ``private``, ``link-local``, ...), or None for a public one.
        An IPv4 address inside an IPv6 one (mapped, 6to4, NAT64) is judged as itself. What is no address is
        refused.

    Source: IANA special-purpose address registries; RFC 4291, RFC 3056 (6to4), RFC 6052 (NAT64).
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "no address"
    if isinstance(parsed, IPv6):
        embedded = _embedded(parsed)
        if embedded is None:
            return _block(parsed, _IPV6_BLOCKS) or (None if parsed in _IPV6_GLOBAL else "reserved")
        parsed = embedded
    return _block(parsed, _IPV4_BLOCKS)


def _embedded(address: IPv6) -> IPv4 | None:
    if address in _NAT64:
        return IPv4(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _block(address: IPv4 | IPv6, blocks: dict) -> str | None:
    return next((name for block, name in blocks.items() if address in block), None)
