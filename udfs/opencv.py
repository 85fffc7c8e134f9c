"""OpenCV where it is there: it makes some steps faster and no answer different."""

from __future__ import annotations

import functools
from typing import Any


@functools.cache
def opencv() -> Any:
    """The module ``cv2``; None where it is not installed, as only the extra [crawl] brings it."""
    try:
        import cv2
    except ImportError:
        return None
    return cv2
