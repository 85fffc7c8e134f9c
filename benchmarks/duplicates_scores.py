"""Which pairs of pictures a perceptual hash ties at every radius, and which of these are pairs of one picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fairshard.schemas.config import Dedup
from fairshard.udfs.colours import colour_distance
from fairshard.udfs.leaders import Closeness

Bits = NDArray[np.uint64]
Counts = NDArray[np.int64]

_ROWS = 128  # at a time, so that distances stay in the processor's cache
TOPICS = 1 << 20  # most folders in a folder
COSINE_STEPS = 200  # of a radius of 1


@dataclass(frozen=True)
class Hashes:
    """What is known of n pictures, in the order of their originals.

    Attributes:
        topic: int64[n], the folder times ``TOPICS``, plus the folder in it, or 0 of a picture that is in none. Pictures are of
            one topic if both are the same, or one of them lies in the folder and the other in one of its own.
        symmetric: bool[n], whether the original is its own mirror image.
        sha256: uint64[n], its first 8 bytes.
        phash: uint64[n].
        pdq: uint64[n, 4].
        turned: uint64[n, 8, 4], PDQ of all orientations.
        known: bool[n], whether PDQ's quality allows comparing.
        colours: uint8[n, 768].
        seen: bool[n], whether the colours are known.
        vector: float32[n, d] of unit length; d is 0 where there is no model.
    """

    topic: NDArray[np.int64]
    symmetric: NDArray[np.bool_]
    sha256: Bits
    phash: Bits
    pdq: Bits
    turned: Bits
    known: NDArray[np.bool_]
    colours: NDArray[np.uint8]
    seen: NDArray[np.bool_]
    vector: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.phash)

    def __getitem__(self, rows: slice | NDArray[np.bool_]) -> Hashes:
        return Hashes(**{name: column[rows] for name, column in vars(self).items()})


@dataclass(frozen=True)
class Measure:
    """A way to compare pictures.

    Attributes:
        distance: of all left to all right pictures, integers[l, r].
        most: the largest distance.
        needs_quality: whether pictures of low PDQ quality are not compared.
    """

    distance: Callable[[Hashes, Hashes], NDArray]
    most: int
    needs_quality: bool = True


@dataclass(frozen=True)
class Tally:
    """Pairs by distance, the last entry for those that are not compared.

    Attributes:
        own: of an original and its copy.
        wrong: of different originals, or of their copies. Each is counted both ways round, and halved.
        wrong_within: those of ``wrong`` whose originals have one topic.
        nearest: for each original the distance of the nearest picture of another, original or copy.
        comparable: originals of enough quality.
    """

    own: Counts
    wrong: Counts
    wrong_within: Counts
    nearest: Counts
    comparable: int

    def recall(self) -> NDArray[np.float64]:
        """At each radius, of the copies whose original can be compared."""
        return np.cumsum(self.own[:-1]) / max(self.comparable, 1)

    def precision(self, *, within_topics: bool = True) -> NDArray[np.float64]:
        """At each radius, of the pairs found; 1 where none is. Pairs within topics may be left out."""
        right = np.cumsum(self.own[:-1])
        wrong = np.cumsum((self.wrong if within_topics else self.wrong - self.wrong_within)[:-1])
        return np.where(right + wrong, right / np.maximum(right + wrong, 1), 1.0)

    def tied_wrongly(self) -> NDArray[np.float64]:
        """At each radius, the share of all originals with a false tie."""
        found = np.bincount(self.nearest, minlength=len(self.own))[:-1]
        return np.cumsum(found) / max(len(self.nearest), 1)


def together(tallies: Sequence[Tally]) -> Tally:
    """All pairs of several tallies of one measure."""
    own, wrong, within = (
        np.sum([getattr(one, name) for one in tallies], axis=0) for name in ("own", "wrong", "wrong_within")
    )
    nearest = np.concatenate([one.nearest for one in tallies])
    return Tally(own, wrong, within, nearest, sum(one.comparable for one in tallies))


def phash_bits(left: Hashes, right: Hashes) -> NDArray:
    """uint8[l, r]: 0 to 64."""
    return np.bitwise_count(left.phash[:, None] ^ right.phash)


def pdq_bits(left: Hashes, right: Hashes) -> NDArray:
    """uint16[l, r]: 0 to 256."""
    return _pdq_bits(left.pdq, right.pdq)


def dihedral_bits(left: Hashes, right: Hashes) -> NDArray:
    """uint16[l, r]: 0 to 256, the least of the eight orientations of the left picture."""
    found = _pdq_bits(left.turned[:, 0], right.pdq)
    for turn in range(1, 8):
        np.minimum(found, _pdq_bits(left.turned[:, turn], right.pdq), out=found)
    return found


def cosine_steps(left: Hashes, right: Hashes) -> NDArray:
    """int64[l, r]: cosine distance in steps of 1 / ``COSINE_STEPS``, rounded up."""
    steps = np.ceil((1 - left.vector @ right.vector.T) * COSINE_STEPS - 1e-3)
    return steps.clip(0, 2 * COSINE_STEPS).astype(np.int64)


def untied(dedup: Dedup) -> Callable[[Hashes, Hashes], NDArray]:
    """A distance of 0 where equal bytes, or hashes and colours tie two pictures, as ``dedup`` does, and 1 elsewhere."""
    close = Closeness.of(dedup)

    def apart(left: Hashes, right: Hashes) -> NDArray:
        bits = pdq_bits(left, right)
        sharp = left.known[:, None] & right.known
        near = np.zeros(sharp.shape, np.bool_)
        if close.phash_radius is not None:
            near |= (phash_bits(left, right) <= close.phash_radius) & (sharp | (close.colour_radius is not None))
            if close.confirming_radius is not None:
                near &= bits <= close.confirming_radius
        if close.pdq_radius is not None:
            near |= (bits <= close.pdq_radius) & sharp
        if close.colour_radius is not None:
            near[near] = _colours(left, right, near, close.spared_cells) <= close.colour_radius
        return (~(near | (left.sha256[:, None] == right.sha256))).astype(np.uint8)

    return apart


def tally(measure: Measure, originals: Hashes, copies: Hashes) -> Tally:
    """All pairs among originals and copies, by distance.

    Args: originals, copies: n each, the copy of a picture in the row of its original.
    """
    never, count = measure.most + 1, len(originals)
    own, nearest = np.full(count, never), np.full(count, never)
    both_ways, within = np.zeros(never + 1, np.int64), np.zeros(never + 1, np.int64)
    for start in range(0, count, _ROWS):
        rows = slice(start, min(start + _ROWS, count))
        same_topic = _of_one_topic(originals.topic[rows, None], originals.topic)
        for left, right, ways in ((originals, originals, 1), (originals, copies, 2), (copies, copies, 1)):
            apart = _compared(measure, left[rows], right)
            mates = np.arange(rows.stop - start), np.arange(start, rows.stop)
            if ways == 2:
                own[rows] = apart[mates]
            apart[mates] = never  # no false pair: itself, or its copy
            both_ways += ways * np.bincount(apart.ravel(), minlength=never + 1)
            within += ways * np.bincount(apart[same_topic], minlength=never + 1)
            if left is originals:
                np.minimum(nearest[rows], apart.min(axis=1), out=nearest[rows])
    comparable = int(originals.known.sum()) if measure.needs_quality else count
    return Tally(np.bincount(own, minlength=never + 1), both_ways // 2, within // 2, nearest, comparable)


def _of_one_topic(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
    (folder, inner), (other_folder, other_inner) = np.divmod(one, TOPICS), np.divmod(other, TOPICS)
    return (folder == other_folder) & ((inner == other_inner) | (inner == 0) | (other_inner == 0))


def _compared(measure: Measure, left: Hashes, right: Hashes) -> NDArray[np.uint16]:
    apart = measure.distance(left, right).astype(np.uint16)
    if measure.needs_quality:
        apart[~left.known] = measure.most + 1
        apart[:, ~right.known] = measure.most + 1
    return apart


def _pdq_bits(left: Bits, right: Bits) -> NDArray[np.uint16]:
    found = np.zeros((len(left), len(right)), np.uint16)
    for word in range(left.shape[1]):
        found += np.bitwise_count(left[:, None, word] ^ right[:, word])
    return found


def _colours(left: Hashes, right: Hashes, chosen: NDArray[np.bool_], spared: int) -> Counts:
    """Distances of the colours of the chosen pairs."""
    rows, columns = np.nonzero(chosen)
    one, other = (
        pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(side.colours.shape[1]), len(at), [None, pa.py_buffer(side.colours[at].tobytes())]
        ).cast(pa.binary())
        for side, at in ((left, rows), (right, columns))
    )
    levels = colour_distance(one, other, pa.repeat(pa.scalar(spared, pa.int32()), len(rows))).to_numpy()
    return np.where(left.seen[rows] & right.seen[columns], levels, 256)
