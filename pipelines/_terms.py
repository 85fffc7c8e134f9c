"""What hosts say in their files, and judging URLs by it. Pure but for ``judge``, which reads and writes tables.

Every file of a host is parsed once. Most hosts say nothing about training: their URLs are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pyarrow as pa

from ..schemas.tables import SIGNAL
from ..schemas.verdicts import HOLD, NONE
from ..udfs.arrow import pc
from ..udfs.signals import Evidence, ai_txt, aipref, content_signal, robots_txt, rsl, tdmrep
from ._politeness import CRAWL_DELAY
from ._said import AGENT, Said
from ._store import Store, read_parquet

MAX_LICENCE_FILES = 4
"""RSL files that one host may name. Whoever names more is held: what the others say is not known."""

_PAIR = pa.schema([("pair_id", pa.int64()), ("url", pa.string()), ("origin", pa.string())])
_ROWS = 65_536


@dataclass(frozen=True)
class Judge:
    """One partition of pairs to judge by their hosts' files: what a worker is given."""

    root: str
    partition: str
    fingerprint: str
    pairs: tuple[str, ...]
    host_files: tuple[str, ...]


def judge(task: Judge) -> int:
    """Judge the pairs of a partition and commit ``signal`` rows. Returns the number of pairs."""
    files: dict[str, list[dict]] = {}
    for row in (row for path in task.host_files for row in read_parquet(path).to_pylist()):
        files.setdefault(row["origin"], []).append(row)
    with Store(task.root).task("consult", task.partition, task.fingerprint) as done:
        tables = [read_parquet(path, _PAIR.names).cast(_PAIR) for path in task.pairs]
        pairs = pa.concat_tables([_PAIR.empty_table(), *tables])
        done.write("signal", _batches(said.row(pair_id) for pair_id, said in _judged(pairs, files)))
        done.rows_in = pairs.num_rows
    return pairs.num_rows


def _judged(pairs: pa.Table, files: Mapping[str, list[dict]]) -> Iterator[tuple[int, Said]]:
    """What is said about each pair, host by host."""
    pairs = pairs.sort_by([("origin", "ascending"), ("url", "ascending"), ("pair_id", "ascending")])
    runs = pc.run_end_encode(pairs["origin"].combine_chunks())
    start = 0
    for end, origin in zip(runs.run_ends.to_pylist(), runs.values.to_pylist(), strict=True):
        terms = HostTerms(origin, files.get(origin, ()))
        if not terms.silent:
            part = pairs.slice(start, end - start)
            for pair_id, url in zip(part["pair_id"].to_pylist(), part["url"].to_pylist(), strict=True):
                for said in terms.about(url):
                    yield pair_id, said
        start = end


def _batches(rows: Iterator[dict]) -> Iterator[pa.RecordBatch]:
    while chunk := list(islice(rows, _ROWS)):
        yield from pa.Table.from_pylist(chunk, SIGNAL.schema).to_batches()


