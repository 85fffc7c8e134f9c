"""What is fuzzed: one function a parser, from bytes to nothing, that raises if a law is broken.

The laws are three. No bytes raise. Nothing is granted unless the words that grant it stand in the bytes. And whatever
else stands beside it, a plain restriction stays one.
"""

from __future__ import annotations

import html
import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import unquote

import pyarrow as pa

from fairshard.pipelines._page_terms import PageTerms
from fairshard.schemas.verdicts import ALLOW, DENY, VERDICTS
from fairshard.udfs import charset, hash_lists, http_message, pages, wat
from fairshard.udfs.laion import laion_reason
from fairshard.udfs.signals import (
    Evidence,
    Response,
    ai_txt,
    aipref,
    c2pa_manifest,
    content_signal,
    hash_list,
    html_meta,
    html_page,
    image_blocks,
    jumbf,
    licence,
    robots_txt,
    rsl,
    tdmrep,
    url_registry,
    x_robots_tag,
    xmp,
)
from fairshard.udfs.signals.creators import creators
from fairshard.udfs.signals.directives import NO_IMAGE_INDEX
from fairshard.udfs.signals.path_pattern import compiled, target_of
from fairshard.udfs.signals.safe_xml import XmlError
from fairshard.udfs.signals.safe_xml import parse as parse_xml

URL = "https://ex.org/img/a.jpg"
AGENT = "fairbot"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NO_ROBOTS = robots_txt.Robots()
EVERYTHING = aipref.Reading(lenient=True, legacy=True)


def robots(data: bytes) -> None:
    """robots.txt, with the lines of Content-Signal, AIPREF and RSL in it."""
    file = robots_txt.parse(data)
    grants(file.verdict(URL, AGENT, "any"), b"allow" in words(data))
    grants(content_signal.verdict(file, [Response()], AGENT), b"yes" in words(data))
    grants(aipref.verdict(file, [Response()], URL, AGENT, EVERYTHING), b"=y" in words(data))
    locations = rsl.locations(file, [Response()], URL, AGENT)
    assert all(locations)
    assert not locations or b"license" in words(data)
    closed = robots_txt.parse(b"User-agent: fairbot\nDisallow: /\n" + data)
    assert closed.verdict(URL, AGENT).verdict == DENY or b"allow" in words(data)


def patterns(data: bytes) -> None:
    """A path pattern and a URL, a line each."""
    pattern, _, url = data.partition(b"\n")
    target = target_of(url.decode("utf-8", "replace"))
    found = compiled(pattern)
    assert found is None or isinstance(found.matches(target), bool)
    everything = compiled(b"/*")
    assert everything and everything.matches(target)


def header_lines(data: bytes) -> None:
    """The value of a header, a line each."""
    lines = data.decode("latin-1").split("\n")
    names = ("X-Robots-Tag", "Content-Signal", "Content-Usage", "tdm-reservation", "tdm-policy", "Link")
    hops = [Response(URL, 200, [(name, line) for line in lines for name in names])]
    text = words(data)
    grants(x_robots_tag.verdict(hops, AGENT, NO_IMAGE_INDEX), False)
    grants(content_signal.verdict(NO_ROBOTS, hops, AGENT), b"yes" in text)
    grants(aipref.verdict(NO_ROBOTS, hops, URL, AGENT, EVERYTHING), b"=y" in text)
    grants(tdmrep.verdict([tdmrep.header_layer(hops)]), b"0" in text)
    grants(licence.verdict(licence.of_headers(hops, URL)), is_public_domain(data))
    assert b"rsl+xml" in text or not rsl.locations(NO_ROBOTS, hops, URL, AGENT)
    refused = [Response(URL, 200, [*hops[0].headers, ("X-Robots-Tag", "noai"), ("tdm-reservation", "1")])]
    assert x_robots_tag.verdict(refused, AGENT).verdict == DENY
    assert tdmrep.header_layer(refused).reservation
    refused = [Response(URL, 200, [*hops[0].headers, ("Content-Signal", "ai-train=no")])]
    assert content_signal.verdict(NO_ROBOTS, refused, AGENT).verdict == DENY


