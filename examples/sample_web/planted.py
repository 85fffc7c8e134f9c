"""Makes the planted rows: opt-outs, traps, faults and malformed rows. Maintainers only: see ``build.py``.

Every opt-out is about a painting of ``paintings/`` and a painter who does not exist.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from .listing import Row, address, draw


@dataclass(frozen=True)
class Work:
    """A painting that is served: its file name, what one sees, its size."""

    file: str
    caption: str
    width_px: int
    height_px: int


# Painters who do not exist. The first four have opted out; of the others one takes it back, one does not yet.
OPTED_OUT = ("Mirabel Thornapple", "Quill Marrowby", "Ignatius Plumstone", "Wilhelmina Dusk")
WITHDREW = "Bartleby Quince-Fennel"
NOT_YET = "Orla Penhallow-Vane"
OTHERS = ("Tobias Kettlewick", "Seraphine Oatcastle", "Hob Nettleship", "Dorothea Larkspoon")

DENIED = (
    # host and folder, rows, stage, kind, note
    ("works.rowan.example/works", 8, "consult", "registry_url", ""),
    ("works.rowan.example/portfolio", 5, "consult", "registry_url_prefix", ""),
    ("works.rowan.example/series/blue", 3, "consult", "registry_url_prefix", ""),
    ("works.rowan.example/series/bluebell", 2, "consult", "registry_url_prefix", "a prefix of text, not of folders"),
    ("www.thistle.example/works", 5, "consult", "registry_domain", ""),
    ("shop.thistle.example/works", 4, "consult", "registry_domain", "a domain covers its subdomains"),
    ("solo.aspen.example/works", 5, "consult", "registry_host", ""),
    ("closed.bramble.example/works", 7, "consult", "robots_txt", "closed to everybody"),
    ("studio.fern.example/works", 6, "consult", "robots_txt", "closed to us alone"),
    ("press.hazel.example/works", 6, "consult", "robots_txt", "closed to AI crawlers: ai_agent_proxy"),
    ("paths.sorrel.example/drafts", 4, "consult", "robots_txt", "a path"),
    ("paths.sorrel.example/works/sketch-", 2, "consult", "robots_txt", "a wildcard"),
    ("moved.heath.example/works", 3, "consult", "robots_txt", "robots.txt is on another host"),
    ("slow.marsh.example/works", 6, "consult", "robots_txt_hold", "robots.txt answers 503"),
    ("silent.marsh.example/works", 4, "consult", "robots_txt_hold", "robots.txt does not answer"),
    ("museum.willow.example/gallery", 5, "consult", "tdmrep", "a path"),
    ("reserve.alder.example/works", 4, "consult", "tdmrep_cond", "reserved, with a policy"),
    ("licence.alder.example/works", 3, "consult", "tdmrep", "no licence is recorded for these"),
    ("headers.ivy.example/noai", 4, "screen", "x_robots_tag", "noai"),
    ("headers.ivy.example/noimageai", 4, "screen", "x_robots_tag", "noimageai"),
    ("headers.ivy.example/preview", 4, "screen", "x_robots_tag", "noai, max-image-preview:large"),
    ("headers.ivy.example/named", 3, "screen", "x_robots_tag", "fairshard: noai"),
    ("headers.ivy.example/repeated", 3, "screen", "x_robots_tag", "third header line; the second is scoped"),
    ("headers.ivy.example/dated", 2, "screen", "x_robots_tag", "behind a date"),
    ("headers.ivy.example/hop", 3, "screen", "x_robots_tag", "on the redirect only"),
    ("headers.ivy.example/reserved", 4, "screen", "tdmrep", "tdm-reservation: 1 in the header"),
)

TRAPS = (
    # host and folder, rows, kind, note
    ("works.rowan.example/studies", 2, "registry_not_yet", "valid_from lies in the future"),
    ("works.rowan.example/letters", 2, "registry_withdrawn", "the opt-out was withdrawn"),
    ("other.aspen.example/works", 3, "registry_host", "another host of the same domain"),
    ("bot.yarrow.example/works", 3, "robots_txt", "closed to an AI crawler, open to us by name"),
    ("paths.sorrel.example/drafts/open", 2, "robots_txt", "the longer Allow wins"),
    ("paths.sorrel.example/works", 2, "robots_txt", "not under a closed path"),
    ("museum.willow.example/open", 3, "tdmrep", "the gallery alone is reserved"),
    ("licence.alder.example/works", 3, "registry_allow", "reserved, but a licence is recorded"),
    ("headers.ivy.example/scoped", 3, "x_robots_tag", "noai for another bot"),
    ("headers.ivy.example/unreserved", 2, "tdmrep", "tdm-reservation: 0"),
    ("open.ivy.example/works", 2, "x_robots_tag", "the target of a redirect that is marked noai"),
    ("copies.bay.example/works", 3, "hash_list", "on no list"),
    ("flaky.moor.example/works", 4, "retry", "503 once, then fine"),
)

# Those below take their paintings last, so that the rows above keep theirs.
DENIED_BY_TERMS = (
    ("signal.linden.example/works", 3, "consult", "content_signal", "open to crawlers, closed to training"),
    ("usage.birch.example/works", 3, "consult", "aipref", "in robots.txt"),
    ("terms.larch.example/works", 3, "consult", "rsl", "a file that robots.txt names"),
    ("terms.larch.example/offers", 2, "consult", "rsl_cond", "permitted against payment"),
    ("lost.larch.example/works", 2, "consult", "rsl_hold", "the file that robots.txt names gives no answer"),
    ("ai.maple.example/works", 3, "consult", "ai_txt", "the file type"),
    ("late.maple.example/works", 2, "consult", "ai_txt_hold", "ai.txt answers 503"),
    ("headers.ivy.example/signal", 2, "screen", "content_signal", "in a header"),
    ("headers.ivy.example/usage", 3, "screen", "aipref", "in a header"),
    ("headers.ivy.example/licensed", 3, "screen", "rsl", "a file that a Link header names"),
    ("headers.ivy.example/noindex", 2, "screen", "noindex", "read as strictly as the policy does"),
    ("jump.heath.example/works", 3, "screen", "redirect_closed", "a redirect to a host that is closed"),
)

TRAPS_OF_TERMS = (
    ("welcome.linden.example/works", 2, "content_signal", "closed to search, open to training"),
    ("other.linden.example/works", 2, "content_signal", "said to another bot"),
    ("headers.ivy.example/signal-input", 2, "content_signal", "ai-input is not ai-train"),
    ("usage.birch.example/open", 2, "aipref", "the longer path decides"),
    ("headers.ivy.example/usage-search", 2, "aipref", "a preference about search"),
    ("terms.larch.example/open", 2, "rsl", "the narrower content element permits it"),
    ("headers.ivy.example/permitted", 2, "rsl", "the file that the Link header names permits it"),
    ("audio.maple.example/works", 2, "ai_txt", "sounds alone are closed"),
    ("lost.maple.example/works", 2, "ai_txt", "an error page is no ai.txt"),
    ("jump.heath.example/open", 2, "redirect_open", "a redirect to a host that is open"),
)

DENIED_AT_ENDPOINT = (
    # host and folder, rows, stage, kind, note
    ("heather.example/works", 3, "consult", "endpoint", "named with www., in capitals, and plainly"),
    ("heather.example/~petal", 1, "consult", "endpoint", "named with %7E for the tilde"),
    ("heather.example/lost", 1, "consult", "endpoint_hold", "the endpoint does not answer about it"),
    ("closed.bramble.example/works", 1, "consult", "opt_in", "opted in at the endpoint, closed in robots.txt"),
)

TRAPS_AT_ENDPOINT = (
    # host and folder, rows, kind, note
    ("heather.example/open", 2, "opt_in", "the endpoint names it, as opted in and not out"),
)

# Of the first the list has the whole code of the file; of the second the look of the original alone.
DECLARED = (
    # host and folder, rows, stage, kind, note
    ("copies.bay.example/works", 1, "screen", "iscc", "declared by the file's ISCC"),
    ("copies.bay.example/fine", 1, "screen", "iscc", "declared by the look of the original"),
)

TRAPS_DECLARED = (
    # host and folder, rows, kind, note
    ("copies.bay.example/works", 1, "iscc", "the declaration was withdrawn"),
)

HASHED = (
    # folder of copies.bay.example, rows, kind
    ("works", 5, "md5"),
    ("works", 5, "sha256"),
    ("q30", 3, "phash"),
    ("small", 3, "phash"),
    ("marked", 2, "pdq"),
    ("webp", 2, "pdq"),
    ("small", 2, "pdq"),
)

FILTERED = (
    # what the list says, rows, kind
    ({"similarity": 0.05}, 3, "similarity"),
    ({"p_unsafe": 0.97}, 3, "p_unsafe"),
    ({"p_watermark": 0.96}, 3, "p_watermark"),
    ({"caption": "Painting"}, 3, "caption_chars"),
)

FOREIGN = (
    "Vanha maalaus järven rannalla seisovasta punaisesta talosta",
    "Kaksi purjevenettä tyynellä merellä kesäisenä iltana",
    "Egy régi festmény a hegyekről és a kék tóról",
    "Három hajó vitorlázik a nyugodt tengeren este",
    "Gökyüzünün altında eski evler ve yeşil tepeler",
    "Denizde yelkenli iki küçük tekne ve güneşli bir gün",
    "En gammal målning av ett rött hus vid sjön på kvällen",
    "Παλιός πίνακας με βουνά και ένα μικρό χωριό",
)
"""Finnish, Hungarian, Turkish, Swedish, Greek: languages that the demo's config does not keep."""

