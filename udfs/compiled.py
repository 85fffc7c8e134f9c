"""The loops of ``_pixels.c``, where they were compiled: they make some steps faster and no answer different."""

from __future__ import annotations

from typing import Any

try:
    from . import _pixels as loops  # pyright: ignore[reportAttributeAccessIssue]
except ImportError:  # no compiler was there when the package was installed
    loops: Any = None
