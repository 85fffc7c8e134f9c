"""The Merkle tree of RFC 9162."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from fairshard.udfs.merkle import root

# Test vectors of Certificate Transparency: the inputs of its reference tree, and roots of its first n.
INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    4: "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    6: "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def test_the_reference_tree():
    entries = [bytes.fromhex(text) for text in INPUTS]
    assert {count: root(entries[:count]).hex() for count in ROOTS} == ROOTS


def recursive(entries: list[bytes]) -> bytes:
    """As the RFC defines it."""
    if len(entries) <= 1:
        return hashlib.sha256(b"\x00" + entries[0] if entries else b"").digest()
    split = 1 << (len(entries) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + recursive(entries[:split]) + recursive(entries[split:])).digest()


@given(st.lists(st.binary(max_size=8), max_size=70))
def test_any_list_as_the_rfc_defines_it(entries):
    assert root(entries) == recursive(entries)
