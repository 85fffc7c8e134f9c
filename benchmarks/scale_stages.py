"""One stage of ``scale.py``, in a process of its own: ``python benchmarks/scale_stages.py JOB.yaml STAGE``.

Writes ``STAGE.json`` beside the job: the seconds of the stage, and the CPU seconds, without those in which Python and
the engine start.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from invented_tables import rows_files
from process_cost import cpu_s

from fairshard.pipelines import balance, consult, dedup, emit, ingest, screen
from fairshard.pipelines import filter as filter_
from fairshard.pipelines._work import Work
from fairshard.schemas.config import load
from fairshard.schemas.tables import TABLES


def _repeated(work: Work) -> None:
    """Of `ingest`, what finds the rows that repeat others."""
    files = rows_files(work.store)
    with work.task("ingest", "repeated", "benchmark") as task:
        ingest.set_aside(work, task, files, ["list"] * len(files))


def _planned(work: Work) -> None:
    """Of `emit`, which pair goes where, and whether the books balance."""
    emit.plan(work)
    for table in emit.READS:
        work.scan("emit", table)
    work.engine.scan("sample", work.store.files("sample", ("emit",)), TABLES["sample"].schema)
    emit.balance_books(work)


STAGES: dict[str, Callable[[Work], None]] = {
    "ingest": _repeated,
    "consult": consult.run,
    "screen": screen.run,
    "filter": filter_.run,
    "dedup": dedup.run,
    "balance": balance.run,
    "emit": _planned,
    "release": emit.run,
}


def main() -> None:
    job, stage = sys.argv[1:]
    work = Work(load(Path(job)))
    try:
        work.engine  # noqa: B018  # starts
        began, used = time.perf_counter(), cpu_s(psutil.Process())
        STAGES[stage](work)
        took = {"seconds": time.perf_counter() - began, "cpu_s": cpu_s(psutil.Process()) - used}
        (Path(job).parent / f"{stage}.json").write_text(json.dumps(took))
    finally:
        work.clear()
        work.close()


if __name__ == "__main__":
    main()
