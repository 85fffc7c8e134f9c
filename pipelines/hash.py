"""``fairshard hash``: the fingerprints that the pipeline stores, file by file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..udfs.hashing import fingerprint, phash_hex


def lines(files: Iterable[str]) -> Iterator[dict[str, Any]]:
    """One object a file: path, sha256, md5, phash, pdq, pdq_quality, width_px, height_px, error.

    A file that cannot be read, or is no picture, has the reason in ``error``; nothing is raised.
    """
    for name in files:
        try:
            data = Path(name).read_bytes()
        except OSError as error:
            yield _line(name, error=f"unreadable: {error.strerror or error}")
            continue
        prints = fingerprint(data)
        yield _line(
            name,
            sha256=prints.sha256,
            md5=prints.md5,
            phash=None if prints.phash is None else phash_hex(prints.phash),
            pdq=None if prints.pdq is None else prints.pdq.hex(),
            pdq_quality=prints.pdq_quality,
            width_px=prints.width_px,
            height_px=prints.height_px,
            error=prints.error,
        )


def _line(path: str, **found: Any) -> dict[str, Any]:
    names = ("sha256", "md5", "phash", "pdq", "pdq_quality", "width_px", "height_px", "error")
    return {"path": path, **{name: found.get(name) for name in names}}
