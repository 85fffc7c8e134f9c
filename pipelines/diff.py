"""diff: what changed from one release to another, pair by pair and by reason.

Pairs meet by their id, which is the same in every release that has the URL with that caption. A pair that a sensitive
list removed has no id any more, in either release: it is among the withheld, which are counted apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ._catalog import compared
from ._manifest import load
from ._release import Release

ABSENT = "not there"
_SHOWN = 60

_CHANGED = """
SELECT coalesce(earlier.pair_id, later.pair_id) AS pair_id, coalesce(later.url, earlier.url) AS url,
       CASE WHEN earlier.pair_id IS NULL THEN $absent ELSE coalesce(earlier.reason, earlier.outcome) END AS before,
       CASE WHEN later.pair_id IS NULL THEN $absent ELSE coalesce(later.reason, later.outcome) END AS after
FROM (SELECT * FROM earlier WHERE NOT withheld) AS earlier
FULL JOIN (SELECT * FROM outcome WHERE NOT withheld) AS later ON earlier.pair_id = later.pair_id
WHERE before <> after
"""
# What is in one release and not in the other may be among those that the other withholds: which it is, is not told.
_LISTED = f"""
SELECT CASE WHEN NOT hidden THEN pair_id END AS pair_id, CASE WHEN NOT hidden THEN url END AS url, before, after
FROM (
    SELECT *, coalesce((after = $absent AND (SELECT bool_or(withheld) FROM outcome))
                       OR (before = $absent AND (SELECT bool_or(withheld) FROM earlier)), false) AS hidden
    FROM ({_CHANGED})
)
ORDER BY hidden, CASE WHEN NOT hidden THEN pair_id END, before, after
"""
_COUNTED = f"SELECT before, after, count(*) AS pairs FROM ({_CHANGED}) GROUP BY ALL ORDER BY pairs DESC, before, after"
_TOTALS = """
SELECT count(*) FILTER (outcome = 'released') AS released, count(*) AS pairs, count(*) FILTER (withheld) AS withheld
FROM {name}
"""
_MADE_FROM = ("fairshard", "policy", "settings", "sources", "registries", "endpoints")


def compare(before: str, after: str) -> dict[str, Any]:
    """What changed between two releases.

    Args:
        before, after: folders of releases, of whatever order in time.

    Returns:
        before, after: released and withheld pairs of each, and pairs in all; made_from: what the manifests say otherwise
        of policy, settings, sources and registries, by name, as a pair of values; changes: ``before`` and ``after``
        (``released``, a reason, or ``not there``) and the number of such pairs, the most first.

    Raises:
        ReleaseError: one of them is no release.
    """
    said = [_made_from(load(Release(folder))) for folder in (before, after)]
    catalog = compared(before, after)
    totals = [catalog.dicts(_TOTALS.replace("{name}", name))[0] for name in ("earlier", "outcome")]
    names = sorted(name for name in said[0].keys() | said[1].keys() if said[0].get(name) != said[1].get(name))
    return {
        "before": {"release": before, **totals[0]},
        "after": {"release": after, **totals[1]},
        "made_from": {name: [side.get(name) for side in said] for name in names},
        "changes": catalog.dicts(_COUNTED, absent=ABSENT),
    }


def write_pairs(before: str, after: str, path: str) -> None:
    """Write what became of every pair that changed: pair_id, url, before, after.

    What only one of them has is not named, but has its line, where the other withholds pairs: it may be among these.

    Raises:
        InputError: the path ends neither in .csv nor in .parquet.
    """
    compared(before, after).write(_LISTED, path, absent=ABSENT)


def text(found: dict[str, Any]) -> str:
    """In words."""
    lines = [f"{side['release']}: {side['released']:,} of {side['pairs']:,} pairs released, {side['withheld']:,} withheld"
             for side in (found["before"], found["after"])]  # fmt: skip
    lines += [f"{name}: {_short(old)} -> {_short(new)}" for name, (old, new) in found["made_from"].items()]
    lines += [f"{row['pairs']:>12,}  {row['before']} -> {row['after']}" for row in found["changes"]]
    return "\n".join(lines if found["changes"] else [*lines, "no pair changed"])


def _short(value: Any) -> str:
    said = "nothing" if value is None else str(value)
    return said if len(said) <= _SHOWN else f"{said[:_SHOWN]}..."


def _made_from(manifest: dict[str, Any]) -> dict[str, Any]:
    """What a manifest says, by path; not what became of it."""
    leaves = _leaves({name: manifest.get(name) for name in _MADE_FROM})
    return {path: value for path, value in leaves if not path.endswith((".released", ".dropped"))}


def _leaves(document: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Values of a document by path; entries of lists by their names."""
    if isinstance(document, list) and all(isinstance(item, dict) and "name" in item for item in document):
        document = {item["name"]: {key: value for key, value in item.items() if key != "name"} for item in document}
    if not isinstance(document, dict):
        yield path, document
        return
    for name, value in document.items():
        yield from _leaves(value, f"{path}.{name}" if path else str(name))
