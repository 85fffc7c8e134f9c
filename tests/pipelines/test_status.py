"""How far a job has come, as its work directory tells it: while a run goes on, after it, and after its death."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from conftest import table

from fairshard.pipelines._run_state import FILE, RunState
from fairshard.pipelines._store import Store
from fairshard.pipelines._work import STAGES
from fairshard.pipelines.cli import main
from fairshard.pipelines.status import status
from fairshard.schemas.errors import ReleaseError, StageError


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "work"))


def commit(store: Store, stage: str, partition: str = "all") -> None:
    rows = {"ingest": {"pair": 5}, "screen": {"dropped": 2}}.get(stage, {})
    with store.task(stage, partition, "f") as task:
        task.rows_in = 7 if stage == "ingest" else 5
        for name, count in rows.items():
            task.write(name, table(name, [{"pair_id": number, "reason": "x"} for number in range(count)]))


def ran(store: Store, *stages: str) -> RunState:
    """What a run has left behind that has come so far."""
    state = RunState(store, "abcd", STAGES)
    for stage in stages:
        state.begin(stage)
        commit(store, stage)
        state.finish(stage, 1.0)
    return state


def states(found: dict) -> dict[str, str]:
    return {one["stage"]: one["state"] for one in found["stages"] if one["state"] != "left"}


def said(store: Store, *words: str) -> str:
    found = CliRunner().invoke(main, ["status", store.root, *words])
    assert found.exit_code == 0, found.stderr
    return found.stdout


def test_a_run_that_is_going_on_tells_stage_rate_and_end(store):
    with store.locked(alone=True):
        state = ran(store, "ingest", "consult")
        state.begin("fetch")
        state.progress("fetch", 0, 4000, "")
        document = json.loads(store.fs.cat_file(store.path(FILE)))
        begun = datetime.fromisoformat(document["progress"]["began_at"])
        document["progress"] |= {"done": 1000, "note": "2 of 3 hosts"}
        document["heard_at"] = (begun + timedelta(seconds=100)).isoformat()
        store.put(FILE, json.dumps(document).encode())
        found = status(store.root, begun + timedelta(seconds=101))
        assert (found["state"], states(found)) == ("running", {"ingest": "done", "consult": "done", "fetch": "running"})
        ends_at = (begun + timedelta(seconds=400)).isoformat(timespec="seconds")
        assert found["now"] == {"what": "fetch", "done": 1000, "of": 4000, "note": "2 of 3 hosts", "per_s": 10.0,
                                "left_s": 300, "ends_at": ends_at}  # fmt: skip
        assert found["next"] is None and found["holder"].startswith("process ")
        text = said(store)
        assert "a run is going on (process " in text
        assert "fetch: 1,000 of 4,000, 10.0 a second, about 0:05:00 left, until " in text


def test_what_is_resumed_is_not_counted_into_the_rate(store):
    with store.locked(alone=True):
        state = ran(store, "ingest")
        state.begin("consult")
        state.progress("consult: hosts", 6, 8, "")
        found = status(store.root)
        assert (found["now"]["done"], found["now"]["per_s"], found["now"]["ends_at"]) == (6, None, None)


def test_a_killed_run_is_told_from_one_that_is_going_on(store):
    ran(store, "ingest").begin("consult")
    found = status(store.root)
    assert (found["state"], states(found)) == ("killed", {"ingest": "done", "consult": "broken off"})
    assert found["now"] is None
    text = said(store)
    assert "the last run was killed in consult; it was last heard at 20" in text
    assert "to go on, with what is committed: fairshard run CONFIG" in text


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [(StageError("emit", "no disk"), 2, "emit: no disk"), (KeyboardInterrupt(), 130, "interrupted"), (OSError("x"), 2, "x")],
)  # fmt: skip
def test_a_run_that_failed_says_why(store, error, code, words):
    ran(store, "ingest").end(error)
    found = status(store.root)
    assert (found["state"], found["run"]["exit_code"]) == ("failed", code)
    assert f"the last run ended with exit code {code}: {words}" in said(store)


def test_a_finished_job_has_nothing_left(store):
    ran(store, *STAGES).end()
    found = json.loads(said(store, "--json"))
    assert (found["state"], found["next"], found["now"]) == ("done", None, None)
    figures = {one["stage"]: (one["rows_in"], one["rows_out"]) for one in found["stages"]}
    assert (figures["ingest"], figures["screen"], figures["emit"]) == ((7, 5), (5, 3), (3, 3))


def test_what_is_older_than_what_it_was_made_from_is_to_do_again(store):
    ran(store, *STAGES).end()
    state = RunState(store, "efgh", STAGES[:3])
    state.begin("fetch")
    commit(store, "fetch")
    state.finish("fetch", 1.0)
    state.end()
    found = status(store.root)
    assert [name for name, one in states(found).items() if one == "done"] == ["ingest", "consult", "fetch"]
    assert {states(found)[name] for name in STAGES[3:]} == {"to do again"}
    assert found["next"] == "fairshard run CONFIG"


def test_partitions_that_were_made_alone_are_seen(store):
    commit(store, "ingest")
    commit(store, "fetch", "0003")
    assert (status(store.root)["state"], states(status(store.root))) == ("begun", {"ingest": "begun", "fetch": "begun"})
    with store.locked(alone=False):
        assert status(store.root)["state"] == "running"


def test_the_last_success_outlives_a_failure(store):
    ran(store, *STAGES).end()
    when = status(store.root)["run"]["last_success_at"]
    ran(store).end(OSError("x"))
    assert when and status(store.root)["run"]["last_success_at"] == when


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (None, "does not exist"),
        ([], "is empty"),
        (["notes.txt"], "holds no run of fairshard"),
        (["manifest.json"], "is a release, not a work directory"),
    ],
)
@pytest.mark.parametrize("verb", ["status", "gc"])
def test_what_is_no_work_directory_is_refused(tmp_path, files, words, verb):
    folder = tmp_path / "folder"
    for name in files or ():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    if files == []:
        folder.mkdir()
    found = CliRunner().invoke(main, [verb, str(folder)])
    assert (found.exit_code, found.stdout) == (2, "")
    assert f"fairshard: {folder}: {words}; expected the work_dir of a job" in found.stderr
    assert sorted(path.name for path in folder.glob("*")) == sorted(files or [])


@pytest.mark.parametrize("verb", ["status", "gc"])
def test_a_config_in_place_of_its_work_directory_is_refused(tmp_path, verb):
    config = tmp_path / "job.yaml"
    config.write_text("work_dir: work\n")
    found = CliRunner().invoke(main, [verb, str(config)])
    assert (found.exit_code, found.stdout) == (2, "")
    assert f"fairshard: {config}: is a file; expected the work_dir of a job" in found.stderr


@pytest.mark.parametrize("damage", [b"{", b"[]", b"{}", b"\xff"])
def test_a_damaged_state_is_named_and_stops_no_run(store, damage):
    commit(store, "ingest")
    store.put(FILE, damage)
    with pytest.raises(ReleaseError, match=r"run_state\.json: is not what a run has written.*nothing is lost"):
        status(store.root)
    RunState(store, "abcd", STAGES).end()
    assert status(store.root)["state"] == "done"


def test_it_may_be_asked_while_markers_are_replaced_and_runs_begin(store):
    """Neither does it trip over a marker that has just gone, nor does a run take it for another one."""
    commit(store, "ingest")
    stop, broken = threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            try:
                status(store.root)
            except Exception as error:
                broken.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(60):
            with store.locked(alone=True):
                commit(store, "ingest")
    finally:
        stop.set()
        asking.join()
    assert broken == []


def test_an_object_store_tells_who_is_at_work():
    store = Store(f"memory://status-{datetime.now(UTC).timestamp()}/work")
    with store.locked(alone=True):
        state = ran(store, "ingest")
        state.begin("consult")
        found = status(store.root)
        assert (found["state"], states(found)) == ("running", {"ingest": "done", "consult": "running"})
        assert found["holder"].startswith("process ")
    assert status(store.root)["state"] == "killed"
    state.end()
    assert status(store.root)["state"] == "done"


def test_the_sample_is_done(sample):
    found = status(sample.job.work_dir)
    assert {one["state"] for one in found["stages"]} == {"done"}
    funnel = [(one["stage"], one["rows_in"], one["rows_out"]) for one in found["stages"]]
    assert funnel == [(one["stage"], one["rows_in"], one["rows_out"]) for one in sample.summary["stages"]]
