"""Pictures from any model beside the released picture that a copy-detection model finds nearest to each.

Hashes find the same picture again, cut, turned or compressed. Vectors of a model made for it find more: parts of a
picture in another one, and what was painted anew. How near is a copy depends on the model alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from ..schemas.tables import AUDIT
from ..udfs.decoding import Undecodable, decode
from . import _manifest
from ._audit_outputs import picture_bytes, picture_files
from ._audit_row import Row, row
from ._catalog import Catalog, open_release
from ._copy_model import CopyModel, Vectors
from ._picture_grid import Cell, grid
from ._release import Release
from ._release_vectors import nearest, pictures, release_vectors
from ._shards import shard_name

# Of sscd_disc_mixup: pairs of DISC that are more alike are copies with a precision of 90 % (README of SSCD).
SSCD_SIMILARITY = 0.75
WRITES = ("audit.parquet", "matches.png")
_SHOWN = 24
_AT_ONCE = 64

_BY_KEY = "SELECT key, pair_id FROM outcome WHERE outcome = 'released' AND list_contains($keys, key)"
_BY_ID = "SELECT pair_id, shard_id, key FROM outcome WHERE outcome = 'released' AND list_contains($ids, pair_id)"
_SHARDS = "SELECT DISTINCT shard_id FROM outcome WHERE outcome = 'released' AND shard_id IS NOT NULL ORDER BY shard_id"


def alike(
    folder: str | Path, release_dir: str, model: CopyModel, similarity: float | None = None, keep: Path | None = None
) -> list[Row]:
    """For each picture below a folder, the released picture that a model finds nearest.

    Args:
        folder: of pictures, such as generated ones, as ``audit.images`` takes it.
        release_dir: the release.
        model: which looks at both.
        similarity: cosine from which a picture is a finding; that of SSCD if not given, and none for a CLIP model, of
            which nothing is known beforehand.
        keep: a folder to keep the vectors of the release in.

    Returns:
        ``audit`` rows of the kind ``alike_picture``, one a file in the order of their names; a file that cannot be
        compared has no value. Value and threshold are cosines.

    Raises:
        InputError: no such folder, or nothing in it.
        ReleaseError: not a finished release, or one with a shard that is not the one that the manifest names.
        StageError: the model fails.
    """
    files, release = picture_files(Path(folder)), Release(release_dir)
    _manifest.require_unchanged(release, _manifest.load(release), "shards/", "pairs/")
    threshold = similarity if similarity is not None or model.kind == "CLIP" else SSCD_SIMILARITY
    vectors, errors = _vectors(files, model)
    catalog = open_release(release_dir)
    shards = [shard_name(found["shard_id"]) for found in catalog.dicts(_SHARDS)]
    compared = [name for name in files if name not in errors]
    found = nearest(vectors, release_vectors(release, shards, model, keep)) if compared else None
    if found is None:
        return [_not_compared(name, errors.get(name, "no released picture to compare with")) for name in files]
    ids = {known["key"]: known["pair_id"] for known in catalog.dicts(_BY_KEY, keys=sorted(set(found.keys)))}
    near = dict(zip(compared, zip(found.keys, found.similarity.tolist(), strict=True), strict=True))
    rows = []
    for name in files:
        if name in errors:
            rows.append(_not_compared(name, errors[name]))
            continue
        key, value = near[name]
        detail = f"nearest by {model.kind} {model.sha256[:8]}: sample {key}, similarity {value:.3f}"
        finding = threshold is not None and not value < threshold
        rows.append(row("alike_picture", name, value, threshold, finding, detail, ids.get(key)))
    return rows


def write(rows: Sequence[Row], folder: str | Path, release_dir: str, out: str | Path) -> None:
    """The rows as a table, and the nearest pictures beside their matches as a picture.

    Args:
        rows: of ``images`` and ``alike``.
        folder: where the pictures are.
        release_dir: the release.
        out: ``WRITES`` go there, each whole or not at all.
    """
    target = Release(str(out))
    batch = pa.RecordBatch.from_pylist([dict(found) for found in rows], schema=AUDIT.schema)
    target.write_parquet("audit.parquet", AUDIT.schema, [batch])
    shown = _nearest_first(rows)[:_SHOWN]
    released = _released(release_dir, [found["pair_id"] for found in shown if found["pair_id"] is not None])
    cells = [
        Cell(_picture(Path(folder) / found["subject"]), released.get(found["pair_id"] or 0),
             f"{found['subject']}: {found['detail'].partition('sample ')[2] or found['detail']}", found["finding"])
        for found in shown
    ]  # fmt: skip
    target.put("matches.png", grid("Each picture (left) and the released one nearest to it (right)", cells))


def _nearest_first(rows: Sequence[Row]) -> list[Row]:
    """By similarity where a model looked, else by bits for each bit of the radius; the very bytes first."""
    compared = [found for found in rows if found["value"] is not None and found["pair_id"] is not None]
    if seen := [found for found in compared if found["kind"] == "alike_picture"]:
        return sorted(seen, key=lambda found: (-(found["value"] or 0), found["subject"]))
    return sorted(
        compared, key=lambda found: ((found["value"] or 0) / ((found["threshold"] or 0) + 1), found["subject"])
    )


def _released(release_dir: str, ids: Sequence[int]) -> dict[int, Image.Image]:
    catalog, release = open_release(release_dir), Release(release_dir)
    return _of_ids(catalog, release, ids)


def _of_ids(catalog: Catalog, release: Release, ids: Sequence[int]) -> dict[int, Image.Image]:
    wanted = catalog.dicts(_BY_ID, ids=sorted(set(ids)))
    found: dict[int, Image.Image] = {}
    for shard in sorted({place["shard_id"] for place in wanted}):
        of_key = {place["key"]: place["pair_id"] for place in wanted if place["shard_id"] == shard}
        found |= {of_key[key]: picture for key, picture in pictures(release, shard_name(shard), of_key)}
    return found


def _vectors(files: Mapping[str, Path], model: CopyModel) -> tuple[Vectors, dict[str, str]]:
    """float32[n, d] of the files that can be decoded, in their order, and why the others cannot."""
    errors: dict[str, str] = {}
    parts = [model.vectors(some) for some in _decoded(files, errors)]
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32), errors


def _decoded(files: Mapping[str, Path], errors: dict[str, str]) -> Iterator[list[Image.Image]]:
    waiting: list[Image.Image] = []
    for name, path in files.items():
        try:
            waiting.append(Image.fromarray(decode(picture_bytes(path)).rgb))
        except Undecodable as error:
            errors[name] = f"no picture ({error.reason})"
        if len(waiting) == _AT_ONCE:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _picture(path: Path) -> Image.Image | None:
    try:
        return Image.fromarray(decode(picture_bytes(path)).rgb)
    except Undecodable:
        return None


def _not_compared(name: str, why: str) -> Row:
    return row("alike_picture", name, None, None, False, f"not compared: {why}")
