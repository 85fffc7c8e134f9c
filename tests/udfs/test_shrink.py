import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loops import needs_loops

from fairshard.udfs import shrink

cv2 = pytest.importorskip("cv2")
pytestmark = needs_loops


def noise(height, width, seed=0):
    """Every second one of white and black dots alone, where roundings are largest."""
    random = np.random.default_rng(seed)
    levels = random.integers(0, 256, (height, width, 3), np.uint8)
    return levels if seed % 2 else np.where(levels < 128, 0, 255).astype(np.uint8)


def opencvs(image, width, height):
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


@pytest.fixture
def never_opencv(monkeypatch):
    monkeypatch.setattr(cv2, "resize", lambda *_, **__: pytest.fail("OpenCV was asked"))


@settings(max_examples=300)
@given(st.integers(1, 700), st.integers(1, 700), st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
def test_every_ratio_gives_opencvs_bits(height, width, tall, wide, seed):
    image, size = noise(height, width, seed), (max(1, round(width * wide)), max(1, round(height * tall)))
    assert np.array_equal(shrink.shrunk(image, *size), opencvs(image, *size))


@pytest.mark.parametrize(
    ("old", "new"),
    [((480, 640), (256, 341)), ((3, 900), (1, 400)), ((900, 3), (401, 2)), ((1, 4097), (1, 4096)), ((6000, 5), (7, 5)),
     ((2, 16_384), (1, 3)), ((1000, 1001), (999, 1001))],
)  # fmt: skip
def test_usual_and_extreme_sizes_are_compiled(old, new):
    image = noise(*old)
    assert shrink._is_meant(image, new[1], new[0])
    assert np.array_equal(shrink.shrunk(image, new[1], new[0]), opencvs(image, new[1], new[0]))


def test_opencv_is_not_asked_for_what_is_compiled(never_opencv):
    assert shrink.shrunk(noise(48, 64), 34, 25).shape == (25, 34, 3)


OTHERS = {
    "gray": noise(48, 64)[:, :, 0], "one channel": np.ascontiguousarray(noise(48, 64)[:, :, :1]),
    "four channels": np.dstack((noise(48, 64), noise(48, 64)[:, :, :1])), "turned": noise(64, 48).swapaxes(0, 1),
    "mirrored": noise(48, 64)[:, ::-1],
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHERS)
def test_what_it_is_not_made_for_is_left_to_opencv(kind):
    image = OTHERS[kind]
    assert not shrink._is_meant(image, 34, 25)
    assert np.array_equal(shrink.shrunk(image, 34, 25), opencvs(np.ascontiguousarray(image), 34, 25))


def test_very_long_sides_are_left_to_opencv():
    """Their shares would be large, and a hostile site could have any number of them kept."""
    image = noise(3, 16_385)
    assert not shrink._is_meant(image, 400, 2)
    assert np.array_equal(shrink.shrunk(image, 400, 2), opencvs(image, 400, 2))


@pytest.mark.parametrize("size", [(32, 24), (64, 48), (65, 40), (40, 49), (100, 100)])
def test_whole_ratios_and_enlarging_are_left_to_opencv(size):
    image = noise(48, 64)
    assert not shrink._is_meant(image, *size)
    assert np.array_equal(shrink.shrunk(image, *size), opencvs(image, *size))


def test_without_a_compiler_opencv_answers(monkeypatch):
    image = noise(48, 64)
    expected = shrink.shrunk(image, 34, 25)
    monkeypatch.setattr(shrink, "loops", None)
    assert np.array_equal(shrink.shrunk(image, 34, 25), expected)
