import dataclasses
import io
import json
import sys
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
import small_world
import webdataset
from conftest import require_java
from small_world import PICTURES, RELEASED

from fairshard.pipelines import _emit_shard, emit
from fairshard.pipelines._store import Store
from fairshard.pipelines._work import Work
from fairshard.schemas.errors import MissingExtra, ReleaseError


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return small_world.emitted(tmp_path_factory.mktemp("small"))


def text_of(path):
    """Everything that a file says: Parquet is compressed, so its cells, and its bytes besides."""
    cells = str(pq.read_table(path).to_pylist()) if path.suffix == ".parquet" else ""
    return cells + path.read_bytes().decode("utf-8", "replace")


def test_shards_read_by_webdataset(release):
    names = [str(release / f"shards/0000{number}.tar") for number in range(3)]
    samples = list(webdataset.WebDataset(names, shardshuffle=False).decode("pil"))
    assert [sample["__key__"] for sample in samples] == ["000000", "000001", "000010", "000011", "000020"]
    assert [sample["json"]["pair_id"] for sample in samples] == RELEASED
    assert [sample["txt"] for sample in samples][2] == "黄色い四角"
    assert samples[0]["jpg"].size == (64, 48)


def test_bytes_are_those_in_the_work_directory(release):
    dataset = webdataset.WebDataset(str(release / "shards/00001.tar"), shardshuffle=False)
    assert [sample["jpg"] for sample in dataset] == [PICTURES[2**62], PICTURES[-(2**62)]]


def test_json_says_what_the_sidecar_says(release):
    dataset = webdataset.WebDataset(str(release / "shards/00000.tar"), shardshuffle=False).decode()
    rows = duckdb.sql(f"FROM '{release}/shards/00000.parquet'").to_arrow_table().to_pylist()
    stated = [{name: value for name, value in row.items() if value is not None} for row in rows]
    assert [sample["json"] for sample in dataset] == stated
    assert rows[0] == {
        "caption": "a red | square", "url": "https://a.example/3.jpg", "key": "000000", "status": "success",
        "error_message": None, "width": 64, "height": 48, "original_width": 64, "original_height": 48,
        "sha256": "6c21504e947246c31ee4defb15cb25ca143f41d5fd7bd69db80aeb5c1ac1a971", "pair_id": 3, "source": "list",
        "source_row": 0, "licence": None, "creator": "Ada *Example*", "page_url": None, "phash": rows[0]["phash"],
        "pdq": rows[0]["pdq"],
    }  # fmt: skip
    assert (len(rows[0]["phash"]), len(rows[0]["pdq"])) == (16, 64)


def test_tables(release):
    work = Store(str(release.parent / "work"))
    sample = {row["pair_id"]: (row["shard_id"], row["key"], row["bytes"]) for row in work.read("sample").to_pylist()}
    assert sample[-(2**62)] == (1, "000011", len(PICTURES[-(2**62)]))
    assert [row["rows"] for row in work.read("shard").to_pylist()] == [2, 2, 1]


def test_manifest_names_every_file_and_nothing_of_the_machine(release):
    manifest = json.loads((release / "manifest.json").read_text())
    written = {str(path.relative_to(release)) for path in release.rglob("*") if path.is_file()}
    assert written - set(manifest["files"]) == {"manifest.json", "catalog.duckdb"}
    assert {name: fact["sha256"] for name, fact in manifest["files"].items()} == {
        name: digest for name, digest in small_world.contents(release).items() if name != "manifest.json"
    }
    assert manifest["sources"] == [
        {"name": "list", "rows": 11, "rejected": 2, "dropped": 4, "released": 5},
        {"name": "second", "rows": 3, "rejected": 1, "dropped": 2, "released": 0},
    ]
    assert manifest["registries"] == [
        {"name": "public-list", "scope": "domain", "rows": 1, "sensitive": False, "sha256": "ab" * 32},
        {"name": "secret-list", "scope": "host", "rows": 2, "sensitive": True},
    ]
    assert all(str(release.parent) not in text_of(path) for path in release.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "options",
    [
        {"workers": 1},
        {"workers": 2},
        pytest.param({"engine": "spark", "compute": "spark", "workers": 2}, marks=pytest.mark.slow),
        {"compute": "dask", "workers": 1},
    ],
    ids=["serial", "processes", "spark", "dask"],
)
def test_same_bytes_wherever_it_is_made(release, tmp_path, options):
    if options.get("engine") == "spark":
        require_java()
    assert small_world.contents(small_world.emitted(tmp_path, **options)) == small_world.contents(release)


def test_many_shards_are_planned_in_several_files(release, tmp_path, monkeypatch):
    for module in (emit, _emit_shard):
        monkeypatch.setattr(module, "SHARDS_A_PLAN", 2)
    assert small_world.contents(small_world.emitted(tmp_path, workers=1)) == small_world.contents(release)
    plans = sorted((tmp_path / "work/shard_plan").iterdir())
    assert [pq.read_metadata(plan).num_row_groups for plan in plans] == [2, 1]


