"""Releases made from one another by takedown: asked together, and compared link by link."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import small_world

from fairshard.pipelines import _chain
from fairshard.pipelines._manifest import merkle_root
from fairshard.pipelines._release import Release
from fairshard.pipelines.lookup import lookup, text
from fairshard.pipelines.takedown import takedown
from fairshard.pipelines.verify import check, line, verify
from fairshard.schemas.errors import ReleaseError

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a release and two takedowns after it, by names that are in no order; and an unfinished one."""
    world = tmp_path_factory.mktemp("world")
    folder = world / "releases"
    folder.mkdir()
    small_world.emitted(world).rename(folder / "release-9")
    for before, after, host in (
        ("release-9", "release-10", "img.b.example"),
        ("release-10", "a-last-one", "a.example"),
    ):
        (world / "list.txt").write_text(f"{host}\n")
        takedown(str(folder / before), str(folder / after), [f"host={world / 'list.txt'}"], (), NOW)
    shutil.copytree(folder / "a-last-one", folder / ".next.part/release")
    return folder


@pytest.fixture
def releases(made, tmp_path):
    return shutil.copytree(made, tmp_path / "releases")


def names(found):
    return [one.folder.rpartition("/")[2] for one in found]


def wrong(releases, name="a-last-one"):
    return [line(one).replace(f"{releases}/", "") for one in verify(str(releases / name))]


def change(release, **said):
    """Edit the manifest, and its Merkle root with it, as a careful forger would."""
    path = release / "manifest.json"
    document = {**json.loads(path.read_text()), **said}
    path.write_text(json.dumps({**document, "merkle_root": merkle_root(document["files"])}))


def admit(release, name):
    """Give a changed file its new hash in the manifest."""
    files = json.loads((release / "manifest.json").read_text())["files"]
    fact = Release(str(release)).fact(name)
    change(release, files={**files, name: {"sha256": fact.sha256, "bytes": fact.bytes}})


def follow(release, before):
    """Let a release name the present manifest of its forerunner."""
    sha256 = _chain.member(str(before)).sha256
    takedowns = json.loads((release / "manifest.json").read_text())["takedowns"]
    takedowns[-1]["previous_release"] = sha256
    change(release, previous_release=sha256, takedowns=takedowns)


def test_in_order(made):
    assert names(_chain.members(str(made))) == ["a-last-one", "release-10", "release-9"]


def test_releases_of_their_own_stand_by_name_the_last_first(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "more")
    shutil.copytree(folder / "release-9", folder / "release-11")
    change(folder / "release-11", title="Another")
    assert names(_chain.members(str(folder))) == ["release-11", "a-last-one", "release-10", "release-9"]


def test_a_question_to_all(made):
    answer = lookup(str(made), url="https://img.b.example/5.jpg")
    assert answer["found"] and json.loads(json.dumps(answer)) == answer
    outcomes = [(row["stage"], row["reason"]) for one in answer["releases"] for row in one["pairs"]]
    assert outcomes == [("takedown", "deny:registry"), ("takedown", "deny:registry"), (None, None)]
    assert text(answer).splitlines()[:2] == [
        f"{made}/a-last-one:",
        "  0 released, 1 left out",
    ]
    assert not lookup(str(made), domain="nobody.example")["found"]


def test_a_picture_asked_of_all(made, tmp_path):
    (tmp_path / "mine.jpg").write_bytes(small_world.PICTURES[5])
    answer = lookup(str(made), image=str(tmp_path / "mine.jpg"))
    assert [(one["released"], one["dropped"]) for one in answer["releases"]] == [(0, 1), (0, 1), (1, 0)]


def test_a_folder_without_releases(tmp_path):
    with pytest.raises(ReleaseError, match="is neither a work directory nor a release"):
        lookup(str(tmp_path), domain="a.example")


def test_a_release_in_the_folder_that_cannot_be_read(releases):
    (releases / "release-10/manifest.json").write_text("{")
    with pytest.raises(ReleaseError, match=r"release-10/manifest\.json: is not JSON"):
        lookup(str(releases), domain="a.example")


def test_a_whole_chain(made):
    assert wrong(made) == []


