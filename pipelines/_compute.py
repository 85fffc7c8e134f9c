"""Where work on bytes runs: processes of this machine, a Dask cluster or Spark executors.

``map`` runs an importable function over small picklable tasks. Workers commit their own partitions, so that
no pixels pass through the driver, and what a dead worker had not committed is simply done again.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from ..schemas.errors import FairshardError, MissingExtra, StageError
from ._logs import carried
from ._own_process import settle

T = TypeVar("T")
R = TypeVar("R")
_ROUNDS = 3  # a task that kills its worker this often is given up, with its name


class Compute(Protocol):
    """Something that maps a function over tasks."""

    @property
    def at_once(self) -> int:
        """How many tasks it runs side by side."""
        ...

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """Results in order of completion. What a task raises is raised here."""
        ...

    def warm_up(self, module: str) -> None:
        """Have the workers import a module and call its ``get_ready``, while this process is still busy elsewhere."""
        ...

    def close(self) -> None:
        """Stop the workers."""
        ...


class LocalCompute:
    """Processes of this machine; with one worker, this very process.

    They stay from map to map, since starting one takes about a second of imports, and end with ``close``.
    """

    def __init__(self, workers: int):
        self.workers = self.at_once = workers
        self._pool: ProcessPoolExecutor | None = None

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        if self.workers == 1 or len(tasks) <= 1:
            yield from map(carried(function), tasks)
            return
        left, sent = list(range(len(tasks))), carried(function)
        for _ in range(_ROUNDS):
            try:
                for number, result in self._round(sent, tasks, list(left)):
                    left.remove(number)
                    yield result
                return
            except BrokenProcessPool:
                # A worker was killed (out of memory, by an operator): the others' results stand, the rest is retried.
                continue
        undone = f"{len(left)} of {len(tasks)} partitions are not done"
        raise _workers_died(function, f"a worker process died {_ROUNDS} times; {undone}")

    def _round(self, function: Callable[[T], R], tasks: Sequence[T], left: list[int]) -> Iterator[tuple[int, R]]:
        pool = self._open()
        futures = {pool.submit(function, tasks[number]): number for number in left}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except KeyboardInterrupt:
            _kill_workers()  # Python would wait for what they are at, and they would write where nobody looks any more
            self.close()
            raise
        except BaseException:
            self.close()
            raise

    def _open(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # Spawned, not forked: this process has threads (DuckDB, Arrow), which do not survive a fork.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.workers, context, _begin)
        return self._pool

    def warm_up(self, module: str) -> None:
        if self.workers > 1:
            for _ in range(self.workers):
                self._open().submit(_get_ready, module)

    def close(self) -> None:
        """Have the processes end, which is not waited for; a later map starts new ones."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)


class DaskCompute:
    """A Dask cluster: the one at ``DASK_SCHEDULER_ADDRESS``, or a local one."""

    def __init__(self, workers: int):
        try:
            from distributed import Client, LocalCluster
        except ImportError as error:
            raise MissingExtra("dask", "--compute dask", "distributed") from error
        address = os.environ.get("DASK_SCHEDULER_ADDRESS")
        self._cluster = None if address else LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0", host="127.0.0.1"
        )  # fmt: skip
        self._client = Client(address or self._cluster)

    @property
    def at_once(self) -> int:
        threads: Any = self._client.nthreads()
        return sum(threads.values())

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        from distributed import KilledWorker
        from distributed import as_completed as dask_completed

        # Tasks write files: Dask may not take one for another, nor reuse an earlier result.
        futures = self._client.map(partial(_caught, carried(function)), tasks, pure=False, retries=_ROUNDS - 1)
        try:
            for future in dask_completed(futures):
                yield _raised(future.result())
        except KilledWorker as error:
            raise _workers_died(function, " ".join(str(error).split())[:200]) from error
        finally:
            self._client.cancel(futures)

    def warm_up(self, module: str) -> None:
        """Dask's workers may be many and far away: each begins when it has work."""

    def close(self) -> None:
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()


class SparkCompute:
    """Spark executors, one task a partition."""

    def __init__(self, workers: int, conf: Mapping[str, str]):
        from ._spark import session

        self._spark = session(workers, conf=conf)

    @property
    def at_once(self) -> int:
        return self._spark.sparkContext.defaultParallelism

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        from py4j.protocol import Py4JJavaError
        from pyspark.errors import PySparkException

        if not tasks:
            return
        mapped = self._spark.sparkContext.parallelize(list(tasks), len(tasks)).map(partial(_caught, carried(function)))
        try:
            results = mapped.collect()
        except (Py4JJavaError, PySparkException) as error:
            raise StageError(
                function.__name__, f"Spark gave up a task ({_cause(str(error))})", "tasks that end",
                "Run again: committed partitions stay",
            ) from error  # fmt: skip
        yield from map(_raised, results)

    def warm_up(self, module: str) -> None:
        """Spark starts its Python workers itself."""

    def close(self) -> None:
        """The session belongs to whoever started it."""


def open_compute(kind: str, workers: int, spark: Mapping[str, str] | None = None) -> Compute:
    """The compute that a config names; ``spark``: settings of its session."""
    if kind == "spark":
        return SparkCompute(workers, spark or {})
    return {"local": LocalCompute, "dask": DaskCompute}[kind](workers)


@dataclass(frozen=True)
class _Failed:
    """An error on its way home: what Dask retries in vain, and Spark would turn into text."""

    error: FairshardError


def _caught(function: Callable[[T], R], task: T) -> R | _Failed:
    try:
        return function(task)
    except FairshardError as error:
        return _Failed(error)


def _raised(result: Any) -> Any:
    if isinstance(result, _Failed):
        raise result.error
    return result


def _workers_died(function: Callable, found: str) -> StageError:
    hint = "Look for the out-of-memory killer, lower 'workers' and run again: committed partitions stay"
    return StageError(function.__name__, found, "workers that live", hint)


def _cause(text: str) -> str:
    """The line of a Java or Python traceback that says what happened."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = [line for line in lines if not line.startswith(("at ", "File ", "Traceback", "...")) and "Error" in line]
    return (found or lines or ["no reason given"])[-1][:300]


def _kill_workers() -> None:
    for worker in multiprocessing.active_children():
        worker.kill()
        worker.join()


def _get_ready(module: str) -> None:
    importlib.import_module(module).get_ready()


def _begin() -> None:
    """In a worker: what comes before its first task."""
    _follow_parent()
    settle()


def _follow_parent() -> None:
    """In a worker: end when the parent does, however it ended, so that a killed run leaves nobody behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True, name="follow-parent").start()
