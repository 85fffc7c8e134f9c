"""How alike two texts are: the Jaccard index of their shingles, and MinHash bands by which alike texts meet.

Shingles are runs of characters, so no language has to be cut into words: one begins at every character and has five,
or three if it begins with a Chinese, Japanese or Korean character, since these say more. The beginning of a text counts
as a character, and what lies beyond its end as blanks.

Of ``BANDS`` bands of ``ROWS`` hashes each, two texts of Jaccard index s share at least one with probability
1 - (1 - s^ROWS)^BANDS: 0.33 at s = 0.5, 0.956 at 0.7, 0.9995 at 0.8; of unrelated texts (0.05) one pair in 2.5 million.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .arrow import pc, udf

BANDS = 25
ROWS = 6

_LONG, _SHORT = 5, 3
_CJK = 0x2E80  # where Unicode's blocks for Chinese, Japanese and Korean begin
_BEGIN, _BLANK = "\x02", "\x00"

# Odd constants of MurmurHash3's and SplitMix64's finalisers.
_MIX, _MIX_2, _STEP = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53), np.uint64(0x9E3779B97F4A7C15)

# A row's number above the upper 48 bits of a shingle's hash: sorting such numbers sorts all rows at once.
_ROW_SHIFT, _HASH_SHIFT = np.uint64(48), np.uint64(16)
_MOST_ROWS = 1 << 16

# Of an outline.
_KINDS, _KIND_SHIFT = 512, np.uint64(55)
_OUTLINE_BYTES = _KINDS // 8 + 4

_Hashes = NDArray[np.uint64]


@udf(pa.string(), returns=pa.list_(pa.int64()))
def text_bands(text: pa.Array) -> pa.Array:
    """``BANDS`` numbers for each text, of which alike texts share some.

    Args: text: string[n]; null gives null.
    Returns: list<int64>[n]; equal on every machine and version.
    Source: Broder 1997, "On the resemblance and containment of documents"; Leskovec, Rajaraman and Ullman,
        "Mining of Massive Datasets", section 3.4.
    """
    if not len(text):
        return pa.array([], pa.list_(pa.int64()))
    hashes, starts = _shingles(text)
    bands = np.empty((len(text), BANDS), np.uint64)
    changed = np.empty_like(hashes)
    for band in range(BANDS):
        bands[:, band] = band
        for row in range(ROWS):
            times, plus = _SEEDS[band * ROWS + row]
            np.multiply(hashes, times, out=changed)
            np.add(changed, plus, out=changed)
            bands[:, band] = _mixed(bands[:, band] ^ np.minimum.reduceat(changed, starts))
    offsets = pa.array(np.arange(len(text) + 1, dtype=np.int32) * BANDS)
    return pa.ListArray.from_arrays(offsets, pa.array(bands.view(np.int64).ravel()), mask=pc.is_null(text))


@udf(pa.string(), pa.string(), returns=pa.float64())
def text_jaccard(left: pa.Array, right: pa.Array) -> pa.Array:
    """Shingles that two texts share, as a part of all that either has.

    Args: left, right: string[n]; null gives null.
    Returns: float64[n], 0 to 1.
    """
    blocks = range(0, len(left), _MOST_ROWS)
    parts = [_jaccard(left.slice(start, _MOST_ROWS), right.slice(start, _MOST_ROWS)) for start in blocks]
    values = np.concatenate([np.empty(0), *parts])
    return pa.array(values, mask=pc.or_(pc.is_null(left), pc.is_null(right)).to_numpy(zero_copy_only=False))


@udf(pa.string(), returns=pa.binary())
def text_outline(text: pa.Array) -> pa.Array:
    """What ``outline_jaccard`` compares: a bit for each of 512 kinds of shingle, and how many shingles there are.

    Args: text: string[n]; null gives null.
    Returns: binary[n], 68 bytes each; equal on every machine and version.
    """
    parts = [_outlines(text.slice(start, _MOST_ROWS)) for start in range(0, len(text), _MOST_ROWS)]
    return pa.concat_arrays([pa.array([], pa.binary()), *parts])


@udf(pa.binary(), pa.binary(), returns=pa.float64())
def outline_jaccard(left: pa.Array, right: pa.Array) -> pa.Array:
    """What ``text_jaccard`` is at most, from two outlines, in a hundredth of its time.

    A kind that only one of two texts has stands for at least one shingle that only it has. If D shingles at least are of
    one text alone, and both together have S at most, no more than (S - D) / 2 are of both.

    Args: left, right: binary[n], as ``text_outline`` gives them; null gives null.
    Returns: float64[n], 0 to 1.
    """
    known = pc.and_(pc.is_valid(left), pc.is_valid(right))
    apart = np.zeros(len(left))
    both = np.ones(len(left))
    ones, others = (_outline_words(side.filter(known)) for side in (left, right))
    rows = known.to_numpy(zero_copy_only=False)
    apart[rows] = np.bitwise_count(ones[:, :-1] ^ others[:, :-1]).sum(axis=1)
    both[rows] = ones[:, -1] + others[:, -1].astype(np.int64)
    return pa.array((both - apart) / (both + apart), mask=~rows)


def _outlines(text: pa.Array) -> pa.Array:
    hashes, starts = _shingles(text)
    lengths = np.diff(starts, append=len(hashes))
    kinds = np.zeros((len(text), _KINDS), np.bool_)
    kinds[np.repeat(np.arange(len(text)), lengths), (hashes >> _KIND_SHIFT).astype(np.intp)] = True
    counts = lengths.astype("<u4")[:, None].view(np.uint8)
    bits = np.hstack((np.packbits(kinds, axis=1), counts))
    outlines = pa.Array.from_buffers(pa.binary(_OUTLINE_BYTES), len(text), [None, pa.py_buffer(bits.tobytes())])
    return pc.if_else(pc.is_valid(text), outlines.cast(pa.binary()), pa.scalar(None, pa.binary()))


def _outline_words(outlines: pa.Array) -> NDArray[np.uint32]:
    """uint32[n, 17]: kinds, then the count."""
    fixed = outlines.cast(pa.binary(_OUTLINE_BYTES))
    values = np.frombuffer(fixed.buffers()[1] or b"", "<u4").reshape(-1, _OUTLINE_BYTES // 4)
    return values[fixed.offset : fixed.offset + len(fixed)]


def _jaccard(left: pa.Array, right: pa.Array) -> NDArray[np.float64]:
    both = np.concatenate([_distinct(left), _distinct(right)])
    both.sort()
    rows = (both >> _ROW_SHIFT).astype(np.int64)
    shared = np.bincount(rows[1:][both[1:] == both[:-1]], minlength=len(left))
    return shared / (np.bincount(rows, minlength=len(left)) - shared)


def _distinct(text: pa.Array) -> _Hashes:
    """The shingles of every row, each once, sorted, with the row's number in the upper 16 bits."""
    hashes, starts = _shingles(text)
    lengths = np.diff(starts, append=len(hashes))
    rows = np.repeat(np.arange(len(text), dtype=np.uint64), lengths)
    keyed = (rows << _ROW_SHIFT) | (hashes >> _HASH_SHIFT)
    keyed.sort()
    return keyed[np.concatenate([[True], keyed[1:] != keyed[:-1]])]


