import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import drawing, encoded, photograph
from PIL import Image

from fairshard.udfs.colours import colour_distance, colours
from fairshard.udfs.hashing import fingerprint


def distance(a, b, spared=0):
    return colour_distance(pa.array([a], pa.binary()), pa.array([b], pa.binary()), pa.array([spared], pa.int32()))[
        0
    ].as_py()


def cells(*levels):
    """Grey cells, the last level for all that are left."""
    return bytes(np.repeat([*levels, *[levels[-1]] * (16 - len(levels))], 3).astype(np.uint8))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (4, 4), (17, 33), (97, 131), (400, 300)])
def test_colours_are_means_over_area(height, width):
    """A pixel on the edge of two cells counts for each by its share: repeated four times, none is."""
    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    fine = rgb.repeat(4, axis=0).repeat(4, axis=1).reshape(4, height, 4, width, 3)
    assert np.frombuffer(colours(rgb), np.uint8).tolist() == np.floor(fine.mean((1, 3)).ravel() + 0.5).tolist()


def test_copies_are_near_and_other_colours_are_far():
    picture = photograph(300, 400)
    red, green, blue = picture.split()
    copies = picture.resize((133, 100)), picture.point(lambda level: level * 0.8)
    files = [encoded(picture, "JPEG", quality=30), *(encoded(copy, "PNG") for copy in copies)]
    first, *near, far = (
        fingerprint(file).colours
        for file in (encoded(picture, "PNG"), *files, encoded(Image.merge("RGB", (blue, green, red)), "PNG"))
    )
    assert max(distance(first, copy) for copy in near) <= 8
    assert distance(first, far, 2) > 24


def test_cells_that_differ_most_are_spared_and_brightness_is_evened_out():
    logo = cells(255, 0, 100)
    assert [distance(cells(100), logo, spared) for spared in (0, 1, 2)] == [130, 100, 0]
    assert [distance(cells(100), cells(level)) for level in (60, 77, 100, 120, 130, 150)] == [22, 0, 0, 0, 0, 20]
    assert distance(cells(250), cells(255)) == 0  # brighter than white is white


def test_unknown_is_null():
    a = pa.array([None, b"short", cells(1), cells(1)], pa.binary())
    b = pa.array([cells(1), cells(1), bytes(49), cells(2)], pa.binary())
    spared = pa.repeat(pa.scalar(0, pa.int32()), 4)
    assert colour_distance(a, b, spared).to_pylist() == [None, None, None, 1]
    assert colour_distance(a[2:], b[2:], spared[2:]).to_pylist() == [None, 1]
    assert colour_distance(a[:0], b[:0], spared[:0]).to_pylist() == []


SIGNATURES = st.binary(min_size=48, max_size=48)


@given(SIGNATURES, SIGNATURES, st.integers(0, 14))
def test_it_is_symmetric_zero_of_itself_and_less_where_more_is_spared(a, b, spared):
    assert distance(a, b, spared) == distance(b, a, spared) >= distance(a, b, spared + 1)
    assert distance(a, a, spared) == 0


def test_of_many_pairs_each_is_its_own():
    many = np.random.default_rng(0).integers(0, 256, (2, 20_000, 48), np.uint8)
    a, b = (pa.array([one.tobytes() for one in side], pa.binary()) for side in many)
    found = colour_distance(a, b, pa.array(np.arange(20_000) % 16, pa.int32()))
    for place in (0, 16_383, 16_384, 19_999):
        assert found[place].as_py() == distance(a[place].as_py(), b[place].as_py(), place % 16)


def test_a_picture_with_transparency_has_none():
    picture = drawing(40, 60)
    assert fingerprint(encoded(picture, "PNG")).colours == colours(np.asarray(picture.convert("RGB")))
    picture.putalpha(Image.new("L", picture.size, 200))
    assert fingerprint(encoded(picture, "PNG")).colours is None
