"""A run and its workers do without pandas, which others may still use."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from fairshard.pipelines._compute import LocalCompute

pytestmark = pytest.mark.skipif(find_spec("pandas") is None, reason="pandas is not installed")

SETTLED = """
import gc, sys
from fairshard.pipelines import _own_process
_own_process.settle()
import pyarrow as pa
pa.array(["text"])
assert "pandas" not in sys.modules and gc.get_threshold()[0] > 10_000
import pandas as pd
table = pa.Table.from_pandas(pd.DataFrame({"number": [1.0, None]}))
assert table.column("number").null_count == 1 and table.to_pandas().shape == (2, 1)
"""


def test_pyarrow_does_not_import_pandas_and_works_with_it():
    ended = subprocess.run([sys.executable, "-c", SETTLED], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def modules_with_a_list(text: str) -> bool:
    import pyarrow as pa

    pa.array([text])
    return "pandas" in sys.modules


def test_workers_do_without():
    compute = LocalCompute(2)
    try:
        assert list(compute.map(modules_with_a_list, ["a", "b"])) == [False, False]
    finally:
        compute.close()
