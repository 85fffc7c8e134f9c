import io
import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pictures import SRGB, drawing, encoded, in_mode, photograph, rgb_profile
from PIL import Image

from fairshard.schemas.errors import MissingExtra
from fairshard.udfs import rendition as module
from fairshard.udfs.decoding import decode
from fairshard.udfs.rendition import Rendition

pytest.importorskip("img2dataset")


@pytest.fixture(scope="module")
def resizer():
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    from img2dataset.resizer import Resizer

    return Resizer


@pytest.mark.parametrize("mode", ["no", "border", "keep_ratio", "keep_ratio_largest", "center_crop"])
@pytest.mark.parametrize(("kind", "quality"), [("jpg", 95), ("png", 6), ("webp", 80)])
@pytest.mark.parametrize("colours", ["RGB", "RGBA"])
def test_rendition_is_img2datasets(resizer, mode, kind, quality, colours):
    for size in ((140, 90), (50, 60), (90, 141), (64, 200), (3, 900), (333, 65)):
        data = encoded(in_mode(photograph(*size), colours), "PNG")
        ours = Rendition(64, mode, True, kind, quality)(decode(data))
        theirs = resizer(64, mode, True, encode_format=kind, encode_quality=quality)(io.BytesIO(data))
        assert (ours.data, ours.width_px, ours.height_px, ours.error) == (*theirs[:3], None)


def test_rendition_enlarges_only_if_told():
    small = decode(encoded(drawing(20, 30), "PNG"))
    assert Rendition(64)(small).width_px == 30
    assert Rendition(64, resize_only_if_bigger=False)(small).width_px == 96


def test_rendition_is_upright_and_on_white():
    exif = Image.Exif()
    exif[0x0112] = 6
    clear = Image.new("RGBA", (40, 20), (200, 0, 0, 0))
    ours = Rendition(64, encode_format="png", encode_quality=6)(decode(encoded(clear, "PNG", exif=exif)))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(ours.data))), np.full((40, 20, 3), 255))


def test_rendition_is_in_srgb():
    swapped = rgb_profile((SRGB[1], SRGB[0], SRGB[2]), 2.2)
    red = encoded(Image.new("RGB", (90, 70), (255, 0, 0)), "JPEG", icc_profile=swapped)
    ours = Rendition(64, encode_format="png", encode_quality=6)(decode(red))
    shown = Image.open(io.BytesIO(ours.data))
    assert np.abs(np.asarray(shown, int) - (0, 255, 0)).max() <= 3
    assert "icc_profile" not in shown.info


def test_rendition_of_16_bits_is_no_white_sheet():
    gradient = np.linspace(0, 0xFFFF, 64 * 64).astype(np.uint16).reshape(64, 64)
    ours = Rendition(64, encode_format="png", encode_quality=6)(decode(encoded(Image.fromarray(gradient), "PNG")))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(ours.data)).convert("L")), gradient >> 8)


def test_rendition_of_what_the_encoder_refuses():
    ours = Rendition()(decode(encoded(Image.new("RGB", (66_000, 2)), "PNG")))
    assert (ours.data, ours.width_px, ours.height_px, ours.error) == (None, None, None, "unrenderable")
    assert ours.error_detail.startswith("66000 x 2 px as jpg: ")


def test_rendition_in_threads_is_the_same_and_leaves_the_streams_alone(capfd):
    """img2dataset's own Resizer would swallow these lines, and in the end both streams."""
    pictures = [decode(encoded(photograph(300, 400, seed), "PNG")) for seed in range(6)]
    render = pickle.loads(pickle.dumps(Rendition()))
    expected = [Rendition()(picture) for picture in pictures]

    def render_and_log(picture):
        rendered = render(picture)
        os.write(2, b"a line of the log\n")
        return rendered

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(render_and_log, pictures * 5)) == expected * 5
    assert capfd.readouterr().err.count("a line of the log") == 30


def test_rendition_refuses_unknown_options():
    with pytest.raises(ValueError, match="Invalid option for resize_mode: wide"):
        Rendition(resize_mode="wide")(decode(encoded(drawing(20, 30), "PNG")))


def test_rendition_without_img2dataset(monkeypatch):
    monkeypatch.setitem(sys.modules, "img2dataset", None)
    monkeypatch.delitem(sys.modules, "img2dataset.resizer", raising=False)
    with pytest.raises(MissingExtra, match=r"\[crawl\]"):
        module._resizer_module.__wrapped__()
