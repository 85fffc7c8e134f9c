import io
import sys

import iscc_lib
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import encoded, photograph
from PIL import Image, ImageOps

from fairshard.schemas.errors import MissingExtra
from fairshard.udfs import iscc
from fairshard.udfs.decoding import decode

PICTURE = photograph(300, 400)


def units(data):
    return iscc.picture_units(data, decode(data))


def bits(code, unit):
    return iscc.iscc_bits(pa.array([code], pa.string()), pa.array([unit]))[0].as_py()


def unit_codes(data):
    """The units of a file by iscc-lib alone, from a picture that needs no preparation."""
    grey = Image.open(io.BytesIO(data)).convert("L")
    pixels = grey.resize((32, 32), Image.Resampling.BICUBIC).tobytes()
    return [iscc_lib.gen_image_code_v0(pixels, 64)["iscc"], iscc_lib.gen_data_code_v0(data, 64)["iscc"],
            iscc_lib.gen_instance_code_v0(data, 64)["iscc"]]  # fmt: skip


def test_units_are_those_of_a_composite_code():
    data = encoded(PICTURE, "PNG")
    whole = iscc.canonical_iscc(iscc_lib.gen_iscc_code_v0(unit_codes(data))["iscc"].lower())
    assert (bits(whole, "image"), bits(whole, "instance")) == units(data)


def test_single_and_longer_units():
    data = encoded(PICTURE, "PNG")
    look, file = units(data)
    short = unit_codes(data)
    long = iscc_lib.gen_instance_code_v0(data, 256)["iscc"]
    assert (bits(iscc.canonical_iscc(short[0]), "image"), bits(iscc.canonical_iscc(short[0]), "instance")) == (
        look,
        None,
    )
    assert bits(iscc.canonical_iscc(long), "instance") == file
    assert bits(None, "image") is None


def test_the_look_survives_another_format_a_turn_in_exif_a_border_and_transparency():
    look = units(encoded(PICTURE, "PNG"))[0]
    small = PICTURE.resize((200, 150), Image.Resampling.LANCZOS)
    clear = PICTURE.convert("RGBA")
    clear.putalpha(Image.new("L", clear.size, 255))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(PICTURE.rotate(90, expand=True), "PNG", exif=exif)
    found = [
        encoded(small, "JPEG", quality=60),
        encoded(ImageOps.expand(PICTURE, 40, "red"), "PNG"),
        encoded(clear, "PNG"),
        turned,
    ]
    assert [((units(data)[0] ^ look) & (2**64 - 1)).bit_count() <= 4 for data in found] == [True] * 4
    assert units(found[1])[0] == units(found[3])[0] == look
    assert ((units(encoded(PICTURE.rotate(180), "PNG"))[0] ^ look) & (2**64 - 1)).bit_count() > 8


def test_one_colour_has_codes_too():
    assert (
        units(encoded(Image.new("RGB", (9, 9), "red"), "PNG"))[0]
        == units(encoded(Image.new("RGB", (5, 7), "red"), "PNG"))[0]
    )


@pytest.mark.parametrize("text", [
    "", "ISCC:", "nonsense", "ISCC:KEAYAAAA", "a" * 500, "\x00", "ISCC:GAAXVX4KSZTNNNKS",
    iscc_lib.gen_instance_code_v0(b"x", 32)["iscc"], iscc_lib.gen_text_code_v0("some text", 64)["iscc"],
])  # fmt: skip
def test_codes_that_tell_no_picture_are_none(text):
    assert iscc.canonical_iscc(text) is None


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "iscc_lib", None)
    with pytest.raises(MissingExtra, match=r"fairshard\[iscc\]"):
        iscc.library()


LETTERS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", max_size=120)


@given(
    st.one_of(
        st.text(max_size=80),
        LETTERS,
        st.tuples(st.sampled_from(["KE", "KU", "EE", "IA", "IU", "KA"]), LETTERS).map("".join),
    )
)
def test_any_text_is_a_code_or_none(text):
    code = iscc.canonical_iscc(text)
    assert code is None or iscc.canonical_iscc(code) == code
    assert code is None or {bits(code, "image"), bits(code, "instance")} != {None}
