"""Which copies of a picture perceptual hashes find at every radius, and which other pictures they take for copies.

    apt-get install openclipart-png
    python benchmarks/duplicates_quality.py --out quality
    python benchmarks/duplicates_quality.py --out quality --pictures ~/Pictures --limit 2000
    python benchmarks/duplicates_quality.py --out quality --model demo/run
    python benchmarks/duplicates_quality.py --out quality --model ViT-B-32.pt --architecture ViT-B-32

Of each picture copies are made: resized, compressed, cropped, turned and so on. The pictures and their copies of one
kind then lie in one heap, and all pairs in it are compared. A pair is right if it is a picture and its own copy; any
other is wrong, of two pictures, of two copies, or of a picture and the copy of another.

What is one picture: files with equal pixels as shown (upright, on white, at most 512 px) count as one, and all
others as different, also where one is the other in a second size, colour or design. Such variants are mostly of one
topic, that is in the same folder of the first two levels, or in a folder and one inside it, so precision is also
given without the pairs of a topic. Pictures with a side below 64 px or more than 8 million pixels are left out.

Distances of embeddings are cosine distances, shown in steps of 0.005. All is given twice: for all pictures, and for
those that are not their own mirror image (see ``is_symmetric``).
"""

from __future__ import annotations

import argparse
import csv
import functools
import io
import multiprocessing
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from duplicates_plot import plot
from duplicates_scores import (
    COSINE_STEPS,
    TOPICS,
    Hashes,
    Measure,
    Tally,
    cosine_steps,
    dihedral_bits,
    pdq_bits,
    phash_bits,
    tally,
    untied,
)
from PIL import Image
from planted_copies import CHANGES, DEBIAN, EASY, bmp, different, is_symmetric, pixel_digest, shown

from fairshard.pipelines._clip_model import ClipModel, architecture, of_run
from fairshard.pipelines._look_alike import PDQ_RADIUS
from fairshard.pipelines._trained import run_record
from fairshard.schemas.config import Dedup
from fairshard.udfs.decoding import decode
from fairshard.udfs.hashing import fingerprint

DEFAULT = Dedup()
# What finds copies with a watermark, too.
MARKS = Dedup(pdq_max_distance=31, colour_max_distance=12, colour_spared_cells=16)
AIM = {"recall": 0.99, "precision": 0.995}

MEASURES = {
    "pHash": Measure(phash_bits, 64),
    "PDQ": Measure(pdq_bits, 256),
    "dihedral PDQ": Measure(dihedral_bits, 256),
    "embedding": Measure(cosine_steps, 2 * COSINE_STEPS, needs_quality=False),
    "dedup": Measure(untied(DEFAULT), 1, needs_quality=False),
    "marks": Measure(untied(MARKS), 1, needs_quality=False),
}
# The radii of the table; the CSV has all. ``dedup`` has one.
SHOWN = {
    "pHash": DEFAULT.phash_max_distance or 0, "PDQ": PDQ_RADIUS, "dihedral PDQ": PDQ_RADIUS,
    "embedding": COSINE_STEPS // 20, "dedup": 0,
    "marks": 0,
}  # fmt: skip
_OF_ONE_RADIUS = ("dedup", "marks")
HEAPS = ("all", "not symmetric")
# The rule was chosen on one half of the pictures and is judged by the other.
HALVES = ("choosing half, not symmetric", "other half, not symmetric", "other half")
_HASHES = replace(DEFAULT, colour_max_distance=None)
_RULES = {
    "hashes: pHash 2": replace(_HASHES, phash_max_distance=2, confirming_pdq_max_distance=None),
    "hashes: pHash 2, PDQ 66": replace(_HASHES, phash_max_distance=2, confirming_pdq_max_distance=66),
    "hashes: PDQ 31": replace(_HASHES, phash_max_distance=None, pdq_max_distance=31),
    **{
        f"colours {levels}": replace(DEFAULT, colour_max_distance=levels) for levels in (12, 14, 16, 18, 20, 24, 32, 64)
    },
    "PDQ 66": replace(DEFAULT, confirming_pdq_max_distance=66),
    "PDQ 84": replace(DEFAULT, confirming_pdq_max_distance=84),
    "PDQ not asked": replace(DEFAULT, confirming_pdq_max_distance=None),
    "pHash 4": replace(DEFAULT, phash_max_distance=4),
    "pHash 8": replace(DEFAULT, phash_max_distance=8),
    "PDQ 31, too": replace(DEFAULT, pdq_max_distance=31),
    "marks": MARKS,
}
RULES = {name: Measure(untied(rule), 1, needs_quality=False) for name, rule in _RULES.items()}

