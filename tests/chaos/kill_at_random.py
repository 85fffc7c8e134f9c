"""Kill a run of the sample web at random moments, go on until it ends, and compare what it releases.

    python tests/chaos/kill_at_random.py --times 50 --engine duckdb --seed 1

A moment is told by how much a run has written since it began, so a seed means the same on a slow machine, give or take
what is written side by side; `--jitter` adds up to so many seconds. Each kill is a `kill -9` of the whole process group.
Between two runs `fairshard status` has to say that one was killed, every marker has to be whole, a release that has a
manifest has to have its bytes, and now and then `fairshard gc --delete` is called. Exits with 1 at the first difference.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from test_disturbed_run import DEADLINE_S, Case, differing, gone, make_case, some_pairs

from fairshard.examples.sample_web.server import SampleWeb
from fairshard.pipelines.gc import gc
from fairshard.pipelines.status import KILLED, status

_LOOK_EVERY_S = 0.002
_LONGEST_S = 3600.0
_GC_AFTER = 0.25  # of the kills


class Chaos(Exception):
    """A run that was killed has lost something."""


@dataclass
class Found:
    """What came of it.

    Attributes:
        kills: by what the run was busy with.
        ends: jobs that were carried to their end.
        collected: calls of gc.
    """

    kills: Counter[str] = field(default_factory=Counter)
    ends: int = 0
    collected: int = 0


class Written:
    """How far a run has come, by the paths that have been seen in its folders since it began."""

    def __init__(self, case: Case):
        self._folders = (case.work, case.release)
        self._seen = self._there()
        self._before = len(self._seen)

    def look(self) -> int:
        self._seen |= self._there()
        return len(self._seen) - self._before

    def _there(self) -> set[str]:
        return {
            os.path.join(folder, name)
            for top in self._folders
            for folder, folders, files in os.walk(top)
            for name in (*folders, *files)
        }


def in_folder(folder: Path, pairs: Path, web: SampleWeb, engine: str) -> Case:
    """The job of the disturbed runs on an engine."""
    folder.mkdir(parents=True)
    case = make_case(folder, pairs, web)
    given = yaml.safe_load(case.config.read_text())
    case.config.write_text(yaml.safe_dump({**given, "engine": engine}))
    return case


def undisturbed(case: Case) -> tuple[dict[str, bytes], int]:
    """What a run that nobody disturbs releases, and how many paths are seen of it."""
    process, written = case.start(), Written(case)
    count = _watch(process, written, sys.maxsize)
    _, said = process.communicate(timeout=DEADLINE_S)
    if process.returncode:
        raise Chaos(f"the undisturbed run ended with {process.returncode}: {said}")
    return case.bytes_of(), count


def carried_to_its_end(
    case: Case,
    wanted: dict[str, bytes],
    paths: int,
    more: Callable[[], bool],
    rng: random.Random,
    jitter_s: float,
    found: Found,
) -> None:
    """Kill and go on, as long as there are to be more kills, until a run ends before its moment comes.

    Raises:
        Chaos: something is lost.
    """
    while True:
        kill = more()
        process, written = case.start(), Written(case)
        _watch(process, written, rng.randint(1, paths) if kill else sys.maxsize)
        if kill and process.poll() is None:
            time.sleep(rng.uniform(0, jitter_s))
        if not kill or process.poll() is not None:
            break
        _kill(process)
        _check_killed(case, wanted, found)
        if rng.random() < _GC_AFTER:
            gc(str(case.work), delete=True)
            found.collected += 1
    _, said = process.communicate(timeout=DEADLINE_S)
    on_spark = yaml.safe_load(case.config.read_text())["engine"] == "spark"  # which has always something to say
    if process.returncode or (said and not on_spark):
        raise Chaos(f"a run ended with {process.returncode}: {said}")
    if others := differing(case.bytes_of(), wanted):
        raise Chaos(f"other bytes than those of the undisturbed run: {', '.join(others)}")
    found.ends += 1


def _watch(process: subprocess.Popen, written: Written, paths: int) -> int:
    """Wait for a moment, or the end of the process."""
    deadline = time.monotonic() + _LONGEST_S
    while (count := written.look()) < paths and process.poll() is None:
        if time.monotonic() > deadline:
            os.killpg(process.pid, signal.SIGKILL)
            raise Chaos("a run goes on and on")
        time.sleep(_LOOK_EVERY_S)
    return count


def _kill(process: subprocess.Popen) -> None:
    others = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    if not gone(others):
        raise Chaos("a killed run left processes behind")


def _check_killed(case: Case, wanted: dict[str, bytes], found: Found) -> None:
    """Nothing is there by halves; also where the kill came before the first file, or after the last."""
    case.committed_is_whole()
    if (case.release / "manifest.json").exists() and differing(case.bytes_of(), wanted):
        raise Chaos("a release with a manifest is not whole")
    if not any(case.work.glob("run_state.json")):
        found.kills["the start"] += 1
        return
    told = status(str(case.work))
    if told["state"] != KILLED and told["run"]["ended_at"] is None:
        raise Chaos(f"a killed run is told as {told['state']}")
    found.kills[told["run"]["stage"] or "the end"] += 1


def chaos(
    folder: Path,
    times: int,
    engine: str,
    seed: int,
    step: int = 6,
    jitter_s: float = 0.0,
    longest_s: float = math.inf,
) -> Found:
    """Kill ``times`` times, in as many jobs as that takes, or until ``longest_s`` are over; then the last job is ended.

    Raises:
        Chaos: something is lost.
    """
    rng, found, deadline = random.Random(seed), Found(), time.monotonic() + longest_s

    def more() -> bool:
        return sum(found.kills.values()) < times and time.monotonic() < deadline

    pairs = some_pairs(folder / "pairs.parquet", step)
    with SampleWeb() as web:
        wanted, paths = undisturbed(in_folder(folder / "undisturbed", pairs, web, engine))
        while more():
            case = in_folder(folder / f"job-{found.ends}", pairs, web, engine)
            carried_to_its_end(case, wanted, paths, more, rng, jitter_s, found)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--times", type=int, default=50, help="kills")
    parser.add_argument("--engine", choices=["duckdb", "spark"], default="duckdb")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--step", type=int, default=6, help="every so many rows of the sample's list")
    parser.add_argument("--jitter", type=float, default=0.05, help="seconds, at most, after the moment")
    parser.add_argument("--minutes", type=float, default=math.inf, help="no kill after so many")
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        try:
            found = chaos(
                Path(folder), given.times, given.engine, given.seed, given.step, given.jitter, given.minutes * 60
            )
        except Chaos as error:
            sys.stdout.write(f"LOST (seed {given.seed}): {error}\n")
            return 1
    where = ", ".join(f"{count} in {stage}" for stage, count in found.kills.most_common())
    sys.stdout.write(
        f"{given.engine}, seed {given.seed}: {sum(found.kills.values())} kills ({where}), {found.collected} times gc, "
        f"{found.ends} releases, none differs; {time.monotonic() - began:.0f} s\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
