"""report: a release on one HTML page that needs nothing but itself.

No script and no request to anybody: styles are inline, pictures are small JPEGs made anew and held in the page, and
its content security policy forbids the rest. What comes from the sources is escaped, marks that reverse or hide
text are shown by their number, and only http and https URLs become links. Pairs that a sensitive rule withheld are
a number here as everywhere; pictures are shown of released pairs alone.

The page is derived from the release, as ``catalog.duckdb`` is: the manifest does not list it, ``verify`` lets it
lie there, and a takedown does not carry it over. The same release gives the same page.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import unicodedata
from importlib import resources
from pathlib import Path
from typing import Any

from ..schemas.errors import InputError, MissingExtra, ReleaseError
from ._card import policy_words
from ._catalog import Catalog, open_catalog
from ._manifest import load
from ._reasons import REASON_WORDS
from ._release import MANIFEST, REPORT, Release
from ._thumbnails import thumbnails

SAMPLES_SHOWN = 24
GROUPS_SHOWN = 12
_LISTED = 10
_TEXT_MAX_CHARS = 240

_REASONS = "SELECT stage, reason, rows FROM reason JOIN funnel USING (stage) ORDER BY position, rows DESC, reason"
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
_SIZES = """
SELECT coalesce(sum(bytes), 0)::BIGINT AS bytes, count(DISTINCT host) AS hosts, count(DISTINCT creator) AS creators,
       count(creator) AS with_creator
FROM outcome WHERE outcome = 'released'
"""
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
ORDER BY others - exact DESC, max(distance) DESC NULLS LAST, others DESC, CASE WHEN keeper_id < 0 THEN 1 ELSE 0 END, keeper_id LIMIT $limit
"""
_DISTANCES = """
SELECT duplicate.kind, distance, count(*) AS n FROM duplicate
WHERE keeper_id = $keeper AND pair_id <> keeper_id AND duplicate.kind <> 'exact'
GROUP BY ALL ORDER BY distance NULLS LAST, duplicate.kind LIMIT 8
"""
_GROUP_COUNT = """
SELECT count(DISTINCT keeper_id) AS groups, count(*) AS pairs FROM duplicate WHERE pair_id <> keeper_id
"""

_VERDICT_WORDS = {
    "deny": "opted out",
    "hold": "could not be determined",
    "cond": "reserved, with a licence on offer",
    "none": "no permission recorded",
    "failed": "the picture could not be had",
}
_KIND_WORDS = {
    "registry": "opt-out registry",
    "hash_list": "hash list",
    "robots_txt": "robots.txt",
    "content_signal": "Content-Signal",
    "aipref": "AIPREF preference",
    "ai_txt": "ai.txt",
    "rsl": "RSL licence file",
    "tdmrep": "TDM reservation",
    "x_robots_tag": "X-Robots-Tag header",
    "html_meta": "robots meta element",
    "http_status": "HTTP status",
    "unread": "what an earlier download did not keep",
}
_DISTANCE_WORDS = {
    "phash": "{} of 64 bits (pHash)",
    "pdq": "{} of 256 bits (PDQ)",
    "iscc": "{} of 64 bits (ISCC)",
    "semantic": "{} thousandths of cosine distance",
}
# Joiners that Persian, Indic scripts and emoji cannot do without.
_HARMLESS_FORMATS = frozenset("\u200c\u200d\ufe0f")


def write(folder: str, out: str | None = None) -> str:
    """Write the page of a release. Returns its path.

    Args:
        folder: the release.
        out: where to; ``report.html`` in the release if not given.

    Raises:
        MissingExtra: jinja2 is not installed.
        ReleaseError: not a finished release, or its files cannot be read.
        InputError: ``out`` cannot be written.
    """
    page = html(folder).encode()
    if out is None:
        release = Release(folder)
        release.put(REPORT, page)
        return release.path(REPORT)
    part = Path(f"{out}.part")
    try:
        part.write_bytes(page)
        os.replace(part, out)
    except OSError as error:
        with contextlib.suppress(OSError):  # there may be no folder that it could lie in
            part.unlink()
        raise InputError(out, f"cannot be written ({error.strerror})", "a file in a folder that is there") from error
    return out


