"""What is compiled, where it was: it makes some steps faster and no answer different."""

from __future__ import annotations

import importlib
from typing import Any


def _compiled(name: str) -> Any:
    try:
        return importlib.import_module(f"{__package__}.{name}")
    except ImportError:  # no compiler was there when the package was installed
        return None


loops = _compiled("_pixels")
"""Over pixels, ``_pixels.c``."""

links = _compiled("_links")
"""Of WAT records, ``_links.c``."""
