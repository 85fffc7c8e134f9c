"""XMP: ``plus:DataMining``, the data mining property of the PLUS vocabulary (IPTC Photo Metadata 2023.1).

In JPEG, PNG, WebP, GIF and TIFF. Marks of synthetic pictures and reservations in prose are tags next to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ...schemas.verdicts import ALLOW, COND, DENY, NONE, strictest
from . import Evidence
from .image_blocks import Blocks
from .synthetic import source_type_tag
from .tiff import COPYRIGHT, directories
from .xmp_packet import DATA_MINING, RIGHTS, SOURCE_TYPE, properties

KIND = "xmp"
FREE_TEXT = "free_text_reservation"

_VOCABULARY = re.compile(r"(?:https?://ns\.useplus\.org/ldf/vocab/)?(DMI-[A-Z-]+)/?", re.IGNORECASE)

# Keys and their labels. What "see" keys point to (constraints, a rights expression) are conditions.
_KEYS = {
    "DMI-UNSPECIFIED": NONE,
    "DMI-ALLOWED": ALLOW,
    "DMI-PROHIBITED-AIMLTRAINING": DENY,
    "DMI-PROHIBITED-GENAIMLTRAINING": DENY,
    "DMI-PROHIBITED-EXCEPTSEARCHENGINEINDEXING": DENY,
    "DMI-PROHIBITED": DENY,
}
_SEE = "DMI-PROHIBITED-SEE"
_GENAI = "DMI-PROHIBITED-GENAIMLTRAINING"
_LABELS = {
    "unspecified - no prohibition defined": "DMI-UNSPECIFIED",
    "unspecified": "DMI-UNSPECIFIED",
    "allowed": "DMI-ALLOWED",
    "prohibited for ai/ml training": "DMI-PROHIBITED-AIMLTRAINING",
    "prohibited for generative ai/ml training": "DMI-PROHIBITED-GENAIMLTRAINING",
    "prohibited except for search engine indexing": "DMI-PROHIBITED-EXCEPTSEARCHENGINEINDEXING",
    "prohibited": "DMI-PROHIBITED",
}

_SENTENCE = re.compile(r"[;\n\r]|[.!?](?:\s|$)")
_AI = re.compile(
    r"\b(?:a\.?i\.?|ki|ia|ml|llms?|gen-?ai|artificial[ -]intelligence|machine[ -]learning|deep learning|generative|"
    r"neural networks?|künstliche[rn]? intelligenz|intelligence artificielle|inteligencia artificial)\b|\bki-",
    re.IGNORECASE,
)
_USE = re.compile(r"train|data ?sets?\b|mining|learning|entra[iî]n|entrena|addestra|anlern|lernen", re.IGNORECASE)
_AI_USE = re.compile(
    r"\bno(?:t for)? (?:generative |gen-?)?ai\b|\bai (?:use|usage)\b|"
    r"\b(?:use[ds]?|usage)\b(?: \w+){0,3} (?:for|in|by|with) (?:an |any )?(?:generative )?ai\b",
    re.IGNORECASE,
)
_SPELLINGS = re.compile(r"\b(no)-?(?=ai\b)|\ba\.i\.", re.IGNORECASE)
_NO = re.compile(
    r"\b(?:no|not|never|none|without|cannot|kein\w*|nicht|pas|sans|interdit\w*|untersagt|verboten|geen)\b|n't\b|"
    r"prohib|forbid|reserv|disallow|opt(?:ed)?[ -]?out|exclud|refus|den(?:y|ied)",
    re.IGNORECASE,
)


def verdict(blocks: Blocks, purpose: str = "train") -> Evidence:
    """What the metadata of a picture says about data mining.

    Args:
        blocks: of the file.
        purpose: ``genai`` is also bound by a prohibition of generative training alone.

    Returns:
        Evidence: the strictest value, with tags ``synthetic``, ``synthetic_partial`` and
        ``free_text_reservation``.
    """
    found = properties(blocks)
    verdicts = [value_verdict(value, purpose) for value in found.get(DATA_MINING)]
    orphaned = [value_verdict(value, purpose) for value in found.orphaned.get(DATA_MINING, ())]
    verdicts += [verdict for verdict in orphaned if verdict != ALLOW]
    values = [*found.get(DATA_MINING), *found.orphaned.get(DATA_MINING, ())]
    types = [*found.get(SOURCE_TYPE), *found.orphaned.get(SOURCE_TYPE, ())]
    tags = [tag for value in types if (tag := source_type_tag(value))]
    if reserves_in_prose([*found.get(RIGHTS), *found.orphaned.get(RIGHTS, ()), *_exif_copyrights(blocks)]):
        tags.append(FREE_TEXT)
    return Evidence(
        KIND,
        strictest(verdicts),
        "plus:DataMining" if values else "",
        "; ".join(values),
        f"XMP in {blocks.media_type}" if values else "",
        tuple(tags),
        "; ".join(found.problems),
    )


def value_verdict(value: str, purpose: str) -> str:
    """The verdict of one value of the property: a vocabulary URL, a bare key or a label.

    A key that the vocabulary does not have states nothing.
    """
    text = " ".join(value.split())
    named = _VOCABULARY.fullmatch(text)
    key = named[1].upper() if named else _LABELS.get(text.lower(), "")
    if text.lower().startswith("prohibited, see ") or key.startswith(_SEE):
        return COND
    if key == _GENAI and purpose != "genai":
        return NONE
    return _KEYS.get(key, NONE)


def reserves_in_prose(texts: Iterable[str]) -> bool:
    """Whether some sentence of a rights notice says that there is to be no AI training."""
    for text in texts:
        for sentence in _SENTENCE.split(_SPELLINGS.sub(_spelt, text[:10_000])):
            if _AI.search(sentence) and _NO.search(sentence) and (_USE.search(sentence) or _AI_USE.search(sentence)):
                return True
    return False


def _spelt(odd: re.Match[str]) -> str:
    return "no " if odd[1] else "ai"


def _exif_copyrights(blocks: Blocks) -> list[str]:
    return [text for exif in blocks.exif for directory in directories(exif) for text in directory.texts(COPYRIGHT)]
