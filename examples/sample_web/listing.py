"""Makes the ordinary rows of the lists and their near-duplicates. Maintainers only: see ``build.py``."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace

import imagehash
import numpy as np
import pdqhash
from PIL import Image

from . import hosts
from .clipart import Described, Picture
from .variant import Variant, encoded

OPEN = (
    "photos.meadow.example/pictures",
    "meadow.example/pictures",
    "cdn.harbour.example/pictures",
    "static.orchard.example/pictures",
    "img.quarry.example/pictures",
    "gallery.lantern.example/pictures",
    "museum.willow.example/open",
    "archive.pebble.example/pictures",
    "bücher.example/bilder",
    "media.tidewater.example/pictures",
    "pictures.copper.example:8080/pictures",
    "art.juniper.example/pictures",
    "old.clover.example/pictures",
    "snow.glacier.example/pictures",
)
"""Host and folder of the ordinary rows."""

DERIVED = {
    "static.orchard.example/q30": 25,
    "static.orchard.example/reformatted": 25,
    "cdn.harbour.example/half": 25,
    "meadow.example/small": 20,
    "img.quarry.example/marked": 20,
    "gallery.lantern.example/bright": 15,
    "media.tidewater.example/png": 12,
    "art.juniper.example/q30": 10,
    "archive.pebble.example/large": 10,
}
"""Host and folder of the near-duplicates, and how many rows of each."""

PDQ_NEAR, PDQ_QUALITY = 24, 55
MIRRORED, TWICE_CAPTIONED = 10, 8


@dataclass(frozen=True)
class Row:
    """A row of a list, and what must become of it.

    Attributes:
        url, caption, creator, licence, width_px, height_px: as the list gives them.
        similarity, p_unsafe, p_watermark: scores as the list gives them; drawn by hash if None.
        fate: "" for an ordinary row; else released, rejected, dropped, duplicate, one_of_group or capped.
        stage: the stage that decides; several by ``|`` where either may.
        kind: what was planted.
        group: rows that belong together.
        trap: the row must be released although it looks as if it were to go, or the other way round.
        note: in words.
        more: it stands in ``more.csv``, not in ``pairs.parquet``.
        last: it stands behind the others of its list.
    """

    url: str | None
    caption: str | None
    creator: str | None = None
    licence: str = "?"
    width_px: int | None = None
    height_px: int | None = None
    similarity: float | None = None
    p_unsafe: float | None = None
    p_watermark: float | None = None
    fate: str = ""
    stage: str = ""
    kind: str = ""
    group: str = ""
    trap: bool = False
    note: str = ""
    more: bool = False
    last: bool = False


def draw(text: str) -> int:
    """A number from 0 to 2**32 - 1 that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode(errors="surrogateescape")).digest()[:4], "big")


def rows(web: dict[str, hosts.Host], known: list[tuple[Picture, Described, bytes]]) -> list[Row]:
    """All rows of real pictures: each once, some also as a near-duplicate, on a mirror or captioned twice."""
    known = sorted(known, key=lambda item: draw(item[0].file))
    made = [_ordinary(place, picture, words) for place, (picture, words, _) in enumerate(known)]
    near = list(_near(web, known, made))
    larger = {row.group for row in near if row.kind == "enlarged"}
    used = {row.group for row in near}
    made = [_replaced(row) if row.group in larger else row for row in made]
    spare = [item for item in known if item[0].file not in used]
    mirrored = [_mirror(item) for item in spare[:MIRRORED]]
    made = [row for row in made if row.group not in {one.group for pair in mirrored for one in pair}]
    twice = list(_twice(spare[MIRRORED:], {row.group: row for row in made}))
    captioned = {row.group for row in twice}
    made = [_one_of(row, "same_url") if row.group in captioned else row for row in made]
    plain = [row if row.fate else replace(row, group="") for row in made]
    return plain + near + twice + [row for pair in mirrored for row in pair]


def address(folder: str, name: str) -> str:
    """The URL of a name in "host/folder"."""
    return f"http://{folder}/{name}"


