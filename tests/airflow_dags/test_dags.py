"""What the DAGs say of themselves, and what their options do, without an Airflow that runs."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest
from airflow_process import without_database

if find_spec("airflow") is None:
    pytest.skip("needs the extra [airflow]", allow_module_level=True)

ASKED = """
import json, sys
from fairshard.airflow_dags import lineage
from fairshard.airflow_dags.curate import GROUP, curate
from fairshard.airflow_dags.tasks import LOCAL
from jinja2 import Template

dag = curate("one", default_args={"owner": "art", "retries": 4})
plain, mapped = dag.get_task("filter"), dag.get_task("fetch.partitions")

class Task:
    def __init__(self, *names):
        self.op_kwargs = {"names": list(names)}

print(json.dumps({
    "owner": plain.owner,
    "retries": [plain.retries, dag.get_task("consult").retries],
    "timeout": plain.execution_timeout == LOCAL["execution_timeout"],
    "own": curate("two").get_task("filter").owner,
    "docs": {task.task_id: task.doc_md for task in dag.tasks},
    "labels": [Template(GROUP).render(task=Task(*names)) for names in (["0003"], ["0000", "0001", "0002"])],
    "names": [lineage._name(path) for path in json.loads(sys.argv[1])],
}))
"""
PATHS = ["/data/a list.csv", "s3://bucket/lists/*.parquet", "https://user:word@lists.example:8080/a.txt?key=secret"]


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> dict:
    environment = without_database(tmp_path_factory.mktemp("airflow"))
    done = subprocess.run(
        [sys.executable, "-c", ASKED, json.dumps(PATHS)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_default_args_of_ones_own_leave_those_of_the_dag(said):
    assert (said["owner"], said["own"], said["timeout"]) == ("art", "fairshard", True)
    assert said["retries"] == [4, 5]  # what asks hosts has its own


def test_each_task_says_what_it_does(said):
    docs = said["docs"]
    assert docs["dedup"].endswith("\n\n`fairshard run CONFIG --only dedup`")
    assert docs["fetch.rest"].endswith("\n\n`fairshard run CONFIG --only fetch`")
    assert docs["fetch.partitions"].endswith("\n\n`fairshard run CONFIG --only fetch --partition NAME ...`")
    assert len(set(docs.values())) == len(docs) == 11


def test_a_mapped_task_is_called_by_its_partitions(said):
    assert said["labels"] == ["0003", "0000 to 0002"]


def test_data_sets_are_named_as_openlineage_has_it_and_without_secrets(said):
    assert said["names"] == [
        ["file", "/data/a list.csv"],
        ["s3://bucket", "lists/*.parquet"],
        ["https://lists.example:8080", "/a.txt"],
    ]
