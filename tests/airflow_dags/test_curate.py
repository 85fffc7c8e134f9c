"""The DAG, run for real on the sample web, and what of the command line it stands on."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from airflow_process import BIN, fairshard, settings, started, states, write_config

from fairshard.examples.sample_web import FOLDER
from fairshard.examples.sample_web.server import SampleWeb

if find_spec("airflow") is None:  # it is not imported here: that would make folders in the user's home
    pytest.skip("needs the extra [airflow]", allow_module_level=True)

DAGS = ["fairshard_curate", "fairshard_recheck_optouts", "fairshard_refresh_registries", "fairshard_train_and_audit"]
LISTS = ["pairs.parquet", "more.csv", "pages.warc.gz"]
ALONE = ["plan", "ingest", "consult", "fetch.groups", "fetch.rest", "screen", "filter", "dedup", "balance", "emit"]


@pytest.fixture(scope="module")
def web():
    with SampleWeb() as sample_web:
        yield sample_web


@pytest.fixture(scope="module")
def events(tmp_path_factory) -> Path:
    """The file that OpenLineage's provider, where installed, writes its events to."""
    return tmp_path_factory.mktemp("lineage") / "events"


@pytest.fixture(scope="module")
def environment(tmp_path_factory, events):
    transport = {"type": "file", "log_file_path": str(events), "append": True}
    told = {"AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport)}
    return settings(tmp_path_factory.mktemp("airflow")) | told


@pytest.fixture(scope="module")
def airflow(environment):
    with started(environment) as running:
        yield running


@pytest.fixture(scope="module")
def job(web, tmp_path_factory):
    return write_config(tmp_path_factory.mktemp("job"), web)


@pytest.fixture(scope="module")
def first_run(airflow, job):
    return airflow.run("fairshard_curate", config=str(job), fetch_tasks=2)


DONE = [*(f"{name}[-1]" for name in ALONE), "fetch.partitions[0]", "fetch.partitions[1]"]


def test_the_dag_file_is_read_without_fairshard_or_anything_heavy(airflow):
    assert airflow.found == {"import_errors": {}, "dags": DAGS, "heavy": []}


def test_a_dag_file_of_ones_own_holds_its_own_dags_alone(environment, tmp_path):
    page = (Path(__file__).parents[2] / "docs/airflow.md").read_text()
    first, second = (block.partition("```")[0] for block in page.split("```python\n")[1:3])
    (tmp_path / "mine.py").write_text(f"from datetime import datetime\n{first}{second}")
    with started(environment | {"AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path)}) as airflow:
        names = ["art_curate", "art_model", "art_recheck", "art_registries", "new_lists"]
        assert airflow.found == {"import_errors": {}, "dags": names, "heavy": []}


def test_a_run_makes_a_release(first_run, job):
    assert first_run["state"] == "success"
    assert states(first_run) == dict.fromkeys(DONE, "success")
    assert (job.parent / "release/manifest.json").exists()
    verified = fairshard("verify", job.parent / "release")
    assert (verified.exit_code, verified.output) == (0, "0 findings\n")


@pytest.mark.skipif(find_spec("openlineage") is None, reason="needs apache-airflow-providers-openlineage")
def test_lineage_goes_from_the_lists_to_the_release(first_run, events, job):
    told = [json.loads(line) for line in events.read_text().splitlines() if line]
    ends = {event["job"]["name"].partition(".")[2]: event for event in told if event["eventType"] == "COMPLETE"}

    def names(task: str, which: str) -> set[str]:
        assert all(one["namespace"] == "file" for one in ends[task][which])
        return {one["name"] for one in ends[task][which]}

    work = str(job.parent / "work")
    assert names("ingest", "inputs") == {str(FOLDER / name) for name in LISTS}
    assert names("ingest", "outputs") == {f"{work}/pair", f"{work}/rejected", f"{work}/signal"}
    assert str(FOLDER / "registries/domains.txt") in names("consult", "inputs")
    assert names("fetch.partitions", "outputs") >= {f"{work}/image", f"{work}/dropped"}
    assert names("emit", "outputs") == {f"{work}/sample", f"{work}/shard", str(job.parent / "release")}
    (release,) = [one for one in ends["emit"]["outputs"] if one["name"] == str(job.parent / "release")]
    manifest = json.loads((job.parent / "release/manifest.json").read_text())
    assert release["facets"]["version"]["datasetVersion"] == manifest["merkle_root"]


def test_another_run_asks_for_nothing_and_changes_nothing(first_run, airflow, job, web):
    manifest = (job.parent / "release/manifest.json").read_bytes()
    web.clear_requests()
    again = airflow.run("fairshard_curate", config=str(job), fetch_tasks=2)
    assert states(again) == dict.fromkeys(DONE, "success")
    assert web.requests == []
    assert (job.parent / "release/manifest.json").read_bytes() == manifest


def test_the_command_line_finds_nothing_left_to_do(first_run, job, web):
    web.clear_requests()
    done = fairshard("run", job, "--json")
    assert {stage["made_now"] for stage in json.loads(done.stdout)["stages"]} == {0}
    assert web.requests == []


def test_a_missing_registry_fails_the_plan_at_once_and_nobody_is_asked(airflow, web, tmp_path):
    registries = [{"name": "gone", "path": str(tmp_path / "gone.csv"), "scope": "url"}]
    job = write_config(tmp_path, web, registries=registries)
    web.clear_requests()
    run = airflow.run("fairshard_curate", config=str(job))
    assert run["state"] == "failed"
    assert {(task["state"], task["attempts"]) for task in run["tasks"] if task["task"] == "plan"} == {("failed", 1)}
    assert {task["state"] for task in run["tasks"] if task["task"] != "plan"} == {"upstream_failed"}
    assert web.requests == []
    assert not (tmp_path / "work").exists()


def test_only_what_another_attempt_may_mend_is_retried(environment):
    code = """
import json
from airflow.sdk.exceptions import AirflowFailException
from fairshard.airflow_dags.tasks import final
from fairshard.schemas.errors import *
at = ("here", "is wrong")
for error in (ConfigError(*at), MissingExtra(*at), RegistryError(*at), StageError(*at), ConnectionResetError()):
    try:
        with final():
            raise error
    except AirflowFailException as raised:
        print(str(raised)[:11])
    except Exception as raised:
        print(type(raised).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-5:] == [
        "exit code 2",
        "exit code 2",
        "exit code 3",
        "StageError",
        "ConnectionResetError",
    ]


def test_workers_of_a_task_do_not_import_the_main_program(environment, tmp_path):
    program = tmp_path / "program.py"
    program.write_text("""
if __name__ != "__main__":
    raise RuntimeError("the database is not for tasks")
from fairshard.airflow_dags.tasks import own_workers
from fairshard.pipelines._compute import open_compute
with own_workers():
    print(sorted(open_compute("local", 2).map(abs, [-1, -2, -3])))
""")
    done = subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["[1, 2, 3]"], done.stderr[-3000:]


def test_partitions_fetched_side_by_side_make_the_whole_stage(web, tmp_path):
    job = write_config(tmp_path, web, sources=[{"path": str(FOLDER / "more.csv")}])
    assert fairshard("run", job, "--until", "consult").exit_code == 0
    shared = [tmp_path / "work" / name for name in ("run.json", "catalog.duckdb")]
    before = [file.read_bytes() for file in shared]
    command = [BIN / "fairshard", "run", job, "--only", "fetch", "--json"]
    halves = [("--partition", "0000", "--partition", "0002"), ("--partition", "0001", "--partition", "0003")]
    running = [subprocess.Popen([*command, *half], stdout=-1, stderr=-1) for half in halves]
    said = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert [json.loads(out)["stages"][0]["made_now"] for out, _ in said] == [2, 2]
    assert [file.read_bytes() for file in shared] == before
    web.clear_requests()
    whole = json.loads(fairshard("run", job, "--only", "fetch", "--json").stdout)
    assert (whole["stages"][-1]["partitions"], whole["stages"][-1]["made_now"]) == (4, 0)
    assert web.requests == []
    alive = "SELECT pair_id FROM pair WHERE pair_id NOT IN (SELECT pair_id FROM dropped WHERE stage = 'consult')"
    queries = (f"{alive} ORDER BY pair_id", "SELECT pair_id FROM image ORDER BY pair_id")
    asked, fetched = (fairshard("sql", tmp_path / "work", query, "--json").stdout for query in queries)
    assert fetched == asked != "[]\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--partition", "0001"], "--partition goes with --only fetch"),
        (["--only", "screen", "--partition", "0001"], "--partition goes with --only fetch"),
        (["--only", "fetch", "--partition", "0004"], "there is no '0004'; expected 0000 to 0003"),
    ],
)
def test_a_partition_that_is_none_is_refused(web, tmp_path, arguments, said):
    done = fairshard("run", write_config(tmp_path, web), *arguments)
    assert done.exit_code == 2
    assert said in done.stderr
