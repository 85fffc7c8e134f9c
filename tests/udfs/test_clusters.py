import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairshard.udfs import clusters
from fairshard.udfs.clusters import centroids, distances, homes, joined, near


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def lumps(count, dims=8, seed=0):
    """Vectors about six directions."""
    rng = np.random.default_rng(seed)
    middles = rng.normal(size=(6, dims))
    return unit(middles[rng.integers(0, 6, count)] + rng.normal(scale=0.2, size=(count, dims)))


def all_pairs(vectors, radius):
    left, right = np.nonzero(vectors @ vectors.T >= 1 - radius)
    return {(one, other) for one, other in zip(left.tolist(), right.tolist(), strict=True) if one < other}


def groups(count, ties):
    group = list(range(count))
    for _ in range(count):
        for one, other in ties:
            group[one] = group[other] = min(group[one], group[other])
    return group


def test_lumps_become_clusters():
    lump = np.arange(200) % 4
    vectors = unit(np.eye(4)[lump] + np.random.default_rng(0).normal(scale=0.05, size=(200, 4)))
    centres = centroids(vectors, 4)
    assert np.allclose(centres, np.eye(4), atol=0.05)
    found = homes(vectors, centres, distances(centres), 0.01, 3)
    assert found.cluster.tolist() == lump.tolist() and len(found.visitor) == 0
    assert np.allclose(found.cosine, (vectors * centres[lump]).sum(axis=1), atol=1e-5)


def test_more_clusters_than_vectors_and_none_at_all():
    vectors = lumps(3)
    assert len(centroids(vectors, 10)) == 3
    assert centroids(vectors[:0], 1).shape == (0, 8)
    assert joined([]).cluster.dtype == np.int64 and joined([]).cut == 0


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 12), st.sampled_from([0.0, 0.01, 0.05, 0.2]))
def test_every_near_pair_lies_in_one_cluster_or_visits_the_other(seed, count, radius):
    vectors = lumps(120, dims=4, seed=seed)
    centres = centroids(vectors, count)
    found = homes(vectors, centres, distances(centres), radius, count)
    visits = set(zip(found.visitor.tolist(), found.visited.tolist(), strict=True))
    home = found.cluster.tolist()
    assert found.cut == 0
    for one, other in all_pairs(vectors, radius):
        assert home[one] == home[other] or (one, home[other]) in visits or (other, home[one]) in visits


def test_visits_that_are_not_made_are_counted():
    vectors = lumps(200)
    centres = centroids(vectors, 20)
    apart = distances(centres)
    whole, short = (homes(vectors, centres, apart, 0.2, most) for most in (20, 2))
    needed = np.bincount(whole.visitor, minlength=200)
    assert whole.cut == 0 and short.cut == (needed > 2).sum() > 0
    assert np.bincount(short.visitor, minlength=200).tolist() == np.minimum(needed, 2).tolist()


@pytest.mark.parametrize("block", [7, 4096])
def test_chains_are_those_of_all_pairs_with_fewer_ties_than_vectors(monkeypatch, block):
    monkeypatch.setattr(clusters, "_BLOCK", block)
    vectors = lumps(90)
    members, visitors = np.arange(0, 90, 2), np.arange(1, 90, 2)
    one, other = near(vectors.__getitem__, members, visitors, 0.03)
    ties = list(zip(one.tolist(), other.tolist(), strict=True))
    among = {(a, b) for a, b in all_pairs(vectors, 0.03) if a % 2 == 0 or b % 2 == 0}
    assert groups(90, ties) == groups(90, among)
    assert 0 < len(ties) < 90 < len(among)


def test_nobody_is_near():
    assert [
        part.tolist() for part in near(np.eye(3, dtype=np.float32).__getitem__, np.arange(3), np.arange(0), 0.5)
    ] == [[], []]
