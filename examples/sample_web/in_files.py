"""Makes the planted rows of which the file or the caption says something. Maintainers only: see ``build.py``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .listing import Row
from .planted import OPTED_OUT, WITHDREW, Gallery, Work, denied, judged, on, traps

DENIED = (
    # host and folder, rows, stage, kind, note
    ("files.olive.example/prohibited", 3, "screen", "xmp", "data mining is prohibited"),
    ("files.olive.example/generative", 2, "screen", "xmp", "generative training is, for which the policy asks"),
    ("files.olive.example/rights", 2, "screen", "free_text", "a rights notice in prose"),
    ("files.olive.example/model", 2, "screen", "synthetic", "made by a model, as it says"),
    ("files.olive.example/manifest", 2, "screen", "c2pa_hold", "content credentials that break off"),
)

TRAPS = (
    # host and folder, rows, kind, note
    ("files.olive.example/allowed", 2, "xmp", "data mining is allowed"),
    ("files.olive.example/notice", 2, "free_text", "the rights notice is about prints"),
    ("files.olive.example/captured", 2, "synthetic", "a camera made it, as it says"),
    ("files.olive.example/mention", 2, "c2pa_hold", "the letters c2pa, and no content credentials"),
)

SIGNED = Work("town-signed.jpg", "A painting of five old houses on golden ground under a dark night sky", 288, 216)
MARKED = Work("colours-model.jpg", "Blurred patches of many bright colours", 256, 256)
KEPT = (
    # Files that other programs have made, and build.py leaves as they are; kind, note
    (SIGNED, "c2pa", "signed credentials"),
    (MARKED, "synthetic", "a model's watermark"),
)


def rows(gallery: Gallery) -> list[Row]:
    """All of them. They take their paintings after ``planted``."""
    return [*denied(gallery, DENIED), *traps(gallery, TRAPS), *_creators(gallery), *_captions(gallery), *_kept(gallery)]


def _creators(gallery: Gallery) -> Iterator[Row]:
    """The source names nobody; the file does."""
    for folder, trap in (("creator", False), ("withdrawn", True)):
        for _ in range(2):
            row = replace(on(f"files.olive.example/{folder}", gallery.take(), gallery), creator=None)
            yield judged(row, "screen", "file_creator", trap, "took the opt-out back" if trap else "opted out")


def _captions(gallery: Gallery) -> Iterator[Row]:
    for name, trap in ((OPTED_OUT[0], False), (OPTED_OUT[3].upper(), False), (OPTED_OUT[1].split()[0], True),
                       (WITHDREW, True)):  # fmt: skip
        row = on("open.ivy.example/works", gallery.take(), gallery)
        row = replace(row, caption=f"{row.caption}, by {name}", creator=None)
        note = "took the opt-out back" if name == WITHDREW else "a first name alone" if trap else "named in the caption"
        yield judged(row, "consult", "caption_name", trap, note)


def _kept(gallery: Gallery) -> Iterator[Row]:
    for work, kind, note in KEPT:
        yield judged(on("files.olive.example/works", work, gallery), "screen", kind, False, note)
