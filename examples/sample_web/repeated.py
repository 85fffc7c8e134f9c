"""Makes the rows that say again what an earlier row says. Maintainers only: see ``build.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from .listing import Row, draw

EXACT, ACROSS = 4, 5
SPELLINGS: tuple[tuple[str, str, Callable[[str], str]], ...] = (
    ("photos.meadow.example", "capitals", lambda url: url.replace("http://photos.meadow", "HTTP://Photos.MEADOW")),
    ("photos.meadow.example", "default port", lambda url: url.replace(".example/", ".example:80/")),
    ("photos.meadow.example", "fragment", lambda url: f"{url}#top"),
    ("cdn.harbour.example", "dot segments", lambda url: url.replace("/pictures/", "/old/../pictures/")),
    ("cdn.harbour.example", "needless escape", lambda url: url.replace("/pictures/", "/%70ictures/")),
    ("bücher.example", "punycode", lambda url: url.replace("bücher", "xn--bcher-kva")),
)


def rows(made: list[Row]) -> Iterator[Row]:
    """Duplicates of ordinary rows: word for word, in another spelling of the URL, and from one list to the other.

    Of equal rows the first stays, by name of the list and then by place: ``more`` comes before ``pairs``.
    """
    ordinary = sorted((row for row in made if not row.fate), key=lambda row: draw(f"repeat {row.url}"))
    here = iter([row for row in ordinary if not row.more])
    for row in (next(here) for _ in range(EXACT)):
        yield _again(row, "the same row")
    for host, note, spell in SPELLINGS:
        row = next(row for row in here if f"//{host}/" in (row.url or ""))
        yield replace(_again(row, note), url=spell(row.url or ""))
    for row in [row for row in ordinary if row.more][:ACROSS]:
        yield replace(_again(row, "also in the other list"), more=False)


def _again(row: Row, note: str) -> Row:
    return replace(row, fate="rejected", stage="ingest", kind="duplicate_row", note=note, last=True, group="")
