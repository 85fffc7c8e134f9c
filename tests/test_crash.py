"""A run that is killed, or finds no room on the disk, is taken up again and ends in the same bytes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from sample_run import SampleRun

from fairshard.examples.sample_web import FOLDER
from fairshard.examples.sample_web.server import SampleWeb
from fairshard.schemas import config as configs

COMMAND = [sys.executable, "-c", "from fairshard.pipelines.cli import main; main()", "run"]
DEADLINE_S = 180


@pytest.fixture
def job_file(tmp_path):
    """The sample job as a file, served for as long as the test runs."""
    with SampleWeb() as web:
        job = yaml.safe_load((FOLDER / "config.yaml").read_text(encoding="utf-8"))
        job |= {"work_dir": "work", "release_dir": "release", "workers": 2}
        job["fetch"]["proxy"] = web.proxy_url
        for entry in [*job["sources"], *job["registries"]]:
            entry["path"] = str(FOLDER / entry["path"])
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump(job), encoding="utf-8")
        yield path


def start(job_file: Path, file_size_limit: int | None = None) -> subprocess.Popen:
    def limit() -> None:
        if file_size_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size_limit, file_size_limit))

    return subprocess.Popen([*COMMAND, str(job_file)], stderr=subprocess.PIPE, text=True, preexec_fn=limit)


def finish(process: subprocess.Popen) -> tuple[int, str]:
    _, said = process.communicate(timeout=DEADLINE_S)
    return process.returncode, said


def bytes_of(job_file: Path) -> dict[str, bytes]:
    return SampleRun(job_file.parent, configs.load(job_file), [], {}).bytes_of()


def wait_for(process: subprocess.Popen, folder: Path, pattern: str) -> None:
    """Wait until a completion marker is there, or the run has ended."""
    end = time.monotonic() + DEADLINE_S
    while not any(folder.glob(pattern)) and process.poll() is None:
        assert time.monotonic() < end, f"no {pattern} in {folder}"
        os.sched_yield()


@pytest.mark.slow
def test_a_run_killed_at_every_stage_ends_in_the_same_bytes(sample, job_file):
    done = job_file.parent / "work" / "_done"
    killed = 0
    for pattern in ("ingest/*", "consult/registry*", "consult/ask*", "fetch/*", "screen/*", "dedup/*", "emit/*"):
        process = start(job_file)
        wait_for(process, done, pattern)
        workers = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.communicate()
        killed += process.returncode == -9
        assert psutil.wait_procs(workers, timeout=30)[1] == [], "a worker outlived its parent"
    assert killed >= 4
    assert finish(start(job_file))[0] == 0
    assert bytes_of(job_file) == sample.bytes_of()


@pytest.mark.slow
@pytest.mark.parametrize("room", [20_000, 150_000])
def test_a_full_disk_is_said_and_nothing_half_done_is_used(sample, job_file, room):
    code, said = finish(start(job_file, file_size_limit=room))
    assert code == 2, said
    assert "Traceback" not in said
    assert "File too large" in said or "too large" in said.lower()
    assert not (job_file.parent / "release" / "manifest.json").exists()
    assert finish(start(job_file))[0] == 0
    assert bytes_of(job_file) == sample.bytes_of()
