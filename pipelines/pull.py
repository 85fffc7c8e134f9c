"""New snapshots of a job's registries, from where ``pull_from`` says, each put in place once it has been read.

A snapshot takes the place of the last one in one step, and only if every rule of ``_registries`` lets it: the format,
the share of unreadable entries, an entry that can be used. One with less than half the entries of the last is refused
too, since a list that was cut off looks like a list from which nearly everybody has withdrawn. Where anything is wrong
the last snapshot stays as it is and grows older, and the policy's ``registry_max_age_days`` refuses a run that would
use it for too long. A snapshot is as old as its pull, whatever the server says.
"""

from __future__ import annotations

import os
import posixpath
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec

from ..schemas.config import Job, Registry
from ..schemas.errors import FairshardError, InputError, RegistryError
from ._files import file_system
from ._registries import Loaded, forget, load_one
from ._registry_file import ending

LEAST_SHARE = 0.5
_CONNECT_S, _SILENT_S = 30, 60


@dataclass(frozen=True)
class Pulled:
    """What became of one registry.

    Attributes:
        name: of the registry.
        path: of its snapshot.
        rules: entries of the snapshot now in place; None if there is none, or none that can be read.
        rules_before: of the last one; None as above.
        changed: whether the bytes are others than before.
        error: why the last snapshot stayed; None if it did not.
    """

    name: str
    path: str
    rules: int | None
    rules_before: int | None
    changed: bool
    error: str | None = None


def pull(job: Job) -> list[Pulled]:
    """Pull every registry of a job that has ``pull_from``; one that fails keeps none of the others.

    Raises:
        InputError: no registry has ``pull_from``.
    """
    registries = [registry for registry in job.config.registries if registry.pull_from]
    if not registries:
        raise InputError("registries", "none has 'pull_from'", "where to pull at least one of them from")
    return [_pulled(job, registry) for registry in registries]


def line(pulled: Pulled) -> str:
    """What became of a registry, in words."""
    if pulled.error:
        return (
            f"{pulled.name}: NOT pulled, {'the last snapshot stays' if pulled.rules is not None else 'none is there'}"
        )
    before = "none" if pulled.rules_before is None else f"{pulled.rules_before:,}"
    return f"{pulled.name}: {pulled.rules:,} entries ({before} before{'' if pulled.changed else ', unchanged'})"


def _pulled(job: Job, registry: Registry) -> Pulled:
    path = job.path(registry.path)
    last = _last(registry, path)
    before = last.rules.num_rows if last else None
    try:
        with _staged(path) as staged:
            Path(staged).write_bytes(_read(registry, job.path(registry.pull_from or "")))
            new = load_one(registry, staged)
            _require_size(registry, path, new, last)
            _put(staged, path, registry)
    except FairshardError as error:
        return Pulled(registry.name, path, before, before, False, str(error))
    finally:
        forget()
    return Pulled(registry.name, path, new.rules.num_rows, before, last is None or last.sha256 != new.sha256)


def _last(registry: Registry, path: str) -> Loaded | None:
    try:
        return load_one(registry, path)
    except (RegistryError, InputError):  # missing, or nothing to compare with
        return None


def _read(registry: Registry, url: str) -> bytes:
    options: dict[str, Any] = {}
    if urlsplit(url).scheme in ("http", "https"):
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENT_S)
        options = {"client_kwargs": {"timeout": timeout, "trust_env": True}}
    try:
        fs, plain = fsspec.core.url_to_fs(url, **options)
        return fs.cat_file(plain)
    except Exception as error:  # of any file system; whatever it is, there is no new snapshot
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise RegistryError(
            f"registry {registry.name}", f"cannot be pulled ({said})", "a list that can be read"
        ) from error


def _require_size(registry: Registry, path: str, new: Loaded, last: Loaded | None) -> None:
    if last and new.rules.num_rows < LEAST_SHARE * last.rules.num_rows:
        raise RegistryError(
            f"registry {registry.name}",
            f"has {new.rules.num_rows:,} entries where the last snapshot had {last.rules.num_rows:,}",
            f"at least {LEAST_SHARE:.0%} of them",
            f"If so many have withdrawn, move '{path}' away and pull again",
        )


@contextmanager
def _staged(path: str) -> Iterator[str]:
    """A file beside the snapshot with the same ending, so that it is read the same way and takes one step to move."""
    folder, name = posixpath.split(path)
    if "://" in path:
        import tempfile

        with tempfile.TemporaryDirectory() as scratch:
            yield f"{scratch}/{name}"
        return
    staged = f"{folder}/.{name}.{os.getpid()}{ending(path)}"
    try:
        os.makedirs(folder, exist_ok=True)
        yield staged
    except OSError as error:
        raise InputError(
            path, f"cannot be written ({error.strerror or error})", "a folder that can be written to"
        ) from error
    finally:
        Path(staged).unlink(missing_ok=True)


def _put(staged: str, path: str, registry: Registry) -> None:
    if "://" in path:
        fs, plain = file_system(path)
        fs.put_file(staged, plain)
        return
    if os.path.exists(path):
        shutil.copymode(path, staged)
    elif registry.sensitive:
        os.chmod(staged, 0o600)
    os.replace(staged, path)