BROKEN = (
    # path under broken.moor.example or another URL, rows, stage, kind
    ("http://dead.moor.example/missing/{}.jpg", 6, "fetch", "http_404"),
    ("http://dead.moor.example/gone/{}.jpg", 3, "fetch", "http_410"),
    ("http://dead.moor.example/closed/{}.jpg", 3, "fetch", "connection_closed"),
    ("http://dead.moor.example/error/{}.jpg", 2, "fetch", "http_500"),
    ("http://nowhere.example/pictures/{}.jpg", 3, "consult|fetch", "unknown_host"),
    ("https://secure.nowhere.example/pictures/{}.jpg", 3, "consult|fetch", "https_dead"),
    ("http://broken.moor.example/cut/{}.jpg", 2, "fetch", "cut_short"),
    ("http://broken.moor.example/html/{}.jpg", 3, "fetch", "html_as_jpeg"),
    ("http://broken.moor.example/empty/{}.jpg", 2, "fetch", "empty_body"),
    ("http://broken.moor.example/bomb/{}.png", 1, "fetch", "decompression_bomb"),
    ("http://broken.moor.example/bomb-whole/{}.png", 1, "fetch", "decompression_bomb"),
    ("http://broken.moor.example/drip/{}.jpg", 1, "fetch", "slow_drip"),
    ("http://broken.moor.example/endless/{}.jpg", 1, "fetch", "endless_body"),
    ("http://broken.moor.example/dot/{}.png", 2, "fetch|filter", "one_pixel"),
    ("http://broken.moor.example/ribbon/{}.png", 1, "filter", "aspect"),
    ("http://loops.moor.example/loop/{}.jpg", 2, "fetch", "redirect_loop"),
    ("http://loops.moor.example/chain/{}.jpg", 1, "fetch", "redirect_chain"),
    ("http://loops.moor.example/metadata/{}.jpg", 1, "fetch", "redirect_to_private_address"),
    ("http://loops.moor.example/file/{}.jpg", 1, "fetch", "redirect_to_file"),
    ("http://127.0.0.1/private/{}.jpg", 1, "consult|fetch", "private_address"),
    ("http://169.254.169.254/latest/meta-data/{}", 1, "consult|fetch", "private_address"),
    ("http://[::1]/private/{}.jpg", 1, "consult|fetch", "private_address"),
    ("http://2130706434/private/{}.jpg", 1, "consult|fetch", "private_address"),
)

