"""Memory of this process: how much it took, and what is done with it when it is freed."""

from __future__ import annotations

import ctypes
import platform
import resource
import sys
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def peak_mb() -> float:
    """Largest resident size so far, MB: of this process, or of its largest finished child if that was larger."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return round(max(_own_peak(), children) * unit / 1e6, 1)


def _own_peak() -> int:
    """As getrusage counts, but for what the process had been before it became this program.

    Linux hands the maximum of a forked process on to the program that it then runs, so a small one that a large one has
    started would seem large.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    found = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return found[0] if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def keep_freed_memory() -> None:
    """Have the C library keep what one picture has freed for the next one.

    glibc maps each array of a picture anew and unmaps it after use, and the kernel hands it over page by page: a fifth
    of the CPU time of ``fetch``. Up to 128 MiB then stay with the process. Other C libraries are left as they are.

    Source: mallopt(3); 32 MiB is the largest threshold that it takes.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 128 << 20)
