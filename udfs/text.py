"""Captions, names and ids: text in, text or numbers out, the same on every engine."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import xxhash

from .arrow import pc, udf

# Control and format characters that carry no text: C0, DEL, C1, byte order marks, bidirectional overrides.
# Joiners (U+200C, U+200D) stay: Persian, Hindi and emoji need them.
_CONTROL = "[\\x00-\\x1f\\x7f-\\x{9f}\\x{feff}\\x{202a}-\\x{202e}\\x{2066}-\\x{2069}\\x{2028}\\x{2029}]+"

# Most captions: words with one space between them, of characters that NFC leaves as they are and nothing combines with.
# Nothing is to be cleaned in those. A test holds them to Unicode's tables.
_LETTERS = (
    "!-~\\x{a1}-\\x{2ff}\\x{388}-\\x{482}\\x{48a}-\\x{58f}\\x{1e00}-\\x{1eff}\\x{2010}-\\x{2027}\\x{2030}-\\x{205e}"
    "\\x{20a0}-\\x{20c0}\\x{2122}\\x{3001}-\\x{3029}\\x{3041}-\\x{3096}\\x{30a1}-\\x{30ff}\\x{4e00}-\\x{9fff}"
    "\\x{ac00}-\\x{d7a3}\\x{1f300}-\\x{1faff}"
)
_CLEAN = f"^[{_LETTERS}]+( [{_LETTERS}]+)*$"

# A number with the Latin letters that touch it, and others that follow after one space: 4k, b07xyz1, 2019 05 31.
_NUMBER = r"[\p{Latin}\p{M}]*\p{N}[\p{Latin}\p{M}\p{N}]*"
_NUMBERS = f"{_NUMBER}( {_NUMBER})*"


@udf(pa.string(), pa.int32(), returns=pa.string())
def caption_clean(caption: pa.Array, max_chars: pa.Array) -> pa.Array:
    """Caption without control characters, white space collapsed, in NFC, cut at ``max_chars``.

    Args: caption: string[n]; null stays null. max_chars: int32[n], one value for the whole column.
    Returns: string[n]; null where nothing is left.
    """
    if not len(caption):
        return caption
    most = max_chars[0].as_py()
    clean = pc.and_(pc.match_substring_regex(caption, _CLEAN), pc.less_equal(pc.binary_length(caption), most))
    other = pc.invert(pc.fill_null(clean, True))
    return pc.replace_with_mask(caption, other, _cleaned(caption.filter(other), most))


@udf(pa.string(), returns=pa.string())
def caption_key(caption: pa.Array) -> pa.Array:
    """What two captions have in common if they differ in case, punctuation and spacing alone.

    Args: caption: string[n]; null stays null.
    Returns: string[n]; the caption itself, folded, where it has no letter or digit.
    """
    folded = pc.utf8_lower(pc.utf8_normalize(caption, "NFKC"))
    words = pc.utf8_trim_whitespace(pc.replace_substring_regex(folded, r"[^\p{L}\p{N}\p{M}]+", " "))
    return pc.if_else(pc.equal(words, ""), folded, words)


@udf(pa.string(), returns=pa.string())
def caption_template(caption: pa.Array) -> pa.Array:
    """``caption_key`` with ``#`` for numbers: what captions made by one rule from changing numbers have in common.

    A number goes with the Latin letters that touch it, so ids, sizes and hashes are masked whole; letters of other
    scripts stay, since some put no space between words. ``IMG_1234.jpg`` and ``img-77.JPG`` give ``img # jpg``.

    Args: caption: string[n]; null stays null.
    Returns: string[n].
    """
    return pc.replace_substring_regex(caption_key(caption), _NUMBERS, "#")


@udf(pa.string(), returns=pa.string())
def name_key(name: pa.Array) -> pa.Array:
    """A creator's name or a licence for comparison: NFKC, case folded, white space collapsed.

    Args: name: string[n]; null stays null.
    Returns: string[n]; null where nothing is left.
    """
    return pa.array([None if text is None else fold_name(text) for text in name.to_pylist()], pa.string())


@udf(pa.string(), pa.int32(), returns=pa.list_(pa.string()))
def phrases(text: pa.Array, most: pa.Array) -> pa.Array:
    """Every run of 1 to ``most`` words that follow each other; words are what single spaces part.

    Args: text: string[n], such as ``caption_key`` gives; null gives null. most: int32[n], one value for the whole column.
    Returns: list<string>[n]; ``a b c`` and 2 give ``[a, b, c, a b, b c]``.
    """
    if not len(text):
        return pa.array([], pa.list_(pa.string()))
    lists = pc.split_pattern(text, " ")
    words, rows = pc.list_flatten(lists), pc.list_parent_indices(lists)
    runs, owners, run = [words], [rows], words
    for size in range(2, most[0].as_py() + 1):
        run = pc.binary_join_element_wise(run[:-1], words[size - 1 :], " ")
        whole = pc.equal(rows[: len(run)], rows[size - 1 :])
        runs.append(run.filter(whole))
        owners.append(rows[: len(run)].filter(whole))
    owner = pa.concat_arrays(owners)
    order = pc.sort_indices(owner)  # stable
    ends = np.cumsum(np.bincount(owner.to_numpy(zero_copy_only=False), minlength=len(text)))
    offsets = pa.array(np.concatenate(([0], ends)), pa.int32(), mask=None)
    return pa.ListArray.from_arrays(offsets, pa.concat_arrays(runs).take(order), mask=pc.is_null(text))


@udf(pa.string(), returns=pa.int32())
def word_count(text: pa.Array) -> pa.Array:
    """Words between white space.

    Args: text: string[n]; null stays null.
    Returns: int32[n].
    """
    return pc.cast(pc.count_substring_regex(text, r"\S+"), pa.int32())


@udf(pa.string(), returns=pa.int32())
def char_count(text: pa.Array) -> pa.Array:
    """Unicode code points of each text; null stays null. Returns: int32[n]."""
    return pc.cast(pc.utf8_length(text), pa.int32())


@udf(pa.string(), returns=pa.int64())
def stable_hash(text: pa.Array) -> pa.Array:
    """64-bit hash that is the same on every engine, machine and version: XXH3, seed 0, as a signed integer.

    Args: text: string[n]; null stays null.
    Returns: int64[n].
    Source: https://github.com/Cyan4973/xxHash (XXH3_64bits of the UTF-8 bytes).
    """
    return _digests(xxhash.xxh3_64_intdigest, text.cast(pa.binary()).to_pylist())


def two_hashes(text: pa.Array) -> tuple[pa.Array, pa.Array]:
    """``stable_hash``, and another 64-bit hash: different texts that share both are not to be expected.

    Args: text: string[n]; null stays null.
    Returns: int64[n], twice.
    Source: https://github.com/Cyan4973/xxHash (XXH3_64bits and XXH64, seed 0).
    """
    values = text.cast(pa.binary()).to_pylist()
    return _digests(xxhash.xxh3_64_intdigest, values), _digests(xxhash.xxh64_intdigest, values)


def fold_name(text: str) -> str | None:
    """``name_key`` of one name."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()) or None


def _digests(digest: Callable[[bytes], int], values: list[bytes | None]) -> pa.Array:
    numbers = [None if value is None else digest(value) for value in values]
    return pc.cast(pa.array(numbers, pa.uint64()), pa.int64(), safe=False)


def _cleaned(caption: pa.Array, most: int) -> pa.Array:
    text = pc.replace_substring_regex(caption, _CONTROL, " ")
    text = pc.utf8_normalize(text, "NFC")
    text = pc.utf8_trim_whitespace(pc.replace_substring_regex(text, " {2,}", " "))
    text = pc.utf8_trim_whitespace(pc.utf8_slice_codeunits(text, 0, most))
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
