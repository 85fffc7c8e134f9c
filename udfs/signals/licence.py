"""Licences: Creative Commons and schema.org, normalised to SPDX ids.

CC0 and the Public Domain Mark permit. Every other licence has conditions, so it is ``cond`` until a policy
accepts its id: whether training meets them is not for a reader of licences to say.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import islice

from ...schemas.verdicts import ALLOW, COND, NONE
from ..urls import canonical_key
from . import Evidence, Response
from .html_page import Page
from .image_blocks import Blocks
from .image_object import ImageObject, absolute, by_key
from .link_header import HEADER, links
from .rsl import MEDIA_TYPE as RSL_MEDIA_TYPE
from .xmp_packet import CC_LICENSE, WEB_STATEMENT, properties

KIND = "licence"

PUBLIC_DOMAIN = frozenset({"cc0-1.0", "cc-pdm-1.0"})
MAX_LINKS = 1_000
"""Different licence links of a page."""

MAX_BASE_CHARS = 2_048
"""A longer base of a page is passed over: every link of the page would become as long."""

_ELEMENTS = ("by", "nc", "nd", "sa")  # the order of SPDX ids; `by-nd-nc/1.0` is CC-BY-NC-ND-1.0
_CC_LICENCE = re.compile(
    r"creativecommons\.org/licenses/([a-z]{2}(?:-[a-z]{2}){0,3})/(\d\.\d)"
    r"(?:/(?!(?:deed|legalcode|rdf)\b)([a-z]{2,8}))?(?:/(?:(?:deed|legalcode|rdf)\b.*)?)?"
)
_CC_PUBLIC = re.compile(r"creativecommons\.org/publicdomain/(zero|mark)/1\.0(?:/(?:(?:deed|legalcode|rdf)\b.*)?)?")


@dataclass(frozen=True, slots=True)
class Statement:
    """One licence that is stated for an asset.

    Attributes:
        url: of the licence, or of the page where one can be bought.
        source: where it is stated.
        spdx: SPDX id in lower case; empty if the licence is not known.
        offer: only a place to acquire a licence, not a licence.
    """

    url: str
    source: str
    spdx: str = ""
    offer: bool = False


def statement(url: str, source: str) -> Statement:
    """A licence by its URL."""
    return Statement(url, source, spdx_id(url) or "")


def spdx_id(url: str) -> str | None:
    """The SPDX id, in lower case, of a licence that is given by URL.

    Args:
        url: absolute; scheme, ``www.``, query, fragment, deeds and translations of them do not matter.

    Returns:
        str | None: such as ``cc-by-sa-3.0-de``; a port to a jurisdiction is a licence of its own, whether
        or not SPDX lists it. None if it is no known licence.
    """
    key = canonical_key(url)
    if key is None:
        return None
    key = key.partition("?")[0].lower()
    if public := _CC_PUBLIC.fullmatch(key):
        return "cc0-1.0" if public[1] == "zero" else "cc-pdm-1.0"
    if not (found := _CC_LICENCE.fullmatch(key)):
        return None
    elements = found[1].split("-")
    if len(set(elements)) != len(elements) or not set(elements) <= set(_ELEMENTS):
        return None
    code = "-".join(element for element in _ELEMENTS if element in elements)
    return "-".join(part for part in ("cc", code, found[2], found[3]) if part)


def verdict(statements: Sequence[Statement], accepted: Collection[str] = ()) -> Evidence:
    """What the licences of an asset come to.

    Args:
        statements: all that are stated for it.
        accepted: SPDX ids in lower case that count as a permission.

    Returns:
        Evidence: ``allow`` for one permissive or accepted licence that stands alone, ``cond`` for any other,
        for two different ones, and for an offer; ``none`` without any. Tags are the ids.
    """
    licences = {found.spdx or canonical_key(found.url) or found.url for found in statements if not found.offer}
    tags = tuple(found.spdx for found in statements if found.spdx)
    if not statements:
        return Evidence(KIND, NONE)
    permits = len(licences) == 1 and (licences <= PUBLIC_DOMAIN or licences <= {item.lower() for item in accepted})
    value = " ".join(dict.fromkeys(found.url for found in statements))
    detail = "several licences" if len(licences) > 1 else ""
    return Evidence(KIND, ALLOW if permits else COND, "asset", value, statements[0].source, tags, detail)


def of_page(page: Page, page_url: str, asset_url: str | None) -> list[Statement]:
    """The licences that a page states.

    Args:
        page: the scanned page.
        page_url: what relative links are resolved against.
        asset_url: an image shown on the page: what an ``ImageObject`` says of that very image wins over
            the page. None: the asset is the text of the page.
    """
    base = base_url(page, page_url)
    if asset_url is not None:
        described = by_key(page.json_ld, base).get(canonical_key(asset_url) or "")
        if described is not None and (own := of_image(described)):
            return own
    return [
        statement(absolute(base, target), "rel=license")
        for target, media_type in islice(dict.fromkeys(page.licences), MAX_LINKS)
        if target and media_type != RSL_MEDIA_TYPE
    ]


def base_url(page: Page, page_url: str) -> str:
    """What the links of a page are resolved against."""
    return absolute(page_url, page.base) if len(page.base) <= MAX_BASE_CHARS else page_url


def of_headers(hops: Sequence[Response], url: str) -> list[Statement]:
    """The licences in the ``Link`` header of the final response."""
    found = links(hops[-1].lines(HEADER)) if hops else ()
    base = (hops[-1].url if hops else "") or url
    return [
        statement(absolute(base, link.target), HEADER)
        for link in found
        if "license" in link.relations and link.media_type != RSL_MEDIA_TYPE and link.anchor is None
    ]


def of_file(blocks: Blocks) -> list[Statement]:
    """The licences inside a picture: ``cc:license`` and ``xmpRights:WebStatement``."""
    found = properties(blocks)
    return [statement(url, "XMP") for name in (CC_LICENSE, WEB_STATEMENT) for url in found.get(name)]


def of_image(described: ImageObject) -> list[Statement]:
    """The licences that a page states for one picture; an offer counts where it states none."""
    licences = [statement(url, "ImageObject") for url in described.licences]
    return licences or [Statement(url, "ImageObject", offer=True) for url in described.offers]
