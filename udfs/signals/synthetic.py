"""Marks of pictures that a model made: IPTC digital source types, wherever they stand.

They are tags and no verdict: that a picture is synthetic does not say whether it may be used.
"""

from __future__ import annotations

SYNTHETIC = "synthetic"
"""Made by a model as a whole."""
PARTIAL = "synthetic_partial"
"""Made by a model in part, or edited by one."""

# cv.iptc.org/newscodes/digitalsourcetype. `algorithmicMedia` is computed without training data, and
# `algorithmicallyEnhanced` is a filter: neither passes for human work.
_TAGS = {
    "trainedalgorithmicmedia": SYNTHETIC,
    "trainedalgorithmicdata": SYNTHETIC,
    "compositewithtrainedalgorithmicmedia": PARTIAL,
    "compositesynthetic": PARTIAL,
}


def source_type_tag(value: object) -> str | None:
    """The tag of a digital source type, given as a URL of the IPTC or C2PA vocabulary or by its bare key."""
    if not isinstance(value, str):
        return None
    return _TAGS.get(value.strip().rstrip("/").rpartition("/")[2].rpartition(":")[2].lower())
