"""Real clusters on this machine: the rows and bytes of the embedded defaults, also where a worker is killed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from clusters import DEADLINE_S, Cluster, awaited, dask_scheduler, on_spark, spark_standalone
from conftest import require_java
from sample_run import NOT_COMPARED
from test_disturbed_run import differing, make_case, some_pairs

from fairshard.examples.sample_web.server import SampleWeb
from fairshard.pipelines._store import Store
from fairshard.schemas.tables import TABLES

pytestmark = pytest.mark.slow


@pytest.fixture
def spark_cluster(tmp_path) -> Iterator[Cluster]:
    require_java()
    with spark_standalone(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def dask_cluster(tmp_path) -> Iterator[Cluster]:
    with dask_scheduler(tmp_path) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def web() -> Iterator[SampleWeb]:
    with SampleWeb() as web:
        yield web


@pytest.fixture
def filtered(tmp_path, web) -> Path:
    """The folder of a small job that was run as far as ``filter`` with the embedded defaults."""
    some_pairs(tmp_path / "pairs.parquet", 12)
    return ended(started(tmp_path, web, "filtered", "--until", "filter"))


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Runs end with the test, whatever became of it."""
    RUNS.clear()
    yield
    for process in RUNS:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


RUNS: list[subprocess.Popen] = []


@dataclass
class Run:
    """A run from the command line, in a folder of its own."""

    folder: Path
    process: subprocess.Popen


def started(folder: Path, web: SampleWeb, name: str, *options: str, spark: dict | None = None, **env: str) -> Run:
    (folder / name).mkdir(exist_ok=True)
    case = make_case(folder / name, folder / "pairs.parquet", web)
    given = yaml.safe_load(case.config.read_text())
    given["fetch"]["min_delay_s"] = 0.02
    case.config.write_text(yaml.safe_dump(given | {"spark": spark or {}}))
    command = [str(Path(sys.executable).with_name("fairshard")), "-q", "run", str(case.config), *options]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | env,
        start_new_session=True,
    )
    RUNS.append(process)
    return Run(folder / name, process)


def ended(run: Run) -> Path:
    _, said = run.process.communicate(timeout=DEADLINE_S)
    assert run.process.returncode == 0, said
    return run.folder


def same(one: Path, other: Path) -> bool:
    assert differing(*({str(path.relative_to(folder)): path.read_bytes()
                        for path in (folder / "release").rglob("*") if path.is_file() and path.name != "catalog.duckdb"}
                       for folder in (one, other))) == []  # fmt: skip
    for table in TABLES:
        left, right = (
            sorted(repr({key: value for key, value in row.items() if key not in NOT_COMPARED})
                    for row in Store(str(folder / "work")).read(table).to_pylist())
            for folder in (one, other)
        )  # fmt: skip
        assert left == right, table
    return any((one / "release" / "shards").glob("*.tar"))


def test_a_spark_cluster_that_loses_a_worker_in_the_middle(filtered, spark_cluster, web, tmp_path):
    shutil.copytree(filtered, tmp_path / "spark")
    run = started(tmp_path, web, "spark", "--only", "dedup", "--engine", "spark", spark=on_spark(spark_cluster))
    # Something is kept that the rest of the stage is made from.
    awaited(lambda: any((run.folder / "work").glob("_scratch/spark-*/*/_SUCCESS")), run.process)
    spark_cluster.kill_a_worker()
    ended(run)
    lost = re.search("Telling app of lost executor", (spark_cluster.logs / "0.log").read_text())
    made = Store(str(run.folder / "work")).mark("dedup", "all")
    on_engine = started(tmp_path, web, "spark")
    assert lost and made
    assert same(ended(started(tmp_path, web, "filtered")), ended(on_engine))
    assert Store(str(run.folder / "work")).mark("dedup", "all") == made


def test_a_dask_cluster_that_loses_a_worker_in_fetch(dask_cluster, web, tmp_path):
    some_pairs(tmp_path / "pairs.parquet", 12)
    run = started(tmp_path, web, "dask", "--compute", "dask", DASK_SCHEDULER_ADDRESS=dask_cluster.address)
    awaited(lambda: any((run.folder / "work" / "_scratch").glob("fetch-*/work.tar")), run.process)
    dask_cluster.kill_a_worker()
    embedded = ended(started(tmp_path, web, "embedded"))
    assert same(ended(run), embedded)
