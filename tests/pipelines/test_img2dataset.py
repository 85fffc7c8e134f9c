"""Folders that img2dataset has made, read without asking anybody for their pictures."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import crawl_world
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from crawl_world import OPEN, World
from PIL import Image
from small_world import picture

from fairshard.pipelines import _run
from fairshard.pipelines.cli import main
from fairshard.schemas.errors import SourceError
from fairshard.udfs.hashing import fingerprint

pytest.importorskip("img2dataset")

HOST = "http://a.example"
HOSTS = {
    "a.example": {
        "paths": {"/p/": {}, "/html/": {"serve": "html"}, "/noai/": {"headers": [["X-Robots-Tag", "noai"]]}},
    },
    "shut.example": {"robots": "User-agent: *\nDisallow: /", **OPEN},
}
GOOD = [f"{HOST}/p/{number}.jpg" for number in range(5)]
SHUT = "http://shut.example/p/0.jpg"
FAILED = {
    f"{HOST}/gone/1.jpg": "failed:failed_to_download", f"{HOST}/html/1.jpg": "failed:failed_to_resize",
    f"{HOST}/noai/2.jpg": "deny:x_robots_tag",
}  # fmt: skip
FATES = {**dict.fromkeys(GOOD, "alive"), **FAILED, SHUT: "deny:robots_txt"}
KEEP = {"extends": "strict", "unread": "keep"}

# What is kept of the originals, by output format: nothing, all but the headers, and the same by another hash.
HOW = {
    "webdataset": {"image_size": 32, "resize_mode": "keep_ratio"},
    "files": {"resize_mode": "no", "skip_reencode": True, "compute_hash": "md5"},
    "parquet": {"disable_all_reencoding": True, "compute_hash": "sha512"},
}
DOWNLOAD = """
import json, sys
from img2dataset import download
if __name__ == "__main__":
    for name, options in json.loads(sys.argv[1]).items():
        download(
            url_list="list.parquet", input_format="parquet", url_col="url", caption_col="text", output_folder=name,
            output_format=name, processes_count=1, thread_count=4, number_sample_per_shard=5, timeout=10, **options,
        )
