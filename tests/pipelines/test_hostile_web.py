"""One run over a web that means no good: it ends, within bounds, with a reason for each URL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
import yaml
from hostile_web import MAX_BYTES, expected, expected_errors, expected_hosts, hostile_web

from fairshard.pipelines._store import Store

HOSTS = int(os.environ.get("FAIRSHARD_TEST_HOSTS", "200"))
"""Hosts of one URL each, that do no harm; ``.ci/run`` has 10,000."""


class Run(NamedTuple):
    """How a run ended, what it left, and which hosts it asked."""

    done: subprocess.CompletedProcess
    store: Store
    asked: set[str]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """A run of the whole web in an interpreter of its own."""
    folder = tmp_path_factory.mktemp("hostile")
    lines = [json.dumps({"url": url, "text": "some words"}) for url in sorted(expected(HOSTS))]
    (folder / "list.jsonl").write_text("\n".join(lines))
    with hostile_web(folder) as (proxy, asked):
        job = {
            "work_dir": "work", "release_dir": "release", "sources": [{"path": "list.jsonl"}], "workers": 1,
            "consult": {"partitions": 1, "timeout_s": 3, "retries": 0},
            "fetch": {"partitions": 1, "timeout_s": 3, "retries": 0, "proxy": proxy, "max_bytes": MAX_BYTES},
        }  # fmt: skip
        (folder / "job.yaml").write_text(yaml.safe_dump(job))
        command = [str(Path(sys.executable).with_name("fairshard")), "run", "job.yaml", "--until", "screen"]
        env = {**os.environ, "SSL_CERT_FILE": str(folder / "ca.pem")}
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120 + HOSTS / 10)
    return Run(done, Store(str(folder / "work")), asked)


def test_the_run_ends_well_and_speaks_of_no_error(run):
    assert run.done.returncode == 4, run.done.stderr  # one host asks to be left alone for a century
    assert not [word for word in ("Traceback", "Error", "exception") if word in run.done.stderr], run.done.stderr


def test_each_url_has_the_reason_that_it_should(run):
    dropped = {row["pair_id"]: row["reason"] for row in run.store.read("dropped").to_pylist()}
    found = {row["url"]: dropped.get(row["pair_id"], "alive") for row in run.store.read("pair").to_pylist()}
    wanted = expected(HOSTS)
    assert {url: fate for url, fate in found.items() if fate != wanted[url]} == {}
    assert found.keys() == wanted.keys()


def test_each_robots_txt_that_gave_no_answer_has_its_error(run):
    files = [row for row in run.store.read("host_file").to_pylist() if row["kind"] == "robots_txt"]
    errors = {urlsplit(row["origin"]).hostname: row["error"] for row in files if row["error"] not in (None, "http_404")}
    assert errors == expected_errors()


def test_nobody_is_asked_whose_address_or_port_is_refused(run):
    assert run.asked == expected_hosts(HOSTS)


def test_no_password_of_a_url_is_in_any_row_or_line(run):
    tables = [str(run.store.read(name).to_pylist()) for name in ("dropped", "image", "host_file", "signal")]
    assert "refused_port" in tables[0] and "credentials" in tables[1]
    assert "secret" not in "".join(tables) + run.done.stderr


def test_nothing_hostile_is_in_memory_as_a_whole(run):
    """An interpreter with all that a run imports takes 200 to 300 MB, and a host 10 kB; each bomb would take as much again."""
    assert max(mark.peak_mb for mark in run.store.marks()) < 450 + HOSTS / 100
