"""Runs the DAG once with ``dag.test()``, in a process of its own: Airflow reads its settings when it is imported.

``python run_dag.py CONF_JSON`` prints one JSON line: the state of the run and of each task, with its attempts.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag()
    heavy = sorted({"duckdb", "fairshard.pipelines", "fairshard.schemas", "pyarrow", "torch"} & set(sys.modules))
    found = {"import_errors": bag.import_errors, "dags": sorted(bag.dags), "heavy": heavy}
    if len(sys.argv) > 1:
        run = bag.dags["fairshard_curate"].test(run_conf=json.loads(sys.argv[1]))
        tasks = [
            {"task": task.task_id, "index": task.map_index, "state": task.state, "attempts": task.try_number}
            for task in run.get_task_instances()
        ]
        found |= {"state": run.state, "tasks": sorted(tasks, key=lambda task: (task["task"], task["index"]))}
    sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":  # worker processes import this file too
    main()
