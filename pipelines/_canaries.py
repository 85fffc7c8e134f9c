"""Canaries: invented pairs, planted among those that a model is trained on, to see what it keeps of a pair.

A canary is nobody's: its caption is of words made of syllables, its picture of coloured tiles, both drawn by a hash of
seed and number. So the same seed gives the same canaries on every machine, and any other number gives captions as
likely as theirs that were never planted: what the model would say of a canary it did not see.

Source: Carlini et al., "The Secret Sharer: Evaluating and Testing Unintended Memorization in Neural Networks" (USENIX
Security 2019).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ..schemas.errors import ReleaseError

PICTURE_SIDE = 256  # of canaries for models that scale pictures themselves, as renditions have by default
_WORDS, _SYLLABLES, _TILES = 3, 3, 6
_CONSONANTS, _VOWELS = "bdfghjklmnprstvz", "aeio"  # 16 times 4: six bits choose a syllable without bias


@dataclass(frozen=True)
class Canary:
    """An invented pair.

    Attributes:
        key: unlike any key of a release, which are digits.
        caption: three words of three syllables, such as "zavimo ledira hobeka"; 2 ** 54 are as likely.
        picture: RGB, 6 times 6 tiles of any colour.
    """

    key: str
    caption: str
    picture: Image.Image


def canaries(count: int, seed: int, side: int) -> list[Canary]:
    """The first canaries of a seed; fewer of them are the same ones.

    Args:
        count: how many.
        seed: of the run that they are planted in.
        side: of their pictures, in pixels.
    """
    return [_canary(f"{seed}/{number}", f"canary{number:04d}", side) for number in range(count)]


def never_planted(count: int, seed: int, side: int) -> list[Canary]:
    """As ``canaries``, of a kind that no run plants: the controls."""
    return [_canary(f"control/{seed}/{number}", f"control{number:04d}", side) for number in range(count)]


def candidates(count: int, seed: int) -> list[str]:
    """Captions that no canary and no control has: what the own caption of a canary is ranked among."""
    return [_caption(_drawn(f"candidate/{seed}/{number}")) for number in range(count)]


def planted(sown: list[Canary], repeats: int, released: int) -> Callable[[Iterable[Any]], Iterator[dict[str, Any]]]:
    """A step of a WebDataset pipeline, after the shards are read: canaries between the samples of an epoch.

    Args:
        sown: the canaries.
        repeats: how often each comes in an epoch, as if the release held so many copies of it.
        released: samples that an epoch reads; copies are spread evenly among them. Where several workers read, each
            plants its share, rounded down.
    """
    files = [
        {"__key__": each.key, "__url__": "canaries", "png": _png(each), "txt": each.caption.encode()} for each in sown
    ]
    copies = len(files) * repeats

    def plant(samples: Iterable[Any]) -> Iterator[dict[str, Any]]:
        done = 0
        for read, sample in enumerate(samples, 1):
            yield sample
            for copy in range(done, read * copies // released):
                yield dict(files[copy % len(files)])
                done = copy + 1

    return plant


def record(count: int, repeats: int, seed: int, side: int) -> dict[str, int] | None:
    """What run.json says of planted canaries: enough to make them again; None where there are none."""
    return {"planted": count, "repeats": repeats, "seed": seed, "side": side} if count else None


def of_record(run: dict[str, Any]) -> list[Canary]:
    """The canaries that a run planted, by its run.json.

    Raises:
        ReleaseError: the record does not say which.
    """
    said = run.get("canaries")
    if said is None:
        return []
    stated = [said.get(name) for name in ("planted", "seed", "side")] if isinstance(said, dict) else []
    wanted = [number for number in stated if isinstance(number, int) and number >= 0]
    if len(wanted) != 3:
        raise ReleaseError("run.json: canaries", f"is {said!r}", "how many, their seed and side, as train writes them")
    return canaries(*wanted)


def _canary(drawn_by: str, key: str, side: int) -> Canary:
    drawn = _drawn(drawn_by)
    tiles = Image.frombytes("RGB", (_TILES, _TILES), drawn[_WORDS * _SYLLABLES :])
    return Canary(key, _caption(drawn), tiles.resize((side, side), Image.Resampling.NEAREST))


def _drawn(by: str) -> bytes:
    """Of a hash and not of a random generator, whose stream may change with its library."""
    size = _WORDS * _SYLLABLES + 3 * _TILES * _TILES
    return hashlib.shake_256(b"fairshard canary\0" + by.encode()).digest(size)


def _caption(drawn: bytes) -> str:
    syllables = [_CONSONANTS[byte >> 2 & 15] + _VOWELS[byte & 3] for byte in drawn[: _WORDS * _SYLLABLES]]
    return " ".join("".join(syllables[word::_WORDS]) for word in range(_WORDS))


def _png(canary: Canary) -> bytes:
    buffer = io.BytesIO()
    canary.picture.save(buffer, "PNG")
    return buffer.getvalue()
