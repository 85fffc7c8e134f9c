"""Which bits to compare first, so that a join on equal values finds every pair of hashes within a radius.

A hash is cut into bands that do not overlap, and each band is given a number of flips, such that all (flips + 1)
together make radius + 1. Two hashes within the radius then agree on at least one band up to its flips: if they
differed more everywhere, they would differ by more than the radius. So one side shows each band as it is, the
other with every set of up to that many bits flipped, and the two meet where the values are equal. Of two bands
that differ, the one with the highest differing bit set does the flipping: half of the work, and each pair once.

Long hashes are words of 64 bits, which share radius + 1 in the same way: a pair within 31 of 256 bits is within
7 of 64 in some word, so a join carries one word only, and is checked on one word first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pyarrow as pa

from .arrow import pc, udf

WORD_BITS = 64
PDQ_WORDS = 4
_PDQ_BYTES = 32
_WIDEST = 40  # leaves room for the band's number above the value, in a signed 64-bit integer
_NUMBER_SHIFT = 48
_MOST_PROBES = 20_000  # of one word: the masks themselves are a table that every hash meets

# A candidate costs about what a probe costs. Bits of real hashes are not independent, so there are more of them
# than chance gives: counted twice.
_CANDIDATE_COST = 2.0


@dataclass(frozen=True)
class Band:
    """A run of bits that has to agree up to a number of flips.

    Attributes:
        word: the 64-bit word it lies in.
        shift: its lowest bit.
        width: bits; 0 agrees with everything.
        flips: bits that may differ.
    """

    word: int
    shift: int
    width: int
    flips: int

    @property
    def masks(self) -> int:
        """Sets of bits to flip, the empty one included."""
        return sum(math.comb(self.width, count) for count in range(self.flips + 1))


def bands(words: int, radius: int, rows: int) -> list[Band]:
    """The bands that find all pairs within a radius at the least expected cost.

    Args:
        words: 64-bit words of a hash.
        radius: most bits that may differ.
        rows: hashes, all different. More of them ask for wider bands with more flips.
    """
    return _cheapest(words, radius, lambda band: _cost(band, rows))


def list_bands(words: int, radius: int, entries: int, looks: int) -> list[Band]:
    """The bands that find all pairs of a listed hash and another within a radius at the least expected cost.

    Args:
        words: 64-bit words of a hash.
        radius: most bits that may differ.
        entries: hashes of the list, which flips bits.
        looks: hashes it is compared with, which show their bands as they are.
    """
    return _cheapest(words, radius, lambda band: _list_cost(band, entries, looks))


def _cheapest(words: int, radius: int, cost: Callable[[Band], float]) -> list[Band]:
    return [band for word, share in enumerate(_shares(radius + 1, words)) for band in _word_bands(word, share, cost)]


def probe_table(bands: list[Band], words: int, radius: int) -> pa.Table:
    """The bands for SQL, one row for every set of bits to flip.

    Returns: word: int32; limit_bits: int32, most bits of the word that may differ; shift: int32 and mask: int64
        that cut out the band; tag: int64, to be added, tells bands apart; flip: int64, the bits of the band to
        flip, 0 for none; top: int32, the highest of them, counted in the word.
    """
    limits = [share - 1 for share in _shares(radius + 1, words)]
    rows = [
        (
            band.word,
            limits[band.word],
            band.shift,
            (1 << band.width) - 1,
            number << _NUMBER_SHIFT,
            flip,
            band.shift + top,
        )
        for number, band in enumerate(bands)
        for flip, top in _flips(band)
    ]
    return pa.Table.from_pylist([dict(zip(PROBE.names, row, strict=True)) for row in rows], PROBE)


PROBE = pa.schema(
    [
        ("word", pa.int32()), ("limit_bits", pa.int32()), ("shift", pa.int32()), ("mask", pa.int64()),
        ("tag", pa.int64()), ("flip", pa.int64()), ("top", pa.int32()),
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


def _word_bands(word: int, share: int, cost: Callable[[Band], float]) -> list[Band]:
    """The cheapest bands of one word whose (flips + 1) together make ``share``."""
    if share == 0:
        return []
    return min(_layouts(word, share), key=lambda layout: sum(map(cost, layout)))


def _layouts(word: int, share: int) -> Iterator[list[Band]]:
    yield [Band(word, 0, 0, 0)]  # all pairs: what is left where the radius is too large for anything else
    for count in range(1, min(share, WORD_BITS) + 1):
        least, more = divmod(share, count)
        flips = [least] * more + [least - 1] * (count - more)
        for width in range(1, min(_WIDEST, WORD_BITS // max(more, 1)) + 1) if more else (0,):
            widths = [width] * more + _shares(WORD_BITS - width * more, count - more)
            layout = _laid_out(word, [min(width, _WIDEST) for width in widths], flips)
            if sum(band.masks for band in layout) <= _MOST_PROBES:
                yield layout


def _laid_out(word: int, widths: list[int], flips: list[int]) -> list[Band]:
    starts = [sum(widths[:number]) for number in range(len(widths))]
    return [Band(word, *band) for band in zip(starts, widths, flips, strict=True)]


def _cost(band: Band, rows: int) -> float:
    probes = 2 + (band.masks - 1) / 2
    candidates = min(1.0, band.masks / 2**band.width) * rows / 2
    return probes + _CANDIDATE_COST * candidates


def _list_cost(band: Band, entries: int, looks: int) -> float:
    candidates = min(1.0, band.masks / 2**band.width) * entries * looks
    return entries * band.masks + looks + _CANDIDATE_COST * candidates


def _flips(band: Band) -> Iterator[tuple[int, int]]:
    """Each set of bits to flip, as a number, and its highest bit."""
    yield 0, 0
    for count in range(1, min(band.flips, band.width) + 1):
        for bits in combinations(range(band.width), count):
            yield sum(1 << bit for bit in bits), bits[-1]


def _shares(total: int, parts: int) -> list[int]:
    """A number in parts as equal as whole numbers can be, larger ones first."""
    if not parts:
        return []
    least, more = divmod(total, parts)
    return [least + (part < more) for part in range(parts)]
