"""Where a run may not write, when clocks are wrong, and registries that are replaced under it: no loss, clear words."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from test_disturbed_run import Case, differing, make_case, some_pairs

from fairshard.examples.sample_web.server import SampleWeb
from fairshard.pipelines import _run, consult
from fairshard.pipelines._store import Store, read_parquet
from fairshard.pipelines._work import STAGES, Work
from fairshard.pipelines.status import status
from fairshard.schemas import config as configs
from fairshard.schemas.errors import RegistryError, StageError

YEAR = timedelta(days=365)


@pytest.fixture(scope="module")
def web() -> Iterator[SampleWeb]:
    with SampleWeb() as web:
        yield web


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    return some_pairs(tmp_path_factory.mktemp("list") / "pairs.parquet", 40)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, pairs, web) -> Case:
    """A job that nobody has disturbed."""
    case = quick_case(tmp_path_factory.mktemp("finished"), pairs, web)
    case.run()
    return case


@pytest.fixture
def case(tmp_path, pairs, web) -> Case:
    return quick_case(tmp_path, pairs, web)


def quick_case(folder: Path, pairs: Path, web: SampleWeb) -> Case:
    """A job that starts no other process and waits for nobody."""
    case = make_case(folder, pairs, web)
    given = yaml.safe_load(case.config.read_text())
    given["workers"], given["fetch"]["min_delay_s"] = 1, 0.0
    case.config.write_text(yaml.safe_dump(given))
    return case


def copied(finished: Case, folder: Path) -> Case:
    """The same, to be changed."""
    shutil.copytree(finished.folder, folder, dirs_exist_ok=True)
    return Case(folder, finished.web)


# --- read-only ----------------------------------------------------------------------------------------------


@pytest.fixture
def read_only(tmp_path) -> Iterator[Callable[[Path, bool], None]]:
    """``read_only(folder, True)``: nothing can be written below it; ``False``: it can again."""
    mounted: list[Path] = []

    def mount(*words: str) -> None:
        made = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"nothing can be mounted here: {made.stderr.strip()}")

    def switch(folder: Path, on: bool) -> None:
        if folder not in mounted:
            mount("--bind", str(folder), str(folder))
            mounted.append(folder)
        mount("-o", f"remount,bind,{'ro' if on else 'rw'}", str(folder))

    yield switch
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_work_directory_that_becomes_read_only_costs_nothing(case, finished, read_only):
    _run.run(configs.load(case.config), STAGES[:2])
    read_only(case.work, True)
    code, said = case.finish()
    assert code == 2
    assert "Read-only file system. What was committed stays; run again to go on" in said and said.count("\n") == 1, said
    found = status(str(case.work))
    assert [one["state"] for one in found["stages"][:3]] == ["done", "done", "left"]
    read_only(case.work, False)
    case.run()
    assert differing(case.bytes_of(), finished.bytes_of()) == []


def test_a_release_directory_that_is_read_only_is_named(tmp_path, finished, read_only):
    case = copied(finished, tmp_path)
    shutil.rmtree(case.release)
    case.release.mkdir()
    read_only(case.release, True)
    with pytest.raises((OSError, StageError), match="Read-only file system"):
        case.run()
    assert status(str(case.work))["state"] == "failed"
    assert "fairshard_run_success 0\n" in (case.work / "metrics.prom").read_text()
    read_only(case.release, False)
    case.run()
    assert differing(case.bytes_of(), finished.bytes_of()) == []


# --- clocks -------------------------------------------------------------------------------------------------


def set_ahead(case: Case, by: timedelta) -> None:
    """As if a clock that was ahead had made everything, and had been set right since."""
    store = Store(str(case.work))
    for path in (case.work / "_done").rglob("*.json"):
        mark = json.loads(path.read_text())
        for name in ("committed_at", "expires_at"):
            if mark[name]:
                mark[name] = (datetime.fromisoformat(mark[name]) + by).isoformat(timespec="microseconds")
        path.write_text(json.dumps(mark))
    for table, column in (("host_file", "fetched_at"), ("answer", "answered_at"), ("image", "fetched_at")):
        for file in store.files(table):
            rows = read_parquet(file)
            later = [at + by for at in rows[column].to_pylist()]
            place = rows.schema.get_field_index(column)
            changed = rows.set_column(place, rows.schema.field(column), [later])
            Path(file).unlink()
            pq.write_table(changed, file)


def asked(case: Case) -> set[str]:
    return {request.url for request in case.web.requests if request.method == "GET"}


def test_what_a_clock_that_was_ahead_has_left_is_not_taken_for_fresh(tmp_path, finished, caplog):
    case = copied(finished, tmp_path)
    set_ahead(case, YEAR)
    case.run()
    (line,) = [line for line in caplog.messages if "a clock is or was wrong" in line]
    assert "were committed at a time to come" in line
    files = {url for url in asked(case) if url.endswith("/robots.txt")}
    assert files == {
        row["url"] for row in Store(str(case.work)).read("host_file").to_pylist() if row["kind"] == "robots_txt"
    }
    hosts = {row["fetched_at"] for row in Store(str(case.work)).read("host_file").to_pylist()}
    assert max(hosts) <= datetime.now(UTC)
    assert differing(case.bytes_of(), finished.bytes_of()) == []
    case.run()
    assert asked(case) == set()  # and that was it


def test_a_refresh_reaches_what_a_clock_that_was_ahead_has_made(tmp_path, finished):
    case = copied(finished, tmp_path)
    set_ahead(case, YEAR)
    case.web.clear_requests()
    _run.run(configs.load(case.config), STAGES, refresh=True)
    pictures = {row["asked_url"] for row in Store(str(case.work)).read("image").to_pylist()}
    assert len(pictures) > 10 and pictures <= asked(case)
    assert max(Store(str(case.work)).read("image")["fetched_at"].to_pylist()) <= datetime.now(UTC)
    assert differing(case.bytes_of(), finished.bytes_of()) == []


def test_a_wish_of_a_clock_that_was_ahead_is_granted_once(tmp_path, finished):
    case = copied(finished, tmp_path)
    wished = (datetime.now(UTC) + YEAR).isoformat()
    (case.work / "again.json").write_text(json.dumps({"refresh": wished, "retry": {}}))
    case.run()
    assert asked(case) != set()
    case.run()
    assert asked(case) == set()


# --- registries ---------------------------------------------------------------------------------------------


def own_registry(case: Case) -> Path:
    """The job's list of domains, as a file of its own."""
    given = yaml.safe_load(case.config.read_text())
    (entry,) = [one for one in given["registries"] if one["name"] == "domains"]
    path = case.folder / "domains.txt"
    shutil.copy(entry["path"], path)
    entry["path"] = str(path)
    case.config.write_text(yaml.safe_dump(given))
    return path


