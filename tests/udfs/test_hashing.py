import hashlib
import io

import imagehash
import numpy as np
import pdqhash
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import drawing, encoded, every_file, photograph
from PIL import Image

from fairshard.udfs.hashing import fingerprint, pdq_distance, phash_distance, phash_hex

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.parametrize("draw", [drawing, photograph])
def test_fingerprint_is_that_of_the_reference_libraries(draw):
    for name, data in every_file(draw(97, 131)).items():
        _check_fingerprint(data, f"image/{name.split('-')[1].lower()}")


def _check_fingerprint(data, mime):
    vector, quality = pdqhash.compute(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    ours = fingerprint(data)
    assert phash_hex(ours.phash) == str(imagehash.phash(Image.open(io.BytesIO(data))))
    assert (ours.pdq, ours.pdq_quality) == (np.packbits(vector).tobytes(), quality)
    assert ours.sha256 == hashlib.sha256(data).hexdigest()
    assert ours.md5 == hashlib.md5(data).hexdigest()
    assert (ours.size_bytes, ours.mime) == (len(data), mime)
    assert (ours.width_px, ours.height_px, ours.error) == (131, 97, None)


def test_fingerprint_ignores_exif_and_size_does_not():
    exif = Image.Exif()
    exif[0x0112] = 6
    stored, turned = (
        fingerprint(encoded(drawing(60, 90), "PNG")),
        fingerprint(encoded(drawing(60, 90), "PNG", exif=exif)),
    )
    assert (turned.phash, turned.pdq) == (stored.phash, stored.pdq)
    assert (turned.width_px, turned.height_px) == (60, 90)


def test_fingerprint_in_all_orientations():
    picture = photograph(480, 640, seed=4)
    every = fingerprint(encoded(picture, "PNG"), dihedral=True)
    assert every.pdq_dihedral is not None and every.pdq_dihedral[0] == every.pdq
    mirrored = fingerprint(encoded(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "PNG")).pdq
    distances = pdq_distance(pa.array(every.pdq_dihedral), pa.array([mirrored] * 8)).to_pylist()
    assert min(distances) <= 31 < distances[0]


def test_fingerprint_of_what_cannot_be_decoded():
    page = fingerprint(b"<html>")
    assert (page.error, page.mime, page.size_bytes, page.md5) == (
        "not_an_image", None, 6, hashlib.md5(b"<html>").hexdigest()
    )  # fmt: skip
    assert [page.width_px, page.height_px, page.phash, page.pdq, page.pdq_quality, page.decoded] == [None] * 6
    cut = fingerprint(encoded(drawing(60, 90), "PNG")[:-30])
    assert (cut.error, cut.mime) == ("truncated", "image/png")


def test_phash_distance():
    a = pa.array([0, -1, None, 5, 2**63 - 1], pa.int64())
    b = pa.array([0, 0, 1, None, -(2**63)], pa.int64())
    assert phash_distance(a, b).to_pylist() == [0, 64, None, None, 64]


def test_pdq_distance():
    a = pa.array([bytes(32), b"\xff" * 32, None, bytes(31), b"\x01" + bytes(31), b""], pa.binary())
    b = pa.array([bytes(32), bytes(32), bytes(32), bytes(32), bytes(31) + b"\x03", b""], pa.binary())
    assert pdq_distance(a, b).to_pylist() == [0, 256, None, None, 3, None]


def test_distances_of_no_rows():
    assert phash_distance(pa.array([], pa.int64()), pa.array([], pa.int64())).to_pylist() == []
    assert pdq_distance(pa.array([], pa.binary()), pa.array([], pa.binary())).to_pylist() == []


def test_distances_of_chunks_and_slices():
    hashes = pa.array([bytes([row % 256]) * 32 for row in range(5000)], pa.binary())
    chunked = pa.chunked_array([hashes[7:2500], hashes[2500:]])
    expected = [32 * ((row % 256) ^ 7).bit_count() for row in range(7, 5000)]
    assert pdq_distance(chunked, pa.array([b"\x07" * 32] * 4993)).to_pylist() == expected
    numbers = pa.array(range(5000), pa.int64())
    assert phash_distance(numbers[3:], numbers[:-3]).to_pylist() == [(n ^ (n + 3)).bit_count() for n in range(4997)]


def test_pdq_distance_of_fixed_size_binary():
    fixed = pa.array([bytes(32), None, b"\xff" * 32], pa.binary(32))
    assert pdq_distance.function(fixed[1:], fixed[:2]).to_pylist() == [None, None]
    assert pdq_distance.function(fixed[::2], fixed[:2]).to_pylist()[0] == 0


_HASHES = st.lists(st.none() | st.binary(min_size=32, max_size=32), min_size=1, max_size=9)


@given(_HASHES, st.randoms())
def test_pdq_distance_counts_bits(hashes, random):
    others = random.sample(hashes, len(hashes))
    expected = [
        None if a is None or b is None else sum((x ^ y).bit_count() for x, y in zip(a, b, strict=True))
        for a, b in zip(hashes, others, strict=True)
    ]
    assert pdq_distance(pa.array(hashes, pa.binary()), pa.array(others, pa.binary())).to_pylist() == expected
