"""Text that came out of any model, against a release: does it repeat captions?

Captions go by in a stream. Of each, hashes of its runs of words are looked up among those of the lines, all captions of
a batch at once; what shares one is then compared word by word, so that nothing hangs on hashes. A resemblance is a
number, not a judgement: where a line repeats eight words in a row, somebody has to look.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..schemas.errors import InputError
from ..udfs.overlap import length, longest_shared_run, runs, spaced
from ..udfs.run_hashes import run_hashes
from ..udfs.text import caption_clean, caption_key
from . import _manifest
from ._audit_row import Row, row
from ._catalog import open_release
from ._release import Release

# Runs of eight words are what the n-gram overlap of test sets is told by elsewhere (8-grams: PaLM, Chowdhery et al.
# 2022, section 7); of sixteen characters where no space is put between words.
RUN_WORDS = 8

_CAPTIONS = "SELECT pair_id, caption FROM outcome WHERE outcome = 'released' AND caption IS NOT NULL"
_BATCH_ROWS = 65_536  # in far smaller ones most of the time goes into compiling regular expressions


def text(file: str | Path, release_dir: str) -> list[Row]:
    """For each line of a file, the released caption that it repeats, whole or in part.

    Args:
        file: UTF-8, one text a line; blank lines are passed over.
        release_dir: the release.

    Returns:
        ``audit`` rows of the kind ``copied_text``, one a line; value is the length in words of the longest run that
        is shared with a caption, 0 if it is shorter than ``RUN_WORDS``; a line that is a whole caption is a finding
        however short it is, and has no threshold. A character of a script without spaces is half a word. Of equals
        the pair with the lowest id is named.

    Raises:
        InputError: no such file, not UTF-8, or nothing in it.
        ReleaseError: not a finished release, or one with a table that is not the one that the manifest names.
    """
    lines = _lines(Path(file))
    release = Release(release_dir)
    _manifest.require_unchanged(release, _manifest.load(release), "pairs/", "tables/")
    search = _Search(lines)
    for batch in open_release(release_dir).batches(_CAPTIONS, _BATCH_ROWS):
        search.look(batch.column("pair_id"), batch.column("caption").cast(pa.string()))
    return [search.row(number) for number in lines]


def _lines(path: Path) -> dict[int, str]:
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(str(path), f"cannot be read ({error})", "UTF-8 text, one a line") from error
    lines = {number: line.strip() for number, line in enumerate(content.split("\n"), 1) if line.strip()}
    if not lines:
        raise InputError(str(path), "is empty", "one text a line")
    return lines


class _Hashes:
    """A set of hashes that is asked for many at once."""

    _BITS = 20

    def __init__(self, hashes: NDArray[np.uint64]):
        self._known = np.unique(hashes)
        self._seen = np.zeros(1 << self._BITS, np.bool_)  # passed by few that are not known, and quick to ask
        self._seen[self._place(self._known)] = True

    def among(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Places of those that are known."""
        places = np.flatnonzero(self._seen[self._place(hashes)])
        return places[np.isin(hashes[places], self._known)]

    def _place(self, hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
        return (hashes * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - self._BITS)


@dataclass(frozen=True, order=True)
class _Match:
    """A caption that a line repeats. The smallest is the closest, and of equals that of the lowest pair id.

    Attributes:
        order: 0 if the line is the caption, 1 if it is but for spelling, 2 if they share a run.
        length: in words, negative.
    """

    order: int
    length: float
    pair_id: int


class _Search:
    """Lines, indexed by what captions may share with them, and the closest caption of each."""

    def __init__(self, lines: dict[int, str]):
        values = pa.array(lines.values(), pa.string())
        longest = pa.array([max(map(len, lines.values()))] * len(lines), pa.int32())
        cleaned, keys = caption_clean(values, longest).to_pylist(), caption_key(values)
        hashes = run_hashes(values, RUN_WORDS)
        self._runs, self._wholes = _Hashes(hashes.runs), _Hashes(hashes.wholes)
        self._words = dict(zip(lines, _words(keys), strict=True))
        self._best: dict[int, _Match] = {}
        self._same: dict[int, int] = defaultdict(int)
        self._by_caption: dict[str, list[int]] = defaultdict(list)
        self._by_key: dict[str, list[int]] = defaultdict(list)
        self._by_run: dict[str, set[int]] = defaultdict(set)
        for number, caption, key in zip(lines, cleaned, keys.to_pylist(), strict=True):
            self._by_caption[caption].append(number)
            self._by_key[key].append(number)
            for run in runs(self._words[number], RUN_WORDS):
                self._by_run[run].add(number)

    def look(self, pair_ids: pa.Array, captions: pa.Array) -> None:
        """Compare all lines with some captions."""
        found = run_hashes(captions, RUN_WORDS)
        sharing = np.union1d(found.rows[self._runs.among(found.runs)], self._wholes.among(found.wholes))
        if not len(sharing):
            return
        captions = captions.take(pa.array(sharing))
        keys = caption_key(captions)
        columns = (pair_ids.take(pa.array(sharing)).to_pylist(), captions.to_pylist(), keys.to_pylist(), _words(keys))
        for one in zip(*columns, strict=True):
            self._compare(*one)

    def row(self, number: int) -> Row:
        """What was found of a line."""
        subject, best = f"line {number}", self._best.get(number)
        if best is None:
            return row("copied_text", subject, 0.0, float(RUN_WORDS), False, "repeats no caption")
        same, words = self._same[number], -best.length
        detail = (
            "repeats it verbatim", "repeats it but for case, punctuation and spacing",
            f"shares {words:g} words in a row with it",
        )[best.order]  # fmt: skip
        detail += f"; {same} released pairs have this caption" if same else ""
        return row("copied_text", subject, words, None if same else float(RUN_WORDS), True, detail, best.pair_id)

    def _compare(self, pair_id: int, caption: str, key: str, words: list[str]) -> None:
        most = length(words)
        for number in self._by_key.get(key, ()):
            self._same[number] += 1
            verbatim = number in self._by_caption.get(caption, ())
            self._offer(number, _Match(0 if verbatim else 1, -most, pair_id))
        sharing = {number for run in runs(words, RUN_WORDS) for number in self._by_run.get(run, ())}
        for number in sharing:
            if self._is_closer(number, _Match(2, -most, pair_id)):
                shared = longest_shared_run(self._words[number], words)
                self._offer(number, _Match(2, -shared, pair_id))

    def _is_closer(self, number: int, match: _Match) -> bool:
        best = self._best.get(number)
        return best is None or match < best

    def _offer(self, number: int, match: _Match) -> None:
        if self._is_closer(number, match):
            self._best[number] = match


def _words(keys: pa.Array) -> list[list[str]]:
    return [key.split() for key in spaced(keys).to_pylist()]