def test_a_rerun_writes_nothing(tmp_path):
    work = small_world.make(tmp_path)
    emit.run(work)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "release").rglob("*")}
    again = Work(work.job)
    emit.run(again)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "release").rglob("*")}
    assert "engine" not in vars(again)
    work.close()


def test_killed_between_shards_and_resumed(release, tmp_path):
    work = small_world.make(tmp_path)
    tar = tmp_path / "work/work_shard/0000.tar"
    whole = tar.read_bytes()
    tar.write_bytes(whole[: whole.index(PICTURES[-(2**62)]) + 10])  # a picture of the second shard is cut
    with pytest.raises(ReleaseError, match=r"0000\.tar: ends before byte"):
        emit.run(work)
    made = tmp_path / "release/shards/00000.tar"
    assert [path.name for path in sorted((tmp_path / "release").rglob("*.tar"))] == ["00000.tar"]
    assert not (tmp_path / "release/manifest.json").exists()
    before = made.stat().st_ino
    tar.write_bytes(whole)
    emit.run(work)
    assert made.stat().st_ino == before
    assert small_world.contents(tmp_path / "release") == small_world.contents(release)
    work.close()


def test_a_lost_file_is_made_again(release, tmp_path):
    work = small_world.make(tmp_path)
    emit.run(work)
    for name in ("shards/00001.tar", "README.md"):
        (tmp_path / "release" / name).unlink()
    emit.run(work)
    assert small_world.contents(tmp_path / "release") == small_world.contents(release)
    work.close()


def test_a_smaller_release_leaves_nothing_of_the_larger(tmp_path):
    work = small_world.make(tmp_path, emit={"samples_per_shard": 1})
    emit.run(work)
    (tmp_path / "release/NOTES.txt").write_text("not ours")
    assert len(list((tmp_path / "release/shards").iterdir())) == 10
    smaller = Work(small_world.job(tmp_path, emit={"samples_per_shard": 4}))
    emit.run(smaller)
    names = sorted(path.name for path in (tmp_path / "release/shards").iterdir())
    assert names == ["00000.parquet", "00000.tar", "00001.parquet", "00001.tar"]
    assert (tmp_path / "release/NOTES.txt").exists()
    assert [mark.partition for mark in smaller.store.marks("emit")] == ["00000", "00001", "plan", "release"]
    for one in (work, smaller):
        one.close()


def test_another_title_makes_another_card_and_the_same_shards(release, tmp_path):
    work = small_world.make(tmp_path)
    emit.run(work)
    inode = (tmp_path / "release/shards/00000.tar").stat().st_ino
    renamed = Work(small_world.job(tmp_path, emit={"samples_per_shard": 2, "title": "Another"}))
    emit.run(renamed)
    assert (tmp_path / "release/README.md").read_text().startswith('---\npretty_name: "Another"')
    assert (tmp_path / "release/shards/00000.tar").stat().st_ino == inode
    for one in (work, renamed):
        one.close()


def test_nothing_left_to_release(tmp_path):
    folder = small_world.emitted(tmp_path, leave_out=tuple(RELEASED))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["counts"]["released"], manifest["counts"]["shards"]) == (0, 0)
    assert not (folder / "shards").exists()


def lose_a_pair(store: Store) -> None:
    with store.task("balance", "x", "test") as task:
        task.write("image", small_world.table("image", [{"pair_id": 3, "status": "failed"}]))
    rows = store.read("image", ["fetch"]).to_pylist()
    tar = Path(store.path("work_shard", "0000.tar")).read_bytes()
    with store.task("fetch", "0000", "again") as task:
        task.write("image", small_world.table("image", [row for row in rows if row["pair_id"] != 3]))
        Path(task.scratch("0000.tar")).write_bytes(tar)
        task.keep(task.scratch("0000.tar"), "work_shard/0000.tar")


def drop_a_pair_twice(store: Store) -> None:
    with store.task("balance", "x", "test") as task:
        task.write("dropped", small_world.table("dropped", [{"pair_id": 41, "stage": "balance", "reason": "cap"}]))


def drop_a_stranger(store: Store) -> None:
    with store.task("balance", "x", "test") as task:
        task.write("dropped", small_world.table("dropped", [{"pair_id": 999, "stage": "balance", "reason": "cap"}]))


def lose_a_rejected_row(store: Store) -> None:
    pairs, rejected = store.read("pair"), store.read("rejected")
    with store.task("ingest", "all", "again") as task:
        task.write("pair", pairs)
        task.write("rejected", rejected.slice(1))
        task.rows_in = pairs.num_rows + rejected.num_rows


