"""fetch: ask for the images of alive pairs, once a URL, and take what the answers say as evidence.

Headers of every response of a redirect chain are read before its body, and the terms of whatever it leads to; a
refusal that binds under the policy ends the exchange there, so opted-out bytes are never stored. One decode gives
fingerprints and the rendition. The original bytes are not kept.

A partition is a set of hosts; ``_fetcher`` makes one. When it has to be made again, what an earlier run fetched under the
same ``fetch`` section is taken over, and only the rest is asked for (``_earlier``). Pictures that img2dataset has fetched
already are read from its folder, and nobody is asked for them; a shard is a partition of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas.config import Job, fingerprint
from ..schemas.errors import ConfigError
from ..schemas.tables import UTC
from . import _again, _gate
from ._fetch_progress import added, in_words, watched
from ._fetch_task import FetchTask
from ._fetcher import fetch
from ._files import arrow_filesystem
from ._hosts import host_files, in_time, options
from ._img2dataset import partition
from ._in_file import KINDS as FILE_KINDS
from ._onward import KINDS as ONWARD_KINDS
from ._onward import Way
from ._progress import log
from ._store import Store
from ._work import Work

READS = ("pair", "host_file", "signal", "dropped")
WRITES = ("image", "host_file", "signal", "dropped")

# How slowly hosts want to be asked, and when `consult` asked them last, for the hosts with which that matters.
PACE = """
SELECT host, max(crawl_delay_s) AS delay_s, max(fetched_at) AS asked_at
FROM (SELECT key_host(url_key(origin || '/')) AS host, crawl_delay_s, fetched_at FROM host_file) AS origin_file
GROUP BY host
HAVING max(crawl_delay_s) > 0 OR $min_delay_s > 0
"""

# A host belongs to one partition, so that one worker is polite to it without asking the others.
# A recorded permission beats what others say, so that does not end the exchange.
ASKED = """
SELECT alive.pair_id, alive.url, alive.source_row, alive.host,
       CASE WHEN licensed.pair_id IS NULL THEN FALSE ELSE TRUE END AS licensed, pace.delay_s, pace.asked_at,
       coalesce(shard.part,
                CAST(((stable_hash(alive.host) % $partitions) + $partitions) % $partitions AS INTEGER)) AS part
