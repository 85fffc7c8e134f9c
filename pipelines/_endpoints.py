"""Do-Not-Train endpoints: registries that are asked over HTTP about the very URLs of the pairs.

They are asked after the lists, and about pairs that no list has settled: neither an opt-out nor a recorded permission
would be changed by what an endpoint says. `consult` asks about the URLs of the sources, `screen` about those where
redirects have ended. This process alone asks, so that an endpoint's limits hold however many workers there are, and
its key goes nowhere else. Answers are committed by partition in ``answer`` and serve later runs until they are too
old; whatever is no answer is ``hold``, and asked for again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas.config import Endpoint, Job, fingerprint
from ..schemas.policy import Policy
from ..schemas.tables import ANSWER, SIGNAL
from ..udfs.arrow import pc
from ._clock import ALLOWED
from ._files import arrow_filesystem
from ._progress import bar
from ._said import parser
from ._work import Work

if TYPE_CHECKING:  # aiohttp is an extra
    from ._asker import Asker

# An entry without a condition: an opt-out stays one and a permission beats one, whatever else is said.
SETTLED = "SELECT DISTINCT pair_id FROM list_signal WHERE only_if IS NULL"
UNSETTLED = """
SELECT place.pair_id, place.url, place.url_key
FROM place LEFT JOIN settled ON place.pair_id = settled.pair_id
WHERE settled.pair_id IS NULL
"""

# Every spelling of a URL is asked about: an endpoint may know only one of them.
WANTED = """
SELECT DISTINCT url, CAST(((stable_hash(url_key) % $partitions) + $partitions) % $partitions AS INTEGER) AS part
FROM unsettled
"""
FRESH = """
SELECT registry, endpoint, url, url_key, verdict, value, answered_at, parser
FROM (
    SELECT known.*, row_number() OVER (
        PARTITION BY known.registry, known.url ORDER BY known.answered_at DESC, known.verdict
    ) AS place
    FROM known JOIN to_ask ON known.registry = to_ask.registry AND known.endpoint = to_ask.endpoint
    WHERE known.verdict <> 'hold' AND known.answered_at >= to_ask.oldest AND known.answered_at <= to_ask.latest
      AND known.parser = $parser
) AS ranked
WHERE place = 1
"""
KEPT = "SELECT fresh.*, wanted.part FROM fresh JOIN wanted ON fresh.url = wanted.url"
DUE = """
SELECT asked.registry, asked.url, asked.part
FROM (SELECT to_ask.registry, wanted.url, wanted.part FROM wanted CROSS JOIN to_ask) AS asked
LEFT JOIN fresh ON asked.registry = fresh.registry AND asked.url = fresh.url
WHERE fresh.url IS NULL
"""

# A grant would need evidence that somebody can look at, so an opt-in is kept in `answer` and permits nothing.
STRICTEST = """
SELECT * FROM (
    SELECT answer.*, row_number() OVER (
        PARTITION BY registry, url_key ORDER BY CASE WHEN verdict = 'deny' THEN 0 ELSE 1 END, url
    ) AS place
    FROM answer WHERE verdict IN ('deny', 'hold')
) AS ranked
WHERE place = 1
"""
ANSWER_SIGNAL = """
SELECT unsettled.pair_id, 'registry' AS kind, strictest.verdict, 'url' AS scope, strictest.value,
       strictest.registry AS source, CAST(NULL AS BIGINT) AS rule_id, CAST(NULL AS INTEGER) AS hop,
       CAST(NULL AS VARCHAR) AS only_if, strictest.answered_at AS observed_at, strictest.parser
