import imagehash
import numpy as np
import pytest
import scipy.fftpack
from hypothesis import given
from hypothesis import strategies as st
from loops import use_loops, with_and_without_loops
from pictures import MODES, SIZES, all_pictures, in_mode, noise, photograph
from PIL import Image

from fairshard.udfs import phash as module
from fairshard.udfs.phash import phash, phash_hex


def test_phash_is_imagehash():
    pictures = [picture.convert("L") for picture in all_pictures()]
    ours = [phash_hex(phash(np.asarray(picture))) for picture in pictures]
    assert ours == [str(imagehash.phash(picture)) for picture in pictures]


@pytest.mark.parametrize("mode", MODES)
def test_phash_is_imagehash_in_every_mode(mode):
    picture = in_mode(photograph(211, 300), mode)
    assert phash_hex(phash(np.asarray(picture.convert("L")))) == str(imagehash.phash(picture))


@pytest.mark.parametrize("size", [*SIZES, (50, 8192), (50, 8193), (8193, 50), (97, 65), (96, 65), (98, 65)])
@with_and_without_loops
def test_shrunk_is_pillow(monkeypatch, compiled, size):
    """Also black and white alone, whose overshoot the filter has to clip."""
    use_loops(monkeypatch, compiled, "phash")
    for picture in (noise(*size).convert("L"), noise(*size).convert("1").convert("L")):
        theirs = picture.resize((32, 32), Image.Resampling.LANCZOS)
        assert np.array_equal(module._shrunk(np.asarray(picture)), np.asarray(theirs))


def test_dct_is_scipy_to_the_last_bit():
    values = np.random.default_rng(0).integers(0, 256, (32, 500)).astype(np.float64)
    assert np.array_equal(module._dct(values), scipy.fftpack.dct(values, axis=0))


@given(st.integers(-(2**63), 2**63 - 1))
def test_phash_hex_round_trip(value):
    text = phash_hex(value)
    assert len(text) == 16
    assert int.from_bytes(bytes.fromhex(text), "big", signed=True) == value