FROM alive
LEFT JOIN licensed ON alive.pair_id = licensed.pair_id
LEFT JOIN pace ON alive.host = pace.host
LEFT JOIN shard ON alive.source = shard.source
"""
WANTED = "SELECT asked.* FROM asked JOIN wanted ON asked.part = wanted.part"
SIZE = "SELECT count(DISTINCT asked.host) AS hosts FROM asked JOIN wanted ON asked.part = wanted.part"
ASKED_SCHEMA = pa.schema([
    ("pair_id", pa.int64()), ("url", pa.string()), ("source_row", pa.int64()), ("host", pa.string()),
    ("licensed", pa.bool_()), ("delay_s", pa.float64()), ("asked_at", UTC), ("part", pa.int32()),
])  # fmt: skip

# Keys of the section that decide how politely and how hard to ask, not what comes back.
_MANNERS = frozenset({
    "partitions", "concurrency", "per_host", "min_delay_s", "max_delay_s", "max_wait_s", "max_bytes_per_s", "proxy",
    "allow_private", "ports", "user_agent",
})  # fmt: skip


def run(work: Work, partitions: Sequence[str] | None = None) -> None:
    """Fetch the images of all alive pairs, or those of some partitions.

    Args:
        work: the run.
        partitions: names of partitions; runs of different ones may go side by side.

    Raises:
        ConfigError: the job has no such partition.
    """
    config, policy, again = work.job.config.fetch, work.job.policy, _again.wishes(work.store)
    binding = _gate.binding(policy, ONWARD_KINDS | FILE_KINDS)
    how = host_files(work.job)
    pixels = {key: value for key, value in asdict(config).items() if key not in _MANNERS}
    iscc = any(registry.scope == "iscc" for registry in work.job.config.registries)
    facts = fingerprint(work.version, pixels)
    bound = list(binding.drops.items()), binding.readings, policy.pdq_dihedral, iscc
    print_ = work.fingerprint("fetch", facts, bound, how, config.partitions)
    chosen = chosen_partitions(work.job, partitions)
    if partitions is None:  # a run beside others takes nothing away
        work.store.prune("fetch", chosen)
    undone = work.undone("fetch", chosen, print_, lambda mark: again.unmakes(mark) or in_time(mark, work.job.config))
    if not undone:
        return
    folder, progress = work.scratch("fetch-inputs"), work.scratch("fetch-progress")
    shards, part = _shards(work.store), _numbers(work.job)
    hosts = _write_inputs(work, folder, undone)
    common = FetchTask(
        root=work.store.root,
        partition="",
        fingerprint=print_,
        facts=facts,
        asked=(),
        progress=progress,
        again=again,
        http=_http(work, len(undone)),
        config=config,
        way=_way(work, how, again.refresh),
        binding=binding,
        dihedral=policy.pdq_dihedral,
        iscc=iscc,
    )
    files = {name: work.partition_files(folder, "part", part[name]) for name in undone}
    rows = {name: _rows_in(paths) for name, paths in files.items()}
    undone.sort(key=lambda name: rows[name], reverse=True)  # so that no worker is left alone with a long one in the end
    tasks = [_of_shard(replace(common, partition=name, asked=files[name]), shards.get(name)) for name in undone]
    with watched(progress, sum(rows.values()), hosts, work.told):
        for _ in work.compute.map(fetch, tasks):
            pass
    _tell(work, chosen)


def _http(work: Work, tasks: int) -> tuple[tuple[str, Any], ...]:
    """Keyword arguments of ``HttpOptions`` for images."""
    config = work.job.config.fetch
    own = {"total_timeout_s": config.timeout_s, "retries": config.retries, "max_bytes": config.max_bytes}
    return tuple(sorted({**work.http_shared(tasks), **own}.items()))


def _way(work: Work, how: str, since: datetime | None) -> Way:
    """How the terms are had that responses lead to."""
    return Way(
        how=how,
        max_age_s=work.job.policy.host_file_max_age_days * 86400,
        since=since if how == "fetch" else None,
        partitions=work.job.config.consult.partitions,
        http=tuple(sorted(options(work.http, work.job).items())),
    )


def _write_inputs(work: Work, folder: str, undone: Sequence[str]) -> int:
    """Write who is asked for what, by partition. Returns the number of hosts."""
    config, engine, shards, part = work.job.config.fetch, work.engine, _shards(work.store), _numbers(work.job)
    sources = pa.array([shard.source for shard in shards.values()], pa.string())
    engine.register(
        "shard", pa.table({"source": sources, "part": pa.array([part[name] for name in shards], pa.int32())})
    )
    work.alive("fetch")
    work.scan("fetch", "signal", "host_file")
    _gate.licensed(engine, work.job.policy)
    engine.step("pace", PACE, min_delay_s=config.min_delay_s)
    engine.step("asked", ASKED, partitions=config.partitions)
    engine.register("wanted", pa.table({"part": pa.array([part[name] for name in undone], pa.int32())}))
    engine.write(WANTED, folder, ASKED_SCHEMA, partition_by="part")
    return engine.rows(SIZE)["hosts"][0].as_py()


def _tell(work: Work, partitions: Sequence[str]) -> None:
    """Say what failed, and what is left for a later run."""
    marks = [mark for name in partitions if (mark := work.store.mark("fetch", name))]
    for status, words in (("failed", "failed"), ("left", "left for a later run")):
        counts = added(mark.extra.get(status, {}) for mark in marks)
        if counts:
            log.info("fetch: %s: %s pairs (%s)", words, f"{sum(counts.values()):,}", in_words(counts))


def partition_names(job: Job) -> list[str]:
    """The partitions of a job: a host belongs to one of them; then the shards that ``ingest`` has found."""
    return [*(f"{number:04d}" for number in range(job.config.fetch.partitions)), *_shards(Store(job.work_dir))]


def _numbers(job: Job) -> dict[str, int]:
    """Number of each partition, which is what SQL calls it by."""
    return {name: number for number, name in enumerate(partition_names(job))}


class _Shard(NamedTuple):
    """A shard of img2dataset: its source, the path of its Parquet file, and size and time of change of it."""

    source: str
    path: str
    stamp: str


def _shards(store: Store) -> dict[str, _Shard]:
    """By partition."""
    mark = store.mark("ingest", "all")
    found = mark.extra.get("shards", {}) if mark else {}
    return {partition(source): _Shard(source, *about) for source, about in found.items()}


def _of_shard(task: FetchTask, shard: _Shard | None) -> FetchTask:
    return replace(task, facts=fingerprint(task.facts, shard), shard=shard.path) if shard else task


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


def _rows_in(files: Sequence[str]) -> int:
    rows = 0
    for path in files:
        fs, plain = arrow_filesystem(path)
        rows += pq.read_metadata(plain, filesystem=fs).num_rows
    return rows
