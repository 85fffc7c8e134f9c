"""How alike generated pictures are to those trained on, beside how alike pictures are that were never trained on.

Some likeness is no copy: two photographs of a beach are alike, too. What a model that copies nothing would reach, real
pictures tell that it was not trained on: the nearest trained one of each held-out picture. A generated picture that is
more alike to a trained one than nearly all of these are counts as a replica. All pictures are compared as the model is
shown them, cropped and scaled.

Sources: Somepalli et al., "Diffusion Art or Digital Forgery?" (CVPR 2023), for similarity of copy-detection vectors
against that among real pictures, and "Understanding and Mitigating Copying in Diffusion Models" (NeurIPS 2023), for
duplicates; Carlini et al., "Extracting Training Data from Diffusion Models" (USENIX Security 2023), for prompting with
the captions of pictures that were trained on often.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..udfs.hashing import pdq
from ..udfs.membership import exceeded_by
from ..udfs.nearest import Closest, hash_words
from ..udfs.nearest import nearest as nearest_hash
from ..udfs.phash import phash
from ._canaries import Canary
from ._copy_model import CopyModel
from ._held_out import Split
from ._release_vectors import pictures_of
from ._trained import Trained

_BLOCK = 256
TRAINED, HELD_OUT, CANARY = "trained", "held out", "canary"

View = Callable[[Image.Image], Image.Image]
_Hashes = tuple[bytes, bytes]


@dataclass(frozen=True)
class Asked:
    """A caption that a picture is generated from.

    Attributes:
        side: ``TRAINED``, ``HELD_OUT`` or ``CANARY``.
        key: of its sample or canary.
        caption: as it is.
        copies: how often its picture is trained on in an epoch, near-duplicates included; 0 if it is held out.
    """

    side: str
    key: str
    caption: str
    copies: int


@dataclass(frozen=True)
class Near:
    """What of the trained pictures is nearest to each of some.

    Attributes:
        keys: of the nearest by similarity.
        similarity: float32[n], cosine.
        pdq_keys: of the nearest by PDQ.
        bits: int64[n], in which its PDQ differs; 256 where one of the two is too flat to tell.
        phash_bits: int64[n], in which the nearest pHash differs; 64 where PDQ cannot tell.
    """

    keys: list[str]
    similarity: npt.NDArray[np.float32]
    pdq_keys: list[str]
    bits: npt.NDArray[np.int64]
    phash_bits: npt.NDArray[np.int64]

    def __getitem__(self, rows: slice) -> Near:
        """Some of the rows."""
        return Near(self.keys[rows], self.similarity[rows], self.pdq_keys[rows], self.bits[rows], self.phash_bits[rows])


@dataclass(frozen=True)
class Replication:
    """What was measured.

    Attributes:
        asked: n captions.
        pictures: the n generated from them.
        near: of these.
        control: the nearest trained picture of each held-out one.
        threshold: similarity above which a picture is a replica.
        radius: bits of PDQ within which it is one.
        phash_radius: bits of pHash within which it is one.
    """

    asked: list[Asked]
    pictures: list[Image.Image]
    near: Near
    control: Near
    threshold: float
    radius: int
    phash_radius: int

    @property
    def by_similarity(self) -> npt.NDArray[np.bool_]:
        """bool[n]: the replicas by similarity."""
        return self.near.similarity > self.threshold

    @property
    def by_hash(self) -> npt.NDArray[np.bool_]:
        """bool[n]: the replicas by PDQ."""
        return self.near.bits <= self.radius

    @property
    def by_phash(self) -> npt.NDArray[np.bool_]:
        """bool[n]: the replicas by pHash."""
        return self.near.phash_bits <= self.phash_radius

    def of(self, *sides: str) -> npt.NDArray[np.bool_]:
        """bool[n]: which were generated from captions of some sides."""
        return np.array([each.side in sides for each in self.asked], np.bool_)

    @property
    def extracted(self) -> npt.NDArray[np.bool_]:
        """bool[n]: the canaries whose own picture came out of their caption."""
        own = [
            (alike and key == each.key) or (same and pdq_key == each.key)
            for each, alike, same, key, pdq_key in zip(
                self.asked, self.by_similarity, self.by_hash, self.near.keys, self.near.pdq_keys, strict=True
            )
        ]
        return np.array(own, np.bool_) & self.of(CANARY)


def asked(
    split: Split, near: Collection[str], copies: Mapping[str, int], canaries: list[Canary], repeats: int, count: int
) -> list[Asked]:
    """The captions to generate from: as many trained as held-out ones, and one of each canary.

    A quarter are those whose picture is trained on most often, if any is more than once; the others come as the hashes
    of their ids do.

    Args:
        split: the sides.
        near: keys of samples that nearly are on both sides; they are passed over.
        copies: how often the picture of each trained sample is trained on, by key.
        canaries: those planted.
        repeats: how often each came in an epoch.
        count: of captions but for the canaries'.
    """
    first = {sample.picture_sha256: sample for sample in reversed(split.trained) if sample.key not in near}
    distinct = [*first.values()][::-1]
    repeated = [sample for sample in distinct if copies[sample.key] > 1]
    often = sorted(repeated, key=lambda sample: (-copies[sample.key], sample.key))[: count // 4]
    rest = [sample for sample in distinct if sample not in often]
    trained = [*often, *rest][: count // 2]
    held_out = [sample for sample in split.tested if sample.key not in near][: count - len(trained)]
    return [
        *(Asked(TRAINED, each.key, each.caption, copies[each.key]) for each in trained),
        *(Asked(HELD_OUT, each.key, each.caption, 0) for each in held_out),
        *(Asked(CANARY, each.key, each.caption, repeats) for each in canaries),
    ]


def measure(
    run: Trained,
    near: Collection[str],
    canaries: list[Canary],
    captions: list[Asked],
    generated: list[Image.Image],
    model: CopyModel,
    view: View,
    share: float,
    radius: int,
    phash_radius: int,
    min_quality: int,
) -> Replication | None:
    """Compare generated pictures with all that were trained on.

    Args:
        run: its release and its split.
        near: keys of samples that nearly are on both sides; they are no controls.
        canaries: those planted; they were trained on, too.
        captions, generated: n each.
        model: which compares.
        view: a picture as the generating model is shown it.
        share: of the held-out pictures that may be above the threshold.
        radius: bits of PDQ within which pictures are the same.
        phash_radius: bits of pHash, likewise.
        min_quality: of PDQ, below which a picture is too flat to be compared by either.

    Returns:
        None if there is no held-out picture to compare with.
    """
    controls = [sample for sample in run.split.tested if sample.key not in near]
    if not controls or not generated:
        return None
    held_out = [view(picture) for _, picture in pictures_of(run.release.folder, controls)]
    shown = [*generated, *held_out]
    found = _nearest(shown, _trained(run, canaries, view), model, min_quality)
    count = len(generated)
    threshold = exceeded_by(found.similarity[count:], share)
    return Replication(captions, generated, found[:count], found[count:], threshold, radius, phash_radius)


def trained_views(run: Trained, keys: Collection[str], canaries: list[Canary], view: View) -> dict[str, Image.Image]:
    """Some of the trained pictures by key, as the model is shown them."""
    wanted = set(keys)
    samples = [sample for sample in run.split.trained if sample.key in wanted]
    found = {key: view(picture) for key, picture in pictures_of(run.release.folder, samples)}
    return found | {canary.key: view(canary.picture) for canary in canaries if canary.key in wanted}


def _nearest(
    shown: list[Image.Image], trained: Iterator[tuple[str, Image.Image]], model: CopyModel, min_quality: int
) -> Near:
    """The trained pictures are seen once, block by block; of each 50 bytes and its key stay in memory."""
    closest = Closest(model.vectors(shown))
    keys: list[str] = []
    rows = np.zeros(len(shown), np.int64)
    hashes: list[_Hashes | None] = []
    for some in _blocks(trained):
        for row, place in closest.look(model.vectors([picture for _, picture in some])):
            rows[row] = len(keys) + place
        keys += [key for key, _ in some]
        hashes += [_hashes(picture, min_quality) for _, picture in some]
    telling = [row for row, known in enumerate(hashes) if known is not None]
    own = [_hashes(picture, min_quality) for picture in shown]
    by_pdq, by_phash = (_nearest_hashes(own, [hashes[row] for row in telling], which) for which in (0, 1))
    pdq_keys = ["" if place is None else keys[telling[place[0]]] for place in by_pdq]
    bits = np.array([256 if place is None else place[1] for place in by_pdq])
    phash_bits = np.array([64 if place is None else place[1] for place in by_phash])
    return Near([keys[row] for row in rows], closest.similarity, pdq_keys, bits, phash_bits)


def _hashes(picture: Image.Image, min_quality: int) -> _Hashes | None:
    """PDQ and pHash, 32 and 8 bytes; None of a picture too flat."""
    code, quality = pdq(np.asarray(picture))
    return (code, np.int64(phash(np.asarray(picture.convert("L")))).tobytes()) if quality >= min_quality else None


def _nearest_hashes(
    own: list[_Hashes | None], others: list[_Hashes | None], which: int
) -> list[tuple[int, int] | None]:
    """Row and bits of the nearest of the others by one of the hashes; none if there is nothing to tell by."""
    words = hash_words([known[which] for known in others if known])
    return [nearest_hash(hash_words([known[which]]), words) if known and len(words) else None for known in own]


def _trained(run: Trained, canaries: list[Canary], view: View) -> Iterator[tuple[str, Image.Image]]:
    for key, picture in pictures_of(run.release.folder, run.split.trained):
        yield key, view(picture)
    for canary in canaries:
        yield canary.key, view(canary.picture)


def _blocks(trained: Iterator[tuple[str, Image.Image]]) -> Iterator[list[tuple[str, Image.Image]]]:
    waiting: list[tuple[str, Image.Image]] = []
    for each in trained:
        waiting.append(each)
        if len(waiting) == _BLOCK:
            yield waiting
            waiting = []
    if waiting:
        yield waiting
