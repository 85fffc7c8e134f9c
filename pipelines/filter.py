"""filter: what is worth training on, by caption, language, size and the source's own scores.

Every rule is off unless the config sets it; sizes are of the original picture. A pair that breaks several rules is
dropped by the first of them in this order: language, caption_short, caption_long, small_image, aspect,
similarity, p_unsafe, p_watermark, aesthetic. What filters measured goes to ``score``, for all pairs; sizes and the
source's scores are in ``image`` and ``pair`` already.

The preset ``datacomp-basic`` is the basic filter of DataComp: English by fastText, more than two words, more than
five characters, shorter side at least 200 px, longer side at most three times the shorter.
Source: Gadre et al. 2023, https://arxiv.org/abs/2304.14108, section 3.2 ("over two words and five characters") and
``load_uids_with_basic_filter`` in its code. Theirs asks the full lid.176 model, ours its compressed form.
"""

from __future__ import annotations

import dataclasses

import pyarrow as pa

from ..schemas.config import Filter
from ..udfs import language
from ._work import Work

READS = ("pair", "image", "dropped")
WRITES = ("score", "dropped")

SPOKEN = """
SELECT alive.*, language(caption) AS language, language_score(caption) AS language_score FROM alive
"""
UNHEARD = """
SELECT alive.*, CAST(NULL AS VARCHAR) AS language, CAST(NULL AS DOUBLE) AS language_score FROM alive
"""

MEASURED = """
SELECT spoken.pair_id, language, language_score, similarity, p_unsafe, p_watermark, aesthetic,
       CASE WHEN $min_words IS NOT NULL THEN word_count(caption) END AS caption_words,
       CASE WHEN $min_chars IS NOT NULL OR $max_chars IS NOT NULL THEN char_count(caption) END AS caption_chars,
       least(image.width_px, image.height_px) AS side_px,
       CAST(greatest(image.width_px, image.height_px) AS DOUBLE)
           / nullif(least(image.width_px, image.height_px), 0) AS aspect
FROM spoken LEFT JOIN image ON spoken.pair_id = image.pair_id
"""

# Sources score in single precision: a limit of 0.3 has to let their 0.3 through. A pair without a score passes,
# one without a size does not.
JUDGED = """
SELECT measured.*,
       CASE WHEN (NOT $any_language AND kept_language.language IS NULL) OR language_score < $min_language_score
                THEN 'language'
            WHEN caption_words < $min_words OR caption_chars < $min_chars THEN 'caption_short'
            WHEN caption_chars > $max_chars THEN 'caption_long'
            WHEN $min_side_px IS NOT NULL AND coalesce(side_px, 0) < $min_side_px THEN 'small_image'
            WHEN $max_aspect IS NOT NULL AND (aspect IS NULL OR aspect > $max_aspect) THEN 'aspect'
            WHEN similarity < CAST($min_similarity AS REAL) THEN 'similarity'
            WHEN p_unsafe > CAST($max_p_unsafe AS REAL) THEN 'p_unsafe'
            WHEN p_watermark > CAST($max_p_watermark AS REAL) THEN 'p_watermark'
            WHEN aesthetic < CAST($min_aesthetic AS REAL) THEN 'aesthetic'
       END AS reason
FROM measured LEFT JOIN kept_language ON measured.language = kept_language.language
"""

SCORE = """
SELECT pair_id, 'language' AS kind, language_score AS value, language AS label
FROM measured WHERE language IS NOT NULL
UNION ALL
SELECT pair_id, 'caption_words' AS kind, CAST(caption_words AS DOUBLE) AS value, CAST(NULL AS VARCHAR) AS label
FROM measured WHERE caption_words IS NOT NULL
UNION ALL
SELECT pair_id, 'caption_chars' AS kind, CAST(caption_chars AS DOUBLE) AS value, CAST(NULL AS VARCHAR) AS label
FROM measured WHERE caption_chars IS NOT NULL
"""

