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
CONCENTRATION = """
SELECT kind, max(names) AS names, sum(held) AS pairs, max(held) AS largest,
       sum(CASE WHEN place > names - greatest(1.0, names * 0.01) THEN held ELSE 0 END) / sum(CAST(held AS DOUBLE))
           AS top_share,
       sum((2.0 * place - names - 1) * held) / (max(names) * sum(CAST(held AS DOUBLE))) AS gini
FROM (
    SELECT kind, held, row_number() OVER (PARTITION BY kind ORDER BY held) AS place,
           count(*) OVER (PARTITION BY kind) AS names
    FROM holding
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
