"""Makes ``pages.warc.gz``: a small web archive of pages that say something of the paintings they show.

Maintainers only: see ``build.py``.
"""

from __future__ import annotations

import gzip
import html
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from .listing import Row
from .planted import OPTED_OUT, Gallery, judged, on

HOST = "blog.poppy.example"
CRAWLED = "2026-03-01T08:00:00Z"
ZERO = "https://creativecommons.org/publicdomain/zero/1.0/"
BY = "https://creativecommons.org/licenses/by/4.0/"


def meta(name: str, content: str) -> str:
    """A meta element."""
    return f'<meta name="{name}" content="{content}">'


def described(**said: str) -> str:
    """JSON-LD about the picture of a page; ``{url}`` is where that lies."""
    node = {"@context": "https://schema.org", "@type": "ImageObject", "contentUrl": "{url}", **said}
    return f'<script type="application/ld+json">{json.dumps(node)}</script>'


class Kind(NamedTuple):
    """A page and what it is there for.

    Attributes:
        name: of the page.
        count: pictures that it shows.
        kind, note: as ``truth.csv`` has them.
        head: what is in its head.
        header: a line of its response.
        text: what is in its body.
    """

    name: str
    count: int
    kind: str
    note: str
    head: str = ""
    header: str = ""
    text: str = "Paintings of this week."


DENIED = (
    Kind("closed", 2, "html_meta", "meta robots: noai", meta("robots", "index, noai")),
    Kind("pictures", 2, "html_meta", "meta robots: noimageai, in capitals", meta("ROBOTS", "NoImageAI")),
    Kind("ours", 1, "html_meta", "meta fairshard: noai", meta("fairshard", "noai")),
    Kind("unlisted", 1, "html_meta", "meta robots: noindex, read as the policy does", meta("robots", "noindex")),
    Kind("tagged", 2, "page_x_robots_tag", "X-Robots-Tag: noai", header="X-Robots-Tag: noai"),
    Kind("reserved", 2, "page_tdmrep", "tdm-reservation: 1 in a meta element", meta("tdm-reservation", "1")),
    Kind("offered", 1, "page_tdmrep_cond", "reserved, with a policy",
         meta("tdm-reservation", "1") + meta("tdm-policy", "/policy.json")),
    Kind("usage", 1, "page_aipref", "Content-Usage: train-ai=n", header="Content-Usage: train-ai=n"),
    Kind("signal", 1, "page_content_signal", "Content-Signal: ai-train=no", header="Content-Signal: ai-train=no"),
    Kind("signed", 1, "registry_creator", "named by an ImageObject", described(creator=OPTED_OUT[1], license=ZERO)),
)  # fmt: skip

TRAPS = (
    Kind("comment", 1, "html_meta", "noai in a comment", f"<!-- {meta('robots', 'noai')} -->"),
    Kind("essay", 1, "html_meta", "noai in the text of the page", text='On &lt;meta name="robots" content="noai"&gt;.'),
    Kind("summary", 1, "html_meta", "noai in a description", meta("description", "noai, noimageai")),
    Kind("others", 1, "html_meta", "noai for another crawler", meta("otherbot", "noai")),
    Kind("linking", 1, "html_meta", "the page that is closed is another", text='<a href="/closed.html">Closed</a>'),
    Kind("free", 1, "page_tdmrep", "tdm-reservation: 0", meta("tdm-reservation", "0")),
    Kind("given", 1, "page_licence", "CC0 and a creator, of this very picture",
         described(license=ZERO, creator="Dorothea Larkspoon")),
    Kind("shared", 1, "page_licence", "CC BY and a credit, of this very picture",
         described(license=BY, creditText="Hob Nettleship")),
    Kind("footer", 1, "page_licence", "a licence of the page, not of the picture", f'<link rel="license" href="{ZERO}">'),
)  # fmt: skip

THROWN = (
    # picture, caption, kind
    ("/works/sea.webp", "Sea", "short_caption"),
    ("/works/logo.svg", "The sign of the house", "format"),
    ("data:image/gif;base64,R0lGODlhAQABAAAAACw=", "A picture inside the page", "unsupported_scheme"),
    ("/works/wordless.webp", "", "null_caption"),
)


