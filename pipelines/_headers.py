"""What the headers of an answer say about permission: the one place that every header protocol is asked in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from ..schemas.verdicts import ALLOW, COND, NONE
from ..udfs.signals import Evidence, Response, aipref, content_signal, link_header, rsl, tdmrep, x_robots_tag
from ..udfs.signals.directives import NO_IMAGE_INDEX
from ..udfs.signals.robots_txt import Robots
from ._said import AGENT, Said

REDIRECTS = frozenset({301, 302, 303, 307, 308})

# Kinds that headers can state. Where one binds, its refusal ends an exchange before the body is read.
KINDS = frozenset({x_robots_tag.KIND, content_signal.KIND, aipref.KIND, tdmrep.KIND})

# By kind of evidence, the headers that it comes from or that lead to it; in lower case.
STATED_IN = {
    kind: frozenset(name.lower() for name in names)
    for kind, names in {
        x_robots_tag.KIND: (x_robots_tag.HEADER,),
        content_signal.KIND: content_signal.HEADERS,
        aipref.KIND: (aipref.HEADER,),
        tdmrep.KIND: (tdmrep.RESERVATION, tdmrep.POLICY),
        rsl.KIND: (link_header.HEADER,),
    }.items()
}
HEADERS = frozenset(name for kind in KINDS for name in STATED_IN[kind])
_NO_ROBOTS = Robots()  # readers of protocols that live in robots.txt too are asked for the headers alone


def said_in_headers(hops: Sequence[Any], at: datetime) -> Iterator[Said]:
    """What the headers of a redirect chain say, and which response said it.

    Args:
        hops: the responses in order, ``Hop`` each. A chain that ends in a redirect has no final response yet.
        at: when they came.
    """
    if not hops:
        return
    if any(name in HEADERS for hop in hops for name, _ in hop.headers):
        responses = responses_of(hops)
        for number, response in enumerate(responses):
            for evidence, only_if in _of_each(response, number == len(responses) - 1):
                yield Said(evidence, at, "asset", hop=number, only_if=only_if)
        yield from _of_chain(responses, at)
    if hops[-1].status == 402:  # Payment Required: there is a way to a licence
        paid = Evidence("http_status", COND, value="402 Payment Required", source=hops[-1].url)
        yield Said(paid, at, "asset", hop=len(hops) - 1)


def responses_of(hops: Sequence[Any]) -> list[Response]:
    """The responses as the readers want them."""
    return [Response(hop.url, hop.status, hop.headers) for hop in hops]


def licence_links(hop: Any) -> list[str]:
    """URLs of the RSL files that the ``Link`` headers of a final response name."""
    if hop.status in REDIRECTS or all(name != "link" for name, _ in hop.headers):
        return []
    return rsl.locations(_NO_ROBOTS, responses_of([hop]), hop.url, AGENT)


def _of_each(response: Response, last: bool) -> Iterator[tuple[Evidence, str | None]]:
    """What each response says by itself. Search engines' words refuse training only where the policy reads them so."""
    tag, only_if = x_robots_tag.verdict([response], AGENT), None
    if tag.verdict == NONE:
        tag, only_if = x_robots_tag.verdict([response], AGENT, NO_IMAGE_INDEX), "noindex=deny"
    if tag.verdict != NONE:
        yield tag, only_if
    signal = content_signal.verdict(_NO_ROBOTS, [response], AGENT)
    if signal.verdict != NONE and (last or signal.verdict != ALLOW):
        yield signal, None


def _of_chain(responses: list[Response], at: datetime) -> Iterator[Said]:
    last = len(responses) - 1
    reserved = tdmrep.verdict([tdmrep.header_layer(responses)])
    if reserved.verdict != NONE:
        said = next((n for n, one in enumerate(responses) if tdmrep.header_layer([one]).reservation), last)
        source = f"{reserved.source} of {responses[said].url}"
        yield Said(replace(reserved, source=source), at, "asset", hop=said)
    if responses[-1].status not in REDIRECTS:  # a preference is about the content it comes with
        usage = aipref.verdict(_NO_ROBOTS, responses, responses[-1].url, AGENT)
        if usage.verdict != NONE:
            source = f"{usage.source} of {responses[-1].url}"
            yield Said(replace(usage, source=source), at, "asset", hop=last)
