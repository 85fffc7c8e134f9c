"""From an answer to ``image`` columns, a rendition and what the file says, by one decode."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..schemas.config import Fetch
from ..udfs.hashing import fingerprint
from ..udfs.iscc import picture_units
from ..udfs.rendition import Rendition
from ._in_file import in_file
from ._politeness import LEFT
from ._said import Said

if TYPE_CHECKING:  # aiohttp is an extra
    from ._answer import Fetched, Hop
    from ._stored import Stored

_OF_PRINTS = (
    "mime", "size_bytes", "width_px", "height_px", "sha256", "md5", "phash", "pdq", "pdq_quality", "colours",
)  # fmt: skip
_VALIDATOR_CHARS = 500


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

    def look(self, fetched: Fetched | Stored, at: datetime) -> Look:
        """Look at an answer that came at a time."""
        columns = {"http_status": fetched.status or None, "final_url": fetched.final_url}
        if fetched.error == "stopped":
            return Look(columns | {"status": "opted_out"})
        if fetched.error is not None:
            return Look(columns | {"status": "left" if fetched.error in LEFT else "failed", "error": fetched.error})
        return self._look(fetched.body, at, columns | (validators_in(fetched.hops[-1]) if fetched.hops else {}))

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


def validators_in(hop: Hop) -> dict[str, str]:
    """``image`` columns for what a response names its version by, as far as it can be sent back."""
    named = {"etag": hop.values("etag"), "last_modified": hop.values("last-modified")}
    return {name: values[0] for name, values in named.items() if values and _fits(values[0])}


def _fits(value: str) -> bool:
    return 0 < len(value) <= _VALIDATOR_CHARS and value.isascii() and value.isprintable()