def test_a_forerunner_somewhere_else(releases, tmp_path, caplog):
    last = str(shutil.move(releases / "a-last-one", tmp_path / "alone"))
    assert verify(last) == [] and "follows a release that is not beside it" in caplog.text
    caplog.clear()
    assert check(last, [], previous=str(releases / "release-10")) == [] and caplog.text == ""
    (finding,) = check(last, [], previous=str(releases / "release-9"))
    assert finding["kind"] == "wrong_chain" and "manifest.json: previous_release: is " in line(finding)
    (finding,) = check(str(releases / "release-9"), [], previous=str(releases / "release-10"))
    assert "previous_release: is not there; expected" in line(finding)
    with pytest.raises(ReleaseError, match="does not exist"):
        check(last, [], previous=str(tmp_path))


@pytest.mark.parametrize("name", ["pairs/00000.parquet", "tombstones.parquet"])
def test_a_tampered_forerunner(releases, name):
    path = releases / "release-10" / name
    path.write_bytes(path.read_bytes() + b"\0")
    assert [one.partition(",")[0] for one in wrong(releases)] == [f"unreadable: release-10/{name}: is missing"]


def test_a_forerunner_whose_manifest_was_edited_is_none(releases, caplog):
    change(releases / "release-10", title="Another")
    assert wrong(releases) == [] and "not beside it" in caplog.text


def test_a_link_further_back(releases):
    (releases / "release-9/pairs/00000.parquet").write_bytes(b"")
    assert [one.partition(":")[0] for one in wrong(releases)] == ["unreadable"]


def stones(release, edit):
    path = release / "tombstones.parquet"
    table = pq.read_table(path)
    pq.write_table(pa.Table.from_pylist(edit(table.to_pylist()), table.schema), path)
    admit(release, "tombstones.parquet")


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda rows: rows[:-1], "shards/00002.tar: 000020: was in the previous release, and is gone without a tombstone"),
        (lambda rows: [row for row in rows if row["key"] != "000001"], "shards/00000.tar: 000001: has lost its tombstone"),
        (lambda rows: [*rows, {**rows[0], "key": "000011x"}], "000011x: has a tombstone, and was not in the previous"),
        (lambda rows: [*rows, {**rows[0], "shard": "shards/00001.tar", "key": "000010"}],
         "shards/00001.tar: 000010: has a tombstone, and is there"),
    ],
    ids=["one gone", "an earlier one gone", "one too many", "of a sample that is there"],
)  # fmt: skip
def test_tombstones_that_do_not_tell_what_happened(releases, edit, expected):
    stones(releases / "a-last-one", edit)
    assert any(expected in one for one in wrong(releases))


def test_a_pair_of_another_url(releases):
    path = releases / "a-last-one/pairs/00000.parquet"
    rows = pq.read_table(path).to_pylist()
    (row,) = (row for row in rows if row["outcome"] == "released")
    row["url"] += "?another"
    pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(path)), path)
    admit(releases / "a-last-one", "pairs/00000.parquet")
    assert "is not as it was in the previous release" in wrong(releases)[0]


@pytest.mark.parametrize("name", ["shards/00001.tar", "shards/00000.tar"])
def test_a_shard_that_was_changed_on_the_way(releases, name):
    """Release 10 kept the one and wrote the other anew. One byte of a picture differs, with all hashes forged."""
    path = releases / "release-10" / name
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.unlink()  # the other releases may have it by the same link
    path.write_bytes(data)
    admit(releases / "release-10", name)
    found = [one.partition(" has ")[0] for one in wrong(releases, "release-10")]
    assert found == [f"wrong_count: tables/shard: {name}:", f"wrong_chain: release-10: {name}:"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"title": "Another"}, "a-last-one: manifest.json: title: is another; expected as in"),
        ({"registries": []}, "manifest.json: registries: is another"),
        ({"takedowns": []}, "manifest.json: takedowns: ends with None pairs; expected 3 from"),
    ],
)
def test_what_no_takedown_changes(releases, said, expected):
    change(releases / "a-last-one", **said)
    assert any(expected in one for one in wrong(releases))


def test_a_forged_parent_that_never_had_the_samples(releases):
    """Who drops a release's tombstones and lets its successor name the forgery, is found out one link further on."""
    stones(releases / "release-10", lambda rows: [])
    follow(releases / "a-last-one", releases / "release-10")
    assert [
        one for one in wrong(releases) if "release-10: shards/00000.tar: 000001: was in the previous release" in one
    ]
