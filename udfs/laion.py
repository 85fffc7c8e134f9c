"""What LAION threw away before it asked for a picture, as reasons.

Source: ``parse_wat`` of the crawling@home workers, such as github.com/Wikidepia/crawlingathome-worker, and Schuhmann
et al., LAION-400M (arXiv:2111.02114), section 2.
Not taken over: its lists of blocked and dead domains, its bloom filters (equal pairs are found exactly), English alone
(``filter.languages`` does that), and ``ftfy``. Its rule on formats looked for ``.svg``, ``.gif`` and ``.ico`` anywhere
in a URL and so lost ``www.iconfinder.com``; here the path has to end so.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from .arrow import pc

MAX_URL_CHARS = 2_048
MIN_CAPTION_CHARS = 5

_FORMATS = (".svg", ".gif", ".ico")
_FORMAT = r"(?i)^[^?#]*\.(?:svg|gif|ico)[?#]"
_WEB = r"(?i)^\s*https?:"


def laion_reason(url: pa.Array, caption: pa.Array) -> pa.Array:
    """Why LAION would not have asked for a picture.

    Args: url: string[n], absolute; caption: string[n]. Null in either gives null, as do URLs that are none of the web
        and captions without a character: those are no pairs to begin with.
    Returns: string[n]: ``long_url`` (over 2,048 characters), ``format`` (SVG, GIF, icons), ``short_caption`` (under
        five characters), or null.
    """
    chars = pc.utf8_length(pc.utf8_trim_whitespace(caption))
    web = pc.or_(pc.starts_with(url, "https:"), pc.starts_with(url, "http:"))
    if not pc.all(web).as_py():
        web = pc.match_substring_regex(url, _WEB)
    usable = pc.fill_null(pc.and_(web, pc.greater(chars, 0)), False)
    size = pc.binary_length(url)  # there are no more characters
    if (pc.max(size).as_py() or 0) > MAX_URL_CHARS:
        size = pc.utf8_length(url)
    checks = {
        "long_url": pc.greater(size, MAX_URL_CHARS),
        "format": _is_drawing(url),
        "short_caption": pc.less(chars, MIN_CAPTION_CHARS),
    }
    flags = [pc.and_kleene(usable, check) for check in checks.values()]
    return pc.case_when(pc.make_struct(*flags), *checks)


def _is_drawing(url: pa.Array) -> pa.Array:
    """Whether the path of a URL ends in one of the formats. bool[n]"""
    lower = pc.ascii_lower(url)
    svg, gif, ico = (pc.ends_with(lower, ending) for ending in _FORMATS)
    longer = _go_on(url)  # by expression it takes ten times as long, and most need none
    return pc.replace_with_mask(
        pc.or_(svg, pc.or_(gif, ico)), longer, pc.match_substring_regex(url.filter(longer), _FORMAT)
    )


def _go_on(url: pa.Array) -> pa.Array:
    """Whether a URL has a query or a fragment. bool[n]"""
    _, ends, texts = url.buffers()
    offsets = np.frombuffer(ends, np.int32)[url.offset : url.offset + len(url) + 1]
    data = np.frombuffer(texts or b"", np.uint8)[: offsets[-1]]
    marks = np.flatnonzero((data == ord("?")) | (data == ord("#")))
    found = np.zeros(len(url), bool)
    found[np.searchsorted(offsets, marks[marks >= offsets[0]], "right") - 1] = True
    return pa.array(found)
