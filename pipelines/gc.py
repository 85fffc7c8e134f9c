"""gc: what of a work directory nobody needs any more, and its deletion.

That is what no completion marker names: work in progress of runs that are dead, and files that a killed run had moved in
and not marked, or taken out of its markers and not removed. What a marker names is never touched: a rerun, another
policy, ``explain`` and ``sql`` read it. Names that fairshard does not give are somebody's own, and stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..schemas.tables import TABLES
from ._files import file_system, listed
from ._store import Store
from ._work import STAGES
from .status import status

_SCRATCH = "_scratch"
# Names that stages give, by folder: of tables, of renditions, of lists that wait for the last part to be read.
_TABLE_FILE = re.compile(rf"({'|'.join(STAGES)})-.+-\d+\.parquet")
_OWN_FILES = {
    "work_shard": re.compile(r"(.+\.)?\d{4,}\.tar"),
    "ingest-lists": re.compile(r"\d{5}\.(candidates|rows|said)"),
}
_DEAD = "work in progress of a run that has ended"
_UNMARKED = "no completion marker names it: a run was killed while it was moved in or taken out"


@dataclass(frozen=True)
class Garbage:
    """A file that nobody needs.

    Attributes:
        path: relative to the work directory.
        bytes: its size.
        why: nobody needs it.
    """

    path: str
    bytes: int
    why: str


def gc(work_dir: str, delete: bool = False) -> dict[str, Any]:
    """What of a work directory can be deleted; with ``delete`` it is.

    Returns:
        work_dir, files (``Garbage`` each, sorted by path), bytes in all, deleted.

    Raises:
        ReleaseError: the folder is no work directory.
        StageError: a run is using it.
    """
    status(work_dir)  # refuses what is no work directory
    store = Store(work_dir)
    with store.locked(alone=True):
        found = sorted([*_scratch(store), *_unmarked(store)], key=lambda one: one.path)
        if delete:
            _delete(store, found)
    return {"work_dir": store.root, "files": found, "bytes": sum(one.bytes for one in found), "deleted": delete}


def _scratch(store: Store) -> Iterator[Garbage]:
    fs, base = file_system(store.root)
    folder = f"{base}/{_SCRATCH}"
    if fs.exists(folder):
        for path, info in sorted(fs.find(folder, detail=True).items()):
            yield Garbage(path.removeprefix(f"{base}/"), info["size"] or 0, _DEAD)


def _unmarked(store: Store) -> Iterator[Garbage]:
    named = _named(store)
    for folder, pattern in {**dict.fromkeys(TABLES, _TABLE_FILE), **_OWN_FILES}.items():
        for path in listed(store.fs, store.path(folder)):
            name = f"{folder}/{path.rpartition('/')[2]}"
            if name not in named and pattern.fullmatch(name.partition("/")[2]):
                yield Garbage(name, store.fs.size(path) or 0, _UNMARKED)


def _named(store: Store) -> set[str]:
    """Every file that a marker names."""
    found: set[str] = set()
    for mark in store.marks():
        found.update(name for names in mark.files.values() for name in names)
        found.update(mark.extra.get("kept", []))
    return found


def _delete(store: Store, found: list[Garbage]) -> None:
    for one in found:
        if not one.path.startswith(f"{_SCRATCH}/"):
            store.fs.rm_file(store.path(one.path))
    store.clear_scratch()  # with its empty folders
