"""Numbers in the text of evidence, spelled the same on every engine."""

from __future__ import annotations

import pyarrow as pa

from .arrow import udf


@udf(pa.float64(), returns=pa.string())
def number_text(number: pa.Array) -> pa.Array:
    """A number in at most four significant digits. Engines disagree on how to round and to spell one.

    Args: number: double[n]; null stays null.
    Returns: string[n], such as ``0.93``, ``3`` or ``1.2e+06``.
    """
    values = [None if value is None else f"{value:.4g}" for value in number.to_pylist()]
    return pa.array(values, pa.string())
