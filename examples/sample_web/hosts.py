"""What ``web.yaml`` says: which host gives which answer at which path."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from .variant import Variant

Special = Literal[
    "close", "cut", "truncated", "html", "empty", "dot", "ribbon", "bomb", "bomb_whole", "drip", "endless"
]
"""Bodies that are no good picture, and one that is no body: the connection closes."""


@dataclass(frozen=True)
class Answer:
    """What a path answers; ``web.yaml`` explains each key.

    Attributes:
        body: text to send instead of a picture.
        endpoint: list from which a POST of URLs is answered; a GET is not.
    """

    variant: Variant | None = None
    headers: tuple[tuple[str, str], ...] = ()
    status: int = 200
    redirect: str | None = None
    redirect_status: int = 302
    content_type: str | None = None
    fails_first: int = 0
    serve: Special | None = None
    body: str | None = None
    endpoint: str | None = None


NOT_FOUND = Answer(status=404)


FILES = {"robots": "/robots.txt", "ai": "/ai.txt", "tdmrep": "/.well-known/tdmrep.json"}
"""The files in which a host states its terms, by their key in ``web.yaml``."""


@dataclass(frozen=True)
class Host:
    """One host: its well-known files by path, and the paths of its pictures, longest first."""

    files: dict[str, Answer]
    paths: tuple[tuple[str, Answer], ...]

    def answer(self, path: str) -> Answer:
        """What a path (percent-decoded, no query) answers; 404 if nothing covers it."""
        if path in self.files:
            return self.files[path]
        for prefix, found in self.paths:
            if path.startswith(prefix) if prefix.endswith("/") else path == prefix:
                return found
        return NOT_FOUND


def load(path: Path) -> dict[str, Host]:
    """The hosts of a ``web.yaml`` by lower-case name (punycode, no port).

    Raises:
        ValueError: a key or a value that means nothing, with the host it stands under.
    """
    hosts = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {name: _host(name, said or {}) for name, said in hosts.items()}


def _host(name: str, said: dict[str, Any]) -> Host:
    known = (*FILES, "paths")
    if unknown := said.keys() - set(known):
        raise ValueError(f"{name}: unknown key {sorted(unknown)[0]!r}; known: {', '.join(known)}")
    files = {path: _file(name, said[key]) for key, path in FILES.items() if key in said}
    paths = [(prefix, _answer(name, spec)) for prefix, spec in said.get("paths", {}).items()]
    return Host(files, tuple(sorted(paths, key=lambda pair: -len(pair[0]))))


def _file(name: str, said: str | list[Any] | dict[str, Any]) -> Answer:
    if isinstance(said, str):
        return Answer(body=said, content_type="text/plain; charset=utf-8")
    if isinstance(said, list):
        return Answer(body=json.dumps(said, indent=2), content_type="application/json")
    return _answer(name, said)


def _answer(name: str, said: dict[str, Any]) -> Answer:
    try:
        variant = Variant(**said["variant"]) if "variant" in said else None
        headers = tuple((str(key), str(value)) for key, value in said.get("headers", ()))
        answer = Answer(**{**said, "variant": variant, "headers": headers})
    except TypeError as error:
        raise ValueError(f"{name}: {said} is no answer: {error}") from error
    if answer.serve is not None and answer.serve not in get_args(Special):
        raise ValueError(f"{name}: serve is {answer.serve!r}; known: {', '.join(get_args(Special))}")
    return answer
