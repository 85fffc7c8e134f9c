"""sign: who made a release, told by a key; and the one hash that stands for all files."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import small_world
from click.testing import CliRunner

from fairshard.pipelines.cli import main
from fairshard.pipelines.verify import verify

OPENSSL = shutil.which("openssl")
if OPENSSL is None:
    pytest.skip("openssl, which makes the keys, is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Path:
    """Two pairs of keys, one of another kind, and one behind a password."""
    folder = tmp_path_factory.mktemp("keys")

    def openssl(*words: str) -> None:
        subprocess.run([str(OPENSSL), *words], check=True, capture_output=True, cwd=folder)

    for name in ("mine", "other"):
        openssl("genpkey", "-algorithm", "ed25519", "-out", f"{name}.pem")
        openssl("pkey", "-in", f"{name}.pem", "-pubout", "-out", f"{name}.pub")
    openssl("genpkey", "-algorithm", "x25519", "-out", "exchange.pem")
    openssl("pkey", "-in", "mine.pem", "-aes256", "-passout", "pass:x", "-out", "locked.pem")
    (folder / "text.pem").write_text("no key")
    return folder


@pytest.fixture
def release(tmp_path) -> str:
    return str(small_world.emitted(tmp_path))


def run(*arguments: object):
    return CliRunner().invoke(main, [str(one) for one in arguments])


def test_a_signed_release_is_the_signers_alone(release, keys):
    assert run("verify", release, "--public-key", keys / "mine.pub").exit_code == 1
    assert run("sign", release, "--key", keys / "mine.pem").exit_code == 0
    assert run("verify", release, "--public-key", keys / "mine.pub").exit_code == 0
    assert run("verify", release).exit_code == 0
    found = run("verify", release, "--public-key", keys / "other.pub")
    assert found.exit_code == 1 and "wrong_signature: manifest.sig: is of another manifest" in found.stdout


def test_openssl_alone_can_check_it(release, keys):
    run("sign", release, "--key", keys / "mine.pem")
    command = [str(OPENSSL), "pkeyutl", "-verify", "-pubin", "-inkey", str(keys / "mine.pub"), "-rawin",
               "-in", f"{release}/manifest.json", "-sigfile", f"{release}/manifest.sig"]  # fmt: skip
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_another_manifest_is_not_signed_by_the_old_signature(release, keys):
    run("sign", release, "--key", keys / "mine.pem")
    path = Path(release, "manifest.json")
    path.write_text(path.read_text().replace("small", "smaller"))
    found = run("verify", release, "--public-key", keys / "mine.pub")
    assert found.exit_code == 1 and "wrong_signature" in found.stdout
    Path(release, "manifest.sig").write_bytes(b"short")
    assert "5 bytes" in run("verify", release, "--public-key", keys / "mine.pub").stdout


@pytest.mark.parametrize("name", ["text.pem", "exchange.pem", "locked.pem", "mine.pub", "missing.pem"])
def test_what_is_no_key_is_told_and_nothing_is_written(release, keys, name):
    found = run("sign", release, "--key", keys / name)
    assert found.exit_code == 2 and "expected an Ed25519 private key in PEM" in found.stderr
    assert not Path(release, "manifest.sig").exists()


def test_the_root_is_of_the_files_that_are_there(release):
    path = Path(release, "manifest.json")
    manifest = json.loads(path.read_text())
    lines = [f"{fact['sha256']} {fact['bytes']} {name}\n" for name, fact in sorted(manifest["files"].items())]
    level = [hashlib.sha256(b"\0" + line.encode()).digest() for line in lines]
    while len(level) > 1:
        pairs = [level[place : place + 2] for place in range(0, len(level), 2)]
        level = [hashlib.sha256(b"\1" + b"".join(two)).digest() if len(two) == 2 else two[0] for two in pairs]
    assert manifest["merkle_root"] == level[0].hex()
    manifest["merkle_root"] = "0" * 64
    path.write_text(json.dumps(manifest))
    assert [finding["where"] for finding in verify(release)] == ["manifest.json: merkle_root"]
