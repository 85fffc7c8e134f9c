"""lookup: "am I in it?" by URL, picture, creator or domain, from a release alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..schemas.errors import InputError, ReleaseError
from ..udfs.hashing import Fingerprint, fingerprint
from . import _manifest
from ._catalog import Catalog, open_catalog
from ._registries import normal_key
from ._release import Release
from ._shards import shard_name
from ._story import lookup_text as text

__all__ = ["SHOWN_ROWS", "lookup", "text"]

SHOWN_ROWS = 100

_BY_URL = "SELECT pair_id, 'url' AS match, NULL::INTEGER AS distance FROM outcome WHERE url_key = $key"
# What looks like a subdomain is asked once for each name whether it is one: an address has none.
_BY_DOMAIN = """
WITH name AS MATERIALIZED (SELECT DISTINCT host FROM outcome WHERE host = $key OR ends_with(host, '.' || $key)),
     covered AS MATERIALIZED (SELECT host FROM name WHERE list_contains(host_suffixes(host), $key))
SELECT pair_id, 'domain' AS match, NULL::INTEGER AS distance FROM outcome WHERE host IN (FROM covered)
"""
_BY_CREATOR = """
WITH name AS MATERIALIZED (SELECT DISTINCT creator FROM outcome),
     meant AS MATERIALIZED (SELECT creator FROM name WHERE name_key(creator) = $key)
