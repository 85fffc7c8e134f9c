"""ingest: image-text lists and web archives into canonical pairs.

Every row of every source becomes one ``pair`` or one ``rejected`` row with a reason. The lists are read and
normalised part by part, in Arrow, and each part is committed; one SQL pass over the ids of all then finds rows that
say the same as an earlier one, and the parts are written without them.

Source rows whose canonical URL and cleaned caption are equal are one pair: the first, by source name and row, stays;
those of img2dataset folders, whose pictures are at hand, come before all others. A caption is cut at
``ingest.caption_max_chars`` characters.

What pages in archives say becomes ``signal`` rows of the pairs found on them, also of a pair that an earlier row of
any source had brought.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas.config import fingerprint
from ..schemas.errors import SourceError
from ..schemas.tables import PAIR, SIGNAL
from ..udfs.arrow import pc
from . import _sources
from ._candidates import candidates, pairs, spooled, unspooled
from ._files import arrow_filesystem
from ._progress import log
from ._raw import SourceFile
from ._store import Store, Task, read_parquet, write_parquet
from ._work import Work

READS = ()
WRITES = ("pair", "rejected", "signal")

# What it takes to find equal rows. Parts are numbered in the order of the sources and their rows.
ROW = pa.schema(
    [
        pa.field("pair_id", pa.int64()),
        pa.field("check_id", pa.int64()),
        pa.field("part", pa.int32()),
        pa.field("source_row", pa.int64()),
        pa.field("reason", pa.string()),
    ]
)

# Ids that occur more than once are few; only their rows are sorted.
REPEATED = "SELECT pair_id FROM listed WHERE reason IS NULL GROUP BY pair_id HAVING count(*) > 1"

RANKED = """
SELECT part, source_row, check_id,
       row_number() OVER (PARTITION BY listed.pair_id ORDER BY part, source_row) AS place,
       first_value(check_id) OVER (PARTITION BY listed.pair_id ORDER BY part, source_row) AS first_check_id
FROM listed JOIN repeated ON listed.pair_id = repeated.pair_id
"""

# A different pair with the same 64-bit id would be merged by every later join, so it is set aside by name.
LATER = """
SELECT part, source_row,
       CASE WHEN check_id = first_check_id THEN 'duplicate_row' ELSE 'id_collision' END AS reason
