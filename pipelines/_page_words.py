"""Words and numbers as pages show them; text from outside made harmless."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

from ._reasons import REASON_WORDS

_TEXT_MAX_CHARS = 240
_VERDICT_WORDS = {
    "deny": "opted out",
    "hold": "could not be determined",
    "cond": "reserved, with a licence on offer",
    "none": "no permission recorded",
    "failed": "the picture could not be had",
}
# No opt-outs, though they close a pair like one.
_OTHER_REASONS = {
    "deny:hash_list": "on a hash list",
    "deny:synthetic": "marked as made by a model",
    "near_duplicate": "nearly the same picture as one that is kept",
    "exact_duplicate": "the same bytes as a picture that is kept",
    "semantic_duplicate": "much the same to a model as a picture that is kept",
}
_KIND_WORDS = {
    "registry": "opt-out registry",
    "hash_list": "hash list",
    "robots_txt": "robots.txt",
    "content_signal": "Content-Signal",
    "aipref": "AIPREF preference",
    "ai_txt": "ai.txt",
    "rsl": "RSL licence file",
    "tdmrep": "TDM reservation",
    "x_robots_tag": "X-Robots-Tag header",
    "html_meta": "robots meta element",
    "http_status": "HTTP status",
    "xmp": "data-mining property of XMP",
    "c2pa": "C2PA assertion",
    "free_text": "rights notice in words",
    "synthetic": "mark that a model made it",
    "licence": "licence that permits",
    "unread": "what an earlier download did not keep",
}
_DISTANCE_WORDS = {
    "phash": "{} of 64 bits (pHash)",
    "pdq": "{} of 256 bits (PDQ)",
    "iscc": "{} of 64 bits (ISCC)",
    "semantic": "{} thousandths of cosine distance",
}
# Joiners that Persian, Indic scripts and emoji cannot do without.
_HARMLESS_FORMATS = frozenset("\u200c\u200d\ufe0f")


def visible(text: Any, limit: int = _TEXT_MAX_CHARS) -> str:
    """Text from outside on one line, cut, with every mark that hides or reverses text shown by its number."""
    line = " ".join(str(text).split())
    if len(line) > limit:
        line = line[: limit - 1] + "…"
    return "".join(_shown(char) for char in line)


def _shown(char: str) -> str:
    hides = unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    return f"⟨U+{ord(char):04X}⟩" if hides and char not in _HARMLESS_FORMATS else char


def reason_words(reason: str) -> str:
    """Why a row was left out."""
    known = REASON_WORDS | _OTHER_REASONS
    if reason in known:
        return known[reason]
    verdict, colon, kind = reason.partition(":")
    if colon and verdict in _VERDICT_WORDS:
        return f"{_VERDICT_WORDS[verdict]}: {kind_words(kind)}"
    return reason.replace("_", " ")


def kind_words(kind: str) -> str:
    """A kind of evidence."""
    return _KIND_WORDS.get(kind, kind.replace("_", " "))


def number(value: int) -> str:
    """With a comma after each thousand."""
    return f"{value:,}"


def percent(share: float) -> str:
    """A share, 0 to 1."""
    return f"{100 * share:.1f} %"


def size(count: int) -> str:
    """Bytes in the unit that fits, by powers of 1,000."""
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:,.0f} {unit}" if unit == "bytes" else f"{amount:,.1f} {unit}"
        amount /= 1000
    return f"{amount:,.1f} TB"


def distance_words(row: dict[str, Any]) -> str:
    """How far ``n`` pairs of a group are from its keeper, by ``kind`` and ``distance``."""
    one = row["n"] == 1
    if row["distance"] is None:
        return f"{row['n']:,} {'is' if one else 'are'} like one that is like it"
    away = _DISTANCE_WORDS.get(row["kind"], "{} bits").format(row["distance"])
    return f"{row['n']:,} differ{'s' if one else ''} by {away}"


def link(url: str) -> str | None:
    """The URL if a page may lead there, else null."""
    return url if url.lower().startswith(("http://", "https://")) else None


FILTERS: dict[str, Callable[..., Any]] = {
    "visible": visible, "reason": reason_words, "kind": kind_words, "number": number, "percent": percent, "size": size,
    "distance": distance_words, "link": link,
}  # fmt: skip
"""By the names that the template calls them by."""
