"""Asking hosts for their terms: the half of ``consult`` that needs the network.

robots.txt comes first. A host that does not answer it is asked for nothing else; of the others, the rest and the
licence files that robots.txt names are asked for together. What is still fresh from an earlier run is not asked for
again, and what gave no answer is.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from ..schemas.config import Job
from ..schemas.errors import Refused
from ..schemas.tables import HOST_FILE
from ..udfs.signals import ai_txt, robots_txt, tdmrep
from ..udfs.signals.robots_lines import MAX_BYTES
from ..udfs.text import stable_hash
from ..udfs.urls import canonical_key, key_host
from ._store import Store, read_parquet
from ._terms import MAX_LICENCE_FILES, licence_files, robots_of

if TYPE_CHECKING:  # aiohttp is an extra
    from ._http import Client, Fetched

Key = tuple[str, str, str]
"""Of a row of ``host_file``: origin, kind, URL."""


class File(NamedTuple):
    """What a host is asked for: where it lies and how much of it is read; ``cut``: of a longer one, the beginning."""

    path: str
    max_bytes: int
    cut: bool


# RFC 9309, section 2.5: a longer robots.txt is read up to the limit. Half a JSON or XML file says nothing.
ROBOTS = File(robots_txt.SOURCE, MAX_BYTES, cut=True)
FILES = {
    "ai_txt": File(ai_txt.SOURCE, MAX_BYTES, cut=True),
    "tdmrep_json": File(tdmrep.FILE, tdmrep.MAX_BYTES, cut=False),
}
LICENCE = File("", 1024 * 1024, cut=False)
_BY_KIND = {"robots_txt": ROBOTS, **FILES, "rsl": LICENCE}

# What gave no answer is asked for again by a run this much later.
RETRY_UNANSWERED = timedelta(hours=1)
# Hosts asked side by side. Requests at once are bounded by the client; a host that pauses holds one of these places.
_HOSTS_AT_ONCE = 400
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
        max_age_s: an answer younger than this is not asked for again.
        ask: False only reads what earlier runs stored.
    """

    root: str
    partition: str
    fingerprint: str
    origins: tuple[str, ...]
    http: tuple[tuple[str, Any], ...]
    max_age_s: float
    ask: bool


def ask(task: Ask) -> int:
    """Ask the hosts of a partition and commit ``host_file`` rows. Returns the number of requests made."""
    store = Store(task.root)
    max_age = timedelta(seconds=task.max_age_s)
    known = known_files(store, "consult", task.partition, max_age)
    with store.task("consult", task.partition, task.fingerprint) as done:
        origins = sorted({origin for path in task.origins for origin in read_parquet(path)["origin"].to_pylist()})
        rows, requests = asyncio.run(_ask_all(origins, known, dict(task.http) if task.ask else None))
        rows.sort(key=lambda row: (row["origin"], row["kind"], row["url"]))
        done.rows_in = len(origins)
        done.write("host_file", batches(rows))
        done.expires_at = _expiry(rows, max_age)
    return requests


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


def known_files(store: Store, stage: str, partition: str, max_age: timedelta) -> dict[Key, dict]:
    """Answers that an earlier run of the same partition stored and that are still fresh."""
    mark = store.mark(stage, partition)
    if mark is None:
        return {}
    rows = [row for name in mark.files.get("host_file", []) for row in read_parquet(store.path(name)).to_pylist()]
    oldest = datetime.now(UTC) - max_age
    return {key_of(row): row for row in rows if answered(row) and row["fetched_at"] >= oldest}


def batches(rows: list[dict]) -> list[pa.RecordBatch]:
    """Rows of ``host_file``, sorted by origin, in groups that a reader may skip."""
    return pa.Table.from_pylist(rows, HOST_FILE.schema).to_batches(_ROWS_A_GROUP)


def answered(row: Mapping[str, Any]) -> bool:
    """Whether an answer stands, be it "there is none". Others say "later" or lead nowhere, and are asked for again."""
    status = row["status"]
    return 200 <= status < 300 or (400 <= status < 500 and status != 429)


