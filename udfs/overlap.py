"""Runs of words that two texts share.

Some scripts put no space between words: Chinese, Japanese, Thai, Lao, Khmer and Burmese. Each character of theirs, with
the marks on it, is a word here that counts half: words of these languages have about two, and an estimate of what eight
words of English tell, some 90 bits, is what sixteen such characters tell at least. Cutting them into words would need a
dictionary for each.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

import pyarrow as pa

from .arrow import pc

UNSPACED = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3041, 0x30FF), (0x31F0, 0x31FF),
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF),
)  # fmt: skip
"""First and last code point of each block of these scripts: Thai and Lao, Burmese, Khmer, then Han and kana."""

CHARACTER = 0.5
"""What a character that stands for a word counts."""

_BOUNDS = [bound for first, last in UNSPACED for bound in (first, last + 1)]
_BLOCKS = "".join(f"\\x{{{first:x}}}-\\x{{{last:x}}}" for first, last in UNSPACED)
_CHARACTER = f"([{_BLOCKS}]\\p{{M}}*)"


def spaced(key: pa.Array) -> pa.Array:
    """Texts with one space between words, characters of scripts without spaces taken for words.

    Args:
        key: string[n], as ``caption_key`` gives them; null stays null.
    """
    unspaced = pc.fill_null(pc.match_substring_regex(key, _CHARACTER), False)
    split = pc.replace_substring_regex(key.filter(unspaced), _CHARACTER, " \\1 ")
    single = pc.utf8_trim_whitespace(pc.replace_substring_regex(split, " {2,}", " "))
    return pc.replace_with_mask(key, unspaced, single)


def length(words: Sequence[str]) -> float:
    """What words count together."""
    return sum(map(_counts, words))


def runs(words: Sequence[str], least: float) -> Iterator[str]:
    """The shortest run from each word on that counts at least so much, joined by spaces.

    Two texts that share a run of so much share one of these, since from the same word on they are the same.
    """
    end, counted = 0, 0.0
    for start, word in enumerate(words):
        while counted < least and end < len(words):
            counted += _counts(words[end])
            end += 1
        if counted < least:
            return
        yield " ".join(words[start:end])
        counted -= _counts(word)


def longest_shared_run(left: Sequence[str], right: Sequence[str]) -> float:
    """What the run counts that occurs in both and counts most."""
    places: dict[str, list[int]] = {}
    for place, word in enumerate(right):
        places.setdefault(word, []).append(place)
    longest, ending = 0.0, {}
    for word in left:
        counts = _counts(word)
        ending = {place: ending.get(place - 1, 0.0) + counts for place in places.get(word, ())}
        longest = max(longest, *ending.values(), 0.0)
    return longest


def _counts(word: str) -> float:
    return CHARACTER if bisect_right(_BOUNDS, ord(word[0])) % 2 else 1.0
