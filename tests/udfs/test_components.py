import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairshard.udfs.components import components

IDS = st.sampled_from([-(2**63), -5, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 2**63 - 1])
EDGES = st.lists(st.tuples(IDS, IDS), max_size=20)


def groups(edges):
    left, right = (pa.array([edge[end] for edge in edges], pa.int64()) for end in (0, 1))
    ids, group = components(left, right)
    return dict(zip(ids.to_pylist(), group.to_pylist(), strict=True))


def reached(edges, start):
    """All ids that a walk from one of them comes to."""
    seen, todo = {start}, [start]
    while todo:
        here = todo.pop()
        near = {b if a == here else a for a, b in edges if here in (a, b)} - seen
        seen |= near
        todo += near
    return seen


@given(EDGES)
def test_a_group_is_what_a_walk_reaches(edges):
    assert groups(edges) == {one: min(reached(edges, one)) for edge in edges for one in edge}


@given(EDGES, st.randoms())
def test_order_and_direction_do_not_matter(edges, random):
    turned = [random.choice([edge, edge[::-1]]) for edge in random.sample(edges, len(edges))]
    assert groups(turned + turned[:3]) == groups(edges)


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("shape", ["chain", "star", "caterpillar"])
def test_large_groups(shape, shuffled):
    count = 200_000
    node = np.arange(1, count)
    other = {"chain": node - 1, "star": np.zeros(count - 1, int), "caterpillar": node // 2 * (node % 2)}[shape]
    names = np.random.default_rng(0).permutation(count) - 100 if shuffled else np.arange(count) - 100
    ids, group = components(pa.array(names[node]), pa.array(names[other]))
    assert len(ids) == count and set(group.to_pylist()) == {-100}


def test_chunks():
    left, right = pa.chunked_array([[1], [5, 7]]), pa.chunked_array([[2, 6], [8]])
    assert components(left, right)[1].to_pylist() == [1, 1, 5, 5, 7, 7]
