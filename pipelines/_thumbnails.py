"""Small pictures of released samples, as data URIs for a page that asks nobody for anything."""

from __future__ import annotations

import base64
import io
import tarfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image, ImageOps

from ..schemas.errors import ReleaseError
from ._release import Release
from ._shards import shard_name

_SIDE_PX = 200
_QUALITY = 72
_MAX_PIXELS = 64_000_000
_MAX_BYTES = 64 << 20
_TEXT = ("json", "txt")


@dataclass(frozen=True)
class Thumbnail:
    """A small JPEG.

    Attributes:
        uri: ``data:`` URI.
        width_px: its width.
        height_px: its height.
    """

    uri: str
    width_px: int
    height_px: int


def thumbnails(release: Release, wanted: Iterable[tuple[int, str]]) -> dict[str, Thumbnail]:
    """Thumbnails by key; none of a sample that is not there or that cannot be decoded.

    Args:
        release: where the shards are. Their members' heads are read, and the wanted pictures.
        wanted: (shard_id, key) of samples.

    Raises:
        ReleaseError: a shard is missing or not a tar.
    """
    keys: dict[int, set[str]] = defaultdict(set)
    for shard_id, key in wanted:
        keys[shard_id].add(key)
    found: dict[str, Thumbnail] = {}
    for shard_id in sorted(keys):
        for key, data in _pictures(release, shard_name(shard_id), keys[shard_id]):
            made = _thumbnail(data)
            if made is not None:
                found[key] = made
    return found


def _pictures(release: Release, tar: str, keys: set[str]) -> Iterable[tuple[str, bytes]]:
    left = set(keys)
    try:
        with release.fs.open(release.path(tar), "rb") as file, tarfile.open(fileobj=file, mode="r:") as members:  # type: ignore[call-overload]
            for member in members:
                key, _, ending = member.name.partition(".")
                if key not in left or ending in _TEXT or not member.isreg() or member.size > _MAX_BYTES:
                    continue
                content = members.extractfile(member)
                if content is not None:
                    yield key, content.read()
                left.discard(key)
                if not left:
                    return
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ReleaseError(tar, f"cannot be read ({error})", "a WebDataset shard") from error


def _thumbnail(data: bytes) -> Thumbnail | None:
    """A picture made small and encoded anew, so that nothing but its pixels goes on."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as picture:
            if picture.width * picture.height > _MAX_PIXELS:
                return None
            small = ImageOps.exif_transpose(picture)
            small.thumbnail((_SIDE_PX, _SIDE_PX))
            flat = Image.new("RGB", small.size, "white")
            small = small.convert("RGBA")
            flat.paste(small, mask=small.getchannel("A"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None  # Pillow's ways of saying that it is no picture
    target = io.BytesIO()
    flat.save(target, "JPEG", quality=_QUALITY)
    return Thumbnail(f"data:image/jpeg;base64,{base64.b64encode(target.getvalue()).decode()}", flat.width, flat.height)
