"""Where fuzzing begins: the documents of the conformance cases, and the words that the protocols know."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

VECTORS = Path(__file__).resolve().parents[1] / "vectors"

# Target: the kinds of cases whose documents are inputs of it.
_BODIES = {
    "robots_txt": ("robots_txt", "content_signal"),
    "html_page": ("html_meta", "licence", "tdmrep"),
    "ai_txt": ("ai_txt",),
    "rsl": ("rsl",),
    "safe_xml": ("rsl",),
}
_FILES = {"image_blocks": ("xmp", "licence"), "c2pa_manifest": ("c2pa",)}

WORDS = (
    *("user-agent: ", "disallow: ", "allow: ", "content-signal: ", "content-usage: ", "license: ", "ai-train=", "yes"),
    *("train-ai=y", "train-ai=n", "noai", "noimageai", "unavailable_after: ", "max-snippet:", "fairbot", "\r\n", "$"),
    *("<meta ", "name=", "content=", "robots", "<!--", "-->", "<script>", "</script>", "rel=license", "<title>", "&#"),
    *('"tdm-reservation"', '"location"', "tdm-policy", "application/ld+json", "ImageObject", "contentUrl", "optIn"),
    *("<rsl ", 'xmlns="https://rslstandard.org/rsl"', "<content ", "<permits ", "<prohibits", "<payment ", "<license>"),
    *("http://ns.useplus.org/ldf/xmp/1.0/", "DataMining", "DMI-ALLOWED", "<!DOCTYPE ", "<!ENTITY ", "xmlns:", "]]>"),
    *("creativecommons.org/publicdomain/zero/1.0/", "creativecommons.org/licenses/by-nc/4.0/", "XML:com.adobe.xmp"),
    *("XMP DataXMP", "8BIM", "Exif", "jumb", "jumdc2pa", "cbor", "iTXt", "zTXt", "caBX", "ftypavif", "<svg ", "<?xml "),
    *("https://", "xn--", "%2e", ":8080", "www.", "host", "url_prefix", "withdrawn_at", "optOut", '"pdq"', '"sha256"'),
)


def seeds(target: str) -> Iterator[bytes]:
    """Inputs of a target that the conformance cases hold."""
    yield b""
    for kind in _BODIES.get(target, ()):
        yield from (_body(case) for case in cases(kind) if "body" in case or "body_base64" in case)
    for kind in _FILES.get(target, ()):
        yield from ((VECTORS / case["file"]).read_bytes() for case in cases(kind) if "file" in case)
    match target:
        case "headers":
            for kind in ("x_robots_tag", "tdmrep", "aipref", "content_signal", "rsl", "licence"):
                yield from ("\n".join(value for _, value in case.get("headers", ())).encode() for case in cases(kind))
        case "tdmrep":
            for case in cases("tdmrep"):
                yield from (text.encode() for text in case.get("files", {}).values() if text)
        case "path_pattern":
            yield from (f"/*.jpg$\n{case['url']}".encode("utf-8", "replace") for case in cases("robots_txt"))
        case "registry":
            for kind in ("url_registry", "hash_list"):
                yield from (json.dumps(case["registry"]).encode() for case in cases(kind))
        case "answer":
            for case in cases("url_registry"):
                rows = [{"url": case["url"], "optOut": False, "optIn": True}, *(case["registry"] or ())]
                yield json.dumps({"urls": rows}).encode()
        case "archived":
            head = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset={}\r\nX-Robots-Tag: noai\r\n{}\r\n"
            for number, body in enumerate(seeds("html_page")):
                packed = gzip.compress(body, mtime=0) if number % 2 else body
                more = "Content-Encoding: gzip\r\n" if number % 2 else ""
                yield head.format(("utf-8", "shift_jis", "x-none")[number % 3], more).encode() + packed
            chunks = b'5\r\n<img \r\n1a\r\nsrcset="/a.jpg 2x" alt=abcde>\r\n0\r\n\r\n'
            yield b"HTTP/1.0 200\nTransfer-Encoding: chunked\n\n" + chunks
        case "wat":
            picture = {"path": "IMG@/src", "url": "/a.jpg", "alt": "a picture"}
            head = {"Title": "a page", "Metas": [{"name": "robots", "content": "noai"}], "Base": "/b/"}
            html = {"HTML-Metadata": {"Head": head, "Links": [picture]}, "Headers": {"X-Robots-Tag": ["noai", "all"]}}
            yield from (json.dumps(html).encode(), json.dumps({"Envelope": {"WARC-Header-Metadata": html}}).encode())
        case "hash_lists":
            yield from (json.dumps(case["registry"]).encode() for case in cases("hash_list"))
            pdq = {"type": "HASH_PDQ", "indicator": "0f" * 32, "status": "MALICIOUS", "should_delete": True}
            yield json.dumps({"data": [pdq], "paging": {"next": "x"}}).encode()
            yield json.dumps({"hashRecords": [{"signalType": "ImagePDQ", "hashValue": "0f" * 32}]}).encode()
            yield b"<queryResult><images><image><id>1</id><fingerprints><pdna/><md5>0f</md5></fingerprints></image></images></queryResult>"
        case "url_registry":
            yield from (case["url"].encode() for case in cases("url_registry"))
        case "xmp":
            for case in cases("xmp"):
                data = (VECTORS / case["file"]).read_bytes()
                start, end = data.find(b"<x:xmpmeta"), data.find(b"</x:xmpmeta>")
                yield from [data[start : end + 12]] if 0 <= start < end else []
        case "licence":
            yield from (word.encode() for word in WORDS if "creativecommons" in word)


def cases(kind: str) -> Iterator[dict]:
    """The conformance cases of a kind."""
    for line in (VECTORS / f"{kind}.jsonl").read_text(encoding="utf-8").splitlines():
        yield json.loads(line)


def _body(case: dict) -> bytes:
    if "body_base64" in case:
        return base64.b64decode(case["body_base64"])
    return case["body"].encode("utf-8", "surrogatepass")
