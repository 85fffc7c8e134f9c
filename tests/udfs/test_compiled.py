import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import needs_loops
from PIL import Image

from fairshard.udfs import phash
from fairshard.udfs.compiled import loops

pytestmark = needs_loops


def levels(*shape, seed=0):
    """Every second one of 0 and 255 alone, where sums are largest."""
    found = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return found if seed % 2 else np.where(found < 128, 0, 255).astype(np.uint8)


def test_luma_is_pillows_of_every_colour():
    colours = np.stack(np.meshgrid(*[np.arange(256, dtype=np.uint8)] * 3, indexing="ij"), axis=-1).reshape(
        4096, 4096, 3
    )
    luma = np.empty((4096, 4096), np.uint8)
    loops.luma(colours, luma)
    assert np.array_equal(luma, np.asarray(Image.fromarray(colours).convert("L")))


@given(
    st.integers(1, 40), st.integers(1, 9000), st.lists(st.integers(0, 60), min_size=1, max_size=5), st.integers(0, 99)
)
def test_sums_of_lines_are_numpys(height, width, sizes, seed):
    """Also where more than 16 bits are needed, and of no lines at all."""
    pixels, random = levels(height, width, seed=seed), np.random.default_rng(seed)
    lines = random.integers(0, height, sum(sizes)).astype(np.int32)
    weights = random.integers(0, 258, sum(sizes)).astype(np.uint16)
    ends, sums = np.cumsum(sizes), np.empty((len(sizes), width), np.uint32)
    loops.line_sums(pixels, height, width, lines, weights, ends.astype(np.int32), sums)
    weighted = pixels[lines].astype(np.int64) * weights[:, None]
    expected = [part.sum(axis=0) for part in np.split(weighted, ends[:-1])]
    assert np.array_equal(sums, np.stack(expected))


@given(st.integers(33, 8192), st.integers(1, 5), st.integers(0, 99))
def test_squeezed_lines_are_pillows(length, count, seed):
    lines = levels(count, length, seed=seed)
    theirs = Image.fromarray(lines).resize((32, count), Image.Resampling.LANCZOS)
    assert np.array_equal(phash._squeezed(lines), np.asarray(theirs))


# The loops believe no argument: each of these would have them read or write outside a buffer, or in more bits than there
# are.

