"""Hash lists as exchanges hand them out, in one shape: a mapping for each hash, with its kind, value and standing.

Three are known by how they are built: StopNCII's ``FetchHashes`` and ThreatExchange's ``threat_updates`` in JSON, alone
or as pages one after the other, and NCMEC's ``queryResult`` in XML. Sources: their clients in Meta's python-threatexchange.
Of JSON built otherwise, records are taken as they are.

An update replaces what was said before: a withdrawal takes back older entries of the same file, and none of the same
time or of a time that cannot be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .signals.safe_xml import XmlError, feed

WITHDRAWN = frozenset({"withdrawn", "deleted", "tombstone", "tombstoned", "removed"})
"""Words of a status that take an entry back; every other leaves it in force."""

SCOPES = ("md5", "sha256", "phash", "pdq")

NO_HASH = "no hashes"

# What exchanges name besides, and nothing here can be compared with: other hashes, and what is no hash.
_OTHER = {
    "photodna": ("photodna", "pdna"),
    "sha1": ("sha1",),
    "sha512": ("sha512", "sha384", "sha224"),
    "tmk": ("tmk", "tmkpdqf"),
    "videntifier": ("videntifier",),
    "pdq_ocr": ("pdqocr",),
    "iscc": ("iscc",),
    "other hashes": ("ssdeep", "tlsh", "imphash", "texttlsh", "textmd5", "urlmd5"),
    NO_HASH: ("url", "uri", "rawuri", "domain", "ipaddress", "emailaddress", "text", "textstring", "rawtext",
              "trendquery", "debugstring"),
}  # fmt: skip
_KINDS = {scope: scope for scope in SCOPES} | {word: label for label, words in _OTHER.items() for word in words}
_PREFIX = re.compile(r"^(?:hash|image|photo|video|v(?=md5$))")

_PAGE_KEYS = ("hashRecords", "data", "entries", "hashes", "signals")


@dataclass(frozen=True)
class Listed:
    """What a document holds.

    Attributes:
        rows: the number of a record, from 1, and what it says; a record may give several.
        more: the document says that it is not the last page.
    """

    rows: list[tuple[int, dict[str, Any]]]
    more: bool = False


def kind_of(word: str) -> str | None:
    """The hash that an exchange means by a word such as ``HASH_PDQ``, ``ImagePDQ`` or ``SHA-256``.

    Returns: one of ``SCOPES``; for what cannot be compared, a name of it that is in none of them; None if unknown.
    """
    folded = re.sub(r"[^a-z0-9]", "", word.casefold())
    while folded not in _KINDS and (shorter := _PREFIX.sub("", folded)) != folded:
        folded = shorter
    return _KINDS.get(folded)


def json_listed(documents: Iterable[tuple[int | None, Any]]) -> Listed:
    """The entries of parsed JSON, each document a record, a list of records, a page, or a list of pages.

    Args:
        documents: the number of the place that it is from, and the document; without one, records are counted.
    """
    found: list[tuple[int, dict[str, Any]]] = []
    more = [False]
    for place, document in documents:
        for records, has_more in _pages(document):
            found += [(place or len(found) + number, _plain(record)) for number, record in enumerate(records, 1)]
            more.append(has_more)
    taken_back = _taken_back(row for _, row in found)
    return Listed([(number, row) for number, row in found if not _is_older(row, taken_back)], more[-1])


def ncmec_listed(data: bytes) -> Listed:
    """The fingerprints of an NCMEC ``queryResult``: ``kind``, ``key`` and, of withdrawn ones, ``status``.

    Raises:
        XmlError: not well-formed, of another root, too deep, or with a DOCTYPE; nothing of it is quoted.
    """
    handler = _Ncmec()
    feed(data, handler)
    gone = _latest((record.identity, record.time) for record in handler.records if record.gone and record.id)
    rows = []
    for number, record in enumerate(handler.records, 1):
        at = gone.get(record.identity)
        older = at is not None and record.time is not None and record.time < at
        status = {"status": "deleted"} if record.gone or older else {}
        rows += [(number, {"kind": kind, "key": key, **status}) for kind, key in record.prints or [(None, None)]]
    return Listed(rows, handler.more)


def _pages(document: Any) -> Iterator[tuple[list, bool]]:
    """Records together, and whether the page that they are on says that there is another."""
    if isinstance(document, list):
        for item in document:
            yield from _pages(item)
        return
    page = _page(document)
    yield ([document], False) if page is None else (page, _has_more(document))


def _page(document: Any) -> list | None:
    if not isinstance(document, dict):
        return None
    return next((document[name] for name in _PAGE_KEYS if isinstance(document.get(name), list)), None)


def _has_more(page: dict[str, Any]) -> bool:
    paging = page.get("paging")
    return page.get("hasMoreRecords") is True or (isinstance(paging, dict) and bool(paging.get("next")))


def _plain(record: Any) -> dict[str, Any]:
    """The columns of a record. A mapping of kinds to hashes, as HMA has them, gives a column each."""
    if not isinstance(record, dict):
        return {"key": None if isinstance(record, list) else record}
    row = {name: value for name, value in record.items() if not isinstance(value, (dict, list))}
    signals = record.get("signals")
    if isinstance(signals, dict):
        row |= {name: value for name, value in signals.items() if isinstance(value, str)}
    cases = record.get("caseNumbers")
    if isinstance(cases, dict) and not all(_is_withdrawn(status) for status in cases.values()):
        row["hashStatus"] = "Active"  # one person's withdrawal is not another's
    return row


def _is_withdrawn(status: Any) -> bool:
    return isinstance(status, str) and status.strip().casefold() in WITHDRAWN


def _update(row: Mapping[str, Any]) -> tuple[tuple[Any, Any], float | None, bool] | None:
    """What an update is about, its time, and whether it withdraws; None where a record is none."""
    if "hashValue" in row:
        what, time, gone = (row.get("signalType"), row["hashValue"]), row.get("lastModtimestamp"), row.get("hashStatus")
        return what, _seconds(time), _is_withdrawn(gone)
    if "indicator" in row and "should_delete" in row:
        what, time = (row.get("type"), row["indicator"]), row.get("last_updated")
        return what, _seconds(time), row["should_delete"] is True
    return None


def _taken_back(rows: Iterable[Mapping[str, Any]]) -> dict[Any, float]:
    updates = (update for row in rows if (update := _update(row)) is not None)
    return _latest((what, time) for what, time, gone in updates if gone)


def _is_older(row: Mapping[str, Any], taken_back: Mapping[Any, float]) -> bool:
    update = _update(row) if taken_back else None
    if update is None:
        return False
    what, time, gone = update
    return not gone and time is not None and what in taken_back and time < taken_back[what]


def _latest(times: Iterable[tuple[Any, float | None]]) -> dict[Any, float]:
    found: dict[Any, float] = {}
    for what, time in times:
        if time is not None:
            found[what] = max(time, found.get(what, time))
    return found


def _seconds(time: Any) -> float | None:
    """Unix time of a number or of ISO 8601; None where it is neither."""
    if isinstance(time, (int, float)) and not isinstance(time, bool):
        return float(time)
    try:
        parsed = datetime.fromisoformat(str(time).strip())
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


@dataclass
class _Record:
    """An ``image`` or ``video`` of NCMEC's, or what says that one is deleted."""

    gone: bool
    member: str | None = None
    id: str | None = None
    time: float | None = None
    prints: list[tuple[str, str]] = field(default_factory=list)

    @property
    def identity(self) -> tuple[str | None, str | None]:
        return self.member, self.id


