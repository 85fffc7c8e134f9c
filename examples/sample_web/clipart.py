"""Makes ``pictures/`` and ``pictures.csv`` from Debian's openclipart packages. Maintainers only: see ``build.py``.

Which pictures, and how they are described in English and one other language, is ``captions.csv``, written by hand.
"""

from __future__ import annotations

import csv
import hashlib
import html
import io
import re
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from .variant import on_white

CLIPART = Path("/usr/share/openclipart/svg")
RENDER_PX = 900
SIDE_PX = 320
PNG_MAX_BYTES = 12_000
"""A PNG that would be larger becomes a WebP, so that the folder stays small."""

NAMESPACES = {
    "cc": "http://web.resource.org/cc/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
}
PUBLIC_DOMAIN = ("http://web.resource.org/cc/PublicDomain", "http://creativecommons.org/licenses/publicdomain/")


@dataclass(frozen=True)
class Described:
    """A line of ``captions.csv``: path in the package without ``.svg``, and what one sees."""

    path: str
    caption: str
    language: str
    translation: str


@dataclass(frozen=True)
class Picture:
    """A line of ``pictures.csv``. Title, creator and keywords are those of the SVG's own metadata."""

    file: str
    title: str
    creator: str
    keywords: str
    licence: str
    path: str
    width_px: int
    height_px: int


def described(folder: Path) -> list[Described]:
    """The lines of ``captions.csv``."""
    with (folder / "captions.csv").open(encoding="utf-8", newline="") as lines:
        return [Described(**line) for line in csv.DictReader(lines)]


def make(folder: Path) -> list[Picture]:
    """Render, crop, encode and describe every picture of ``captions.csv``.

    Raises:
        ValueError: a picture is not in the public domain, or two would get the same name.
    """
    out = folder / "pictures"
    out.mkdir(exist_ok=True)
    for old in out.iterdir():
        old.unlink()
    pictures = [_make(line.path, out) for line in described(folder)]
    if len({Path(picture.file).stem for picture in pictures}) < len(pictures):
        raise ValueError("two pictures have the same name")
    write_table(folder / "pictures.csv", pictures)
    return pictures


def write_table(path: Path, rows: list[Picture]) -> None:
    """Write dataclasses as CSV, one column a field."""
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, list(asdict(rows[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _make(path: str, out: Path) -> Picture:
    source = CLIPART / f"{path}.svg"
    image = _cropped(_rendered(source))
    ending, body = _encoded(image, path)
    name = f"{_slug(path)}.{ending}"
    (out / name).write_bytes(body)
    return Picture(name, *_metadata(source), path, image.width, image.height)


def _rendered(source: Path) -> Image.Image:
    size = str(RENDER_PX)
    command = ["rsvg-convert", "-w", size, "-h", size, "-a", str(source)]
    return Image.open(io.BytesIO(subprocess.run(command, check=True, capture_output=True).stdout)).convert("RGBA")


def _cropped(image: Image.Image) -> Image.Image:
    """What is neither transparent nor white, with a margin, at most ``SIDE_PX`` long; transparent stays so."""
    seen = (np.asarray(image)[..., 3] > 8) & (np.asarray(on_white(image).convert("L")) < 248)
    rows, columns = np.where(seen.any(axis=1))[0], np.where(seen.any(axis=0))[0]
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    margin = max(4, max(box[2] - box[0], box[3] - box[1]) // 25)
    framed = image.crop((box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin))
    scale = SIDE_PX / max(framed.size)
    return framed.resize((round(framed.width * scale), round(framed.height * scale)), Image.Resampling.LANCZOS)


def _encoded(image: Image.Image, path: str) -> tuple[str, bytes]:
    """JPEG, WebP, PNG with transparency or PNG with a palette: by hash of the path, if it stays small."""
    draw = hashlib.sha256(path.encode()).digest()[0]
    if draw < 115:
        return "jpg", _saved(on_white(image), "jpeg", quality=76, optimize=True)
    if draw >= 190:
        body = _saved(_whitened(image) if draw < 225 else on_white(image).quantize(48), "png", optimize=True)
        if len(body) <= PNG_MAX_BYTES:
            return "png", body
    return "webp", _saved(on_white(image), "webp", quality=74, method=6)


def _whitened(image: Image.Image) -> Image.Image:
    """White under what is wholly transparent, since hashing tools drop the alpha channel."""
    pixels = np.array(image)
    pixels[pixels[..., 3] == 0] = (255, 255, 255, 0)
    return Image.fromarray(pixels, "RGBA")


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _slug(path: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", Path(path).name.lower()).strip("-")


def _metadata(source: Path) -> tuple[str, str, str, str]:
    """Title, creator, keywords (by semicolons) and licence from the SVG's RDF."""
    work = ElementTree.parse(source).find(".//cc:Work", NAMESPACES)
    if work is None:
        raise ValueError(f"{source}: says nothing about itself")
    licences = work.findall("cc:license", NAMESPACES)
    resource = f"{{{NAMESPACES['rdf']}}}resource"
    if not any(licence.get(resource) in PUBLIC_DOMAIN for licence in licences):
        raise ValueError(f"{source}: not marked as public domain")
    keywords = [_text(item.text) for item in work.findall(".//dc:subject//rdf:li", NAMESPACES)]
    return (
        _text(work.findtext("dc:title", namespaces=NAMESPACES)),
        _text(work.findtext("dc:creator/cc:Agent/dc:title", namespaces=NAMESPACES)),
        "; ".join(dict.fromkeys(keyword for keyword in keywords if keyword)),
        "public domain",
    )


def _text(text: str | None) -> str:
    return " ".join(html.unescape(text or "").split())
