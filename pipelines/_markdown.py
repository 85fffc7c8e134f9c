"""Markdown from templates, with what comes from outside as one harmless line: a caption's author may not write into it."""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

_SPECIAL = re.compile(r"([\\`*\[\]|~#])")
_CELL_MAX_CHARS = 80


def render(name: str, **values: Any) -> str:
    """A template of ``templates/``, with the filters ``cell``, ``line``, ``number`` and ``percent``. Needs jinja2."""
    import jinja2

    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters["cell"] = cell
    environment.filters["line"] = line
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.filters["percent"] = lambda share: f"{100 * share:.1f} %"
    text = resources.files(__package__ or "").joinpath("templates", name).read_text(encoding="utf-8")
    return environment.from_string(text).render(values)


def cell(value: Any) -> str:
    """Text from outside as one short and harmless line of Markdown."""
    text = " ".join(str(value).split())
    return line(text if len(text) <= _CELL_MAX_CHARS else text[: _CELL_MAX_CHARS - 1] + "…")


def line(value: Any) -> str:
    """Text from outside as one harmless line of Markdown."""
    text = " ".join(str(value).split())
    return _SPECIAL.sub(r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
