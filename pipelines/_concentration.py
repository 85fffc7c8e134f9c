"""How unevenly pairs are shared out among names: SQL for `balance`, which caps what has too much, and for the report.

Kinds of names are domains, creators, captions, templates of captions, groups of pictures that look alike and visual
clusters. Measured of each are the largest holding, the share of the largest hundredth of names (of one at least), and
the Gini coefficient, from 0 (each holds as many) to 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

IN_CLUSTER = "SELECT pair_id, label FROM score WHERE kind = 'visual_cluster'"

# Of `counted`: pair_id, domain, and keys of creator and caption. Who has no name of a kind is not counted in it.
HOLDING = """
SELECT kind, name, count(*) AS held
FROM (
    SELECT 'domain' AS kind, domain AS name FROM counted
    UNION ALL SELECT 'creator' AS kind, creator AS name FROM counted
    UNION ALL SELECT 'caption' AS kind, caption AS name FROM counted
    UNION ALL
    SELECT 'template' AS kind, CAST(of_template.template_id AS VARCHAR) AS name
    FROM counted JOIN of_template ON counted.pair_id = of_template.pair_id
    UNION ALL
    SELECT 'picture' AS kind, CAST(coalesce(duplicate.group_id, counted.pair_id) AS VARCHAR) AS name
    FROM counted LEFT JOIN duplicate ON counted.pair_id = duplicate.pair_id
    UNION ALL
    SELECT 'visual_cluster' AS kind, in_cluster.label AS name
    FROM counted JOIN in_cluster ON counted.pair_id = in_cluster.pair_id
) AS held_by
WHERE name IS NOT NULL GROUP BY kind, name
"""
# Holdings of one size are one row, of which there are few whatever the number of names: names of a kind are never sorted,
# which on Spark would be one task's. The names of a row have the places from up_to - names + 1 to up_to, the least first.
CONCENTRATION = """
SELECT kind, max(kind_names) AS names, sum(names * held) AS pairs, max(held) AS largest,
       sum(held * least(names, greatest(up_to - first_of_top, 0))) / CAST(sum(names * held) AS DOUBLE) AS top_share,
       sum(CAST(held * names AS DOUBLE) * (2 * up_to - names - kind_names))
           / (max(kind_names) * CAST(sum(names * held) AS DOUBLE)) AS gini
FROM (
    SELECT kind, held, names, up_to, kind_names,
           CAST(floor(kind_names - greatest(1.0, kind_names * 0.01)) AS BIGINT) AS first_of_top
    FROM (
        SELECT kind, held, names,
               CAST(sum(names) OVER (PARTITION BY kind ORDER BY held) AS BIGINT) AS up_to,
               CAST(sum(names) OVER (PARTITION BY kind) AS BIGINT) AS kind_names
        FROM (SELECT kind, held, count(*) AS names FROM holding GROUP BY kind, held) AS of_size
    ) AS placed
) AS ranked
GROUP BY kind ORDER BY kind
"""


def figures(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int | float]]:
    """Rows of ``CONCENTRATION`` by kind, shares rounded to four digits."""
    whole, shares = ("names", "pairs", "largest"), ("top_share", "gini")
    return {
        row["kind"]: {name: int(row[name]) for name in whole} | {name: round(row[name], 4) for name in shares}
        for row in rows
    }