FROM ranked WHERE place > 1
"""
LATER_ROW = "SELECT part, source_row FROM later"
LATER_ROW_SCHEMA = pa.schema([("part", pa.int32()), ("source_row", pa.int64())])

ALL_REJECTED = """
SELECT source, source_row, reason
FROM (
    SELECT part, source_row, reason FROM listed WHERE reason IS NOT NULL
    UNION ALL
    SELECT part, source_row, reason FROM later
) AS refused
JOIN source_part ON refused.part = source_part.part
"""

# A page may be in an archive twice: of what one source says twice, the strictest and latest stands.
SIGNAL_ONCE = """
SELECT pair_id, kind, verdict, scope, value, source, rule_id, hop, only_if, observed_at, parser
FROM (
    SELECT said.*, row_number() OVER (
        PARTITION BY pair_id, kind, scope, source
        ORDER BY CASE verdict WHEN 'deny' THEN 0 WHEN 'hold' THEN 1 WHEN 'cond' THEN 2 ELSE 3 END,
                 CASE WHEN only_if IS NULL THEN 0 ELSE 1 END, observed_at DESC, value
    ) AS place
    FROM said
) AS ranked
WHERE place = 1
"""

# Where parts that have been read wait for the last. It is no stage, so nobody takes them for pairs.
_LISTS = "ingest-lists"


@dataclass(frozen=True)
class Read:
    """A part of a list to read: what a worker is given."""

    root: str
    partition: str
    fingerprint: str
    file: SourceFile
    caption_max_chars: int


@dataclass(frozen=True)
class Write:
    """A part to write: its candidates, files with the rows of it that repeat earlier ones, and where pairs go."""

    source: str
    candidates: str
    later: tuple[str, ...]
    target: str


def read(task: Read) -> int:
    """Read one part of a list and commit its candidates. Returns the number of rows."""
    number = int(task.partition)
    with Store(task.root).task(_LISTS, task.partition, task.fingerprint) as done:
        found, rows = done.scratch("candidates"), done.scratch("rows")
        said = done.scratch("said")
        with closing(_read(task.file, task.caption_max_chars, said)) as batches:
            count = write_parquet(rows, ROW, (_row(batch, number) for batch in spooled(batches, found)))
        done.rows_in = count
        done.keep(found, _kept(number, "candidates"))
        done.keep(rows, _kept(number, "rows"))
        done.keep(said, _kept(number, "said"))
    return count


def write(task: Write) -> int:
    """Write the pairs of one part. Returns their number."""
    found = [chunk for file in task.later for chunk in read_parquet(file)["source_row"].chunks]
    later = pa.chunked_array(found, pa.int64()).combine_chunks()
    usable = (_usable(batch, later) for batch in unspooled(task.candidates))
    return write_parquet(task.target, PAIR.schema, (pairs(batch, task.source) for batch in usable))


def run(work: Work) -> None:
    """Read the sources of the job.

    Raises:
        SourceError: a source is missing, empty, of another format or without the columns it needs, or none has a row.
    """
    files = _sources.resolve(work.job)
    task = work.task("ingest", "all", fingerprint(work.version, "ingest", work.job.config.ingest, files))
    if not task.done:
        work.store.prune("ingest", ["all"])
        with task:
            parts = [part for file in files for part in _sources.parts(file)]
            task.rows_in = read_lists(work, parts)
            task.extra["sources"] = [file.source for file in files]
            task.extra["shards"] = {
                file.source: [file.path, file.stamp] for file in files if file.format == "img2dataset"
            }
            write_pairs(work, task, parts)
    work.store.prune(_LISTS, [])


def read_lists(work: Work, parts: Sequence[SourceFile]) -> int:
    """Commit the candidates of all parts, but those that an earlier run has. Returns the number of rows.

    Raises:
        SourceError: a list ends too early or is damaged. Then none is kept.
    """
    tasks = [_read_task(work, number, part) for number, part in enumerate(parts)]
    names = [task.partition for task in tasks]
    work.store.prune(_LISTS, names)
    undone = [task for task in tasks if not work.task(_LISTS, task.partition, task.fingerprint).done]
    try:
        for _ in work.map("ingest: lists", read, undone, lambda rows: f"{rows:,} rows"):
            pass
    except SourceError:
        work.store.prune(_LISTS, [])
        raise
    rows = Counter({part.path: 0 for part in parts})
    for mark, part in zip(work.store.marks(_LISTS), parts, strict=True):
        rows[part.path] += mark.rows_in or 0
    for path in sorted(path for path, count in rows.items() if not count):
        log.info("ingest: %s has no rows", path)
    return rows.total()


def write_pairs(work: Work, task: Task, parts: Sequence[SourceFile]) -> None:
    """Write ``pair`` and ``rejected`` from the candidates of all parts."""
    numbers = range(len(parts))
    sources = [part.source for part in parts]
    folder = set_aside(work, task, [work.store.path(_kept(number, "rows")) for number in numbers], sources)
    if said := [work.store.path(_kept(part, "said")) for part in numbers if parts[part].format in _sources.ARCHIVES]:
        work.engine.scan("said", said, SIGNAL.schema)
        work.write(task, "signal", SIGNAL_ONCE)
    tasks = [
        Write(
            source=source,
            candidates=work.store.path(_kept(number, "candidates")),
            later=work.partition_files(folder, "part", number),
            target=f"{task.folder('pair')}/part-{number:05d}.parquet",
        )
        for number, source in zip(numbers, sources, strict=True)
    ]
    for _ in work.map("ingest: pairs", write, tasks, lambda rows: f"{rows:,} pairs"):
        pass


def set_aside(work: Work, task: Task, rows: Sequence[str], sources: Sequence[str]) -> str:
    """Write ``rejected``.

    Args:
        work: has the engine.
        task: what ``rejected`` belongs to.
        rows: files of ``ROW``, one or more for each part.
        sources: of the parts, by their numbers.

    Returns:
        A folder of the task's own with the rows that repeat earlier ones, by part.
    """
    work.engine.scan("listed", rows, ROW)
    numbers = pa.array(range(len(sources)), pa.int32())
    work.engine.register("source_part", pa.table({"part": numbers, "source": pa.array(sources, pa.string())}))
    work.engine.step("repeated", REPEATED)
    work.engine.step("ranked", RANKED)
    work.engine.step("later", LATER, keep=True)
    work.write(task, "rejected", ALL_REJECTED)
    folder = task.scratch("later")
    work.engine.write(LATER_ROW, folder, LATER_ROW_SCHEMA, partition_by="part")
    return folder


def _read_task(work: Work, number: int, part: SourceFile) -> Read:
    limit = work.job.config.ingest.caption_max_chars
    return Read(work.store.root, f"{number:05d}", fingerprint(work.version, limit, part), part, limit)


def _kept(number: int, kind: str) -> str:
    return f"{_LISTS}/{number:05d}.{kind}"


def _read(file: SourceFile, caption_max_chars: int, said_path: str) -> Generator[pa.RecordBatch]:
    """The candidates of a part, in order; what is said about them goes to a file of ``signal`` rows."""
    fs, plain = arrow_filesystem(said_path)
    with fs.open_output_stream(plain) as sink, pq.ParquetWriter(sink, SIGNAL.schema, compression="zstd") as writer:
        for raw, said in _sources.read(file):
            batch = candidates(raw, caption_max_chars)
            if said is not None and said.num_rows:
                writer.write_batch(_signals(said, batch))
            yield batch


def _signals(said: pa.RecordBatch, batch: pa.RecordBatch) -> pa.RecordBatch:
    """``signal`` rows of what is said about rows, without those that are no pairs."""
    row = pc.index_in(said.column("source_row"), value_set=batch.column("source_row"))
    pair_id = batch.column("pair_id").take(row)
    columns = [pair_id if name == "pair_id" else said.column(name) for name in SIGNAL.schema.names]
    return (
        pa.RecordBatch.from_arrays(columns, names=SIGNAL.schema.names).filter(pc.is_valid(pair_id)).cast(SIGNAL.schema)
    )


def _row(batch: pa.RecordBatch, part: int) -> pa.RecordBatch:
    """``ROW``[n]"""
    columns = [
        pa.repeat(pa.scalar(part, pa.int32()), batch.num_rows) if name == "part" else batch.column(name)
        for name in ROW.names
    ]
    return pa.RecordBatch.from_arrays(columns, schema=ROW)


def _usable(batch: pa.RecordBatch, later: pa.Array) -> pa.RecordBatch:
    repeats = pc.is_in(batch.column("source_row"), value_set=later)
    return batch.filter(pc.and_not(pc.is_null(batch.column("reason")), repeats))
