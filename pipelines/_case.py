"""One opt-out case, read and checked."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from ..schemas.errors import InputError
from ..schemas.typed_yaml import build
from ..schemas.verdicts import PURPOSES
from ..udfs.signals import Response


@dataclass(frozen=True)
class Flags:
    """The policy flags of a case, with their defaults. No preset applies to cases."""

    ai_agent_proxy: Literal["off", "any"] = "off"
    respect_noindex: bool = False
    lenient_aipref: bool = False
    legacy_aipref: bool = False
    user_class: str | None = None
    remote_manifest: Literal["hold", "ignore"] = "hold"
    accept_licences: tuple[str, ...] = ()
    ignore_query_for: tuple[str, ...] = ()
    hash_dihedral: bool = True
    pdq_max_distance: int = 31
    recorded_licences: tuple[str, ...] = ()
    default: Literal["deny", "hold", "cond", "allow", "none"] = "none"


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        hops: every response of the redirect chain that ``headers``, ``status`` or ``hops`` tell of.
        body: the document that the kind reads; None if the case has none.
        files: what other fetches return; None is no answer, a missing key is 404.
        picture: where the file lies; None if the case has none.
        registry: entries; None if the registry gave no answer.
        asks_registry: whether the case has a registry at all.
    """

    id: str
    kind: str
    url: str
    agent: str
    purpose: str
    flags: Flags
    page_url: str | None
    status: int
    hops: tuple[Response, ...]
    body: bytes | None
    files: Mapping[str, bytes | None]
    picture: Path | None
    registry: list | None
    asks_registry: bool
    where: str = field(default="case")

    @cached_property
    def data(self) -> bytes:
        """The bytes of the file.

        Raises:
            InputError: the case has no file, or it cannot be read.
        """
        if self.picture is None:
            raise InputError(f"{self.where}: file", "is missing", "the path of a picture")
        try:
            return self.picture.read_bytes()
        except OSError as error:
            raise InputError(f"{self.where}: file", f"cannot be read ({error})", "the path of a picture") from error


def read_case(case: dict, folder: Path, where: str) -> Case:
    """Checks a case.

    Raises:
        InputError: a key is missing, has the wrong type or an unknown value.
    """
    read = _Reader(case, where)
    purpose = read.text("purpose", "train")
    if purpose not in PURPOSES:
        raise InputError(f"{where}: purpose", f"is '{purpose}'", f"one of {', '.join(PURPOSES)}")
    picture = read.optional_text("file")
    return Case(
        id=read.text("id"),
        kind=read.text("kind"),
        url=read.text("url", "" if picture else None),
        agent=read.text("agent", "fairbot"),
        purpose=purpose,
        flags=build(Flags, read.mapping("policy"), f"{where}: policy"),
        page_url=read.optional_text("page_url"),
        status=read.status(),
        hops=read.hops(),
        body=read.body(),
        files=read.files(),
        picture=None if picture is None else folder / picture,
        registry=read.registry(),
        asks_registry="registry" in case,
        where=where,
    )


class _Reader:
    """Typed access to the keys of a case."""

    def __init__(self, case: dict, where: str):
        self._case, self._where = case, where

    def text(self, key: str, default: str | None = None) -> str:
        value = self._case.get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, "a text")
        return value

    def optional_text(self, key: str) -> str | None:
        return self.text(key) if key in self._case else None

    def mapping(self, key: str) -> dict:
        value = self._case.get(key, {})
        if not isinstance(value, dict):
            raise self._wrong(key, "an object")
        return value

    def status(self) -> int:
        value = self._case.get("status", 200)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong("status", "an HTTP status, 0 for no answer")
        return value

    def body(self) -> bytes | None:
        if "body_base64" in self._case:
            try:
                body = base64.b64decode(self.text("body_base64"), validate=True)
            except binascii.Error as error:
                raise self._wrong("body_base64", "Base64") from error
        elif "body" in self._case:
            body = _encoded(self.text("body"))
        elif "body_pad" in self._case:
            body = b""
        else:
            return None
        return self._pad() + body

    def _pad(self) -> bytes:
        match self._case.get("body_pad", ["", 0]):
            case [str(text), int(times)] if 0 <= times * len(text) <= 1 << 30:
                return _encoded(text) * times
        raise self._wrong("body_pad", "[text, times]")

    def files(self) -> dict[str, bytes | None]:
        values = self.mapping("files")
        if not all(value is None or isinstance(value, str) for value in values.values()):
            raise self._wrong("files", "an object of texts and nulls")
        return {key: None if value is None else _encoded(value) for key, value in values.items()}

    def registry(self) -> list | None:
        value = self._case.get("registry")
        if value is not None and not isinstance(value, list):
            raise self._wrong("registry", "a list of entries, or null")
        return value

    def hops(self) -> tuple[Response, ...]:
        if "hops" not in self._case:
            url = self._case.get("url", "")
            return (Response(url, self.status(), self._headers(self._case)),)
        values = self._case["hops"]
        if not isinstance(values, list) or not values:
            raise self._wrong("hops", "a list of responses")
        return tuple(self._hop(value) for value in values)

    def _hop(self, value: object) -> Response:
        match value:
            case {"url": str(url), "status": int(status), **rest}:
                return Response(url, status, self._headers(rest))
        raise self._wrong("hops", "responses with url, status and headers")

    def _headers(self, owner: Mapping) -> tuple[tuple[str, str], ...]:
        values = owner.get("headers", [])
        if not isinstance(values, list) or not all(_is_pair(value) for value in values):
            raise self._wrong("headers", "a list of [name, value]")
        return tuple((name, value) for name, value in values)

    def _wrong(self, key: str, expected: str) -> InputError:
        found = repr(self._case[key])[:80] if key in self._case else "missing"
        return InputError(f"{self._where}: {key}", f"is {found}", expected)


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value)


def _encoded(text: str) -> bytes:
    """UTF-8; half a surrogate pair, which JSON can hold and UTF-8 cannot, stays as malformed as it is."""
    return text.encode("utf-8", "surrogatepass")
