import io
import pickle
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loops import use_loops, with_and_without_loops
from pictures import FORMATS, drawing, encoded, every_file, in_mode, photograph
from PIL import Image, ImageOps

from fairshard.udfs import decoding
from fairshard.udfs.decoding import REASONS, Decoded, Undecodable, decode, media_type

PICTURE = drawing(31, 40)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")


def _reason(data, **options):
    with pytest.raises(Undecodable) as caught:
        decode(data, **options)
    return caught.value.reason


def _png(width, height, *chunks):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in [(b"IHDR", header), *chunks, (b"IEND", b"")])


@pytest.mark.parametrize(("name", "data"), every_file(PICTURE).items())
def test_pixels_are_pillows(name, data):
    picture = decode(data)
    theirs = Image.open(io.BytesIO(data))
    assert np.array_equal(picture.rgb, np.asarray(theirs.convert("RGB")))
    assert np.array_equal(picture.luma, np.asarray(theirs.convert("L")))
    assert (picture.width_px, picture.height_px) == (40, 31)
    assert picture.mime == media_type(data) == f"image/{name.split('-')[1].lower()}"
    if theirs.has_transparency_data:
        assert np.array_equal(picture.alpha, np.asarray(theirs.convert("RGBA"))[..., 3])
    else:
        assert picture.alpha is None


@pytest.mark.parametrize("opencv", ["with", "without"])
@pytest.mark.parametrize("side", [1, 3, 2100])  # Pillow keeps the last in several blocks
def test_pixels_are_the_same_without_opencv(monkeypatch, opencv, side):
    if opencv == "without":
        monkeypatch.setattr(decoding, "_opencv", lambda: None)
    noise = np.random.default_rng(side).integers(0, 256, (2000, side, 3), np.uint8)
    picture = decode(encoded(Image.fromarray(noise), "PNG"))
    assert np.array_equal(picture.rgb, noise)
    assert picture.rgb.flags.c_contiguous


JPEGS = {
    "444": {"subsampling": 0}, "422": {"subsampling": 1}, "420": {"subsampling": 2}, "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 3}, "low quality": {"quality": 3}, "best": {"quality": 100},
    "kept as RGB": {"keep_rgb": True}, "optimised": {"optimize": True},
}  # fmt: skip


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (333, 250), (640, 479)])
@pytest.mark.parametrize("kind", JPEGS)
@with_and_without_loops
def test_faultless_jpegs_are_read_by_simplejpeg_as_pillow_reads_them(monkeypatch, compiled, kind, size):
    pytest.importorskip("simplejpeg")
    use_loops(monkeypatch, compiled, "decoding")
    data = encoded(photograph(*size), "JPEG", **JPEGS[kind])
    quick = decoding._faultless(data, Image.open(io.BytesIO(data)))
    assert quick is not None
    picture = decode(data)
    monkeypatch.setattr(decoding, "simplejpeg", None)
    theirs = decode(data)
    assert np.array_equal(quick, theirs.rgb)
    assert np.array_equal(picture.rgb, theirs.rgb)
    assert np.array_equal(picture.luma, theirs.luma)
    assert picture == theirs


