"""HTML meta robots: the directives of ``X-Robots-Tag``, in the page that is or shows the asset."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ...schemas.verdicts import DENY, NONE
from . import Evidence
from .directives import refusal

KIND = "html_meta"


def verdict(metas: Sequence[tuple[str, str]], agent: str, *, image: bool, also: Collection[str] = ()) -> Evidence:
    """What the meta elements of a page say.

    Args:
        metas: name (lower case) and content of each element, as ``html_page.parse`` finds them: also in the
            body and in ``noscript``, never in comments, scripts or titles.
        agent: our product token; elements named like it count next to those named ``robots``.
        image: the asset is an image shown on the page, which ``noimageai`` binds, and not the page's own text.
        also: words that refuse too, as in ``directives.refusal``.

    Returns:
        Evidence: ``deny`` or ``none``.
    """
    for name, content in metas:
        if name in ("robots", agent.strip().lower()):
            word = refusal(content, agent, image=image, also=also)
            if word:
                return Evidence(KIND, DENY, word, content, f"meta {name}")
    return Evidence(KIND, NONE)
