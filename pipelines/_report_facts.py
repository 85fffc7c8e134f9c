"""What the report shows of a release: queries over its own tables, so that the page says what they say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ._catalog import Catalog
from ._page_words import size
from ._release import Release
from ._report_concentration import concentration
from ._thumbnails import thumbnails

SAMPLES_SHOWN = 24
GROUPS_SHOWN = 12
_LISTED = 10
_REASONS_LISTED = 12  # of a stage

# The most frequent of each stage, then all others as one row.
_REASONS = """
SELECT stage, CASE WHEN place <= $listed THEN reason END AS reason, count(*) AS reasons, sum(rows)::BIGINT AS rows
FROM (
    SELECT stage, reason, rows, position, row_number() OVER (PARTITION BY stage ORDER BY rows DESC, reason) AS place
    FROM reason JOIN funnel USING (stage)
) AS placed
GROUP BY position, stage, least(place, $listed + 1), 2 ORDER BY position, least(place, $listed + 1)
"""
_SIGNALS = """
SELECT kind, count(*) AS rows, count(*) FILTER (verdict = 'deny') AS deny, count(*) FILTER (verdict = 'hold') AS hold,
       count(*) FILTER (verdict = 'cond') AS cond, count(*) FILTER (verdict = 'allow') AS allow,
       count(*) FILTER (verdict = 'none') AS none, count(DISTINCT pair_id) AS pairs
FROM signal GROUP BY kind ORDER BY rows DESC, kind
"""
_LANGUAGES = """
SELECT label AS name, count(*) AS rows, count(*) / (sum(count(*)) OVER ()) AS share
FROM score JOIN sample USING (pair_id) WHERE kind = 'language' AND label IS NOT NULL
GROUP BY label ORDER BY rows DESC, label
"""
_SHARES = {
    "host": "host",
    "creator": "creator",
    "licence": "coalesce(nullif(licence, '?'), '(not stated)')",  # LAION's word for it
}
# Of those that have one: a missing creator is nobody.
_SHARE = """
SELECT {column} AS name, count(*) AS rows, count(*) / (SELECT count(*) FROM sample) AS share
FROM outcome WHERE outcome = 'released' AND {column} IS NOT NULL
GROUP BY 1 ORDER BY rows DESC, name
"""
_TOTALS = """
SELECT coalesce(sum(bytes), 0)::BIGINT AS bytes, count(DISTINCT host) AS hosts, count(DISTINCT creator) AS creators,
       count(creator) AS with_creator
FROM outcome WHERE outcome = 'released'
"""
_SHARDS = """
SELECT count(*) AS shards, coalesce(sum(rows), 0)::BIGINT AS rows, coalesce(sum(bytes), 0)::BIGINT AS bytes,
       min(bytes) AS least, max(bytes) AS most
FROM shard
"""
_MEASURED = {
    "width": (
        "SELECT width_px AS measure FROM sample LEFT JOIN image USING (pair_id)",
        (64, 128, 256, 512, 1024, 2048, 4096),
        lambda count: f"{count:,} px",
    ),
    "bytes": (
        "SELECT bytes AS measure FROM sample",
        (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000),
        lambda count: size(count).replace(".0 ", " "),
    ),
}
_BANDS = """
SELECT band, count(*) AS rows, count(*) / (sum(count(*)) OVER ()) AS share
FROM (SELECT CASE WHEN measure IS NOT NULL THEN len([edge FOR edge IN $edges IF measure >= edge]) END AS band
      FROM ({measured}) AS measured) AS banded
