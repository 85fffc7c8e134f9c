"""Marks on generated pictures, and that a run which screens such pictures finds them again."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import crawl_world
import numpy as np
import pytest
from PIL import Image

from fairshard.pipelines._in_file import in_file
from fairshard.pipelines._marks import TRAINED_MEDIA, marked_png
from fairshard.udfs.signals import image_blocks
from fairshard.udfs.signals.xmp_packet import properties

AT = datetime(2026, 1, 1, tzinfo=UTC)
ABOUT = {"model": "tiny-unet", "release": "5d41402a", "software": "fairshard 1.0", "prompt": 'a "cat" & a <dog>\x00'}


def generated(side: int, seed: int = 3) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)


def said(data: bytes) -> list[tuple[str, str, str]]:
    rgb = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    return [(one.evidence.kind, one.evidence.verdict, one.evidence.value) for one in in_file(data, rgb, AT).said]


def as_jpeg(data: bytes) -> bytes:
    """Without the metadata."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


@pytest.mark.parametrize("side", [64, 256])
def test_metadata_and_pixels_both_say_what_it_is(side):
    data = marked_png(generated(side), ABOUT)
    assert Image.open(io.BytesIO(data)).size == (side, side)
    assert said(data) == [("synthetic", "deny", "synthetic"), ("synthetic", "deny", "fairshard")]
    assert said(as_jpeg(data)) == [("synthetic", "deny", "fairshard")]


def test_of_a_small_picture_the_metadata_alone():
    data = marked_png(generated(32), {})
    assert said(data) == [("synthetic", "deny", "synthetic")] and said(as_jpeg(data)) == []


def test_the_packet_says_who_made_it():
    picture = generated(64).convert("RGBA")
    data = marked_png(picture, ABOUT)
    assert data == marked_png(picture, ABOUT)
    blocks = image_blocks.read(data)
    packet = Image.open(io.BytesIO(data)).info["XML:com.adobe.xmp"]
    assert not properties(blocks).problems and TRAINED_MEDIA in packet
    for line in (
        "<Iptc4xmpExt:AISystemUsed>tiny-unet</Iptc4xmpExt:AISystemUsed>",
        "<xmp:CreatorTool>fairshard 1.0</xmp:CreatorTool>",
        'release: 5d41402a; software: fairshard 1.0; prompt: a "cat" &amp; a &lt;dog&gt;</rdf:li>',
    ):
        assert line in packet


def test_a_run_that_screens_generated_pictures_drops_them(tmp_path):
    pytest.importorskip("aiohttp", reason="needs the extra [crawl]")
    world = crawl_world.make(tmp_path)
    marked = marked_png(generated(64), ABOUT)
    (tmp_path / "pictures" / "1.jpg").write_bytes(marked)
    (tmp_path / "pictures" / "2.jpg").write_bytes(as_jpeg(marked))
    urls = [f"http://a.example/p/{number}.jpg" for number in range(3)]
    hosts = {"a.example": crawl_world.OPEN}
    world.run(hosts, urls, {"extends": "strict"})
    assert world.fates() == {urls[0]: "alive", urls[1]: "deny:synthetic", urls[2]: "deny:synthetic"}
    world.run(hosts, urls, {"extends": "strict", "binding": ["registry"]})
    assert set(world.fates().values()) == {"alive"}
