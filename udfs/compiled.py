"""The loops of ``_pixels.c``, where they were compiled: they make some steps faster and no answer different."""

from __future__ import annotations

from typing import Any

loops: Any
try:
    from . import _pixels  # pyright: ignore[reportAttributeAccessIssue]
except ImportError:  # no compiler was there when the package was installed
    loops = None
else:
    loops = _pixels
