"""What a worker of ``fetch`` is given, and the rows that it finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from ..schemas.config import Fetch
from ..schemas.tables import IMAGE
from ..schemas.verdicts import DENY
from ._again import Again
from ._gate import Binding
from ._in_file import SYNTHETIC
from ._onward import Way
from ._said import Said
from ._store import read_parquet

NOTHING: dict[str, Any] = dict.fromkeys(IMAGE.schema.names)
"""A row of ``image`` of which nothing is known."""


@dataclass(frozen=True)
class FetchTask:
    """One partition to fetch.

    Attributes:
        root: work directory.
        partition, fingerprint: of the task.
        facts: fingerprint of what decides how an image comes out; rows made under the same one are taken over.
        asked: Parquet files with ``pair_id``, ``url``, ``source_row``, ``host``, ``licensed``, ``delay_s``, ``asked_at``.
        progress: folder for what is said while it runs.
        again: what is asked for again although it was answered.
        http: keyword arguments of ``HttpOptions``.
        config: the ``fetch`` section.
        way: how the terms are had that responses lead to.
        binding: which evidence ends an exchange, unless a permission is recorded.
        dihedral: whether pictures get PDQ of all eight orientations.
        iscc: whether they get the units of that code.
        shard: of img2dataset that holds the pictures; None: they are asked for.
    """

    root: str
    partition: str
    fingerprint: str
    facts: str
    asked: tuple[str, ...]
    progress: str
    again: Again
    http: tuple[tuple[str, Any], ...]
    config: Fetch
    way: Way
    binding: Binding
    dihedral: bool
    iscc: bool
    shard: str | None = None

    @property
    def looks(self) -> list[str]:
        """What takes time, so it is looked for only where it can matter under the policy."""
        wanted = {
            "watermark": self.binding.refuses(SYNTHETIC, DENY, None),
            "dihedral": self.dihedral,
            "iscc": self.iscc,
        }
        return [look for look, is_wanted in wanted.items() if is_wanted]

    def refuses(self, said: Said) -> bool:
        """Whether a piece of evidence ends an exchange, unless a permission is recorded."""
        return self.binding.refuses(said.evidence.kind, said.evidence.verdict, said.only_if)


class Asked(NamedTuple):
    """The pairs of one URL, or of one row of a shard.

    Attributes:
        pairs: all of them, sorted.
        licensed: those with a recorded permission.
        host: as the column of ``pair`` has it.
        delay_s: its Crawl-delay, if it has one.
        asked_at: when it was last asked for something else, where that matters.
        row: of the shard; None where it is asked for.
    """

    pairs: tuple[int, ...]
    licensed: frozenset[int]
    host: str
    delay_s: float | None
    asked_at: datetime | None
    row: int | None = None


def asked_by_url(files: Iterable[str], shard: str | None = None) -> dict[str, Asked]:
    """What is asked for in a partition, sorted by URL; of a shard, what is read, by path and row."""
    pairs: dict[str, list[int]] = {}
    about: dict[str, tuple] = {}
    licensed: set[int] = set()
    for path in files:
        table = read_parquet(path, ["pair_id", "url", "source_row", "licensed", "host", "delay_s", "asked_at"])
        for pair_id, url, row, is_licensed, *host in zip(
            *(column.to_pylist() for column in table.columns), strict=True
        ):
            url = f"{shard}#{row}" if shard else url
            pairs.setdefault(url, []).append(pair_id)
            about[url] = (*host, row if shard else None)
            if is_licensed:
                licensed.add(pair_id)
    return {
        url: Asked(tuple(sorted(pairs[url])), frozenset(licensed.intersection(pairs[url])), *about[url])
        for url in sorted(pairs)
    }


@dataclass
class Rows:
    """What a partition has found so far.

    Attributes:
        image, signal: rows of these tables.
        why: by URL that nobody answered for, the reason in words.
        not_refreshed: pairs whose earlier answer stands, since there was no new one.
    """

    image: list[dict] = field(default_factory=list)
    signal: list[dict] = field(default_factory=list)
    why: dict[str, str] = field(default_factory=dict)
    not_refreshed: int = 0

    def add(
        self, url: str, asked: Asked, columns: Mapping[str, Any], said: Iterable[Said], refused: bool, at: datetime
    ) -> None:
        """Add what one URL has brought to its pairs; if that refuses, to those with a permission alone."""
        said = tuple(said)
        for pair in asked.pairs:
            own = closed(columns) if refused and pair not in asked.licensed else columns
            self.image.append({**NOTHING, **own, "asked_url": url, "pair_id": pair, "fetched_at": at})
            self.signal += [one.row(pair) for one in said]

    def last_refusal(self, said: Iterable[Said]) -> tuple[dict, list[dict]]:
        """The rows of a pair that was refused, of the URL that was added last."""
        row = next(row for row in reversed(self.image) if row["status"] == "opted_out")
        return row, [one.row(row["pair_id"]) for one in said]

    def dropped(self) -> Iterator[dict]:
        """Pairs without an image. Refusals are the gate's business: here they are only not there."""
        for row in self.image:
            if row["status"] in ("failed", "left"):
                yield {
                    "pair_id": row["pair_id"],
                    "stage": "fetch",
                    "reason": f"{row['status']}:{row['error']}",
                    "evidence": self.why.get(row["asked_url"], row["final_url"]),
                }

    def counts(self) -> dict[str, dict[str, int]]:
        """How many pairs failed and how many are left for a later run, by reason code."""
        found = {
            status: Counter(row["error"] for row in self.image if row["status"] == status)
            for status in ("failed", "left")
        }
        found["left"] += Counter({"refresh": self.not_refreshed})
        return {status: dict(sorted(counts.items())) for status, counts in found.items()}


def closed(columns: Mapping[str, Any]) -> dict[str, Any]:
    """``image`` columns of a picture that may not be kept, from those that it would have."""
    return {"status": "opted_out", "http_status": columns["http_status"], "final_url": columns["final_url"]}
