"""Asking hosts for their terms, and judging URLs by the answers. The Arrow half of ``consult``.

Both run over partitions of hosts. Asking is the only part that needs the network; what is still fresh from an
earlier run is not asked for again, and what gave no answer is.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from ..schemas.tables import HOST_FILE, SIGNAL
from ..schemas.verdicts import ALLOW, HOLD, NONE
from ..udfs.signals import Evidence, robots_txt, tdmrep
from ._store import Store, read_parquet

# What each host is asked for: path, and how much of it the protocol reads (RFC 9309: at least 500 KiB).
FILES: dict[str, tuple[str, int]] = {
    "robots_txt": ("/robots.txt", 512_000),
    "tdmrep_json": ("/.well-known/tdmrep.json", tdmrep.MAX_BYTES),
}
# A host that gave no answer is asked again by a run this much later.
RETRY_UNANSWERED = timedelta(hours=1)


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


@dataclass(frozen=True)
class Judge:
    """One partition of pairs to judge by their hosts' files."""

    root: str
    partition: str
    fingerprint: str
    pairs: tuple[str, ...]
    host_files: tuple[str, ...]
    agent: str
    ai_agent_proxy: str


def ask(task: Ask) -> int:
    """Ask the hosts of a partition and commit ``host_file`` rows. Returns the number of requests made."""
    store = Store(task.root)
    known = _known(store, task.partition, timedelta(seconds=task.max_age_s))
    with store.task("consult", task.partition, task.fingerprint) as done:
        origins = sorted({origin for path in task.origins for origin in read_parquet(path)["origin"].to_pylist()})
        wanted = [(origin, kind) for origin in origins for kind in FILES]
        missing = [pair for pair in wanted if pair not in known]
        fresh = list(asyncio.run(_ask_all(missing, dict(task.http)))) if task.ask and missing else []
        rows = [known[pair] for pair in wanted if pair in known] + fresh
        rows.sort(key=lambda row: (row["origin"], row["kind"]))
        done.rows_in = len(origins)
        done.write("host_file", pa.Table.from_pylist(rows, HOST_FILE.schema))
        done.expires_at = _expiry(rows, timedelta(seconds=task.max_age_s))
    return len(fresh)


def judge(task: Judge) -> int:
    """Judge the pairs of a partition and commit ``signal`` rows. Returns the number of pairs."""
    store = Store(task.root)
    with store.task("consult", task.partition, task.fingerprint) as done:
        files = {
            (row["origin"], row["kind"]): row for path in task.host_files for row in read_parquet(path).to_pylist()
        }
        count = 0

        def signals() -> Iterator[pa.RecordBatch]:
            nonlocal count
            terms = _Terms(files, task.agent, task.ai_agent_proxy)
            for path in task.pairs:
                for batch in read_parquet(path, ["pair_id", "url", "origin"]).to_batches(65_536):
                    count += batch.num_rows
                    yield from pa.Table.from_pylist(list(_judged(batch, terms)), SIGNAL.schema).to_batches()

        done.write("signal", signals())
        done.rows_in = count
    return count


class _Terms:
    """What the hosts of a partition say, parsed once a host."""

    def __init__(self, files: dict[tuple[str, str], dict], agent: str, ai_agent_proxy: str):
        self._files, self._agent, self._proxy = files, agent, ai_agent_proxy
        self._robots: dict[str, robots_txt.Robots] = {}
        self._tdm: dict[str, tdmrep.TdmFile] = {}

    def evidence(self, url: str, origin: str) -> Iterator[tuple[Evidence, datetime]]:
        """Evidence about one URL, and when it was read. A host nobody asked is undetermined."""
        asked = self._files.get((origin, "robots_txt"))
        if asked is None:
            yield Evidence("robots_txt", HOLD, "host", detail="not asked"), datetime.now(UTC)
            return
        if origin not in self._robots:
            self._robots[origin] = robots_txt.from_response(asked["status"], asked["body"] or b"")
        yield self._robots[origin].verdict(url, self._agent, self._proxy), asked["fetched_at"]
        tdm = self._files.get((origin, "tdmrep_json"))
        if tdm is not None:
            if origin not in self._tdm:
                answered = 200 <= tdm["status"] < 300 and not tdm["error"]
                self._tdm[origin] = tdmrep.parse(tdm["body"] if answered else None, origin + "/")
            yield tdmrep.verdict([self._tdm[origin].layer(url)]), tdm["fetched_at"]


