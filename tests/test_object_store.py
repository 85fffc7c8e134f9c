"""Work and release directories on an object store: the rows and bytes of local ones, killed or not, and clear refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from test_disturbed_run import DEADLINE_S, differing, make_case, some_pairs

from fairshard.examples.sample_web.server import SampleWeb
from fairshard.pipelines import _remote_lock
from fairshard.pipelines._files import file_system
from fairshard.pipelines._release import Release
from fairshard.pipelines._store import Store


@pytest.fixture(scope="module")
def web():
    with SampleWeb() as web:
        yield web


@pytest.fixture
def config(tmp_path, bucket, web) -> Path:
    """A small job whose folders are on the object store, with the same one in folders beside it."""
    case = make_case(tmp_path, some_pairs(tmp_path / "pairs.parquet", 30), web)
    given = yaml.safe_load(case.config.read_text())
    given["consult"], given["endpoints"] = {"partitions": 1}, []
    given["fetch"] |= {"partitions": 1, "min_delay_s": 0}
    case.config.write_text(yaml.safe_dump(given))
    path = tmp_path / "remote.yaml"
    path.write_text(
        yaml.safe_dump(given | {"work_dir": f"{bucket}/a job/work", "release_dir": f"{bucket}/a job/release"})
    )
    return path


def fairshard(*arguments: str, **env: str | None) -> subprocess.Popen:
    found = {name: value for name, value in {**os.environ, **env}.items() if value is not None}
    command = [str(Path(sys.executable).with_name("fairshard")), "-q", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=found, start_new_session=True
    )


def ended(process: subprocess.Popen) -> tuple[int, str, str]:
    out, said = process.communicate(timeout=DEADLINE_S)
    return process.returncode, out, said


def bytes_of(release: str) -> dict[str, bytes]:
    there = Release(release)
    return {name: there.fs.cat_file(there.path(name)) for name in there.files() if name != "catalog.duckdb"}


@pytest.mark.slow
def test_killed_and_run_again_it_gives_the_bytes_of_a_run_in_folders(config, tmp_path, bucket):
    local = fairshard("run", str(tmp_path / "job.yaml"))
    store = Store(f"{bucket}/a job/work")
    process = fairshard("run", str(config))
    while not store.mark("consult", "gate"):
        assert process.poll() is None
        time.sleep(0.1)  # it is asked over the wire
    process.kill()
    process.communicate()
    assert not Release(f"{bucket}/a job/release").exists("manifest.json")
    before = store.mark("consult", "gate")
    code, _, said = ended(fairshard("run", str(config)))
    assert (code, said) == (0, "")
    assert store.mark("consult", "gate") == before
    assert ended(local)[0] == 0
    found, wanted = bytes_of(f"{bucket}/a job/release"), bytes_of(str(tmp_path / "release"))
    assert any(name.endswith(".tar") for name in wanted)
    assert differing(found, wanted) == []
    assert store.fs.find(store.path("_scratch")) == []
    reads_it(f"{bucket}/a job/release", f"{bucket}/a job/work", config)


def reads_it(release: str, work: str, config: Path) -> None:
    """What looks at a release or a work directory, looks at it there."""
    assert ended(fairshard("verify", release))[0] == 0
    counted = "SELECT count(*) AS rows FROM sample"
    assert ended(fairshard("sql", release, counted, "--json"))[1] == ended(fairshard("sql", work, counted, "--json"))[1]
    code, out, _ = ended(fairshard("plan", str(config), "--json"))
    assert code == 0
    assert all(stage["partitions_done"] for stage in json.loads(out)["stages"])


def test_a_second_run_is_refused_and_told_of_the_first(config, bucket, monkeypatch):
    monkeypatch.setattr(_remote_lock, "_BEAT_S", 0.2)
    with Store(f"{bucket}/a job/work").locked(alone=True):
        code, _, said = ended(fairshard("run", str(config)))
    assert code == 2
    assert said.startswith(f"fairshard: {bucket}/a job/work: another run is using it (process {os.getpid()} on ")
    assert said.count("\n") == 1


NO_KEYS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.mark.parametrize("verb", ["run", "plan"])
def test_without_credentials_it_says_where_and_what_to_do(config, bucket, verb, tmp_path):
    home = {"HOME": str(tmp_path)}  # nor in ~/.aws
    code, _, said = ended(fairshard(verb, str(config), **NO_KEYS, **home))
    assert code == 2
    assert said.startswith(f"fairshard: {bucket}/a job/work: cannot be reached (Unable to locate credentials)")
    assert "environment or ~/.aws" in said and said.count("\n") == 1


def test_a_bucket_that_is_not_there_is_named_and_not_made(config, bucket):
    config.write_text(config.read_text().replace(bucket, "s3://no-such-bucket"))
    code, _, said = ended(fairshard("run", str(config)))
    assert code == 2
    assert said.startswith("fairshard: s3://no-such-bucket/a job/work: there is no bucket 'no-such-bucket'")
    assert said.count("\n") == 1
    assert not file_system(bucket)[0].exists("no-such-bucket")


def test_a_store_that_does_not_answer_is_named(config, bucket):
    once = {"AWS_MAX_ATTEMPTS": "1"}
    code, _, said = ended(fairshard("explain", f"{bucket}/a job/work", "--url", "https://a.example/",
                                    AWS_ENDPOINT_URL="http://127.0.0.1:1", **once))  # fmt: skip
    assert code == 2
    assert "a job/work: cannot be reached (Could not connect to the endpoint URL" in said and said.count("\n") == 1
