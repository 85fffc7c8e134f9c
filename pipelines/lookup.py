"""lookup: "am I in it?" by URL, picture, creator or domain, from a release alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..schemas.errors import InputError, ReleaseError
from ..udfs.hashing import Fingerprint, fingerprint, pdq_words, phash_words
from . import _manifest
from ._alike import ALIKE, Look, alike
from ._catalog import Catalog, open_catalog
from ._chain import members
from ._registries import normal_key
from ._release import MANIFEST, Release
from ._shards import shard_name
from ._story import lookup_text as text

__all__ = ["SHOWN_ROWS", "lookup", "text"]

SHOWN_ROWS = 100

# Each gives ``found``: pair_id, outcome, match and distance, the strictest tie where there are several.
_BY_URL = "SELECT pair_id, outcome, 'url' AS match, NULL::INTEGER AS distance FROM outcome WHERE url_key = $key"
_BY_DOMAIN = """
SELECT pair_id, outcome, 'domain' AS match, NULL::INTEGER AS distance FROM outcome
WHERE host IN (SELECT word FROM name WHERE list_contains(host_suffixes(word), $key))
"""
_BY_CREATOR = """
SELECT pair_id, outcome, 'creator' AS match, NULL::INTEGER AS distance FROM outcome
WHERE creator IN (SELECT word FROM name WHERE name_key(word) = $key)
"""

# Names that could be meant, each once: a table, or DuckDB would ask the functions above about every row. What looks like
# a subdomain may be none: an address has no subdomains.
_NAMES = {
    "domain": "SELECT DISTINCT host AS word FROM outcome WHERE host = $key OR ends_with(host, '.' || $key)",
    "creator": "SELECT DISTINCT creator AS word FROM outcome WHERE creator IS NOT NULL",
}

_BY_KEY = {
    "url": (_BY_URL, "an http or https URL"),
    "creator": (_BY_CREATOR, "a name"),
    "domain": (_BY_DOMAIN, "a domain such as example.org"),
}

# The same bytes, else the same look.
_BY_PICTURE = """
SELECT near.pair_id, outcome.outcome, match, distance
FROM (
    SELECT pair_id, 'sha256' AS match, 0 AS distance FROM image WHERE sha256 = $sha256
    UNION ALL
    SELECT pair_id, match, distance FROM alike
) AS near JOIN outcome ON near.pair_id = outcome.pair_id
QUALIFY row_number() OVER (
    PARTITION BY near.pair_id ORDER BY list_position(['sha256', 'phash', 'pdq'], match), distance
) = 1
"""

# The first by id are those that take the least reading.
_ANSWER = """
WITH shown AS MATERIALIZED (SELECT * FROM found ORDER BY outcome DESC, distance NULLS FIRST, pair_id LIMIT $limit)
SELECT outcome.pair_id, url, caption, creator, licence, outcome.outcome, stage, reason, evidence, shard_id, key,
       match, distance
FROM shown JOIN outcome ON shown.pair_id = outcome.pair_id
ORDER BY outcome.outcome DESC, distance NULLS FIRST, url, outcome.pair_id
"""
_COUNTS = """
SELECT count(*) FILTER (outcome = 'released') AS released, count(*) FILTER (outcome = 'dropped') AS dropped FROM found
"""


@dataclass(frozen=True)
class Question:
    """What somebody asks about.

    Attributes:
        kind: url, image, creator or domain.
        key: what pairs have to carry, in its normal form; empty for an image.
        picture: hashes of the image.
    """

    kind: str
    key: str = ""
    picture: Fingerprint | None = None


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
        folder: the release, or a folder of releases.
        url: of a picture, in any spelling.
        image: path of a picture, found by its bytes or its look.
        creator: name, as sources state it; case and spacing do not matter.
        domain: host or domain; covers its subdomains.

    Returns:
        asked, found, released and dropped (numbers), pairs (the first ``SHOWN_ROWS``, released ones first, each with
        what matched and how many bits differ) and note (or null). Of a folder: asked, found, and the rest for each
        release in ``releases``, with its folder as ``release``; a takedown's release before what it was made from.

    Raises:
        ReleaseError: not a finished release, nor a folder with any.
        InputError: not exactly one thing is asked, it is not what it should be, or the picture cannot be read.
    """
    given = {"url": url, "image": image, "creator": creator, "domain": domain}
    asked = {name: value for name, value in given.items() if value is not None}
    if len(asked) != 1:
        raise InputError("lookup", f"is asked about {len(asked)} things", "one of url, image, creator and domain")
    ((kind, value),) = asked.items()
    about = question(kind, _bytes(value), value) if kind == "image" else question(kind, value)
    several = [] if Release(folder).exists(MANIFEST) else members(folder)
    if not several:
        return {"asked": asked, **find(opened(folder), about)}
    answers = [{"release": one.folder, **find(opened(one.folder), about)} for one in several]
    return {"asked": asked, "found": any(answer["found"] for answer in answers), "releases": answers}


