"""The work directory: committed whole or not at all, on any file system."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import table
from hypothesis import given
from hypothesis import strategies as st

from fairshard.pipelines import ingest
from fairshard.pipelines._catalog import sql, write_catalog
from fairshard.pipelines._store import Store, checked, read_parquet, write_parquet
from fairshard.pipelines._work import Work
from fairshard.schemas.config import from_mapping
from fairshard.schemas.errors import ContractError, ReleaseError
from fairshard.schemas.tables import DROPPED, TABLES


@pytest.fixture(params=["folder", "file", "memory", "brackets", "s3"])
def store(request, tmp_path) -> Store:
    if request.param == "s3":
        return Store(f"{request.getfixturevalue('bucket')}/work [1]")
    roots = {
        "folder": str(tmp_path / "work"),
        "file": f"file://{tmp_path}/work",
        "memory": f"memory://{uuid.uuid4().hex}/work",
        "brackets": str(tmp_path / "work [1] *"),
    }
    return Store(roots[request.param])


def dropped(*pair_ids: int) -> pa.Table:
    return table("dropped", [{"pair_id": pair_id, "stage": "filter", "reason": "x"} for pair_id in pair_ids])


def commit(store: Store, partition: str, *pair_ids: int, fingerprint: str = "v1") -> None:
    with store.task("filter", partition, fingerprint) as task:
        task.write("dropped", dropped(*pair_ids))


def ids(store: Store) -> list[int]:
    return store.read("dropped")["pair_id"].to_pylist()


def test_what_is_committed_is_read_in_a_fixed_order(store):
    commit(store, "b", 3)
    commit(store, "a", 1, 2)
    assert ids(store) == [1, 2, 3]
    assert [(mark.stage, mark.partition, mark.rows) for mark in store.marks()] == [
        ("filter", "a", {"dropped": 2}), ("filter", "b", {"dropped": 1})]  # fmt: skip
    assert store.read("dropped", stages=["dedup"]).num_rows == 0


def test_nothing_is_read_before_the_end_or_after_an_error(store):
    with store.task("filter", "a", "v1") as task:
        task.write("dropped", dropped(1))
        assert ids(store) == []
    with pytest.raises(InterruptedError), store.task("filter", "b", "v1") as task:
        task.write("dropped", dropped(2))
        raise InterruptedError
    assert ids(store) == [1]
    assert store.mark("filter", "b") is None
    assert not store.fs.find(store.path("_scratch"))


def test_files_that_no_marker_names_are_not_read(store):
    commit(store, "a", 1)
    write_parquet(store.path("dropped", "filter-b-0.parquet"), DROPPED.schema, dropped(2).to_batches())
    assert ids(store) == [1]


def test_the_catalog_shows_what_is_committed_alone(tmp_path):
    store = Store(str(tmp_path / "work"))
    commit(store, "a", 1)
    write_parquet(store.path("dropped", "filter-b-0.parquet"), DROPPED.schema, dropped(2).to_batches())
    write_catalog(store)
    assert sql(store.root, "SELECT pair_id FROM dropped").to_pylist() == [{"pair_id": 1}]


def test_a_partition_made_again_replaces_the_old_one_whole(store):
    with store.task("filter", "a", "v1") as task:
        for name, rows in (("0", dropped(1)), ("1", dropped(2))):
            write_parquet(f"{task.folder('dropped')}/part-{name}.parquet", DROPPED.schema, rows.to_batches())
    assert ids(store) == [1, 2]
    commit(store, "a", 3, fingerprint="v2")
    assert ids(store) == [3]
    assert len(store.fs.find(store.path("dropped"))) == 1


def test_a_task_is_done_only_for_its_fingerprint(store):
    commit(store, "a", 1)
    done = {print_: store.task("filter", "a", print_).done for print_ in ("v1", "v2")}
    assert done == {"v1": True, "v2": False}
    assert not store.task("filter", "b", "v1").done


@given(st.timedeltas(timedelta(days=-3), timedelta(days=3)))
def test_a_marker_stands_until_it_expires(after):
    root = f"memory://{uuid.uuid4().hex}"
    expires_at = datetime.now(UTC) + timedelta(days=9)  # after the commit, also where a clock would have been set back
    with Store(root).task("filter", "a", "v1") as task:
        task.expires_at = expires_at
    mark = Store(root).mark("filter", "a")
    assert mark is not None
    assert mark.valid("v1", expires_at + after) is (after < timedelta(0))
    assert not mark.valid("v2", expires_at + after)


def test_an_expired_task_is_not_done(store):
    for at, done in ((datetime.now(UTC) - timedelta(seconds=1), False), (datetime.now(UTC) + timedelta(days=1), True)):
        with store.task("filter", "a", "v1") as task:
            task.expires_at = at
        assert store.task("filter", "a", "v1").done is done


def test_two_commits_can_be_told_apart(store):
    commit(store, "a", 1)
    first = store.mark("filter", "a")
    commit(store, "a", 1)
    assert store.mark("filter", "a").committed_at > first.committed_at


def test_prune_forgets_partitions_with_all_their_files(store):
    for partition in ("a", "b"):
        with store.task("filter", partition, "v1") as task:
            task.write("dropped", dropped(1))
            path = task.scratch("pictures.tar")
            store.fs.pipe_file(path, b"pictures")
            task.keep(path, f"work_shard/{partition}.tar")
    store.prune("filter", ["b"])
    assert [mark.partition for mark in store.marks("filter")] == ["b"]
    names = {path.rpartition("/")[2] for path in store.fs.find(store.root)}
    assert names == {"b.json", "filter-b-0.parquet", "b.tar"}


def test_empty_partitions_leave_a_marker_and_no_file(store):
    commit(store, "a")
    assert store.mark("filter", "a").rows == {"dropped": 0}
    assert store.files("dropped") == []


def test_scratch_of_a_killed_run_is_cleared(store):
    store.fs.pipe_file(store.task("filter", "a", "v1").scratch("part"), b"left behind")
    store.clear_scratch()
    store.clear_scratch()
    assert not store.fs.exists(store.path("_scratch"))


WRONG = {
    "no column": (lambda rows: rows.drop_columns(["reason"]), "no column 'reason'"),
    "another type": (
        lambda rows: rows.set_column(0, "pair_id", pa.array([1], pa.int32())),
        "column 'pair_id' of int32",
    ),
    "a null": (lambda rows: rows.set_column(1, "stage", pa.nulls(1, pa.string())), "nulls in column 'stage'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_rows_that_break_the_contract_are_refused_and_nothing_is_committed(store, case):
    change, message = WRONG[case]
    with pytest.raises(ContractError, match=message), store.task("filter", "a", "v1") as task:
        task.write("dropped", change(dropped(1)))
    assert store.marks() == []


def test_a_table_that_is_none_is_refused(store):
    with pytest.raises(ContractError, match="a table called 'drops'"), store.task("filter", "a", "v1") as task:
        task.write("drops", dropped(1))


def test_columns_are_put_in_order_and_others_left_out():
    (batch,) = (
        dropped(1)
        .append_column("more", pa.array([2]))
        .select(["more", "reason", "evidence", "stage", "pair_id"])
        .to_batches()
    )
    assert checked(batch, DROPPED.schema, "here").schema == DROPPED.schema


def test_the_same_batches_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_parquet(str(tmp_path / name), DROPPED.schema, dropped(*range(1000)).to_batches())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_parquet(str(tmp_path / "a"), ["pair_id"]).column_names == ["pair_id"]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"stage": "filter"}', b'{"of": "another version"}'])
def test_a_damaged_marker_is_named(tmp_path, damage):
    store = Store(str(tmp_path))
    commit(store, "a", 1)
    path = tmp_path / "_done" / "filter" / "a.json"
    path.write_bytes(damage)
    with pytest.raises(ReleaseError, match=r"a\.json: is not a completion marker .* Delete it and run again"):
        store.marks()


def test_a_small_file_is_there_whole_or_not_at_all(store):
    store.put("run.json", b"one")
    store.put("run.json", b"two")
    assert store.fs.cat_file(store.path("run.json")) == b"two"
    assert not store.fs.find(store.path("_scratch"))


def test_every_table_of_the_contract_survives_a_round_trip(store):
    for name in TABLES:
        rows = table(name, [{"sensitive": True} if name == "rule" else {"weight": 0.5} if name == "sample" else {}])
        with store.task("emit", name, "v1") as task:
            task.write(name, rows)
        assert store.read(name) == rows


def test_duckdb_tells_nulls_from_equal_bytes(tmp_path):
    """By statistics of a column whose values are equal, it would take all of them for null."""
    store = Store(str(tmp_path))
    images = [{"pair_id": 1, "pdq": b"1" * 32}, {"pair_id": 2, "pdq": None}]
    with store.task("fetch", "0", "v1") as task:
        task.write("image", table("image", images))
    nulls = "SELECT pair_id FROM image WHERE pdq IS NULL"
    assert sql(store.root, nulls).to_pylist() == [{"pair_id": 2}]


def test_a_stage_runs_on_any_root(store, engine_name, tmp_path):
    if engine_name == "spark" and store.root.startswith("memory"):
        pytest.skip("the JVM sees no memory of this process")
    (tmp_path / "list.csv").write_text("url,text\nhttps://a.example/1.jpg,w\nhttps://a.example/1.jpg,w\n,w\n")
    required = {"work_dir": store.root, "release_dir": "release", "sources": [{"path": "list.csv"}]}
    work = Work(from_mapping({**required, "engine": engine_name, "workers": 1}, Path(tmp_path)))
    try:
        ingest.run(work)
    finally:
        work.close()
    assert store.read("pair")["url"].to_pylist() == ["https://a.example/1.jpg"]
    assert sorted(store.read("rejected")["reason"].to_pylist()) == ["duplicate_row", "null_url"]
    assert json.loads(store.fs.cat_file(store.path("_done", "ingest", "all.json")))["rows_in"] == 3
