"""fetch: ask for the images of alive pairs, once a URL, and take what the answers say as evidence.

Headers of every response of a redirect chain are read before its body, and the terms of whatever it leads to; a
refusal that binds under the policy ends the exchange there, so opted-out bytes are never stored. One decode gives
fingerprints and the rendition. The original bytes are not kept.

A partition is a set of hosts. When one has to be made again, what an earlier run fetched under the same
``fetch`` section is taken over, and only the rest is asked for.

Pictures that img2dataset has fetched already are read from its folder, and nobody is asked for them; a shard is a
partition of its own.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas.config import Fetch, Job, fingerprint
from ..schemas.errors import ConfigError
from ..schemas.tables import DROPPED, IMAGE, SIGNAL
from ..schemas.verdicts import DENY, HOLD
from ..udfs import rendition
from . import _gate
from ._hosts import RETRY_UNANSWERED, batches, host_files, options
from ._img2dataset import partition
from ._in_file import KINDS as FILE_KINDS
from ._in_file import SYNTHETIC
from ._memory import keep_freed_memory
from ._onward import KINDS as ONWARD_KINDS
from ._onward import Onward, Way
from ._pixels import Look, Looker, opted_out
from ._said import Said
from ._store import Store, arrow_filesystem, read_parquet
from ._work_shard import WorkShard, read_range, work_shard

if TYPE_CHECKING:  # workers, which import this too, do without the engines
    from ._work import Work

READS = ("pair", "host_file", "signal", "dropped")
WRITES = ("image", "host_file", "signal", "dropped")

# A host belongs to one partition, so that one worker is polite to it without asking the others.
# A recorded permission beats what others say, so that does not end the exchange.
ASKED = """
SELECT alive.pair_id, url, source_row, CASE WHEN licensed.pair_id IS NULL THEN FALSE ELSE TRUE END AS licensed,
       coalesce(shard.part,
                CAST(((stable_hash(host) % $partitions) + $partitions) % $partitions AS INTEGER)) AS part
FROM alive LEFT JOIN licensed ON alive.pair_id = licensed.pair_id LEFT JOIN shard ON alive.source = shard.source
"""
WANTED = """
SELECT asked.pair_id, asked.url, asked.source_row, asked.licensed, asked.part
FROM asked JOIN wanted ON asked.part = wanted.part
"""
ASKED_SCHEMA = pa.schema([
    ("pair_id", pa.int64()), ("url", pa.string()), ("source_row", pa.int64()), ("licensed", pa.bool_()),
    ("part", pa.int32()),
])  # fmt: skip

_LARGE_BYTES = 1 << 20

_NOTHING: dict[str, Any] = dict.fromkeys(IMAGE.schema.names)


@dataclass(frozen=True)
class FetchTask:
    """One partition to fetch: what a worker is given.

    Attributes:
        root: work directory.
        partition, fingerprint: of the task.
        facts: fingerprint of what decides how an image comes out; rows made under the same one are taken over.
        asked: Parquet files with ``pair_id``, ``url``, ``source_row`` and ``licensed``.
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
    http: tuple[tuple[str, Any], ...]
    config: Fetch
    way: Way
    binding: _gate.Binding
    dihedral: bool
    iscc: bool
    shard: str | None = None

    def refuses(self, said: Said) -> bool:
        """Whether a piece of evidence ends an exchange, unless a permission is recorded."""
        return self.binding.refuses(said.evidence.kind, said.evidence.verdict, said.only_if)


@dataclass(frozen=True)
class _Asked:
    """The pairs of one URL, or of one row of a shard; those in ``licensed`` have a recorded permission."""

    pairs: tuple[int, ...]
    licensed: frozenset[int]


@dataclass(frozen=True)
class _Answer:
    """What a URL or a row of a shard gave, when, what was said with it, and whether that refuses pairs without a permission."""

    fetched: Any
    at: datetime
    look: Look
    said: list[Said]
    refused: bool


