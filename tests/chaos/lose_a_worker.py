"""Run the sample web whole on a cluster of two workers, kill one of them in a stage, and compare what is released.

    python tests/chaos/lose_a_worker.py --cluster spark --stage dedup
    python tests/chaos/lose_a_worker.py --cluster dask --stage fetch

The cluster is a real one on this machine: a standalone master of Spark, which does SQL and bytes, or a scheduler of Dask,
which does bytes. The worker goes by `kill -9`, with all it has started, once the stage has begun to write.
Exits with 1 if a byte of the release is not that of a run in one process.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from clusters import Cluster, dask_scheduler, on_spark, spark_standalone
from test_disturbed_run import Case, differing, make_case, some_pairs

from fairshard.examples.sample_web import FOLDER
from fairshard.examples.sample_web.server import SampleWeb
from fairshard.pipelines._run_state import read_state
from fairshard.pipelines._store import Store
from fairshard.pipelines._work import STAGES

_LOOK_EVERY_S = 0.02


class Lost(Exception):
    """A run has lost more than a worker."""


def on_cluster(folder: Path, kind: str, stage: str | None, step: int) -> tuple[list[str], str]:
    """Names of the files that differ, and what is to be said of it."""
    pairs = some_pairs(folder / "pairs.parquet", step) if step > 1 else FOLDER / "pairs.parquet"
    (folder / "logs").mkdir()
    with (
        SampleWeb() as web,
        SampleWeb() as other_web,
        (spark_standalone if kind == "spark" else dask_scheduler)(folder / "logs") as cluster,
    ):  # one host of the web fails the first time that it is asked, so each run has one of its own
        embedded = _case(folder / "embedded", pairs, web)
        _ended(embedded.start())
        settings = {"engine": "spark", "spark": on_spark(cluster)} if kind == "spark" else {}
        case = _case(folder / kind, pairs, other_web, compute=kind, **settings)
        began = time.monotonic()
        process = case.start(env=os.environ | {"DASK_SCHEDULER_ADDRESS": cluster.address})
        with _killed_with_us(process):
            if stage:
                _kill_in(case, stage, process, cluster)
            _ended(process)
    wanted = embedded.bytes_of()
    said = f"{len(wanted)} files, {sum(map(len, wanted.values())):,} bytes; {time.monotonic() - began:.0f} s"
    return differing(case.bytes_of(), wanted), said


def _case(folder: Path, pairs: Path, web: SampleWeb, **changes) -> Case:
    folder.mkdir()
    case = make_case(folder, pairs, web)
    given = yaml.safe_load(case.config.read_text())
    given["fetch"] |= {"min_delay_s": 0.02, "timeout_s": 5}
    case.config.write_text(yaml.safe_dump(given | changes))
    return case


@contextmanager
def _killed_with_us(process: subprocess.Popen):
    try:
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _ended(process: subprocess.Popen) -> None:
    _, said = process.communicate()
    if process.returncode not in (0, 4):
        raise Lost(f"a run ended with {process.returncode}: {said}")


def _kill_in(case: Case, stage: str, process: subprocess.Popen, cluster: Cluster) -> None:
    """Kill a worker once a stage has written something that was not there when it began."""
    before: set[Path] | None = None
    while process.poll() is None:
        state = read_state(Store(str(case.work))) if case.work.exists() else None
        if state and state["stage"] == stage:
            there = set((case.work / "_scratch").rglob("*"))
            before = there if before is None else before
            if there - before:
                break
        time.sleep(_LOOK_EVERY_S)
    else:
        raise Lost(f"the run ended before {stage} had written anything: {process.communicate()[1]}")
    children = psutil.Process(cluster.started[1].pid).children(recursive=True)
    cluster.kill_a_worker()
    for child in children:  # executors may have a group of their own
        with suppress(psutil.NoSuchProcess):
            child.kill()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cluster", choices=["spark", "dask"], default="spark")
    parser.add_argument("--stage", choices=STAGES, help="where a worker is killed; none is if not given")
    parser.add_argument("--step", type=int, default=1, help="every so many rows of the sample's list")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cluster-") as folder:
        try:
            others, said = on_cluster(Path(folder), given.cluster, given.stage, given.step)
        except Lost as error:
            sys.stdout.write(f"LOST: {error}\n")
            return 1
    where = f"a worker killed in {given.stage}" if given.stage else "no worker killed"
    sys.stdout.write(
        f"{given.cluster}, {where}: {said}; {'OTHER: ' + ', '.join(others) if others else 'none differs'}\n"
    )
    return 1 if others else 0


if __name__ == "__main__":
    sys.exit(main())
