"""What LAION threw away before it asked for a picture, as reasons.

Source: ``parse_wat`` of the crawling@home workers, such as github.com/Wikidepia/crawlingathome-worker, and Schuhmann
et al., LAION-400M (arXiv:2111.02114), section 2.
Not taken over: its lists of blocked and dead domains, its bloom filters (equal pairs are found exactly), English alone
(``filter.languages`` does that), and ``ftfy``. Its rule on formats looked for ``.svg``, ``.gif`` and ``.ico`` anywhere
in a URL and so lost ``www.iconfinder.com``; here the path has to end so.
"""

from __future__ import annotations

import pyarrow as pa

from .arrow import pc

MAX_URL_CHARS = 2_048
MIN_CAPTION_CHARS = 5

_FORMAT = r"(?i)^https?://[^?#]*\.(?:svg|gif|ico)(?:[?#]|$)"
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
    # Formats are looked for where it matters alone, as that takes the longest.
    checks = {
        "long_url": pc.greater(pc.utf8_length(url), MAX_URL_CHARS),
        "format": pc.replace_with_mask(usable, usable, pc.match_substring_regex(url.filter(usable), _FORMAT)),
        "short_caption": pc.less(chars, MIN_CAPTION_CHARS),
    }
    flags = [pc.and_(usable, pc.fill_null(check, False)) for check in checks.values()]
    return pc.case_when(pc.make_struct(*flags), *checks)
