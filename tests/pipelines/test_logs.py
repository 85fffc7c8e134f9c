"""Log lines for machines: one JSON object each, with the run, the stage and the partition, of workers too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KEYS = ["ts", "level", "run", "stage", "partition", "message", "fields"]


@pytest.fixture
def job(tmp_path) -> Path:
    """Two lists, so that two workers read them; one has no rows, which is worth a message."""
    (tmp_path / "a.csv").write_text("url,text\nhttps://a.example/1.jpg,words\n")
    (tmp_path / "b.csv").write_text("url,text\n")
    (tmp_path / "job.yaml").write_text(
        "{work_dir: work, release_dir: release, workers: 2, sources: [{path: a.csv}, {path: b.csv}]}"
    )
    return tmp_path / "job.yaml"


def lines(*words: str, **environment: str) -> tuple[int, list[dict]]:
    command = [str(Path(sys.executable).with_name("fairshard")), *words]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **environment}
    )
    return done.returncode, [json.loads(line) for line in done.stderr.splitlines()]


def test_every_line_is_an_object_that_says_what_it_is_about(job):
    code, found = lines("-v", "--log-format", "json", "run", str(job), "--until", "ingest")
    assert code == 0
    assert all(list(line) == KEYS for line in found)
    assert len({line["run"] for line in found}) == 1 and found[0]["run"]
    ids = {(line["stage"], line["partition"], line["message"].partition(":")[0]) for line in found}
    assert {
        ("ingest", "00000", "ingest-lists 00000"),  # from workers
        ("ingest", "00001", "ingest-lists 00001"),
        ("ingest", None, "ingest all"),
        ("ingest", None, "ingest"),
    } <= ids
    (done,) = [line for line in found if line["message"].startswith("ingest: done in")]
    assert done["level"] == "info" and done["fields"]["seconds"] > 0
    (committed,) = [line for line in found if line["message"].startswith("ingest all: committed")]
    assert (committed["level"], committed["fields"]["rows"]) == ("debug", {"pair": 1, "rejected": 0})


def test_how_a_run_ends_is_an_object_too(job):
    (job.parent / "b.csv").write_text("no,columns\n1,2\n")
    code, found = lines("-q", "run", str(job), "--until", "ingest", FAIRSHARD_LOG="json")
    assert code == 2
    (line,) = found
    assert (line["level"], line["fields"]) == ("error", {"exit_code": 2})
    assert "b.csv" in line["message"]


def test_people_read_lines_as_before(job):
    command = [str(Path(sys.executable).with_name("fairshard")), "run", str(job), "--until", "ingest"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stderr.splitlines()
    assert said[0][9:].startswith("ingest: ") and said[-1][9:].startswith("ingest: done in ")
