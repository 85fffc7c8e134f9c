"""Grants by C2PA: only from a signer whom the operator trusts, and only if the file is whole."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from fairshard.udfs.signals import Evidence, c2pa_manifest, image_blocks

c2pa = pytest.importorskip("c2pa")

EXTENSIONS = """
[ca]
basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign
subjectKeyIdentifier=hash
[leaf]
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=emailProtection
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
"""


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> Path:
    """A folder with a throw-away ES256 chain: ``ca.pem``, ``leaf.pem``, ``leaf.key``."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("chain")
    (folder / "ext.cnf").write_text(EXTENSIONS)
    for name in ("ca", "leaf"):
        _openssl(folder, "ecparam -name prime256v1 -genkey -noout -out", f"{name}.ec")
        _openssl(folder, f"pkcs8 -topk8 -nocrypt -in {name}.ec -out", f"{name}.key")
        _openssl(folder, f"req -new -key {name}.key -subj /O=Test/CN={name} -out", f"{name}.csr")
    days = "-sha256 -days 3000 -extfile ext.cnf -extensions"
    _openssl(folder, f"x509 -req -in ca.csr -signkey ca.key {days} ca -out", "ca.pem")
    _openssl(folder, f"x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial {days} leaf -out", "leaf.pem")
    return folder


def _openssl(folder: Path, command: str, out: str) -> None:
    subprocess.run(["openssl", *command.split(), out], cwd=folder, check=True, capture_output=True)


def _signed(chain: Path, use: str) -> bytes:
    certificates = (chain / "leaf.pem").read_bytes() + (chain / "ca.pem").read_bytes()
    info = c2pa.C2paSignerInfo(b"es256", certificates, (chain / "leaf.key").read_bytes(), None)
    made = {
        "action": "c2pa.created",
        "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture",
    }
    manifest = {
        "claim_generator_info": [{"name": "test", "version": "1"}],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [made]}},
            {"label": "cawg.training-mining", "data": {"entries": {"cawg.ai_training": {"use": use}}}},
        ],
    }
    plain, out = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(plain, "JPEG")
    plain.seek(0)
    c2pa.Builder(json.dumps(manifest)).sign(c2pa.Signer.from_info(info), "image/jpeg", plain, out)
    return out.getvalue()


def _verdict(data: bytes, anchors: str = "") -> str:
    reading = c2pa_manifest.Reading(trust_anchors=anchors)
    return c2pa_manifest.verdict(data, image_blocks.read(data), reading=reading).verdict


def test_trust_makes_a_grant_and_changes_no_restriction(chain):
    anchors = (chain / "ca.pem").read_text()
    granted, refused = _signed(chain, "allowed"), _signed(chain, "notAllowed")
    assert (_verdict(granted), _verdict(granted, anchors)) == ("none", "allow")
    assert (_verdict(refused), _verdict(refused, anchors)) == ("deny", "deny")


def test_a_refusal_is_read_in_any_spelling_and_a_grant_in_one(chain):
    anchors = (chain / "ca.pem").read_text()
    assert {_verdict(_signed(chain, use)) for use in ("NotAllowed", "not allowed", "not_allowed")} == {"deny"}
    assert {_verdict(_signed(chain, use), anchors) for use in ("Allowed", "allowed ")} == {"none"}


def test_a_changed_picture_grants_nothing_and_still_restricts(chain):
    anchors = (chain / "ca.pem").read_text()
    for use, verdict in (("allowed", "none"), ("notAllowed", "deny")):
        data = bytearray(_signed(chain, use))
        data[-10] ^= 1
        assert _verdict(bytes(data), anchors) == verdict


def test_a_glance_misses_no_manifest():
    for file in sorted((Path(__file__).parents[2] / "vectors" / "files").glob("*")):
        data = file.read_bytes()
        blocks = image_blocks.read(data)
        if not c2pa_manifest.may_hold(data, blocks):
            found = c2pa_manifest.verdict(data, blocks)
            assert found == Evidence("c2pa") or "could not be parsed" in found.detail, file.name
