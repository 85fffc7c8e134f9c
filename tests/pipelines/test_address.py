"""Addresses that may not be connected to."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairshard.pipelines._address import refusal


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("0.0.0.0", "unspecified"),
        ("10.1.2.3", "private"),
        ("172.31.255.255", "private"),
        ("192.168.0.1", "private"),
        ("100.64.0.1", "carrier NAT"),
        ("169.254.169.254", "link-local"),
        ("224.0.0.1", "multicast"),
        ("255.255.255.255", "reserved"),
        ("192.0.2.1", "documentation"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("fd00:ec2::254", "private"),
        ("ff02::1", "multicast"),
        ("fec0::1", "reserved"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:a9fe:a9fe", "link-local"),
        ("::127.0.0.1", "reserved"),
        ("2002:7f00:1::", "loopback"),
        ("2002:a00:1::1", "private"),
        ("64:ff9b::169.254.169.254", "link-local"),
        ("64:ff9b:1::10.0.0.1", "reserved"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "reserved"),
        ("2001:db8::1", "documentation"),
        ("localhost", "no address"),
        ("", "no address"),
    ],
)
def test_refused(address, reason):
    assert refusal(address) == reason


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "172.15.255.255", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::1.1.1.1", "2002:101:101::"],
)
def test_public(address):
    assert refusal(address) is None


@given(st.ip_addresses())
def test_whatever_python_calls_private_is_refused(address):
    # 64:ff9b::/96 is in Python's reserved ::/8, but on networks without IPv4 it is how all of IPv4 is reached.
    if address.version == 6 and address in ipaddress.IPv6Network("64:ff9b::/96"):
        return
    if address.is_private or address.is_multicast or address.is_reserved or address.is_loopback:
        embedded = address.version == 6 and (address.ipv4_mapped or address.sixtofour)
        assert refusal(str(address)) or (embedded and refusal(str(embedded)) is None)