def fingerprint(body: bytes) -> tuple[np.ndarray, np.ndarray, int]:
    """pHash bits, PDQ bits and PDQ quality of a picture, as the published packages give them."""
    image = Image.open(io.BytesIO(body))
    pdq, quality = pdqhash.compute(np.asarray(image.convert("RGB")))
    return imagehash.phash(image).hash.flatten(), np.asarray(pdq, dtype=bool), quality


def distances(left: bytes, right: bytes) -> tuple[int, int]:
    """Bits in which the pHash, and in which the PDQ of two pictures differ."""
    one, other = fingerprint(left), fingerprint(right)
    return int((one[0] != other[0]).sum()), int((one[1] != other[1]).sum())


def _row(folder: str, name: str, picture: Picture, caption: str) -> Row:
    return Row(
        address(folder, name),
        caption,
        creator=picture.creator,
        licence="public domain",
        width_px=picture.width_px,
        height_px=picture.height_px,
        group=picture.file,
    )


def _ordinary(place: int, picture: Picture, words: Described) -> Row:
    foreign = words.translation and draw(f"language {picture.file}") % 100 < 45
    caption = words.translation if foreign else words.caption
    row = _row(OPEN[place % len(OPEN)], picture.file, picture, caption)
    return replace(row, more=draw(f"list {picture.file}") % 100 < 16)


def _near(web: dict[str, hosts.Host], known: list[tuple[Picture, Described, bytes]], made: list[Row]) -> Iterator[Row]:
    """Near-duplicates: one a picture, of pictures that stay recognisable to PDQ."""
    left = iter(zip(known, made, strict=True))
    for folder, count in DERIVED.items():
        host, _, path = folder.partition("/")
        variant = web[host].answer(f"/{path}/x").variant or Variant()
        found = 0
        while found < count:
            (picture, words, body), original = next(left)
            if _recognisable(body, variant):
                found += 1
                yield _derived(folder, variant, picture, words, original)


def _recognisable(body: bytes, variant: Variant) -> bool:
    copy = encoded(body, variant)
    near = distances(body, copy)[1] <= PDQ_NEAR
    return near and min(fingerprint(body)[2], fingerprint(copy)[2]) >= PDQ_QUALITY


def _derived(folder: str, variant: Variant, picture: Picture, words: Described, original: Row) -> Row:
    caption = words.caption if original.caption == words.translation else words.translation or words.caption
    name = f"{picture.file.rpartition('.')[0]}.{'jpg' if variant.encode == 'jpeg' else variant.encode}"
    row = replace(
        _row(folder, name, picture, caption),
        width_px=round(picture.width_px * variant.scale),
        height_px=round(picture.height_px * variant.scale),
        more=draw(f"copy {picture.file}") % 100 < 16,
    )
    if variant.scale > 1:
        return replace(row, fate="released", stage="dedup", kind="enlarged", trap=True, note="the keeper: most pixels")
    kind = folder.rpartition("/")[2]
    return replace(row, fate="duplicate", stage="dedup", kind=kind, note="near-duplicate with fewer pixels")


def _replaced(row: Row) -> Row:
    return replace(row, fate="duplicate", stage="dedup", kind="original", note="an enlarged copy has more pixels")


def _one_of(row: Row, kind: str) -> Row:
    return replace(row, fate="one_of_group", stage="dedup", kind=kind, note="one of the group stays")


def _mirror(item: tuple[Picture, Described, bytes]) -> tuple[Row, Row]:
    """The same bytes on two hosts."""
    picture, words, _ = item
    one, other = (
        _one_of(_row(f"{host}.tern.example/pictures", picture.file, picture, words.caption), "mirror") for host in "ab"
    )
    return one, other


def _twice(spare: list[tuple[Picture, Described, bytes]], made: dict[str, Row]) -> Iterator[Row]:
    """The same URL again, captioned in another language."""
    translated = [item for item in spare if item[1].translation][:TWICE_CAPTIONED]
    for picture, words, _ in translated:
        row = made[picture.file]
        other = words.caption if row.caption == words.translation else words.translation
        yield _one_of(replace(row, caption=other), "same_url")
