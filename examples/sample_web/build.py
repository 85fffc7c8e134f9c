"""Makes all of the sample web but ``web.yaml``, ``config.yaml`` and ``captions.csv``, which are written by hand.

For maintainers: it needs Debian's openclipart-svg and librsvg2-bin and the extras ``[dev,iscc]``, takes some minutes,
and gives the same files wherever librsvg and Pillow are of the same version. Users never run it.

    python -m fairshard.examples.sample_web.build

Steps: ``clipart`` renders the pictures; ``painting`` draws the paintings; ``listing``, ``planted``, ``in_files`` and
``repeated`` make the rows; ``optouts`` makes the registries, ``pages`` the web archive; this file checks that no two
pictures look alike, and writes the lists. The two paintings that other programs made (``in_files.KEPT``) stay as they are.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from . import FOLDER, clipart, hosts, in_files, listing, optouts, pages, painting, planted, repeated
from .listing import Row, draw, fingerprint
from .planted import MALFORMED, Gallery, Work

log = logging.getLogger(__name__)

PAINTINGS = 346
APART_PHASH, APART_PDQ, LEAST_QUALITY = 10, 60, 50
"""Two pictures differ in more bits than these, so that no radius in use merges them."""

PAINTING_QUALITY = 80
"""PDQ quality of a painting at least, so that its near-duplicates are surely found by the hash lists."""

PAIRS = pa.schema(
    [
        ("SAMPLE_ID", pa.int64()), ("URL", pa.string()), ("TEXT", pa.string()), ("HEIGHT", pa.int32()),
        ("WIDTH", pa.int32()), ("LICENSE", pa.string()), ("NSFW", pa.string()), ("similarity", pa.float32()),
        ("punsafe", pa.float32()), ("pwatermark", pa.float32()), ("AESTHETIC_SCORE", pa.float32()),
        ("CREATOR", pa.string()),
    ]
)  # fmt: skip
TRUTH = ("source", "source_row", "url", "fate", "stage", "kind", "group", "trap", "note")


def main(folder: Path = FOLDER) -> None:
    """Make everything."""
    pictures = clipart.make(folder)
    words = {line.path: line for line in clipart.described(folder)}
    known = [(picture, words[picture.path], (folder / "pictures" / picture.file).read_bytes()) for picture in pictures]
    _refuse_alike([(picture.file, body) for picture, _, body in known])
    gallery = Gallery(_paint(folder, [body for _, _, body in known]))
    rows = listing.rows(hosts.load(folder / "web.yaml"), known) + planted.rows(gallery) + in_files.rows(gallery)
    rows += planted.at_endpoint(gallery)
    rows += repeated.rows(rows)
    archive = pages.records(gallery)
    rows += planted.declared(gallery)
    pages.write(folder, archive)
    write_lists(folder, rows, [row for record in archive for row in record.rows])
    optouts.make(folder, rows)


def write_lists(folder: Path, rows: list[Row], archived: list[Row]) -> None:
    """Write both lists, in an order that mixes the kinds, and ``truth.csv``, also of the rows of the archive."""
    mixed = sorted(rows, key=lambda row: (row.last, draw(f"{row.url} {row.caption} {row.kind}")))
    pairs, more = ([row for row in mixed if row.more is which] for which in (False, True))
    pq.write_table(_pairs(pairs), folder / "pairs.parquet", compression="zstd", row_group_size=500)
    with (folder / "more.csv").open("w", encoding="utf-8", errors="surrogateescape", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("url", "caption", "creator"))
        writer.writerows(_cells(row) for row in more)
    with (folder / "truth.csv").open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(TRUTH)
        writer.writerows([*_truth("more", more), *_truth("pages", archived), *_truth("pairs", pairs)])
    log.info("%d rows in pairs, %d in more, %d in pages", len(pairs), len(more), len(archived))


def _pairs(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist([_laion(place, row) for place, row in enumerate(rows)], schema=PAIRS)


def _laion(place: int, row: Row) -> dict[str, object]:
    luck = draw(f"scores {row.url}")
    return {
        "SAMPLE_ID": draw(f"sample {place}") << 16 | place,
        "URL": row.url,
        "TEXT": row.caption,
        "HEIGHT": row.height_px,
        "WIDTH": row.width_px,
        "LICENSE": row.licence,
        "NSFW": "NSFW" if (row.p_unsafe or 0) > 0.5 else "UNLIKELY",
        "similarity": _score(row.similarity, 0.24, 0.38, luck),
        "punsafe": _score(row.p_unsafe, 0.0, 0.2, luck >> 4),
        "pwatermark": _score(row.p_watermark, 0.0, 0.5, luck >> 8),
        "AESTHETIC_SCORE": _score(None, 4.2, 6.8, luck >> 12),
        "CREATOR": row.creator,
    }


def _score(said: float | None, low: float, high: float, luck: int) -> float:
    return said if said is not None else round(low + (high - low) * (luck % 1009) / 1009, 4)


def _cells(row: Row) -> tuple[str, ...]:
    cells = (row.url or "", row.caption or "", row.creator or "")
    return (*cells, "one too many") if row.kind == MALFORMED else cells


def _truth(source: str, rows: list[Row]) -> Iterator[tuple[object, ...]]:
    for place, row in enumerate(rows):
        if row.fate:
            url = (row.url or "").strip()
            yield source, place, url, row.fate, row.stage, row.kind, row.group, str(row.trap).lower(), row.note


def _paint(folder: Path, others: list[bytes]) -> list[Work]:
    """Draw the paintings: one seed after the other, without those that look like a picture that is there."""
    out = folder / "paintings"
    out.mkdir(exist_ok=True)
    kept = [out / work.file for work, _, _ in in_files.KEPT]
    for old in set(out.iterdir()) - set(kept):
        old.unlink()
    seen = [fingerprint(body) for body in [*others, *(file.read_bytes() for file in kept)]]
    works: list[Work] = []
    seed = 0
    while len(works) < PAINTINGS:
        made, seed = painting.painted(seed), seed + 1
        ending = {5: "jpg", 11: "png"}.get(len(works) % 60, "webp")
        body = _saved(made, ending)
        mark = fingerprint(body)
        if mark[2] < PAINTING_QUALITY or any(_alike(mark, other) for other in seen):
            continue
        seen.append(mark)
        name = f"{made.subject}-{len(works) + 1:03d}.{ending}"
        (out / name).write_bytes(body)
        works.append(Work(name, made.caption, made.image.width, made.image.height))
    return works


def _saved(made: painting.Painting, ending: str) -> bytes:
    out = io.BytesIO()
    options = {"jpg": ("jpeg", {"quality": 85}), "png": ("png", {"optimize": True}), "webp": ("webp", {"quality": 80})}
    kind, how = options[ending]
    made.image.save(out, kind, **how)
    return out.getvalue()


def _alike(one: tuple[np.ndarray, np.ndarray, int], other: tuple[np.ndarray, np.ndarray, int]) -> bool:
    return int((one[0] != other[0]).sum()) <= APART_PHASH or int((one[1] != other[1]).sum()) <= APART_PDQ


def _refuse_alike(pictures: list[tuple[str, bytes]]) -> None:
    marks = [(name, fingerprint(body)) for name, body in pictures]
    flat = [name for name, mark in marks if mark[2] < LEAST_QUALITY]
    alike = [
        f"{name} and {other}"
        for place, (name, mark) in enumerate(marks)
        for other, second in marks[place + 1 :]
        if _alike(mark, second)
    ]
    if flat or alike:
        raise ValueError(f"too flat for PDQ: {flat}; too alike: {alike}: take them out of captions.csv")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
