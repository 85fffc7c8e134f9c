"""The fuzz targets hold on the conformance cases, on noise around them, and on inputs made to hurt."""

from __future__ import annotations

import pytest
from bombs import bombs
from hypothesis import given, settings
from hypothesis import strategies as st
from seeds import WORDS, seeds
from targets import TARGETS

BOMBS = list(bombs(100_000))
QUICK = sorted(TARGETS.keys() - {"c2pa_manifest"})


@pytest.mark.parametrize("name", TARGETS)
def test_on_the_conformance_cases(name):
    inputs = list(seeds(name))
    assert len(inputs) > 1
    for data in inputs:
        TARGETS[name](data)


@pytest.mark.parametrize(
    ("name", "data"), [(name, data) for name, _, data in BOMBS], ids=[what for _, what, _ in BOMBS]
)
def test_inputs_made_to_hang_do_not(name, data):
    TARGETS[name](data)


@pytest.mark.parametrize("name", QUICK)
@settings(max_examples=50)
@given(data=st.data())
def test_on_noise(name, data):
    seed = data.draw(st.sampled_from(list(seeds(name))))
    at = data.draw(st.integers(0, len(seed)))
    noise = data.draw(st.binary(max_size=20) | st.sampled_from(WORDS).map(str.encode))
    TARGETS[name](seed[:at] + noise + seed[at + data.draw(st.integers(0, 20)) :])
