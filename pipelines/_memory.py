"""Peak memory of this process and of the workers it has waited for."""

from __future__ import annotations

import resource
import sys


def peak_mb() -> float:
    """Largest resident size so far, MB: of this process, or of its largest finished child if that was larger."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return round(max(peaks) * unit / 1e6, 1)
