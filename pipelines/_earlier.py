"""What an earlier run has fetched of a partition, and what of it stands; of a killed one, who refused.

An answer stands for a URL, whatever pairs it has. What was refused stands under any ``fetch`` section and any policy
that still refuses it, so it is not asked for a second time; pictures and failures stand under the section that they
were fetched under.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..schemas.verdicts import HOLD
from ._fetch_task import NOTHING, Asked, FetchTask, Rows, closed
from ._gate import UNREAD
from ._headers import STATED_IN
from ._in_file import KINDS as FILE_KINDS
from ._pixels import Look, validators_in
from ._refusals import Refusals
from ._said import Said, said_of
from ._store import Store, read_parquet
from ._work_shard import WorkShard, read_range

if TYPE_CHECKING:  # aiohttp is an extra
    from ._answer import Fetched, Validators

# Columns that belong to one fetching, not to the picture.
_OF_ONE_FETCH = ("pair_id", "asked_url", "fetched_at", "work_shard", "work_key", "work_offset", "work_bytes")


class Earlier:
    """Answers of an earlier run.

    Attributes:
        paused: until when hosts asked not to be asked, by name.
        committed_at: when it was done with asking; None if there was none.
    """

    def __init__(self, store: Store, task: FetchTask):
        self._store, self._task = store, task
        self._images: dict[str, list[dict]] = {}
        self._signals: dict[int, list[dict]] = {}
        mark = store.mark("fetch", task.partition)
        extra = mark.extra if mark else {}
        self._alike = extra.get("facts") == task.facts and set(task.looks) <= set(extra.get("looks", ()))
        paused = {} if mark and mark.ahead(datetime.now(UTC)) else extra.get("paused", {})
        self.paused = {name: datetime.fromisoformat(until) for name, until in paused.items()}
        self.committed_at = datetime.fromisoformat(mark.committed_at) if mark else None
        for row in self._rows(mark.files.get("image", []) if mark else []):
            self._images.setdefault(row.get("asked_url") or "", []).append({**NOTHING, **row})
        for row in self._rows(mark.files.get("signal", []) if mark else []):
            self._add_signal(row)
        for image, signals in Refusals(store, task.partition):
            self._images[image["asked_url"]] = [{**NOTHING, **image}]
            self._signals.pop(image["pair_id"], None)
            for row in signals:
                self._add_signal(row)

    def _add_signal(self, row: dict) -> None:
        if row["scope"] == "asset" or self._task.way.how != "off":  # the policy may not read files any more
            self._signals.setdefault(row["pair_id"], []).append(row)

    def take(self, url: str, asked: Asked, rows: Rows, shard: WorkShard, aged: bool = False) -> bool:
        """Take the answer for a URL over into a new partition, if it stands.

        Args:
            url: asked for.
            asked: its pairs.
            rows: of the new partition.
            shard: of the new partition.
            aged: even if it was to be asked for again, unless it is a failure.
        """
        kept = self._standing(url, asked, aged)
        if kept is None:
            return False
        said, place = self._said(url), {}
        for row in kept:
            if row["work_shard"] is not None:
                place = place or shard.add(row["work_key"], self._rendition(row))
            rows.image.append(row | place if row["work_shard"] is not None else row)
            rows.signal += [{**one, "pair_id": row["pair_id"]} for one in said]
        return True

    def known(self, url: str) -> Validators | None:
        """What to ask with, where the picture is there already."""
        row = self._picture(url)
        if row is None or not (row["etag"] or row["last_modified"]):
            return None
        from ._answer import Validators

        return Validators(row["final_url"], row["etag"], row["last_modified"])

    def unchanged(self, url: str, fetched: Fetched, new: Sequence[Said]) -> Look | None:
        """What the picture came to, if the answer says that it is still the same.

        Args:
            url: asked for.
            fetched: its answer.
            new: what that says, and the terms that it led to.

        Source: RFC 9110, section 15.4.5, and RFC 9111, section 3.2: an answer with 304 may leave headers out, and those
            that it does not repeat stand as they were. So does what they said.
        """
        known = self.known(url) if fetched.error == "http_304" else None
        row = self._picture(url)
        if known is None or row is None or fetched.final_url != known.url:
            return None
        last = fetched.hops[-1]
        restated = {kind for kind, names in STATED_IN.items() if any(name in names for name, _ in last.headers)}
        restated |= {said.evidence.kind for said in new}
        stands = [
            replace(said_of(one), hop=len(fetched.hops) - 1)
            for one in self._said(url)
            if one["kind"] in STATED_IN.keys() - restated and _is_of_final(one, row["final_url"])
        ]
        in_file = [said_of(one) for one in self._said(url) if one["kind"] in FILE_KINDS]
        columns = {name: value for name, value in row.items() if name not in _OF_ONE_FETCH}
        return Look(columns | validators_in(last), self._rendition(row), (*stands, *in_file))

    def _standing(self, url: str, asked: Asked, aged: bool) -> list[dict] | None:
        """The new rows of a URL's pairs, without asking; None if it has to be asked for."""
        found = self._images.get(url, [])
        if not found or (not aged and any(map(self._task.again.concerns, found))):
            return None
        said = self._said(url)
        refusals = [one for one in said if self._task.binding.refuses(one["kind"], one["verdict"], one["only_if"])]
        is_final, is_open = not all(map(may_change, refusals)), any(map(may_change, said))
        answer = self._picture(url) or (None if aged else self._failure(url))
        kept = []
        for pair in asked.pairs:
            if refusals and pair not in asked.licensed:
                if not is_final:
                    return None
                row = {**NOTHING, **closed(found[0]), "fetched_at": found[0]["fetched_at"]}
            elif answer is None or is_open:
                return None
            else:
                row = answer
            kept.append({**row, "asked_url": url, "pair_id": pair})
        return kept

    def _picture(self, url: str) -> dict | None:
        return self._first(url, "ok")

    def _failure(self, url: str) -> dict | None:
        return self._first(url, "failed")

    def _first(self, url: str, status: str) -> dict | None:
        rows = self._images.get(url, ()) if self._alike else ()
        return next((row for row in rows if row["status"] == status), None)

    def _said(self, url: str) -> list[dict]:
        """What was said of a URL: the same of each of its pairs."""
        return self._signals.get(self._images[url][0]["pair_id"], [])

    def _rendition(self, row: dict) -> bytes:
        return read_range(self._store, row["work_shard"], row["work_offset"], row["work_bytes"])

    def _rows(self, files: Sequence[str]) -> Iterator[dict[str, Any]]:
        for name in files:
            yield from read_parquet(self._store.path(name)).to_pylist()


def may_change(signal: dict) -> bool:
    """Whether something could not be determined that can be asked for again. What cannot be read stays so."""
    return signal["verdict"] == HOLD and signal["kind"] not in FILE_KINDS | {UNREAD}


def _is_of_final(signal: dict, final_url: str) -> bool:
    """Whether it was said by the last response of a chain; of licence files it is not recorded, so it is assumed."""
    return signal["scope"] == "url" or signal["source"].endswith(f" of {final_url}")
