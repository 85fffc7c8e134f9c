"""Runs of words that two texts share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def runs(words: Sequence[str], length: int) -> Iterator[str]:
    """Every run of ``length`` words, joined by spaces; none if there are fewer words."""
    return (" ".join(words[start : start + length]) for start in range(len(words) - length + 1))


def longest_shared_run(left: Sequence[str], right: Sequence[str]) -> int:
    """Words in the longest run that occurs in both."""
    places: dict[str, list[int]] = {}
    for place, word in enumerate(right):
        places.setdefault(word, []).append(place)
    longest, ending = 0, {}
    for word in left:
        ending = {place: ending.get(place - 1, 0) + 1 for place in places.get(word, ())}
        longest = max(longest, *ending.values(), 0)
    return longest