def page(data: bytes) -> None:
    """An HTML page."""
    found = html_page.parse(data)
    grants(html_meta.verdict(found.metas, AGENT, image=True, also=NO_IMAGE_INDEX), False)
    grants(tdmrep.verdict([tdmrep.page_layer(found.metas, URL)]), b"0" in data)
    for asset in (None, URL):
        grants(licence.verdict(licence.of_page(found, URL, asset)), is_public_domain(data))
    refused = html_page.parse(b"<meta name=robots content=noai>" + data)
    assert html_meta.verdict(refused.metas, AGENT, image=True).verdict == DENY


def tdm_file(data: bytes) -> None:
    """tdmrep.json."""
    found = tdmrep.verdict([tdmrep.parse(data, URL).layer(URL)])
    grants(found, b"0" in data and (b"reservation" in data.replace(b"\0", b"") or b"\\" in data))


def ai_file(data: bytes) -> None:
    """ai.txt."""
    grants(ai_txt.parse(data).verdict(URL, AGENT), b"allow" in words(data))
    closed = ai_txt.parse(b"User-agent: *\nDisallow: *.jpg\n" + data)
    assert closed.verdict(URL, AGENT).verdict == DENY or b"agent" in words(data) or b"allow" in words(data)


def rsl_file(data: bytes) -> None:
    """An RSL file."""
    text = html.unescape(data.replace(b"\0", b"").decode("latin-1"))
    for user_class in (None, "non-commercial"):
        grants(rsl.parse(data).verdict(URL, user_class), rsl.NAMESPACE in text and "permits" in text)


def xml(data: bytes) -> None:
    """Any XML. What is read is what the standard library reads, which would also expand entities."""
    try:
        root = parse_xml(data)
    except XmlError:
        return
    assert [element.tag for element in root.iter()] == [element.tag for element in ET.fromstring(data).iter()]


def picture(data: bytes) -> None:
    """A picture file: its blocks, and who reads them."""
    blocks = image_blocks.read(data)
    text = b" ".join([*blocks.xmp, *blocks.extended_xmp.values()]).replace(b"\0", b"").lower()
    grants(xmp.verdict(blocks, "genai"), b"allowed" in text or b"&#" in text)
    grants(licence.verdict(licence.of_file(blocks)), is_public_domain(text) or b"&#" in text)
    assert all(creators(blocks))
    assert sum(map(len, [*blocks.xmp, *blocks.extended_xmp.values(), *blocks.iptc, *blocks.c2pa])) <= len(data) + (
        image_blocks.MAX_INFLATED_BYTES
    )
    assert isinstance(jumbf.problem([*blocks.c2pa, *jumbf.stores(data)][: c2pa_manifest.MAX_STORES]), str)


def packet(data: bytes) -> None:
    """An XMP packet, beside one that prohibits."""
    prohibits = b'<x xmlns:p="http://ns.useplus.org/ldf/xmp/1.0/" p:DataMining="DMI-PROHIBITED"/>'
    picture(jpeg(data))
    assert xmp.verdict(image_blocks.read(jpeg(prohibits, data))).verdict == DENY


def manifest(data: bytes) -> None:
    """A picture file handed to the C2PA library, after the look at its boxes. Nobody is trusted, so nothing grants."""
    grants(c2pa_manifest.verdict(data, image_blocks.read(data), "genai"), False)


def licence_url(data: bytes) -> None:
    """The URL of a licence."""
    found = licence.spdx_id(data.decode("utf-8", "replace"))
    assert found is None or found in licence.PUBLIC_DOMAIN or found.startswith("cc-by")
    assert found not in licence.PUBLIC_DOMAIN or is_public_domain(data)


def registry(data: bytes) -> None:
    """The entries of a URL registry or a hash list, in JSON."""
    try:
        entries = json.loads(data)
    except (ValueError, RecursionError):
        return
    entries = entries if isinstance(entries, list) else [entries]
    grants(url_registry.verdict(entries, URL), b"optIn" in data or b"\\" in data)
    grants(hash_list.verdict(entries, hash_list.Prints("0" * 32, "0" * 64, [bytes(32)], 100)), False)
    assert url_registry.verdict([*entries, URL], URL).verdict == DENY


def answer(data: bytes) -> None:
    """The answer of a Do-Not-Train endpoint. Not to be named, or not plainly, is no answer."""
    (found,) = url_registry.answers(data, [URL])
    text = data.replace(b"\0", b"")
    plain = (b"optOut" in text and b"false" in text) or b"\\" in text
    grants(found, plain and (b"optIn" in text or b"\\" in text))
    assert found.verdict in (DENY, "hold") or plain