STOCK_CAPTION, STOCK, STOCK_KEPT = "Stock picture, free to download and to use", 12, 4
LONG_CAPTION = " ".join(["A very long description of a very small picture, word after word."] * 1500)

REJECTED = (
    (None, "A picture whose address was lost", "null_url"),
    (None, "Another picture whose address was lost", "null_url"),
    ("", "A picture with an empty address", "null_url"),
    ("   ", "A picture with a blank address", "null_url"),
    ("http://photos.meadow.example/pictures/wordless.jpg", None, "null_caption"),
    ("http://photos.meadow.example/pictures/speechless.jpg", None, "null_caption"),
    ("http://photos.meadow.example/pictures/blank.jpg", " \t ", "null_caption"),
    ("file:///etc/passwd", "A file that is nobody's business", "unsupported_scheme"),
    ("data:image/gif;base64,R0lGODlhAQABAAAAACw=", "A picture inside its own address", "unsupported_scheme"),
    ("ftp://files.meadow.example/pictures/old.jpg", "A picture on an old file server", "unsupported_scheme"),
    ("javascript:alert(1)", "A picture that is a program", "unsupported_scheme"),
    ("http://", "A picture on no host at all", "bad_url"),
    ("http://:80/pictures/hostless.jpg", "A picture on a port of no host", "bad_url"),
    ("/pictures/relative.jpg", "A picture with half an address", "bad_url"),
    ("photos of meadows", "Words where an address should be", "bad_url"),
    ("http://photos meadow.example/a.jpg", "A picture on a host with a space in it", "bad_url"),
    ("http://[::1/a.jpg", "A picture on half a bracket", "bad_url"),
    ("http://photos.meadow.example:99999/a.jpg", "A picture on an impossible port", "bad_url"),
)


