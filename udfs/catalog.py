"""Every function that SQL may call, on every engine."""

from __future__ import annotations

from . import bands, colours, evidence, hashing, iscc, language, shingles, text, urls
from .arrow import Udf

UDFS: tuple[Udf, ...] = (
    urls.url_href,
    urls.url_key,
    urls.url_origin,
    urls.key_host,
    urls.host_domain,
    urls.host_suffixes,
    text.caption_clean,
    text.caption_key,
    text.caption_template,
    text.name_key,
    text.phrases,
    text.word_count,
    text.char_count,
    text.stable_hash,
    evidence.number_text,
    language.language,
    language.language_score,
    hashing.phash_distance,
    hashing.pdq_distance,
    colours.colour_distance,
    hashing.phash_bits,
    hashing.hex_bytes,
    hashing.pdq_turn,
    bands.pdq_word,
    shingles.text_bands,
    shingles.text_jaccard,
    shingles.text_outline,
    shingles.outline_jaccard,
    iscc.iscc_bits,
)