DROPPED = """
SELECT pair_id, 'filter' AS stage, judged.reason,
       CASE judged.reason
            WHEN 'language' THEN 'language=' || language || ' ' || number_text(language_score)
            WHEN 'caption_short' THEN concat_ws(' ', 'caption_words=' || CAST(caption_words AS VARCHAR),
                                                     'caption_chars=' || CAST(caption_chars AS VARCHAR))
            WHEN 'caption_long' THEN 'caption_chars=' || CAST(caption_chars AS VARCHAR)
            WHEN 'small_image' THEN 'side_px=' || coalesce(CAST(side_px AS VARCHAR), 'unknown')
            WHEN 'aspect' THEN 'aspect=' || coalesce(number_text(aspect), 'unknown')
            WHEN 'similarity' THEN 'similarity=' || number_text(CAST(similarity AS DOUBLE))
            WHEN 'p_unsafe' THEN 'p_unsafe=' || number_text(CAST(p_unsafe AS DOUBLE))
            WHEN 'p_watermark' THEN 'p_watermark=' || number_text(CAST(p_watermark AS DOUBLE))
            WHEN 'aesthetic' THEN 'aesthetic=' || number_text(CAST(aesthetic AS DOUBLE))
       END || ', ' || rule_limit.limit_text AS evidence
FROM judged JOIN rule_limit ON judged.reason = rule_limit.reason
"""

DATACOMP_BASIC = Filter(
    languages=("en",), caption_min_words=3, caption_min_chars=6, min_side_px=200, max_aspect=3.0
)  # fmt: skip
PRESETS = {"none": Filter(), "datacomp-basic": DATACOMP_BASIC}


def rules_of(config: Filter) -> Filter:
    """The preset of a config, with what the config sets beside it put over it."""
    own = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    given = {name: value for name, value in own.items() if value is not None}
    return dataclasses.replace(PRESETS[config.preset], **given)


def limits(rules: Filter) -> pa.Table:
    """What each rule lets through, in words.

    Returns: reason: string; limit_text: string; one row for each reason a pair can be dropped for.
    """
    words = [f"{number} {unit}" for number, unit in
             ((rules.caption_min_words, "words"), (rules.caption_min_chars, "characters")) if number]  # fmt: skip
    languages = ", ".join(rules.languages) if rules.languages is not None else "any"
    sure = f" from {rules.language_min_score:g}" if rules.language_min_score is not None else ""
    texts = {
        "language": f"kept: {languages}{sure}",
        "caption_short": f"least {', '.join(words)}",
        "caption_long": f"most {rules.caption_max_chars}",
        "small_image": f"least {rules.min_side_px}",
        "aspect": f"most {rules.max_aspect or 0:g}",
        "similarity": f"least {rules.min_similarity or 0:g}",
        "p_unsafe": f"most {rules.max_p_unsafe or 0:g}",
        "p_watermark": f"most {rules.max_p_watermark or 0:g}",
        "aesthetic": f"least {rules.min_aesthetic or 0:g}",
    }
    return pa.table({"reason": list(texts), "limit_text": list(texts.values())})


def run(work: Work) -> None:
    """Measure what the configured filters need, and drop what they do not keep.

    Raises:
        MissingExtra: a language is asked for and the extra [crawl] is not installed.
    """
    task = work.task("filter", "all", work.fingerprint("filter", work.job.config.filter))
    if task.done:
        return
    with task:
        chosen = rules_of(work.job.config.filter)
        if chosen != dataclasses.replace(Filter(), preset=chosen.preset):
            _measure(work, chosen)
            _judge(work, chosen)
            work.write(task, "score", SCORE)
            work.write(task, "dropped", DROPPED)


def _measure(work: Work, rules: Filter) -> None:
    """Name ``measured``: read twice, so that languages are asked for once."""
    hears = rules.languages is not None or rules.language_min_score is not None
    if hears:
        language.model()  # so that a missing extra is named before any work
    work.alive("filter")
    work.scan("filter", "image")
    engine = work.engine
    engine.step("spoken", SPOKEN if hears else UNHEARD)
    engine.step(
        "measured", MEASURED, keep=True,
        min_words=rules.caption_min_words, min_chars=rules.caption_min_chars, max_chars=rules.caption_max_chars,
    )  # fmt: skip


def _judge(work: Work, rules: Filter) -> None:
    """Name ``judged``: the measures with the first rule that a pair breaks."""
    engine = work.engine
    engine.register("kept_language", pa.table({"language": pa.array(rules.languages or (), pa.string())}))
    engine.register("rule_limit", limits(rules))
    engine.step(
        "judged",
        JUDGED,
        any_language=rules.languages is None,
        min_language_score=rules.language_min_score,
        min_words=rules.caption_min_words,
        min_chars=rules.caption_min_chars,
        max_chars=rules.caption_max_chars,
        min_side_px=rules.min_side_px,
        max_aspect=rules.max_aspect,
        min_similarity=rules.min_similarity,
        max_p_unsafe=rules.max_p_unsafe,
        max_p_watermark=rules.max_p_watermark,
        min_aesthetic=rules.min_aesthetic,
    )
