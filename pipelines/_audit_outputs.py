"""Pictures and texts that came out of any model, against a release: are they copies of what is in it?

A resemblance is a number, not a judgement: where a generated picture lies within the radius of a released one, or a
text repeats eight words of a caption in a row, somebody has to look.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..schemas.errors import InputError
from ..udfs.hashing import Fingerprint, fingerprint
from ..udfs.nearest import Words, hash_words, nearest, phash_dihedral
from ..udfs.overlap import longest_shared_run, runs
from ..udfs.text import caption_clean, caption_key
from . import _manifest
from ._audit_row import Row, row
from ._catalog import Catalog, open_release
from ._release import Release

# Runs of eight words are what the n-gram overlap of test sets is told by elsewhere (8-grams: PaLM, Chowdhery et al.
# 2022, section 7). Text without spaces, such as Chinese, is one word: only whole captions are found in it.
RUN_WORDS = 8

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
_CAPTIONS = "SELECT pair_id, caption FROM outcome WHERE outcome = 'released' ORDER BY pair_id"
_BATCH_ROWS = 10_000


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
        ReleaseError: not a finished release.
    """
    files = picture_files(Path(folder))
    policy = _manifest.load(Release(release_dir))["policy"]
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


def text(file: str | Path, release_dir: str) -> list[Row]:
    """For each line of a file, the released caption that it repeats, whole or in part.

    Args:
        file: UTF-8, one text a line; blank lines are passed over.
        release_dir: the release.

    Returns:
        ``audit`` rows of the kind ``copied_text``, one a line; value is the length in words of the longest run that
        is shared with a caption, 0 if it is shorter than ``RUN_WORDS``; a line that is a whole caption is a finding
        however short it is, and has no threshold.

    Raises:
        InputError: no such file, not UTF-8, or nothing in it.
        ReleaseError: not a finished release.
    """
    lines = _lines(Path(file))
    _manifest.load(Release(release_dir))
    search = _Search(lines)
    for batch in _captions(open_release(release_dir)):
        search.look(*batch)
    return [search.row(number) for number in lines]


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


def _lines(path: Path) -> dict[int, str]:
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(str(path), f"cannot be read ({error})", "UTF-8 text, one a line") from error
    lines = {number: line.strip() for number, line in enumerate(content.split("\n"), 1) if line.strip()}
    if not lines:
        raise InputError(str(path), "is empty", "one text a line")
    return lines


def _captions(catalog: Catalog) -> Iterator[tuple[list[int], list[str], list[str]]]:
    """pair_id, caption and caption_key of every released pair, in batches."""
    for batch in catalog.rows(_CAPTIONS).to_batches(_BATCH_ROWS):
        captions = batch.column("caption")
        yield batch.column("pair_id").to_pylist(), captions.to_pylist(), caption_key(captions).to_pylist()


@dataclass(frozen=True)
class _Match:
    """A caption that a line repeats. Smaller is closer."""

    closeness: tuple[int, int]
    pair_id: int
    words: int
    how: str


class _Search:
    """Lines, indexed by what captions may share with them, and the closest caption of each."""

    def __init__(self, lines: dict[int, str]):
        values = pa.array(lines.values(), pa.string())
        longest = pa.array([max(map(len, lines.values()))] * len(lines), pa.int32())
        cleaned, keys = caption_clean(values, longest).to_pylist(), caption_key(values).to_pylist()
        self._words = {number: key.split() for number, key in zip(lines, keys, strict=True)}
        self._best: dict[int, _Match] = {}
        self._same: dict[int, int] = defaultdict(int)
        self._by_caption: dict[str, list[int]] = defaultdict(list)
        self._by_key: dict[str, list[int]] = defaultdict(list)
        self._by_run: dict[str, set[int]] = defaultdict(set)
        for number, caption, key in zip(lines, cleaned, keys, strict=True):
            self._by_caption[caption].append(number)
            self._by_key[key].append(number)
            for run in runs(self._words[number], RUN_WORDS):
                self._by_run[run].add(number)

    def look(self, pair_ids: list[int], captions: list[str], keys: list[str]) -> None:
        """Compare all lines with some captions."""
        for pair_id, caption, key in zip(pair_ids, captions, keys, strict=True):
            words = key.split()
            for number in self._by_key.get(key, ()):
                self._same[number] += 1
                verbatim = number in self._by_caption.get(caption, ())
                how = "repeats it verbatim" if verbatim else "repeats it but for case, punctuation and spacing"
                self._offer(number, _Match((0 if verbatim else 1, -len(words)), pair_id, len(words), how))
            near = {number for run in runs(words, RUN_WORDS) for number in self._by_run.get(run, ())}
            for number in near:
                shared = longest_shared_run(self._words[number], words)
                self._offer(number, _Match((2, -shared), pair_id, shared, f"shares {shared} words in a row with it"))

    def row(self, number: int) -> Row:
        """What was found of a line."""
        subject, best = f"line {number}", self._best.get(number)
        if best is None:
            return row("copied_text", subject, 0.0, float(RUN_WORDS), False, "repeats no caption")
        same = self._same[number]
        detail = best.how + (f"; {same} released pairs have this caption" if same else "")
        threshold = None if same else float(RUN_WORDS)
        return row("copied_text", subject, float(best.words), threshold, True, detail, best.pair_id)

    def _offer(self, number: int, match: _Match) -> None:
        """Keep the closer match; captions come in the order of their ids, so the first of equals."""
        best = self._best.get(number)
        if best is None or match.closeness < best.closeness:
            self._best[number] = match