@dataclass
class _Rows:
    """What a partition has found so far."""

    image: list[dict] = field(default_factory=list)
    signal: list[dict] = field(default_factory=list)
    dropped: list[dict] = field(default_factory=list)

    def add(self, asked: _Asked, answer: _Answer, columns: dict[str, Any]) -> None:
        """Add what one URL has brought to its pairs."""
        closed = opted_out(answer.fetched) if answer.refused and columns["status"] == "ok" else columns
        for pair in asked.pairs:
            own = columns if pair in asked.licensed else closed
            self.image.append({**_NOTHING, **own, "pair_id": pair, "fetched_at": answer.at})
            self.signal += [said.row(pair) for said in answer.said]
            if own["status"] == "failed":  # refusals are the gate's business: here they are only not there
                evidence = own["final_url"] or answer.fetched.detail
                reason = f"failed:{own['error']}"
                self.dropped.append({"pair_id": pair, "stage": "fetch", "reason": reason, "evidence": evidence})


def run(work: Work, partitions: Sequence[str] | None = None) -> None:
    """Fetch the images of all alive pairs, or those of some partitions.

    Args:
        work: the run.
        partitions: names of partitions; runs of different ones may go side by side.

    Raises:
        ConfigError: the job has no such partition.
    """
    config, policy = work.job.config.fetch, work.job.policy
    binding = _gate.binding(policy, ONWARD_KINDS | FILE_KINDS)
    shards = _shards(work.store)
    how = host_files(work.job)
    pixels = {key: value for key, value in asdict(config).items() if key not in _MANNERS}
    iscc = any(registry.scope == "iscc" for registry in work.job.config.registries)
    facts = fingerprint(work.version, pixels)
    bound = list(binding.drops.items()), binding.readings, policy.pdq_dihedral, iscc
    print_ = work.fingerprint("fetch", facts, bound, how, config.partitions)
    chosen = chosen_partitions(work.job, partitions)
    if partitions is None:  # a run beside others takes nothing away
        work.store.prune("fetch", chosen)
    undone = work.undone("fetch", chosen, print_)
    if not undone:
        return
    folder = work.scratch("fetch-inputs")
    work.alive("fetch")
    work.scan("fetch", "signal")
    _gate.licensed(work.engine, policy)
    part = {name: number for number, name in enumerate(partition_names(work.job))}
    parts = pa.array([part[name] for name in shards], pa.int32())
    sources = pa.array([source for source, _, _ in shards.values()], pa.string())
    work.engine.register("shard", pa.table({"source": sources, "part": parts}))
    work.engine.step("asked", ASKED, partitions=config.partitions)
    work.engine.register("wanted", pa.table({"part": pa.array([part[name] for name in undone], pa.int32())}))
    work.engine.write(WANTED, folder, ASKED_SCHEMA, partition_by="part")
    http = work.http | {
        "total_timeout_s": config.timeout_s, "retries": config.retries, "max_bytes": config.max_bytes,
    }  # fmt: skip
    way = Way(
        how=how,
        max_age_s=policy.host_file_max_age_days * 86400,
        partitions=work.job.config.consult.partitions,
        http=tuple(sorted(options(work.http, work.job).items())),
    )
    tasks = [
        FetchTask(
            root=work.store.root,
            partition=name,
            fingerprint=print_,
            facts=fingerprint(facts, shards[name]) if name in shards else facts,
            asked=work.partition_files(folder, "part", part[name]),
            http=tuple(sorted(http.items())),
            config=config,
            way=way,
            binding=binding,
            dihedral=policy.pdq_dihedral,
            iscc=iscc,
            shard=shards[name][1] if name in shards else None,
        )
        for name in undone
    ]
    tasks.sort(key=_rows_asked, reverse=True)  # so that no worker is left alone with a long one in the end
    for _ in work.map("fetch", fetch, tasks, lambda count: f"{count} images"):
        pass


def get_ready() -> None:
    """Import what a worker needs, before there is anything to fetch."""
    import uvloop  # noqa: F401

    from . import _http  # noqa: F401

    rendition.load()
    pa.array([""])  # the first list that pyarrow sees has it import pandas, where there is any
    gc.freeze()  # what is imported stays, so nobody needs to go through it again


def _looks(task: FetchTask) -> list[str]:
    """What takes time, so it is looked for only where it can matter under the policy."""
    wanted = {"watermark": task.binding.refuses(SYNTHETIC, DENY, None), "dihedral": task.dihedral, "iscc": task.iscc}
    return [look for look, is_wanted in wanted.items() if is_wanted]


