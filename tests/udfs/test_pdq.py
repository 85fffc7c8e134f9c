import numpy as np
import pdqhash
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loops import use_loops, with_and_without_loops
from pictures import KINDS, all_pictures, noise, photograph, symmetric

from fairshard.udfs import pdq as module
from fairshard.udfs import pdq_exact as exact
from fairshard.udfs.pdq import pdq, pdq_dihedral
from fairshard.udfs.pdq_quick import quick_grid


def _packed(vector):
    return np.packbits(vector).tobytes()


def _theirs(rgb):
    vector, quality = pdqhash.compute(rgb)
    return _packed(vector), quality


def test_pdq_is_pdqhash():
    pixels = [np.asarray(picture) for picture in all_pictures()]
    assert [pdq(rgb) for rgb in pixels] == [_theirs(rgb) for rgb in pixels]


def test_pdq_dihedral_is_pdqhash():
    pixels = [np.asarray(picture) for picture in all_pictures()]
    theirs = [[_packed(vector) for vector in pdqhash.compute_dihedral(rgb)[0]] for rgb in pixels]
    assert [pdq_dihedral(rgb) for rgb in pixels] == theirs


@settings(max_examples=60)
@given(st.sampled_from(KINDS), st.integers(5, 700), st.integers(5, 700), st.integers(0, 9))
def test_pdq_is_pdqhash_at_any_size(kind, height, width, seed):
    rgb = np.asarray(kind(height, width, seed))
    assert pdq(rgb) == _theirs(rgb)


@pytest.mark.parametrize("size", [(5, 4000), (4000, 5), (2500, 1700), (70, 3500), (1100, 1100)])
def test_pdq_is_pdqhash_of_large_and_long_pictures(size):
    rgb = np.asarray(photograph(*size, seed=7))
    assert pdq(rgb) == _theirs(rgb)


@pytest.mark.parametrize("size", [(5, 5), (64, 65), (127, 129), (480, 640), (333, 500), (1300, 70), (70, 5000)])
@with_and_without_loops
def test_quick_grid_is_the_exact_one_but_for_rounding(monkeypatch, compiled, size):
    """Noise of black and white, where a wrong weight shows most."""
    use_loops(monkeypatch, compiled, "pdq_quick")
    rgb = np.asarray(noise(*size).convert("1").convert("RGB"))
    assert np.abs(quick_grid(rgb) - exact.exact_grid(rgb)).max() < module._LEVEL_ERROR


def test_pdq_of_views():
    rgb = np.asarray(photograph(90, 131))
    assert pdq(rgb[::-1, ::2]) == _theirs(rgb[::-1, ::2].copy())


def test_pdq_as_threatexchange_prints_it():
    code, quality = pdq(np.asarray(photograph(100, 120, seed=3)))
    vector, _ = pdqhash.compute(np.asarray(photograph(100, 120, seed=3)))
    assert (code.hex(), quality) == (f"{int(''.join(map(str, vector)), 2):064x}", 100)


@pytest.mark.parametrize("size", [(4, 4), (4, 900), (900, 4), (1, 1)])
def test_pdq_of_next_to_nothing(size):
    assert pdq(np.asarray(noise(*size))) == (bytes(32), 0)
    assert pdq_dihedral(np.asarray(noise(*size))) == [bytes(32)] * 8


def test_exact_path_is_pdqhash_to_the_last_bit():
    """Not only the bits: every float32 coefficient."""
    for picture in all_pictures():
        rgb = np.asarray(picture)
        if min(rgb.shape[:2]) >= 5 and rgb.shape[:2] != (64, 64):
            theirs = pdqhash.compute_float(rgb)[0][::-1].reshape(16, 16)
            assert np.array_equal(exact.exact_code(exact.exact_grid(rgb)), theirs), rgb.shape


def test_luma_is_pdqhash_for_all_colours():
    green, blue = np.meshgrid(np.arange(256), np.arange(256), indexing="ij")
    for red in range(0, 256, 5):
        rgb = np.stack([np.full_like(green, red), green, blue], axis=2).astype(np.uint8)
        theirs = (rgb[:, :, 0] * 0.299 + rgb[:, :, 1] * 0.587 + rgb[:, :, 2] * 0.114).astype(np.float32)
        assert np.array_equal(exact.luma_of(rgb), theirs)


def test_quick_path_error():
    """What decides bits, near the median, the quick path has right to less than half of what the module allows it."""
    worst_code = worst_grid = 0.0
    pictures = [*all_pictures(), *(photograph(900, 1200, seed, detail=3) for seed in range(4))]
    for rgb in map(np.asarray, pictures):
        if min(rgb.shape[:2]) >= 5:
            scale = module._error_scale(*rgb.shape[:2])
            quick, slow = quick_grid(rgb), exact.exact_grid(rgb)
            code = exact.exact_code(slow)
            off = np.abs(module._quick_code(quick) - code)[np.abs(code - np.median(code)) < 1]
            worst_code = max(worst_code, off.max() / scale)
            worst_grid = max(worst_grid, np.abs(quick - slow).max() / scale)
    assert 0 < worst_code < module._COEFFICIENT_ERROR / 2
    assert 0 < worst_grid < module._LEVEL_ERROR / 3


def test_quick_path_alone_would_err():
    """Why there is an exact path: the bits of a symmetric picture hang on rounding."""
    rgb = np.asarray(symmetric(240, 320, seed=5))
    codes = module._quick_code(quick_grid(rgb))[None]
    assert module._bits(codes, module._middle(codes))[0] != _theirs(rgb)[0]


@pytest.mark.parametrize(("length", "lanes"), [(5, 3), (64, 9), (129, 5), (1000, 63), (4001, 2)])
def test_sums_by_step_and_by_lane_agree(length, lanes):
    values = np.random.default_rng(1).random((length, lanes), np.float32) * 255
    window = exact.window_of(length)
    assert np.array_equal(exact._sums_by_step(values, *window), exact._sums_by_lane(values, *window))
