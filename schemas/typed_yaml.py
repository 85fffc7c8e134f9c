"""YAML into frozen dataclasses: types checked, unknown keys refused with the nearest known key named.

Only ``true`` and ``false`` are booleans, as in YAML 1.2: ``off`` stays the word it is, and a day stays text. A key
given twice is an error, because silently losing one of two opt-out lists would be a bug nobody sees.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import yaml

from .errors import ConfigError, did_you_mean

T = TypeVar("T")


class _Loader(yaml.SafeLoader):
    """SafeLoader with the booleans of YAML 1.2, no times and no duplicate keys."""


_BOOLEAN, _TIME = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_BOOLEAN, _TIME)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _first, _word in (("t", "true"), ("f", "false")):
    _Loader.add_implicit_resolver(_BOOLEAN, re.compile(rf"^{_word}$"), [_first])


_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


def _mapping_without_duplicates(loader: _Loader, node: yaml.MappingNode) -> dict:
    seen: dict = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is not text", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key '{key}' twice", key_node.start_mark)
        seen[key] = loader.construct_object(value_node, deep=True)
    return seen


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_duplicates)


def parse(text: str, where: str) -> dict[str, Any]:
    """The mapping at the top of a YAML document.

    Raises:
        ConfigError: not YAML, or not a mapping.
    """
    try:
        document = yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(where, f"is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise ConfigError(where, f"holds {_kind(document)}", "a mapping of keys to values")
    return document


def parse_file(path: Path) -> dict[str, Any]:
    """The mapping at the top of a YAML file.

    Raises:
        ConfigError: missing, unreadable or malformed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read ({error.strerror})", "a YAML file in UTF-8") from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), f"is not text ({error})", "a YAML file in UTF-8") from error
    return parse(text, str(path))


def build(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """A dataclass from a mapping, recursively.

    Args:
        kind: a dataclass; its annotations are the contract.
        values: parsed YAML.
        where: what to call the mapping in errors, such as ``config.yaml: fetch``.

    Raises:
        ConfigError: an unknown key, a missing key or a value of another type.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise ConfigError(where, f"unknown key '{key}'", hint=did_you_mean(key, fields))
    hints = typing.get_type_hints(kind)
    arguments = {key: _value(hints[key], value, f"{where}.{key}") for key, value in values.items()}
    missing = [
        name
        for name, field in fields.items()
        if name not in arguments
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(where, f"no key '{missing[0]}'", hint=f"Add '{missing[0]}: ...'")
    return kind(**arguments)


def _value(kind: Any, value: Any, where: str) -> Any:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in parts:
            return None
        return _value(next(part for part in parts if part is not type(None)), value, where)
    if origin is Literal:
        if value not in parts or isinstance(value, bool):
            known = [str(part) for part in parts]
            raise ConfigError(where, f"is {_show(value)}", f"one of {', '.join(known)}", _hint(value, known))
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise ConfigError(where, f"is {_kind(value)}", "a list")
        return tuple(_value(parts[0], item, f"{where}[{n}]") for n, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(where, f"is {_kind(value)}", "a mapping of keys to values")
        return {key: _setting(item, f"{where}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ConfigError(where, f"is {_kind(value)}", "a mapping of keys to values")
        return build(kind, value, where)  # type: ignore[arg-type]
    return _scalar(kind, value, where)


def _setting(value: Any, where: str) -> str:
    """A value of another program's setting, as text."""
    if not isinstance(value, (str, int, float)):
        raise ConfigError(where, f"is {_kind(value)}", "text, a number, true or false")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _scalar(kind: type, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is float and isinstance(value, str) and _EXPONENT.fullmatch(value):
        return float(value)  # 1e-4 is a number in YAML 1.2, and text to this reader
    if isinstance(value, str) and "\0" in value:
        raise ConfigError(where, f"is {_show(value)}", "text without a NUL character")
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise ConfigError(where, f"is {_show(value)}", _NAMES.get(kind, kind.__name__))


def _hint(value: Any, known: list[str]) -> str:
    return did_you_mean(value, known) if isinstance(value, str) else ""


_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    names = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), type(value).__name__)


def _show(value: Any) -> str:
    return f"{value!r}" if isinstance(value, (str, int, float, bool)) else _kind(value)