def opened(folder: str) -> Catalog:
    """The catalog of a release, to ask several times.

    Raises:
        ReleaseError: not a finished release.
    """
    catalog = open_catalog(folder)
    if not catalog.is_release:
        raise ReleaseError(folder, "is a work directory", "a release", "Ask `fairshard explain` about it")
    return catalog


def question(kind: str, value: str | bytes, name: str = "The file") -> Question:
    """A question that can be put to releases.

    Args:
        kind: url, image, creator or domain.
        value: what is asked; of an image the bytes of the file.
        name: what errors call these bytes.

    Raises:
        InputError: it is not what it should be, or no picture.
    """
    if isinstance(value, bytes):
        return Question(kind, picture=_hashed(value, name))
    _, expected = _BY_KEY[kind]
    key = normal_key(kind, value)
    if key is None:
        raise InputError("lookup", f"is asked about {value!r}", expected)
    return Question(kind, key)


def find(catalog: Catalog, asked: Question) -> dict[str, Any]:
    """What ``lookup`` finds in one release. Temporary tables of the catalog's connection are overwritten."""
    notes: list[str] = []
    manifest = _manifest.load(Release(catalog.root))
    if asked.picture is not None:
        notes = _find_picture(catalog, asked.picture, manifest["policy"])
    else:
        _find_key(catalog, asked)
    answer = _answer(catalog)
    return {"found": bool(answer["pairs"]), **answer, "note": " ".join([*notes, *_withheld(manifest)]) or None}


def _find_key(catalog: Catalog, asked: Question) -> None:
    if names := _NAMES.get(asked.kind):
        catalog.keep("name", names, **({"key": asked.key} if "$key" in names else {}))
    catalog.keep("found", _BY_KEY[asked.kind][0], key=asked.key)


def _answer(catalog: Catalog) -> dict[str, Any]:
    (counts,) = catalog.dicts(_COUNTS)
    pairs = []
    for row in catalog.dicts(_ANSWER, limit=SHOWN_ROWS):
        shard_id = row.pop("shard_id")
        pairs.append({**row, "shard": None if shard_id is None else shard_name(shard_id)})
    return {**counts, "pairs": pairs}


def _find_picture(catalog: Catalog, picture: Fingerprint, limits: dict[str, Any]) -> list[str]:
    """Fill ``found``. Returns what to tell about the picture."""
    if picture.phash is None or picture.error:
        note = f"The picture cannot be decoded ({picture.error}): only its very bytes were looked for."
    elif (picture.pdq_quality or 0) < limits["pdq_min_quality"]:  # hashes of flat pictures mean nothing
        note = "The picture is too flat for its look to be compared: only its very bytes were looked for."
    else:
        note = None
    like = _alike(catalog, picture, limits) if note is None else ALIKE.empty_table()
    catalog.connection.register("alike", like)
    catalog.keep("found", _BY_PICTURE, sha256=picture.sha256)
    return [note] if note else []


def _alike(catalog: Catalog, picture: Fingerprint, limits: dict[str, Any]) -> pa.Table:
    look = Look(
        phash_words(pa.array([picture.phash], pa.int64())),
        pdq_words(pa.array(picture.pdq_dihedral, pa.binary())),
        phash_radius=limits["phash_max_distance"],
        pdq_radius=limits["pdq_max_distance"],
        min_quality=limits["pdq_min_quality"],
    )
    release = Release(catalog.root)
    files = [f"{release.root}/{name}" for name in release.files() if name.startswith("tables/image-")]
    try:
        return alike(files, look)
    except (OSError, pa.ArrowException) as error:
        raise ReleaseError(
            catalog.root, f"its table 'image' cannot be read ({error})", "the tables of a release"
        ) from error


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