def lose_the_last_row(store: Store) -> None:
    pairs, rejected = store.read("pair"), store.read("rejected")
    with store.task("ingest", "all", "again") as task:
        task.write("pair", pairs)
        task.write("rejected", rejected.slice(0, 2))
        task.rows_in = pairs.num_rows + rejected.num_rows


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose_a_pair, "pair 3 is 1 times in pair and 0 times dropped or released; expected once in each"),
        (drop_a_pair_twice, "pair 41 is 1 times in pair and 2 times dropped or released"),
        (drop_a_stranger, "pair 999 is 0 times in pair and 1 times dropped or released"),
        (
            lose_a_rejected_row,
            "10 rows of source 'list' are accounted for, 10 of them distinct; expected each of the 11",
        ),
        (lose_the_last_row, "13 rows are accounted for; expected the 14 that were read"),
    ],
    ids=["lost", "dropped twice", "stranger", "row missing", "last row missing"],
)
def test_books_that_do_not_balance_are_never_published(tmp_path, damage, message):
    work = small_world.make(tmp_path)
    damage(work.store)
    error = small_world.refused(work)
    assert error is not None and message in str(error)
    assert not (tmp_path / "release/manifest.json").exists()


def test_the_old_manifest_goes_before_anything_changes(tmp_path):
    work = small_world.make(tmp_path)
    emit.run(work)
    drop_a_pair_twice(work.store)
    assert small_world.refused(Work(work.job)) is not None
    assert not (tmp_path / "release/manifest.json").exists()
    work.close()


def test_nothing_of_a_sensitive_rule_is_published(release):
    files = [path for path in release.rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        found = text_of(path)
        assert not [word for word in small_world.SECRET_WORDS if word in found], path
    ids = duckdb.sql(f"SELECT pair_id FROM '{release}/pairs/*.parquet'").fetchall()
    assert not {77, 78} & {row[0] for row in ids}
    for path in (release / "tables").iterdir():
        columns = pq.read_table(path).to_pydict()
        for name in ("pair_id", "group_id", "keeper_id"):
            assert not set(small_world.SECRET_IDS) & set(columns.get(name, ())), path
    assert 2 not in duckdb.sql(f"SELECT rule_id FROM '{release}/tables/signal-*.parquet'").fetchnumpy()["rule_id"]


def test_sensitive_rows_are_counted(release):
    query = f"SELECT * FROM '{release}/pairs/*.parquet' WHERE withheld"
    rows = [{name: value for name, value in row.items() if value is not None}
            for row in duckdb.sql(query).to_arrow_table().to_pylist()]  # fmt: skip
    assert rows == [
        {"source": "list", "outcome": "dropped", "stage": "consult", "reason": "deny:registry", "withheld": True},
        {"source": "second", "outcome": "dropped", "stage": "screen", "reason": "deny:hash_list", "withheld": True},
    ]


def test_card(release):
    text = (release / "README.md").read_text()
    assert "# A \\*small\\* \\| world" in text
    assert "| list | 11 | 2 | 4 | 5 |" in text
    assert "| secret-list | host | 2 | not published |" in text
    assert "| consult | deny:robots_txt | 1 |" in text
    assert "| en | 3 |" in text
    from PIL import Image

    assert Image.open(io.BytesIO((release / "funnel.png").read_bytes())).width == 1080


@pytest.mark.parametrize("module", ["jinja2", "matplotlib"])
def test_a_missing_extra_is_named_before_any_work(tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r"pip install 'fairshard\[report\]'"):
        emit.run(small_world.make(tmp_path))
    assert not (tmp_path / "release").exists()


def test_a_stage_that_has_not_run_is_named(tmp_path):
    work = small_world.make(tmp_path)
    work.store.prune("dedup", [])
    with pytest.raises(ReleaseError, match=r"stage 'dedup' has not run here\. Run the job from its first stage"):
        emit.run(work)


def test_an_unwritable_release_is_named(tmp_path):
    work = small_world.make(tmp_path)
    (tmp_path / "release").write_text("a file where the folder should be")
    error = small_world.refused(work)
    assert error is not None and "cannot be written" in str(error)


def test_big_shards_and_other_formats(tmp_path):
    config = {"emit": {"samples_per_shard": 1000}, "fetch": {"encode_format": "webp"}}
    folder = small_world.emitted(tmp_path, **config)
    sample = next(iter(webdataset.WebDataset(str(folder / "shards/00000.tar"), shardshuffle=False)))
    assert sample["__key__"] == "00000000" and "webp" in sample


def test_shard_tasks_are_small_and_plain(tmp_path):
    task = _emit_shard.ShardTask("work", "release", 7, 1000, "jpg", "f")
    assert task.partition == "00007"
    assert dataclasses.astuple(task) == ("work", "release", 7, 1000, "jpg", "f")
