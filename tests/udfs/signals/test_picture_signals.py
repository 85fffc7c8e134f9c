"""What stands inside picture files: XMP in every container, creators, C2PA, and files made to hurt."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fairshard.udfs.signals import c2pa_manifest, image_blocks, jumbf, xmp
from fairshard.udfs.signals.creators import creators
from fairshard.udfs.signals.synthetic import source_type_tag

FILES = Path(__file__).parents[2] / "vectors" / "files"
PROHIBITED = "http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED"
ALLOWED = "http://ns.useplus.org/ldf/vocab/DMI-ALLOWED"


def packet(value: str = PROHIBITED, more: str = "") -> bytes:
    return (
        '<?xpacket begin="\ufeff"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:dc="http://purl.org/dc/elements/1.1/"'
        ' xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description xmlns:q="http://ns.useplus.org/ldf/xmp/1.0/">'
        f'<q:DataMining>{value}</q:DataMining>{more}</r:Description></r:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def picture(format_: str, **options) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(out, format_, **options)
    return out.getvalue()


def jpeg(*segments: bytes, marker: int = 0xE1) -> bytes:
    plain = picture("JPEG")
    return (
        plain[:2] + b"".join(b"\xff%c%s%s" % (marker, struct.pack(">H", len(s) + 2), s) for s in segments) + plain[2:]
    )


def png(kind: bytes, content: bytes) -> bytes:
    plain = picture("PNG")
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return plain[:33] + chunk + plain[33:]


def gif(content: bytes) -> bytes:
    trailer = b"\x01" + bytes(range(255, -1, -1)) + b"\x00"
    plain = picture("GIF")
    return plain[:-1] + b"\x21\xff\x0bXMP DataXMP" + content + trailer + b"\x3b"


XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\x00"
CONTAINERS = {
    "jpeg": lambda p: jpeg(XMP_SEGMENT + p),
    "jpeg, after fill bytes": lambda p: jpeg(XMP_SEGMENT + p).replace(b"\xff\xe1", b"\xff\xff\xff\xe1", 1),
    "png text": lambda p: png(b"tEXt", b"XML:com.adobe.xmp\x00" + p),
    "png compressed text": lambda p: png(b"zTXt", b"XML:com.adobe.xmp\x00\x00" + zlib.compress(p)),
    "png international text": lambda p: png(b"iTXt", b"XML:com.adobe.xmp\x00\x00\x00en\x00x\x00" + p),
    "png compressed": lambda p: png(b"iTXt", b"XML:com.adobe.xmp\x00\x01\x00\x00\x00" + zlib.compress(p)),
    "webp": lambda p: picture("WEBP", xmp=p),
    "gif": gif,
    "tiff": lambda p: picture("TIFF", tiffinfo={700: p}),
}


@pytest.mark.parametrize("wrap", CONTAINERS.values(), ids=CONTAINERS.keys())
def test_containers(wrap):
    for text in (packet(), packet() + b"\x00" * 50, packet().decode().encode("utf-16")):
        assert xmp.verdict(image_blocks.read(wrap(text))).verdict == "deny"
    assert xmp.verdict(image_blocks.read(wrap(b"<!DOCTYPE x>" + packet()))).detail.startswith("malformed")


@pytest.mark.parametrize("wrap", CONTAINERS.values(), ids=CONTAINERS.keys())
@given(data=st.data())
def test_a_broken_container_never_raises_or_permits(wrap, data):
    whole = wrap(packet())
    cut = data.draw(st.integers(0, len(whole)))
    noise = data.draw(st.binary(max_size=8))
    broken = whole[:cut] + noise + whole[cut + data.draw(st.integers(0, 20)) :]
    blocks = image_blocks.read(broken)
    assert xmp.verdict(blocks).verdict in ("deny", "none")
    assert creators(blocks) == []


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF0000WEBP", b"GIF89a", b"II*\0"]),
)
def test_any_bytes(data, magic):
    blocks = image_blocks.read(magic + data)
    assert xmp.verdict(blocks, "genai").verdict == "none"


@pytest.mark.parametrize(
    ("value", "train", "genai"),
    [
        (ALLOWED, "allow", "allow"),
        ("DMI-ALLOWED", "allow", "allow"),
        ("Allowed", "allow", "allow"),
        ("https://ns.useplus.org/ldf/vocab/dmi-prohibited", "deny", "deny"),
        ("DMI-PROHIBITED-GENAIMLTRAINING", "none", "deny"),
        ("Prohibited for  Generative AI/ML training", "none", "deny"),
        ("DMI-PROHIBITED-SEELINKEDRIGHTSEXPR", "cond", "cond"),
        ("Prohibited, see plus:OtherConstraints", "cond", "cond"),
        ("DMI-UNSPECIFIED", "none", "none"),
        ("https://evil.example/ldf/vocab/DMI-ALLOWED", "none", "none"),
        ("DMI-ALLOWEDX", "none", "none"),
        ("not allowed", "none", "none"),
        ("", "none", "none"),
    ],
)
def test_values(value, train, genai):
    assert (xmp.value_verdict(value, "train"), xmp.value_verdict(value, "genai")) == (train, genai)


def _extended(content: bytes, guid: bytes) -> list[bytes]:
    head = b"http://ns.adobe.com/xmp/extension/\x00" + guid + struct.pack(">I", len(content))
    return [head + struct.pack(">I", at) + content[at : at + 100] for at in range(0, len(content), 100)]


def test_an_extended_packet_that_nobody_names_restricts_and_does_not_permit():
    for value, named, orphaned in ((PROHIBITED, "deny", "deny"), (ALLOWED, "allow", "none")):
        parts = _extended(packet(value), b"0" * 32)[::-1]
        main = (
            b'<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description '
            b'xmlns:n="http://ns.adobe.com/xmp/note/" n:HasExtendedXMP="%s"/></r:RDF>' % (b"0" * 32)
        )
        assert xmp.verdict(image_blocks.read(jpeg(XMP_SEGMENT + main, *parts))).verdict == named
        assert xmp.verdict(image_blocks.read(jpeg(*parts))).verdict == orphaned


def test_files_made_to_hurt():
    bomb = b"XML:com.adobe.xmp\x00\x01\x00\x00\x00" + zlib.compress(b" " * 200_000_000)
    assert xmp.verdict(image_blocks.read(png(b"iTXt", bomb))).verdict == "none"
    deep = packet("<a>" * 5_000 + "</a>" * 5_000)
    assert xmp.verdict(image_blocks.read(png(b"tEXt", b"XML:com.adobe.xmp\x00" + deep))).verdict == "none"
    # 4,096 entries in a loop of directories, each of which names the whole file as its packet.
    entries = struct.pack("<HHII", 700, 1, 1 << 31, 0) * 4_096
    loop = b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", 4_096) + entries + struct.pack("<I", 8)
    assert xmp.verdict(image_blocks.read(loop)).verdict == "none"


PACKED = b"XML:com.adobe.xmp\x00\x01\x00\x00\x00" + zlib.compress(b"<a>" + b"<b/>" * 1_000_000 + b"</a>")
PNG_CHUNK = struct.pack(">I", len(PACKED)) + b"iTXt" + PACKED + b"\x00" * 4
ENTRY = struct.pack("<HHHII", 1, 700, 1, 200_000, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"GIF89a" + b"\x00" * 7 + b"!\xff\x0bXMP DataXMP\x00" * 50_000,
        b"GIF89a" + b"\x00" * 7 + b"!\xff\x0bXMP DataXMP\x00" * 50_000 + b"\x01\xff\xfe\xfd",
        b"\x89PNG\r\n\x1a\n" + PNG_CHUNK * 100,
        b"II*\x00\x08\x00\x00\x00"
        + b"".join(ENTRY + struct.pack("<I", 8 + 18 * n) for n in range(1, 17))
        + b"\x00" * 200_000,
    ],
    ids=["gif", "gif with one trailer", "png", "tiff"],
)
def test_no_file_swells(data):
    blocks = image_blocks.read(data)
    assert sum(map(len, blocks.xmp)) <= max(len(data), image_blocks.MAX_INFLATED_BYTES)
    assert xmp.verdict(blocks).verdict == "none"


def test_packets_are_read_up_to_the_length_of_one():
    many = [XMP_SEGMENT + b"<a>" + b" " * 65_000 + b"</a>"] * 200
    found = xmp.verdict(image_blocks.read(jpeg(*many[:100], XMP_SEGMENT + packet(), *many)))
    assert (found.verdict, found.detail[:9]) == ("deny", "malformed")


def test_prose_made_to_hang_does_not():
    assert xmp.reserves_in_prose(["." * 9_999 + "x"] * 1_000 + ["?!" * 4_000 + " no AI training"])


@pytest.mark.parametrize(
    ("text", "reserves"),
    [
        ("(c) Ann Example. No AI training.", True),
        ("May not be used to train artificial intelligence", True),
        ("All rights reserved, including for training of A.I.", True),
        ("no ai", True),
        ("NoAI", True),
        ("Use by any AI is forbidden", True),
        ("(c) Ai Example, no use without permission", False),
        ("Nicht für KI-Training", True),
        ("Do not use for machine learning", True),
        ("(c) AI Training Ltd. All rights reserved.", False),
        ("Copyright 2021 Bo Example. All rights reserved.", False),
        ("Made by AI", False),
        ("Trains at the station. No trespassing", False),
        ("", False),
    ],
)
def test_prose(text, reserves):
    assert xmp.reserves_in_prose([text]) is reserves


def test_creators():
    more = (
        "<dc:creator><r:Seq><r:li>Ann Example</r:li><r:li> Bo </r:li></r:Seq></dc:creator>"
        '<r:Description dc:creator="Ann Example"/>'
    )
    exif = Image.Exif()
    exif[315] = "Cy Example; Bo"
    by_line = b"\x1c\x02\x05\x00\x01x\x1c\x02\x50\x00\x03Dee"
    photoshop = b"Photoshop 3.0\x008BIM\x04\x04\x00\x00" + struct.pack(">I", len(by_line)) + by_line
    data = jpeg(b"Exif\x00\x00" + exif.tobytes().removeprefix(b"Exif\x00\x00"), XMP_SEGMENT + packet(more=more))
    assert creators(image_blocks.read(data)) == ["Ann Example", "Bo", "Cy Example"]
    assert creators(image_blocks.read(jpeg(photoshop, marker=0xED))) == ["Dee"]
    assert creators(image_blocks.read(picture("TIFF", tiffinfo={315: "Eve"}))) == ["Eve"]


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        ("http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia", "synthetic"),
        ("trainedAlgorithmicMedia", "synthetic"),
        ("http://c2pa.org/digitalsourcetype/trainedAlgorithmicData", "synthetic"),
        ("compositeSynthetic", "synthetic_partial"),
        ("http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicMedia", None),
        ("digitalCapture", None),
        (None, None),
    ],
)
def test_source_types(value, tag):
    assert source_type_tag(value) == tag


def _c2pa(name: str, **options) -> str:
    data = (FILES / name).read_bytes()
    reading = c2pa_manifest.Reading(**options)
    return c2pa_manifest.verdict(data, image_blocks.read(data), reading=reading).verdict


def test_comments_before_an_svg_are_read_in_one_way():
    comments = b"<!-- -->" * 400
    for data, verdict in ((comments + b"<svg>", "none"), (comments + b"<svg>c2pa", "hold"), (comments + b"<s", "hold")):
        assert c2pa_manifest.verdict(data, image_blocks.read(data)).verdict == verdict


def test_stores_inside_each_other_share_one_bound():
    inner = struct.pack(">I", 60_008) + b"cbor" + b"\x00" * 60_000
    for _ in range(10):
        description = struct.pack(">I", 25) + b"jumdc2pa" + b"\x00" * 13
        inner = struct.pack(">I", len(description + inner) + 8) + b"jumb" + description + inner
    assert jumbf.problem([inner]) == ""
    assert jumbf.problem(jumbf.stores(inner)).startswith("malformed")


def test_without_the_library_a_manifest_holds(monkeypatch):
    monkeypatch.setattr(c2pa_manifest.importlib.util, "find_spec", lambda name: None)
    assert [_c2pa(name) for name in ("c01.jpg", "c02.png", "c28.jpg", "c26.jpg")] == ["hold", "hold", "hold", "none"]
    assert _c2pa("c28.jpg", remote_manifest="ignore") == "none"


@given(st.binary(max_size=60), st.integers(0, 5_000))
def test_a_broken_manifest_never_raises_or_permits(noise, at):
    data = (FILES / "c24.jpg").read_bytes()
    broken = data[:at] + noise + data[at + len(noise) :]
    assert c2pa_manifest.verdict(broken, image_blocks.read(broken)).verdict in ("none", "hold", "deny", "cond")


@pytest.mark.parametrize(
    "head",
    [
        b"\x5a" + b"\xff" * 4,
        b"\x7a" + b"\xff" * 4,
        b"\x5b\x7f" + b"\xff" * 7,
        b"\x9a" + b"\xff" * 4,
        b"\xa1\x7b" + b"\xff" * 8,
    ],
)
def test_a_manifest_that_claims_gigabytes_is_not_handed_to_the_library(head):
    """c2pa-python 0.38 allocates what a CBOR string claims: five bytes cost four gigabytes."""
    data = (FILES / "c24.jpg").read_bytes()
    entries = data.index(b"\xa1gentries")
    broken = data[:entries] + head + data[entries + len(head) :]
    found = c2pa_manifest.verdict(broken, image_blocks.read(broken))
    assert (found.verdict, found.detail[:9]) == ("hold", "malformed")


@pytest.mark.parametrize("name", ["c01.jpg", "c02.png", "c17.jpg", "c41.jpg"])
def test_whole_manifest_stores_have_no_problem_in_any_container(name):
    data = (FILES / name).read_bytes()
    stores = image_blocks.read(data).c2pa
    assert (len(stores), jumbf.problem(stores)) == (1, "")
    assert list(jumbf.stores(b"\x00" * 7 + stores[0] + b"x")) == stores
    assert jumbf.problem([stores[0][:-1]]).startswith("malformed")
    assert jumbf.problem([stores[0].replace(b"cbor\xa1", b"brob\xa1")]).startswith("a compressed manifest")


@given(st.binary(max_size=100))
def test_any_bytes_as_a_manifest_store(data):
    boxed = (len(data) + 8).to_bytes(4) + b"cbor" + data
    assert isinstance(jumbf.problem([data]), str)
    assert isinstance(jumbf.problem([(len(boxed) + 8).to_bytes(4) + b"jumb" + boxed]), str)


@pytest.mark.parametrize(
    ("data", "verdict"), [(b"", "hold"), (b"BM....", "none"), (b"<html>", "hold"), (b"\xff\xd8", "hold")]
)
def test_files_that_are_no_pictures(data, verdict):
    assert c2pa_manifest.verdict(data, image_blocks.read(data)).verdict == verdict
