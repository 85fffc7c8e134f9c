"""Ctrl-C while DuckDB or workers compute: the run ends, scratch is empty, nothing is committed, the next run goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fairshard.pipelines._store import Store
from fairshard.pipelines._work import Work
from fairshard.schemas.config import from_mapping

ROW = "'filter' AS stage, 'x' AS reason, 'y' AS evidence"
# Nobody would wait for its end. It says when it has begun.
LONG = f"SELECT a.range AS pair_id, {ROW} FROM range(100000) a, range(100000) b WHERE sin(begun(a.range) + b.range) > 2"

HOW = {
    "write": "work.write(task, 'dropped', LONG)",
    "rows": "work.engine.rows(LONG)",
    "batches": "next(work.engine.batches(LONG))",
    "keep": "work.engine.step('kept', LONG, keep=True)",
}

SCRIPT = """
import signal, sys
from pathlib import Path
from fairshard.pipelines._work import Work
from fairshard.schemas.config import from_mapping

signal.signal(signal.SIGINT, signal.default_int_handler)
folder, LONG = Path(sys.argv[1]), sys.argv[2]

def begun(numbers):
    (folder / "begun").touch()
    return numbers

work = Work(from_mapping({GIVEN}, folder))
work.engine._connection.create_function("begun", begun, ["BIGINT"], "BIGINT", type="arrow")
try:
    with work.task("filter", "all", "fingerprint") as task:
        {CALL}
except KeyboardInterrupt:
    sys.exit(130)
finally:
    work.close()
"""
GIVEN = {"work_dir": "work", "release_dir": "release", "sources": [{"path": "list.csv"}]}


@pytest.mark.parametrize("how", HOW)
def test_ctrl_c_ends_a_long_query(tmp_path, how):
    script = SCRIPT.replace("{GIVEN}", repr(GIVEN)).replace("{CALL}", HOW[how])
    process = subprocess.Popen([sys.executable, "-c", script, tmp_path, LONG], stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path / "begun", process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "")
    store = Store(str(tmp_path / "work"))
    assert store.marks() == [] and not [path for path in (tmp_path / "work").rglob("*") if path.is_file()]
    work = Work(from_mapping(GIVEN, tmp_path))
    with work.task("filter", "all", "fingerprint") as task:
        assert not task.done
        work.write(task, "dropped", f"SELECT 1 AS pair_id, {ROW}")
    work.close()
    assert store.read("dropped")["pair_id"].to_pylist() == [1]


def wait_for(path: Path, process: subprocess.Popen) -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


BUSY = """
import signal, sys
from pathlib import Path
from fairshard.pipelines._compute import LocalCompute

signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    list(LocalCompute(2).map(Path.read_bytes, [Path(name) for name in sys.argv[1:]]))
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_ctrl_c_ends_busy_workers(tmp_path):
    """They read pipes that nobody fills."""
    pipes = [str(tmp_path / name) for name in ("one", "two")]
    for pipe in pipes:
        os.mkfifo(pipe)
    process = subprocess.Popen([sys.executable, "-c", BUSY, *pipes], stderr=subprocess.PIPE, text=True)
    with contextlib.ExitStack() as filled:
        for pipe in pipes:
            filled.enter_context(open(pipe, "w"))  # opens when a worker does
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "")