def replace_by(path: Path, *more: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(path.read_text().rstrip("\n") + "".join(f"\n{line}" for line in more) + "\n")
    os.replace(part, path)


@pytest.mark.parametrize("on", [YEAR, timedelta(days=2)])
def test_a_registry_from_the_future_refuses_the_run(case, on):
    path = own_registry(case)
    os.utime(path, (time.time() + on.total_seconds(),) * 2)
    with pytest.raises(
        RegistryError, match=rf"registry domains: '.*' was changed {on.days}\.0 days from now; .* Set the clock"
    ):
        case.run()
    assert not case.work.exists()


def test_a_registry_that_is_replaced_under_a_run_is_said_and_heeded_by_the_next(case, finished, caplog, monkeypatch):
    """After it was read, in the same run."""
    path = own_registry(case)
    domain = min(row["domain"] for row in pairs_of(finished) if released(finished, row))
    match = consult.match_registries

    def match_and_replace(work: Work, now: datetime) -> None:
        match(work, now)
        replace_by(path, domain)

    monkeypatch.setattr(consult, "match_registries", match_and_replace)
    case.run()
    monkeypatch.undo()
    assert [line for line in caplog.messages if "registry domains: replaced since this job has read it" in line]
    assert differing(case.bytes_of(), finished.bytes_of()) == []  # it is the release of one list, not of two halves
    caplog.clear()
    case.run()
    assert not any(released(case, row) for row in pairs_of(case) if row["domain"] == domain)
    assert not [line for line in caplog.messages if "replaced since" in line]


def pairs_of(case: Case) -> list[dict]:
    return Store(str(case.work)).read("pair").to_pylist()


def released(case: Case, pair: dict) -> bool:
    return pair["pair_id"] in Store(str(case.work)).read("sample")["pair_id"].to_pylist()


def test_a_registry_that_is_being_written_while_it_is_read_refuses_the_run(case, monkeypatch):
    path = own_registry(case)
    load = consult._registries.load

    def load_torn(job, now):
        found = load(job, now)
        if case.work.exists():  # not the look before the run
            replace_by(path, "late.example")
        return found

    monkeypatch.setattr(consult._registries, "load", load_torn)
    with pytest.raises(RegistryError, match="a file changed while it was read; expected files that are replaced whole"):
        case.run()
    assert not (case.work / "_done" / "consult").exists()
    monkeypatch.undo()
    _run.run(configs.load(case.config), STAGES[:2])
    assert "late.example" in Store(str(case.work)).read("rule")["key"].to_pylist()


def test_a_registry_that_is_gone_after_it_was_read_ends_no_run(case, monkeypatch, caplog):
    path = own_registry(case)
    match = consult.match_registries

    def match_and_remove(work: Work, now: datetime) -> None:
        match(work, now)
        path.unlink()

    monkeypatch.setattr(consult, "match_registries", match_and_remove)
    _run.run(configs.load(case.config), STAGES[:2])
    assert [line for line in caplog.messages if "registry domains: replaced since" in line]
    monkeypatch.undo()
    with pytest.raises(RegistryError, match="does not exist"):
        case.run()
