"""What each protocol says about a case, and what all of them say together."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..schemas.verdicts import ALLOW, COND, DENY, HOLD, NONE, strictest
from ..udfs.hashing import fingerprint
from ..udfs.signals import (
    Evidence,
    ai_txt,
    aipref,
    c2pa_manifest,
    content_signal,
    hash_list,
    html_meta,
    html_page,
    image_blocks,
    licence,
    robots_txt,
    rsl,
    tdmrep,
    url_registry,
    x_robots_tag,
    xmp,
)
from ..udfs.signals.directives import NO_INDEX
from ..udfs.urls import canonical_href, canonical_key
from ._case import Case

COMBINE = "combine"

_LICENCE_KIND = "recorded_licence"


def _robots(case: Case) -> robots_txt.Robots:
    """The robots.txt of the host: the document of its own kinds, a file of all others."""
    if case.kind == "robots_txt":
        return robots_txt.from_response(case.hops[-1].status, case.body or b"")
    if case.kind == "content_signal":
        return robots_txt.from_response(case.status, case.body or b"")
    status, body = _fetched(case, "robots_txt")
    return robots_txt.from_response(status, body)


def _fetched(case: Case, key: str) -> tuple[int, bytes]:
    """Status and body of another fetch."""
    answers = {_asked(name): (200, body) if body is not None else (0, b"") for name, body in case.files.items()}
    return answers.get(_asked(key), (404, b""))


def _asked(url: str) -> str:
    """A URL as it is asked for, in whatever spelling it is given; the name of a file stays."""
    return canonical_href(url) or url


def _robots_txt(case: Case) -> Evidence:
    return _robots(case).verdict(case.url, case.agent, case.flags.ai_agent_proxy)


def _x_robots_tag(case: Case) -> Evidence:
    return x_robots_tag.verdict(case.hops, case.agent, _also(case))


def _also(case: Case) -> frozenset[str]:
    return NO_INDEX if case.flags.respect_noindex else frozenset()


def _tdmrep(case: Case) -> Evidence:
    file = tdmrep.parse(case.files.get("tdmrep_json"), case.url)
    layers = [file.layer(case.url), tdmrep.header_layer(case.hops)]
    if case.page_url is None:
        layers.append(tdmrep.page_layer(_page(case).metas, case.url))
    unreachable = [_asked(key) for key, body in case.files.items() if body is None]
    return tdmrep.verdict(layers, unreachable)


def _content_signal(case: Case) -> Evidence:
    return content_signal.verdict(_robots(case), case.hops, case.agent)


def _aipref(case: Case) -> Evidence:
    reading = aipref.Reading(case.flags.lenient_aipref, case.flags.legacy_aipref)
    return aipref.verdict(_robots(case), case.hops, case.url, case.agent, reading)


def _ai_txt(case: Case) -> Evidence:
    answer = (case.status, case.body or b"") if case.kind == ai_txt.KIND else _fetched(case, "ai_txt")
    return ai_txt.from_response(*answer).verdict(case.url, case.agent)


def _rsl(case: Case) -> Evidence:
    if case.kind == rsl.KIND and (case.body is not None or case.status != 200):
        return _rsl_file(case, (case.status, case.body or b""), "licence file")
    robots = _robots(case)
    files = rsl.locations(robots, case.hops, case.url, case.agent)
    return rsl.combined([_rsl_file(case, _fetched(case, file), file) for file in files], robots)


def _rsl_file(case: Case, answer: tuple[int, bytes], source: str) -> Evidence:
    file = rsl.from_response(*answer)
    return rsl.unanswered(source) if file is None else file.verdict(case.url, case.flags.user_class, source)


def _html_meta(case: Case) -> Evidence:
    found = html_meta.verdict(_page(case).metas, case.agent, image=case.page_url is not None, also=_also(case))
    if case.kind == html_meta.KIND and found.verdict == NONE and _is_undetermined(case.status):
        return Evidence(html_meta.KIND, HOLD, detail=f"the page: status {case.status}")
    return found


def _is_undetermined(status: int) -> bool:
    """Whether a status says "later" rather than "nothing here"."""
    return not 200 <= status < 500 or status == 429


def _licence(case: Case) -> Evidence:
    asset = None if case.page_url is None else case.url
    is_error = case.kind == licence.KIND and not 200 <= case.status < 300  # whose links speak of the error alone
    found = [] if is_error else licence.of_page(_page(case), case.page_url or case.url, asset)
    found += licence.of_headers(case.hops, case.url)
    if case.picture is not None:
        found += licence.of_file(image_blocks.read(case.data))
    return licence.verdict(found, case.flags.accept_licences)


def _xmp(case: Case) -> Evidence:
    return xmp.verdict(image_blocks.read(case.data), case.purpose)


def _c2pa(case: Case) -> Evidence:
    reading = c2pa_manifest.Reading(case.flags.remote_manifest)
    return c2pa_manifest.verdict(case.data, image_blocks.read(case.data), case.purpose, reading)


def _page(case: Case) -> html_page.Page:
    """The page that is the asset, or shows it."""
    return html_page.parse(case.body or b"")


def _url_registry(case: Case) -> Evidence:
    return url_registry.verdict(case.registry, case.url, case.flags.ignore_query_for)


def _hash_list(case: Case) -> Evidence:
    if case.registry is None:
        return hash_list.verdict(None, hash_list.Prints("", ""))
    dihedral = case.flags.hash_dihedral
    found = fingerprint(case.data, dihedral=dihedral)
    codes = (found.pdq_dihedral if dihedral else (found.pdq,)) if found.pdq is not None else ()
    prints = hash_list.Prints(found.md5, found.sha256, codes or (), found.pdq_quality)
    return hash_list.verdict(case.registry, prints, case.flags.pdq_max_distance)


READERS: dict[str, Callable[[Case], Evidence]] = {
    robots_txt.KIND: _robots_txt,
    x_robots_tag.KIND: _x_robots_tag,
    tdmrep.KIND: _tdmrep,
    content_signal.KIND: _content_signal,
    aipref.KIND: _aipref,
    ai_txt.KIND: _ai_txt,
    html_meta.KIND: _html_meta,
    rsl.KIND: _rsl,
    licence.KIND: _licence,
    xmp.KIND: _xmp,
    c2pa_manifest.KIND: _c2pa,
    url_registry.KIND: _url_registry,
    hash_list.KIND: _hash_list,
}


def combined(case: Case) -> tuple[str, list[Evidence]]:
    """The verdict across all protocols, and what each of them found.

    The strictest wins. A recorded licence for the URL answers every ``deny`` and ``cond`` but that of a hash list; what
    is undetermined stays so. If nobody says anything, the default decides.
    """
    pieces = list(_pieces(case))
    licensed = _has_licence(case)
    if licensed:
        pieces.append(Evidence(_LICENCE_KIND, ALLOW, "asset", case.url, "policy"))
    verdict = strictest(_counted(piece, licensed) for piece in pieces)
    return (case.flags.default if verdict == NONE else verdict), pieces


def _counted(piece: Evidence, licensed: bool) -> str:
    """What a piece of evidence counts for next to others."""
    if piece.kind == robots_txt.KIND and piece.verdict == ALLOW:
        return NONE  # permits to fetch, which is not to permit training
    if licensed and piece.verdict in (DENY, COND) and piece.kind != hash_list.KIND:
        return ALLOW
    return NONE if piece.kind == _LICENCE_KIND else piece.verdict


def _pieces(case: Case) -> Iterator[Evidence]:
    for kind, read in READERS.items():
        if kind in _OF_FILE and case.picture is None:
            continue
        if kind in _OF_REGISTRY:
            continue
        yield read(case)
    if case.hops[-1].status == 402:
        yield Evidence("http_status", COND, "asset", "402", case.hops[-1].url, detail="payment is asked for")
    if case.asks_registry:
        yield from _registries(case)


def _registries(case: Case) -> Iterator[Evidence]:
    """A registry may hold entries for URLs and for hashes; without a picture only the former can be judged."""
    yield _url_registry(case)
    if case.picture is not None and case.registry is not None:
        yield _hash_list(case)


def _has_licence(case: Case) -> bool:
    key = canonical_key(case.url)
    return key is not None and any(canonical_key(url) == key for url in case.flags.recorded_licences)


_OF_FILE = frozenset({xmp.KIND, c2pa_manifest.KIND})
_OF_REGISTRY = frozenset({url_registry.KIND, hash_list.KIND})