class HostTerms:
    """What the files of one host say.

    What its robots.txt holds is not known without it, and nothing else is asked of a host that does not give it:
    then its one ``hold`` stands for all of them (see ``_gate``).
    """

    def __init__(self, origin: str, files: Iterable[Mapping[str, Any]]):
        """``files``: the rows of ``host_file`` about this origin."""
        self._origin = origin
        self._files = {(row["kind"], row["url"]): row for row in files}
        self._always: list[Said] = []
        self._of_url: list[Callable[[str], Said | None]] = []
        robots = self._file("robots_txt", "/robots.txt")
        if robots is None:
            self._hold(robots_txt.KIND, robots_txt.SOURCE, "robots.txt was not asked for")
            return
        self._robots, self._robots_at = robots_of(robots), robots["fetched_at"]
        if self._robots.hold:
            self._hold(robots_txt.KIND, robots_txt.SOURCE, self._robots.hold, self._robots_at)
            return
        self._read_robots()
        self._read_ai_txt(self._file("ai_txt", ai_txt.SOURCE))
        self._read_tdmrep(self._file("tdmrep_json", tdmrep.FILE))
        self._read_licences(licence_files(self._robots, origin))

    @property
    def silent(self) -> bool:
        """Whether nothing can be said about any URL."""
        return not self._always and not self._of_url

    def about(self, url: str) -> Iterator[Said]:
        """What is said about one URL of the host."""
        yield from self._always
        for read in self._of_url:
            if (said := read(url)) is not None:
                yield said

    def _file(self, kind: str, path: str) -> Mapping[str, Any] | None:
        return self._files.get((kind, self._origin + path))

    def _hold(self, kind: str, source: str, why: str, at: datetime | None = None) -> None:
        evidence = Evidence(kind, HOLD, source=source, detail=why)
        self._always.append(Said(evidence, at or datetime.now(UTC), "host", self._origin))

    def _read(self, read: Callable[[str], Evidence], at: datetime) -> None:
        def said(url: str) -> Said | None:
            evidence = read(url)
            return None if evidence.verdict == NONE else Said(evidence, at, "url", self._origin)

        self._of_url.append(said)

    def _read_robots(self) -> None:
        robots, at = self._robots, self._robots_at
        if robots.can_close(AGENT):
            self._of_url.append(self._closed)
        signal = content_signal.verdict(robots, (), AGENT)
        if signal.verdict != NONE:
            self._always.append(Said(signal, at, "host", self._origin))
        if robots.lines_for(AGENT, aipref.LINE)[0]:
            self._read(lambda url: aipref.verdict(robots, (), url, AGENT), at)

    def _closed(self, url: str) -> Said | None:
        """A Disallow. Leave to fetch is not leave to train on: an Allow says nothing."""
        found = self._robots.refusal(url, AGENT)
        if found is None:
            return None
        only_if = "ai_agent_proxy=any" if found[1] else None
        return Said(found[0], self._robots_at, "url", self._origin, only_if=only_if)

    def _read_ai_txt(self, file: Mapping[str, Any] | None) -> None:
        if file is None:
            self._hold(ai_txt.KIND, ai_txt.SOURCE, "ai.txt was not asked for")
            return
        found = ai_txt.from_response(file["status"], file["body"] or b"")
        if found.hold:
            delay_s = self._robots.crawl_delay_s(AGENT)
            left = f"ai.txt was not asked for: robots.txt asks for {delay_s or 0:g} s between requests"
            why = left if file["error"] == CRAWL_DELAY else found.hold
            self._hold(ai_txt.KIND, ai_txt.SOURCE, why, file["fetched_at"])
        elif found.has_rules(AGENT):
            self._read(lambda url: found.verdict(url, AGENT), file["fetched_at"])

    def _read_tdmrep(self, file: Mapping[str, Any] | None) -> None:
        """A file that cannot be had states nothing, for whatever reason: its host does not use the protocol."""
        if file is None or file["error"] or not 200 <= file["status"] < 300:
            return
        found = tdmrep.parse(file["body"], self._origin + "/")
        if found.rules:
            self._read(lambda url: tdmrep.verdict([found.layer(url)]), file["fetched_at"])

    def _read_licences(self, urls: list[str]) -> None:
        for url in urls[:MAX_LICENCE_FILES]:
            file = self._files.get(("rsl", url))
            found = None if file is None else rsl.from_response(file["status"], file["body"] or b"")
            if file is None or found is None:
                self._hold(rsl.KIND, url, "the licence file gave no answer", file["fetched_at"] if file else None)
            elif found.contents:
                self._read(lambda asset, found=found, url=url: found.verdict(asset, source=url), file["fetched_at"])
        if len(urls) > MAX_LICENCE_FILES:
            why = f"{len(urls)} licence files are named, more than the {MAX_LICENCE_FILES} that are read"
            self._hold(rsl.KIND, robots_txt.SOURCE, why, self._robots_at)


def robots_of(file: Mapping[str, Any]) -> robots_txt.Robots:
    """The robots.txt that a row of ``host_file`` stands for."""
    return robots_txt.from_response(file["status"], file["body"] or b"")


def licence_files(robots: robots_txt.Robots, origin: str) -> list[str]:
    """URLs of the RSL files that a robots.txt names for us, wherever they lie."""
    return rsl.locations(robots, (), origin + robots_txt.SOURCE, AGENT)
