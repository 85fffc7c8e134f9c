"""What the headers of an answer say about permission: the one place that every header protocol is asked in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa

from ..schemas.verdicts import COND, NONE
from ..udfs.signals import Evidence, Response, tdmrep, x_robots_tag
from ..udfs.urls import canonical_href, url_origin

AGENT = "fairshard"

# Kinds that headers can state. Where one binds, its refusal ends an exchange before the body is read.
KINDS = frozenset({x_robots_tag.KIND, tdmrep.KIND})


def header_evidence(hops: tuple[Any, ...]) -> Iterator[tuple[Evidence, int]]:
    """What the headers of a redirect chain say, and which response said it."""
    responses = [Response(hop.url, hop.status, hop.headers) for hop in hops]
    for number, response in enumerate(responses):
        tag = x_robots_tag.verdict([response], AGENT)
        if tag.verdict != NONE:
            yield tag, number
    if responses:
        reserved = tdmrep.verdict([tdmrep.header_layer(responses)])
        if reserved.verdict != NONE:
            last = len(responses) - 1
            said = next((n for n, one in enumerate(responses) if tdmrep.header_layer([one]).reservation), last)
            yield replace(reserved, source=f"{reserved.source} of {responses[said].url}"), said
        if responses[-1].status == 402:  # Payment Required: there is a way to a licence
            yield Evidence("http_status", COND, value="402 Payment Required", source=responses[-1].url), len(hops) - 1


def origin_of(url: str) -> str:
    """The origin of a URL; the URL itself where it has none."""
    found = url_origin(pa.array([canonical_href(url) or url], pa.string()))[0].as_py()
    return found or url
