"""What every stage is given: the job, an engine, the store, somewhere to run work on bytes."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

from ..schemas.config import Job, fingerprint
from ..schemas.errors import ReleaseError
from ..schemas.tables import TABLES
from ._compute import Compute, open_compute
from ._files import file_system, listed, remove_folder
from ._progress import Tell, bar
from ._store import Mark, Store, Task

if TYPE_CHECKING:  # an engine takes a while to import
    from ._engine import Engine

T = TypeVar("T")
R = TypeVar("R")
STAGES = ("ingest", "consult", "fetch", "screen", "filter", "dedup", "balance", "emit")

# A pair is alive for a stage if no earlier stage dropped it.
ALIVE = "SELECT pair.* FROM pair LEFT JOIN dropped ON pair.pair_id = dropped.pair_id WHERE dropped.pair_id IS NULL"


@dataclass
class Work:
    """One run of a job. Engine and compute start when first asked for: a run with nothing to do starts neither.

    Attributes:
        told: hears how far a stage has come, if anybody does.
    """

    job: Job
    told: Tell | None = None
    _scratch: list[str] = field(default_factory=list)

    @cached_property
    def store(self) -> Store:
        return Store(self.job.work_dir)

    @cached_property
    def version(self) -> str:
        """Version of fairshard: part of every fingerprint."""
        return version("fairshard")

    @cached_property
    def workers(self) -> int:
        return self.job.config.workers or os.cpu_count() or 1

    @cached_property
    def engine(self) -> Engine:
        config = self.job.config
        if config.engine == "spark":
            from ._spark import SparkEngine, session

            spark = session(self.workers, config.memory_limit_gb, config.spark)
            return SparkEngine(spark, self.scratch("spark"))
        from ._engine import DuckDBEngine

        spill_dir = f"{self.local_scratch}/spill-{uuid.uuid4().hex[:8]}"
        return DuckDBEngine(self.workers, config.memory_limit_gb, spill_dir)

    @cached_property
    def local_scratch(self) -> str:
        """A folder of this machine for what does not fit into memory."""
        if "://" in self.store.root:
            return tempfile.gettempdir()
        folder = self.store.path("_scratch")
        os.makedirs(folder, exist_ok=True)
        return folder

    @cached_property
    def compute(self) -> Compute:
        return open_compute(self.job.config.compute, self.workers, self.job.config.spark)

    def clear(self) -> None:
        """Free what a stage kept on the engine."""
        if "engine" in self.__dict__:
            self.engine.clear()

    def close(self) -> None:
        """Stop what was started, and remove what was only needed on the way."""
        for folder in self._scratch:
            remove_folder(*file_system(folder))
        self._scratch.clear()
        for name in ("engine", "compute"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()

    def fingerprint(self, stage: str, *parts: Any) -> str:
        """Fingerprint for a partition made from all earlier stages' results and from ``parts`` of the config."""
        earlier = STAGES[: STAGES.index(stage)]
        return fingerprint(self.version, stage, [self.marks(name) for name in earlier], *parts)

    def scratch(self, name: str) -> str:
        """A folder of this run's own for what stages hand to workers; gone when the run closes."""
        folder = self.store.path("_scratch", f"{name}-{uuid.uuid4().hex[:8]}")
        self._scratch.append(folder)
        return folder

    def marks(self, stage: str, leave_out: str = "") -> list[list[str]]:
        """What a stage has committed, for the fingerprint of what is made from it."""
        marks = self.store.marks(stage)
        return [[mark.partition, mark.fingerprint, mark.committed_at] for mark in marks if mark.partition != leave_out]

    def undone(
        self,
        stage: str,
        partitions: Sequence[str],
        fingerprint: str,
        unmakes: Callable[[Mark], bool] = lambda _: False,
    ) -> list[str]:
        """The partitions that have to be made; ``unmakes``: whether one has to be made again all the same."""
        now = datetime.now(UTC)
        marks = {name: self.store.mark(stage, name) for name in partitions}
        return [name for name, mark in marks.items() if not mark or not mark.valid(fingerprint, now) or unmakes(mark)]

    def stamp(self, path: str) -> str:
        """Size and time of change of a file: whether it is still what it was."""
        fs, plain = file_system(path)
        info = fs.info(plain)
        return f"{info['size']}-{info.get('mtime') or info.get('LastModified') or info.get('created')}"

    def partition_files(self, folder: str, column: str, number: int) -> tuple[str, ...]:
        """Files of one value of ``Engine.write(partition_by=...)``; none if no row had it."""
        fs, plain = file_system(f"{folder}/{column}={number}")
        return tuple(fs.unstrip_protocol(path) for path in listed(fs, plain, ".parquet"))

    @property
    def http(self) -> dict[str, Any]:
        """Options of the HTTP client that all stages share."""
        fetch = self.job.config.fetch
        options = {
            "proxy": fetch.proxy,
            "allow_private": fetch.allow_private,
            "ports": fetch.ports,
            "concurrency": fetch.concurrency,
            "per_host": fetch.per_host,
            "min_delay_s": fetch.min_delay_s,
            "max_delay_s": fetch.max_delay_s,
            "max_wait_s": fetch.max_wait_s,
            "max_redirects": fetch.max_redirects,
        }
        return options | ({"user_agent": fetch.user_agent} if fetch.user_agent else {})

    def http_shared(self, tasks: int) -> dict[str, Any]:
        """The same for workers of so many tasks, with the part of ``fetch.max_bytes_per_s`` that one of them may read."""
        bound = self.job.config.fetch.max_bytes_per_s
        if bound is None:
            return self.http
        return self.http | {"max_bytes_per_s": bound / max(1, min(tasks, self.compute.at_once))}

    def task(self, stage: str, partition: str, fingerprint: str) -> Task:
        """A partition to make; see ``Store.task``."""
        return self.store.task(stage, partition, fingerprint)

    def scan(self, stage: str, *tables: str) -> None:
        """Name tables on the engine as they were before a stage."""
        earlier = STAGES[: STAGES.index(stage)]
        for table in tables:
            self.engine.scan(table, self.store.files(table, earlier), TABLES[table].schema)

    def scan_all(self, stage: str, *tables: str) -> None:
        """The same with what the stage itself has committed."""
        earlier = STAGES[: STAGES.index(stage) + 1]
        for table in tables:
            self.engine.scan(table, self.store.files(table, earlier), TABLES[table].schema)

    def alive(self, stage: str) -> None:
        """Name ``alive`` on the engine: the pairs that reach a stage. Also names ``pair`` and ``dropped``."""
        self.scan(stage, "pair", "dropped")
        self.engine.step("alive", ALIVE)

    def write(self, task: Task, table: str, sql: str, **params: Any) -> None:
        """Write the result of a query into a task's table."""
        self.engine.write(sql, task.folder(table), TABLES[table].schema, **params)

    def map(self, name: str, function: Callable[[T], R], tasks: Sequence[T], unit: Callable[[R], str]) -> Iterator[R]:
        """Run a function over tasks on the compute, with progress. ``unit`` says what a result did."""
        with bar(name, len(tasks), self.told) as progress:
            for result in self.compute.map(function, tasks):
                progress.advance(note=unit(result))
                yield result


def require(store: Store, stage: str, hint: str) -> None:
    """Stop unless a stage has been committed.

    Raises:
        ReleaseError: it has not.
    """
    if not store.marks(stage):
        raise ReleaseError(store.root, f"stage '{stage}' has not run here", hint=hint)
