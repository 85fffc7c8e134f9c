"""What nobody needs is found and deleted; what somebody needs is not."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from sample_run import run_sample

from fairshard.pipelines import _remote_lock, explain
from fairshard.pipelines._store import Store
from fairshard.pipelines.cli import main
from fairshard.pipelines.gc import gc
from fairshard.schemas.errors import StageError

GARBAGE = {
    "_scratch/fetch-0000-01234567/work.tar": 700,
    "_scratch/spill-01234567/duckdb_temp_block-1.block": 50,
    "ingest-lists/00003.rows": 20,
    "pair/ingest-all-77.parquet": 9,
    "work_shard/9999.tar": 1000,
}
OTHERS = ["pair/notes.txt", "mine.parquet", "work_shard/README.md", "_refused/9999.jsonl"]


def run(*words: str):
    return CliRunner().invoke(main, ["gc", *words])


@pytest.fixture
def littered(sample):
    """The sample's work directory with what killed runs and people leave in one."""
    work = sample.folder / "work"
    for name, size in {**GARBAGE, **dict.fromkeys(OTHERS, 3)}.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(b"x" * size)
    yield work
    for name in [*GARBAGE, *OTHERS]:
        (work / name).unlink(missing_ok=True)


def test_what_is_left_after_gc_makes_the_same_release_without_a_request(sample, littered):
    before = sample.bytes_of()
    files = {path for path in littered.rglob("*") if path.is_file()}
    listed = run(str(littered), "--json")
    assert {one["path"]: one["bytes"] for one in json.loads(listed.stdout)["files"]} == GARBAGE
    assert {path for path in littered.rglob("*") if path.is_file()} == files  # nothing is deleted unasked
    deleted = run(str(littered), "--delete")
    assert f"deleted: 5 files, {sum(GARBAGE.values()):,} bytes" in deleted.stdout
    assert files - {path for path in littered.rglob("*") if path.is_file()} == {littered / name for name in GARBAGE}
    assert run(str(littered)).stdout == "can be deleted: 0 files, 0 bytes\n"
    again = run_sample(sample.folder)
    assert again.requests == []
    assert all(stage["made_now"] == 0 for stage in again.summary["stages"])
    assert again.bytes_of() == before
    pair = sample.rows("sample")[0]["pair_id"]
    assert explain.explain(str(littered), pair_id=pair)["pairs"][0]["outcome"] == "released"


def test_a_run_that_is_going_on_loses_nothing(sample, littered):
    with sample.store.locked(alone=False), pytest.raises(StageError, match="another run is using it"):
        gc(str(littered), delete=True)
    assert all((littered / name).exists() for name in GARBAGE)


def test_an_object_store_is_cleared_as_a_folder_is(monkeypatch):
    monkeypatch.setattr(_remote_lock, "_BEAT_S", 0.1)
    monkeypatch.setattr(_remote_lock, "_LOOK_S", 0.1)
    store = Store("memory://gc-work")
    with store.task("ingest", "all", "f"):
        pass
    store.fs.pipe_file("/gc-work/_scratch/fetch-0000-01234567/work.tar", b"12345")
    assert [(one.path, one.bytes) for one in gc(store.root)["files"]] == [("_scratch/fetch-0000-01234567/work.tar", 5)]
    with store.locked(alone=False), pytest.raises(StageError, match="another run is using it"):
        gc(store.root, delete=True)
    assert store.fs.exists("/gc-work/_scratch/fetch-0000-01234567/work.tar")
    gc(store.root, delete=True)
    assert not store.fs.exists("/gc-work/_scratch/fetch-0000-01234567/work.tar")
    assert len(store.marks("ingest")) == 1
