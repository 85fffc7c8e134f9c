"""emit: the pairs that are left into a release: WebDataset shards, tables, manifest, catalog, card.

Samples lie in the order of their ids as unsigned numbers. An id is a hash, so shards come shuffled, and the same
pairs give the same shards wherever and however often they are made. Each shard is a partition of this stage.
The manifest is removed before anything changes and written last: a release without one is unfinished.

Before that, the books must balance: every row of the sources is rejected, dropped or released, and every pair is
in exactly one place. If not, nothing is published.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas.config import fingerprint
from ..schemas.errors import StageError
from ..schemas.tables import SAMPLE, TABLES
from . import _card, _manifest
from ._catalog import open_release, write_catalog
from ._emit_shard import PLAN, SHARDS_A_PLAN, ShardTask, make_shard, plan_file
from ._files import arrow_filesystem
from ._public import ordered, write_tables
from ._release import MANIFEST, SIGNATURE, FileFact, Release, rechunked
from ._shards import sample_keys
from ._store import Store, Task
from ._work import STAGES, Work, require

READS = ("pair", "rejected", "rule", "signal", "image", "score", "dropped", "duplicate")
WRITES = ("sample", "shard")

_ROWS_A_GROUP = 122_880  # of Parquet, as DuckDB has them
_QUICK: Any = {"compression": "lz4", "use_dictionary": False, "write_statistics": False}  # the plan is read once, whole

# Negative ids are the upper half of the unsigned range.
PLANNED = """
SELECT alive.pair_id, url, caption, source, source_row, licence, creator, page_url,
       image.width_px, image.height_px, work_width_px, work_height_px, sha256, phash, pdq,
       work_shard, work_offset, work_bytes
