"""Centroids of creators, and what chance gives."""

from __future__ import annotations

import numpy as np
import pytest

from fairshard.udfs.centroids import centroids, unlikely_count


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_three_creators_by_hand():
    # The first two lie close to each other, and the third far from both.
    vectors = unit(np.array([[1, 0.0], [1, 0.02], [1, 0.2], [1, 0.22], [0.0, 1], [0.02, 1]], np.float32))
    found = centroids(vectors, np.array([0, 0, 1, 1, 2, 2]))
    assert found.vectors.round(2).tolist() == [[1.0, 0.01], [0.98, 0.21], [0.01, 1.0]]
    assert (found.found_own, found.pictures, found.others.tolist()) == (6, 6, [4, 4, 4])
    assert found.least.round(3).tolist() == [1.0, 1.0, 1.0] and found.nearest_of_others.tolist() == [0, 0, 0]
    assert found.nearest(np.array([[1, 1.0, 0.5], [0.9, 0.99, 0.5], [0, 0.3, 1]])).tolist() == [0, -1, 2]


def test_of_noise_own_creators_are_found_by_chance_alone():
    generator = np.random.default_rng(0)
    found = centroids(unit(generator.normal(size=(5000, 32))), np.arange(5000) % 10)
    assert abs(found.found_own / 5000 - 0.1) < 0.02
    assert (found.nearest_of_others / found.others < found.chance()).all() and (found.chance() < 0.15).all()


@pytest.mark.parametrize(
    ("trials", "chance", "level", "count"),
    [(10, 0.5, 0.05, 9), (10, 0.5, 0.0005, 11), (1, 0.001, 0.01, 1), (5, 1.0, 0.01, 6), (3, 0.5, 1.1, 0)],
)
def test_unlikely_count(trials, chance, level, count):
    """Of ten tosses nine or more heads come in 1.1 %, eight or more in 5.5 %, ten in 0.1 %."""
    assert unlikely_count(trials, chance, level) == count
