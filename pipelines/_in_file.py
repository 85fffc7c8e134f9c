"""What a picture file says about itself: reservations, marks of the model that made it, its creators and licence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from ..schemas.verdicts import DENY, NONE
from ..udfs.signals import Evidence, c2pa_manifest, creators, image_blocks, licence, synthetic, watermark, xmp
from ._said import Said

FREE_TEXT, SYNTHETIC = "free_text", "synthetic"

# Kinds that a file can state.
KINDS = frozenset({xmp.KIND, c2pa_manifest.KIND, FREE_TEXT, SYNTHETIC})


@dataclass(frozen=True, slots=True)
class InFile:
    """What a file says.

    Attributes:
        said: evidence, with what tags come to under a policy that binds their kind.
        creators: names, as they are written.
        licence: SPDX id in lower case, or the URL of a licence that has none; None where none is stated.
    """

    said: tuple[Said, ...] = ()
    creators: tuple[str, ...] = ()
    licence: str | None = None


def in_file(data: bytes, rgb: NDArray[np.uint8] | None, at: datetime) -> InFile:
    """Read a picture's metadata, and its pixels for a watermark.

    Args:
        data: the whole file, which was decoded.
        rgb: uint8[h, w, 3], the original's pixels; None: no watermark is looked for, which takes 3 ms for
            640 x 480 pixels.
        at: when the file came.
    """
    blocks = image_blocks.read(data)
    may_hold = c2pa_manifest.may_hold(data, blocks)
    if rgb is None and blocks.says_nothing and not may_hold:
        return InFile()
    said = [*_by_purpose(lambda purpose: xmp.verdict(blocks, purpose))]
    if may_hold:
        said += _by_purpose(lambda purpose: c2pa_manifest.verdict(data, blocks, purpose))
    if rgb is not None:
        said.append((watermark.verdict(rgb), None))
    stated = [one.spdx or one.url for one in licence.of_file(blocks) if not one.offer]
    return InFile(
        tuple(Said(evidence, at, "asset", "the file", only_if=only_if) for evidence, only_if in _with_tags(said)),
        tuple(creators.creators(blocks)),
        stated[0] if stated else None,
    )


_Found = tuple[Evidence, str | None]
"""Evidence, and the line of a policy under which it counts."""


def _by_purpose(read: Callable[[str], Evidence]) -> Iterator[_Found]:
    """What binds training in general, and what binds generative training beyond that."""
    general, generative = read("train"), read("genai")
    yield general, None
    if generative.verdict != general.verdict:
        yield generative, "purpose=genai"


def _with_tags(found: list[_Found]) -> Iterator[_Found]:
    """Each statement, and each tag as a statement of its own kind, which binds where a policy says so."""
    seen = set()
    for evidence, only_if in found:
        if evidence.verdict != NONE:
            yield evidence, only_if
        for tag in evidence.tags:
            kind = FREE_TEXT if tag == xmp.FREE_TEXT else SYNTHETIC
            value = evidence.value if evidence.kind == watermark.KIND else tag
            if tag in (xmp.FREE_TEXT, synthetic.SYNTHETIC, synthetic.PARTIAL) and (kind, value) not in seen:
                seen.add((kind, value))
                yield Evidence(kind, DENY, evidence.scope, value, evidence.source or evidence.kind), None
