"""Inputs made to hang a parser or to swell in it: one piece, over and over. Prints what each costs.

python tests/fuzz/bombs.py                  # 100 kB each
python tests/fuzz/bombs.py --kilobytes 1000
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
import zlib
from collections.abc import Iterator

from targets import TARGETS

_STORE = b"\0\0\0\x19jumdc2pa" + b"\0" * 13
_PACKED = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"<a>" + b"<b/>" * 1_000_000 + b"</a>")
_GIF = b"GIF89a" + b"\0" * 7
_RSL = b'<rsl xmlns="https://rslstandard.org/rsl">'
_LD = b'<script type="application/ld+json">'

# Target, what comes first, what is repeated (%d is a number, each time another), what comes last.
BOMBS = (
    ("robots_txt", b"User-agent: *\nDisallow: /", b"*a", b"b$"),
    ("robots_txt", b"User-agent: *\n", b"Disallow: /*%d\n", b""),
    ("robots_txt", b"", b"User-agent: %d\nDisallow: /\n", b""),
    ("robots_txt", b"User-agent: GPTBot\nUser-agent: CCBot\nUser-agent: ClaudeBot\n", b"Disallow: /%d\n", b""),
    ("robots_txt", b"User-agent: *\n", b"Content-Usage: /%d train-ai=y\n", b""),
    ("robots_txt", b"User-agent: *\n", b"License: /%d.xml\n", b""),
    ("robots_txt", b"", b"<!-- -->", b""),
    ("robots_txt", b"", b"dis%d:\n", b""),
    ("path_pattern", b"/", b"*a", b"*b$\n" + b"https://ex.org/" + b"a" * 100_000),
    ("headers", b"", b":", b""),
    ("headers", b"", b"noarchive\n", b""),
    ("headers", b"a: ", b"noai ", b""),
    ("headers", b"train-ai=(", b"a ", b")"),
    ("headers", b"", b'<a>;b="', b""),
    ("headers", b"", b"unavailable_after:,1", b""),
    ("html_page", b"", b"<div>", b""),
    ("html_page", b"", b"<template>", b""),
    ("html_page", b"<a ", b"a%d=1 ", b">"),
    ("html_page", b"<meta name=robots content='", b":", b"'>"),
    ("html_page", b"<base href=https://ex.org/" + b"a/" * 1_000 + b">", b"<a rel=license href=%d>", b""),
    ("html_page", _LD, b"[", b"</script>"),
    ("html_page", _LD + b"[", b'{"@type":"ImageObject","contentUrl":"../%d"},', b"0]</script>"),
    ("tdmrep", b"", b"[", b""),
    ("tdmrep", b"[", b'{"location":"/%d","tdm-reservation":0},', b"0]"),
    ("tdmrep", b'[{"location":"/', b"*a", b'","tdm-reservation":0}]'),
    ("ai_txt", b"User-agent: *\n", b"Allow: *.%d\n", b""),
    ("rsl", b'<!DOCTYPE a [<!ENTITY a0 "a">', b'<!ENTITY a "&a0;&a0;&a0;">', b"]><rsl>&a;</rsl>"),
    ("rsl", _RSL + b'<content url="/"><license>', b"<permits>%d</permits>", b"</license></content></rsl>"),
    ("rsl", _RSL, b'<content url="/%d"/>', b"</rsl>"),
    ("rsl", b"", b"<a>", b""),
    ("safe_xml", b"<a ", b"a%d='' ", b"/>"),
    ("safe_xml", b"<a>", b"<b/>", b"</a>"),
    ("image_blocks", b"\xff\xd8", b"\xff", b""),
    ("image_blocks", b"\xff\xd8", b"\xff\xe1\0\x23http://ns.adobe.com/xap/1.0/\0<a/>", b""),
    ("image_blocks", b"\xff\xd8", b"\xff\xe1\0\x14Exif\0\0II*\0\x08\0\0\0\xff\xff\0\0", b""),
    ("image_blocks", _GIF, b"!\xff\x0bXMP DataXMP\0", b""),
    ("image_blocks", b"\x89PNG\r\n\x1a\n", len(_PACKED).to_bytes(4) + b"iTXt" + _PACKED + b"\0" * 4, b""),
    ("image_blocks", b"RIFF0000WEBP", b"XMP \0\0\0\0", b""),
    ("image_blocks", b"II*\0\x08\0\0\0\1\0\x3b\1\2\0\0\0\1\0\0\0\0\0\0\0\0\0", b"a;", b""),
    ("xmp", b'<a xmlns:d="http://purl.org/dc/elements/1.1/"><d:rights>', b".", b"x</d:rights></a>"),
    ("xmp", b"<a>", b"<b>", b""),
    ("c2pa_manifest", b"", b"<!---->", b"<svg"),
    ("c2pa_manifest", b"\0\0\0\x18ftypavif" + b"\0" * 12, b"\0\1\x86\xa0jumb" + _STORE, b""),
    ("licence", b"https://creativecommons.org/licenses/", b"by-", b"/4.0/"),
    ("registry", b"[", b'{"url":"https://ex.org/%d","optIn":true},', b"0]"),
    ("registry", b'[{"url":"https://ex.org/img/a.jpg","optOut":', b"[", b""),
    ("url_registry", b"https://", b"\xc3\xbc.", b"/"),
    ("url_registry", b"https://ex.org/", b"../a/", b""),
)


def bombs(size: int) -> Iterator[tuple[str, str, bytes]]:
    """Target, name and bytes of each, about as long as ``size``."""
    for target, first, piece, last in BOMBS:
        room, parts, number = size - len(first) - len(last), [first], 0
        while room > 0:
            parts.append(piece.replace(b"%d", b"%d" % number))
            room -= len(parts[-1])
            number += 1
        yield target, f"{first[:16]!r} {piece[:24]!r}", b"".join([*parts, last])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kilobytes", type=int, default=100)
    for target, name, data in bombs(parser.parse_args().kilobytes * 1_000):
        start = time.process_time()
        TARGETS[target](data)
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        sys.stdout.write(f"{time.process_time() - start:6.2f} s {peak_mb:6.0f} MB  {target:14} {name}\n")


if __name__ == "__main__":
    main()
