"""What a page in an archive says about training: its headers, its meta elements, and the licences it states.

A page's statement is about the page. A pair from it takes its caption from the page and was found on it, so what the
page reserves is reserved for the pair, and reservations of a text count, as do those of the pictures it shows
(``noimageai``). What a page permits, it permits for itself; it is recorded and permits no picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache

from ..schemas.verdicts import HOLD, NONE
from ..udfs.signals import Evidence, Response, html_meta, licence, link_header, rsl, strictest_evidence, tdmrep
from ..udfs.signals.directives import NO_IMAGE_INDEX
from ..udfs.signals.html_page import Page
from ..udfs.signals.image_object import ImageObject, absolute
from ._headers import HEADERS, licence_links, said_in_headers
from ._said import AGENT, Said

_FILES_SHOWN = 4
META_NAMES = frozenset({"robots", AGENT, tdmrep.RESERVATION, tdmrep.POLICY})
"""Meta elements that may say something."""
_TERMS_IN = HEADERS | {link_header.HEADER.lower()}
_TDM = frozenset({tdmrep.RESERVATION, tdmrep.POLICY})
_UNKNOWN = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PageTerms:
    """What there is to know of a page.

    Attributes:
        url: of the page.
        status: of the response.
        headers: of the response.
        page: what its HTML holds.
        at: when it was crawled.
        cut: whether there is more of the page than the archive has, or than is read.
    """

    url: str
    status: int
    headers: Sequence[tuple[str, str]]
    page: Page
    at: datetime
    cut: bool = False

    def said(self) -> list[Said]:
        """What the page says of itself, and so of every pair on it."""
        return [*self._in_headers(), *self._in_metas(), *self._licence(), *self._rsl()]

    def said_of(self, described: ImageObject) -> Said | None:
        """What the page says of one picture: its licence."""
        found = licence.verdict(licence.of_image(described))
        return None if found.verdict == NONE else self._of(replace(found, scope=""), "image")

    def _in_headers(self) -> Iterator[Said]:
        # Without a media type the page counts as what it shows: pictures, which `noimageai` is about.
        headers = tuple((name.lower(), value) for name, value in self.headers if name.lower() in HEADERS)
        if headers:
            for said in said_in_headers([Response(self.url, self.status, headers)], self.at):
                yield replace(said, scope="page", hop=None)

    def _in_metas(self) -> Iterator[Said]:
        if self.cut:
            unread = Evidence(html_meta.KIND, HOLD, source="HTML", detail="cut: what the rest of it says is not known")
            yield self._of(unread, "page")
        metas = tuple((name, content) for name, content in self.page.metas if name in META_NAMES)
        if not metas:
            return
        for evidence, only_if in _refusal(metas):
            yield self._of(evidence, "page", only_if)
        reserved = tdmrep.verdict([tdmrep.page_layer(metas, self.url)])
        if reserved.verdict != NONE:
            yield self._of(reserved, "page")

    def _licence(self) -> Iterator[Said]:
        stated = licence.of_page(self.page, self.url, None) if self.page.licences else []
        if self._has_links:
            stated += licence.of_headers([Response(self.url, self.status, self.headers)], self.url)
        found = licence.verdict(stated)
        if found.verdict != NONE:
            yield self._of(replace(found, scope=""), "page")

    def _rsl(self) -> Iterator[Said]:
        """RSL terms of the page. A file that it names is not asked for, so what it says is not known."""
        base = licence.base_url(self.page, self.url)
        named = [absolute(base, target) for target, kind in self.page.licences if kind == rsl.MEDIA_TYPE]
        if self._has_links:
            lower = tuple((name.lower(), value) for name, value in self.headers)
            named += licence_links(Response(self.url, self.status, lower))
        if named:
            files = " ".join(list(dict.fromkeys(named))[:_FILES_SHOWN])
            unread = Evidence(rsl.KIND, HOLD, value=files, source="licence file", detail="was not asked for")
            yield self._of(unread, "page")
        found = strictest_evidence(rsl.KIND, map(self._inline, self.page.rsl))
        if found.verdict != NONE:
            yield self._of(replace(found, source="RSL"), "page")

    def _inline(self, text: str) -> Evidence:
        """What RSL inside the page says of it. It is there to say something: what cannot be read is no silence."""
        file = rsl.parse(text.encode("utf-8", "replace"))
        return file.verdict(self.url) if file.contents else Evidence(rsl.KIND, HOLD, detail=file.detail or "no content")

    @property
    def _has_links(self) -> bool:
        return any(name.lower() == "link" for name, _ in self.headers)

    def _of(self, evidence: Evidence, scope: str, only_if: str | None = None) -> Said:
        return Said(replace(evidence, source=f"{evidence.source} of {self.url}"), self.at, scope, only_if=only_if)


def are_silent(metas: tuple[tuple[str, str], ...], headers: Iterable[str]) -> bool:
    """Whether meta elements, and headers by their names, say nothing, as those of most pages."""
    return _TERMS_IN.isdisjoint("\n".join(headers).lower().split()) and not (metas and _speak(metas))


@lru_cache(maxsize=4_096)
def _speak(metas: tuple[tuple[str, str], ...]) -> bool:
    return bool(_refusal(metas)) or not _TDM.isdisjoint(name for name, _ in metas)


@lru_cache(maxsize=4_096)
def crawled(date: str) -> datetime:
    """When a page was crawled. The beginning of time, if the archive does not say."""
    try:
        found = datetime.fromisoformat(date)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # out of all years, by its offset
        return _UNKNOWN


@lru_cache(maxsize=4_096)  # pages of a site, and most pages of the web, say the same
def _refusal(metas: tuple[tuple[str, str], ...]) -> tuple[tuple[Evidence, str | None], ...]:
    """What meta elements refuse, and the line of a policy under which they do."""
    refused, only_if = html_meta.verdict(metas, AGENT, image=True), None
    if refused.verdict == NONE:
        refused, only_if = html_meta.verdict(metas, AGENT, image=True, also=NO_IMAGE_INDEX), "noindex=deny"
    return () if refused.verdict == NONE else ((refused, only_if),)


def licence_of(described: ImageObject) -> str | None:
    """The one licence that is stated for a picture: SPDX id in lower case, or its URL. None if two contradict.

    None also of a URL that is longer than any that leads to a licence: each picture of a page could repeat it.
    """
    stated = {found.spdx or found.url for found in licence.of_image(described) if not found.offer}
    (only,) = stated if len(stated) == 1 else (None,)
    return (
        only
        if only and len(only) <= licence.MAX_BASE_CHARS and only.startswith(("http://", "https://", "cc"))
        else None
    )
