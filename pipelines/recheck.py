"""The latest release of a job against its registries of today, and the next release where somebody has opted out since.

The next releases of ``release`` are called ``release-2``, ``release-3`` and so on, beside it. Each says in its manifest
which one it follows, by the hash of that one's manifest. The latest is found by following these from the job's own
``release_dir``; releases of an earlier run of the job, which lead elsewhere, are passed over.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from ..schemas.config import Job, Registry
from ..schemas.errors import InputError, ReleaseError
from . import _chain, _manifest, _registries, takedown
from ._files import listed
from ._registries import Loaded
from ._release import Release
from .takedown import Taken
from .verify import line, secret_names, verify


def latest(job: Job) -> str:
    """The release of a job that no other follows.

    Raises:
        ReleaseError: the job has no release, or one that is unfinished.
    """
    here = _chain.member(job.release_dir)
    after = {one.previous: one for one in _later(job)}
    while (found := after.pop(here.sha256, None)) is not None:
        here = found
    return here.folder


def recheck(job: Job, now: datetime | None = None) -> tuple[str, Taken]:
    """Check the latest release whole, and make the next one without what the job's registries forbid today.

    Returns:
        The release that was checked, and what was taken down; ``Taken.release`` is None if there was nothing.

    Raises:
        InputError: the job has no registry.
        RegistryError: one is missing, too old for the policy, or cannot be read.
        ReleaseError: there is no release, or it is not what its manifest says.
        MissingExtra: as ``takedown``.
    """
    now = now or datetime.now(UTC)
    if not job.config.registries:
        raise InputError("registries", "is empty", "at least one to check the release against")
    folder = latest(job)
    lists = _lists(job, folder, now)
    findings = verify(folder)
    if findings:
        raise ReleaseError(folder, f"{len(findings)} findings, such as {line(findings[0])}", "the release as published",
                           f"See `fairshard verify {folder}`; nothing was written")  # fmt: skip
    return folder, takedown.next_release(folder, _free(job), lists, now)


def _lists(job: Job, folder: str, now: datetime) -> list[Loaded]:
    """The registries of a job; one that a release calls sensitive stays so."""
    _registries.check(job, now)
    secret = secret_names(_manifest.load(Release(folder)))

    def read(registry: Registry) -> Loaded:
        hidden = registry.sensitive or posixpath.splitext(registry.name)[0] in secret
        return _registries.load_one(replace(registry, sensitive=hidden), job.path(registry.path))

    return [read(registry) for registry in job.config.registries]


def _numbered(job: Job) -> list[str]:
    """What lies beside the job's release under names of later ones."""
    release = Release(job.release_dir)
    parent, name = posixpath.split(release.base)
    numbered = re.compile(re.escape(name) + r"-[0-9]+")
    names = (posixpath.basename(path.rstrip("/")) for path in listed(release.fs, parent))
    return [f"{posixpath.split(job.release_dir)[0]}/{other}" for other in names if numbered.fullmatch(other)]


def _later(job: Job) -> Iterator[_chain.Member]:
    for folder in _numbered(job):
        with suppress(ReleaseError):  # no release, or one that is unfinished
            yield _chain.member(folder)


def _free(job: Job) -> str:
    numbers = [int(folder.rpartition("-")[2]) for folder in _numbered(job)]
    return f"{job.release_dir}-{max(numbers, default=1) + 1}"
