"""Plays a Do-Not-Train endpoint: URLs come in, one a line; what its list says of each goes out as JSON.

It answers in its own order and spells URLs its own way, as such registries do.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from urllib.parse import unquote, urlsplit


def answer(listed: Path, body: str) -> str:
    """What the endpoint says of the URLs of a request.

    Args:
        listed: CSV with ``url`` in the endpoint's spelling, ``optOut`` and ``optIn``; without ``optOut``, it says
            nothing about that URL.
        body: the request's.

    Returns:
        ``{"urls": [{"url": ..., "optOut": ..., "optIn": ...}, ...]}``. What is not listed has neither opted out nor in.
    """
    with listed.open(encoding="utf-8", newline="") as lines:
        known = {_key(row["url"]): row for row in csv.DictReader(lines)}
    said = []
    for key, url in sorted((_key(url), url) for url in body.split()):
        row = known.get(key, {"url": url.replace("http:", "https:", 1), "optOut": "false", "optIn": "false"})
        if row["optOut"]:
            said.append({"url": row["url"], "optOut": row["optOut"] == "true", "optIn": row["optIn"] == "true"})
    return json.dumps({"urls": said})


def _key(url: str) -> tuple[str, str]:
    """The same for all spellings of a URL that matter here."""
    parts = urlsplit(url)
    return parts.netloc.lower().removeprefix("www."), f"{unquote(parts.path)}?{parts.query}"
