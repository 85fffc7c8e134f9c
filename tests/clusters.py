"""Real clusters on this machine: a scheduler and two workers, of which one can be killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

DEADLINE_S = 300
QUICK = "-XX:TieredStopAtLevel=1"  # little is computed, so that the JVM's better compiler does not pay


@dataclass
class Cluster:
    """A scheduler and two workers, each with its log and a process group of its own."""

    logs: Path
    address: str = ""
    started: list[subprocess.Popen] = field(default_factory=list)

    def start(self, *command: str, **env: str) -> Path:
        log = self.logs / f"{len(self.started)}.log"
        with log.open("w") as sink:
            self.started.append(subprocess.Popen(
                command, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True, cwd=self.logs, env=os.environ | env
            ))  # fmt: skip
        return log

    def kill_a_worker(self) -> None:
        """With all it has started: executors, tasks."""
        os.killpg(self.started[1].pid, signal.SIGKILL)

    def end(self) -> None:
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def told(log: Path, pattern: str) -> str:
    """What a log says, waited for."""
    return awaited(lambda: (found := re.search(pattern, log.read_text())) and found[found.lastindex or 0])


def awaited(condition: Callable[[], str | bool | None], process: subprocess.Popen | None = None) -> str:
    deadline = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert process is None or process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "the moment never came"
        time.sleep(0.02)
    return str(found)


@contextmanager
def spark_standalone(folder: Path) -> Iterator[Cluster]:
    """A standalone master of Spark and two workers of one core each."""
    import pyspark

    spark_class = str(Path(pyspark.__file__).parent / "bin" / "spark-class")
    deploy = "org.apache.spark.deploy"
    cluster = Cluster(folder)
    try:
        here = ("--host", "127.0.0.1", "--port", "0", "--webui-port", "0")
        master = cluster.start(spark_class, f"{deploy}.master.Master", *here, SPARK_DAEMON_JAVA_OPTS=QUICK)
        cluster.address = told(master, r"spark://127\.0\.0\.1:\d+")
        here += ("--work-dir", str(folder / "executors"))
        worker = (spark_class, f"{deploy}.worker.Worker", *here, "--cores", "1", "--memory", "1g", cluster.address)
        for log in [cluster.start(*worker, SPARK_DAEMON_JAVA_OPTS=QUICK) for _ in range(2)]:
            told(log, "Successfully registered with master")
        yield cluster
    finally:
        cluster.end()


@contextmanager
def dask_scheduler(folder: Path) -> Iterator[Cluster]:
    """A scheduler of Dask and two workers of one thread each."""
    dask = str(Path(sys.executable).with_name("dask"))
    cluster = Cluster(folder)
    try:
        here = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        cluster.address = told(cluster.start(dask, "scheduler", *here), r"Scheduler at:\s+(tcp://127\.0\.0\.1:\d+)")
        worker = (dask, "worker", "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard", cluster.address)
        for log in [cluster.start(*worker) for _ in range(2)]:
            told(log, r"Registered to:\s+tcp")
        yield cluster
    finally:
        cluster.end()


def on_spark(cluster: Cluster) -> dict[str, str | int | bool]:
    return {
        "spark.master": cluster.address,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.executor.memory": "700m",
        "spark.sql.shuffle.partitions": 2,
        "spark.sql.codegen.wholeStage": False,
        "spark.driver.extraJavaOptions": QUICK,
        "spark.executor.extraJavaOptions": QUICK,
    }
