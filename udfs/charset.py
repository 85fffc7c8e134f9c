"""Pages as text, in the encoding that a browser would take."""

from __future__ import annotations

import codecs
import re

# Names by which the web calls encodings whose name in Python is another, or that browsers read as another.
# Source: WHATWG Encoding Standard, section 4.2. Labels that Python has no decoder for are read as the fallback.
_NAMES = {
    "utf-8": "utf-8", "utf8": "utf-8", "unicode-1-1-utf-8": "utf-8",
    "iso-8859-1": "cp1252", "iso8859-1": "cp1252", "iso_8859-1": "cp1252", "latin1": "cp1252", "l1": "cp1252",
    "ascii": "cp1252", "us-ascii": "cp1252", "windows-1252": "cp1252", "cp1252": "cp1252",
    "iso-8859-9": "cp1254", "latin5": "cp1254", "windows-1254": "cp1254",
    "iso-8859-11": "cp874", "tis-620": "cp874", "windows-874": "cp874",
    "gb2312": "gb18030", "gbk": "gb18030", "x-gbk": "gb18030", "gb18030": "gb18030", "chinese": "gb18030",
    "big5": "big5hkscs", "big5-hkscs": "big5hkscs", "x-x-big5": "big5hkscs",
    "shift_jis": "cp932", "shift-jis": "cp932", "sjis": "cp932", "x-sjis": "cp932", "ms_kanji": "cp932",
    "windows-31j": "cp932", "euc-jp": "euc_jp", "x-euc-jp": "euc_jp", "iso-2022-jp": "iso2022_jp",
    "euc-kr": "cp949", "ks_c_5601-1987": "cp949", "korean": "cp949", "windows-949": "cp949",
    "koi8-r": "koi8_r", "koi8": "koi8_r", "koi8-u": "koi8_u", "macintosh": "mac_roman",
    "utf-16": "utf-16-le", "utf-16le": "utf-16-le", "utf-16be": "utf-16-be",
}  # fmt: skip
_NAMES |= {f"windows-125{n}": f"cp125{n}" for n in (0, 1, 3, 5, 6, 7, 8)}
_NAMES |= {f"iso-8859-{n}": f"iso8859_{n}" for n in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)}

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_IN_HEADER = re.compile(r"charset\s*=\s*[\"']?\s*([^\s\"';]+)", re.IGNORECASE)
_IN_META = re.compile(rb"<meta[^>]{0,400}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.+-]{1,40})", re.IGNORECASE)
_PRESCAN_BYTES = 1_024


def decoded(body: bytes, content_type: str = "") -> str:
    """A page as text: by its byte order mark, its ``Content-Type``, its ``meta`` element, else by what it can be.

    Bytes that the encoding does not have become U+FFFD; no body raises. A page that says nothing is UTF-8 if it can
    be, else windows-1252.

    Source: WHATWG HTML, section 13.2.3.2 (a ``meta`` that says UTF-16 means UTF-8, or it could not have been read).
    """
    for mark, encoding in _BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(encoding, "replace")
    said = _IN_HEADER.search(content_type)
    encoding = _NAMES.get(said[1].lower()) if said else None
    if encoding is None and (found := _IN_META.search(body, 0, _PRESCAN_BYTES)):
        encoding = _NAMES.get(found[1].decode("ascii").lower())
        encoding = "utf-8" if encoding and encoding.startswith("utf-16") else encoding
    if encoding is None:
        encoding = "utf-8" if _is_utf8(body) else "cp1252"
    return body.decode(encoding, "replace")


def _is_utf8(body: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(body)  # a last character may be cut
    except UnicodeDecodeError:
        return False
    return True
