"""Marks on what a model made: so that nobody, and no later run of ours, takes it for the work of people."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..udfs.signals import tile_mark
from ..udfs.signals.xmp_packet import RDF, SOURCE_TYPE

TRAINED_MEDIA = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's digital source type of what a trained model made as a whole."""

_IPTC = SOURCE_TYPE.rpartition("}")[0] + "}"
_DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"
_XMP = "{http://ns.adobe.com/xap/1.0/}"
_META = "{adobe:ns:meta/}"
_PREFIXES = {"rdf": RDF, "Iptc4xmpExt": _IPTC, "dc": _DUBLIN_CORE, "xmp": _XMP, "x": _META}
# The keyword of XMP in PNG; XMP specification, part 3, section 1.1.5.
_KEYWORD = "XML:com.adobe.xmp"

# What XML 1.0 cannot hold (section 2.2); captions may.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def marked_png(picture: Image.Image, about: dict[str, str]) -> bytes:
    """A generated picture as a PNG that says what it is, in its metadata and in its pixels.

    Args:
        picture: what a model made, of any mode; written as RGB, at its own size.
        about: who made it. ``model`` and ``software`` get properties of their own (AI System Used of IPTC 2025.1,
            CreatorTool of XMP), and all of it is the description, such as "model: tiny; release: 5d41...". Characters
            that XML cannot hold are left out.

    Returns:
        PNG with IPTC's DigitalSourceType ``trainedAlgorithmicMedia`` and, if no side is shorter than
        ``tile_mark.MIN_SIDE_PX``, an invisible watermark; below that the metadata is all there is. The same
        picture and words give the same bytes.
    """
    rgb = tile_mark.marked(np.asarray(picture.convert("RGB")))
    metadata = PngInfo()
    metadata.add_itxt(_KEYWORD, _packet(about))
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG", pnginfo=metadata)
    return buffer.getvalue()


def _packet(about: dict[str, str]) -> str:
    """XMP."""
    about = {key: _NO_XML.sub("", value) for key, value in about.items()}
    for prefix, namespace in _PREFIXES.items():
        ET.register_namespace(prefix, namespace.strip("{}"))
    root = ET.Element(f"{_META}xmpmeta")
    said = ET.SubElement(ET.SubElement(root, f"{RDF}RDF"), f"{RDF}Description", {f"{RDF}about": ""})
    ET.SubElement(said, SOURCE_TYPE).text = TRAINED_MEDIA
    for key, name in (("model", f"{_IPTC}AISystemUsed"), ("software", f"{_XMP}CreatorTool")):
        if key in about:
            ET.SubElement(said, name).text = about[key]
    if about:
        languages = ET.SubElement(ET.SubElement(said, f"{_DUBLIN_CORE}description"), f"{RDF}Alt")
        words = ET.SubElement(languages, f"{RDF}li", {"{http://www.w3.org/XML/1998/namespace}lang": "x-default"})
        words.text = "; ".join(f"{key}: {value}" for key, value in about.items())
    return ET.tostring(root, encoding="unicode")
