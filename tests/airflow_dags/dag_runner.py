"""Runs the DAG with ``dag.test()``, in a process of its own: Airflow takes its settings when it is imported.

Says what the DAG folder holds; then, for each DAG and configuration of a run that come in, the state of the run and of its
tasks. A line of JSON each.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, TextIO


def say(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Airflow logs to stdout
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag()
    heavy = sorted({"duckdb", "fairshard.pipelines", "fairshard.schemas", "pyarrow", "torch"} & set(sys.modules))
    say(answers, {"import_errors": bag.import_errors, "dags": sorted(bag.dags), "heavy": heavy})
    for line in sys.stdin:
        dag_id, params = json.loads(line)
        run = bag.dags[dag_id].test(run_conf=params)
        tasks = [
            {"task": task.task_id, "index": task.map_index, "state": task.state, "attempts": task.try_number}
            for task in run.get_task_instances()
        ]
        say(answers, {"state": run.state, "tasks": tasks})


if __name__ == "__main__":  # worker processes import this file too
    main()
