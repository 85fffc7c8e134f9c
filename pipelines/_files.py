"""File systems by path or URL: reaching them, listing, moving, and what is said where one cannot be reached.

Everything that reads or writes a path a user gave goes through ``file_system``. Nothing that has been listed is
remembered: other processes write there, and a stale list would hide what they have committed.
"""

from __future__ import annotations

import posixpath
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import fsspec
from fsspec.core import has_magic
from fsspec.dircache import DirCache
from fsspec.spec import AbstractFileSystem
from pyarrow import fs as arrow_fs

from ..schemas.errors import FairshardError, InputError, ReleaseError

# Object stores, where the first part of a path is a bucket that somebody has to make.
_WITH_BUCKETS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "r2", "b2"})
# Packages of drivers: what they raise need not be an OSError.
_DRIVERS = frozenset({
    "aiobotocore", "aiohttp", "azure", "adlfs", "boto3", "botocore", "gcsfs", "google", "paramiko", "requests", "s3fs",
})  # fmt: skip


def file_system(path: str) -> tuple[Any, str]:
    """The file system of a path or URL that a user gave, and the path on it.

    Raises:
        InputError: of a protocol that is not known, or whose package is not installed.
    """
    try:
        fs, plain = fsspec.core.url_to_fs(path)
    except (ValueError, ImportError) as error:
        raise InputError(path, f"cannot be reached ({error})", "a path, or a URL that fsspec knows") from error
    if isinstance(fs.dircache, DirCache) and fs.dircache.use_listings_cache:
        fs.dircache.clear()
        fs.dircache.use_listings_cache = False  # not every driver takes this as an option
    return fs, plain


def require_reachable(path: str, *, write: bool = False) -> None:
    """Stop where a folder that is given by URL cannot be reached: no such bucket, no or other credentials, no answer.

    The folder itself need not be there. ``write``: try to write into it, too.

    Raises:
        ReleaseError: with what the driver said.
    """
    if "://" not in path:
        return
    fs, plain = file_system(path)
    bucket = plain.strip("/").partition("/")[0] if _WITH_BUCKETS & {fs.protocol, *fs.protocol} else ""
    try:
        fs.info(bucket) if bucket else fs.exists(plain)
    except FileNotFoundError as error:
        hint = "Make it, or mend the URL; AWS_ENDPOINT_URL says which S3 is asked, if not AWS"
        raise ReleaseError(path, f"there is no bucket '{bucket}'", "one that is there", hint) from error
    except Exception as error:
        raise _unreachable(path, "reached", error) from error
    if write:
        _try_to_write(fs, plain, path)


def _try_to_write(fs: Any, plain: str, path: str) -> None:
    probe = posixpath.join(plain, f".{uuid.uuid4().hex[:8]}.part")
    try:
        fs.makedirs(plain, exist_ok=True)
        fs.pipe_file(probe, b"")
        fs.rm_file(probe)
    except Exception as error:
        raise _unreachable(path, "written to", error) from error


def _unreachable(path: str, how: str, error: Exception) -> ReleaseError:
    hint = "Give the driver its credentials, as its own tools take them: for s3, environment or ~/.aws"
    return ReleaseError(path, f"cannot be {how} ({said(error)})", "a store that lets this user in", hint)


@contextmanager
def reached(path: str, refuse: Callable[[str, str], FairshardError]) -> Iterator[None]:
    """Turn whatever a remote file system raises, and each has errors of its own, into one of ours.

    Args:
        path: a path or URL; what goes wrong with local ones comes through.
        refuse: the error, from what was found and what to do.
    """
    try:
        yield
    except FairshardError:
        raise
    except Exception as error:
        if "://" not in path:
            raise
        protocol = path.partition("://")[0]
        hint = f"Check address, endpoint and credentials of {protocol}://, which come from the environment"
        raise refuse(f"cannot be reached ({said(error)})", hint) from error


def said(error: BaseException) -> str:
    """What a driver said, on one line."""
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__


def is_drivers(error: BaseException) -> bool:
    """Whether a file system's driver raised something of its own."""
    return type(error).__module__.partition(".")[0] in _DRIVERS


def listed(fs: AbstractFileSystem, folder: str, ending: str = "") -> list[str]:
    """What lies in a folder, sorted; nothing where there is none. A glob would trip over brackets in names."""
    try:  # not asked first whether it is there: on an object store that takes as long again
        return sorted(path for path in fs.ls(folder, detail=False) if path.endswith(ending))
    except FileNotFoundError:
        return []


def partition_files(folder: str, column: str, number: int) -> list[str]:
    """Files of one value of ``Engine.write(partition_by=...)``, as an engine reads them; none if no row had it."""
    fs, plain = file_system(f"{folder}/{column}={number}")
    return [fs.unstrip_protocol(path) if "://" in folder else path for path in listed(fs, plain, ".parquet")]


def move(fs: AbstractFileSystem, source: str, target: str) -> None:
    """Give a file another name. Object stores cannot: there it is copied, which is whole or not at all, then removed."""
    fs.makedirs(posixpath.dirname(target), exist_ok=True)
    if type(fs).mv is not AbstractFileSystem.mv:
        fs.mv(source, target)
        return
    fs.cp_file(source, target)  # the mv of those takes brackets in a name for a pattern
    fs.rm_file(source)


def remove_folder(fs: AbstractFileSystem, folder: str) -> None:
    """Remove a folder with all that is in it, if it is there."""
    if not fs.exists(folder):
        return
    if "file" in fs.protocol or not has_magic(folder):
        fs.rm(folder, recursive=True)
        return
    for path in fs.find(folder):  # rm takes brackets in a name for a pattern
        fs.rm_file(path)


def arrow_filesystem(path: str) -> tuple[arrow_fs.FileSystem, str]:
    """pyarrow's view of an fsspec path, for reading and writing Parquet."""
    fs, plain = file_system(path)
    local = "file" in fs.protocol
    return arrow_fs.LocalFileSystem() if local else arrow_fs.PyFileSystem(arrow_fs.FSSpecHandler(fs)), plain
