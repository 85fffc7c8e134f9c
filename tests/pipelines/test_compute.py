"""Processes, Dask and Spark: the same results, the same errors, and an end when workers keep dying."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from conftest import require_java

from fairshard.pipelines._compute import Compute, LocalCompute, open_compute
from fairshard.schemas.errors import RegistryError, SourceError, StageError


@pytest.fixture(scope="module", params=["serial", "local", "dask", "spark"])
def compute(request) -> Iterator[Compute]:
    kind = request.param
    if kind == "spark":
        require_java()
        # Its workers cannot import a test.
        from pyspark import cloudpickle

        cloudpickle.register_pickle_by_value(sys.modules[__name__])
    opened = open_compute("local" if kind == "serial" else kind, 1 if kind == "serial" else 2)
    yield opened
    opened.close()


def square(number: int) -> int:
    return number * number


def refuse(number: int) -> int:
    if number == 2:
        raise RegistryError("registry a", "is gone", "a list", "Fetch it anew")
    return number


def misread(path: str) -> int:
    raise SourceError(path, "is empty")


def die_until(folder: str, times: int, number: int) -> int:
    """Kill this worker as often as asked, one file for each death; only task 1 does so."""
    deaths = Path(folder)
    if number == 1 and len(list(deaths.iterdir())) < times:
        (deaths / f"{len(list(deaths.iterdir()))}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_every_task_gives_its_result(compute):
    assert sorted(compute.map(square, range(7))) == [0, 1, 4, 9, 16, 25, 36]
    assert list(compute.map(square, [])) == []
    assert list(compute.map(square, [3])) == [9]
    assert compute.at_once in (1, 2)


def test_an_error_of_ours_arrives_as_it_was_raised(compute):
    with pytest.raises(RegistryError) as raised:
        list(compute.map(refuse, [1, 2, 3]))
    error = raised.value
    assert str(error) == "registry a: is gone; expected a list. Fetch it anew"
    assert (error.where, error.found, error.expected, error.hint) == (
        "registry a",
        "is gone",
        "a list",
        "Fetch it anew",
    )
    assert error.exit_code == 3
    with pytest.raises(SourceError, match=r"list\.csv: is empty"):
        list(compute.map(misread, ["list.csv"]))


def test_work_goes_on_after_an_error(compute):
    with pytest.raises(RegistryError):
        list(compute.map(refuse, [2, 2, 2]))
    assert sorted(compute.map(square, [1, 2])) == [1, 4]


@pytest.mark.parametrize("times", [1, 2])
def test_a_killed_worker_is_replaced_and_every_task_has_one_result(tmp_path, times):
    found = list(LocalCompute(2).map(partial_of(die_until, tmp_path, times), [0, 1, 2, 3]))
    assert sorted(found) == [0, 1, 2, 3]
    assert len(list(tmp_path.iterdir())) == times


def test_a_task_that_always_kills_its_worker_ends_the_stage_with_advice(tmp_path):
    with pytest.raises(StageError) as raised:
        list(LocalCompute(2).map(partial_of(die_until, tmp_path, 99), [0, 1, 2]))
    assert len(list(tmp_path.iterdir())) == 3
    assert "a worker process died 3 times" in str(raised.value)
    assert "Look for the out-of-memory killer, lower 'workers' and run again" in str(raised.value)
    assert raised.value.where == "die_until"


def partial_of(function, folder: Path, times: int):
    made = partial(function, str(folder), times)
    made.__name__ = function.__name__  # type: ignore[attr-defined]
    return made


@pytest.mark.slow
def test_dask_gives_up_a_task_that_always_kills_its_worker(tmp_path):
    dask = open_compute("dask", 2)
    try:
        with pytest.raises(StageError, match="Look for the out-of-memory killer"):
            list(dask.map(partial_of(die_until, tmp_path, 99), [0, 1, 2]))
    finally:
        dask.close()


def break_down(number: int) -> int:
    raise OSError(28, "No space left on device", f"/disk/{number}")


def test_an_error_of_the_machine_is_still_told(compute):
    with pytest.raises((OSError, StageError), match="No space left on device"):
        list(compute.map(break_down, [1, 2]))
