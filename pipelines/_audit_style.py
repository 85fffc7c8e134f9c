"""Whose released pictures a set of generated ones resembles most, by what the release-trained model sees.

Each creator is the mean of the vectors of their pictures. A generated picture is given to the nearest creator, if it is
as near as nine tenths of the creator's own pictures are; a creator to whom many more fall than chance gives stands out.
Chance is measured on real pictures: how often is this creator the nearest of a picture by somebody else, whose own
creator is left aside? A creator in the middle of all is often nearest by that alone.

This is likeness of what a model sees: subjects, colours, sharpness and medium as much as style. It is no finding of
law, and does not say where a likeness comes from.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..schemas.errors import InputError
from ..udfs.centroids import Centroids, centroids, unlikely_count
from . import _clip_embed, _manifest
from ._audit_outputs import picture_bytes, picture_files
from ._audit_row import Row, row
from ._catalog import open_release
from ._clip_model import of_run
from ._release import Release
from ._trained import Trained, read_run

# Of one creator: more would move a mean little, and cost as much as the first.
_MOST = 200
_BATCH = 64
_SHOWN = 3
# Over all creators together: one set in a hundred shows a creator that stands out by chance.
_LEVEL = 0.01

_PICTURES = """
SELECT key, name, creator, pictures FROM (
    SELECT key, name, min(trim(creator)) OVER (PARTITION BY name) AS creator, count(*) OVER (PARTITION BY name) AS pictures,
           row_number() OVER (PARTITION BY name ORDER BY stable_hash(key), key) AS place
    FROM (SELECT key, creator, name_key(creator) AS name FROM outcome WHERE outcome = 'released')
    WHERE name IS NOT NULL
)
WHERE pictures >= $minimum AND place <= $most
ORDER BY name, place
"""


@dataclass(frozen=True)
class _Creators:
    """Creators with enough pictures, by name as it is written, and some pictures of each."""

    names: list[str]
    keys: list[str]
    owners: NDArray[np.int64]


def style(folder: str | Path, release_dir: str, run_dir: str | Path, minimum: int = 10) -> list[Row]:
    """The creators whose released pictures those below a folder resemble most.

    Args:
        folder: of pictures, such as generated ones. Files whose name begins with a dot are passed over.
        release_dir: the release; creators are those that its sources state.
        run_dir: a run of ``fairshard train`` on it, whose model compares.
        minimum: released pictures that a creator needs.

    Returns:
        ``audit`` rows of the kind ``style``: first ``all``, how often real pictures find their own creator, which says
        what the model can tell at all, with chance as the threshold; then each creator who is nearest to any picture,
        as ``creator NAME``, with the share of the pictures, a finding from the share on which chance reaches in one set
        of a hundred, its threshold, null where so few pictures never are one; then each file with its nearest creators, value the cosine similarity to the nearest, null where
        it is no picture.

    Raises:
        MissingExtra: [train] is not installed.
        InputError: no such folder, no picture in it, or fewer than two creators with so many pictures.
        ReleaseError: not a finished release, one that does not verify, no finished run, or a run on another release.
        StageError: the checkpoint cannot be loaded.
    """
    _clip_embed.check_installed()
    files = picture_files(Path(folder))
    creators = _creators(release_dir, minimum)
    run = read_run(run_dir, release_dir)
    vectors = _seen(run, files)
    if not vectors:
        raise InputError(str(folder), f"holds {len(files)} files, and none is a picture", "pictures")
    samples = {sample.key: sample for sample in (*run.split.trained, *run.split.held_out)}
    released, _ = _clip_embed.embed(run, [samples[key] for key in creators.keys])
    return compared(vectors, list(files), creators.names, centroids(released, creators.owners))


def compared(vectors: dict[str, NDArray[np.float32]], files: list[str], names: list[str], by: Centroids) -> list[Row]:
    """The rows of ``style``.

    Args:
        vectors: of unit length, by file; a file that is no picture has none.
        files: all of them.
        names: of the creators.
        by: their centroids.
    """
    likeness = {name: by.vectors @ vector for name, vector in vectors.items()}
    nearest = by.nearest(np.stack(list(likeness.values())))
    counts = np.bincount(nearest[nearest >= 0], minlength=len(names))
    return [
        _calibration(names, by),
        *_shares(names, by, counts, len(nearest)),
        *(_file_row(file, likeness.get(file), names) for file in files),
    ]


def _calibration(names: list[str], by: Centroids) -> Row:
    own = 1 - by.others / by.pictures
    chance = float((own * by.nearest_of_others / by.others).sum())
    found = by.found_own / by.pictures
    detail = (
        f"of {by.pictures} released pictures of {len(names)} creators so many are nearest to their own creator, "
        f"{chance:.2%} by chance: that is what the model can tell"
    )
    return row("style", "all", found, chance, False, detail)


def _shares(names: list[str], by: Centroids, counts: NDArray[np.int64], total: int) -> Iterator[Row]:
    chances = by.chance()
    for place in sorted(np.flatnonzero(counts), key=lambda at: (-counts[at], names[at])):
        count, chance = int(counts[place]), float(chances[place])
        least = unlikely_count(total, chance, _LEVEL / len(names))
        tells = "" if least <= total else "so few pictures tell nothing. "
        detail = (
            f"nearest of all creators to {count} of {total} pictures; by chance to at most {chance:.2%}, as of real "
            f"pictures by others. {tells}Likeness, not a finding of law"
        )
        limit = None if tells else least / total
        yield row("style", f"creator {names[place]}", count / total, limit, count >= least, detail)


def _file_row(file: str, likeness: NDArray[np.floating] | None, names: list[str]) -> Row:
    if likeness is None:
        return row("style", file, None, None, False, "not compared: no picture")
    first = np.argsort(-likeness, kind="stable")[:_SHOWN]
    nearest = ", ".join(f"{names[place]} {likeness[place]:.3f}" for place in first)
    return row("style", file, float(likeness[first[0]]), None, False, f"nearest creators: {nearest}")


def _creators(release_dir: str, minimum: int) -> _Creators:
    _manifest.load(Release(release_dir))
    rows = open_release(release_dir).rows(_PICTURES, minimum=minimum, most=_MOST)
    names, keys = rows["creator"].to_pylist(), rows["key"].to_pylist()
    places: dict[str, int] = {}
    owners = [places.setdefault(name, len(places)) for name in rows["name"].to_pylist()]
    if len(places) < 2:
        raise InputError(release_dir, f"has {len(places)} creators with {minimum} pictures", "two at least",
                         "Lower --minimum, or compare with a release whose sources state creators")  # fmt: skip
    written = dict(zip(owners, names, strict=True))
    return _Creators([written[owner] for owner in range(len(places))], keys, np.array(owners))


def _seen(run: Trained, files: dict[str, Path]) -> dict[str, NDArray[np.float32]]:
    """Vectors of the files that are pictures."""
    import torch

    model, transform = of_run(run.folder, run.record).load()
    found: dict[str, NDArray[np.float32]] = {}
    with torch.inference_mode():
        for batch in _batches(files, transform):
            vectors = model.encode_image(torch.stack(list(batch.values())), normalize=True).numpy()
            found |= dict(zip(batch, vectors, strict=True))
    return found


def _batches(files: dict[str, Path], transform: Any) -> Iterator[dict[str, Any]]:
    batch: dict[str, Any] = {}
    for name, path in files.items():
        try:
            batch[name] = transform(Image.open(io.BytesIO(picture_bytes(path))).convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue
        if len(batch) == _BATCH:
            yield batch
            batch = {}
    if batch:
        yield batch
