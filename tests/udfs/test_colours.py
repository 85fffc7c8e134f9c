import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import use_loops, with_and_without_loops
from pictures import drawing, encoded, photograph
from PIL import Image, ImageDraw

from fairshard.udfs import colours as module
from fairshard.udfs.colours import colour_distance, colours
from fairshard.udfs.hashing import fingerprint


def distance(a, b, spared=0):
    sides = (pa.array([side], pa.binary()) for side in (a, b))
    return colour_distance(*sides, pa.array([spared], pa.int32()))[0].as_py()


def cells(level, other=0, at=()):
    """Grey cells of one level, but for some of another."""
    return bytes(np.repeat([other if cell in at else level for cell in range(256)], 3).astype(np.uint8))


def of(picture, form="PNG", **options):
    return fingerprint(encoded(picture, form, **options)).colours


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (16, 16), (17, 33), (97, 131), (400, 300)])
@pytest.mark.parametrize("transparent", [False, True])
@with_and_without_loops
def test_colours_are_means_over_area_on_white(monkeypatch, compiled, height, width, transparent):
    """A pixel on the edge of two cells counts for each by its share: repeated sixteen times, none is."""
    use_loops(monkeypatch, compiled, "colours")
    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    alpha = np.random.default_rng(1).integers(0, 256, (height, width), np.uint8) if transparent else None
    cover = np.full((height, width, 1), 255) if alpha is None else alpha[..., None].astype(int)
    shown = rgb * cover + 255 * (255 - cover)
    fine = shown.repeat(16, axis=0).repeat(16, axis=1).reshape(16, height, 16, width, 3)
    expected = (fine.sum((1, 3)) * 2 + 255 * height * width) // (255 * height * width * 2)  # halves are rounded up
    assert np.frombuffer(colours(rgb, alpha), np.uint8).tolist() == expected.ravel().tolist()


def test_copies_are_near_and_other_pictures_are_far():
    picture = photograph(300, 400)
    red, green, blue = picture.split()
    logo = picture.copy()
    ImageDraw.Draw(logo).ellipse((300, 200, 360, 260), fill=(200, 30, 30))
    copies = (
        of(picture.resize((133, 100))),
        of(picture.point(lambda level: level * 0.8)),
        of(picture, "JPEG", quality=30),
    )
    assert max(distance(of(picture), copy) for copy in copies) <= 8
    assert min(distance(of(picture), of(other)) for other in (logo, Image.merge("RGB", (blue, green, red)))) > 24


def test_an_edge_forgives_and_brightness_is_evened_out():
    assert distance(cells(100), cells(100, 0, at=[99])) == 100  # no edge there in the other picture
    edge, moved = ([cell for cell in range(256) if cell % 16 < width] for width in (8, 9))
    assert distance(cells(0, 200, at=edge), cells(0, 200, at=moved)) == 40  # a fifth
    assert [distance(cells(100), cells(level)) for level in (60, 77, 100, 120, 130, 150)] == [22, 1, 0, 0, 0, 20]
    assert distance(cells(250), cells(255)) == 0  # brighter than white is white


def test_cells_that_differ_most_are_spared():
    logo = cells(100, 0, at=[3, 4, 5])
    assert [distance(cells(100), logo, spared) for spared in (0, 2, 3)] == [100, 100, 0]


def test_unknown_is_null():
    a = pa.array([None, b"short", cells(1), cells(1)], pa.binary())
    b = pa.array([cells(1), cells(1), bytes(769), cells(2)], pa.binary())
    spared = pa.array([0, 0, 0, None], pa.int32())
    assert colour_distance(a, b, spared).to_pylist() == [None, None, None, 1]
    assert colour_distance(a[2:], b[2:], spared[2:]).to_pylist() == [None, 1]
    assert colour_distance(a[:0], b[:0], spared[:0]).to_pylist() == []


SIGNATURES = st.binary(min_size=768, max_size=768)


@given(SIGNATURES, SIGNATURES, st.integers(0, 254))
def test_it_is_symmetric_zero_of_itself_and_less_where_more_is_spared(a, b, spared):
    assert 255 >= distance(a, b, spared) == distance(b, a, spared) >= distance(a, b, spared + 1) >= 0
    assert distance(a, a, spared) == 0


@given(SIGNATURES, SIGNATURES, st.sampled_from([0, 1, 16, 255]))
def test_it_is_what_a_loop_over_cells_finds(a, b, spared):
    one, other = (np.frombuffer(side, np.uint8).reshape(16, 16, 3).astype(float) for side in (a, b))

    def contrast(picture, row, column):
        near = picture[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        return (near.max((0, 1)) - near.min((0, 1))).max()

    weight = [[1 + min(contrast(one, r, c), contrast(other, r, c)) / 50 for c in range(16)] for r in range(16)]
    brightened = [
        (np.minimum(x * gain, 255), y) for x, y in ((one, other), (other, one)) for gain in (1, 1.1, 1.2, 1.3)
    ]
    exact = min(np.sort((np.abs(x - y).max(2) / weight).ravel())[255 - spared] for x, y in brightened)
    assert exact - 2e-3 <= distance(a, b, spared) < exact + 1


def test_of_many_pairs_each_is_its_own():
    many = np.random.default_rng(0).integers(0, 256, (2, 1_000, 768), np.uint8)
    a, b = (pa.array([one.tobytes() for one in side], pa.binary()) for side in many)
    found = colour_distance(a, b, pa.array(np.arange(1_000) % 256, pa.int32()))
    for place in (0, 127, 128, 999):
        assert found[place].as_py() == distance(a[place].as_py(), b[place].as_py(), place % 256)


def test_what_transparency_hides_is_not_seen():
    picture = drawing(40, 60)
    assert of(picture) == colours(np.asarray(picture.convert("RGB")))
    page = picture.copy()
    page.paste("white", (0, 0, 30, 40))
    picture.putalpha(Image.fromarray(np.repeat([[0] * 30 + [255] * 30], 40, axis=0).astype(np.uint8)))
    assert of(picture) == of(page)


def test_a_transparent_picture_that_shows_nothing_on_white_has_none():
    """Drawings in white on nothing look all the same there."""
    blank = Image.new("RGBA", (64, 64), (255, 255, 255, 0))
    ImageDraw.Draw(blank).text((5, 5), "white", (255, 255, 255, 255))
    assert of(blank) is None
    assert of(blank.convert("RGB")) == bytes([255] * 768)


def test_no_side_is_kept_that_takes_much_memory():
    """A hostile site could have any number of them kept."""
    module._kept_shares.cache_clear()
    module._lines.cache_clear()
    flat = np.full((1, 20_000, 3), 7, np.uint8)
    assert colours(flat) == bytes([7]) * 768
    assert colours(np.full((8, 9, 3), 7, np.uint8)) == bytes([7]) * 768
    assert colours(flat.swapaxes(0, 1)) == bytes([7]) * 768
    assert module._kept_shares.cache_info().currsize == 3  # of 1, 8 and 9 pixels
