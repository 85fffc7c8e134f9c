import io
import math
import tarfile

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairshard.pipelines._release import Release, Sink, rechunked
from fairshard.pipelines._shards import Sample, finish, read_ranges, read_samples, sample_keys, write_sample
from fairshard.schemas.errors import ReleaseError, StageError

CAPTIONS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
SAMPLES = st.lists(st.tuples(st.binary(max_size=3000), CAPTIONS), max_size=4)


def tar(pictures, captions):
    target = io.BytesIO()
    sink = Sink(target)
    for key, data, caption in zip(sample_keys(0, len(pictures), 10_000), pictures, captions, strict=True):
        write_sample(sink, data, "jpg", {"key": key, "caption": caption})
    finish(sink)
    return target.getvalue()


@given(SAMPLES)
def test_what_is_written_is_read_again(samples):
    data = tar([picture for picture, _ in samples], [caption for _, caption in samples])
    found = list(read_samples(io.BytesIO(data), "x.tar"))
    assert [(sample.parts["jpg"], sample.parts["txt"].decode()) for sample in found] == samples
    assert [sample.key for sample in found] == sample_keys(0, len(samples), 10_000)


def test_headers_tell_nothing_but_name_and_size():
    data = tar([b"abc"], ["a"])
    with tarfile.open(fileobj=io.BytesIO(data)) as file:
        members = file.getmembers()
    assert [member.name for member in members] == ["000000000.jpg", "000000000.json", "000000000.txt"]
    for member in members:
        assert (member.mtime, member.uid, member.gid, member.uname, member.gname, member.mode) == (
            0,
            0,
            0,
            "",
            "",
            0o644,
        )
    assert len(data) % tarfile.RECORDSIZE == 0


@pytest.mark.parametrize("samples_per_shard", [1, 2, 9, 10, 11, 1000, 1001, 10_000])
@pytest.mark.parametrize("shard_id", [0, 7, 99_999, 100_000])
def test_keys_are_those_of_img2dataset(monkeypatch, shard_id, samples_per_shard):
    monkeypatch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")  # a dependency of its asks the network for news otherwise
    from img2dataset.downloader import compute_key

    digits = math.ceil(math.log10(samples_per_shard))
    last = samples_per_shard - 1
    keys = sample_keys(shard_id, samples_per_shard, samples_per_shard)
    assert [keys[0], keys[last]] == [compute_key(index, shard_id, digits, 5) for index in (0, last)]


@given(st.lists(st.integers(1, 7), max_size=8), st.integers(1, 9))
def test_rechunking_keeps_rows_and_their_order(sizes, rows):
    batches = [pa.record_batch({"n": [start] * size}) for start, size in enumerate(sizes)]
    found = list(rechunked(batches, rows))
    flat = [n for batch in batches for n in batch["n"].to_pylist()]
    assert [n for batch in found for n in batch["n"].to_pylist()] == flat
    assert all(batch.num_rows == rows for batch in found[:-1])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:700], "is not a whole tar"),
        (lambda data: b"<html>" + data, "is not a whole tar"),
        (lambda data: data.replace(b"000000000.jpg", b"../000000.jpg"), "not a whole tar|has a member '../000000.jpg'"),
    ],
)
def test_damaged_tar(damage, message):
    with pytest.raises(ReleaseError, match=message):
        list(read_samples(io.BytesIO(damage(tar([b"abc"], ["a"]))), "x.tar"))


def test_the_same_name_twice():
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as file:
        for name in ("1.txt", "1.txt"):
            file.addfile(tarfile.TarInfo(name))
    with pytest.raises(ReleaseError, match=r"has the member '1\.txt' twice"):
        list(read_samples(io.BytesIO(target.getvalue()), "x.tar"))


def test_ranges(tmp_path):
    (tmp_path / "a").write_bytes(b"0123456789")
    fs = Release(str(tmp_path)).fs
    path = str(tmp_path / "a")
    assert read_ranges(fs, [(path, 7, 3), (path, 0, 2)]) == [b"789", b"01"]
    with pytest.raises(ReleaseError, match="ends before byte 11"):
        read_ranges(fs, [(path, 8, 3)])
    with pytest.raises(ReleaseError, match="cannot be read"):
        read_ranges(fs, [(path + "?", 8, 3)])


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    release = Release(str(tmp_path))
    release.put("a/b.txt", b"old")
    with pytest.raises(KeyError), release.create("a/b.txt") as sink:
        sink.write(b"ne")
        raise KeyError
    assert release.files() == ["a/b.txt"]
    assert (tmp_path / "a/b.txt").read_bytes() == b"old"
    assert release.put("a/b.txt", b"new") == release.fact("a/b.txt")


def test_what_a_killed_run_left_is_cleared_and_other_files_stay(tmp_path):
    release = Release(str(tmp_path))
    ours = ["pairs/00001.parquet", "shards/.00001.tar.0123abcd.part", "shards/00001.tar", "tables/signal-00001.parquet"]
    theirs = [".hidden", ".notes.part", "shards/notes.tar", "tables/prices.parquet"]
    for name in ("shards/00000.tar", *ours, *theirs):
        release.put(name, b"")
    release.clear(["shards/00000.tar"])
    assert release.files() == sorted(["shards/00000.tar", *theirs])


def test_a_folder_in_the_way_is_named(tmp_path):
    (tmp_path / "shards").write_text("a file where a folder should be")
    with pytest.raises(StageError, match="cannot be written"):
        Release(str(tmp_path)).put("shards/00000.tar", b"")


def test_remote_file_systems():
    release = Release("memory://release-of-test-shards")
    fact = release.put("shards/00000.tar", tar([b"abc"], ["a"]))
    with release.fs.open(release.path("shards/00000.tar"), "rb") as file:
        assert list(read_samples(file, "x")) == [
            Sample("000000000", {"jpg": b"abc", "json": b'{"key": "000000000", "caption": "a"}', "txt": b"a"})
        ]
    assert (release.files(), release.size("shards/00000.tar")) == (["shards/00000.tar"], fact.bytes)
