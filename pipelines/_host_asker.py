"""Asking hosts for the files in which they state their terms, each file once."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from ..udfs.signals import ai_txt, robots_txt, tdmrep
from ..udfs.signals.robots_lines import MAX_BYTES
from ._said import AGENT
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

# Hosts asked side by side. Requests at once are bounded by the client; one that wants long waits holds none of these.
_HOSTS_AT_ONCE = 400
_SHORT_WAIT_S = 1.0


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
        todo, rows, slow = deque(origins), [], []

        async def work() -> None:
            while todo:
                origin = todo.popleft()
                robots = await self._robots(origin)
                if self._client is not None and self._client.host_of(origin).wait_s > _SHORT_WAIT_S:
                    slow.append(asyncio.create_task(self._with_others(origin, robots)))
                else:
                    rows.extend(await self._with_others(origin, robots))

        await asyncio.gather(*(work() for _ in range(min(len(todo), _HOSTS_AT_ONCE))))
        return [*rows, *(row for found in await asyncio.gather(*slow) for row in found)]

    async def _robots(self, origin: str) -> dict | None:
        """The robots.txt of a host, whose Crawl-delay holds from here on."""
        robots = await self.file(origin, "robots_txt", origin + ROBOTS.path)
        if robots is not None and self._client is not None and robots["crawl_delay_s"] is not None:
            self._client.host_of(origin).slow_down(robots["crawl_delay_s"], robots["fetched_at"])
        return robots

    async def _with_others(self, origin: str, robots: dict | None) -> list[dict]:
        """Rows of ``host_file`` of one host, given that of its robots.txt."""
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
        row = {"kind": kind, **_row(await client.get(url, max_bytes=file.max_bytes, cut=file.cut))}
        if kind == robots_txt.KIND:
            row["crawl_delay_s"] = robots_of(row).crawl_delay_s(AGENT)
        return row


def _row(fetched: Fetched) -> dict[str, Any]:
    is_whole = fetched.error is None
    # A 2xx that is not whole, such as a part (206), is no answer: it would be read as a file that says nothing.
    stands = is_whole or ((fetched.error or "").startswith("http_") and not 200 <= fetched.status < 300)
    status = fetched.status if stands else 0
    return {
        "url": fetched.url,
        "final_url": fetched.final_url if fetched.hops else None,
        "status": status,
        "body": fetched.body if is_whole else None,
        "sha256": hashlib.sha256(fetched.body).hexdigest() if is_whole else None,
        "error": fetched.error,
        "crawl_delay_s": None,
        "fetched_at": datetime.now(UTC),
    }


def answered(row: Mapping[str, Any]) -> bool:
    """Whether an answer stands, be it "there is none". Others say "later" or lead nowhere, and are asked for again."""
    status = row["status"]
    return 200 <= status < 300 or (400 <= status < 500 and status != 429)


def key_of(row: Mapping[str, Any]) -> Key:
    """What a row is found by."""
    return row["origin"], row["kind"], row["url"]
