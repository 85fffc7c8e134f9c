"""Fetching one partition: what a worker does.

What an earlier run left is taken over where it stands; the rest is asked for. A picture that is there already is asked
for by the name that its server gave the version, and its bytes are taken over if they are still the same.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from ..schemas.tables import DROPPED, IMAGE, SIGNAL
from ..udfs import rendition
from ._again import CLASSES
from ._earlier import Earlier, may_change
from ._fetch_progress import Tally
from ._fetch_task import Asked, FetchTask, Rows, asked_by_url
from ._hosts import RETRY_UNANSWERED, batches
from ._memory import keep_freed_memory
from ._onward import Onward, Wish
from ._pixels import Look, Looker
from ._politeness import CRAWL_DELAY, LEFT, NETWORK, PAUSE, WAIT, Hosts
from ._refusals import Refusals
from ._said import Said
from ._store import Store, Task
from ._work_shard import WorkShard, work_shard

if TYPE_CHECKING:  # aiohttp is an extra
    from ._http import Client, Fetched
    from ._stored import Stored

_LARGE_BYTES = 1 << 20

# No news of a picture: the server, the network or the host's pace is to blame.
_NO_NEWS = CLASSES["5xx"].union(
    LEFT, {"http_429"}, *(CLASSES[name] for name in ("timeout", "dns", "connect", "tls", "truncated", "host_down"))
)


def get_ready() -> None:
    """Import what a worker needs, before there is anything to fetch."""
    import uvloop  # noqa: F401

    from . import _http  # noqa: F401

    rendition.load()
    gc.freeze()  # what is imported stays, so nobody needs to go through it again


def fetch(task: FetchTask) -> int:
    """Fetch one partition and commit its rows and renditions. Returns the number of images."""
    import uvloop  # does the loop's share of the work in nine tenths of the time that asyncio's own takes

    keep_freed_memory()
    store, asked, rows = Store(task.root), asked_by_url(task.asked, task.shard), Rows()
    hosts = Counter()
    for one in asked.values():
        hosts[one.host] += len(one.pairs)
    tally = Tally(task.progress, task.partition, hosts)
    with store.task("fetch", task.partition, task.fingerprint) as done:
        done.rows_in = hosts.total()
        with work_shard(done, task.partition) as shard:
            fetching = Fetching(task, store, rows, shard, tally)
            wanted = fetching.take_over(asked)
            if wanted:
                uvloop.run(fetching.read_all(wanted) if task.shard else fetching.fetch_all(wanted))
        fetching.finish(done)
        done.extra["requested_urls"] = 0 if task.shard else len(wanted)
    Refusals(store, task.partition).forget()
    tally.write()
    return len(rows.image)


class Fetching:
    """One partition on its way."""

    def __init__(self, task: FetchTask, store: Store, rows: Rows, shard: WorkShard, tally: Tally):
        self._task, self._rows, self._shard, self._tally = task, rows, shard, tally
        self._earlier = Earlier(store, task)
        self._refusals = Refusals(store, task.partition)
        self._onward = Onward(task.way, store, task.partition, task.refuses)
        self._looker = Looker(task.config, task.looks)
        self._hosts: Hosts | None = None
        self._requests: Counter[str] = Counter()
        self._read_bytes = 0
        self._answered: dict[str, str] = {}  # a URL of each host that has given an earlier run a picture

    def take_over(self, asked: Mapping[str, Asked]) -> dict[str, Asked]:
        """Take over what stands of an earlier run. Returns the rest, which has to be asked for."""
        wanted = {}
        for url, one in asked.items():
            if self._earlier.take(url, one, self._rows, self._shard):
                self._tally.add(one.host, len(one.pairs), None)
                if self._rows.image[-1]["status"] == "ok":
                    self._answered.setdefault(one.host, url)
            else:
                wanted[url] = one
        return wanted

    async def fetch_all(self, wanted: Mapping[str, Asked]) -> None:
        """Ask for URLs, and add what their answers come to."""
        from ._http import Client, HttpOptions
        from ._network import Network

        wishes = [Wish(url, bool(one.licensed), self._earlier.known(url)) for url, one in wanted.items()]
        with ThreadPoolExecutor(1, "pixels") as pixels:
            async with Client(HttpOptions(**dict(self._task.http))) as client:
                self._hosts, self._requests = client.hosts, client.requests
                others = {one.host: url for url, one in wanted.items()}
                client.network = Network([*self._answered.values(), *others.values()], self._task.config.max_delay_s)
                self._heed(client, wanted)
                async with aclosing(self._onward.answers(client, wishes)) as answers:
                    async for url, fetched in answers:
                        await self._add(url, wanted[url], fetched, pixels)

    async def read_all(self, wanted: Mapping[str, Asked]) -> None:
        """Read the pictures of a shard, and add what they come to. Nobody is asked."""
        from ._stored import pictures

        task, key = self._task, {one.row: key for key, one in wanted.items() if one.row is not None}
        licensed = {row: bool(wanted[name].licensed) for row, name in key.items()}
        with ThreadPoolExecutor(1, "pixels") as pixels:
            for row, stored in pictures(task.shard or "", licensed, task.refuses, task.config.max_bytes):
                at = datetime.now(UTC)
                look = stored.seen(await self._looked_at(pixels, stored, at), at)
                self._record(key[row], wanted[key[row]], look, (), stored.detail, at)

    def _heed(self, client: Client, wanted: Mapping[str, Asked]) -> None:
        """Take note of what hosts have asked for so far."""
        last = self._earlier.committed_at
        for url, one in wanted.items():
            if one.asked_at is not None:
                client.host_of(url).slow_down(one.delay_s or 0.0, max(one.asked_at, last or one.asked_at))
        for name, until in self._earlier.paused.items():
            client.hosts[name].pause_until(until)

    async def _add(self, url: str, asked: Asked, fetched: Fetched, pixels: ThreadPoolExecutor) -> None:
        at = datetime.now(UTC)
        self._read_bytes += len(fetched.body)
        if fetched.error in _NO_NEWS and self._earlier.take(url, asked, self._rows, self._shard, aged=True):
            self._rows.not_refreshed += len(asked.pairs)
            self._tally.add(asked.host, len(asked.pairs), None)
            return
        new = self._onward.said(fetched.hops, at)
        look = self._earlier.unchanged(url, fetched, new) or await self._looked_at(pixels, fetched, at)
        self._record(url, asked, look, new, fetched.detail, at)

    def _record(self, url: str, asked: Asked, look: Look, new: Sequence[Said], detail: str, at: datetime) -> None:
        """Add what a URL came to, with what was said before its picture was there."""
        said, columns = [*new, *look.said], look.columns
        refused = any(map(self._task.refuses, said))
        # The same URL may be licensed for one pair and closed to another.
        if look.rendition is not None and (asked.licensed or not refused):
            key = f"{asked.pairs[0] & (2**64 - 1):016x}.{self._task.config.encode_format}"
            columns = columns | self._shard.add(key, look.rendition)
        self._rows.add(url, asked, columns, said, refused, at)
        if refused and len(asked.licensed) < len(asked.pairs) and not self._task.shard:
            self._refusals.add(*self._rows.last_refusal(said))
        if columns["status"] == "left" or not columns["final_url"]:
            self._rows.why[url] = detail
        self._tally.add(asked.host, len(asked.pairs), columns.get("error"))

    async def _looked_at(self, pixels: ThreadPoolExecutor, fetched: Fetched | Stored, at: datetime) -> Look:
        """What an answer comes to. A picture of the usual size is looked at between two turns of the loop.

        It takes milliseconds, in which the network fills the sockets, and a thread that shares the interpreter with
        the loop would take a twentieth longer. A large one would have others wait for seconds, so it goes to a thread:
        to one, since img2dataset's Resizer is not made for two.
        """
        if len(fetched.body) > _LARGE_BYTES:
            return await asyncio.get_running_loop().run_in_executor(pixels, self._looker.look, fetched, at)
        await asyncio.sleep(0)
        return self._looker.look(fetched, at)

    def finish(self, done: Task) -> None:
        """Write what was found, and when it has to be looked at again."""
        rows, task = self._rows, self._task
        done.extra |= {"facts": task.facts, "looks": task.looks, **rows.counts(), **self._put_off()}
        done.extra |= {"requests": dict(sorted(self._requests.items())), "read_bytes": self._read_bytes}
        done.expires_at = self._expiry(done)
        done.write("host_file", batches(self._onward.host_files))
        done.write("image", pa.Table.from_pylist(rows.image, IMAGE.schema))
        done.write("signal", pa.Table.from_pylist(rows.signal, SIGNAL.schema))
        done.write("dropped", pa.Table.from_pylist([*rows.dropped()], DROPPED.schema))

    def _put_off(self) -> dict:
        """What a later run has to know of the hosts that it is left to."""
        if self._hosts is None:
            return {}
        paused = {name: host.until.isoformat() for name, host in self._hosts.left(PAUSE) if host.until}
        delays = [host.delay_s for _, host in self._hosts.left(CRAWL_DELAY)]
        return {"paused": paused, "crawl_delay_s": min(delays, default=None)}

    def _expiry(self, done: Task) -> datetime | None:
        """When a later run makes the partition again; hosts with too long a Crawl-delay wait for another config."""
        now, left = datetime.now(UTC), done.extra["left"]
        due = [datetime.fromisoformat(until) for until in done.extra.get("paused", {}).values() if PAUSE in left]
        due += [now] * (WAIT in left or NETWORK in left)
        due += [now + RETRY_UNANSWERED] * ("refresh" in left or any(map(may_change, self._rows.signal)))
        return min(due, default=None)
