"""What is refused before a run begins, and what its summary says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import small_world

from fairshard.pipelines import _preflight, _run
from fairshard.pipelines._release import Release
from fairshard.pipelines._store import Mark
from fairshard.schemas.config import from_mapping
from fairshard.schemas.errors import ConfigError, InputError, ReleaseError

CONFIG = {"work_dir": "work", "release_dir": "release", "sources": [{"path": "list.csv"}]}


def preflight(folder: Path, **config) -> None:
    (folder / "list.csv").write_text("url,text\nhttps://a.example/1.jpg,w\n")
    _preflight.preflight(from_mapping({**CONFIG, **config}, folder), ())


@pytest.mark.parametrize(
    "proxy", ["localhost:8080", "socks5://localhost:1", "http://", "http://a b:80", "http://a:99999"]
)
def test_a_proxy_that_is_none_is_found_before_anything_is_done(tmp_path, proxy):
    with pytest.raises(ConfigError, match=r"fetch\.proxy: is '.*'; expected a URL such as http"):
        preflight(tmp_path, fetch={"proxy": proxy})
    assert not (tmp_path / "work").exists()


def test_the_password_of_a_proxy_is_not_repeated(tmp_path):
    with pytest.raises(ConfigError) as error:
        preflight(tmp_path, fetch={"proxy": "ftp://ada:secret@proxy.example"})
    assert "secret" not in str(error.value)
    preflight(tmp_path, fetch={"proxy": "http://ada:secret@proxy.example:3128"})


@pytest.mark.parametrize("key", ["work_dir", "release_dir", "run_dir", "audit_dir"])
@pytest.mark.parametrize("path", ["taken", "taken/below/it"])
def test_a_folder_that_is_a_file_is_found_with_the_config(tmp_path, key, path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigError, match=rf"config\.{key}: is .*{path}, and .*/taken is a file; expected a folder"):
        from_mapping({**CONFIG, key: path}, tmp_path)


FREE = {
    "empty": [],
    "hidden": [".git/config", ".gitattributes"],
    "begun": ["shards/00000.tar", "shards/.00001.tar.0123abcd.part", "tables/rule-00000.parquet", "README.md"],
    "just begun": ["shards/.00000.tar.0123abcd.part"],
}
TAKEN = {
    "notes": (["notes.txt"], "notes.txt"),
    "a read-me": (["README.md"], "README.md"),
    "a manifest": (["manifest.json", "index.html"], "index.html, manifest.json"),
    "img2dataset": (
        ["00000.tar", "00000.parquet", "00000_stats.json", "00001.tar"],
        "00000.parquet, 00000.tar, .* 1 more",
    ),
    "beside shards": (["shards/00000.tar", "README.md", "thesis.tex"], "thesis.tex"),
}


def fill(folder: Path, names: list[str]) -> Path:
    for name in names:
        (folder / "release" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "release" / name).write_text("{}")
    (folder / "release").mkdir(exist_ok=True)
    return folder


@pytest.mark.parametrize("case", FREE)
def test_a_release_may_be_made_where_nothing_of_others_is(tmp_path, case):
    preflight(fill(tmp_path, FREE[case]))


@pytest.mark.parametrize("case", TAKEN)
def test_a_release_is_not_made_among_files_of_others(tmp_path, case):
    names, found = TAKEN[case]
    with pytest.raises(ReleaseError, match=f"release: holds what fairshard has not made: {found}; expected an empty"):
        preflight(fill(tmp_path, names))
    assert not (tmp_path / "work").exists()
    assert sorted(Release(str(tmp_path / "release")).files()) == sorted(names)


def test_a_release_may_replace_a_release_with_a_file_of_its_keeper(tmp_path):
    release = small_world.emitted(tmp_path)
    (release / "LICENSE").write_text("of the keeper")
    Release(str(release)).require_free()


def mark(end_s: float, seconds: float) -> Mark:
    ended = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=end_s)
    return Mark("fetch", "0000", "f", seconds=seconds, committed_at=ended.isoformat(timespec="microseconds"))


@pytest.mark.parametrize(
    ("marks", "wall", "total"),
    [
        ([(5, 5)], 5, 5),
        ([(5, 5), (6, 5)], 6, 10),  # side by side
        ([(5, 5), (3, 1)], 5, 6),  # one within the other
        ([(5, 5), (105, 5)], 10, 10),  # with a night between them
    ],
)
def test_seconds_of_a_stage_are_wall_time(marks, wall, total):
    done = [mark(*each) for each in marks]
    found = _run._about_stage("fetch", done, 1, 1, datetime.now(UTC), {"fetch": 0.01})
    assert (found["made_now"], found["seconds"], found["partition_seconds"]) == (0, wall, total)
    found = _run._about_stage("fetch", done, 1, 1, datetime(2025, 1, 1, tzinfo=UTC), {"fetch": 7.5})
    assert (found["made_now"], found["seconds"], found["partition_seconds"]) == (len(marks), 7.5, total)


@pytest.mark.parametrize("config", [{"release_dir": "planet://a/b"}, {"sources": [{"path": "planet://a/b"}]}])
def test_a_file_system_that_nobody_knows_is_named(tmp_path, config):
    with pytest.raises(InputError, match=r"planet://a/b: cannot be reached \(Protocol not known: planet\)"):
        preflight(tmp_path, **config)
