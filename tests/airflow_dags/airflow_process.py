"""An Airflow with a database of its own, and jobs about the sample web, for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import yaml
from click.testing import CliRunner, Result

from fairshard import airflow_dags
from fairshard.examples.sample_web import FOLDER
from fairshard.examples.sample_web.server import SampleWeb
from fairshard.pipelines.cli import main

BIN = Path(sys.executable).parent


def settings(home: Path, dags_folder: str = airflow_dags.__path__[0]) -> dict[str, str]:
    """Environment of an Airflow whose database was just made."""
    found = without_database(home, dags_folder)
    subprocess.run([BIN / "airflow", "db", "migrate"], env=found, check=True, capture_output=True)
    return found


def without_database(home: Path, dags_folder: str = airflow_dags.__path__[0]) -> dict[str, str]:
    """The same for what asks for none."""
    return os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": dags_folder,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
    }


class Airflow:
    """A process that holds the DAGs of a folder and runs one when asked."""

    def __init__(self, settings: dict[str, str]):
        self.log = Path(settings["AIRFLOW_HOME"]) / "log.txt"
        with self.log.open("a") as log:
            command = [sys.executable, Path(__file__).with_name("dag_runner.py")]
            self.process = subprocess.Popen(command, env=settings, stdin=-1, stdout=-1, stderr=log, text=True)
        self.found = self._answer()

    def run(self, dag_id: str, **params) -> dict:
        assert self.process.stdin
        print(json.dumps([dag_id, params]), file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, self.log.read_text()[-5000:]
        return json.loads(line)


@contextmanager
def started(settings: dict[str, str]):
    airflow = Airflow(settings)
    with airflow.process:  # closes its input and waits for it
        yield airflow


def write_config(folder: Path, web: SampleWeb, **changes) -> Path:
    """The sample's config with absolute paths, fewer partitions and less patience."""
    config = yaml.safe_load((FOLDER / "config.yaml").read_text())
    for item in config["sources"] + config["registries"]:
        item["path"] = str(FOLDER / item["path"])
    config |= {f"{name}_dir": str(folder / name) for name in ("work", "release", "run")}
    config["workers"] = 1
    config["consult"] = {"partitions": 2, "timeout_s": 3, "retries": 0}
    config["fetch"] |= {"partitions": 4, "timeout_s": 3, "retries": 0, "proxy": web.proxy_url}
    config["train"] = {"epochs": 1}
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(config | changes))
    return path


def fairshard(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def states(run: dict) -> dict[str, str]:
    return {f"{task['task']}[{task['index']}]": task["state"] for task in run["tasks"]}
