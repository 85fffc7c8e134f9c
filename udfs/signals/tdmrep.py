"""TDMRep: rights reserved for text and data mining (W3C Community Group, final report of 10 May 2024).

Three layers say it: the file ``/.well-known/tdmrep.json``, response headers, and the HTML of a page for its own
text. A later layer supersedes an earlier one property by property; a property that is unset resets nothing.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin

from ...schemas.verdicts import ALLOW, COND, DENY, NONE
from ..urls import canonical_href
from . import Evidence, Response
from .path_pattern import Pattern, compiled, target_of

KIND = "tdmrep"
FILE = "/.well-known/tdmrep.json"
RESERVATION = "tdm-reservation"
POLICY = "tdm-policy"

MAX_BYTES = 8 * 1024 * 1024
"""A bigger file is refused as malformed: half a JSON text is none."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What one layer says.

    Attributes:
        reservation: True is reserved, False is not reserved, None is unset.
        policy: absolute URL of the policy; empty is unset.
        value: the raw statement.
        source: where it was found.
    """

    reservation: bool | None = None
    policy: str = ""
    value: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the file."""

    pattern: Pattern
    layer: Layer


@dataclass(frozen=True, slots=True)
class TdmFile:
    """A parsed ``tdmrep.json``.

    Attributes:
        rules: in file order; entries that are no rules are left out.
        detail: what was malformed; empty if nothing was.
    """

    rules: tuple[Rule, ...] = ()
    detail: str = ""

    def layer(self, url: str) -> Layer:
        """What the first matching rule says; later ones are not looked at, however long they are."""
        target = target_of(url)
        return next((rule.layer for rule in self.rules if rule.pattern.matches(target)), Layer())


def parse(body: bytes | None, host_url: str = "") -> TdmFile:
    """Reads a ``tdmrep.json`` once per host. No body raises.

    Args:
        body: the file; None where there is none, for whatever reason: the host does not use this protocol.
        host_url: any URL of the host, against which relative policy URLs are resolved.
    """
    if body is None:
        return TdmFile()
    try:
        document = _load(body)
    except (ValueError, RecursionError) as error:
        return TdmFile(detail=f"malformed: {error}")
    entries = document if isinstance(document, list) else [document]
    rules = [rule for entry in entries if (rule := _rule(entry, host_url))]
    return TdmFile(tuple(rules), "" if rules or not entries else "no entry is a rule")


def header_layer(hops: Sequence[Response]) -> Layer:
    """What the response headers of an asset say.

    A reservation on any hop counts; "not reserved" counts on the final response alone, and only if every value
    there says so.
    """
    values = list(dict.fromkeys(value for hop in hops for value in _reservations(hop)))
    final = set(_reservations(hops[-1])) if hops else set()
    reservation = True if "1" in values else False if final == {"0"} else None
    policies = ((hop, text) for hop in reversed(hops) for text in hop.lines(POLICY))
    policy = next((found for hop, text in policies if (found := _policy_url(text, hop.url))), "")
    raw = "; ".join(f"{RESERVATION}: {value}" for value in values)
    return Layer(reservation, policy, raw or (f"{POLICY}: {policy}" if policy else ""), "response header")


def page_layer(metas: Sequence[tuple[str, str]], page_url: str) -> Layer:
    """What the ``meta`` elements of a page say about its own text.

    Args:
        metas: name (lower case) and content of each element.
        page_url: what a relative policy URL is resolved against.
    """
    values = [content.strip() for name, content in metas if name == RESERVATION]
    reservation = None
    if "1" in values:
        reservation = True
    elif values and all(value == "0" for value in values):
        reservation = False
    policies = (_policy_url(content, page_url) for name, content in metas if name == POLICY)
    raw = "; ".join(f"{RESERVATION}: {value}" for value in values)
    return Layer(reservation, next(filter(None, policies), ""), raw, "HTML meta")


def verdict(layers: Sequence[Layer], unreachable: Container[str] = ()) -> Evidence:
    """What all layers together say.

    Args:
        layers: file, headers and, for the page's own text only, its HTML, in this order.
        unreachable: policy URLs, in WHATWG form, that are known to give no answer: they offer no conditions.

    Returns:
        Evidence: ``deny`` reserved, ``cond`` reserved with a policy to ask for a licence by, ``allow`` not
        reserved, ``none`` unset.
    """
    reservation, policy, deciding = None, "", Layer()
    for layer in layers:
        policy = layer.policy or policy
        if layer.reservation is not None:
            reservation, deciding = layer.reservation, layer
    if reservation is None:
        return Evidence(KIND, NONE)
    if not reservation:
        return Evidence(KIND, ALLOW, value=deciding.value, source=deciding.source)
    offers = bool(policy) and policy not in unreachable
    detail = f"policy {policy}" if policy else ""
    return Evidence(KIND, COND if offers else DENY, value=deciding.value, source=deciding.source, detail=detail)


def _reservations(hop: Response) -> Iterator[str]:
    return (value.strip() for text in hop.lines(RESERVATION) for value in text.split(","))


def _load(body: bytes) -> object:
    if len(body) > MAX_BYTES:
        raise ValueError(f"{len(body)} bytes, expected at most {MAX_BYTES}")
    text = body.decode(json.detect_encoding(body)).removeprefix("\ufeff")
    return json.loads(text, parse_constant=_refuse, object_pairs_hook=_merge)


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")


def _merge(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object in which a repeated reservation is the stricter one, not the last one."""
    merged = dict(pairs)
    values = [value for key, value in pairs if key == RESERVATION]
    if len(values) > 1:
        read = [_reservation(value) for value in values]
        merged[RESERVATION] = 1 if True in read else 0 if all(value is False for value in read) else None
    return merged


def _rule(entry: object, host_url: str) -> Rule | None:
    if not isinstance(entry, dict) or not isinstance(location := entry.get("location"), str):
        return None
    pattern = compiled(location.strip().encode("utf-8", "surrogatepass"))
    if pattern is None:
        return None
    policy = _policy_url(entry.get(POLICY), host_url)
    shown = {key: entry[key] for key in ("location", RESERVATION, POLICY) if _is_scalar(entry.get(key))}
    return Rule(pattern, Layer(_reservation(entry.get(RESERVATION)), policy, json.dumps(shown), FILE))


def _is_scalar(value: object) -> bool:
    return isinstance(value, (str, int, float))


def _reservation(value: object) -> bool | None:
    """1 and the text "1" reserve; only the number 0 grants; everything else is unset, ``true`` included."""
    if isinstance(value, bool):
        return None
    if value == 1 or (isinstance(value, str) and value.strip() == "1"):
        return True
    return False if isinstance(value, int) and value == 0 else None


def _policy_url(value: object, relative_to: str) -> str:
    """A policy to be asked for, as it is asked for; empty where there is none. A text with a space in it is no URL."""
    if not isinstance(value, str) or len(value.split()) != 1:
        return ""
    try:
        url = canonical_href(urljoin(relative_to, value.strip())) or ""
    except ValueError:
        return ""
    return url if url.startswith(("http://", "https://")) else ""