"""


def taken() -> bytes:
    """A picture whose EXIF names an artist and forbids training."""
    image, target = Image.open(io.BytesIO(picture(4))), io.BytesIO()
    exif = Image.Exif()
    exif[315], exif[33432] = "Ada Example", "No use for AI training."
    image.save(target, "JPEG", exif=exif)
    return target.getvalue()


@pytest.fixture(scope="module")
def downloads(tmp_path_factory) -> Path:
    """A folder with what img2dataset has made of one list: ``webdataset/``, ``files/`` and ``parquet/``."""
    world = crawl_world.make(tmp_path_factory.mktemp("downloads"))
    (world.folder / "pictures" / "4.jpg").write_bytes(taken())
    urls = [*GOOD, *FAILED, SHUT]
    pq.write_table(pa.table({"url": urls, "text": ["some words"] * len(urls)}), world.folder / "list.parquet")
    (world.folder / "download.py").write_text(DOWNLOAD)
    with world.serve(HOSTS) as proxy:
        env = {**os.environ, "http_proxy": proxy, "NO_ALBUMENTATIONS_UPDATE": "1"}
        command = [sys.executable, "download.py", json.dumps(HOW)]
        subprocess.run(command, cwd=world.folder, env=env, check=True, capture_output=True)
    return world.folder


@pytest.fixture
def world(tmp_path, downloads) -> World:
    for name in HOW:
        shutil.copytree(downloads / name, tmp_path / name)
    return crawl_world.make(tmp_path)


def run(world: World, name: str, policy: dict | None = None, **config) -> None:
    world.run(HOSTS, [], policy or KEEP, sources=[{"path": f"{name}/"}], **config)


def images(world: World) -> dict[str, dict]:
    url = {row["pair_id"]: row["url"] for row in world.store.read("pair").to_pylist()}
    return {url[row["pair_id"]]: row for row in world.store.read("image").to_pylist()}


def unread(world: World) -> set[str]:
    return {row["source"] for row in world.store.read("signal").to_pylist() if row["kind"] == "unread"}


def held(*urls: str, reason: str = "hold:unread") -> dict[str, str]:
    return {**FATES, **dict.fromkeys(urls, reason)}


def test_no_picture_is_asked_for_and_each_row_has_its_fate(world):
    run(world, "files", until="emit")
    assert world.fates() == {**FATES, GOOD[4]: "deny:free_text"}
    assert world.images_asked() == []
    assert "http://shut.example/robots.txt" in world.requests
    assert world.store.read("sample").num_rows == 4
    pairs = world.store.read("pair").to_pylist()
    assert {row["source"] for row in pairs} == {"files.00000", "files.00001"}
    # And once more: nothing to do.
    done = {mark.partition: mark.committed_at for mark in world.store.marks("fetch")}
    assert set(done) == {"0000", "0001", "files.00000", "files.00001"}
    run(world, "files", until="emit")
    assert {mark.partition: mark.committed_at for mark in world.store.marks("fetch")} == done


def test_each_engine_gives_a_shard_its_own_pairs(world, engine_name):
    run(world, "files", until="consult")
    job = world.job(None, [], KEEP, sources=[{"path": "files"}], engine=engine_name)
    _run.run(job, ["fetch"])
    rows = {mark.partition: mark.rows_in for mark in world.store.marks("fetch")}
    assert rows == {"0000": 0, "0001": 0, "files.00000": 5, "files.00001": 3}


@pytest.mark.parametrize("name", ["files", "parquet"])
def test_a_hash_that_img2dataset_noted_proves_the_original(world, name):
    run(world, name)
    assert {url: fate for url, fate in world.fates().items() if url in GOOD[:4]} == dict.fromkeys(GOOD[:4], "alive")
    assert world.fates()[GOOD[4]] == "deny:free_text"
    assert unread(world) == {"response headers and redirects"}
    for number, url in enumerate(GOOD[:4]):
        known = fingerprint(picture(number))
        found = images(world)[url]
        names = ("sha256", "md5", "size_bytes", "mime", "width_px", "height_px", "phash", "pdq")
        assert {name: found[name] for name in names} == {name: getattr(known, name) for name in names}
        assert (found["http_status"], found["final_url"]) == (None, None)


def test_of_a_file_that_was_made_anew_only_what_was_noted_of_the_original_is_known(world):
    run(world, "webdataset")
    assert world.fates() == {**FATES, GOOD[4]: "deny:free_text"}  # by the EXIF that img2dataset noted
    assert unread(world) == {"response headers and redirects", "the original file"}
    found, original = images(world)[GOOD[0]], fingerprint(picture(0))
    assert (found["sha256"], found["width_px"], found["height_px"]) == (original.sha256, 64, 48)
    assert (found["md5"], found["size_bytes"], found["mime"]) == (None, None, None)
    assert (found["work_width_px"], found["work_height_px"]) == (43, 32)
    assert bin((found["phash"] ^ original.phash) & (2**64 - 1)).count("1") <= 6
    told = CliRunner().invoke(main, ["explain", str(world.folder / "work"), "--url", GOOD[0]])
    assert f"64 x 48 px, its file is not at hand, sha256 {original.sha256}" in told.output
    assert "hold  unread (asset) by the original file: not kept by img2dataset" in told.output


def test_registries_and_hash_lists_match_what_was_noted(world):
    (world.folder / "bytes.txt").write_text(fingerprint(picture(1)).sha256)
    (world.folder / "names.txt").write_text("Ada Example")
    lists = [{"name": "bytes", "path": "bytes.txt", "scope": "sha256"}]
    lists += [{"name": "names", "path": "names.txt", "scope": "creator"}]
    run(world, "webdataset", {**KEEP, "binding": ["registry", "hash_list"]}, registries=lists)
    assert world.fates() == {
        **dict.fromkeys([*GOOD, SHUT], "alive"), **FAILED, GOOD[1]: "deny:hash_list", GOOD[4]: "deny:registry",
        f"{HOST}/noai/2.jpg": "failed:failed_to_download",
    }  # fmt: skip


def test_the_policy_decides_whether_unknown_holds_and_another_one_needs_no_request(world):
    run(world, "webdataset", {"extends": "strict"})
    assert world.fates() == held(*GOOD)
    assert world.members() == [] and {row["status"] for row in images(world).values()} == {"opted_out", "failed"}
    run(world, "webdataset")
    assert world.fates() == {**FATES, GOOD[4]: "deny:free_text"} and len(world.members()) == 4
    assert world.requests == []
    run(world, "webdataset", {"extends": "strict"})
    assert world.fates() == {**held(*GOOD), GOOD[4]: "deny:free_text"} and world.members() == []


def test_a_recorded_permission_does_not_make_known_what_was_not_kept(world):
    (world.folder / "licences.csv").write_text(f"url,action,evidence\n{GOOD[0]},allow,a letter\n")
    lists = [{"name": "licences", "path": "licences.csv", "scope": "url"}]
    run(world, "files", {"extends": "strict"}, registries=lists)
    assert world.fates() == held(*GOOD)


def test_a_pair_that_a_list_has_too_is_not_asked_for_and_others_are(world):
    sources = [{"path": "list.jsonl", "name": "a list"}, {"path": "files"}]
    world.run(HOSTS, [GOOD[0], (GOOD[1], "other words")], KEEP, sources=sources)
    assert world.images_asked() == [GOOD[1]]
    rejected = world.store.read("rejected").to_pylist()
    assert [(row["source"], row["reason"]) for row in rejected] == [("a list", "duplicate_row")]


def members(path: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(path) as tar:
        for member in tar:
            file = tar.extractfile(member)
            yield member, file.read() if file else b""


def test_a_picture_that_is_missing_costs_its_row(world):
    tar, first = world.folder / "webdataset" / "00000.tar", images_by_key(world, "webdataset")
    kept = [(member, data) for member, data in members(tar) if not member.name.startswith(first[GOOD[2]])]
    with tarfile.open(tar, "w") as written:
        for member, data in kept:
            written.addfile(member, io.BytesIO(data))
    (world.folder / "webdataset" / "00001.tar").unlink()  # holds no picture that is alive
    run(world, "webdataset")
    assert world.fates() == {**FATES, GOOD[2]: "failed:missing_picture", GOOD[4]: "deny:free_text"}


def images_by_key(world: World, name: str) -> dict[str, str]:
    rows = [row for path in sorted((world.folder / name).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    return {row["url"]: row["key"] for row in rows}


@pytest.mark.parametrize("harm", ["cut", "garbled", "empty", "no tar at all"])
def test_a_broken_tar_costs_the_rows_after_the_break(world, harm):
    path = world.folder / "webdataset" / "00000.tar"
    data = path.read_bytes()
    order = [url for key in keys(path) for url, other in images_by_key(world, "webdataset").items() if other == key]
    at = data.index(keys(path)[2].encode() + b".jpg")
    harmed = {
        "cut": data[: at + 600], "garbled": data[:at] + b"\xff" * 512 + data[at + 512 :], "empty": b"",
        "no tar at all": b"<html>" * 1000,
    }  # fmt: skip
    path.write_bytes(harmed[harm])
    run(world, "webdataset")
    whole = 2 if harm in ("cut", "garbled") else 0
    assert {url: world.fates()[url] for url in order} == {
        **dict.fromkeys(order[:whole], "alive"), **dict.fromkeys(order[whole:], "failed:broken_shard"),
        **({GOOD[4]: "deny:free_text"} if GOOD[4] in order[:whole] else {}),
    }  # fmt: skip
    evidence = {row["evidence"] for row in world.store.read("dropped").to_pylist() if "broken" in row["reason"]}
    assert all("00000.parquet: " in text for text in evidence) and evidence


def keys(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return [name.removesuffix(".jpg") for name in tar.getnames() if name.endswith(".jpg")]


def test_a_tar_is_a_unit_of_work(world):
    run(world, "webdataset")
    before = {mark.partition: mark.committed_at for mark in world.store.marks("fetch")}
    (world.folder / "work" / "_done" / "fetch" / "webdataset.00000.json").unlink()  # killed before it was committed
    job = world.job(None, [], KEEP, sources=[{"path": "webdataset"}])
    _run.run(job, ["fetch"], ["webdataset.00000"])
    after = {mark.partition: mark.committed_at for mark in world.store.marks("fetch")}
    assert {name for name in before if before[name] != after[name]} == {"webdataset.00000"}


def test_a_large_picture_is_refused(world):
    run(world, "parquet", fetch={"max_bytes": 1000})
    assert {world.fates()[url] for url in GOOD} == {"failed:too_large"}


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("unfinished", "cannot be read"),
        ("rows gone", "has no 00000.parquet beside it"),
        ("TFRecords", "holds TFRecords"),
        ("another table", "has the columns url, text"),
    ],
)
def test_a_folder_that_does_not_say_what_its_pictures_are_is_refused(world, harm, message):
    shard = world.folder / "webdataset" / "00000.parquet"
    if harm == "unfinished":
        shard.write_bytes(shard.read_bytes()[:-100])
    elif harm == "rows gone":
        shard.unlink()
    elif harm == "TFRecords":
        (world.folder / "webdataset" / "00000.tfrecord").touch()
    else:
        pq.write_table(pa.table({"url": GOOD, "text": GOOD}), shard)
    with pytest.raises(SourceError, match=message):
        run(world, "webdataset")


def test_a_folder_of_anything_else_is_refused(world):
    with pytest.raises(SourceError, match=r"is a folder; expected .* img2dataset"):
        run(world, "pictures")