LATIN_1 = "A caf\udce9 in a list that is not all UTF-8"
"""The lone surrogate is written as the byte E9."""

MALFORMED = "malformed_row"
"""A row of this kind is written with one cell too many."""


class Gallery:
    """Hands out paintings, each once, and the names of painters who never opted out."""

    def __init__(self, works: list[Work]) -> None:
        self._left: dict[str, list[Work]] = {}
        for work in works:
            self._left.setdefault(work.file.rpartition(".")[2], []).append(work)
        self._painter = 0

    def take(self, ending: str = "webp") -> Work:
        """The next painting in a format."""
        return self._left[ending].pop(0)

    def painter(self) -> str | None:
        """An invented name, or none, in turn."""
        self._painter += 1
        return (*OTHERS, None)[self._painter % (len(OTHERS) + 1)]


def rows(gallery: Gallery) -> list[Row]:
    """Planted rows. A painting is served under its own name, in whatever folder."""
    return [
        *denied(gallery, DENIED), *traps(gallery, TRAPS), *_creators(gallery), *_hashed(gallery),
        *_filtered(gallery), *_stock(gallery), *_faulty(gallery), *_broken(), *_captions(gallery), *_rejected(),
        *denied(gallery, DENIED_BY_TERMS), *traps(gallery, TRAPS_OF_TERMS),
    ]  # fmt: skip


def at_endpoint(gallery: Gallery) -> list[Row]:
    """Rows of which the Do-Not-Train endpoint knows something. They take their paintings after ``in_files``."""
    return [*denied(gallery, DENIED_AT_ENDPOINT), *traps(gallery, TRAPS_AT_ENDPOINT)]


def declared(gallery: Gallery) -> list[Row]:
    """Rows that are declared by ISCC. They take their paintings after ``pages``."""
    return [*denied(gallery, DECLARED), *traps(gallery, TRAPS_DECLARED)]


def on(folder: str, work: Work, gallery: Gallery, name: str | None = None) -> Row:
    """The row of a painting that a host serves.

    Args:
        folder: host and folder, or the beginning of a name, which ends in ``-``.
        work: the painting.
        gallery: names its painter.
        name: of the file, if not the painting's own.
    """
    url = address(folder, name or work.file) if not folder.endswith("-") else f"http://{folder}{work.file}"
    return Row(
        url, work.caption, creator=gallery.painter(), width_px=work.width_px, height_px=work.height_px,
        more=draw(f"list {work.file}") % 100 < 18,
    )  # fmt: skip


def denied(gallery: Gallery, planted: tuple[tuple[str, int, str, str, str], ...]) -> Iterator[Row]:
    """Rows that must be dropped, from host and folder, number of rows, stage, kind, note."""
    for folder, count, stage, kind, note in planted:
        for _ in range(count):
            yield judged(on(folder, gallery.take(), gallery), stage, kind, False, note)


def traps(gallery: Gallery, planted: tuple[tuple[str, int, str, str], ...]) -> Iterator[Row]:
    """Rows that must stay, from host and folder, number of rows, kind, note."""
    for folder, count, kind, note in planted:
        for _ in range(count):
            yield judged(on(folder, gallery.take(), gallery), "emit", kind, True, note)


def judged(row: Row, stage: str, kind: str, trap: bool, note: str) -> Row:
    """The row as one that a stage must drop, or as a trap, which must stay."""
    if trap:
        return replace(row, fate="released", stage="emit", kind=kind, trap=True, note=f"must stay: {note}")
    return replace(row, fate="dropped", stage=stage, kind=kind, note=note)


