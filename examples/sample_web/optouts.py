"""Makes ``registries/``: invented opt-outs and hash lists. Maintainers only: see ``build.py``."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

import imagehash
import iscc_lib
import numpy as np
from PIL import Image

from .listing import Row, fingerprint
from .planted import NOT_YET, OPTED_OUT, WITHDREW

PAST, FUTURE = "2020-01-01", "2120-01-01"


def make(folder: Path, rows: list[Row]) -> None:
    """Write every list that ``config.yaml`` names, from the rows they are about.

    Args:
        folder: the sample web; its ``paintings/`` are there already.
        rows: all rows.
    """
    out = folder / "registries"
    out.mkdir(exist_ok=True)
    _urls(out / "urls.csv", rows)
    _prefixes(out / "prefixes.csv")
    _text(out / "domains.txt", "Domains whose owners opted out; each covers its subdomains.",
          ["thistle.example", "unvisited.example"])  # fmt: skip
    _table(out / "hosts.csv", ("host", "declared_by"), [("solo.aspen.example", "Aspen Press"), ("z.aspen.example", "")])
    _creators(out / "creators.csv")
    _licences(out / "licences.csv", rows)
    _endpoint(out / "do-not-train.csv", rows)
    _hash_lists(out, folder / "paintings", rows)


def _of(rows: list[Row], kind: str, trap: bool = False) -> list[Row]:
    return [row for row in rows if row.kind == kind and row.trap is trap]


def _urls(path: Path, rows: list[Row]) -> None:
    listed = [(row.url, row.creator or "", PAST, "", "") for row in _of(rows, "registry_url")]
    # Another spelling of a URL is the same URL.
    listed[0] = ((listed[0][0] or "").replace("http://works.rowan", "https://WORKS.rowan") + "#frame", *listed[0][1:])
    listed += [(row.url, row.creator or "", FUTURE, "", "") for row in _of(rows, "registry_not_yet", True)]
    listed += [(row.url, row.creator or "", PAST, "2021-06-30", "") for row in _of(rows, "registry_withdrawn", True)]
    _table(path, ("url", "declared_by", "valid_from", "withdrawn_at", "evidence"), listed)


def _prefixes(path: Path) -> None:
    _table(
        path,
        ("url_prefix", "declared_by", "evidence"),
        [
            ("http://works.rowan.example/portfolio/", "Rowan Studio", "http://works.rowan.example/letter.pdf"),
            ("http://works.rowan.example/series/blue", "Rowan Studio", ""),
        ],
    )


def _creators(path: Path) -> None:
    rows = [(name, PAST, "") for name in OPTED_OUT[:-1]]
    rows.append((f" {OPTED_OUT[-1].upper()}", PAST, ""))  # case and surrounding space do not matter
    rows += [(WITHDREW, PAST, "2022-02-22"), (NOT_YET, FUTURE, "")]
    _table(path, ("creator", "valid_from", "withdrawn_at"), rows)


def _licences(path: Path, rows: list[Row]) -> None:
    evidence = "http://licence.alder.example/agreement.html"
    allowed = [(row.url, "allow", "Alder Archive", evidence) for row in _of(rows, "registry_allow", True)]
    _table(path, ("url", "action", "declared_by", "evidence"), allowed)


def _endpoint(path: Path, rows: list[Row]) -> None:
    """What the endpoint knows; it spells some URLs its own way. Of those without flags it says nothing."""
    out, silent = ([row.url or "" for row in _of(rows, kind)] for kind in ("endpoint", "endpoint_hold"))
    out[0] = out[0].replace("//", "//www.")
    out[1] = out[1].replace("http://heather", "HTTPS://Heather")
    listed = [(url.replace("~", "%7E"), "true", "false") for url in out]
    listed += [(row.url or "", "false", "true") for trap in (False, True) for row in _of(rows, "opt_in", trap)]
    _table(path, ("url", "optOut", "optIn"), [*listed, *((url, "", "") for url in silent)])


def _hash_lists(out: Path, paintings: Path, rows: list[Row]) -> None:
    def listed(kind: str) -> list[bytes]:
        return [_original(paintings, row) for row in _of(rows, f"hash_{kind}")]

    digests: dict[str, Callable[[bytes], str]] = {
        "md5": lambda body: hashlib.md5(body, usedforsecurity=False).hexdigest(),
        "sha256": lambda body: hashlib.sha256(body).hexdigest(),
    }
    _text(out / "md5.txt", "MD5 of files that must not be used.", map(digests["md5"], listed("md5")))
    sha256 = [(digests["sha256"](body).upper(), "invented") for body in listed("sha256")]  # case does not matter
    _table(out / "sha256.csv", ("sha256", "reason"), sha256)
    _text(out / "phash.txt", "64-bit pHash of pictures that must not be used.", map(_phash, listed("phash")))
    entries: list[tuple[object, ...]] = [(*_pdq(body), "active", "") for body in listed("pdq")]
    for row in _of(rows, "hash_pdq", True):
        body = _original(paintings, row)
        # One is taken back by its status, one by its date.
        gone = ("tombstoned", "") if row.group == "tombstoned" else ("active", "2023-03-03")
        entries.append((*_pdq(body), *gone))
    _table(out / "pdq.csv", ("pdq", "quality", "status", "withdrawn_at"), entries)
    _declared(out / "iscc.csv", paintings, rows)


def _declared(path: Path, paintings: Path, rows: list[Row]) -> None:
    by_file, by_look = (_isccs(_original(paintings, row)) for row in _of(rows, "iscc"))
    (withdrawn,) = (_isccs(_original(paintings, row)) for row in _of(rows, "iscc", True))
    listed = [(by_file["whole"], ""), (by_look["look"], ""), (withdrawn["whole"], "2024-02-29")]
    _table(path, ("iscc", "withdrawn_at"), listed)


def _isccs(body: bytes) -> dict[str, str]:
    """The Content-Code Image of a painting, and the code of the whole file. Paintings have no border to take off."""
    grey = Image.open(io.BytesIO(body)).convert("L").resize((32, 32), Image.Resampling.BICUBIC)
    codes = (
        iscc_lib.gen_image_code_v0(grey.tobytes(), 64),
        iscc_lib.gen_data_code_v0(body, 64),
        iscc_lib.gen_instance_code_v0(body, 64),
    )
    units = [code["iscc"] for code in codes]
    return {"look": units[0], "whole": iscc_lib.gen_iscc_code_v0(units)["iscc"]}


def _original(paintings: Path, row: Row) -> bytes:
    stem = PurePosixPath(row.url or "").stem
    return next(paintings.glob(f"{stem}.*")).read_bytes()


def _phash(body: bytes) -> str:
    return str(imagehash.ImageHash(fingerprint(body)[0].reshape(8, 8)))


def _pdq(body: bytes) -> tuple[str, int]:
    _, bits, quality = fingerprint(body)
    return np.packbits(bits).tobytes().hex(), quality


def _table(path: Path, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _text(path: Path, title: str, keys: Iterable[str]) -> None:
    path.write_text("\n".join([f"# {title} Invented.", *keys, ""]), encoding="utf-8")
