"""From an answer to ``image`` columns and a rendition: one decode for all that is made of pixels."""

from __future__ import annotations

from typing import Any

from ..schemas.config import Fetch
from ..udfs.hashing import fingerprint
from ..udfs.rendition import Rendition

_OF_PRINTS = ("mime", "size_bytes", "width_px", "height_px", "sha256", "md5", "phash", "pdq", "pdq_quality")


class Looker:
    """Turns an answer into ``image`` columns and a rendition."""

    def __init__(self, config: Fetch):
        self._config = config
        self._render = Rendition(
            image_size=config.image_size,
            resize_mode=config.resize_mode,
            resize_only_if_bigger=config.resize_only_if_bigger,
            encode_format=config.encode_format,
            encode_quality=config.encode_quality,
        )

    def image(self, fetched: Any) -> dict[str, Any]:
        """``image`` columns, and ``rendition`` where there is one."""
        if fetched.error == "stopped":
            return opted_out(fetched)
        if fetched.error is not None:
            return _answered(fetched) | {"status": "failed", "error": fetched.error}
        return _answered(fetched) | self._look(fetched.body)

    def _look(self, body: bytes) -> dict[str, Any]:
        prints = fingerprint(body, max_pixels=self._config.max_pixels, dihedral=True)
        known = {name: getattr(prints, name) for name in _OF_PRINTS}
        if prints.decoded is None or prints.pdq_dihedral is None:
            return known | {"status": "failed", "error": prints.error}
        rendered = self._render(prints.decoded)
        if rendered.data is None:
            return known | {"status": "failed", "error": rendered.error}
        return known | {
            "status": "ok",
            "pdq_dihedral": b"".join(prints.pdq_dihedral),
            "work_width_px": rendered.width_px,
            "work_height_px": rendered.height_px,
            "rendition": rendered.data,
        }


def _answered(fetched: Any) -> dict[str, Any]:
    return {"http_status": fetched.status or None, "final_url": fetched.final_url}


def opted_out(fetched: Any) -> dict[str, Any]:
    """``image`` columns of a picture that may not be kept."""
    return _answered(fetched) | {"status": "opted_out"}
