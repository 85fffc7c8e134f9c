"""The samples of a release, read from its shards once every file has shown the hash that its manifest gives.

READS manifest.json and the files listed in it; nothing that merely lies beside them.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ..schemas.errors import ReleaseError
from . import _release
from ._manifest import merkle_root, require_unchanged

# No "..", and none of the braces, colons and dollar signs that webdataset would expand in a shard's name.
SHARD_NAME = re.compile(r"shards/\w[\w.-]*\.tar")
IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp")  # those that open_clip's loader takes


@dataclass(frozen=True)
class Shard:
    """A tar of a release.

    Attributes:
        path: relative to the release, as in the manifest.
        sha256: 64 hex digits, as in the manifest.
    """

    path: str
    sha256: str


@dataclass(frozen=True)
class Sample:
    """One image-text pair as released.

    Attributes:
        shard: path of its shard, relative to the release.
        key: name of its files in the shard, without ending; unique in the release.
        pair_id: as text; the key where the sample's JSON names no pair.
        caption: the .txt file.
        picture_sha256: of the image file's bytes, 64 hex digits.
    """

    shard: str
    key: str
    pair_id: str
    caption: str
    picture_sha256: str


@dataclass(frozen=True)
class Release:
    """What the manifest says.

    Attributes:
        folder: of the release; local, because open_clip's loader opens shards by file name.
        manifest_sha256: of manifest.json's bytes, 64 hex digits.
        shards: in the order of their names.
        manifest: what it says.
    """

    folder: Path
    manifest_sha256: str
    shards: tuple[Shard, ...]
    manifest: dict[str, Any] = field(repr=False)


def read_release(folder: str | Path) -> Release:
    """A release by its manifest.

    Raises:
        ReleaseError: no manifest, one that cannot be read or lists no shard, or one whose files are not those of its root.
    """
    path = Path(folder) / "manifest.json"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ReleaseError(str(path), f"cannot be read ({error.strerror})", "the manifest of a release") from error
    manifest = _manifest(content, path)
    files = {name: _sha256(entry, path, name) for name, entry in sorted(manifest["files"].items())}
    shards = tuple(Shard(name, sha256) for name, sha256 in files.items() if SHARD_NAME.fullmatch(name))
    if not shards:
        raise ReleaseError(str(path), "lists no shard", "files named shards/*.tar")
    _check_root(manifest, path)
    return Release(Path(folder), hashlib.sha256(content).hexdigest(), shards, manifest)


def verified_samples(release: Release) -> list[Sample]:
    """Every sample of a release, in the order of the shards, after every file that the manifest lists was hashed.

    Raises:
        ReleaseError: a file is missing or is not the one that the manifest names; a shard is no tar; a sample lacks its
            picture or its caption; or a key comes twice.
    """
    require_unchanged(_release.Release(str(release.folder)), release.manifest)
    samples = [sample for shard in release.shards for sample in _shard_samples(release.folder, shard)]
    seen: set[str] = set()
    for sample in samples:
        if sample.key in seen:
            raise ReleaseError(str(release.folder), f"holds the key '{sample.key}' twice", "unique keys")
        seen.add(sample.key)
    return samples


def _manifest(content: bytes, path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(content)
    except ValueError as error:
        raise ReleaseError(str(path), f"is not JSON ({error})", "the manifest of a release") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise ReleaseError(str(path), "has no 'files'", "a mapping of file names to their hashes")
    return manifest


def _sha256(entry: Any, path: Path, name: str) -> str:
    digest = entry.get("sha256") if isinstance(entry, dict) else None
    if not isinstance(digest, str):
        raise ReleaseError(str(path), f"gives no sha256 of {name}", "64 hex digits for every file")
    return digest


def _check_root(manifest: dict[str, Any], path: Path) -> None:
    """Refuse files that are not those of the root, where one is stated; releases of others may have none."""
    stated, files = manifest.get("merkle_root"), manifest["files"]
    if stated is not None and stated != merkle_root({name: {"bytes": None, **fact} for name, fact in files.items()}):
        raise ReleaseError(
            f"{path}: merkle_root", str(stated)[:64], "that of its files", "Run `fairshard verify` on it"
        )


def _shard_samples(folder: Path, shard: Shard) -> Iterator[Sample]:
    path = folder / shard.path
    try:
        with path.open("rb") as file:
            yield from _samples(file, path, shard.path)
    except OSError as error:
        raise ReleaseError(
            str(path), f"cannot be read ({error.strerror})", "the shard that manifest.json lists"
        ) from error


def _samples(file: BinaryIO, path: Path, shard: str) -> Iterator[Sample]:
    key, parts = "", {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                content = tar.extractfile(member)
                stem, suffix = _split_name(member.name)
                if content is None or not suffix:
                    continue
                if stem != key and parts:
                    yield _sample(key, parts, path, shard)
                    parts = {}
                key = stem
                parts[suffix] = content.read()
    except tarfile.TarError as error:
        raise ReleaseError(str(path), f"is not a tar ({error})", "a WebDataset shard") from error
    if parts:
        yield _sample(key, parts, path, shard)


def _split_name(name: str) -> tuple[str, str]:
    """Key and ending, split at the first dot of the file name as webdataset does."""
    folder, slash, file = name.rpartition("/")
    stem, _, suffix = file.partition(".")
    return f"{folder}{slash}{stem}", suffix.lower()


def _sample(key: str, parts: dict[str, bytes], path: Path, shard: str) -> Sample:
    picture = next((parts[suffix] for suffix in IMAGE_SUFFIXES if suffix in parts), None)
    if picture is None or "txt" not in parts:
        raise ReleaseError(f"{path}: {key}", f"holds {', '.join(sorted(parts))}", "a picture and a .txt caption")
    try:
        caption = parts["txt"].decode()
        stated = json.loads(parts.get("json", b"{}"))
    except ValueError as error:
        raise ReleaseError(f"{path}: {key}", f"cannot be read ({error})", "UTF-8 text and JSON") from error
    pair_id = stated.get("pair_id") if isinstance(stated, dict) else None
    digest = hashlib.sha256(picture).hexdigest()
    return Sample(shard, key, key if pair_id is None else str(pair_id), caption, digest)
