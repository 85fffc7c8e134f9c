"""Killed anywhere, out of disk, a list edited in between: the next run ends with the bytes of an undisturbed one."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import psutil
import pyarrow.parquet as pq
import pytest
import yaml

from fairshard.examples.sample_web import FOLDER
from fairshard.examples.sample_web.server import SampleWeb
from fairshard.pipelines import _run, demo
from fairshard.pipelines._store import Store
from fairshard.pipelines._work import STAGES
from fairshard.schemas import config as configs

# Hosts that answer late or never: they take time and add nothing here.
SLOW = ("marsh.example", "broken.moor.example", "dead.moor.example", "loops.moor.example")
DEADLINE_S = 180


@pytest.fixture(scope="module")
def web() -> Iterator[SampleWeb]:
    with SampleWeb() as web:
        yield web


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    return some_pairs(tmp_path_factory.mktemp("list") / "pairs.parquet", 6)


def some_pairs(path: Path, step: int) -> Path:
    """Every so many rows of the sample's list."""
    table = pq.read_table(FOLDER / "pairs.parquet")
    rows = [row for row in table.to_pylist() if not any(host in str(row["URL"]) for host in SLOW)]
    pq.write_table(table.from_pylist(rows[::step], table.schema), path)
    return path


@dataclass
class Case:
    """A job in a folder of its own."""

    folder: Path
    web: SampleWeb

    @property
    def config(self) -> Path:
        return self.folder / "job.yaml"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def release(self) -> Path:
        return self.folder / "release"

    def start(self, **popen) -> subprocess.Popen:
        self.web.clear_requests()
        command = [str(Path(sys.executable).with_name("fairshard")), "-q", "run", str(self.config)]
        return subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True, **popen
        )

    def finish(self, **popen) -> tuple[int, str]:
        """Exit code and standard error of a run from the command line."""
        process = self.start(**popen)
        _, said = process.communicate(timeout=DEADLINE_S)
        return process.returncode, said

    def run(self) -> None:
        """The same in this process, where everything is loaded."""
        self.web.clear_requests()
        _run.run(configs.load(self.config), STAGES)

    def bytes_of(self) -> dict[str, bytes]:
        files = (path for path in sorted(self.release.rglob("*")) if path.is_file() and path.name != "catalog.duckdb")
        return {str(path.relative_to(self.release)): path.read_bytes() for path in files}

    def done(self, name: str) -> bool:
        return (self.work / "_done" / f"{name}.json").exists()

    def committed_is_whole(self) -> None:
        """Every marker reads, and every file it names is there with its rows."""
        store = Store(str(self.work))
        for mark in store.marks():
            for table, names in mark.files.items():
                assert sum(pq.read_metadata(store.path(name)).num_rows for name in names) == mark.rows[table]
            assert all((self.work / name).exists() for name in mark.extra.get("kept", []))


@pytest.fixture
def case(tmp_path, pairs, web) -> Case:
    return make_case(tmp_path, pairs, web)


def make_case(folder: Path, pairs: Path, web: SampleWeb) -> Case:
    given = yaml.safe_load(demo.CONFIG.read_text())
    for registry in given["registries"]:
        registry["path"] = str(FOLDER / registry["path"])
    given |= {"work_dir": "work", "release_dir": "release", "sources": [{"path": str(pairs)}], "workers": 2}
    given["consult"] = {"partitions": 2}
    # The pauses between requests to one host keep every partition busy for a while.
    given["fetch"] |= {"partitions": 4, "timeout_s": 60, "proxy": web.proxy_url, "min_delay_s": 0.1}
    given["filter"].pop("languages")  # its model takes a second to load, in every process
    given["emit"]["samples_per_shard"] = 15
    case = Case(folder, web)
    case.config.write_text(yaml.safe_dump(given))
    return case


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, pairs, web) -> dict[str, bytes]:
    """What a run that nobody disturbs releases."""
    case = make_case(tmp_path_factory.mktemp("undisturbed"), pairs, web)
    case.run()
    found = case.bytes_of()
    assert len([name for name in found if name.endswith(".tar")]) >= 3
    return found


