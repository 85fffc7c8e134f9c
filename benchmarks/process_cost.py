"""What a command and all the processes below it take: time, CPU time, memory."""

from __future__ import annotations

import glob
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass

import psutil

_SAMPLE_S = 0.2


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes:
        seconds: wall time.
        cpu_s: CPU seconds of all its processes; of those that nobody waited for, as of when they were last seen.
        peak_gb: the largest sum of the resident sets of its processes.
        spilled_gb: the most that lay in the folders that were watched.
    """

    seconds: float
    cpu_s: float
    peak_gb: float
    spilled_gb: float = 0.0

    def __str__(self) -> str:
        return f"{self.seconds:7.1f} s {self.cpu_s:7.1f} CPU s {self.peak_gb:5.1f} GB"


def cost_of(command: list[str], limit_s: float, spill: str | None = None) -> Cost:
    """Run a command and its children, and leave none of them behind. ``spill``: a pattern of folders to watch."""
    began, waited, peak, spilled = time.monotonic(), _waited_s(), 0, 0
    seen: dict[int, float] = {}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            while process.poll() is None:
                peak = max(peak, _look(psutil.Process(process.pid), seen))
                spilled = max(spilled, _bytes_below(spill)) if spill else 0
                if time.monotonic() - began > limit_s:
                    sys.exit(f"{' '.join(command)}: still running after {limit_s:.0f} s")
                time.sleep(_SAMPLE_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode:
            output.seek(0)
            sys.exit(f"{' '.join(command)}: exit {process.returncode}\n{output.read().decode()}")
    cpu_s = max(_waited_s() - waited, sum(seen.values()))
    return Cost(time.monotonic() - began, cpu_s, peak / 1e9, spilled / 1e9)


def _look(process: psutil.Process, seen: dict[int, float]) -> int:
    """Resident bytes of a process and of all below it; notes their CPU seconds."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        for one in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):  # it has just ended
                total += one.memory_info().rss
                used = one.cpu_times()
                seen[one.pid] = used.user + used.system
    return total


def cpu_s(process: psutil.Process) -> float:
    """CPU seconds so far of a process, of all below it, and of those that they waited for."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            used = one.cpu_times()
            total += used.user + used.system + used.children_user + used.children_system
    return total


def _bytes_below(pattern: str) -> int:
    total = 0
    for top in glob.glob(pattern):
        for folder, _, files in os.walk(top):
            for name in files:
                with suppress(FileNotFoundError):
                    total += os.stat(os.path.join(folder, name)).st_blocks * 512
    return total


def _waited_s() -> float:
    """CPU time of the processes that were waited for, and of those that they waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
