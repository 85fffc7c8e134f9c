"""WebDataset shards in img2dataset's layout, as tar files whose bytes depend on their content alone.

A sample is three members side by side, in the order of their names: ``KEY.jpg`` (or png, webp), ``KEY.json``,
``KEY.txt``. Headers carry no time, owner or user name.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from ..schemas.errors import ReleaseError
from ._release import Sink
from ._tar import member

_BLOCK = tarfile.BLOCKSIZE
# Of a header: type, magic and version; the first part of long names. Source: POSIX.1-2017, pax, "ustar Interchange Format".
_KIND, _REGULAR = slice(156, 157), b"0"
_PREFIX = slice(345, 500)
_SHARD_DIGITS = 5  # img2dataset's default, oom_shard_count
# What JSON of a sample may take: a caption and four URLs of the longest kind are far below.
_MEMBER_MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class Sample:
    """A sample read from a shard.

    Attributes:
        key: its key.
        parts: bytes by extension: ``jpg``, ``json``, ``txt``.
    """

    key: str
    parts: dict[str, bytes]


def shard_name(shard_id: int, ending: str = "tar") -> str:
    """Path in the release of a shard or of its sidecar."""
    return f"shards/{shard_id:0{_SHARD_DIGITS}d}.{ending}"


def sample_keys(shard_id: int, count: int, samples_per_shard: int) -> list[str]:
    """Keys of a shard's samples: shard number, then index in as many digits as the last index needs.

    Source: img2dataset 1.47, ``downloader.compute_key``, which takes ceil(log10(samples_per_shard)) digits.
    """
    digits = len(str(samples_per_shard - 1)) if samples_per_shard > 1 else 0
    width, first = digits + _SHARD_DIGITS, shard_id * 10**digits
    return [str(number).zfill(width) for number in range(first, first + count)]


def write_sample(sink: Sink, picture: bytes, ending: str, meta: dict[str, Any]) -> None:
    """Append one sample. ``meta`` is a row of the sidecar."""
    text = json.dumps(stated(meta), ensure_ascii=False)
    copy_sample(sink, Sample(meta["key"], {ending: picture, "json": text.encode(), "txt": meta["caption"].encode()}))


def stated(meta: dict[str, Any]) -> dict[str, Any]:
    """A row of the sidecar as the JSON of a sample gives it: without what is not known.

    Hugging Face's datasets takes the types of JSON from the first five samples, and fails at the first text in a
    column that was null in those.
    """
    return {name: value for name, value in meta.items() if value is not None}


def copy_sample(sink: Sink, sample: Sample) -> None:
    """Append a sample as it was read: the same parts give the same bytes."""
    for part in sorted(sample.parts):
        sink.write(member(f"{sample.key}.{part}", sample.parts[part]))


def finish(sink: Sink) -> None:
    """End the tar: two empty blocks, then up to a whole record, as tar does."""
    sink.write(bytes(2 * _BLOCK))
    sink.write(bytes(-sink.tell() % tarfile.RECORDSIZE))


def read_samples(file: IO[bytes], where: str) -> Iterator[Sample]:
    """The samples of a shard, in order.

    Raises:
        ReleaseError: not a tar, truncated, or a member that is no part of a sample.
    """
    key, parts = "", {}
    for name, data in _members(file, where):
        stem, dot, ending = name.partition(".")
        if not dot or "/" in name:
            raise ReleaseError(where, f"has a member '{name}'", "KEY.ENDING")
        if stem != key and parts:
            yield Sample(key, parts)
            parts = {}
        if ending in parts:
            raise ReleaseError(where, f"has the member '{name}' twice", "one of each name")
        key = stem
        parts[ending] = data
    if parts:
        yield Sample(key, parts)


def hex_phash(phash: pa.Array) -> pa.Array:
    """pHash in 16 hex digits, as imagehash prints it.

    Args: phash: int64[n]; null stays null.
    Returns: string[n].
    """
    return pa.array([None if bits is None else f"{bits & (2**64 - 1):016x}" for bits in phash.to_pylist()], pa.string())


def hex_bytes(data: pa.Array) -> pa.Array:
    """Bytes in hex, two digits each.

    Args: data: binary[n]; null stays null.
    Returns: string[n].
    """
    return pa.array([None if value is None else value.hex() for value in data.to_pylist()], pa.string())


def read_ranges(fs: Any, places: Sequence[tuple[str, int, int]]) -> list[bytes]:
    """Bytes of some (path, offset, size), each read on its own.

    Raises:
        ReleaseError: a file is missing or too short.
    """
    try:
        found = _ranges(fs, places)
    except OSError as error:
        raise ReleaseError(
            str(error.filename or places[0][0]), f"cannot be read ({error})", hint=_FETCH_AGAIN
        ) from error
    for (path, offset, size), data in zip(places, found, strict=True):
        if len(data) != size:
            raise ReleaseError(path, f"ends before byte {offset + size}", "the pictures fetched", _FETCH_AGAIN)
    return found


def _ranges(fs: Any, places: Sequence[tuple[str, int, int]]) -> list[bytes]:
    if not isinstance(fs, LocalFileSystem):
        paths, starts = [path for path, _, _ in places], [offset for _, offset, _ in places]
        return fs.cat_ranges(paths, starts, [offset + size for _, offset, size in places], on_error="raise")
    with contextlib.ExitStack() as opened:  # each file once
        files = {path: opened.enter_context(open(path, "rb", buffering=0)) for path in {path for path, _, _ in places}}
        return [os.pread(files[path].fileno(), size, offset) for path, offset, size in places]


_FETCH_AGAIN = "Delete the markers of the stage 'fetch' in the work directory and run again"


def _members(file: IO[bytes], where: str) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each file in a tar. Headers as shards have them are read here, all others by ``tarfile``."""
    try:
        while plain := _plain(header := file.read(_BLOCK)):
            name, size = plain
            data = file.read(size + -size % _BLOCK)
            if len(data) < size:
                raise ReleaseError(where, f"is not a whole tar (it ends in '{name}')", "a WebDataset shard")
            yield name, data[:size]
        file.seek(-len(header), io.SEEK_CUR)
        with tarfile.open(fileobj=file, mode="r|") as tar:
            for member in tar:
                data = tar.extractfile(member) if member.isreg() and member.size <= _MEMBER_MAX_BYTES else None
                if data is None:
                    raise ReleaseError(where, f"has a member '{member.name}' that is no small file", "a sample's part")
                yield member.name, data.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ReleaseError(where, f"is not a whole tar ({error})", "a WebDataset shard") from error


def _plain(header: bytes) -> tuple[str, int] | None:
    """Name and size of a regular file; None if the header is another, or needs a closer look."""
    if len(header) < _BLOCK or header[_KIND] != _REGULAR or any(header[_PREFIX]):
        return None
    try:
        name, size = header[:100].rstrip(b"\0").decode("ascii"), int(header[124:135], 8)
        whole = int(header[148:154], 8) == sum(header) - sum(header[148:156]) + 8 * ord(" ")
    except ValueError:
        return None
    return (name, size) if whole and 0 <= size <= _MEMBER_MAX_BYTES else None
