"""What a process that is the program's own, and not somebody's who imports it, does before it begins to work."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from types import ModuleType

import pyarrow as pa

_OBJECTS = 50_000  # new ones after which Python looks for those that only refer to each other; its own number is 700


def settle() -> None:
    """Leave out what takes time and is of no use here: pandas, and looking for cycles that are not there."""
    forgo_pandas()
    gc.set_threshold(_OBJECTS, *gc.get_threshold()[1:])


def forgo_pandas() -> None:
    """Have pyarrow not look for pandas in this process, unless it is imported already.

    The first list that pyarrow sees has it import pandas, where there is any, since the list could be a series: a third
    of all modules, in a third of a second. It looks once. Whoever imports pandas later can use it, and ``to_pandas``
    works as ever.

    Source: pyarrow's pandas-shim.pxi.
    """
    if "pandas" in sys.modules:
        return
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([""])
    finally:
        sys.meta_path.remove(finder)


class _NoPandas:
    """Finds no pandas, wherever it is."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)
