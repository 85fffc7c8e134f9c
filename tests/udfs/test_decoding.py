import io
import pickle
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loops import use_loops, with_and_without_loops
from pictures import (
    ADOBE_RGB,
    FORMATS,
    SRGB,
    cmyk_profile,
    drawing,
    encoded,
    every_file,
    grey_profile,
    icc_profile,
    in_mode,
    photograph,
    rgb_profile,
)
from PIL import Image, ImageCms, ImageOps

from fairshard.udfs import decoding
from fairshard.udfs.decoding import REASONS, Decoded, Undecodable, decode, media_type

PICTURE = drawing(31, 40)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")


def _reason(data, **options):
    with pytest.raises(Undecodable) as caught:
        decode(data, **options)
    return caught.value.reason


def _png(width, height, *chunks, depth=1, colour=0):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
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


LEVELS = np.array([[0, 255, 256, 0x1234, 0x7FFF, 0x80FF, 0xFEFF, 0xFFFF]], np.uint16)
EIGHT_BITS = [[0, 0, 1, 0x12, 0x7F, 0x80, 0xFE, 0xFF]]


def _tiff(order, bits, pixels, *, white=1, deflated=False):
    """One line of grey."""
    data = zlib.compress(pixels) if deflated else pixels
    tags = {
        256: len(pixels) * 8 // bits, 257: 1, 258: bits, 259: 8 if deflated else 1, 262: white, 273: 8, 277: 1, 278: 1,
        279: len(data),
    }  # fmt: skip
    directory = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8 + len(data))
    return head + data + struct.pack(order + "H", len(tags)) + directory + bytes(4)


@pytest.mark.parametrize(
    "data",
    [
        encoded(Image.fromarray(LEVELS), "PNG"),
        encoded(Image.fromarray(LEVELS), "TIFF"),
        _tiff("<", 16, LEVELS.astype("<u2").tobytes()),
        _tiff(">", 16, LEVELS.astype(">u2").tobytes()),
        _tiff("<", 16, LEVELS.astype("<u2").tobytes(), deflated=True),
        _tiff(">", 16, LEVELS.astype(">u2").tobytes(), deflated=True),
        _tiff("<", 16, (0xFFFF - LEVELS).astype("<u2").tobytes(), white=0),
        _png(8, 1, (b"IDAT", zlib.compress(b"\0" + np.repeat(LEVELS, 3).astype(">u2").tobytes())), depth=16, colour=2),
    ],
    ids=["PNG", "TIFF", "II", "MM", "II deflated", "MM deflated", "white is 0", "RGB"],
)
def test_of_16_bits_the_high_ones_count(data):
    picture = decode(data)
    assert picture.luma.tolist() == EIGHT_BITS
    assert np.array_equal(picture.rgb, np.dstack([picture.luma] * 3))
    assert picture.alpha is None and picture.srgb is None


def test_12_bits():
    assert decode(_tiff("<", 12, bytes.fromhex("0000100ff1237ff800ffefff"))).luma.tolist() == [
        [0, 1, 0x0F, 0x12, 0x7F, 0x80, 0xFF, 0xFF]
    ]


def test_gradient_of_16_bits():
    gradient = np.linspace(0, 0xFFFF, 256 * 64).astype(np.uint16).reshape(64, 256)
    for kind in ("PNG", "TIFF"):
        assert np.array_equal(decode(encoded(Image.fromarray(gradient), kind)).luma, gradient // 256)


def test_transparent_grey_of_16_bits():
    """Of two greys that are one in 8 bits."""
    data = encoded(Image.fromarray(LEVELS), "PNG", transparency=255)
    assert decode(data).alpha.tolist() == [[255, 0, 255, 255, 255, 255, 255, 255]]
    assert decode(data).luma.tolist() == EIGHT_BITS


def test_16_bits_are_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(Image.fromarray(LEVELS), "PNG", exif=exif)).upright()[:, 0, 0].tolist() == EIGHT_BITS[0]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.float32([[0, 0.5, 1]]), "floats: what white is"),
        (np.int32([[0, 255]]), "signed or of 32 bits: what white is"),
        (np.int32([[-1, 70_000]]), "signed or of 32 bits: what white is"),
    ],
)
def test_white_that_is_not_known(values, words):
    with pytest.raises(Undecodable, match=words) as caught:
        decode(encoded(Image.fromarray(values), "TIFF"))
    assert caught.value.reason == "unsupported"


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


SWAPPED = rgb_profile((SRGB[1], SRGB[0], SRGB[2]), 2.2)
KINDS_WITH_PROFILES = [kind for kind in FORMATS if kind not in ("GIF", "BMP")]


def _in_srgb(rgb, primaries, gamma):
    """By arithmetic: IEC 61966-2-1."""
    linear = (rgb / 255) ** gamma @ np.array(primaries) @ np.linalg.inv(SRGB)
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("simplejpeg", ["with", "without"])
@pytest.mark.parametrize("kind", KINDS_WITH_PROFILES)
def test_pictures_are_shown_in_srgb_and_fingerprints_are_as_stored(monkeypatch, kind, simplejpeg):
    if simplejpeg == "without":
        monkeypatch.setattr(decoding, "simplejpeg", None)
    wide = decode(encoded(photograph(300, 400), kind, icc_profile=rgb_profile(ADOBE_RGB, 2.2)))
    plain = decode(encoded(photograph(300, 400), kind))
    assert np.array_equal(wide.rgb, plain.rgb) and np.array_equal(wide.luma, plain.luma)
    assert np.array_equal(wide.upright(), wide.rgb)
    difference = np.abs(wide.shown() - _in_srgb(wide.rgb, ADOBE_RGB, 2.2))
    assert difference.max() < 3 and difference.mean() < 0.5
    assert np.abs(wide.shown().astype(int) - wide.rgb).max() > 20
    assert plain.srgb is None and np.array_equal(plain.shown(), plain.rgb)


