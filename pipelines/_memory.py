"""Memory of this process: how much it took, and what is done with it when it is freed."""

from __future__ import annotations

import ctypes
import platform
import resource
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def peak_mb() -> float:
    """Largest resident size so far, MB: of this process, or of its largest finished child if that was larger."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return round(max(peaks) * unit / 1e6, 1)


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
