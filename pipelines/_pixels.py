"""From an answer to ``image`` columns, a rendition and what the file says, by one decode."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..schemas.config import Fetch
from ..udfs.hashing import fingerprint
from ..udfs.iscc import picture_units
from ..udfs.rendition import Rendition
from ._in_file import in_file
from ._said import Said

_OF_PRINTS = ("mime", "size_bytes", "width_px", "height_px", "sha256", "md5", "phash", "pdq", "pdq_quality")


@dataclass(frozen=True, slots=True)
class Look:
    """What an answer comes to.

    Attributes:
        columns: of ``image``.
        rendition: the encoded picture; None where there is none.
        said: what the file says about permission.
    """

    columns: dict[str, Any]
    rendition: bytes | None = None
    said: tuple[Said, ...] = ()


class Looker:
    """Looks at answers."""

    def __init__(self, config: Fetch, looks: Collection[str]):
        """``looks`` that take time: for the ``watermark`` of a model, PDQ ``dihedral``, the units of an ``iscc``."""
        self._config, self._looks = config, frozenset(looks)
        self._render = Rendition(
            image_size=config.image_size,
            resize_mode=config.resize_mode,
            resize_only_if_bigger=config.resize_only_if_bigger,
            encode_format=config.encode_format,
            encode_quality=config.encode_quality,
        )

    def look(self, fetched: Any, at: datetime) -> Look:
        """Look at an answer that came at a time."""
        if fetched.error == "stopped":
            return Look(opted_out(fetched))
        if fetched.error is not None:
            return Look(_answered(fetched) | {"status": "failed", "error": fetched.error})
        return self._look(fetched.body, at, _answered(fetched))

    def _look(self, body: bytes, at: datetime, columns: dict[str, Any]) -> Look:
        prints = fingerprint(body, max_pixels=self._config.max_pixels, dihedral="dihedral" in self._looks)
        columns |= {name: getattr(prints, name) for name in _OF_PRINTS}
        if prints.decoded is None:
            return Look(columns | {"status": "failed", "error": prints.error})
        rendered = self._render(prints.decoded)
        if rendered.data is None:
            return Look(columns | {"status": "failed", "error": rendered.error})
        found = in_file(body, prints.decoded.rgb if "watermark" in self._looks else None, at)
        columns |= {
            "status": "ok",
            "pdq_dihedral": b"".join(prints.pdq_dihedral) if prints.pdq_dihedral else None,
            "file_creators": list(found.creators) or None,
            "file_licence": found.licence,
            "work_width_px": rendered.width_px,
            "work_height_px": rendered.height_px,
        }
        if "iscc" in self._looks:
            columns["iscc_image"], columns["iscc_instance"] = picture_units(body, prints.decoded)
        return Look(columns, rendered.data, found.said)


def _answered(fetched: Any) -> dict[str, Any]:
    return {"http_status": fetched.status or None, "final_url": fetched.final_url}


def opted_out(fetched: Any) -> dict[str, Any]:
    """``image`` columns of a picture that may not be kept."""
    return _answered(fetched) | {"status": "opted_out"}