def test_jpegs_with_a_fault_are_pillows_to_judge():
    pytest.importorskip("simplejpeg")
    data = encoded(photograph(64, 48), "JPEG")
    damaged = bytearray(data)
    damaged[len(data) // 2 : len(data) // 2 + 4] = b"\xff\xd3\xff\xd5"  # restarts where there are none
    for broken in (data[: len(data) // 2], bytes(damaged), encoded(photograph(64, 48).convert("CMYK"), "JPEG")):
        assert decoding._faultless(broken, Image.open(io.BytesIO(broken))) is None
    assert _reason(data[: len(data) // 2]) == "truncated"
    assert np.array_equal(decode(bytes(damaged)).rgb, np.asarray(Image.open(io.BytesIO(damaged))))


def test_opaque_alpha_is_no_alpha():
    assert decode(encoded(PICTURE.convert("RGBA"), "PNG")).alpha is None


@pytest.mark.parametrize(
    ("reason", "data"),
    [
        ("empty", b""),
        ("not_an_image", b"<!DOCTYPE html><title>404</title>"),
        ("not_an_image", b"\x00" * 50),
        ("not_an_image", encoded(PICTURE, "PDF")),
        ("unsupported", b"%!PS-Adobe-3.0 EPSF-3.0\n"),
        ("unsupported", b"<?xml version='1.0'?>\n<!-- drawn -->\n<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("unsupported", encoded(PICTURE, "ICO")),
        ("unsupported", encoded(PICTURE, "PPM")),
        ("unsupported", encoded(PICTURE.convert("LAB"), "TIFF")),
        ("too_many_pixels", _png(30_000, 30_000, (b"IDAT", zlib.compress(bytes(3_000_000))))),
        ("too_many_pixels", _png(12_000, 10_000)),  # no pixels in it: had it been decoded, it would be truncated
        ("too_many_pixels", _png(1_100_000, 2)),
        ("zero_area", _png(0, 5)),
        ("zero_area", _png(5, 0)),
        ("corrupt", b"\xff\xd8\xff" + bytes(100) + b"\xff\xd9"),
        ("corrupt", b"GIF89a" + bytes(20) + b";"),
        ("corrupt", _png(5, 5, (b"IDAT", b"not deflated"))),
    ],
)
def test_reasons(reason, data):
    assert _reason(data) == reason


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "AVIF"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated(kind, share):
    data = encoded(photograph(80, 80), kind)
    assert _reason(data[: int(len(data) * share)]) == "truncated"


def test_header_only_is_truncated():
    assert [_reason(encoded(PICTURE, kind)[:24]) for kind in ("JPEG", "PNG", "GIF")] == ["truncated"] * 3


def test_too_many_pixels_by_choice():
    data = encoded(PICTURE, "PNG")
    assert _reason(data, max_pixels=31 * 40 - 1) == "too_many_pixels"
    assert decode(data, max_pixels=31 * 40).width_px == 40


def test_too_many_scans():
    data = encoded(Image.new("L", (4000, 4000)), "JPEG", progressive=True)
    scan = data.rindex(b"\xff\xda")
    assert decode(data).width_px == 4000
    assert _reason(data[:-2] + data[scan:-2] * 600 + b"\xff\xd9") == "too_many_pixels"


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind not in ("GIF", "BMP")])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(PICTURE, kind, exif=exif)
    picture = decode(data)
    shown = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    assert np.array_equal(picture.upright(), np.asarray(shown))
    assert (picture.width_px, picture.height_px) == shown.size
    assert np.array_equal(picture.rgb, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("exif", [b"Exif\0\0MM\0*\0", b"Exif\0\0" + bytes(40), b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"])
def test_damaged_exif_turns_nothing(exif):
    assert decode(encoded(PICTURE, "JPEG", exif=exif)).exif_orientation == 1


def test_impossible_orientation_turns_nothing():
    exif = Image.Exif()
    exif[0x0112] = 9
    assert decode(encoded(PICTURE, "PNG", exif=exif)).exif_orientation == 1


def test_upright_keeps_alpha():
    exif = Image.Exif()
    exif[0x0112] = 6
    clear = in_mode(PICTURE, "RGBA")
    assert np.array_equal(decode(encoded(clear, "PNG", exif=exif)).upright(), np.rot90(np.asarray(clear), -1))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_first_frame_counts(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(PICTURE, kind, save_all=True, append_images=[drawing(31, 40, seed=9)], **options)
    alone = encoded(PICTURE, "JPEG" if kind == "MPO" else kind, **options)
    assert np.array_equal(decode(data).rgb, decode(alone).rgb)
    assert decode(data).mime == media_type(alone)


@pytest.mark.parametrize(
    ("head", "mime"),
    [
        (b"\x00\x00\x00\x20ftypavif\x00\x00\x00\x00", "image/avif"),
        (b"\x00\x00\x00\x20ftypmif1\x00\x00\x00\x00mif1avifmiaf", "image/avif"),
        (b"\x00\x00\x00\x20ftypheic\x00\x00\x00\x00mif1heic", "image/heic"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "image/jxl"),
        (b"\xef\xbb\xbf \n<SVG >", "image/svg+xml"),
        (b"RIFF\n\n\n\nWEBPVP8 ", "image/webp"),
        (b"RIFF\x00\x00\x00\x00WAVE", None),
        (b"{}", None),
    ],
)
def test_media_type(head, mime):
    assert media_type(head) == mime


def test_undecodable_travels():
    error = pickle.loads(pickle.dumps(Undecodable("truncated", "at 10")))
    assert (error.reason, error.detail, str(error)) == ("truncated", "at 10", "truncated: at 10")


SEEDS = [
    encoded(in_mode(PICTURE, mode), kind, **options)
    for mode, kind, options in [
        ("RGB", "JPEG", {}), ("CMYK", "JPEG", {"progressive": True}), ("RGB", "PNG", {}), ("P", "PNG", {}),
        ("LA", "PNG", {}), ("I;16", "PNG", {}), ("P", "GIF", {}), ("RGBA", "WEBP", {}), ("RGB", "BMP", {}),
        ("1", "BMP", {}), ("RGB", "TIFF", {"compression": "tiff_lzw"}), ("YCbCr", "TIFF", {}),
        ("F", "TIFF", {"compression": "tiff_adobe_deflate"}), ("L", "TIFF", {"compression": "packbits"}),
    ]
] + [encoded(PICTURE, kind) for kind in FORMATS if kind == "AVIF"]  # fmt: skip


@settings(max_examples=1000)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4), st.booleans()), max_size=6),
    st.floats(0, 1),
)
def test_hostile_bytes_are_refused_or_decoded(data, edits, end):
    """Bytes overwritten or put in, mostly near the header, and perhaps an early end: nothing else may come out."""
    for place, new, put_in in edits:
        at = int(place**3 * len(data))
        data = data[:at] + new + data[at + (0 if put_in else len(new)) :]
    data = data[: max(1, int(len(data) * (1 - end**6)))]
    try:
        picture = decode(data, max_pixels=1_000_000)
    except Undecodable as error:
        assert error.reason in REASONS
    else:
        assert isinstance(picture, Decoded)
        assert picture.rgb.shape == (*picture.luma.shape, 3)
        assert picture.upright().shape[:2] == (picture.height_px, picture.width_px)
