"""Asking hosts for their terms: the half of ``consult`` that needs the network.

robots.txt comes first. A host that does not answer it is asked for nothing else; of the others, the rest and the
licence files that robots.txt names are asked for together, or as slowly as its Crawl-delay says. What is still fresh from
an earlier run is not asked for again, and what gave no answer is.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas.config import Config, Job
from ..schemas.errors import Refused
from ..schemas.tables import HOST_FILE
from ..udfs.text import stable_hash
from ..udfs.urls import canonical_key, key_host
from ._clock import ahead
from ._files import arrow_filesystem
from ._host_asker import Asker, Key, answered, key_of
from ._politeness import CRAWL_DELAY
from ._store import Mark, Store, read_parquet

if TYPE_CHECKING:  # aiohttp is an extra
    pass

# What gave no answer is asked for again by a run this much later.
RETRY_UNANSWERED = timedelta(hours=1)
# Rows are sorted by origin and are looked up by it: readers skip the groups that cannot hold it.
_ROWS_A_GROUP = 1_000


@dataclass(frozen=True)
class Ask:
    """One partition of hosts to ask: what a worker is given.

    Attributes:
        root: work directory.
        partition, fingerprint: of the task.
        origins: Parquet files with the column ``origin``.
        http: keyword arguments of ``HttpOptions``.
        max_age_s: an answer younger than this is not asked for again,
        since: unless it is older than this.
        ask: False only reads what earlier runs stored.
    """

    root: str
    partition: str
    fingerprint: str
    origins: tuple[str, ...]
    http: tuple[tuple[str, Any], ...]
    max_age_s: float
    since: datetime | None
    ask: bool


def ask(task: Ask) -> int:
    """Ask the hosts of a partition and commit ``host_file`` rows. Returns the number of requests made."""
    store = Store(task.root)
    max_age = timedelta(seconds=task.max_age_s)
    known = known_files(store, "consult", task.partition, max_age, task.since)
    with store.task("consult", task.partition, task.fingerprint) as done:
        origins = sorted({origin for path in task.origins for origin in read_parquet(path)["origin"].to_pylist()})
        rows, requests, answers = asyncio.run(_ask_all(origins, known, dict(task.http) if task.ask else None))
        rows.sort(key=lambda row: (row["origin"], row["kind"], row["url"]))
        done.rows_in = len(origins)
        done.write("host_file", batches(rows))
        done.expires_at = _expiry(rows, max_age)
        unasked = {row["origin"] for row in rows if row["error"] == CRAWL_DELAY}
        delays = [row["crawl_delay_s"] for row in rows if row["origin"] in unasked and row["crawl_delay_s"] is not None]
        done.extra["crawl_delay_s"] = min(delays, default=None)
        done.extra["requests"] = dict(sorted(answers.items()))
    return requests


def in_time(mark: Mark, config: Config) -> bool:
    """Whether some of the hosts that a partition left for their Crawl-delay may be asked by now."""
    least = mark.extra.get("crawl_delay_s")
    return least is not None and least <= config.fetch.max_delay_s


def host_files(job: Job) -> str:
    """How host files are had: as the policy says, or as the config says if that is no laxer.

    Raises:
        Refused: the config is laxer than the policy.
    """
    config, policy = job.config.consult.host_files, job.policy.host_files
    chosen = config or policy
    order = ("fetch", "cached", "off")
    if order.index(chosen) > order.index(policy):
        raise Refused(
            "consult.host_files",
            f"is '{chosen}', but the policy {job.policy.name} says '{policy}'",
            hint=f"Leave it out, or use a policy that says 'host_files: {chosen}'",
        )
    return chosen


def options(shared: Mapping[str, Any], job: Job) -> dict[str, Any]:
    """Keyword arguments of ``HttpOptions`` for host files, from those that all stages share."""
    return {**shared, "total_timeout_s": job.config.consult.timeout_s, "retries": job.config.consult.retries}


def partition_of(origin: str, partitions: int) -> int:
    """The partition of ``consult`` that an origin belongs to: that of its host."""
    host = key_host(pa.array([canonical_key(origin + "/")], pa.string()))
    return (stable_hash(host)[0].as_py() or 0) % partitions


def known_files(
    store: Store, stage: str, partition: str, max_age: timedelta, since: datetime | None = None
) -> dict[Key, dict]:
    """Answers that an earlier run of the same partition stored, that are still fresh and not from before ``since``."""
    mark = store.mark(stage, partition)
    if mark is None:
        return {}
    rows = [row for name in mark.files.get("host_file", []) for row in read_parquet(store.path(name)).to_pylist()]
    now = datetime.now(UTC)
    oldest = max(now - max_age, since) if since else now - max_age
    in_time = (row for row in rows if row["fetched_at"] >= oldest and not ahead(row["fetched_at"], now))
    return {key_of(row): row for row in in_time if answered(row)}


def stored_files(store: Store, origins: Sequence[str], partitions: int) -> dict[str, list[dict]]:
    """Rows of ``host_file`` that ``consult`` has of some origins.

    Args:
        partitions: of ``consult``.
    """
    by_part: dict[int, list[str]] = {}
    for origin in origins:
        by_part.setdefault(partition_of(origin, partitions), []).append(origin)
    found: dict[str, list[dict]] = {}
    for part, names in by_part.items():
        mark = store.mark("consult", f"ask-{part:04d}")
        for name in mark.files.get("host_file", []) if mark else []:
            fs, plain = arrow_filesystem(store.path(name))
            for row in pq.read_table(plain, filesystem=fs, filters=[("origin", "in", names)]).to_pylist():
                found.setdefault(row["origin"], []).append(row)
    return found


def batches(rows: list[dict]) -> list[pa.RecordBatch]:
    """Rows of ``host_file``, sorted by origin, in groups that a reader may skip."""
    return pa.Table.from_pylist(rows, HOST_FILE.schema).to_batches(_ROWS_A_GROUP)


async def _ask_all(
    origins: list[str], known: Mapping[Key, dict], http: Mapping[str, Any] | None
) -> tuple[list[dict], int, Counter[str]]:
    """Rows of ``host_file``, how many files were asked for, and requests by class."""
    if http is None:
        return await Asker(None, known).all_files(origins), 0, Counter()
    from ._http import Client, HttpOptions

    async with Client(HttpOptions(**http)) as client:
        asker = Asker(client, known)
        return await asker.all_files(origins), asker.requests, client.requests


def _expiry(rows: list[dict], max_age: timedelta) -> datetime | None:
    """When some host has to be asked again."""
    if not rows:
        return None
    oldest = min(row["fetched_at"] for row in rows) + max_age
    if all(answered(row) for row in rows):
        return oldest
    return min(oldest, datetime.now(UTC) + RETRY_UNANSWERED)