@dataclass(frozen=True)
class Record:
    """A record of the archive and its rows, each a picture of the page or what is wrong with the record."""

    data: bytes
    rows: tuple[Row, ...] = ()


def records(gallery: Gallery) -> list[Record]:
    """All of them, in order. They take their paintings last."""
    planted = [*(_page(gallery, kind, True) for kind in DENIED), *(_page(gallery, kind, False) for kind in TRAPS)]
    return [Record(_record("warcinfo", b"software: written by hand\r\n", "")), *planted, *_twice(gallery), *_faulty()]


def write(folder: Path, made: list[Record]) -> None:
    """Write ``pages.warc.gz``: every record a gzip member of its own, and the same bytes every time."""
    (folder / "pages.warc.gz").write_bytes(b"".join(record.data for record in made))


def _page(gallery: Gallery, kind: Kind, denied: bool) -> Record:
    rows = [on(f"{HOST}/works", gallery.take(), gallery) for _ in range(kind.count)]
    return _shown(kind, tuple(judged(row, "consult", kind.kind, not denied, kind.note) for row in rows))


def _shown(kind: Kind, rows: tuple[Row, ...]) -> Record:
    head = kind.head.replace("{url}", rows[0].url or "")
    return Record(
        _html(kind.name, [(row.url or "", row.caption or "") for row in rows], head, kind.text, kind.header), rows
    )


def _twice(gallery: Gallery) -> Iterator[Record]:
    """The same pair on an open page, and then on a closed one."""
    row = on(f"{HOST}/works", gallery.take(), gallery)
    again = replace(row, fate="rejected", stage="ingest", kind="duplicate_row", note="on another page")
    row = judged(row, "consult", "html_meta", False, "another page with it is closed")
    yield _shown(Kind("front", 1, "", ""), (row,))
    yield _shown(Kind("archive", 1, "", "", meta("robots", "noai")), (again,))


def _faulty() -> Iterator[Record]:
    """Pictures that LAION threw away, and records that are no pages or cannot be read."""
    shown = [(url, caption) for url, caption, _ in THROWN]
    urls = [url if ":" in url else f"http://{HOST}{url}" for url, _ in shown]
    lost = [
        Row(url, caption, fate="rejected", stage="ingest", kind=kind)
        for url, (_, caption, kind) in zip(urls, THROWN, strict=True)
    ]
    yield Record(_html("thrown", shown), tuple(lost))
    nothing = [("/works/nothing.webp", "A picture on a page that is no page")]
    yield Record(_html("missing", nothing, status="404 Not Found"), (_lost("http_status"),))
    yield Record(_html("words", nothing, media="text/plain"), (_lost("not_html"),))
    whole = _html("torn", nothing)
    yield Record(whole[: len(whole) // 2], (_lost("damaged_record"),))
    yield Record(_html("empty", []))


def _lost(kind: str) -> Row:
    return Row("", "", fate="rejected", stage="ingest", kind=kind)


def _html(
    name: str, shown: list[tuple[str, str]], head: str = "", text: str = "", header: str = "", *,
    status: str = "200 OK", media: str = "text/html; charset=utf-8",
) -> bytes:  # fmt: skip
    pictures = "".join(f'<p><img src="{url}" alt="{html.escape(caption)}"></p>\n' for url, caption in shown)
    body = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<title>Poppy blog: {name}</title>\n{head}\n</head>\n'
        f"<body>\n<p>{text}</p>\n{pictures}</body>\n</html>\n"
    )
    lines = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", f"Content-Type: {media}", header) if line)
    return _record("response", f"{lines}\r\n{body}".encode(), f"http://{HOST}/{name}.html")


def _record(kind: str, block: bytes, uri: str) -> bytes:
    """A record as a gzip member. Source: WARC 1.1, sections 4 and 5 and annex D."""
    fields = {
        "WARC-Type": kind,
        "WARC-Target-URI": uri,
        "WARC-Date": CRAWLED,
        "WARC-Record-ID": f"<{uuid.uuid5(uuid.NAMESPACE_URL, uri or HOST).urn}>",
        "Content-Type": "application/http; msgtype=response" if uri else "application/warc-fields",
        "Content-Length": len(block),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    return gzip.compress(f"WARC/1.1\r\n{lines}\r\n".encode() + block + b"\r\n\r\n", mtime=0)
