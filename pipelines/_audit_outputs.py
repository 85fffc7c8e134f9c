"""Pictures that came out of any model, against a release: are they copies of what is in it?

A resemblance is a number, not a judgement: where a generated picture lies within the radius of a released one, somebody
has to look.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..schemas.errors import InputError
from ..udfs.hashing import Fingerprint, fingerprint
from ..udfs.nearest import Words, hash_words, nearest, phash_dihedral
from . import _manifest
from ._audit_row import Row, row
from ._catalog import Catalog, open_release
from ._release import Release

_HASHED = """
SELECT outcome.pair_id, outcome.key, phash, pdq
FROM outcome JOIN image ON outcome.pair_id = image.pair_id
WHERE outcome = 'released' AND pdq_quality >= $min_quality AND phash IS NOT NULL AND octet_length(pdq) = 32
ORDER BY outcome.pair_id
"""
_BY_BYTES = """
SELECT sha256, min(outcome.pair_id) AS pair_id, min(outcome.key) AS key
FROM outcome JOIN image ON outcome.pair_id = image.pair_id
WHERE outcome = 'released' AND list_contains($digests, sha256) GROUP BY sha256
"""


@dataclass(frozen=True)
class _Looks:
    """Hashes of the released pictures that are not flat, row by row, and how far they may differ."""

    pair_ids: list[int]
    keys: list[str]
    hashes: dict[str, Words]
    radii: dict[str, int]
    min_quality: int


def images(folder: str | Path, release_dir: str) -> list[Row]:
    """For each picture below a folder, the released picture that is nearest to it, however it is flipped or turned.

    Args:
        folder: of pictures, such as generated ones. Files whose name begins with a dot are passed over.
        release_dir: the release; its policy says how many bits may differ.

    Returns:
        ``audit`` rows of the kind ``copied_picture``, one a file in the order of their names; a file that cannot be
        compared has no value. Value and threshold are bits of PDQ (256) or pHash (64), whichever is nearer for its
        radius.

    Raises:
        InputError: no such folder, or no picture in it.
        ReleaseError: not a finished release, or one with a table that is not the one that the manifest names.
    """
    files = picture_files(Path(folder))
    release = Release(release_dir)
    manifest = _manifest.load(release)
    _manifest.require_unchanged(release, manifest, "pairs/", "tables/")
    policy = manifest["policy"]
    catalog = open_release(release_dir)
    looks = _looks(catalog, policy)
    digests = {name: hashlib.sha256(picture_bytes(path)).hexdigest() for name, path in files.items()}
    same = {found["sha256"]: found for found in catalog.dicts(_BY_BYTES, digests=list(digests.values()))}
    rows, pictures = [], 0
    for name, path in files.items():
        picture = fingerprint(picture_bytes(path), dihedral=True)
        pictures += picture.error is None
        rows.append(_picture_row(name, picture, same.get(digests[name]), looks))
    if not pictures:
        raise InputError(str(folder), f"holds {len(files)} files, and none is a picture", "pictures")
    return rows


def picture_files(folder: Path) -> dict[str, Path]:
    """Every file below a folder by its name relative to it, in order, but those that a dot hides.

    Raises:
        InputError: no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise InputError(str(folder), "is no folder", "a folder of pictures")
    found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    files = {name: path for name, path in found.items() if not any(part.startswith(".") for part in Path(name).parts)}
    if not files:
        raise InputError(str(folder), "holds no file", "pictures")
    return files


def picture_bytes(path: Path) -> bytes:
    """The whole of a file, or InputError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(str(path), f"cannot be read ({error.strerror})", "a picture") from error


def _looks(catalog: Catalog, policy: dict[str, Any]) -> _Looks:
    rows = catalog.rows(_HASHED, min_quality=policy["pdq_min_quality"])
    words = {"pdq": hash_words(rows["pdq"].to_pylist()), "phash": rows["phash"].to_numpy().view("uint64")[:, None]}
    radii = {"pdq": policy["pdq_max_distance"], "phash": policy["phash_max_distance"]}
    return _Looks(rows["pair_id"].to_pylist(), rows["key"].to_pylist(), words, radii, policy["pdq_min_quality"])


def _picture_row(name: str, picture: Fingerprint, same: dict[str, Any] | None, looks: _Looks) -> Row:
    kind = "copied_picture"
    if same is not None:
        return row(kind, name, 0.0, 0.0, True, f"the very bytes of sample {same['key']}", same["pair_id"])
    if picture.decoded is None or picture.pdq_dihedral is None:
        return row(kind, name, None, None, False, f"not compared: no picture ({picture.error})")
    if (picture.pdq_quality or 0) < looks.min_quality or not looks.keys:
        return row(kind, name, None, None, False, "not compared: too flat, or no released picture to compare with")
    asked = {"pdq": hash_words(list(picture.pdq_dihedral)), "phash": hash_words(phash_dihedral(picture.decoded.luma))}
    found = {hash_: nearest(asked[hash_], looks.hashes[hash_]) for hash_ in asked}
    hash_ = min(found, key=lambda of: found[of][1] / (looks.radii[of] + 1))
    place, distance = found[hash_]
    radius = looks.radii[hash_]
    detail = f"nearest by {hash_}: sample {looks.keys[place]}, {distance} bits differ"
    return row(kind, name, float(distance), float(radius), distance <= radius, detail, looks.pair_ids[place])