Key = tuple[str, str, str]  # heap, change, measure
# sha256, pHash, PDQ, PDQ of all turns, quality, colours, vector
Row = tuple[bytes, int, bytes, bytes, int, bytes | None, Any]


class Line(NamedTuple):
    """A measure at a radius on one kind of copy: a line of the CSV."""

    pictures: str
    change: str
    measure: str
    radius: float
    recall: float
    precision: float
    precision_across_topics: float
    falsely_tied_share: float
    planted: int
    found: int
    wrong: int
    not_compared: int


def main() -> None:
    options = _options()
    if not options.pictures.is_dir():
        sys.exit(f"{options.pictures}: no such folder; apt-get install openclipart-png, or --pictures FOLDER")
    options.out.mkdir(parents=True, exist_ok=True)
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        paths = sorted(path for path in options.pictures.rglob("*") if path.is_file())
        chosen = different(dict(zip(paths, pool.map(pixel_digest, paths, 16), strict=True)), options.limit)
        if len(chosen) < 2:
            sys.exit(f"{options.pictures}: holds fewer than two different pictures")
        planter = functools.partial(fingerprints, model=_model(options))
        rows = pool.map(planter, chosen, 8)
        heaps = _heaps([path.relative_to(options.pictures) for path in chosen], rows)
        originals = heaps.pop("original")
        print(
            f"{len(chosen):,} different pictures of {len(paths):,} files; {int(originals.symmetric.sum()):,} symmetric;"
            f" {int((~originals.known).sum()):,} of PDQ quality below {DEFAULT.pdq_min_quality}"
        )
        print(_on_white(pool.map(tie_on_white, chosen, 16)))
        scored = pool.map(functools.partial(_scored, originals=originals), heaps.items(), 1)
    tallies = {key: found for part in scored for key, found in part.items()}
    _write([line for key, found in tallies.items() for line in _lines(*key, found)], options.out / "duplicates.csv")
    for pictures in HEAPS:
        _print(pictures, tallies)
    for pictures in HALVES:
        _print_choice(pictures, tallies)
    marks = {
        name: radius
        for name, radius in SHOWN.items()
        if (HEAPS[0], "flip", name) in tallies and name not in _OF_ONE_RADIUS
    }
    drawn = {name: (radius, max(MEASURES[name].most // 4, radius * 3 // 2)) for name, radius in marks.items()}
    plot(tallies, HEAPS, drawn, options.out)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, default=DEBIAN, help=f"a folder (default {DEBIAN})")
    parser.add_argument("--out", type=Path, required=True, help="folder for duplicates.csv and duplicates.png")
    parser.add_argument("--limit", type=int, help="at most so many pictures, by hash (default: all)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--model", type=Path, help="run folder or checkpoint of open_clip's, to compare embeddings too")
    parser.add_argument("--architecture", help="of a checkpoint: a name, or a JSON file")
    return parser.parse_args()


def _model(options: argparse.Namespace) -> ClipModel | None:
    if options.model is None:
        return None
    if options.model.is_dir():
        return of_run(options.model, run_record(options.model))
    if options.architecture is None:
        sys.exit("--model: a checkpoint needs --architecture")
    named = options.architecture
    described = named if named.endswith(".json") else str(architecture(named, "--architecture"))
    return ClipModel(str(options.model), described, None, None)


def fingerprints(path: Path, model: ClipModel | None = None) -> tuple[bool, list[Row]]:
    """Whether a picture is symmetric; its hashes as shown, then those of its copies in the order of ``CHANGES``."""
    picture = shown(path)
    if picture is None:
        raise FileNotFoundError(path)  # it was there when it was chosen
    files = [bmp(picture), *(change(picture) for change in CHANGES.values())]
    return is_symmetric(picture), [_row(file, model) for file in files]


def _row(file: bytes, model: ClipModel | None) -> Row:
    found = fingerprint(file, dihedral=True)
    turned = b"".join(found.pdq_dihedral or ())
    vector = _embedder(model)(file) if model else np.zeros(0, np.float32)
    hashes = bytes.fromhex(found.sha256), found.phash or 0, found.pdq or bytes(32), turned
    return *hashes, found.pdq_quality or 0, found.colours, vector


@functools.cache
def _embedder(model: ClipModel) -> Any:
    import torch

    torch.set_num_threads(1)
    network, transform = model.load()

    def embed(file: bytes) -> np.ndarray:
        with Image.open(io.BytesIO(file)) as picture, torch.inference_mode():
            batch = transform(picture.convert("RGB")).unsqueeze(0)
            return network.encode_image(batch, normalize=True)[0].numpy()

    return embed


def tie_on_white(path: Path) -> tuple[bool, bool] | None:
    """Of a file with transparency: whether its hashes are compared, and whether the default ties it to itself on white.

    Hashes are of the colours stored, as those of imagehash and pdqhash; copies are made of what is shown.
    """
    data, picture = path.read_bytes(), shown(path)
    if picture is None or decode(data).alpha is None:
        return None
    none = np.zeros(1, np.bool_)
    stored, white = (_hashes(none.astype(np.int64), none, [_row(file, None)]) for file in (data, bmp(picture)))
    return bool(stored.seen[0]), not MEASURES["dedup"].distance(stored, white)[0, 0]


def _on_white(found: list[tuple[bool, bool] | None]) -> str:
    transparent = [one for one in found if one is not None]
    compared, tied = (sum(column) for column in zip(*transparent, strict=True)) if transparent else (0, 0)
    return f"{len(transparent):,} files are transparent: {compared:,} are compared as stored, {tied:,} tied to a copy on white"


def _heaps(paths: list[Path], found: list[tuple[bool, list[Row]]]) -> dict[str, Hashes]:
    """The originals, and the copies of each kind."""
    parents = [path.parts[:-1] for path in paths]
    outer = {name: at for at, name in enumerate(sorted({"/".join(parent[:1]) for parent in parents}))}
    inner = {name: at for at, name in enumerate(sorted({"/".join(parent[:2]) for parent in parents}), 1)}
    topic = np.array([outer["/".join(of[:1])] * TOPICS + inner["/".join(of[:2])] * (len(of) > 1) for of in parents])
    symmetric = np.array([is_its_mirror for is_its_mirror, _ in found])
    names = ("original", *CHANGES)
    return {name: _hashes(topic, symmetric, [rows[at] for _, rows in found]) for at, name in enumerate(names)}


def _hashes(topic: np.ndarray, symmetric: np.ndarray, rows: list[Row]) -> Hashes:
    sha256, phash, pdq, turned, quality, colours, vector = zip(*rows, strict=True)
    return Hashes(
        topic=topic,
        symmetric=symmetric,
        sha256=np.frombuffer(b"".join(sha256), np.uint64)[::4],
        phash=np.array(phash, np.int64).view(np.uint64),
        pdq=np.frombuffer(b"".join(pdq), np.uint64).reshape(-1, 4),
        turned=np.frombuffer(b"".join(turned), np.uint64).reshape(-1, 8, 4),
        known=np.array(quality) >= DEFAULT.pdq_min_quality,
        colours=np.frombuffer(b"".join(one or bytes(768) for one in colours), np.uint8).reshape(-1, 768),
        seen=np.array([one is not None for one in colours]),
        vector=np.stack(vector),
    )


def _scored(heap: tuple[str, Hashes], originals: Hashes) -> dict[Key, Tally]:
    change, copies = heap
    found = {}
    for pictures, chosen in zip(HEAPS, (slice(None), ~originals.symmetric), strict=True):
        for name, measure in MEASURES.items():
            if name != "embedding" or copies.vector.size:
                found[pictures, change, name] = tally(measure, originals[chosen], copies[chosen])
    if change in EASY:
        first = np.arange(len(copies)) % 2 == 0
        halves = (first & ~originals.symmetric, ~first & ~originals.symmetric, ~first)
        for pictures, chosen in zip(HALVES, halves, strict=True):
            for name, measure in RULES.items():
                found[pictures, change, name] = tally(measure, originals[chosen], copies[chosen])
    return found


def _lines(pictures: str, change: str, measure: str, found: Tally) -> Iterator[Line]:
    scale = COSINE_STEPS if measure == "embedding" else 1
    planted, right, wrong = int(found.own.sum()), np.cumsum(found.own), np.cumsum(found.wrong)
    columns = np.stack(_shares(found), axis=1).round(5).tolist()
    for radius, shares in enumerate(columns[:1] if measure in _OF_ONE_RADIUS else columns):
        counts = [planted, int(right[radius]), int(wrong[radius]), int(found.own[-1])]
        yield Line._make([pictures, change, measure, radius / scale, *shares, *counts])


def _shares(found: Tally) -> list[np.ndarray]:
    return [found.recall(), found.precision(), found.precision(within_topics=False), found.tied_wrongly()]


def _write(lines: list[Line], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Line._fields)
        writer.writerows(lines)


def _print(pictures: str, tallies: dict[Key, Tally]) -> None:
    """At the radii of the defaults, and which radius would reach the aim."""
    measures = [name for name in MEASURES if (pictures, "flip", name) in tallies]
    print(f"\nPictures: {pictures}. Recall, precision, precision across topics, share of pictures with a false tie")
    print(" " * 16 + "".join(f"  {_headed(name):26}" for name in measures))
    for change in CHANGES:
        found = [(tallies[pictures, change, name], SHOWN[name]) for name in measures]
        cells = [" ".join(f"{column[radius]:6.4f}" for column in _shares(one)) for one, radius in found]
        print(f"{change:16}" + "".join(f"  {cell:27}" for cell in cells))
    print(
        f"\nPictures: {pictures}. The least radius of recall {AIM['recall']}, and its precision (aim {AIM['precision']})"
    )
    for change in EASY:
        cells = [_reach(tallies[pictures, change, name], name) for name in measures if name not in _OF_ONE_RADIUS]
        print(f"{change:16}" + "".join(f"  {cell:27}" for cell in cells))


def _print_choice(pictures: str, tallies: dict[Key, Tally]) -> None:
    """Of each rule, the least recall and precisions of the easy copies, brighter and darker aside."""
    even = [change for change in EASY if not change.startswith("brightness")]
    print(f"\nPictures: {pictures}. Least recall, precision, precision across topics, by rule")
    for name in RULES:
        shares = np.min(
            [[column[0] for column in _shares(tallies[pictures, change, name])[:3]] for change in even], axis=0
        )
        print(f"{name:26}" + " ".join(f"{share:6.4f}" for share in shares))


def _headed(measure: str) -> str:
    radius = SHOWN[measure] / COSINE_STEPS if measure == "embedding" else SHOWN[measure]
    return f"{measure} {radius}" if radius else measure


def _reach(found: Tally, measure: str) -> str:
    enough = found.recall() >= AIM["recall"]
    if not enough.any():
        return "none"
    radius = int(enough.argmax())
    all_pairs, across = found.precision()[radius], found.precision(within_topics=False)[radius]
    shown_radius = f"{radius / COSINE_STEPS:.3f}" if measure == "embedding" else f"{radius:3}"
    return f"{shown_radius}: {all_pairs:6.4f}, across {across:6.4f}"


if __name__ == "__main__":
    main()
