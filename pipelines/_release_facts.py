"""What the tables of a release say of it as a whole: counted for the dataset card and for ``croissant.json``."""

from __future__ import annotations

from typing import Any

from ._catalog import Catalog

_LANGUAGES = """
SELECT label AS language, count(*) AS rows
FROM score JOIN sample USING (pair_id) WHERE kind = 'language' AND label IS NOT NULL
GROUP BY label ORDER BY rows DESC, label
"""
# LAION writes "?" where it knows of no licence.
_LICENCES = """
SELECT coalesce(nullif(licence, '?'), '(not stated)') AS licence, sum(rows)::BIGINT AS rows, sum(share) AS share
FROM attribution GROUP BY 1 ORDER BY rows DESC, 1 LIMIT 10
"""
_HOSTS = """
SELECT host, sum(rows)::BIGINT AS rows, sum(bytes)::BIGINT AS bytes, sum(share) AS share
FROM attribution GROUP BY host ORDER BY rows DESC, host LIMIT 10
"""
_CREATORS = """
SELECT creator, sum(share) AS share FROM attribution WHERE creator IS NOT NULL
GROUP BY creator ORDER BY share DESC, creator LIMIT 1
"""
_REASONS = "SELECT stage, reason, rows FROM reason JOIN funnel USING (stage) ORDER BY position, rows DESC, reason"
_SAID = """
SELECT kind, count(*) AS said, count(*) FILTER (verdict = 'deny') AS deny, count(*) FILTER (verdict = 'cond') AS cond,
       count(*) FILTER (verdict = 'hold') AS hold, count(*) FILTER (verdict = 'allow') AS allow
FROM signal GROUP BY kind ORDER BY kind
"""
_PICTURES = """
SELECT coalesce(sum(sample.bytes), 0)::BIGINT AS bytes, min(least(width_px, height_px)) AS least_px,
       max(greatest(width_px, height_px)) AS most_px, median(width_px)::INTEGER AS width_px,
       median(height_px)::INTEGER AS height_px
FROM sample LEFT JOIN image USING (pair_id)
"""
_NAMED = """
SELECT count(creator) AS creator, count(DISTINCT creator) AS creators, count(nullif(licence, '?')) AS licence,
       count(page_url) AS page, count(DISTINCT host) AS hosts
FROM outcome WHERE outcome = 'released'
"""
_TAGS = """
SELECT nsfw AS tag, count(*) AS rows FROM outcome WHERE outcome = 'released' AND nsfw IS NOT NULL
GROUP BY nsfw ORDER BY rows DESC, tag LIMIT 10
"""
_PERMITTED = "SELECT count(*) AS rows FROM sample WHERE pair_id IN (SELECT pair_id FROM signal WHERE verdict = 'allow')"
_SCORES = "SELECT kind, count(*) AS rows FROM score JOIN sample USING (pair_id) GROUP BY kind ORDER BY kind"


def facts(catalog: Catalog) -> dict[str, Any]:
    """What the tables of a release say: lists of rows, ``pictures`` and ``named`` one row each."""
    return {
        "languages": catalog.dicts(_LANGUAGES),
        "licences": catalog.dicts(_LICENCES),
        "hosts": catalog.dicts(_HOSTS),
        "creators": catalog.dicts(_CREATORS),
        "reasons": catalog.dicts(_REASONS),
        "said": catalog.dicts(_SAID),
        "tags": catalog.dicts(_TAGS),
        "scores": catalog.dicts(_SCORES),
        "permitted": catalog.dicts(_PERMITTED)[0]["rows"],
        "shards": catalog.dicts("SELECT path, rows, bytes, sha256 FROM shard ORDER BY shard_id"),
        "pictures": catalog.dicts(_PICTURES)[0],
        "named": catalog.dicts(_NAMED)[0],
    }