FROM unsettled JOIN strictest ON unsettled.url_key = strictest.url_key
"""

_PART = ("part", pa.int32())
_TIME = ANSWER.schema.field("answered_at").type
KEPT_SCHEMA = pa.schema([*ANSWER.schema, _PART])
DUE_SCHEMA = pa.schema([("registry", pa.string()), ("url", pa.string()), _PART])

_SIGNALS = "answers"

# By stage: whose signals may have settled a pair already.
_LISTS = {"consult": (("consult", "registry"),), "screen": (("consult", "registry"), ("screen", "lists"))}


def partitions(job: Job) -> list[str]:
    """Names of the partitions that ``ask`` makes; none if there is nobody to ask."""
    return [*_answer_partitions(job), _SIGNALS] if job.config.endpoints else []


def _answer_partitions(job: Job) -> list[str]:
    return [f"answer-{number:04d}" for number in range(job.config.consult.partitions)]


def check(work: Work) -> None:
    """Refuse a job with an endpoint that could not be asked. Requests nothing.

    Raises:
        RegistryError: its key is not in the environment, or its address may not be asked.
    """
    if work.job.config.endpoints:
        from ._asker import check

        check(work.job, work.http)


def max_age(endpoint: Endpoint, policy: Policy) -> timedelta:
    """How long an answer is good for."""
    return timedelta(days=policy.registry_max_age_days if endpoint.max_age_days is None else endpoint.max_age_days)


def ask(work: Work, stage: str, place: Callable[[], None], now: datetime) -> None:
    """Write ``answer``, and the ``signal`` rows of what endpoints say about pairs that no list has settled.

    Args:
        work: the job. Without endpoints there is nothing to do.
        stage: that asks; after its lists.
        place: names ``place`` on the engine: pair_id, url and url_key of what to ask about.
        now: time.
    """
    if not work.job.config.endpoints:
        return
    names, lists = _answer_partitions(work.job), [work.store.mark(*name) for name in _LISTS[stage]]
    asking = work.fingerprint(
        stage, [mark and mark.committed_at for mark in lists], len(names),
        work.job.config.endpoints, work.job.policy.registry_max_age_days,
    )  # fmt: skip
    undone = work.undone(stage, names, asking)
    if undone:
        _ask(work, stage, place, undone, asking, now)
    marks = [work.store.mark(stage, name) for name in names]
    task = work.task(stage, _SIGNALS, fingerprint(asking, [mark and mark.committed_at for mark in marks]))
    if task.done:
        return
    with task:
        _name_unsettled(work, stage, place)
        work.engine.scan("answer", work.store.files("answer", [stage]), ANSWER.schema)
        work.engine.step("strictest", STRICTEST)
        work.write(task, "signal", ANSWER_SIGNAL)


def _ask(work: Work, stage: str, place: Callable[[], None], names: Sequence[str], asking: str, now: datetime) -> None:
    """Make partitions of ``answer``: what is still fresh of earlier runs, and answers about the rest."""
    from ._asker import open_askers

    _name_unsettled(work, stage, place)
    folders = _inputs(work, now)
    with asyncio.Runner() as runner, bar(f"{stage}: endpoints", len(names), work.told) as progress:
        stack = AsyncExitStack()
        try:
            askers = runner.run(open_askers(work.job, work.http, stack))
            for name in names:
                kept, due = (work.partition_files(folder, "part", int(name[-4:])) for folder in folders)
                again: list[datetime] = []
                with work.task(stage, name, asking) as task:
                    task.write("answer", _rows(askers, runner, kept, due, again))
                    task.expires_at = min(again, default=None)
                progress.advance(note=f"{sum(one.asked for one in askers):,} URLs")
        finally:
            runner.run(stack.aclose())
    for one in askers:
        one.warn()


def _rows(
    askers: Sequence[Asker], runner: asyncio.Runner, kept: Sequence[str], due: Sequence[str], again: list[datetime]
) -> Iterator[pa.RecordBatch]:
    """Rows of ``answer``, and when each lot of them has to be asked for again."""
    for asker in askers:
        stored = _read(kept, asker.name, ANSWER.schema)
        urls = (url for batch in _read(due, asker.name, DUE_SCHEMA) for url in batch["url"].to_pylist())
        for batch in chain(stored, asker.answers(runner, urls)):
            again.append(asker.again(batch))
            yield batch


def _read(files: Sequence[str], registry: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of one registry, streamed."""
    for path in files:
        fs, plain = arrow_filesystem(path)
        with fs.open_input_file(plain) as file:
            for batch in pq.ParquetFile(file).iter_batches(columns=[name for name in schema.names if name != "part"]):
                own = batch.filter(pc.equal(batch["registry"], registry))
                if own.num_rows:
                    yield own.cast(pa.schema([field for field in schema if field.name != "part"]))


def _inputs(work: Work, now: datetime) -> tuple[str, str]:
    """Folders of the answers that are still fresh, and of the URLs to ask about, by partition."""
    kept, due = work.scratch("answers-kept"), work.scratch("answers-due")
    endpoints, engine, policy = work.job.config.endpoints, work.engine, work.job.policy
    engine.scan("known", work.store.files("answer", list(_LISTS)), ANSWER.schema)
    engine.register("to_ask", pa.table({
        "registry": pa.array([one.name for one in endpoints], pa.string()),
        "endpoint": pa.array([one.url for one in endpoints], pa.string()),
        "oldest": pa.array([now - max_age(one, policy) for one in endpoints], _TIME),
        "latest": pa.array([now + ALLOWED for _ in endpoints], _TIME),
    }))  # fmt: skip
    engine.step("wanted", WANTED, partitions=len(_answer_partitions(work.job)))
    engine.step("fresh", FRESH, parser=parser())
    engine.write(KEPT, kept, KEPT_SCHEMA, partition_by="part")
    engine.write(DUE, due, DUE_SCHEMA, partition_by="part")
    return kept, due


def _name_unsettled(work: Work, stage: str, place: Callable[[], None]) -> None:
    """Name ``unsettled`` on the engine: what endpoints are asked about."""
    marks = [work.store.mark(*name) for name in _LISTS[stage]]
    files = [work.store.path(file) for mark in marks if mark for file in mark.files.get("signal", [])]
    place()
    work.engine.scan("list_signal", files, SIGNAL.schema)
    work.engine.step("settled", SETTLED)
    work.engine.step("unsettled", UNSETTLED)