def _shingles(text: pa.Array) -> tuple[_Hashes, NDArray[np.int64]]:
    """Hashes of the shingles of all rows, one after the other, and where each row's begin. A null counts as empty."""
    text = text.fill_null("")
    between = _BLANK * (_LONG - 1)
    whole = pa.ListArray.from_arrays(pa.array([0, len(text)], pa.int32()), text)
    joined = _BEGIN + pc.binary_join(whole, between + _BEGIN)[0].as_py() + between
    codes = np.frombuffer(joined.encode("utf-32-le"), np.uint32).astype(np.uint64)
    lengths = pc.utf8_length(text).to_numpy().astype(np.int64) + 1
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    begins = np.repeat(np.arange(len(text)) * (_LONG - 1), lengths) + np.arange(lengths.sum())
    return _windows(codes)[begins], starts


def _windows(codes: _Hashes) -> _Hashes:
    """Hash of the run of characters that begins at each place but the last few."""
    count = len(codes) - _LONG + 1
    run = np.zeros(count, np.uint64)
    short = run
    for place in range(_LONG):
        run = (run ^ codes[place : place + count]) * _MIX
        run ^= run >> np.uint64(29)
        if place + 1 == _SHORT:
            short = run
    return _mixed(np.where(codes[:count] >= _CJK, short, run))


def _mixed(values: _Hashes) -> _Hashes:
    values = (values ^ (values >> np.uint64(33))) * _MIX_2
    return values ^ (values >> np.uint64(29))


def _seeds() -> Iterator[tuple[np.uint64, np.uint64]]:
    numbers = _mixed(_mixed(np.arange(1, 2 * BANDS * ROWS + 1, dtype=np.uint64) * _STEP) * _MIX)
    for times, plus in numbers.reshape(-1, 2):
        yield times | np.uint64(1), plus


_SEEDS = tuple(_seeds())
