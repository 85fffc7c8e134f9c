"""Hash lists: whether the bytes or the look of a picture are listed (ThreatExchange's PDQ, MD5, SHA-256)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...schemas.verdicts import DENY, HOLD, NONE
from . import Evidence

KIND = "hash_list"

PDQ_MIN_QUALITY = 50
"""A picture below this is too flat to be compared (ThreatExchange)."""

_HEX_DIGITS = {"pdq": 64, "md5": 32, "sha256": 64}
_GONE = ("Withdrawn", "Deleted")
_HEX = re.compile(r"[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Prints:
    """The fingerprints of one file.

    Attributes:
        md5, sha256: of the bytes, as lower-case hex.
        pdq: of the picture at its own size, 32 bytes for each orientation that is to be compared; empty if the
            file cannot be decoded.
        pdq_quality: 0 to 100; None if the file cannot be decoded.
    """

    md5: str
    sha256: str
    pdq: Sequence[bytes] = ()
    pdq_quality: int | None = None


def verdict(entries: Iterable[object] | None, prints: Prints, pdq_max_distance: int = 31) -> Evidence:
    """Whether a hash list holds a file.

    Args:
        entries: objects with ``type``, ``value`` and perhaps ``status``. Malformed entries, unknown types and
            withdrawn ones are skipped. None: the list could not be loaded.
        prints: of the file.
        pdq_max_distance: bits out of 256 within which PDQ matches.

    Returns:
        Evidence: ``deny`` on a hit; ``hold`` if only a perceptual hash could tell and there is none.
    """
    if entries is None:
        return Evidence(KIND, HOLD, detail="the list could not be loaded")
    valid = [known for entry in entries if (known := _entry(entry)) is not None]
    for kind, value in valid:
        if value == {"md5": prints.md5, "sha256": prints.sha256}.get(kind):
            return Evidence(KIND, DENY, kind, value, "hash list")
    listed = [value for kind, value in valid if kind == "pdq"]
    if listed and prints.pdq_quality is None:
        return Evidence(KIND, HOLD, "pdq", detail="the picture cannot be decoded")
    if (prints.pdq_quality or 0) < PDQ_MIN_QUALITY:
        return Evidence(KIND, NONE, detail="too flat to be compared" if listed else "")
    for value in listed:
        distance = min((_bits_apart(bytes.fromhex(value), own) for own in prints.pdq), default=256)
        if distance <= pdq_max_distance:
            return Evidence(KIND, DENY, "pdq", value, "hash list", detail=f"{distance} of 256 bits differ")
    return Evidence(KIND, NONE)


def _bits_apart(left: bytes, right: bytes) -> int:
    return (int.from_bytes(left) ^ int.from_bytes(right)).bit_count()


def _entry(entry: object) -> tuple[str, str] | None:
    if not isinstance(entry, dict) or entry.get("status") in _GONE:
        return None
    kind, value = entry.get("type"), entry.get("value")
    if not isinstance(kind, str) or not isinstance(value, str):
        return None
    kind, value = kind.strip().lower(), value.strip().lower()
    if len(value) != _HEX_DIGITS.get(kind) or not _HEX.fullmatch(value):
        return None
    return kind, value
