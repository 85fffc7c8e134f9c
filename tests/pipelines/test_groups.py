import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairshard.pipelines import _groups
from fairshard.udfs.components import components

IDS = st.one_of(st.integers(-3, 12), st.sampled_from([-(2**63), 2**63 - 1]))


def ends(ties):
    return [pa.array([tie[end] for tie in ties], pa.int64()) for end in (0, 1)]


def grouped(work, ties):
    """By the engine itself, however few they are."""
    work.engine.register("tie", pa.table(dict(zip(("left_id", "right_id"), ends(ties), strict=True))))
    _groups.group(work.engine, few=-1)
    rows = work.engine.rows("SELECT pair_id, group_id FROM chained").to_pylist()
    assert len(rows) == len({row["pair_id"] for row in rows})
    return {row["pair_id"]: row["group_id"] for row in rows}


def expected(ties):
    found = [column.to_pylist() for column in components(*ends([tie for tie in ties if tie[0] != tie[1]]))]
    return dict(zip(*found, strict=True))


@pytest.mark.parametrize("ties", [
    [],
    [(1, 1)],
    [(n, n + 1) for n in range(70)],
    [(99 - n, 98 - n) for n in range(80)],
    [(50, n) for n in range(100)],
    [(n, (n * 7) % 40) for n in range(40)] + [(1000, 1001), (1001, 1000), (1000, 1001)],
])  # fmt: skip
def test_chains_and_stars_on_every_engine(make_work, ties):
    assert grouped(make_work({}), ties) == expected(ties)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ties=st.lists(st.tuples(IDS, IDS), max_size=25))
def test_the_engine_finds_the_groups_that_this_process_finds(make_duckdb_work, ties):
    assert grouped(make_duckdb_work({}), ties) == expected(ties)