SELECT pair_id, 'creator' AS match, NULL::INTEGER AS distance FROM outcome WHERE creator IN (FROM meant)
"""

_BY_KEY = {
    "url": (_BY_URL, "an http or https URL"),
    "creator": (_BY_CREATOR, "a name"),
    "domain": (_BY_DOMAIN, "a domain such as example.org"),
}

# The strictest tie to each picture: the same bytes, else the same look. Hashes of flat pictures mean nothing.
_BY_PICTURE = """
WITH near AS (
    SELECT pair_id, 0 AS rank, 'sha256' AS match, 0 AS distance FROM image WHERE sha256 = $sha256
    UNION ALL
    SELECT pair_id, 1, 'phash', bit_count(xor(phash, $phash::BIGINT))::INTEGER
    FROM image WHERE pdq_quality >= $min_quality AND bit_count(xor(phash, $phash::BIGINT)) <= $phash_max
    UNION ALL
    SELECT pair_id, 2, 'pdq', min(bit_count(xor(pdq::BIT, code::BIT)))::INTEGER
    FROM image CROSS JOIN (SELECT unnest($pdq::BLOB[]) AS code)
    WHERE pdq_quality >= $min_quality AND octet_length(pdq) = 32 AND bit_count(xor(pdq::BIT, code::BIT)) <= $pdq_max
    GROUP BY pair_id
)
SELECT pair_id, match, distance FROM near
QUALIFY row_number() OVER (PARTITION BY pair_id ORDER BY rank) = 1
"""

_ANSWER = """
SELECT outcome.pair_id, url, caption, creator, licence, outcome, stage, reason, evidence, shard_id, key, match, distance
FROM found JOIN outcome ON found.pair_id = outcome.pair_id
ORDER BY outcome DESC, distance NULLS FIRST, url, outcome.pair_id LIMIT $limit
"""
_COUNTS = """
SELECT count(*) FILTER (outcome = 'released') AS released, count(*) FILTER (outcome = 'dropped') AS dropped
FROM found JOIN outcome ON found.pair_id = outcome.pair_id
"""


def lookup(
    folder: str,
    *,
    url: str | None = None,
    image: str | None = None,
    creator: str | None = None,
    domain: str | None = None,
) -> dict[str, Any]:
    """The pairs of a release that somebody asks about: exactly one thing is asked.

    Args:
        folder: the release.
        url: of a picture, in any spelling.
        image: path of a picture, found by its bytes or its look.
        creator: name, as sources state it; case and spacing do not matter.
        domain: host or domain; covers its subdomains.

    Returns:
        asked, found, released and dropped (numbers), pairs (the first ``SHOWN_ROWS``, released ones first, each with
        what matched and how many bits differ) and note (or null).

    Raises:
        ReleaseError: not a finished release.
        InputError: not exactly one thing is asked, it is not what it should be, or the picture cannot be read.
    """
    given = {"url": url, "image": image, "creator": creator, "domain": domain}
    asked = {name: value for name, value in given.items() if value is not None}
    if len(asked) != 1:
        raise InputError("lookup", f"is asked about {len(asked)} things", "one of url, image, creator and domain")
    ((kind, value),) = asked.items()
    found = find(opened(folder), kind, _bytes(value), value) if kind == "image" else find(opened(folder), kind, value)
    return {"asked": asked, **found}


def opened(folder: str) -> Catalog:
    """The catalog of a release, to ask several times.

    Raises:
        ReleaseError: not a finished release.
    """
    catalog = open_catalog(folder)
    if not catalog.is_release:
        raise ReleaseError(folder, "is a work directory", "a release", "Ask `fairshard explain` about it")
    return catalog


def find(catalog: Catalog, kind: str, value: str | bytes, name: str = "The file") -> dict[str, Any]:
    """What ``lookup`` finds.

    Args:
        catalog: of a release; the temporary table ``found`` of its connection is overwritten.
        kind: url, image, creator or domain.
        value: what is asked; of an image the bytes of the file.
        name: what errors call these bytes.

    Raises:
        InputError: it is not what it should be, or no picture.
    """
    notes: list[str] = []
    manifest = _manifest.load(Release(catalog.root))
    if isinstance(value, bytes):
        notes = _find_picture(catalog, _hashed(value, name), manifest["policy"])
    else:
        sql, expected = _BY_KEY[kind]
        key = normal_key(kind, value)
        if key is None:
            raise InputError("lookup", f"is asked about {value!r}", expected)
        _found(catalog, sql, key=key)
    answer = _answer(catalog)
    return {"found": bool(answer["pairs"]), **answer, "note": " ".join([*notes, *_withheld(manifest)]) or None}


def _answer(catalog: Catalog) -> dict[str, Any]:
    (counts,) = catalog.dicts(_COUNTS)
    pairs = []
    for row in catalog.dicts(_ANSWER, limit=SHOWN_ROWS):
        shard_id = row.pop("shard_id")
        pairs.append({**row, "shard": None if shard_id is None else shard_name(shard_id)})
    return {**counts, "pairs": pairs}


def _found(catalog: Catalog, sql: str, **params: object) -> None:
    catalog.rows(f"CREATE OR REPLACE TEMP TABLE found AS {sql}", **params)


def _find_picture(catalog: Catalog, picture: Fingerprint, limits: dict[str, Any]) -> list[str]:
    """Fill ``found``. Returns what to tell about the picture."""
    flat = (picture.pdq_quality or 0) < limits["pdq_min_quality"]
    _found(
        catalog,
        _BY_PICTURE,
        sha256=picture.sha256,
        phash=None if flat else picture.phash,
        pdq=[] if flat else list(picture.pdq_dihedral or ()),
        phash_max=limits["phash_max_distance"],
        pdq_max=limits["pdq_max_distance"],
        min_quality=limits["pdq_min_quality"],
    )
    if picture.error:
        return [f"The picture cannot be decoded ({picture.error}): only its very bytes were looked for."]
    return ["The picture is too flat for its look to be compared: only its very bytes were looked for."] if flat else []


def _bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "a picture") from error


def _hashed(data: bytes, name: str) -> Fingerprint:
    picture = fingerprint(data, dihedral=True)
    if picture.error == "not_an_image":
        raise InputError(name, f"is no picture: {picture.error_detail}", "a picture")
    return picture


def _withheld(manifest: dict[str, Any]) -> list[str]:
    count = manifest["counts"].get("withheld", 0)
    said = (
        f"{count:,} pairs that were left out are covered by lists that may not be published; they cannot be looked up."
    )
    return [said] if count else []