def _judged(batch: pa.RecordBatch, terms: _Terms) -> Iterator[dict]:
    for pair_id, url, origin in zip(*(batch.column(n).to_pylist() for n in range(3)), strict=True):
        for evidence, observed_at in terms.evidence(url, origin):
            # Leave to fetch is not leave to train on: an Allow in robots.txt says nothing.
            silent = evidence.verdict == NONE or (evidence.kind == "robots_txt" and evidence.verdict == ALLOW)
            if not silent:
                yield signal_row(pair_id, evidence, observed_at, origin, "url" if evidence.verdict != HOLD else "host")


def signal_row(
    pair_id: int, evidence: Evidence, observed_at: datetime, origin: str, scope: str, hop: int | None = None
) -> dict:
    """A ``signal`` row for a piece of evidence; a source that is a path is completed with its origin."""
    source = origin + evidence.source if evidence.source.startswith("/") else evidence.source or origin
    value = "; ".join(part for part in (evidence.value, evidence.scope, evidence.detail) if part)
    return {
        "pair_id": pair_id,
        "kind": evidence.kind,
        "verdict": evidence.verdict,
        "scope": scope,
        "value": value or None,
        "source": source,
        "rule_id": None,
        "hop": hop,
        "observed_at": observed_at,
    }


async def _ask_all(wanted: Iterable[tuple[str, str]], http: dict[str, Any]) -> list[dict]:
    from ._http import Client, HttpOptions, Request

    # RFC 9309, section 2.5: a longer robots.txt is read up to the limit. Half a JSON file says nothing.
    requests = [
        Request(origin + FILES[kind][0], FILES[kind][1], key=(origin, kind), cut=kind == "robots_txt")
        for origin, kind in wanted
    ]
    rows = []
    async with Client(HttpOptions(**http)) as client, aclosing(client.get_all(requests)) as answers:
        async for request, fetched in answers:
            origin, kind = request.key
            rows.append(_row(origin, kind, fetched))
    return rows


def _row(origin: str, kind: str, fetched) -> dict:
    answered = fetched.error is None
    status = fetched.status if answered or (fetched.error or "").startswith("http_") else 0
    return {
        "origin": origin,
        "kind": kind,
        "url": fetched.url,
        "final_url": fetched.final_url if fetched.hops else None,
        "status": status,
        "body": fetched.body if answered else None,
        "sha256": hashlib.sha256(fetched.body).hexdigest() if answered else None,
        "error": fetched.error,
        "fetched_at": datetime.now(UTC),
    }


def _known(store: Store, partition: str, max_age: timedelta) -> dict[tuple[str, str], dict]:
    """Answers of an earlier run of the same partition that are still fresh."""
    mark = store.mark("consult", partition)
    if mark is None:
        return {}
    rows = [row for name in mark.files.get("host_file", []) for row in read_parquet(store.path(name)).to_pylist()]
    oldest = datetime.now(UTC) - max_age
    return {(row["origin"], row["kind"]): row for row in rows if _answered(row) and row["fetched_at"] >= oldest}


def _answered(row: dict) -> bool:
    return row["status"] != 0 and row["status"] != 429 and row["status"] < 500


def _expiry(rows: list[dict], max_age: timedelta) -> datetime | None:
    """When some host has to be asked again."""
    if not rows:
        return None
    oldest = min(row["fetched_at"] for row in rows) + max_age
    if all(_answered(row) for row in rows):
        return oldest
    return min(oldest, datetime.now(UTC) + RETRY_UNANSWERED)
