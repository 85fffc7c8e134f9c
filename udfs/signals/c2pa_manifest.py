"""C2PA and CAWG training-and-data-mining assertions inside a picture.

c2pa-python reads the manifests (an optional extra: it is a native library). It is told to open no connection:
neither a remote manifest nor a revocation list is fetched. Whoever can write a manifest can restrict; only a
manifest that is whole and whose signer is trusted can permit. Source: C2PA 2.1, section 18.21; CAWG training and
data mining assertion 1.1.
"""

from __future__ import annotations

import importlib.util
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Literal

from ...schemas.verdicts import ALLOW, COND, DENY, HOLD, NONE, strictest
from . import Evidence, jumbf
from .image_blocks import Blocks
from .synthetic import source_type_tag
from .xmp_packet import PROVENANCE, properties

KIND = "c2pa"

MAX_MANIFESTS = 256
"""Of one file, active and ancestors; chains of edits are shorter."""

MAX_STORES = 16
"""Of one file, which may hold one."""

_LABEL = re.compile(r"(?:c2pa|cawg)\.training-mining(?:\.v\d+)?(?:__\d+)?")
_ACTIONS = re.compile(r"c2pa\.actions(?:\.v\d+)?(?:__\d+)?")
_NO_LETTER = re.compile(r"[\s_-]+")
_TRAINING = frozenset({"c2pa.ai_training", "cawg.ai_training"})
_GENERATIVE = frozenset({"c2pa.ai_generative_training", "cawg.ai_generative_training"})

# Formats beyond those of image_blocks that can hold a manifest, by their first bytes.
_BRANDS: dict[bytes, str] = {b"avif": "image/avif", b"avis": "image/avif", b"mif1": "image/heif"}
_BRANDS |= {b"heic": "image/heic", b"heix": "image/heic"}
_JXL = (b"\x00\x00\x00\x0cJXL \r\n\x87\n", b"\xff\x0a")
# Possessive: tried again, each comment could also end where a later one does, in 2^n ways.
_SVG = re.compile(rb"\s*+(?:<\?xml.*?\?>\s*)?+(?:<!--.*?-->\s*)*+<svg[\s>]", re.DOTALL | re.IGNORECASE)
# Formats that cannot hold one: nothing is said, and nothing is unreadable.
_WITHOUT = (b"BM", b"\x00\x00\x01\x00", b"8BPS")


@dataclass(frozen=True, slots=True)
class Reading:
    """How manifests are read.

    Attributes:
        remote_manifest: what a manifest on a server means, which is never fetched: ``hold`` or, to ignore
            it, ``none``.
        trust_anchors: PEM certificates of those whose grants count; without any, nothing is granted.
    """

    remote_manifest: Literal["hold", "ignore"] = "hold"
    trust_anchors: str = ""


def verdict(data: bytes, blocks: Blocks, purpose: str = "train", reading: Reading | None = None) -> Evidence:
    """What the manifests of a picture say about training.

    Args:
        data: the whole file; its bytes decide the format.
        blocks: of the same file.
        purpose: ``genai`` is also bound by a restriction of generative training alone.
        reading: see ``Reading``.

    Returns:
        Evidence: the strictest entry of the active manifest and its ``parentOf`` ancestors, with tags
        ``synthetic`` and ``synthetic_partial``; ``hold`` for a file or manifest that cannot be read.
    """
    reading = reading or Reading()
    mime = blocks.media_type or _other_type(data)
    if mime is None:
        return Evidence(KIND, NONE)
    if not mime:
        return Evidence(KIND, HOLD, detail="no known picture format")
    if importlib.util.find_spec("c2pa") is None:
        return _without_library(blocks, reading)
    if problem := _problem(data, blocks):
        return Evidence(KIND, HOLD, detail=problem)
    store = _store(data, mime, reading.trust_anchors)
    if isinstance(store, str):
        return _unread(store, reading)
    return _judge(store, purpose)


def may_hold(data: bytes, blocks: Blocks) -> bool:
    """Whether a picture that can be decoded may hold a manifest, or name one; most can be told at a glance.

    Every manifest store bears its label in plain bytes, where a format's boxes are not compressed.
    """
    return not blocks.media_type or b"c2pa" in data or bool(properties(blocks).get(PROVENANCE))


def _other_type(data: bytes) -> str | None:
    """Media type of formats without metadata blocks; empty if unknown, None if none can hold a manifest."""
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "")
    if data.startswith(_JXL):
        return "image/jxl"
    if _SVG.match(data[:4096]):
        return "" if b"c2pa" in data else None  # its manifests are text, which is not looked over here
    return None if data.startswith(_WITHOUT) else ""