def html(folder: str) -> str:
    """The page. Raises as ``write``."""
    if importlib.util.find_spec("jinja2") is None:
        raise MissingExtra("report", "fairshard report", "jinja2")
    import jinja2

    release = Release(folder)
    manifest = load(release)
    catalog = open_catalog(folder)
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(
        visible=visible, number=_number, percent=_percent, size=_size, reason=reason_words, kind=_kind_words,
        link=_link, distance=_distance,
    )  # fmt: skip
    template = resources.files(__package__ or "").joinpath("templates", "report.html.j2").read_text(encoding="utf-8")
    try:
        facts = _facts(release, catalog, manifest)
        return environment.from_string(template).render(facts)
    except (KeyError, TypeError, ValueError, AttributeError, jinja2.UndefinedError) as error:
        raise ReleaseError(release.path(MANIFEST), f"lacks something ({error})", "the manifest of a release") from error
    finally:
        catalog.connection.close()


def visible(text: Any, limit: int = _TEXT_MAX_CHARS) -> str:
    """Text from outside on one line, cut, with every mark that hides or reverses text shown by its number."""
    line = " ".join(str(text).split())
    if len(line) > limit:
        line = line[: limit - 1] + "…"
    return "".join(_shown(char) for char in line)


def _shown(char: str) -> str:
    hides = unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    return f"⟨U+{ord(char):04X}⟩" if hides and char not in _HARMLESS_FORMATS else char


def _facts(release: Release, catalog: Catalog, manifest: dict[str, Any]) -> dict[str, Any]:
    """All that the page shows."""
    samples = catalog.dicts(_SAMPLES, limit=SAMPLES_SHOWN)
    groups = catalog.dicts(_GROUPS, limit=GROUPS_SHOWN)
    pictures = thumbnails(release, [(row["shard_id"], row["key"]) for row in (*samples, *groups)])
    for row in (*samples, *groups):
        row["picture"] = pictures.get(row["key"])
    for row in groups:
        row["distances"] = catalog.dicts(_DISTANCES, keeper=row["pair_id"])
    return {
        "manifest": manifest,
        "manifest_sha256": hashlib.sha256(release.fs.cat_file(release.path(MANIFEST))).hexdigest(),
        "counts": manifest["counts"],
        "sizes": catalog.dicts(_SIZES)[0],
        "reasons": catalog.dicts(_REASONS),
        "signals": catalog.dicts(_SIGNALS),
        "languages": catalog.dicts(_LANGUAGES),
        "shares": {name: _share(catalog, column) for name, column in _SHARES.items()},
        "duplicates": catalog.dicts(_GROUP_COUNT)[0],
        "groups": groups,
        "samples": samples,
        "policy": policy_words(manifest["policy"]),
    }


def _share(catalog: Catalog, column: str) -> dict[str, Any]:
    """Who has how much: the first few, and how many there are."""
    rows = catalog.rows(_SHARE.format(column=column))
    return {"rows": rows.slice(0, _LISTED).to_pylist(), "names": rows.num_rows,
            "top_share": sum(rows.slice(0, _LISTED)["share"].to_pylist())}  # fmt: skip


def _number(value: int) -> str:
    return f"{value:,}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _size(count: int) -> str:
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:,.0f} {unit}" if unit == "bytes" else f"{amount:,.1f} {unit}"
        amount /= 1000
    return f"{amount:,.1f} TB"


def _kind_words(kind: str) -> str:
    return _KIND_WORDS.get(kind, kind.replace("_", " "))


def reason_words(reason: str) -> str:
    if reason in REASON_WORDS:
        return REASON_WORDS[reason]
    verdict, colon, kind = reason.partition(":")
    if colon and verdict in _VERDICT_WORDS:
        return f"{_VERDICT_WORDS[verdict]}: {_kind_words(kind)}"
    return reason.replace("_", " ")


def _distance(row: dict[str, Any]) -> str:
    """How far some pairs of a group are from its keeper, in words."""
    one = row["n"] == 1
    if row["distance"] is None:
        return f"{row['n']:,} {'is' if one else 'are'} like one that is like it"
    away = _DISTANCE_WORDS.get(row["kind"], "{} bits").format(row["distance"])
    return f"{row['n']:,} differ{'s' if one else ''} by {away}"


def _link(url: str) -> str | None:
    """The URL if a page may lead there, else null."""
    return url if url.lower().startswith(("http://", "https://")) else None
