"""Who may use a work directory on an object store: one run alone, or single stages side by side; the dead hold nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid

import pytest

from fairshard.pipelines import _remote_lock
from fairshard.pipelines._store import Store
from fairshard.schemas.errors import StageError

OTHERS = {"who": "process 7 on elsewhere", "pid": 7, "where": "another machine", "beat": 3}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(_remote_lock, "_BEAT_S", 0.02)
    monkeypatch.setattr(_remote_lock, "_LOOK_S", 0.05)


@pytest.fixture
def store() -> Store:
    return Store(f"memory://lock-{uuid.uuid4().hex}/work")


def locks(store: Store) -> list[str]:
    return store.fs.find(f"{store._base}/_lock")


def left_by(store: Store, said: dict, kind: str = "alone") -> None:
    """A lock of a run that is not heard of any more."""
    store.fs.pipe_file(f"{store._base}/_lock/{kind}-00000000.json", json.dumps(said).encode())


@pytest.mark.parametrize(("first", "second"), [(True, True), (True, False), (False, True)])
def test_a_second_run_is_refused_and_told_of_the_first(store, first, second):
    with store.locked(alone=first):
        with pytest.raises(
            StageError, match=r"work: another run is using it \(process \d+ on .*; expected one run at a"
        ):
            Store(store.root).locked(alone=second).__enter__()
        assert len(locks(store)) == 1
    assert locks(store) == []
    with Store(store.root).locked(alone=second):
        pass


def test_single_stages_go_side_by_side(store):
    with store.locked(alone=False), Store(store.root).locked(alone=False):
        assert len(locks(store)) == 2
    assert locks(store) == []


def test_what_is_not_heard_of_is_dead(store, monkeypatch, caplog):
    monkeypatch.setattr(_remote_lock, "_DEAD_S", 0.2)
    left_by(store, OTHERS)
    with store.locked(alone=True):
        assert len(locks(store)) == 1
    assert [line for line in caplog.messages if "nothing heard of process 7 on elsewhere for 0 s" in line]
    assert locks(store) == []


@pytest.mark.parametrize("damage", [b"", b"{", b"[]"])
def test_a_damaged_lock_holds_nobody_up_for_ever(store, monkeypatch, damage):
    monkeypatch.setattr(_remote_lock, "_DEAD_S", 0.2)
    store.fs.pipe_file(f"{store._base}/_lock/alone-00000000.json", damage)
    assert store.holder() == "unknown"
    with store.locked(alone=True):
        assert len(locks(store)) == 1


def test_a_stage_does_not_wait_for_those_that_let_it_be(store):
    left_by(store, OTHERS, "beside")  # it would take a minute
    with store.locked(alone=False):
        assert len(locks(store)) == 2


def test_who_has_lost_the_lock_commits_nothing_more(store):
    with store.locked(alone=True), pytest.raises(StageError, match="another run may use it"):
        store.fs.rm_file(locks(store)[0])
        store._lock._thread.join()  # sees it
        with store.task("ingest", "all", "f"):
            pass
    assert store.marks() == []


HOLD = """
import sys
from fairshard.pipelines._store import Store
with Store(sys.argv[1]).locked(alone=True):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_that_was_killed_on_this_machine_is_not_waited_for(bucket):
    store = Store(f"{bucket}/work")
    process = subprocess.Popen([sys.executable, "-c", HOLD, store.root], stdin=-1, stdout=-1, text=True)
    try:
        assert process.stdout and process.stdout.readline() == "held\n"
        assert store.holder() == f"process {process.pid} on {_remote_lock.platform.node()}"
        with pytest.raises(StageError, match=f"process {process.pid} on"):
            _remote_lock.held(store.fs, store._base, store.root, alone=True).__enter__()
    finally:
        process.kill()
        process.communicate()
    assert store.holder() == ""
    with store.locked(alone=True):  # it would take a minute
        pass
    assert locks(store) == []