def partition_names(job: Job) -> list[str]:
    """The partitions of a job: a host belongs to one of them; then the shards that ``ingest`` has found."""
    return [*(f"{number:04d}" for number in range(job.config.fetch.partitions)), *_shards(Store(job.work_dir))]


def _shards(store: Store) -> dict[str, tuple[str, str, str]]:
    """Source, path and stamp of img2dataset's shards, by partition."""
    mark = store.mark("ingest", "all")
    found = mark.extra.get("shards", {}) if mark else {}
    return {partition(source): (source, *about) for source, about in found.items()}


def chosen_partitions(job: Job, partitions: Sequence[str] | None) -> list[str]:
    """The partitions to make: those named, or all.

    Raises:
        ConfigError: the job has no such partition.
    """
    names = partition_names(job)
    unknown = sorted(set(partitions or ()) - set(names))
    if unknown:
        raise ConfigError("fetch partition", f"there is no '{unknown[0]}'", f"{names[0]} to {names[-1]}")
    return names if partitions is None else sorted(set(partitions))


def fetch(task: FetchTask) -> int:
    """Fetch one partition and commit its rows and renditions. Returns the number of images."""
    import uvloop  # does the loop's share of the work in nine tenths of the time that asyncio's own takes

    keep_freed_memory()
    store = Store(task.root)
    wanted = _asked_by("source_row" if task.shard else "url", task.asked)
    with store.task("fetch", task.partition, task.fingerprint) as done:
        done.rows_in = sum(len(asked.pairs) for asked in wanted.values())
        done.extra |= {"facts": task.facts, "looks": _looks(task)}
        rows = _Rows()
        onward = Onward(task.way, store, task.partition, task.refuses)
        with work_shard(done, task.partition) as shard:
            _take_over(store, task, wanted, rows, shard)
            if wanted:
                uvloop.run(_fetch_all(task, onward, wanted, rows, shard))
        done.extra["requested_urls"] = 0 if task.shard else len(wanted)
        done.write("host_file", batches(onward.host_files))
        if any(map(_may_change, rows.signal)):
            done.expires_at = datetime.now(UTC) + RETRY_UNANSWERED
        for table, found, schema in (
            ("image", rows.image, IMAGE.schema), ("signal", rows.signal, SIGNAL.schema),
            ("dropped", rows.dropped, DROPPED.schema),
        ):  # fmt: skip
            done.write(table, pa.Table.from_pylist(found, schema))
    return len(rows.image)


# Sections of the config that decide how politely and how hard to ask, not what comes back.
_MANNERS = ("partitions", "concurrency", "per_host", "min_delay_s", "proxy", "allow_private", "user_agent")


def _rows_asked(task: FetchTask) -> int:
    rows = 0
    for path in task.asked:
        fs, plain = arrow_filesystem(path)
        rows += pq.read_metadata(plain, filesystem=fs).num_rows
    return rows


def _asked_by(column: str, files: tuple[str, ...]) -> dict[Any, _Asked]:
    pairs: dict[Any, list[int]] = {}
    licensed: set[int] = set()
    for path in files:
        table = read_parquet(path, ["pair_id", column, "licensed"])
        for pair_id, key, is_licensed in zip(*(column.to_pylist() for column in table.columns), strict=True):
            pairs.setdefault(key, []).append(pair_id)
            if is_licensed:
                licensed.add(pair_id)
    return {
        key: _Asked(tuple(sorted(pairs[key])), frozenset(licensed.intersection(pairs[key]))) for key in sorted(pairs)
    }


