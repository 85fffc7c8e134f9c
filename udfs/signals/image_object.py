"""schema.org ``ImageObject``: what the JSON-LD of a page says about one picture, found by the picture's URL.

Source: https://schema.org/ImageObject and Google's "image metadata" guidelines, whose fields these are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import ada_url

from ..urls import canonical_key

MAX_NODES = 100_000
"""Of a JSON-LD document; a page with more is no description of pictures."""

MAX_TEXTS = 16
"""Different licences, offers or names of one picture. Two licences already contradict each other."""

_TYPE_PREFIX = re.compile(r"[/:#]")


@dataclass(frozen=True, slots=True)
class ImageObject:
    """What is said about one picture.

    Attributes:
        licences: URLs, absolute.
        offers: URLs of pages where a licence can be acquired, absolute.
        creators: names under ``creator`` or else ``creditText``, as written.
        caption: its ``caption``; empty if there is none.
    """

    licences: tuple[str, ...] = ()
    offers: tuple[str, ...] = ()
    creators: tuple[str, ...] = ()
    caption: str = ""

    def joined(self, other: ImageObject) -> ImageObject:
        """What two descriptions of the same picture say together."""
        return ImageObject(
            _first(self.licences + other.licences),
            _first(self.offers + other.offers),
            _first(self.creators + other.creators),
            self.caption or other.caption,
        )


def by_key(documents: Iterable[str], base: str) -> dict[str, ImageObject]:
    """The descriptions by canonical key of the picture's ``contentUrl`` or ``url``. Broken JSON-LD states nothing.

    Args:
        documents: texts of a page's JSON-LD scripts.
        base: what relative URLs are resolved against.
    """
    found: dict[str, ImageObject] = {}
    for node in _image_objects(documents):
        said = None
        for text in {*_texts(node.get("contentUrl")), *_texts(node.get("url"))}:
            key = canonical_key(absolute(base, text))
            if key is not None:
                said = said or _read(node, base)
                found[key] = found[key].joined(said) if key in found else said
    return found


def absolute(base: str, reference: str) -> str:
    """A reference of a page as an absolute URL; the reference itself where it cannot be one."""
    try:
        return ada_url.join_url(base, reference.strip())
    except (ValueError, UnicodeError):
        return reference


def _read(node: dict, base: str) -> ImageObject:
    return ImageObject(
        _first(absolute(base, text) for text in _texts(node.get("license"))[:MAX_TEXTS]),
        _first(absolute(base, text) for text in _texts(node.get("acquireLicensePage"))[:MAX_TEXTS]),
        _first(_names(node.get("creator")) or _names(node.get("creditText"))),
        next(iter(_names(node.get("caption"))), ""),
    )


def _first(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(islice(dict.fromkeys(texts), MAX_TEXTS))


def _image_objects(documents: Iterable[str]) -> Iterator[dict]:
    for document in documents:
        try:
            todo = [json.loads(document)]
        except (ValueError, RecursionError):
            continue
        for _ in range(MAX_NODES):
            if not todo:
                break
            node = todo.pop()
            if isinstance(node, dict):
                if any(_TYPE_PREFIX.split(name)[-1] == "ImageObject" for name in _texts(node.get("@type"))):
                    yield node
                todo.extend(node.values())
            elif isinstance(node, list):
                todo.extend(node)


def _texts(value: object) -> list[str]:
    """The texts or ids of a JSON-LD value, which may be one or a list."""
    values = value if isinstance(value, list) else [value]
    named = [item.get("@id", item.get("url")) if isinstance(item, dict) else item for item in values]
    return [item.strip() for item in named if isinstance(item, str) and item.strip()]


def _names(value: object) -> list[str]:
    """The texts or names of a JSON-LD value."""
    values = value if isinstance(value, list) else [value]
    named = [item.get("name") if isinstance(item, dict) else item for item in values]
    return [item.strip() for item in named if isinstance(item, str) and item.strip()]
