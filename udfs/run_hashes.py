"""Hashes of the runs of words in texts, for all texts of an array at once.

A hash is a sum of powers, so that of any run is the difference of two running sums: no run is ever written out. Sums
wrap at 64 bits, for which texts can be built whose hashes meet; so what has the hash of a run still has to be compared.

Source: Karp and Rabin 1987, doi:10.1147/rd.312.0249.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .arrow import pc
from .overlap import CHARACTER, UNSPACED, spaced
from .text import caption_key

_MOST_BYTES = 1 << 18  # at once: each byte takes some forty while it is worked on, which then stay in the cache

# Odd, so that they have inverses; from the finaliser of SplitMix64.
_OF_BYTES, _OF_WORDS = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB

# `caption_key`, byte by byte, of texts that are ASCII: 0 where there is no word. Of keys themselves: blanks alone are 0.
_ASCII = np.array(
    [ord(chr(byte).lower()) if chr(byte).isalnum() and byte < 128 else 0 for byte in range(256)], np.uint8
)
_KEY = np.where(np.arange(256) == ord(" "), 0, np.arange(256)).astype(np.uint8)

_BOUNDS = np.array([bound for first, last in UNSPACED for bound in (first, last + 1)])
_Hashes = NDArray[np.uint64]
_Places = NDArray[np.int64]


class RunHashes(NamedTuple):
    """Hashes of some texts.

    Attributes:
        rows: int64[m], ascending within each half; the text that a run stands in.
        runs: uint64[m], of every run that ``overlap.runs`` gives of the words of ``caption_key``.
        wholes: uint64[n], of all words of each text.
    """

    rows: _Places
    runs: _Hashes
    wholes: _Hashes


def run_hashes(texts: pa.Array, least: float) -> RunHashes:
    """Hashes of all runs in texts: equal for equal runs, whatever their case, punctuation and spacing.

    Args:
        texts: string[n], none of them null.
        least: what a run counts at least, in words; see ``overlap``.
    """
    rows, runs, wholes = [], [], np.zeros(len(texts), np.uint64)
    plain = pc.and_(pc.string_is_ascii(texts), pc.match_substring_regex(texts, "[A-Za-z0-9]"))
    for chosen, table in ((plain, _ASCII), (pc.invert(plain), _KEY)):
        places = np.flatnonzero(chosen.to_numpy(zero_copy_only=False))
        if not len(places):
            continue
        of_kind = texts.filter(chosen)
        for first, part in _parts(of_kind if table is _ASCII else spaced(caption_key(of_kind))):
            here = places[first : first + len(part)]
            found = _hashed(part, table, least)
            rows.append(here[found.rows])
            runs.append(found.runs)
            wholes[here] = found.wholes
    return RunHashes(np.concatenate([np.empty(0, np.int64), *rows]), np.concatenate([wholes[:0], *runs]), wholes)


def _parts(texts: pa.Array, first: int = 0) -> list[tuple[int, pa.Array]]:
    """Pieces of at most so many bytes, or of one text, each with its first row."""
    if not len(texts):
        return []
    if len(texts) == 1 or texts.nbytes <= _MOST_BYTES:
        return [(first, texts)]
    half = len(texts) // 2
    return _parts(texts.slice(0, half), first) + _parts(texts.slice(half), first + half)


def _hashed(texts: pa.Array, table: NDArray[np.uint8], least: float) -> RunHashes:
    data, offsets = _bytes(texts)
    folded = table[data]
    starts, ends = _words(folded > 0, offsets)
    words = _sums(folded, _OF_BYTES).of(starts, ends)
    first = np.searchsorted(starts, offsets)  # word of each row, and behind the last row the number of all
    sums = _sums(words, _OF_WORDS)
    rows = np.repeat(np.arange(len(texts)), np.diff(first))
    begins, behind = _runs(data, starts, least)
    inside = behind <= first[rows[begins] + 1]
    begins, behind = begins[inside], behind[inside]
    return RunHashes(rows[begins], sums.of(begins, behind), sums.of(first[:-1], first[1:]))


def _bytes(texts: pa.Array) -> tuple[NDArray[np.uint8], _Places]:
    """The UTF-8 of all texts, and where each begins; behind the last, where it ends."""
    _, offsets, data = texts.buffers()
    places = np.frombuffer(offsets, np.int32, len(texts) + 1, texts.offset * 4).astype(np.int64)
    if data is None:
        return np.empty(0, np.uint8), places - places[0]
    return np.frombuffer(data, np.uint8)[places[0] : places[-1]], places - places[0]


def _words(inside: NDArray[np.bool_], offsets: _Places) -> tuple[_Places, _Places]:
    """Where words begin and end; none goes on into the next text."""
    borders = np.zeros(len(inside) + 1, np.bool_)
    borders[offsets] = True
    outside = ~inside
    after, before = borders[:-1].copy(), borders[1:].copy()
    after[1:] |= outside[:-1]
    before[:-1] |= outside[1:]
    return np.flatnonzero(inside & after), np.flatnonzero(inside & before) + 1


def _runs(data: NDArray[np.uint8], starts: _Places, least: float) -> tuple[_Places, _Places]:
    """The words at which runs begin, and the words behind their ends, texts not being told apart."""
    counts = _counts(data, starts)
    if (counts == 1).all():
        begins = np.arange(max(0, len(starts) + 1 - math.ceil(least)))
        return begins, begins + math.ceil(least)
    sums = np.concatenate([[0], np.cumsum(counts)])
    behind = np.searchsorted(sums, sums[:-1] + least)
    begins = np.flatnonzero(behind <= len(starts))
    return begins, behind[begins]


def _counts(data: NDArray[np.uint8], starts: _Places) -> NDArray[np.float64]:
    """What each word counts, by its first character."""
    counts = np.ones(len(starts))
    high = np.flatnonzero(data[starts] >= 0xE0)  # characters below U+0800 take two bytes, and are of no such script
    at = starts[high]
    size = np.where(data[at] < 0xF0, 3, 4)
    code = data[at].astype(np.int64) & np.where(size == 3, 0x0F, 0x07)
    for place in range(1, 4):
        more = place < size
        code = np.where(more, code << 6 | data[np.minimum(at + place, len(data) - 1)] & 0x3F, code)
    counts[high[np.searchsorted(_BOUNDS, code, "right") % 2 == 1]] = CHARACTER
    return counts


class _Sums(NamedTuple):
    """Running sums of values times powers: ``until[i]`` of those before place i."""

    until: _Hashes
    factor: int

    def of(self, starts: _Places, ends: _Places) -> _Hashes:
        """Of each stretch, as if it stood at the beginning."""
        return (self.until[ends] - self.until[starts]) * _powers(pow(self.factor, -1, 1 << 64), len(self.until))[starts]


def _sums(values: NDArray[np.unsignedinteger], factor: int) -> _Sums:
    until = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values * _powers(factor, len(values)), out=until[1:])
    return _Sums(until, factor)


_POWERS: dict[int, _Hashes] = {}


def _powers(factor: int, count: int) -> _Hashes:
    """The first powers of a number, from 0 on, wrapped at 64 bits."""
    if len(known := _POWERS.get(factor, np.empty(0, np.uint64))) < count:
        factors = np.full(max(count, _MOST_BYTES + 1), factor, np.uint64)
        factors[0] = 1
        known = _POWERS[factor] = np.cumprod(factors)
    return known[:count]
