"""Asking one Do-Not-Train endpoint: batches of URLs go out, rows of ``answer`` come back.

Whatever an endpoint does, each URL gets one row; without an answer that can be read, its verdict is ``hold``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pyarrow as pa

from ..schemas.config import Endpoint, Job
from ..schemas.errors import RegistryError
from ..schemas.tables import ANSWER
from ..schemas.verdicts import HOLD
from ..udfs.arrow import pc
from ..udfs.signals import Evidence, url_registry
from ..udfs.urls import url_key
from ._answer import HttpOptions
from ._connect import Failure
from ._endpoints import max_age
from ._hosts import RETRY_UNANSWERED, options
from ._post import Poster
from ._progress import log
from ._said import parser

_MAX_ANSWER_BYTES = 16 * 1024 * 1024
_MAX_BATCH_BYTES = 4 * 1024 * 1024  # of URLs; a longer one goes alone
_GIVE_UP = 10  # requests in a row without a usable answer, after which an endpoint is not asked any more


class Asker:
    """Asks one endpoint.

    Attributes:
        name: of the registry.
        asked: URLs that it was asked about.
        held: URLs without an answer.
    """

    def __init__(self, endpoint: Endpoint, poster: Poster, max_age: timedelta, at_once: int):
        self.name, self.asked, self.held = endpoint.name, 0, 0
        self._endpoint, self._poster, self._max_age, self._at_once = endpoint, poster, max_age, at_once
        self._failed = 0
        self._why = ""

    def answers(self, runner: asyncio.Runner, urls: Iterable[str]) -> Iterator[pa.RecordBatch]:
        """Rows of ``answer`` about many URLs, a few requests' worth at a time."""
        batches = _batches(urls, self._endpoint.batch_urls)
        while group := list(islice(batches, self._at_once)):
            yield runner.run(self._rows(group))

    def again(self, rows: pa.RecordBatch) -> datetime:
        """When to ask for some rows of ``answer`` again. Takes note of those that are no answer."""
        due = pc.min(rows["answered_at"]).as_py() + self._max_age
        holds = pc.sum(pc.equal(rows["verdict"], HOLD)).as_py()
        self.held += holds
        return min(due, datetime.now(UTC) + RETRY_UNANSWERED) if holds else due

    def warn(self) -> None:
        """Say how many URLs have no answer."""
        if self.held:
            log.warning("registry %s: no answer about %d URL(s), held until a later run asks again (%s)",
                        self.name, self.held, self._why)  # fmt: skip

    async def _rows(self, batches: Sequence[list[str]]) -> pa.RecordBatch:
        found = await asyncio.gather(*map(self._ask, batches))
        urls = pa.array([url for batch in batches for url in batch], pa.string())
        said = [evidence for part in found for evidence in part]
        columns: dict[str, Any] = {
            "registry": pa.repeat(self.name, len(urls)),
            "endpoint": pa.repeat(self._endpoint.url, len(urls)),
            "url": urls,
            "url_key": url_key(urls),
            "verdict": pa.array([one.verdict for one in said], pa.string()),
            "value": pa.array(["; ".join(filter(None, (one.value, one.detail))) for one in said], pa.string()),
            "answered_at": pa.repeat(pa.scalar(datetime.now(UTC), ANSWER.schema.field("answered_at").type), len(urls)),
            "parser": pa.repeat(parser(), len(urls)),
        }
        return pa.RecordBatch.from_arrays([columns[name] for name in ANSWER.schema.names], ANSWER.schema.names)

    async def _ask(self, urls: list[str]) -> list[Evidence]:
        """Evidence about each URL of a batch."""
        if self._failed >= _GIVE_UP:
            return _hold(urls, f"not asked, after {_GIVE_UP} requests in a row without a usable answer")
        self.asked += len(urls)
        # Spawning's API wants at least two lines: a single URL is followed by an empty one.
        body = "\n".join(urls if len(urls) > 1 else [*urls, ""]).encode()
        try:
            found = url_registry.answers(await self._poster.post(body), urls)
        except Failure as failure:
            found = _hold(urls, ": ".join(filter(None, ("no answer", failure.code, failure.detail))))
        held = [one for one in found if one.verdict == HOLD]
        self._failed = self._failed + 1 if len(held) == len(found) else 0
        self._why = held[0].detail if held else self._why
        return found


async def open_askers(job: Job, shared: Mapping[str, Any], stack: AsyncExitStack) -> list[Asker]:
    """An asker for each endpoint of a job; ``stack`` closes their connections.

    Args:
        shared: keyword arguments of ``HttpOptions`` that all stages share.

    Raises:
        RegistryError: as ``check``.
    """
    made = []
    for endpoint in job.config.endpoints:
        poster = await stack.enter_async_context(_poster(endpoint, job, shared))
        made.append(Asker(endpoint, poster, max_age(endpoint, job.policy), job.config.fetch.per_host))
    return made


def check(job: Job, shared: Mapping[str, Any]) -> None:
    """Refuse a job with an endpoint that could not be asked. Requests nothing.

    Raises:
        RegistryError: its key is not in the environment, or its address may not be asked.
    """
    for endpoint in job.config.endpoints:
        _poster(endpoint, job, shared)


def _poster(endpoint: Endpoint, job: Job, shared: Mapping[str, Any]) -> Poster:
    headers = {"Content-Type": "text/plain", "Accept": "application/json", **_authorization(endpoint)}
    try:
        return Poster(endpoint.url, headers, HttpOptions(**{**options(shared, job), "max_bytes": _MAX_ANSWER_BYTES}))
    except Failure as failure:
        raise RegistryError(
            f"registry {endpoint.name}", f"'{endpoint.url}' may not be asked ({failure.code}: {failure.detail})",
            "a public http or https URL", "For an intranet, set fetch.allow_private",
        ) from failure  # fmt: skip


def _authorization(endpoint: Endpoint) -> dict[str, str]:
    if endpoint.key_env is None:
        return {}
    key = os.environ.get(endpoint.key_env, "").strip()
    if not (key and key.isascii() and key.isprintable()):
        raise RegistryError(
            f"registry {endpoint.name}", f"the environment variable {endpoint.key_env} holds no API key",
            "a line of ASCII text", f"Set {endpoint.key_env}, or leave out 'key_env' if the endpoint takes none",
        )  # fmt: skip
    return {"Authorization": key if " " in key else f"API {key}"}  # the scheme that Spawning's API takes


def _hold(urls: Sequence[str], why: str) -> list[Evidence]:
    return [Evidence(url_registry.KIND, HOLD, detail=why)] * len(urls)


def _batches(urls: Iterable[str], most: int) -> Iterator[list[str]]:
    """Lists of at most so many URLs, and of bounded size."""
    batch: list[str] = []
    size = 0
    for url in urls:
        if batch and (len(batch) == most or size + len(url) > _MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(url)
        size += len(url)
    if batch:
        yield batch
