"""Airflow as people run it: scheduler, API server and workers, and DAGs that set each other off."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from fairshard.examples.sample_web import FOLDER
from fairshard.examples.sample_web.server import SampleWeb

if find_spec("airflow") is None:
    pytest.skip("needs the extra [airflow]", allow_module_level=True)

from airflow_process import BIN, fairshard, write_config

PATIENCE_S = 400
OURS = """
from fairshard.airflow_dags.curate import curate
from fairshard.airflow_dags.recheck_optouts import recheck_optouts
from fairshard.airflow_dags.refresh_registries import refresh_registries
from fairshard.airflow_dags.train_and_audit import train_and_audit

JOB = {job!r}
dags = [
    curate("curate", JOB, changes={{"run_dir": "{{{{ dag.dag_id }}}}-run"}}),
    train_and_audit("train", JOB, changes={{"run_dir": "{{{{ dag.dag_id }}}}-run"}}),
    refresh_registries("refresh", JOB),
    recheck_optouts("recheck", JOB),
]
for number, dag in enumerate(dags):
    globals()[f"dag_{{number}}"] = dag
"""


class Standalone:
    """An `airflow standalone` and its REST API."""

    def __init__(self, url: str, log: Path):
        self.url, self.log = url, log
        self.token = ""

    def ask(self, path: str, body: dict | None = None, method: str = "GET") -> dict:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def trigger(self, dag_id: str) -> None:
        self.ask(f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None}, "POST")

    def wait_for(self, said: str, condition):
        """What the condition gives, once it gives something; the log if it never does."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                if found := condition():
                    return found
            except (OSError, urllib.error.HTTPError):  # not up yet
                pass
            time.sleep(0.5)
        raise AssertionError(f"no {said}: {self.log.read_text()[-8000:]}")

    def ended_run(self, dag_id: str) -> dict:
        """The only run of a DAG, when it has ended."""
        path = f"/api/v2/dags/{dag_id}/dagRuns"

        def ended():
            runs = self.ask(path)["dag_runs"]
            return next((run for run in runs if run["state"] in ("success", "failed")), None)

        return self.wait_for(f"end of {dag_id}", ended)

    def states(self, run: dict) -> dict[str, str]:
        tasks = self.ask(f"/api/v2/dags/{run['dag_id']}/dagRuns/{run['dag_run_id']}/taskInstances")["task_instances"]
        return {f"{task['task_id']}[{task['map_index']}]": task["state"] for task in tasks}


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def standalone(home: Path, dags_folder: Path):
    port, log_port, trigger_port = free_ports(3)
    environment = os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags_folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(log_port),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_port),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }
    log = home / "standalone.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [BIN / "airflow", "standalone"], env=environment, stdout=out, stderr=out, start_new_session=True
        )
    try:
        running = Standalone(f"http://127.0.0.1:{port}", log)
        running.token = running.wait_for("token", lambda: running.ask("/auth/token"))["access_token"]
        yield running
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def contents(release: Path) -> dict[str, bytes]:
    files = (path for path in sorted(release.rglob("*")) if path.is_file() and path.name != "catalog.duckdb")
    return {str(path.relative_to(release)): path.read_bytes() for path in files}


def a_job(folder: Path, web: SampleWeb) -> Path:
    """A small job with a list that is pulled, and that names nobody so far."""
    (folder / "served.txt").write_text("nobody.example\n")
    (folder / "today.txt").write_text("nobody.example\n")
    lists = [{"name": "today", "path": "today.txt", "scope": "host", "pull_from": "served.txt"}]
    return write_config(
        folder,
        web,
        sources=[{"path": str(FOLDER / "more.csv")}],
        registries=lists,
        endpoints=[],
        train={"epochs": 1, "batch_size": 8},
        audit={f"max_{name}": 1.0 for name in ("leaked_pictures", "leaked_captions", "membership_auc", "memorised")},
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a minute and a half on an idle machine
def test_dags_set_each_other_off(tmp_path):
    with SampleWeb() as web, SampleWeb() as other_web:  # one host fails the first time that it is asked
        folders = [tmp_path / name for name in ("scheduled", "typed", "dags", "home")]
        for folder in folders:
            folder.mkdir()
        scheduled, typed, dags, home = folders
        job = a_job(scheduled, web)
        (dags / "ours.py").write_text(OURS.format(job=str(job)))
        with standalone(home, dags) as airflow:
            names = {"curate", "train", "refresh", "recheck"}
            airflow.wait_for("DAGs", lambda: {dag["dag_id"] for dag in airflow.ask("/api/v2/dags")["dags"]} == names)
            assert airflow.ask("/api/v2/importErrors")["import_errors"] == []
            airflow.trigger("curate")
            run = airflow.ended_run("curate")
            assert run["state"] == "success", airflow.states(run)
            assert fairshard("run", a_job(typed, other_web)).exit_code in (0, 4)
            assert contents(scheduled / "release") == contents(typed / "release")

            trained = airflow.ended_run("train")  # by the release
            assert airflow.states(trained) == {"train[-1]": "success", "audit[-1]": "success"}
            assert json.loads((scheduled / "train-run/run.json").read_text())["status"] == "done"

            query = "SELECT host FROM pair JOIN sample USING (pair_id) GROUP BY host ORDER BY count(*), host LIMIT 1"
            (row,) = json.loads(fairshard("sql", scheduled / "work", query, "--json").stdout)
            (scheduled / "served.txt").write_text(f"nobody.example\n{row['host']}\n")
            airflow.trigger("refresh")
            assert airflow.states(airflow.ended_run("refresh")) == {"pull[-1]": "success"}
            assert airflow.states(airflow.ended_run("recheck")) == {"recheck[-1]": "success"}  # by the registries
            assert yaml.safe_load((scheduled / "release-2/manifest.json").read_text())["takedowns"][0]["pairs"] >= 1
            events = airflow.wait_for("events", lambda: airflow.ask("/api/v2/assets/events")["asset_events"])
            events.sort(key=lambda event: event["timestamp"])
            said = [event["extra"]["release"] for event in events if "release" in event["extra"]]
            assert said == [str(scheduled / "release"), str(scheduled / "release-2")]
