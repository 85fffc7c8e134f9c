"""The short form of ``kill_at_random.py``: a few kills at seeded moments."""

from __future__ import annotations

import pytest
from kill_at_random import chaos


@pytest.mark.slow
def test_a_run_that_is_killed_at_random_ends_with_the_bytes_of_an_undisturbed_one(tmp_path):
    found = chaos(tmp_path, times=2, engine="duckdb", seed=7, step=24)
    assert sum(found.kills.values()) == 2 and found.ends >= 1
