"""RSL 1.0, Really Simple Licensing: an XML file of licences that robots.txt or a ``Link`` header points to.

Source: rslstandard.org/rsl. Of the ``content`` elements that match a URL the narrowest governs. Its licences are
alternatives: whoever may use one of them may use the asset. A permission has to be spelled out; a licence that is
silent on training grants nothing here, although it need not forbid it.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin

from ...schemas.verdicts import ALLOW, COND, DENY, HOLD, NONE, strictest
from ..urls import canonical_key
from . import Evidence, Response, strictest_evidence
from .link_header import HEADER, links
from .path_pattern import Pattern, compiled, target_of
from .robots_txt import Robots
from .safe_xml import XmlError
from .safe_xml import parse as parse_xml

KIND = "rsl"
NAMESPACE = "https://rslstandard.org/rsl"
MEDIA_TYPE = "application/rsl+xml"
LINE = "license"

_TRAINING = frozenset({"ai-train", "train-ai", "ai-all", "all"})  # train-ai: an earlier draft
_BEST_FIRST = (ALLOW, COND, DENY, NONE)
_SEPARATOR = re.compile(r"[\s,]+")
_ABSOLUTE = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Licence:
    """One ``license`` element.

    Attributes:
        permits, prohibits: the listed values by type: ``usage``, ``user``, ``geo``.
        paid: a payment of any type but ``free`` is asked for, or a licence server has to be asked.
    """

    permits: dict[str, frozenset[str]]
    prohibits: dict[str, frozenset[str]]
    paid: bool

    def verdict(self, user_class: str | None) -> str:
        """What the licence says about training, for a class of user; None is not known."""
        if self._forbids("usage", _TRAINING):
            return DENY
        # What we are, or where, is not known unless the operator says so, and unknown is never permitted.
        if self._forbids("user", frozenset({user_class, "all"} if user_class else ())):
            return DENY
        if self._forbids("geo", frozenset()):
            return DENY
        if self.paid:
            return COND
        return ALLOW if "usage" in self.permits else NONE

    def _forbids(self, kind: str, ours: frozenset[str]) -> bool:
        listed = self.prohibits.get(kind, frozenset())
        prohibited = bool(listed & ours) if ours else bool(listed)
        unlisted = kind in self.permits and not self.permits[kind] & (ours | {"all"})
        return prohibited or unlisted


@dataclass(frozen=True, slots=True)
class Content:
    """One ``content`` element: the host it is limited to (None: any), its path pattern, its licences."""

    host: str | None
    pattern: Pattern
    licences: tuple[Licence, ...]
    raw: str

    def verdict(self, user_class: str | None) -> str:
        """The best of its licences for us."""
        found = [licence.verdict(user_class) for licence in self.licences]
        return min(found, key=_BEST_FIRST.index, default=NONE)


@dataclass(frozen=True, slots=True)
class RslFile:
    """A parsed RSL file.

    Attributes:
        contents: in file order.
        strict: false if the namespace is missing: then restrictions are read, and permissions are not.
        detail: what was malformed; empty if nothing was.
    """

    contents: tuple[Content, ...] = ()
    strict: bool = True
    detail: str = ""

    def verdict(self, url: str, user_class: str | None = None, source: str = "") -> Evidence:
        """What the file says about one URL.

        Args:
            url: the asset.
            user_class: what we are, such as ``non-commercial``; None if the operator does not say.
            source: where the file was found, for the evidence.
        """
        matching = self._matching(url)
        stating = [content for content in matching if content.licences]
        length = max((content.pattern.length for content in stating), default=0)
        governing = [content for content in stating if content.pattern.length == length]
        if not governing:
            return Evidence(KIND, NONE, source=source, detail=self.detail)
        verdict, detail = strictest(content.verdict(user_class) for content in governing), self.detail
        if verdict == ALLOW and not self.strict:
            verdict, detail = NONE, "a permission outside the RSL namespace"
        elif verdict == ALLOW and any(content.pattern.length > length for content in matching):
            verdict, detail = NONE, "a narrower content element without a licence hides the permission"
        scope = governing[0].pattern.text
        return Evidence(KIND, verdict, scope.decode("utf-8", "replace"), governing[0].raw, source, detail=detail)

    def _matching(self, url: str) -> list[Content]:
        key, target = canonical_key(url), target_of(url)
        host = key.partition("/")[0] if key else None
        return [c for c in self.contents if c.host in (None, host) and c.pattern.matches(target)]


def parse(body: bytes) -> RslFile:
    """Reads an RSL file. No body raises; what is not well-formed or has a DOCTYPE states nothing."""
    try:
        root = parse_xml(body.removeprefix(b"\xef\xbb\xbf").lstrip())
    except XmlError as error:
        return RslFile(detail=f"malformed: {error}")
    space, _, name = root.tag.rpartition("}")
    if name != "rsl" or space not in ("{" + NAMESPACE, ""):
        return RslFile(detail=f"malformed: the root element is {root.tag}")
    prefix = space + "}" if space else ""
    contents = [content for element in root.findall(f"{prefix}content") if (content := _content(element, prefix))]
    return RslFile(tuple(contents), strict=bool(space))


def from_response(status: int, body: bytes = b"") -> RslFile | None:
    """The RSL file that an answer stands for; None if there was no usable answer, which is ``hold``."""
    if 200 <= status < 300:
        return parse(body)
    return RslFile() if 400 <= status < 500 and status != 429 else None


def unanswered(source: str) -> Evidence:
    """The evidence for a licence file that gave no answer."""
    return Evidence(KIND, HOLD, source=source, detail="the licence file gave no answer")


def locations(robots: Robots, hops: Sequence[Response], url: str, agent: str) -> list[str]:
    """Absolute URLs of the RSL files that an asset names, without repetition.

    Args:
        robots: of the host; License lines of our group replace those before any group.
        hops: every response for the asset; the ``Link`` header of the last one counts.
        url: the asset.
        agent: our product token.
    """
    own, preamble = robots.lines_for(agent, LINE)
    named = [line.text for line in own if line.value] or [line.text for line in preamble if line.value]
    found = [*_linked(hops, url), *(_absolute(url, value) for value in named)]
    return list(dict.fromkeys(location for location in found if location))


def combined(found: Sequence[Evidence], robots: Robots) -> Evidence:
    """The strictest of several files; ``hold`` if robots.txt, which may name more, is undetermined."""
    if robots.hold:
        found = [*found, Evidence(KIND, HOLD, detail=robots.hold)]
    return strictest_evidence(KIND, found)


def _linked(hops: Sequence[Response], url: str) -> Iterator[str]:
    for link in links(hops[-1].lines(HEADER) if hops else ()):
        about_asset = link.anchor is None or _absolute(url, link.anchor) == url
        if "license" in link.relations and link.media_type == MEDIA_TYPE and about_asset:
            yield _absolute(hops[-1].url or url, link.target)


def _absolute(url: str, reference: str) -> str:
    """A reference as an absolute URL; as written where it cannot be one, for then its file is one that gave no answer."""
    try:
        return urljoin(url, reference.strip())
    except ValueError:
        return reference


def _content(element: ET.Element, prefix: str) -> Content | None:
    url = element.get("url", "").strip()
    absolute = _ABSOLUTE.match(url)
    path = (url[absolute.end() :] or "/") if absolute else url
    host = canonical_key(f"{absolute[0]}/") if absolute else None
    pattern = compiled(path.encode("utf-8", "surrogatepass"))
    if pattern is None or (absolute and host is None):
        return None
    server = element.get("server") is not None or element.find(f".//{prefix}server") is not None
    licences = tuple(_licence(child, prefix, server) for child in element.findall(f"{prefix}license"))
    raw = " ".join(ET.tostring(element, "unicode").split())
    return Content(host.partition("/")[0] if host else None, pattern, licences, raw)


def _licence(element: ET.Element, prefix: str, server: bool) -> Licence:
    payments = [payment.get("type", "").strip().lower() for payment in element.findall(f"{prefix}payment")]
    paid = server or element.get("server") is not None or any(payment != "free" for payment in payments)
    return Licence(_listed(element, f"{prefix}permits"), _listed(element, f"{prefix}prohibits"), paid)


def _listed(element: ET.Element, name: str) -> dict[str, frozenset[str]]:
    """The values of all elements of one name, by type; without a type they are about usage."""
    found: dict[str, set[str]] = defaultdict(set)
    for child in element.findall(name):
        kind = child.get("type", "usage").strip().lower()
        found[kind].update(filter(None, _SEPARATOR.split("".join(child.itertext()).lower())))
    return {kind: frozenset(values) for kind, values in found.items()}