def _take_over(store: Store, task: FetchTask, wanted: dict[Any, _Asked], rows: _Rows, shard: WorkShard) -> None:
    """Move what an earlier run fetched for these pairs out of ``wanted`` and into the new partition.

    Where somebody refuses, it is asked for again if the policy or a permission has changed what that means; where
    something could not be determined, in any case. Nothing is moved if a look matters now that was not taken.
    """
    mark = store.mark("fetch", task.partition)
    if mark is None or mark.extra.get("facts") != task.facts:
        return
    if not set(_looks(task)) <= set(mark.extra.get("looks", ())):
        return
    images = {row["pair_id"]: row for row in _old_rows(store, mark.files.get("image", []))}
    signals = [
        row
        for row in _old_rows(store, mark.files.get("signal", []))
        if row["scope"] == "asset" or task.way.how != "off"  # the policy may not read files any more
    ]
    refusals = [row for row in signals if task.binding.refuses(row["kind"], row["verdict"], row["only_if"])]
    refused = {row["pair_id"] for row in refusals}
    held = {row["pair_id"] for row in signals if _may_change(row)}

    def stands(pair: int, licensed: bool) -> bool:
        status = "ok" if licensed or pair not in refused else "opted_out"
        return pair in images and pair not in held and images[pair]["status"] == status

    known = {url for url, asked in wanted.items() if all(stands(pair, pair in asked.licensed) for pair in asked.pairs)}
    pairs = {pair for url in known for pair in wanted.pop(url).pairs}
    rows.signal += [row for row in signals if row["pair_id"] in pairs]
    places: dict[tuple[str, int], dict] = {}
    for row in (images[pair] for pair in sorted(pairs)):
        if row["work_shard"] is not None:
            old = (row["work_shard"], row["work_offset"])
            if old not in places:
                data = read_range(store, row["work_shard"], row["work_offset"], row["work_bytes"])
                places[old] = shard.add(row["work_key"], data)
            row |= places[old]
        rows.image.append(row)


def _may_change(signal: dict) -> bool:
    """Whether something could not be determined that can be asked for again. What cannot be read stays so."""
    return signal["verdict"] == HOLD and signal["kind"] not in FILE_KINDS | {_gate.UNREAD}


def _old_rows(store: Store, files: list[str]) -> Iterator[dict]:
    for name in files:
        yield from read_parquet(store.path(name)).to_pylist()


async def _fetch_all(task: FetchTask, onward: Onward, wanted: dict[Any, _Asked], rows: _Rows, shard: WorkShard) -> None:
    looker = Looker(task.config, _looks(task))
    with ThreadPoolExecutor(1, "pixels") as pixels:
        async with aclosing(_answers(task, onward, wanted)) as answers:
            async for key, fetched in answers:
                at = datetime.now(UTC)
                look = await _looked_at(looker, pixels, fetched, at)
                look = fetched.seen(look, at) if task.shard else look
                said = [*onward.said(fetched.hops, at), *look.said]
                answer = _Answer(fetched, at, look, said, any(map(task.refuses, said)))
                # The same URL may be licensed for one pair and closed to another.
                keeps = [pair for pair in wanted[key].pairs if not answer.refused or pair in wanted[key].licensed]
                columns = look.columns
                if look.rendition is not None and keeps:
                    name = f"{wanted[key].pairs[0] & (2**64 - 1):016x}.{task.config.encode_format}"
                    columns = columns | shard.add(name, look.rendition)
                rows.add(wanted[key], answer, columns)


async def _looked_at(looker: Looker, pixels: ThreadPoolExecutor, fetched: Any, at: datetime) -> Look:
    """What an answer comes to. A picture of the usual size is looked at between two turns of the loop.

    It takes milliseconds, in which the network fills the sockets, and a thread that shares the interpreter with the
    loop would take a twentieth longer. A large one would have others wait for seconds, so it goes to a thread: to one,
    since img2dataset's Resizer is not made for two.
    """
    if len(fetched.body or b"") > _LARGE_BYTES:
        return await asyncio.get_running_loop().run_in_executor(pixels, looker.look, fetched, at)
    await asyncio.sleep(0)
    return looker.look(fetched, at)


async def _answers(task: FetchTask, onward: Onward, wanted: dict[Any, _Asked]) -> AsyncGenerator[tuple[Any, Any]]:
    asked = {key: bool(asked.licensed) for key, asked in wanted.items()}
    if task.shard:
        from ._stored import pictures

        for picture in pictures(task.shard, asked, task.refuses, task.config.max_bytes):
            yield picture
        return
    from ._http import Client, HttpOptions

    async with Client(HttpOptions(**dict(task.http))) as client, aclosing(onward.answers(client, asked)) as answers:
        async for answer in answers:
            yield answer
