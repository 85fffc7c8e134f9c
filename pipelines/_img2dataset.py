"""Output folders of img2dataset: finding a download that somebody has made already.

A shard is a Parquet file of rows, with the pictures in a tar or a folder of the same number, or in a column of its own
(``output_format`` webdataset, files, parquet). ``_stored.py`` reads them.

Source: img2dataset 1.47, ``writer.py``.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from ..schemas.errors import SourceError
from ._files import listed

# Columns that a shard has besides those of any list.
NEEDED = ("key", "status")

_NUMBER = re.compile(r"\d+")


def shards(fs: Any, folder: str) -> list[str]:
    """Paths of the Parquet files of a folder's shards, sorted; none if it is no folder of img2dataset's.

    Raises:
        SourceError: pictures lie there without the rows that they belong to, or in TFRecords.
    """
    names = {posixpath.basename(path.rstrip("/")) for path in listed(fs, folder)}
    numbers = {PurePosixPath(name).stem for name in names if _NUMBER.fullmatch(PurePosixPath(name).stem)}
    rows = {number for number in numbers if f"{number}.parquet" in names}
    for number in sorted(numbers):
        if f"{number}.tfrecord" in names:
            raise SourceError(posixpath.join(folder, f"{number}.tfrecord"), "holds TFRecords", "tar, files or Parquet")
        if f"{number}.tar" in names and number not in rows:
            raise SourceError(posixpath.join(folder, f"{number}.tar"), f"has no {number}.parquet beside it",
                              "the rows of its pictures", "Let img2dataset finish, or move the tar away")  # fmt: skip
    beside = ({f"{number}_stats.json", f"{number}.tar", number} for number in rows)
    looks_like_it = any(not names.isdisjoint(some) for some in beside)
    return [posixpath.join(folder, f"{number}.parquet") for number in sorted(rows)] if looks_like_it else []


def stamp(fs: Any, shard: str) -> str:
    """Size and time of change of what holds a shard's pictures; empty where that is the Parquet file itself."""
    stem = shard.removesuffix(".parquet")
    place = next((path for path in (f"{stem}.tar", stem) if fs.exists(path)), None)
    info = fs.info(place) if place else {}
    return f"{info.get('size', '')}-{info.get('mtime') or info.get('LastModified') or info.get('created') or ''}"


def partition(source: str) -> str:
    """The partition of ``fetch`` that is made from a shard: its source's name, fit for a file's."""
    return quote(source, safe=" ,+=@")
