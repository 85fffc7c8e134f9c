"""Which bits to compare first, so that a join on equal values finds every pair of hashes within a radius.

A hash is cut into bands that do not overlap, and each band is given a number of flips, such that all (flips + 1)
together make radius + 1. Two hashes within the radius then agree on at least one band up to its flips: if they
differed more everywhere, they would differ by more than the radius. So one side shows each band as it is, the
other with every set of up to that many bits flipped, and the two meet where the values are equal. Of two bands
that differ, the one with the highest differing bit set does the flipping: half of the work.

Bands may take bits of earlier ones along. What earlier bands do not find differs in each of them by more than its
flips, which leaves any one of them at most radius less the (flips + 1) of the others. Cut into one piece more than
that, it has a piece without a difference. So a band can be taken once for each of the pieces, which has to agree as it
is: more joins with far fewer candidates, which pays where hashes are many.

Long hashes are words of 64 bits, which share radius + 1 in the same way: a pair within 31 of 256 bits is within
7 of 64 in some word, so a join carries one word only, and is checked on one word first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pyarrow as pa

from .arrow import pc, udf

WORD_BITS = 64
PDQ_WORDS = 4
_PDQ_BYTES = 32
_MOST_PROBES = 20_000  # of one word: the masks themselves are a table that every hash meets

# What a band costs is told in probes, as measured in DuckDB. Bits of real hashes are not independent, so there are more
# candidates than chance gives: counted twice.
_BAND_COST = 3.0
_CANDIDATE_COST = 1.0
_LISTED_COST = 2.0


@dataclass(frozen=True)
class Band:
    """A run of bits that has to agree up to a number of flips.

    Attributes:
        word: the 64-bit word it lies in.
        shift: its lowest bit.
        width: bits; 0 agrees with everything.
        flips: bits of the run that may differ.
        exact: other bits of the word, as a number, that have to agree too.
    """

    word: int
    shift: int
    width: int
    flips: int
    exact: int = 0

    @property
    def masks(self) -> int:
        """Sets of bits to flip, the empty one included."""
        return sum(math.comb(self.width, count) for count in range(self.flips + 1))

    @property
    def chance(self) -> float:
        """Share of random hashes that agree with a random hash, at most."""
        return min(1.0, self.masks / 2 ** (self.width + self.exact.bit_count()))


def bands(words: int, radius: int, rows: int) -> list[Band]:
    """The bands that find all pairs within a radius at the least expected cost.

    Args:
        words: 64-bit words of a hash.
        radius: most bits that may differ.
        rows: hashes, all different. More of them ask for wider bands with more flips.
    """
    return _cheapest(words, radius, lambda band: _cost(band, rows), refine=True)


def list_bands(words: int, radius: int, entries: int, looks: int) -> list[Band]:
    """The bands that find all pairs of a listed hash and another within a radius at the least expected cost.

    Args:
        words: 64-bit words of a hash.
        radius: most bits that may differ.
        entries: hashes of the list, which flips bits.
        looks: hashes it is compared with, which show their bands as they are.
    """
    return _cheapest(words, radius, lambda band: _list_cost(band, entries, looks), refine=False)


def _cheapest(words: int, radius: int, cost: Callable[[Band], float], refine: bool) -> list[Band]:
    shares = _shares(radius + 1, words)
    plans = {share: _word_bands(share, cost, refine) for share in set(shares)}
    return [replace(band, word=word) for word, share in enumerate(shares) for band in plans[share]]


def probe_table(bands: list[Band]) -> pa.Table:
    """The bands for SQL, one row for every set of bits to flip.

    Returns: band: int32, its number; word: int32; mask: int64, its bits; flip: int64, those of them to flip, 0 for
        none; top: int64, the highest of these, 0 for none.
    """
    rows = [
        (number, band.word, _signed(_run(band.shift, band.width) | band.exact), *flip)
        for number, band in enumerate(bands)
        for flip in _flips(band)
    ]
    return pa.Table.from_pylist([dict(zip(PROBE.names, row, strict=True)) for row in rows], PROBE)


PROBE = pa.schema(
    [
        ("band", pa.int32()), ("word", pa.int32()), ("mask", pa.int64()), ("flip", pa.int64()), ("top", pa.int64()),
    ]
)  # fmt: skip


@udf(pa.binary(), pa.int32(), returns=pa.int64())
def pdq_word(pdq: pa.Array, word: pa.Array) -> pa.Array:
    """One of the four 64-bit words of a PDQ hash, for comparing bits in SQL.

    Args: pdq: binary[n], 32 bytes each. word: int32[n], 0 to 3.
    Returns: int64[n], big-endian, as a signed integer; null for null and for another length.
    """
    if not len(pdq):
        return pa.array([], pa.int64())
    known = pc.fill_null(pc.equal(pc.binary_length(pdq), _PDQ_BYTES), False)
    fixed = pc.if_else(known, pdq, pa.scalar(bytes(_PDQ_BYTES), pa.binary())).cast(pa.binary(_PDQ_BYTES))
    words = np.frombuffer(fixed.buffers()[1], ">i8").reshape(-1, PDQ_WORDS)[fixed.offset :][: len(fixed)]
    column = words[np.arange(len(words)), word.to_numpy()].astype(np.int64)
    return pa.array(column, mask=~known.to_numpy(zero_copy_only=False))


def _word_bands(share: int, cost: Callable[[Band], float], refine: bool) -> list[Band]:
    """The cheapest bands of a word that find all pairs differing in fewer than ``share`` of its bits."""
    plan, least = [], math.inf
    for layout in _layouts(share):
        if share and cost(layout[0]) < least:
            plain = [[band] for band in layout]
            found = [_refined(layout, number, share, cost) for number in range(len(layout))] if refine else plain
            total = sum(cost(band) for bands in found for band in bands)
            if total < least:
                plan, least = [band for bands in found for band in bands], total
    return plan


def _layouts(share: int) -> Iterator[list[Band]]:
    """Bands whose (flips + 1) together make ``share``."""
    yield [Band(0, 0, 0, 0)]  # all pairs: what is left where the radius is too large for anything else
    for count in range(1, min(share, WORD_BITS) + 1):
        least, more = divmod(share, count)
        flips = [least] * more + [least - 1] * (count - more)
        for width in range(1, WORD_BITS // max(more, 1) + 1) if more else (0,):
            widths = [width] * more + _shares(WORD_BITS - width * more, count - more)
            layout = _laid_out(widths, flips)
            if sum(band.masks for band in layout) <= _MOST_PROBES:
                yield layout


def _laid_out(widths: list[int], flips: list[int]) -> list[Band]:
    starts = [sum(widths[:number]) for number in range(len(widths))]
    return [Band(0, *band) for band in zip(starts, widths, flips, strict=True)]


def _refined(layout: list[Band], number: int, share: int, cost: Callable[[Band], float]) -> list[Band]:
    """A band, or several where they cost less, each with pieces of the bands before it that have to agree too."""
    found = [layout[number]]
    before = layout[:number]
    for other in before:
        differ = share - sum(band.flips + 1 for band in before if band is not other)
        if differ > other.width:
            break
        finer = [replace(band, exact=band.exact | piece) for band in found for piece in _pieces(other, differ)]
        if sum(map(cost, finer)) >= sum(map(cost, found)):
            break
        found = finer
    return found


def _pieces(band: Band, count: int) -> list[int]:
    """The bits of a band, in so many runs, as numbers."""
    widths = _shares(band.width, count)
    return [_run(band.shift + sum(widths[:number]), width) for number, width in enumerate(widths)]


def _cost(band: Band, rows: int) -> float:
    return _BAND_COST + (band.masks - 1) / 2 + _CANDIDATE_COST * band.chance * rows / 2


def _list_cost(band: Band, entries: int, looks: int) -> float:
    return entries * band.masks + looks + _LISTED_COST * band.chance * entries * looks


def _flips(band: Band) -> Iterator[tuple[int, int]]:
    """Each set of bits to flip, and the highest of them, as signed 64-bit integers."""
    yield 0, 0
    for count in range(1, min(band.flips, band.width) + 1):
        for bits in combinations(range(band.shift, band.shift + band.width), count):
            yield _signed(sum(1 << bit for bit in bits)), _signed(1 << bits[-1])


def _run(shift: int, width: int) -> int:
    return ((1 << width) - 1) << shift


def _signed(bits: int) -> int:
    return bits - (bits >> WORD_BITS - 1 << WORD_BITS)


def _shares(total: int, parts: int) -> list[int]:
    """A number in parts as equal as whole numbers can be, larger ones first."""
    if not parts:
        return []
    least, more = divmod(total, parts)
    return [least + (part < more) for part in range(parts)]
