"""The DAG, run for real on the sample web."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from fairshard import airflow_dags
from fairshard.examples.sample_web import FOLDER
from fairshard.examples.sample_web.server import SampleWeb

pytest.importorskip("airflow", reason="needs the extra [airflow]")

BIN = Path(sys.executable).parent
RUN_DAG = Path(__file__).with_name("run_dag.py")
STAGES = ["ingest", "consult", "screen", "filter", "dedup", "balance", "emit"]


@pytest.fixture(scope="module")
def web():
    with SampleWeb() as sample_web:
        yield sample_web


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    """Environment of an Airflow with a database of its own."""
    home = tmp_path_factory.mktemp("airflow")
    settings = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": airflow_dags.__path__[0],
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
    }
    environment = os.environ | settings
    subprocess.run([BIN / "airflow", "db", "migrate"], env=environment, check=True, capture_output=True)
    return environment


@pytest.fixture(scope="module")
def job(web, tmp_path_factory):
    """The sample's config file, with absolute paths."""
    folder = tmp_path_factory.mktemp("job")
    return write_config(folder, web.proxy_url)


@pytest.fixture(scope="module")
def first_run(airflow, job):
    return run_dag(airflow, {"config": str(job), "fetch_tasks": 2})


def write_config(folder: Path, proxy: str, **changes) -> Path:
    config = yaml.safe_load((FOLDER / "config.yaml").read_text())
    for item in config["sources"] + config["registries"]:
        item["path"] = str(FOLDER / item["path"])
    config |= {f"{name}_dir": str(folder / name) for name in ("work", "release", "run")}
    config["workers"] = 1
    config["consult"] = {"partitions": 2, "timeout_s": 3, "retries": 0}
    config["fetch"] |= {"partitions": 4, "timeout_s": 3, "retries": 0, "proxy": proxy}
    config["train"] = {"epochs": 1}
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(config | changes))
    return path


def run_dag(environment: dict[str, str], conf: dict | None = None) -> dict:
    arguments = [json.dumps(conf)] if conf else []
    done = subprocess.run([sys.executable, RUN_DAG, *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-5000:]
    return json.loads(done.stdout.splitlines()[-1])


def fairshard(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([BIN / "fairshard", *map(str, arguments)], capture_output=True, text=True)


def states(run: dict) -> dict[str, str]:
    return {f"{task['task']}[{task['index']}]": task["state"] for task in run["tasks"]}


def expected(train: str) -> dict[str, str]:
    alone = ["plan", *STAGES, "fetch.groups", "fetch.rest"]
    done = [*(f"{name}[-1]" for name in alone), "fetch.partitions[0]", "fetch.partitions[1]"]
    return {**dict.fromkeys(done, "success"), "train[-1]": train}


def test_the_dag_file_is_read_without_fairshard_or_anything_heavy(airflow):
    assert run_dag(airflow) == {"import_errors": {}, "dags": ["fairshard_curate"], "heavy": []}


def test_a_dag_file_of_ones_own_has_its_own_dag_alone(airflow, tmp_path):
    text = (
        "from fairshard.airflow_dags.curate import curate\ndag = curate('mine', '/data/job.yaml', schedule='@weekly')\n"
    )
    (tmp_path / "mine.py").write_text(text)
    found = run_dag(airflow | {"AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path)})
    assert found == {"import_errors": {}, "dags": ["mine"], "heavy": []}


def test_a_run_of_the_dag_makes_a_release(first_run, job):
    assert first_run["state"] == "success"
    assert states(first_run) == expected(train="skipped")
    assert (job.parent / "release/manifest.json").exists()
    verified = fairshard("verify", job.parent / "release")
    assert (verified.returncode, verified.stdout) == (0, "0 findings\n")


def test_another_run_asks_for_nothing_changes_nothing_and_trains(first_run, airflow, job, web):
    manifest = (job.parent / "release/manifest.json").read_bytes()
    web.clear_requests()
    again = run_dag(airflow, {"config": str(job), "fetch_tasks": 2, "train": True})
    assert states(again) == expected(train="success")
    assert web.requests == []
    assert (job.parent / "release/manifest.json").read_bytes() == manifest
    record = json.loads((job.parent / "run/run.json").read_text())
    assert record["status"] == "done"


def test_the_command_line_finds_nothing_left_to_do(first_run, job, web):
    web.clear_requests()
    done = fairshard("run", job, "--json")
    assert {stage["made_now"] for stage in json.loads(done.stdout)["stages"]} == {0}
    assert web.requests == []


def test_a_missing_registry_fails_the_plan_at_once(airflow, web, tmp_path):
    registries = [{"name": "gone", "path": str(tmp_path / "gone.csv"), "scope": "url"}]
    job = write_config(tmp_path, web.proxy_url, registries=registries)
    web.clear_requests()
    run = run_dag(airflow, {"config": str(job)})
    assert run["state"] == "failed"
    [plan] = [task for task in run["tasks"] if task["task"] == "plan"]
    assert (plan["state"], plan["attempts"]) == ("failed", 1)
    assert {task["state"] for task in run["tasks"]} == {"failed", "upstream_failed"}
    assert web.requests == []
    assert not (tmp_path / "work").exists()


def test_partitions_fetched_side_by_side_are_those_of_one_run(web, tmp_path):
    (tmp_path / "apart").mkdir()
    (tmp_path / "whole").mkdir()
    sources = [{"path": str(FOLDER / "more.csv")}]
    apart = write_config(tmp_path / "apart", web.proxy_url, sources=sources)
    whole = write_config(tmp_path / "whole", web.proxy_url, sources=sources)
    assert fairshard("run", apart, "--until", "consult").returncode == 0
    shared = [apart.parent / "work" / name for name in ("run.json", "catalog.duckdb")]
    before = [file.read_bytes() for file in shared]
    command = [BIN / "fairshard", "run", apart, "--only", "fetch", "--partition"]
    running = [
        subprocess.Popen([*command, "0000", "--partition", "0002"], stdout=subprocess.PIPE, stderr=subprocess.PIPE),
        subprocess.Popen([*command, "0001", "--partition", "0003"], stdout=subprocess.PIPE, stderr=subprocess.PIPE),
    ]
    said = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert [file.read_bytes() for file in shared] == before
    assert fairshard("run", whole, "--until", "fetch").returncode == 0
    query = "SELECT pair_id, status, http_status, sha256, pdq FROM image ORDER BY pair_id"
    assert fairshard("run", apart, "--only", "fetch").returncode == 0
    found = [fairshard("sql", job.parent / "work", query, "--json").stdout for job in (apart, whole)]
    assert found[0] == found[1]
    assert len(json.loads(found[0])) > 50


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--partition", "0001"], "--partition goes with --only fetch"),
        (["--only", "screen", "--partition", "0001"], "--partition goes with --only fetch"),
        (["--only", "fetch", "--partition", "0004"], "there is no '0004'; expected 0000 to 0003"),
    ],
)
def test_a_partition_that_is_none_is_refused(web, tmp_path, arguments, said):
    done = fairshard("run", write_config(tmp_path, web.proxy_url), *arguments)
    assert done.returncode == 2
    assert said in done.stderr