def _creators(gallery: Gallery) -> Iterator[Row]:
    folders = ("open.ivy.example/works", "other.aspen.example/works", "art.juniper.example/pictures")
    for place in range(11):
        row = on(folders[place % 3], gallery.take(), gallery)
        name = OPTED_OUT[place % len(OPTED_OUT)]
        yield replace(row, creator=name, fate="dropped", stage="consult", kind="registry_creator")
    for place, (name, why) in enumerate([(WITHDREW, "withdrawn"), (NOT_YET, "not in force yet")] * 2):
        row = on(folders[place % 3], gallery.take(), gallery)
        yield replace(row, creator=name, fate="released", stage="emit", kind="registry_creator", trap=True,
                      note=f"must stay: {why}")  # fmt: skip


def _hashed(gallery: Gallery) -> Iterator[Row]:
    for folder, count, kind in HASHED:
        for _ in range(count):
            row = on(f"copies.bay.example/{folder}", gallery.take(), gallery)
            note = "the list holds the original" if kind in ("phash", "pdq") else ""
            yield replace(row, fate="dropped", stage="screen", kind=f"hash_{kind}", note=note)
    for status in ("withdrawn", "tombstoned"):
        row = on("copies.bay.example/webp", gallery.take(), gallery)
        yield replace(row, fate="released", stage="emit", kind="hash_pdq", trap=True,
                      note=f"must stay: its entry is {status}", group=status)  # fmt: skip


def _filtered(gallery: Gallery) -> Iterator[Row]:
    for said, count, kind in FILTERED:
        for _ in range(count):
            row = on("walls.moor.example/works", gallery.take(), gallery)
            yield replace(row, fate="dropped", stage="filter", kind=kind, more=False, **said)
    for caption in FOREIGN:
        row = on("walls.moor.example/works", gallery.take(), gallery)
        yield replace(row, caption=caption, fate="dropped", stage="filter", kind="language")


def _stock(gallery: Gallery) -> Iterator[Row]:
    for _ in range(STOCK):
        row = on("walls.moor.example/works", gallery.take(), gallery)
        yield replace(row, caption=STOCK_CAPTION, fate="capped", stage="balance", kind="max_per_caption",
                      group="stock", note=f"{STOCK_KEPT} of {STOCK} stay")  # fmt: skip


def _faulty(gallery: Gallery) -> Iterator[Row]:
    for _ in range(3):
        row = on("broken.moor.example/truncated", gallery.take("jpg"), gallery)
        yield replace(row, fate="dropped", stage="fetch", kind="truncated_jpeg")
    for _ in range(3):
        work = gallery.take("png")
        row = on("broken.moor.example/mislabelled", work, gallery, work.file.replace(".png", ".jpg"))
        yield replace(row, fate="released", stage="emit", kind="png_as_jpeg", trap=True,
                      note="must stay: the bytes are a good picture")  # fmt: skip
    for _ in range(3):
        work = gallery.take()
        row = on("broken.moor.example/icons", work, gallery, work.file.replace(".webp", ".png"))
        yield replace(row, fate="dropped", stage="filter", kind="min_side")


def _broken() -> Iterator[Row]:
    for url, count, stage, kind in BROKEN:
        for number in range(1, count + 1):
            caption = f"A picture that was on the web once, number {number} of {count} of this kind ({kind})"
            yield Row(url.format(f"lost-{number}"), caption, width_px=300, height_px=200,
                      fate="dropped", stage=stage, kind=kind, more=number == 3)  # fmt: skip


def _captions(gallery: Gallery) -> Iterator[Row]:
    controls = (
        "A quiet\x00 painting\x07 of the old harbour",
        "A painting\x1b[31m with\x7f a\u0085 red sail",
        'A painting of the sea,\nwith a "second" line in its caption',
    )
    for caption in controls:
        row = on("open.ivy.example/works", gallery.take(), gallery)
        yield replace(row, caption=caption, fate="released", stage="emit", kind="control_characters", trap=True,
                      more="\n" in caption, note="must stay, cleaned")  # fmt: skip
    row = on("open.ivy.example/works", gallery.take(), gallery)
    yield replace(row, caption=LONG_CAPTION, fate="dropped", stage="filter", kind="caption_length", more=False,
                  note="100 kB; cut at ingest, still too long")  # fmt: skip


def _rejected() -> Iterator[Row]:
    for place, (url, caption, kind) in enumerate(REJECTED):
        yield Row(url, caption, fate="rejected", stage="ingest", kind=kind, more=place % 6 == 2)
    for caption, kind in ((LATIN_1, "bad_encoding"), ("A picture in a row with one cell too many", MALFORMED)):
        url = f"http://photos.meadow.example/pictures/{kind}.jpg"
        yield Row(url, caption, fate="rejected", stage="ingest", kind=kind, more=True, last=True)
