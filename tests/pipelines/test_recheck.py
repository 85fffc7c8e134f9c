"""A job's latest release against its registries, and the one that follows."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import small_world
import yaml
from click.testing import CliRunner

from fairshard.pipelines.cli import main


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return small_world.emitted(tmp_path_factory.mktemp("world"))


@pytest.fixture
def job(whole, tmp_path):
    """A config beside a release; its list names nobody of the release."""
    shutil.copytree(whole, tmp_path / "release")
    hosts = {"name": "hosts", "path": "hosts.txt", "scope": "host"}
    values = {"work_dir": "work", "release_dir": "release", "sources": [{"path": "a.csv"}], "registries": [hosts]}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(values))
    listed(tmp_path, "nobody.example")
    return tmp_path / "job.yaml"


def listed(folder, *hosts):
    (folder / "hosts.txt").write_text("\n".join(hosts) + "\n")


def recheck(job, *arguments):
    return CliRunner().invoke(main, ["recheck", str(job), *arguments])


def test_nobody_has_opted_out(job):
    done = recheck(job)
    assert (done.exit_code, "nothing was written" in done.output) == (0, True)
    assert sorted(os.listdir(job.parent)) == ["hosts.txt", "job.yaml", "release"]


def test_each_next_release_follows_the_last(job, tmp_path):
    listed(tmp_path, "img.b.example")
    first = json.loads(recheck(job, "--json").stdout)
    assert (first["checked"], first["release"]) == (str(tmp_path / "release"), str(tmp_path / "release-2"))
    assert first["pairs"] == 1
    again = json.loads(recheck(job, "--json").stdout)
    assert (again["checked"], again["release"]) == (str(tmp_path / "release-2"), None)
    listed(tmp_path, "img.b.example", "a.example")
    third = json.loads(recheck(job, "--json").stdout)
    assert (third["checked"], third["release"]) == (str(tmp_path / "release-2"), str(tmp_path / "release-3"))
    assert CliRunner().invoke(main, ["verify", third["release"]]).exit_code == 0


def test_releases_of_an_earlier_run_are_passed_over_and_kept(job, tmp_path):
    listed(tmp_path, "img.b.example")
    recheck(job)
    manifest = tmp_path / "release/manifest.json"
    manifest.write_text(manifest.read_text() + "\n")  # as if the job had made another release
    found = json.loads(recheck(job, "--json").stdout)
    assert (found["checked"], found["release"]) == (str(tmp_path / "release"), str(tmp_path / "release-3"))


def test_a_list_that_was_sensitive_stays_so(job, tmp_path):
    values = yaml.safe_load(job.read_text())
    values["registries"][0]["sensitive"] = True
    job.write_text(yaml.safe_dump(values))
    listed(tmp_path, "img.b.example")
    assert recheck(job).exit_code == 0
    values["registries"][0]["sensitive"] = False
    job.write_text(yaml.safe_dump(values))
    listed(tmp_path, "img.b.example", "a.example")
    assert recheck(job).exit_code == 0
    (entry,) = json.loads((tmp_path / "release-3/manifest.json").read_text())["takedowns"][1]["registries"]
    assert (entry["sensitive"], "sha256" in entry) == (True, False)


def test_a_release_that_was_changed_is_taken_no_further(job, tmp_path):
    listed(tmp_path, "img.b.example")
    (tmp_path / "release/shards/00001.tar").write_bytes(b"")
    done = recheck(job)
    assert done.exit_code == 2
    assert "shards/00001.tar" in done.stderr
    assert not (tmp_path / "release-2").exists()


@pytest.mark.parametrize(
    ("break_it", "code", "said"),
    [
        (lambda folder: (folder / "hosts.txt").unlink(), 3, "does not exist"),
        (lambda folder: os.utime(folder / "hosts.txt", (1e9, 1e9)), 3, "days old"),
        (lambda folder: shutil.rmtree(folder / "release"), 2, "release"),
    ],
)
def test_what_cannot_be_checked_is_refused(job, tmp_path, break_it, code, said):
    break_it(tmp_path)
    done = recheck(job)
    assert (done.exit_code, said in done.stderr) == (code, True)
    assert not (tmp_path / "release-2").exists()


def test_a_job_without_registries(job):
    done = recheck(job, "--set", "registries=[]")
    assert (done.exit_code, "registries: is empty" in done.stderr) == (2, True)