GOOD = {
    "shrink": {
        "rgb": levels(4, 6, 3), "height": 4, "width": 6, "columns": np.array([[0, 3], [6, 15]], np.int32),
        "column_weights": np.full((2, 2), 0.5, np.float32), "taps": 2, "rows": np.array([0, 1, 3], np.int32),
        "row_weights": np.array([0.5, 0.5, 1], np.float32), "row_ends": np.array([2, 3], np.int32),
        "out": np.zeros((2, 2, 3), np.uint8),
    },
    "line_sums": {
        "pixels": levels(4, 6), "height": 4, "width": 6, "lines": np.array([0, 1, 3], np.int32),
        "weights": np.array([1, 257, 2], np.uint16), "ends": np.array([2, 3], np.int32), "out": np.zeros((2, 6), np.uint32),
    },
    "squeeze": {
        "lines": levels(3, 8), "count": 3, "length": 8, "first": np.array([0, 5], np.int32),
        "weights": np.array([[[256, 512, 256]] * 2, [[0, 4095, 1]] * 2], np.int16), "taps": 3, "out": np.zeros((3, 2), np.uint8),
    },
    "luma": {"rgb": levels(4, 6, 3), "out": np.zeros((4, 6), np.uint8)},
}  # fmt: skip
BAD = {
    "shrink": [
        {"rgb": levels(4, 5, 3)}, {"height": 5}, {"height": -4}, {"height": 0}, {"width": 7}, {"width": -6}, {"width": 2**61},
        {"height": 2**62, "width": 4}, {"taps": 0}, {"taps": -2}, {"taps": 3}, {"taps": 2**62},
        {"columns": np.array([[0, 3], [6, 16]], np.int32)}, {"columns": np.array([[-1, 3], [6, 15]], np.int32)},
        {"columns": np.zeros((0, 2), np.int32)}, {"columns": np.zeros((3, 2), np.int32)},
        {"column_weights": np.zeros((1, 2), np.float32)}, {"rows": np.array([0, 1, 4], np.int32)},
        {"rows": np.array([0, -1, 3], np.int32)}, {"rows": np.array([0, 1], np.int32)},
        {"row_weights": np.zeros(2, np.float32)},
        {"row_ends": np.array([2, 4], np.int32)}, {"row_ends": np.array([2, 2], np.int32)},
        {"row_ends": np.array([0, 3], np.int32)}, {"row_ends": np.array([3, 2], np.int32)},
        {"row_ends": np.array([3], np.int32)}, {"out": np.zeros((2, 1, 3), np.uint8)},
    ],
    "line_sums": [
        {"pixels": levels(4, 5)}, {"height": 5}, {"height": 0}, {"height": -4}, {"width": 7}, {"width": 0}, {"width": -6},
        {"height": 2**62, "width": 4}, {"width": 2**62}, {"lines": np.array([0, 1, 4], np.int32)},
        {"lines": np.array([0, -1, 3], np.int32)}, {"lines": np.array([0, 1], np.int32)}, {"weights": np.ones(2, np.uint16)},
        {"weights": np.array([1, 258, 2], np.uint16)}, {"ends": np.array([2, 4], np.int32)},
        {"ends": np.array([3, 2], np.int32)}, {"ends": np.array([-1, 3], np.int32)}, {"ends": np.array([3], np.int32)},
        {"out": np.zeros((2, 5), np.uint32)}, {"out": np.zeros((3, 6), np.uint32)},
        {"lines": np.zeros(65_540, np.int32), "weights": np.full(65_540, 257, np.uint16),
         "ends": np.array([65_540, 65_540], np.int32)},
    ],
    "squeeze": [
        {"lines": levels(3, 7)}, {"count": 4}, {"count": 0}, {"count": -3}, {"length": 9}, {"length": -8},
        {"count": 2**62, "length": 4}, {"first": np.array([0, 6], np.int32)}, {"first": np.array([-1, 5], np.int32)},
        {"first": np.array([0], np.int32)}, {"first": np.array([], np.int32)}, {"taps": 2}, {"taps": 0}, {"taps": -3},
        {"taps": 2**62}, {"weights": np.zeros((2, 2, 2), np.int16)}, {"out": np.zeros((3, 3), np.uint8)},
        {"weights": np.array([[[0, 0, 0]] * 2, [[0, -1, 0]] * 2], np.int16)},
        {"weights": np.array([[[2000, 60, 0]] * 2, [[0, 0, 0]] * 2], np.int16)},
        {"weights": np.array([[[-2000, 60, 0]] * 2, [[0, 0, 0]] * 2], np.int16)},
        {"lines": levels(3, 2), "length": 2},
    ],
    "luma": [{"rgb": levels(4, 5, 3)}, {"rgb": levels(73)}, {"out": np.zeros(23, np.uint8)}, {"out": np.zeros(25, np.uint8)}],
}  # fmt: skip


def test_good_arguments_are_taken():
    for name, good in GOOD.items():
        getattr(loops, name)(*good.values())
    pixels, lines = GOOD["shrink"]["rgb"].astype(int), GOOD["line_sums"]["pixels"].astype(int)
    assert np.array_equal(GOOD["shrink"]["out"][0, 0], np.round((pixels[:2] / 2)[:, [0, 1]].sum(axis=(0, 1)) / 2))
    assert np.array_equal(GOOD["line_sums"]["out"], [lines[0] + 257 * lines[1], 2 * lines[3]])
    weight, squeezed = np.array([256 << 12, (512 << 12) + 4095, (256 << 12) + 1]), GOOD["squeeze"]["lines"].astype(int)
    expected = [(squeezed[:, first : first + 3] @ weight + (1 << 21)) >> 22 for first in (0, 5)]
    assert np.array_equal(GOOD["squeeze"]["out"], np.transpose(expected))


@pytest.mark.parametrize(("name", "bad"), [(name, bad) for name, all_bad in BAD.items() for bad in all_bad])
def test_bad_arguments_are_refused(name, bad):
    with pytest.raises(ValueError, match="do not fit each other"):
        getattr(loops, name)(*(GOOD[name] | bad).values())


@pytest.mark.parametrize("name", GOOD)
def test_a_result_that_cannot_be_written_is_refused(name):
    closed = np.zeros_like(GOOD[name]["out"])
    closed.flags.writeable = False
    with pytest.raises(TypeError, match="read-write"):
        getattr(loops, name)(*(GOOD[name] | {"out": closed}).values())