def _problem(data: bytes, blocks: Blocks) -> str:
    """Why a file is not handed to the library; empty if it is."""
    stores = blocks.c2pa if blocks.media_type else list(islice(jumbf.stores(data), MAX_STORES + 1))
    if len(stores) > MAX_STORES:
        return f"malformed: more than {MAX_STORES} manifest stores"
    return jumbf.problem(stores)


def _store(data: bytes, mime: str, trust_anchors: str) -> dict | str:
    """The manifest store as c2pa-python reports it, or why there is none."""
    import c2pa

    try:
        with c2pa.Reader(mime, io.BytesIO(data), context=_context(trust_anchors)) as reader:
            store = json.loads(reader.json())
    except (c2pa.C2paError, ValueError, RecursionError) as error:
        return str(error) or type(error).__name__
    return store if isinstance(store, dict) else "Json: no manifest store"


@lru_cache(maxsize=8)
def _context(trust_anchors: str) -> Any:
    import c2pa

    settings: dict = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": True}}
    if trust_anchors:
        settings["trust"] = {"trust_anchors": trust_anchors}
    return c2pa.Context(c2pa.Settings.from_dict(settings))


def _unread(reason: str, reading: Reading) -> Evidence:
    """A file without manifests says nothing; what cannot be read, or lies elsewhere, is undetermined."""
    if reason.startswith("ManifestNotFound"):
        return Evidence(KIND, NONE)
    if reason.startswith("Remote") and reading.remote_manifest == "ignore":
        return Evidence(KIND, NONE, detail=reason)
    return Evidence(KIND, HOLD, detail=reason)


def _without_library(blocks: Blocks, reading: Reading) -> Evidence:
    if blocks.c2pa:
        return Evidence(KIND, HOLD, detail="a manifest that needs the extra [c2pa] to be read")
    if any(value.lower().startswith(("http://", "https://")) for value in properties(blocks).get(PROVENANCE)):
        return _unread("Remote: the manifest lies on a server", reading)
    return Evidence(KIND, NONE)


def _judge(store: dict, purpose: str) -> Evidence:
    trusted = store.get("validation_state") == "Trusted"
    verdicts, raw, tags = [], [], []
    for depth, manifest in enumerate(_manifests(store)):
        for label, data in _assertions(manifest):
            if _LABEL.fullmatch(label):
                for found, text in _entries(data, purpose):
                    permits = trusted and depth == 0
                    verdicts.append(found if found != ALLOW or permits else NONE)
                    raw.append(f"{label}: {text}")
            elif _ACTIONS.fullmatch(label):
                tags.extend(_source_type_tags(data))
    detail = "" if trusted else f"validation: {store.get('validation_state', 'unknown')}"
    source = "C2PA manifest" if raw else ""
    return Evidence(KIND, strictest(verdicts), "", "; ".join(raw), source, tuple(tags), detail)


def _manifests(store: dict) -> Iterator[dict]:
    """The active manifest and then its ancestors. Components that were placed in a picture do not speak for it."""
    manifests = store.get("manifests")
    todo, seen = [store.get("active_manifest")], set()
    while todo and isinstance(manifests, dict) and len(seen) < MAX_MANIFESTS:
        label = todo.pop(0)
        if not isinstance(label, str) or label in seen or not isinstance(manifests.get(label), dict):
            continue
        seen.add(label)
        yield manifests[label]
        for ingredient in _dicts(manifests[label].get("ingredients")):
            if ingredient.get("relationship") == "parentOf":
                todo.append(ingredient.get("active_manifest"))


def _assertions(manifest: dict) -> Iterator[tuple[str, dict]]:
    for assertion in _dicts(manifest.get("assertions")):
        label, data = assertion.get("label"), assertion.get("data")
        if isinstance(label, str) and isinstance(data, dict):
            yield label, data


def _entries(data: dict, purpose: str) -> Iterator[tuple[str, str]]:
    entries = data.get("entries")
    bound = _TRAINING | _GENERATIVE if purpose == "genai" else _TRAINING
    for key, entry in entries.items() if isinstance(entries, dict) else ():
        if key in bound and isinstance(entry, dict):
            yield _use(entry), f"{key}={entry.get('use')}"


def _use(entry: dict) -> str:
    use = entry.get("use")
    if use == "allowed":
        return ALLOW
    folded = _NO_LETTER.sub("", use.lower()) if isinstance(use, str) else ""
    if folded == "constrained":
        info = entry.get("constraint_info")
        return COND if isinstance(info, str) and info.strip() else DENY
    return DENY if folded == "notallowed" else NONE


def _source_type_tags(data: dict) -> Iterator[str]:
    for action in _dicts(data.get("actions")):
        if tag := source_type_tag(action.get("digitalSourceType")):
            yield tag


def _dicts(value: object) -> list[dict]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
