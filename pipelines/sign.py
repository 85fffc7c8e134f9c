"""sign: the maintainer's Ed25519 signature of a release, beside its manifest.

The signature is of the bytes of ``manifest.json``, which names the SHA-256 of every other file, so it is of all of them.
It is 64 raw bytes, so that OpenSSL alone can check it::

    openssl pkeyutl -verify -pubin -inkey public.pem -rawin -in manifest.json -sigfile manifest.sig
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from ..schemas.errors import InputError, MissingExtra
from ._manifest import load
from ._release import MANIFEST, SIGNATURE, Release

_BYTES = 64


def sign(folder: str, key: str) -> str:
    """Sign a release. Returns the path of the signature.

    Args:
        folder: the release; ``fairshard verify`` says whether it is what its manifest says.
        key: PEM file with an Ed25519 private key, as ``openssl genpkey -algorithm ed25519`` makes it.

    Raises:
        MissingExtra: cryptography is not installed.
        InputError: the file holds no such key, or one behind a password.
        ReleaseError: no finished release.
    """
    release = Release(folder)
    load(release)
    private = _key(key, private=True)
    release.put(SIGNATURE, private.sign(release.fs.cat_file(release.path(MANIFEST))))
    return release.path(SIGNATURE)


def fault(release: Release, key: str) -> str | None:
    """What is wrong with the signature of a release by the owner of a public key; None if it is right.

    Raises:
        MissingExtra, InputError: as ``sign``, of the public key.
    """
    public = _key(key, private=False)
    from cryptography.exceptions import InvalidSignature

    if not release.exists(SIGNATURE):
        return "is not there"
    signature = release.fs.cat_file(release.path(SIGNATURE))
    try:
        public.verify(signature, release.fs.cat_file(release.path(MANIFEST)))
    except InvalidSignature:
        return f"{len(signature)} bytes" if len(signature) != _BYTES else "is of another manifest, or by another key"
    return None


def _key(path: str, private: bool) -> Any:
    if importlib.util.find_spec("cryptography") is None:
        raise MissingExtra("sign", "a signature", "cryptography")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    expected = f"an Ed25519 {'private' if private else 'public'} key in PEM"
    try:
        data = Path(path).read_bytes()
        key = serialization.load_pem_private_key(data, None) if private else serialization.load_pem_public_key(data)
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", expected) from error
    except TypeError as error:
        raise InputError(path, "is behind a password", f"{expected}, without one") from error
    except ValueError as error:
        raise InputError(path, "holds no key that can be read", expected) from error
    if not isinstance(key, ed25519.Ed25519PrivateKey if private else ed25519.Ed25519PublicKey):
        raise InputError(path, f"holds a {type(key).__name__.strip('_')}", expected)
    return key