def differing(found: dict[str, bytes], wanted: dict[str, bytes]) -> list[str]:
    """Names of the files that are not the same: thousands of bytes make no readable report."""
    return [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]


def wait_for(condition: Callable[[], object], process: subprocess.Popen) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert process.poll() is None, f"ended with {process.returncode} too early: {process.communicate()[1]}"
        assert time.monotonic() < deadline, "the moment never came"
        time.sleep(0.002)


def in_fetch(case: Case) -> bool:
    return any((case.work / "_scratch").glob("fetch-*/work.tar"))


# What is on the disk when the process is killed, in the order in which a run comes by.
MOMENTS: dict[str, Callable[[Case], bool]] = {
    "in ingest": lambda case: (case.work / "_scratch").exists(),
    "after ingest": lambda case: case.done("ingest/all"),
    "after the registries": lambda case: case.done("consult/registry"),
    "after asking hosts": lambda case: case.done("consult/ask-0000") or case.done("consult/ask-0001"),
    "after consult": lambda case: case.done("consult/gate"),
    "in fetch": in_fetch,
    "after a partition of fetch": lambda case: any((case.work / "_done" / "fetch").glob("*.json")),
    "after the hash lists": lambda case: case.done("screen/lists"),
    "after screen": lambda case: case.done("screen/gate"),
    "after filter": lambda case: case.done("filter/all"),
    "after dedup": lambda case: case.done("dedup/all"),
    "after balance": lambda case: case.done("balance/all"),
    "after the plan": lambda case: case.done("emit/plan"),
    "in emit": lambda case: any((case.work / "_done" / "emit").glob("0*.json")),
    "while publishing": lambda case: (case.release / "pairs").exists(),
}


@pytest.mark.slow
def test_killed_at_every_stage_and_run_again(case, undisturbed):
    """One work directory that is killed at moment after moment, each run going on from what the last one left."""
    for moment, there in MOMENTS.items():
        process = case.start()
        wait_for(lambda there=there: there(case), process)
        process.send_signal(signal.SIGSTOP)  # so that what is looked at next is what was killed
        assert not (case.release / "manifest.json").exists(), moment
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.communicate()
        assert gone(workers), moment
        case.committed_is_whole()
    assert case.finish() == (0, "")
    assert differing(case.bytes_of(), undisturbed) == []
    assert not list((case.work / "_scratch").rglob("*.tar")) and not list(case.release.rglob("*.part"))


def gone(processes: list[psutil.Process]) -> bool:
    """Whether all end; a container's first process may leave what has ended unburied."""
    _, left = psutil.wait_procs(processes, timeout=30)
    return all(one.status() == psutil.STATUS_ZOMBIE for one in left if one.is_running())


@pytest.mark.slow
def test_a_worker_killed_in_fetch_is_replaced_and_an_interrupted_run_says_so(case, undisturbed):
    process = case.start()
    wait_for(lambda: in_fetch(case), process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert said.strip().endswith("fairshard: interrupted. What was committed stays; run again to go on")
    case.committed_is_whole()
    Store(str(case.work)).prune("fetch", [])
    process = case.start()
    wait_for(lambda: fetching(process), process)
    fetching(process)[0].kill()
    _, said = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, said) == (0, "")
    assert differing(case.bytes_of(), undisturbed) == []


def fetching(process: subprocess.Popen) -> list[psutil.Process]:
    """Workers that are writing pictures."""
    found = []
    for worker in psutil.Process(process.pid).children(recursive=True):
        try:
            if any(file.path.endswith("work.tar") for file in worker.open_files()):
                found.append(worker)
        except psutil.Error:
            continue  # it has just ended
    return found


# --- somebody who looks on ----------------------------------------------------------------------------------


