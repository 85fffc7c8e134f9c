"""What a file says, as the rows that the policy gate reads."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fairshard.pipelines._in_file import InFile, in_file

AT = datetime(2026, 1, 1, tzinfo=UTC)
TESTS = Path(__file__).parents[1]
_PACKET = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<r:Description xmlns:plus="http://ns.useplus.org/ldf/xmp/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:c="http://creativecommons.org/ns#">'
    "%s</r:Description></r:RDF></x:xmpmeta>"
)
_MODEL = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def _file(xmp: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (16, 16), "teal").save(out, "JPEG", xmp=(_PACKET % xmp).encode())
    return out.getvalue()


def _said(found: InFile) -> list[tuple[str, str, str | None]]:
    return [(said.evidence.kind, said.evidence.verdict, said.only_if) for said in found.said]


@pytest.mark.parametrize(
    ("xmp", "said"),
    [
        ("", []),
        ("<plus:DataMining>DMI-PROHIBITED</plus:DataMining>", [("xmp", "deny", None)]),
        ("<plus:DataMining>DMI-PROHIBITED-GENAIMLTRAINING</plus:DataMining>", [("xmp", "deny", "purpose=genai")]),
        ("<plus:DataMining>DMI-PROHIBITED-SEECONSTRAINT</plus:DataMining>", [("xmp", "cond", None)]),
        (f"<i:DigitalSourceType>{_MODEL}</i:DigitalSourceType>", [("synthetic", "deny", None)]),
        ("<dc:rights>Mara Lindqvist. No AI training.</dc:rights>", [("free_text", "deny", None)]),
        ("<plus:DataMining>certainly!</plus:DataMining>", []),
    ],
)
def test_statements(xmp, said):
    assert _said(in_file(_file(xmp), None, AT)) == said


def test_creators_and_licence():
    found = in_file(
        _file(
            "<dc:creator>Mara Lindqvist</dc:creator>"
            '<c:license r:resource="https://creativecommons.org/licenses/by-sa/4.0/"/>'
        ),
        None,
        AT,
    )
    assert (found.said, found.creators, found.licence) == ((), ("Mara Lindqvist",), "cc-by-sa-4.0")


def test_a_manifest_that_cannot_be_read_holds():
    files = sorted((TESTS / "vectors" / "files").glob("*"))
    verdicts = {(kind, verdict) for file in files for kind, verdict, _ in _said(in_file(file.read_bytes(), None, AT))}
    assert {("c2pa", "deny"), ("c2pa", "hold"), ("c2pa", "cond")} <= verdicts


def test_the_watermark_of_a_model_is_looked_for_only_in_pixels():
    marked = TESTS / "udfs" / "signals" / "watermarked" / "sd_xl.jpg"
    data, rgb = marked.read_bytes(), np.asarray(Image.open(marked).convert("RGB"))
    assert _said(in_file(data, None, AT)) == []
    (said,) = in_file(data, rgb, AT).said
    assert (said.evidence.kind, said.evidence.verdict, said.evidence.value) == (
        "synthetic",
        "deny",
        "Stable Diffusion XL",
    )