def test_channels_that_a_profile_swaps():
    picture = Image.new("RGB", (3, 2), (255, 0, 0))
    shown = decode(encoded(picture, "PNG", icc_profile=SWAPPED)).shown()
    assert np.abs(shown.astype(int) - (0, 255, 0)).max() <= 2


def test_shown_is_upright_and_keeps_alpha():
    exif = Image.Exif()
    exif[0x0112] = 6
    clear = in_mode(PICTURE, "RGBA")
    picture = decode(encoded(clear, "PNG", exif=exif, icc_profile=SWAPPED))
    assert np.array_equal(picture.shown()[..., 3], np.rot90(np.asarray(clear), -1)[..., 3])
    assert np.array_equal(picture.shown()[..., :3], np.rot90(picture.srgb, -1))
    assert np.array_equal(picture.rgb, np.asarray(clear)[..., :3])


@pytest.mark.parametrize("mode", ["P", "PA", "YCbCr"])
def test_profiles_of_rgb_that_is_stored_otherwise(mode):
    picture = decode(encoded(in_mode(PICTURE, mode), "TIFF", icc_profile=SWAPPED))
    assert np.abs(picture.shown()[..., :3] - _in_srgb(picture.rgb[..., [1, 0, 2]], SRGB, 2.2)).max() < 3


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_profiles_of_grey(mode):
    picture = decode(encoded(in_mode(PICTURE, mode), "PNG", icc_profile=grey_profile(1.0)))
    assert np.array_equal(picture.rgb, np.dstack([picture.luma] * 3))
    assert np.abs(picture.srgb - _in_srgb(picture.rgb, SRGB, 1.0)).max() < 3
    assert np.abs(picture.srgb.astype(int) - picture.rgb).max() > 20


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_inks_become_srgb_by_their_profile(kind):
    inks = Image.new("CMYK", (5, 4), (255, 0, 0, 0))
    picture = decode(encoded(inks, kind, icc_profile=cmyk_profile()))
    assert np.abs(picture.rgb.astype(int) - (0, 255, 255)).max() <= 2
    assert np.abs(picture.shown().astype(int) - 185).max() <= 3  # lightness of 75 %
    assert np.array_equal(decode(encoded(inks, kind)).shown(), picture.rgb)


def test_profiles_of_srgb_change_nothing():
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (made, made.replace(b"sRGB", b"RGBs")):
        assert decode(encoded(PICTURE, "PNG", icc_profile=profile)).srgb is None
    assert decode(encoded(PICTURE, "PNG", icc_profile=rgb_profile(ADOBE_RGB, 2.2) + b"sRGB")).srgb is not None


def test_a_profile_is_read_once(monkeypatch):
    data = encoded(PICTURE, "JPEG", icc_profile=rgb_profile(ADOBE_RGB, 1.7))
    decode(data)
    monkeypatch.setattr(ImageCms, "buildTransform", None)
    assert decode(data).srgb is not None


def _endless(elements):
    """Elements that are all one: 60,000 of them kept littlecms busy for a minute."""
    matrix = struct.pack(">4s4xHH12f", b"matf", 3, 3, *(1, 0, 0, 0, 1, 0, 0, 0, 1), 0, 0, 0)
    places = struct.pack(">II", 16 + 8 * elements, len(matrix)) * elements
    tag = struct.pack(">4s4xHHI", b"mpet", 3, 3, elements) + places + matrix
    profile = icc_profile(b"RGB ", {b"D2B0": tag})
    return profile[:8] + b"\4\2" + profile[10:]


@pytest.mark.parametrize(
    "profile",
    [
        b"no profile",
        SWAPPED[:200],
        SWAPPED[:132] + b"\xff" * (len(SWAPPED) - 132),
        rgb_profile(SRGB[::-1], 2.2, padding=5_000_000),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
        grey_profile(1.0),
        cmyk_profile(),
        _endless(1_000),
    ],
    ids=["none", "cut", "damaged", "huge", "LAB", "grey", "CMYK", "endless"],
)
def test_profiles_of_no_use_leave_pixels_as_stored(profile):
    picture = decode(encoded(PICTURE, "JPEG", icc_profile=profile))
    assert picture.srgb is None
    assert np.array_equal(picture.shown(), picture.rgb)
    assert np.array_equal(picture.rgb, decode(encoded(PICTURE, "JPEG")).rgb)


def test_a_large_profile_is_used():
    data = encoded(
        Image.new("RGB", (3, 2), (255, 0, 0)), "JPEG", icc_profile=rgb_profile(SRGB[::-1], 2.2, padding=3_000_000)
    )
    assert decode(data).shown()[0, 0].argmax() == 2


def test_pictures_of_several_bands():
    tall = photograph(2100, 1001)
    picture = decode(encoded(tall, "PNG", icc_profile=SWAPPED))
    alone = decode(encoded(tall.crop((0, 2000, 1001, 2100)), "PNG", icc_profile=SWAPPED))
    assert np.array_equal(picture.shown()[2000:], alone.shown())


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
        ("F", "TIFF", {"compression": "tiff_adobe_deflate"}), ("RGB", "TIFF", {"icc_profile": SWAPPED}),
        ("RGB", "WEBP", {"icc_profile": SWAPPED}), ("CMYK", "TIFF", {"icc_profile": cmyk_profile()}), ("L", "TIFF", {"compression": "packbits"}),
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
        assert picture.shown().shape[:2] == (picture.height_px, picture.width_px)