class _Ncmec:
    """Takes the elements of a ``queryResult`` as they come; keeps no tree."""

    def __init__(self) -> None:
        self.records: list[_Record] = []
        self.more = False
        self._path: list[str] = []
        self._record: _Record | None = None
        self._depth = 0  # of the record
        self._text: list[str] = []

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        local = name.rpartition("}")[2].casefold()
        if not self._path and local != "queryresult":
            raise XmlError("its root is no queryResult")
        self._path.append(local)
        self._text.clear()
        if self._record is None and local.removeprefix("deleted") in ("image", "video"):
            self._record, self._depth = _Record(local.startswith("deleted")), len(self._path)
        elif self._record is not None and local == "member" and len(self._path) == self._depth + 1:
            self._record.member = attributes.get("id")

    def data(self, text: str) -> None:
        self._text.append(text)

    def end(self, name: str) -> None:
        text = "".join(self._text).strip()
        self._text.clear()
        below, local = self._path[self._depth :], self._path[-1]
        if self._record is None:
            self.more = self.more or (self._path[-2:] == ["paging", "next"] and bool(text))
        elif not below:
            self.records.append(self._record)
            self._record, self._depth = None, 0
        elif len(below) == 2 and below[0] == "fingerprints":
            self._record.prints.append((local, text))
        elif below == ["id"]:
            self._record.id = text or None
        elif below == ["timestamp"]:
            self._record.time = _seconds(text)
        elif below == ["deleted"]:
            self._record.gone = self._record.gone or text.casefold() in ("true", "1")
        self._path.pop()