def archived(data: bytes) -> None:
    """A response as an archive holds it: its head, its codings, its characters, the page. It grants no picture."""
    message = http_message.parse(data)
    if message is None:
        return
    body, _ = http_message.unpacked(message, 100_000)
    assert len(body) <= 100_000
    shown = pages.read(charset.decoded(body, message.header("content-type")), URL)
    assert len(shown.images) <= pages.MAX_IMAGES
    assert len(laion_reason(*(pa.array(column, pa.string()) for column in columns(shown)))) == len(shown.images)
    told = PageTerms(URL, message.status, message.headers, shown.page, NOW).said()
    for said in told:
        grants(said.evidence, said.scope == "page")
    refused = html_page.parse(b"<meta name=robots content=noai>" + body)
    assert DENY in {said.evidence.verdict for said in PageTerms(URL, 200, (), refused, NOW).said()}


def columns(shown: pages.Shown) -> tuple[list[str], list[str]]:
    """URLs and captions, as text that Arrow takes."""
    texts = ([image.url for image in shown.images], [image.caption for image in shown.images])
    return tuple([text.encode("utf-8", "replace").decode() for text in column] for column in texts)  # type: ignore


def wat_record(data: bytes) -> None:
    """The record of a WAT file: a page, nothing, or a ValueError."""
    for content in (data, b'{"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": ' + data + b"}}}"):
        try:
            found = wat.envelope(content)
        except ValueError:
            continue
        assert found is None or found.pictures.count


def exchanged(data: bytes) -> None:
    """A hash list as an exchange hands it out. What stands first and says nothing else stays in force."""
    hash_lists.kind_of(data.decode("utf-8", "replace"))
    try:
        listed = hash_lists.ncmec_listed(data)
    except XmlError:
        listed = hash_lists.Listed([])
    assert all(kind is None or isinstance(kind, str) for _, row in listed.rows for kind in (row["kind"],))
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    plain = {"type": "HASH_PDQ", "indicator": "0f" * 32}
    found = hash_lists.json_listed([(1, plain), (2, document)])
    assert any(number == 1 for number, _ in found.rows)


def listed_url(data: bytes) -> None:
    """A URL that a registry names: it is listed as soon as it is one at all."""
    url = data.decode("utf-8", "replace")
    found = url_registry.verdict([{"url": url}], url).verdict
    assert found == (DENY if url_registry.canonical_key(url) else "hold")
    url_registry.verdict([{"host": url}, {"url_prefix": url}], URL, [url])


TARGETS: dict[str, Callable[[bytes], None]] = {
    "robots_txt": robots,
    "path_pattern": patterns,
    "headers": header_lines,
    "html_page": page,
    "tdmrep": tdm_file,
    "ai_txt": ai_file,
    "rsl": rsl_file,
    "safe_xml": xml,
    "image_blocks": picture,
    "xmp": packet,
    "c2pa_manifest": manifest,
    "licence": licence_url,
    "registry": registry,
    "answer": answer,
    "archived": archived,
    "wat": wat_record,
    "hash_lists": exchanged,
    "url_registry": listed_url,
}


def grants(found: Evidence, may: bool) -> None:
    """A verdict is one of five, and ``allow`` only where the bytes say so."""
    assert found.verdict in VERDICTS, found
    assert found.verdict != ALLOW or may, found


def words(data: bytes) -> bytes:
    """Bytes in which words can be looked for: lower case, UTF-16 as ASCII, and no ``allow`` in disallow."""
    return data.lower().replace(b"\0", b"").replace(b"disallow", b"")


def is_public_domain(data: bytes) -> bool:
    """Whether a public domain mark of Creative Commons may be named, percent-encoded or in entities."""
    text = data.decode("latin-1")
    for _ in range(3):
        text = unquote(html.unescape(text)).replace("\\", "")
    return "publicdomain" in re.sub(r"[\t\n\r\0]", "", text).lower() or "\\u" in data.decode("latin-1")


def jpeg(*packets: bytes) -> bytes:
    """A JPEG of XMP segments and nothing else."""
    out = io.BytesIO()
    out.write(b"\xff\xd8")
    for text in packets:
        content = b"http://ns.adobe.com/xap/1.0/\0" + text[:60_000]
        out.write(b"\xff\xe1" + (len(content) + 2).to_bytes(2) + content)
    return out.getvalue()