GROUP BY band ORDER BY band NULLS LAST
"""
_SPREAD = "SELECT min(measure) AS least, quantile_disc(measure, 0.5) AS middle, max(measure) AS most FROM ({measured})"

# Ids are hashes, so the first of them, as unsigned numbers, are a fair sample, and lie in the first shards.
_SAMPLES = """
SELECT pair_id, url, host, caption, creator, licence, shard_id, key FROM outcome WHERE outcome = 'released'
ORDER BY CASE WHEN pair_id < 0 THEN 1 ELSE 0 END, pair_id LIMIT $limit
"""
_GROUPS = """
SELECT keeper_id AS pair_id, any_value(keeper.url) AS url, any_value(keeper.host) AS host,
       any_value(keeper.caption) AS caption, any_value(keeper.shard_id) AS shard_id, any_value(keeper.key) AS key,
       count(*) FILTER (duplicate.pair_id <> keeper_id) AS others,
       count(*) FILTER (duplicate.pair_id <> keeper_id AND duplicate.kind = 'exact') AS exact
FROM duplicate
JOIN outcome AS keeper ON keeper_id = keeper.pair_id
WHERE keeper.outcome = 'released'
GROUP BY keeper_id HAVING others > 0
ORDER BY others - exact DESC, max(distance) DESC NULLS LAST, others DESC, CASE WHEN keeper_id < 0 THEN 1 ELSE 0 END,
         keeper_id
LIMIT $limit
"""
_DISTANCES = """
SELECT duplicate.kind, distance, count(*) AS n FROM duplicate
WHERE keeper_id = $keeper AND pair_id <> keeper_id AND duplicate.kind <> 'exact'
GROUP BY ALL ORDER BY distance NULLS LAST, duplicate.kind LIMIT 8
"""
_GROUP_COUNT = """
SELECT count(DISTINCT keeper_id) AS groups, count(*) AS pairs FROM duplicate WHERE pair_id <> keeper_id
"""


def facts(release: Release, catalog: Catalog) -> dict[str, Any]:
    """All that the page shows of the tables and shards of a release."""
    samples = catalog.dicts(_SAMPLES, limit=SAMPLES_SHOWN)
    groups = catalog.dicts(_GROUPS, limit=GROUPS_SHOWN)
    pictures = thumbnails(release, [(row["shard_id"], row["key"]) for row in (*samples, *groups)])
    for row in (*samples, *groups):
        row["picture"] = pictures.get(row["key"])
    for row in groups:
        row["distances"] = catalog.dicts(_DISTANCES, keeper=row["pair_id"])
    return {
        "totals": catalog.dicts(_TOTALS)[0],
        "shards": catalog.dicts(_SHARDS)[0],
        "reasons": catalog.dicts(_REASONS, listed=_REASONS_LISTED),
        "signals": catalog.dicts(_SIGNALS),
        "languages": catalog.dicts(_LANGUAGES),
        "shares": {name: _share(catalog, column) for name, column in _SHARES.items()},
        "concentration": concentration(catalog),
        "measures": {name: _measure(catalog, *measured) for name, measured in _MEASURED.items()},
        "duplicates": catalog.dicts(_GROUP_COUNT)[0],
        "groups": groups,
        "samples": samples,
    }


def _share(catalog: Catalog, column: str) -> dict[str, Any]:
    """Who has how much: the first few, and how many there are."""
    rows = catalog.rows(_SHARE.format(column=column))
    return {"rows": rows.slice(0, _LISTED).to_pylist(), "names": rows.num_rows,
            "top_share": sum(rows.slice(0, _LISTED)["share"].to_pylist())}  # fmt: skip


def _measure(catalog: Catalog, measured: str, edges: Sequence[int], shown: Callable[[int], str]) -> dict[str, Any]:
    """How many samples are how large: the spread, and one row a band that has any; a band begins at its lower edge."""

    def name(band: int | None) -> str:
        if band is None:
            return "not known"
        if band == 0:
            return f"under {shown(edges[0])}"
        return f"{shown(edges[band - 1])} " + (f"to {shown(edges[band])}" if band < len(edges) else "and more")

    spread = catalog.dicts(_SPREAD.format(measured=measured))[0]
    rows = catalog.dicts(_BANDS.format(measured=measured), edges=list(edges))
    words = {key: None if value is None else shown(value) for key, value in spread.items()}
    return {**words, "rows": [{**row, "name": name(row["band"])} for row in rows]}