class Asker:
    """Asks for the files of hosts, each once.

    Attributes:
        requests: how many were made.
    """

    def __init__(self, client: Client | None, known: Mapping[Key, dict]):
        """``client``: None asks for nothing. ``known``: rows that need not be asked for."""
        self._client, self._known = client, known
        self._known_of: dict[str, list[dict]] = {}
        for (origin, _, _), row in known.items():
            self._known_of.setdefault(origin, []).append(row)
        # A licence file that many hosts name is asked for once.
        self._asked: dict[tuple[str, str], asyncio.Task[dict]] = {}

    @property
    def requests(self) -> int:
        return len(self._asked)

    async def all_files(self, origins: Iterable[str]) -> list[dict]:
        """Rows of ``host_file`` of many hosts. A slow one keeps none of the others waiting."""
        todo, rows = deque(origins), []

        async def work() -> None:
            while todo:
                rows.extend(await self.files(todo.popleft()))

        await asyncio.gather(*(work() for _ in range(min(len(todo), _HOSTS_AT_ONCE))))
        return rows

    async def files(self, origin: str) -> list[dict]:
        """Rows of ``host_file`` of one host."""
        robots = await self.file(origin, "robots_txt", origin + ROBOTS.path)
        if robots is None or not answered(robots):
            others = (row for row in self._known_of.get(origin, ()) if row["kind"] != "robots_txt")
            return [*([robots] if robots else []), *others]
        wanted = [(kind, origin + file.path) for kind, file in FILES.items()]
        wanted += [("rsl", url) for url in licence_files(robots_of(robots), origin)[:MAX_LICENCE_FILES]]
        rows = await asyncio.gather(*(self.file(origin, kind, url) for kind, url in wanted))
        return [robots, *filter(None, rows)]

    async def file(self, origin: str, kind: str, url: str) -> dict | None:
        """One row of ``host_file``; None if it is not known and may not be asked for."""
        known = self._known.get((origin, kind, url))
        if known is not None or self._client is None:
            return known
        if (kind, url) not in self._asked:
            self._asked[kind, url] = asyncio.create_task(self._ask(self._client, kind, url))
        return {"origin": origin, **await self._asked[kind, url]}

    async def _ask(self, client: Client, kind: str, url: str) -> dict:
        file = _BY_KIND[kind]
        return {"kind": kind, **_row(await client.get(url, max_bytes=file.max_bytes, cut=file.cut))}


async def _ask_all(
    origins: list[str], known: Mapping[Key, dict], http: Mapping[str, Any] | None
) -> tuple[list[dict], int]:
    if http is None:
        return await Asker(None, known).all_files(origins), 0
    from ._http import Client, HttpOptions

    async with Client(HttpOptions(**http)) as client:
        asker = Asker(client, known)
        return await asker.all_files(origins), asker.requests


def _row(fetched: Fetched) -> dict[str, Any]:
    is_whole = fetched.error is None
    status = fetched.status if is_whole or (fetched.error or "").startswith("http_") else 0
    return {
        "url": fetched.url,
        "final_url": fetched.final_url if fetched.hops else None,
        "status": status,
        "body": fetched.body if is_whole else None,
        "sha256": hashlib.sha256(fetched.body).hexdigest() if is_whole else None,
        "error": fetched.error,
        "fetched_at": datetime.now(UTC),
    }


def key_of(row: Mapping[str, Any]) -> Key:
    """What a row is found by."""
    return row["origin"], row["kind"], row["url"]


def _expiry(rows: list[dict], max_age: timedelta) -> datetime | None:
    """When some host has to be asked again."""
    if not rows:
        return None
    oldest = min(row["fetched_at"] for row in rows) + max_age
    if all(answered(row) for row in rows):
        return oldest
    return min(oldest, datetime.now(UTC) + RETRY_UNANSWERED)