FROM alive JOIN image ON alive.pair_id = image.pair_id
WHERE image.status = 'ok' AND work_shard IS NOT NULL AND work_offset IS NOT NULL AND work_bytes IS NOT NULL
ORDER BY CASE WHEN alive.pair_id < 0 THEN 1 ELSE 0 END, alive.pair_id
"""

PLACE = """
SELECT pair_id, 1 AS as_pair, 0 AS as_end FROM pair
UNION ALL
SELECT pair_id, 0 AS as_pair, 1 AS as_end FROM dropped
UNION ALL
SELECT pair_id, 0 AS as_pair, 1 AS as_end FROM sample
"""

# Pairs that are not in exactly one place.
MISPLACED = """
SELECT pair_id, sum(as_pair) AS as_pair, sum(as_end) AS as_end
FROM place GROUP BY pair_id
HAVING sum(as_pair) <> 1 OR sum(as_end) <> 1
ORDER BY pair_id LIMIT 5
"""

# A source of n rows gave the rows 0 to n - 1, each once.
SOURCE_COUNT = """
SELECT source, count(*) AS row_count, count(DISTINCT source_row) AS distinct_rows, max(source_row) AS last_row
FROM (SELECT source, source_row FROM rejected UNION ALL SELECT source, source_row FROM pair) AS source_rows
GROUP BY source ORDER BY source
"""


def samples(plan: pa.RecordBatch, shard_id: int, samples_per_shard: int) -> pa.RecordBatch:
    """``SAMPLE``[n] of one shard, from ``PLAN``[n]."""
    count = plan.num_rows
    columns = [
        plan.column("pair_id"),
        pa.repeat(pa.scalar(shard_id, pa.int32()), count),
        pa.array(sample_keys(shard_id, count, samples_per_shard), pa.string()),
        plan.column("work_bytes"),
        pa.repeat(pa.scalar(1.0, pa.float64()), count),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SAMPLE.schema)


def run(work: Work) -> None:
    """Make the release, or what of it is not there yet.

    Raises:
        MissingExtra: the dataset card needs jinja2 and matplotlib.
        ReleaseError: an earlier stage has not run, or what it made is gone.
        StageError: the books do not balance; nothing is published.
    """
    _card.require()
    for stage in STAGES[:-1]:
        require(work.store, stage, "Run the job from its first stage")
    release = Release(work.job.release_dir)
    plan_fingerprint, shards = plan(work)
    tasks = [_shard_task(work, plan_fingerprint, shard_id) for shard_id in range(shards)]
    todo = [task for task in tasks if not _made(work.store, release, task)]
    if todo or not _published(work, release, plan_fingerprint):
        release.remove(SIGNATURE)
        release.remove(MANIFEST)
    for _ in work.map("emit", make_shard, todo, lambda rows: f"{rows:,} samples"):
        pass
    work.store.prune("emit", ["plan", "release", *(task.partition for task in tasks)])
    if not _published(work, release, plan_fingerprint):
        _publish(work, release, _publish_fingerprint(work, plan_fingerprint))


def get_ready() -> None:
    """Import what takes a while, before it is needed."""
    import matplotlib.figure  # noqa: F401


def plan(work: Work) -> tuple[str, int]:
    """Say which pair goes where. Returns the fingerprint of the plan and the number of shards."""
    config = work.job.config
    per_shard = config.emit.samples_per_shard
    task = work.task("emit", "plan", work.fingerprint("emit", per_shard, SHARDS_A_PLAN, config.fetch.encode_format))
    if not task.done:
        with task:
            work.alive("emit")
            work.scan("emit", "image")
            groups = rechunked(ordered(work, "plan", PLANNED, PLAN), per_shard)
            task.extra["shards"] = 0
            task.write("sample", rechunked(_assigned(task, groups, per_shard), _ROWS_A_GROUP))
    mark = work.store.mark("emit", "plan")
    if mark is None:
        raise StageError("emit", "the plan of the shards is gone", hint="Run again")
    return f"{mark.fingerprint} {mark.committed_at}", mark.extra["shards"]


def _assigned(task: Task, groups: Iterator[pa.RecordBatch], per_shard: int) -> Iterator[pa.RecordBatch]:
    """Write the plan, one row group a shard, and pass on where each pair goes."""
    for number, of_file in itertools.groupby(enumerate(groups), lambda shard: shard[0] // SHARDS_A_PLAN):
        file = task.scratch(f"shard_plan-{number}")
        fs, path = arrow_filesystem(file)
        with fs.open_output_stream(path) as sink, pq.ParquetWriter(sink, PLAN, **_QUICK) as writer:
            for shard_id, group in of_file:
                writer.write_batch(group, row_group_size=group.num_rows)
                task.extra["shards"] = shard_id + 1
                yield samples(group, shard_id, per_shard)
        task.keep(file, plan_file(number))


def _shard_task(work: Work, plan_fingerprint: str, shard_id: int) -> ShardTask:
    config, job = work.job.config, work.job
    print_of = fingerprint(plan_fingerprint, shard_id, job.release_dir)
    return ShardTask(
        job.work_dir, job.release_dir, shard_id, config.emit.samples_per_shard, config.fetch.encode_format, print_of
    )


def _made(store: Store, release: Release, task: ShardTask) -> bool:
    mark = store.mark("emit", task.partition)
    return mark is not None and mark.fingerprint == task.fingerprint and _there(release, mark.extra.get("released", {}))


def _there(release: Release, facts: dict[str, dict]) -> bool:
    return bool(facts) and all(release.size(name) == fact["bytes"] for name, fact in facts.items())


def _publish_fingerprint(work: Work, plan_fingerprint: str) -> str:
    job, config = work.job, work.job.config
    registries = (config.registries, config.endpoints)
    return fingerprint(plan_fingerprint, config.emit, job.policy, *registries, job.release_dir)


def _published(work: Work, release: Release, plan_fingerprint: str) -> bool:
    mark = work.store.mark("emit", "release")
    done = mark is not None and mark.fingerprint == _publish_fingerprint(work, plan_fingerprint)
    return mark is not None and done and _there(release, mark.extra.get("released", {}))


def _publish(work: Work, release: Release, print_of: str) -> None:
    """Everything but the shards; the manifest last."""
    store = work.store
    with work.task("emit", "release", print_of) as task:
        for table in READS:
            work.scan("emit", table)
        for table in WRITES:
            work.engine.scan(table, store.files(table, ("emit",)), TABLES[table].schema)
        balance_books(work)
        facts = {name: FileFact(**fact) for mark in store.marks("emit") if mark.partition not in ("plan", "release")
                 for name, fact in mark.extra["released"].items()}  # fmt: skip
        facts |= write_tables(work, release)
        catalog = open_release(release.root)
        manifest = _manifest.build(catalog, work.job, _registry_hashes(store), _rule_counts(work), _model(store))
        facts |= _card.write(release, catalog, manifest)
        catalog.connection.close()
        release.clear(facts)
        write_catalog(release)
        facts[MANIFEST] = release.put(MANIFEST, _manifest.dump(manifest, facts))
        task.extra["released"] = {name: asdict(fact) for name, fact in facts.items()}


def balance_books(work: Work) -> None:
    """Conservation: see the head of this file."""
    engine = work.engine
    engine.step("place", PLACE)
    for row in engine.rows(MISPLACED).to_pylist():
        found = f"pair {row['pair_id']} is {row['as_pair']} times in pair and {row['as_end']} times dropped or released"
        raise _unbalanced(found, "once in each")
    sources = engine.rows(SOURCE_COUNT).to_pylist()
    for row in sources:
        if not row["row_count"] == row["distinct_rows"] == row["last_row"] + 1:
            found = f"{row['row_count']} rows of source '{row['source']}' are accounted for, {row['distinct_rows']} of "
            raise _unbalanced(found + "them distinct", f"each of the {row['last_row'] + 1} once")
    found = sum(row["row_count"] for row in sources)
    read = sum(mark.rows_in or 0 for mark in work.store.marks("ingest"))
    if read != found:
        raise _unbalanced(f"{found} rows are accounted for", f"the {read} that were read")


def _unbalanced(found: str, expected: str) -> StageError:
    return StageError("emit", found, expected, "Nothing was published. This is a bug: please report it")


def _registry_hashes(store: Store) -> dict[str, str]:
    """SHA-256 of each registry's file, as the stage that read it recorded."""
    mark = store.mark("consult", "registry")
    return mark.extra["registry_sha256"] if mark else {}


def _model(store: Store) -> dict[str, Any] | None:
    """The model that pictures were compared by, as the stage that asked it recorded."""
    mark = store.mark("dedup", "all")
    found = mark.extra.get("embedding") if mark else None
    return found and {name: found[name] for name in ("sha256", "architecture", "trained_on")}


def _rule_counts(work: Work) -> dict[str, int]:
    rows = work.engine.rows("SELECT registry, count(*) AS rule_count FROM rule GROUP BY registry")
    return {row["registry"]: row["rule_count"] for row in rows.to_pylist()}
