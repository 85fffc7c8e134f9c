"""Pictures of an earlier download by img2dataset, in the place of answers.

What img2dataset did not keep is recorded as unread: the headers of the responses and the redirects, always; the original
file, unless a hash that it noted shows that it is the one at hand.

Source: img2dataset 1.47, ``writer.py`` and ``downloader.py``.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas.verdicts import DENY, HOLD
from ..udfs.signals import Evidence, creators, x_robots_tag, xmp
from ._files import arrow_filesystem, file_system, listed
from ._gate import UNREAD
from ._img2dataset import NEEDED
from ._in_file import FREE_TEXT
from ._pixels import Look
from ._said import Said

_PICTURES = (".jpg", ".png", ".webp")
_HASHES = {"md5": 32, "sha256": 64, "sha512": 128}
_NOTED = (*NEEDED, "error_message", "original_width", "original_height", "exif", *_HASHES)
_BATCH_ROWS, _BATCH_PICTURES = 8_192, 64
_BROKEN = (tarfile.TarError, OSError, EOFError, ValueError, zlib.error, pa.ArrowException)

_FAILED = ("failed_to_download", "failed_to_resize")
_OPTED_OUT = "Use of image disallowed by X-Robots-Tag directive"
_NOT_KEPT = "not kept by img2dataset"
# `image` columns that only the original file can give.
_OF_ORIGINAL = ("mime", "size_bytes", "width_px", "height_px", "sha256", "md5", "iscc_instance")


@dataclass(frozen=True, slots=True)
class Stored:
    """A picture of a shard, in the place of an answer.

    Attributes:
        body: the file; empty where ``error`` is set.
        error: img2dataset's class of failure, ``missing_picture``, ``broken_shard``, ``too_large``, or ``stopped`` by
            what it says or does not say; None where there is a picture.
        detail: the error for people.
        said: what is known of its permission, and that the headers are not.
        noted: columns of the shard about the original.
    """

    hops: ClassVar[tuple[()]] = ()
    status: ClassVar[int] = 0
    final_url: ClassVar[None] = None

    body: bytes = b""
    error: str | None = None
    detail: str = ""
    said: tuple[Said, ...] = ()
    noted: Mapping[str, Any] = field(default_factory=dict)

    def seen(self, look: Look, at: datetime) -> Look:
        """A look at the file as a look at the original, of which it says nothing that it cannot know."""
        if "sha256" not in look.columns or self._is_original(look.columns):
            return replace(look, said=(*self.said, *look.said))
        lost = dict.fromkeys(name for name in _OF_ORIGINAL if name in look.columns)
        size = {"width_px": self._pixels("original_width"), "height_px": self._pixels("original_height")}
        columns = look.columns | lost | size
        columns |= {name: self._hash(name) for name in ("md5", "sha256")}
        artist, copyright_ = self._exif("Image Artist"), self._exif("Image Copyright")
        names = [*(look.columns.get("file_creators") or ()), *filter(None, map(str.strip, artist.split(";")))]
        columns["file_creators"] = list(dict.fromkeys(names))[: creators.MAX_CREATORS] or None
        said = [*self.said, *look.said, _unread("the original file", at)]
        if xmp.reserves_in_prose([copyright_]):
            said.append(Said(Evidence(FREE_TEXT, DENY, value=xmp.FREE_TEXT, source="exif"), at, "asset"))
        return replace(look, columns=columns, said=tuple(said))

    def _is_original(self, columns: Mapping[str, Any]) -> bool:
        found = {"sha512": hashlib.sha512(self.body).hexdigest()} if self._hash("sha512") else {}
        found |= {name: columns[name] for name in ("md5", "sha256")}
        return any(self._hash(name) == value for name, value in found.items())

    def _hash(self, name: str) -> str | None:
        text = str(self.noted.get(name) or "").lower()
        return text if re.fullmatch(f"[0-9a-f]{{{_HASHES[name]}}}", text) else None

    def _pixels(self, name: str) -> int | None:
        number = self.noted.get(name)
        return number if isinstance(number, int) and 0 < number < 2**31 else None

    def _exif(self, tag: str) -> str:
        """The value of a tag as exifread prints it."""
        try:
            tags = json.loads(self.noted.get("exif") or "{}")
        except (ValueError, RecursionError):
            return ""
        return str(tags.get(tag, "")) if isinstance(tags, dict) else ""


def pictures(
    shard: str, rows: Mapping[int, bool], refuses: Callable[[Said], bool], max_bytes: int
) -> Iterator[tuple[int, Stored]]:
    """The pictures of some rows of a shard, each once, in any order. Raises nothing that files can cause.

    Args:
        shard: path of its Parquet file.
        rows: numbers of the rows, from 0; whether a permission is recorded for it.
        refuses: whether a piece of evidence closes a picture without a permission. Then it is not read.
        max_bytes: longest file.
    """
    left, wanted = dict(rows), {}
    try:
        for row, noted in _noted(shard, rows):
            licensed = left.pop(row)
            found = _of_row(shard, noted)
            if not licensed and any(map(refuses, found.said)):
                found = replace(found, error="stopped")
            if found.error is None and (key := str(noted["key"])) not in wanted:
                wanted[key] = row, found
            else:
                yield row, found if found.error else replace(found, error="missing_picture", detail=shard)
        for key, body, error in _bodies(shard, wanted, max_bytes):
            row, found = wanted.pop(key)
            yield row, replace(found, body=body, error=error, detail=shard)
    except _BROKEN as error:
        broken, detail = "broken_shard", f"{shard}: {' '.join(str(error).split())[:200]}"
    else:
        broken, detail = "missing_picture", shard
    for row, found in [*wanted.values(), *((row, Stored()) for row in left)]:
        yield row, replace(found, error=broken, detail=detail)


def _of_row(shard: str, noted: Mapping[str, Any]) -> Stored:
    at, status, message = datetime.now(UTC), noted["status"], str(noted.get("error_message") or "")
    if status == "success":
        return Stored(said=(_unread("response headers and redirects", at),), noted=noted)
    said = ()
    if message == _OPTED_OUT:  # by which word is not known
        said = (Said(Evidence(x_robots_tag.KIND, DENY, value=message, source="img2dataset"), at, "asset"),)
    return Stored(error=status if status in _FAILED else "failed", detail=f"{shard}: {message[:300]}", said=said)


def _unread(what: str, at: datetime) -> Said:
    return Said(Evidence(UNREAD, HOLD, value=_NOT_KEPT, source=what), at, "asset")


def _noted(shard: str, rows: Mapping[int, bool]) -> Iterator[tuple[int, dict[str, Any]]]:
    fs, plain = arrow_filesystem(shard)
    with fs.open_input_file(plain) as opened:
        parquet = pq.ParquetFile(opened)
        columns = [name for name in _NOTED if name in parquet.schema_arrow.names]
        row = 0
        for batch in parquet.iter_batches(_BATCH_ROWS, columns=columns):
            found = batch.filter(pa.array([number in rows for number in range(row, row + batch.num_rows)]))
            numbers = (number for number in range(row, row + batch.num_rows) if number in rows)
            yield from zip(numbers, found.to_pylist(), strict=True)
            row += batch.num_rows


_Body = tuple[str, bytes, str | None]
"""Key, file and error of a picture."""


def _bodies(shard: str, keys: Mapping[str, Any], max_bytes: int) -> Iterator[_Body]:
    """The pictures of some keys, wherever they lie. A key is left out of ``keys`` when its picture has been given."""
    if not keys:
        return
    fs, plain = file_system(shard)
    stem = plain.removesuffix(".parquet")
    if column := _picture_column(shard):
        yield from _in_parquet(shard, column, keys, max_bytes)
    elif fs.exists(f"{stem}.tar"):
        yield from _in_tar(fs, f"{stem}.tar", keys, max_bytes)
    else:
        yield from _in_folder(fs, stem, keys, max_bytes)


def _picture_column(shard: str) -> str | None:
    fs, plain = arrow_filesystem(shard)
    with fs.open_input_file(plain) as opened:
        schema = pq.read_schema(opened)
    endings = (ending[1:] for ending in _PICTURES)
    return next((name for name in endings if name in schema.names and schema.field(name).type == pa.binary()), None)


def _in_parquet(shard: str, column: str, keys: Mapping[str, Any], max_bytes: int) -> Iterator[_Body]:
    fs, plain = arrow_filesystem(shard)
    with fs.open_input_file(plain) as opened:
        for batch in pq.ParquetFile(opened).iter_batches(_BATCH_PICTURES, columns=["key", column]):
            for key, data in zip(batch["key"].to_pylist(), batch[column], strict=True):
                if key in keys and data.is_valid:
                    yield (key, b"", "too_large") if len(data.as_buffer()) > max_bytes else (key, data.as_py(), None)


class _Member(tarfile.TarInfo):
    """A member whose header can be read. tarfile takes any other for the end."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> _Member:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # pyright: ignore[reportAttributeAccessIssue]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error


def _in_tar(fs: Any, path: str, keys: Mapping[str, Any], max_bytes: int) -> Iterator[_Body]:
    with fs.open(path, "rb") as opened, tarfile.open(fileobj=opened, mode="r|", tarinfo=_Member) as tar:
        for member in tar:
            tar.members = []  # or it would keep every header  # pyright: ignore[reportAttributeAccessIssue]
            key, ending = posixpath.splitext(posixpath.basename(member.name))
            file = tar.extractfile(member) if ending in _PICTURES and key in keys and member.isreg() else None
            if file is not None:
                yield (key, b"", "too_large") if member.size > max_bytes else (key, file.read(), None)


def _in_folder(fs: Any, folder: str, keys: Mapping[str, Any], max_bytes: int) -> Iterator[_Body]:
    for path in listed(fs, folder):
        key, ending = posixpath.splitext(posixpath.basename(path))
        if ending in _PICTURES and key in keys:
            yield (key, b"", "too_large") if fs.size(path) > max_bytes else (key, fs.cat_file(path), None)