def test_a_reader_of_the_catalog_and_a_run_do_not_disturb_each_other(tmp_path, web, monkeypatch):
    """The reader has the catalog of the first stage open until the last has ended."""
    case = make_case(tmp_path, some_pairs(tmp_path / "pairs.parquet", 200), web)
    process = case.start()
    wait_for((case.work / "catalog.duckdb").exists, process)
    monkeypatch.chdir(case.work)
    outcomes = "SELECT count(*), count(*) FILTER (outcome = 'released') FROM outcome"
    with duckdb.connect("catalog.duckdb", read_only=True) as reader:
        found = reader.sql(outcomes).fetchall()
        while process.poll() is None:
            assert reader.sql(outcomes).fetchall() == found
    assert (process.returncode, process.communicate()[1]) == (0, "")
    store = Store(str(case.work))
    assert found == [(store.read("pair").num_rows, 0)]
    with duckdb.connect("catalog.duckdb", read_only=True) as reader:
        assert reader.sql(outcomes).fetchall() == [(found[0][0], store.read("sample").num_rows)]


# --- no room ------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path) -> Iterator[Callable[[int], Path]]:
    """``disk(kilobytes)``: a file system of that size; called again, it is resized."""
    path = tmp_path / "disk"
    path.mkdir()

    def mount(kilobytes: int) -> Path:
        options = f"size={kilobytes}k" + (",remount" if path.is_mount() else "")
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"a small file system cannot be mounted here: {made.stderr.strip()}")
        return path

    yield mount
    if path.is_mount():
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.mark.slow
def test_a_full_disk_ends_the_run_with_one_line_and_costs_nothing(disk, pairs, web, undisturbed):
    case = make_case(disk(24), pairs, web)
    for kilobytes in (24, 400, 1200):
        disk(kilobytes)
        code, said = case.finish()
        assert code == 2, said
        assert "No space left on device" in said and said.count("\n") == 1, said
        assert not (case.release / "manifest.json").exists()
        case.committed_is_whole()
    disk(200_000)
    case.run()
    assert differing(case.bytes_of(), undisturbed) == []


@pytest.mark.slow
def test_a_file_that_may_not_grow_ends_the_run_with_one_line(case, undisturbed):
    """Works where nothing may be mounted: writes beyond the limit fail as on a full disk."""
    for limit in (2_000, 100_000):
        code, said = case.finish(
            preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        )
        assert code == 2, said
        assert "File too large" in said and said.count("\n") == 1, said
        case.committed_is_whole()
    case.run()
    assert differing(case.bytes_of(), undisturbed) == []


# --- a list that changes between two runs -------------------------------------------------------------------


def test_an_edited_list_gives_the_rows_of_the_new_list(tmp_path, web):
    path = some_pairs(tmp_path / "pairs.parquet", 15)
    case = make_case(tmp_path, path, web)
    case.run()
    table = pq.read_table(path)
    left_out = Store(str(case.work)).read("sample")["pair_id"][0].as_py()
    (number,) = (
        row["source_row"] for row in Store(str(case.work)).read("pair").to_pylist() if row["pair_id"] == left_out
    )
    rows = [row for place, row in enumerate(table.to_pylist()) if place not in (3, number)]
    pq.write_table(table.from_pylist(rows, table.schema), path)
    case.run()
    pictures = (request for request in web.requests if request.method == "GET")  # a tunnel is for terms that were lost
    asked_again = [request for request in pictures if not request.url.endswith((".txt", ".json", ".xml"))]
    assert {request.status for request in asked_again} <= {404}  # all other pictures are there already
    (tmp_path / "fresh").mkdir()
    fresh = make_case(tmp_path / "fresh", path, web)
    fresh.run()
    assert differing(case.bytes_of(), fresh.bytes_of()) == []
    assert left_out not in Store(str(case.work)).read("sample")["pair_id"].to_pylist()
