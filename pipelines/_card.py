"""What a release says of itself: the dataset card ``README.md``, its picture of the funnel, and ``croissant.json``.

All three are filled from the release's own tables. Needs the extra [report]. What comes from the sources (titles,
hosts, licences) is escaped: a caption's author may not write into the card.
"""

from __future__ import annotations

import importlib.util
import io
from typing import Any

from ..schemas.errors import MissingExtra
from ..schemas.release import SIDECAR
from . import _croissant
from ._catalog import Catalog
from ._datasheet import datasheet, summary
from ._manifest import merkle_root
from ._markdown import line, render
from ._release import FileFact, Release
from ._release_facts import facts

README, FUNNEL = "README.md", "funnel.png"

_SIZE_CATEGORIES = ((3, "n<1K"), (4, "1K<n<10K"), (5, "10K<n<100K"), (6, "100K<n<1M"), (7, "1M<n<10M"),
                    (8, "10M<n<100M"), (9, "100M<n<1B"), (10, "1B<n<10B"), (11, "10B<n<100B"))  # fmt: skip

_KINDS = {
    "registry": "an entry in an opt-out registry",
    "hash_list": "a match on a hash list",
    "robots_txt": "robots.txt",
    "content_signal": "a Content-Signal (ai-train, in robots.txt or header)",
    "aipref": "an AIPREF preference (Content-Usage, in robots.txt or header)",
    "ai_txt": "ai.txt",
    "rsl": "an RSL licence file (named in robots.txt or header)",
    "tdmrep": "a TDM reservation (tdmrep.json or header)",
    "x_robots_tag": "an X-Robots-Tag header (noai, noimageai)",
    "html_meta": "a robots meta element of the page (noai, noimageai)",
    "http_status": "the status 402 Payment Required",
    "xmp": "a reservation in the file's metadata (plus:DataMining in XMP)",
    "c2pa": "a C2PA or CAWG training-mining assertion in the file",
    "free_text": "a rights notice in the file that forbids AI training in words",
    "synthetic": "a mark that a model made the picture",
}
_TREATMENT = {
    "none": ("Pairs about which nothing is said at all are {}.", {"keep": "kept", "drop": "dropped"}),
    "cond": ("Pairs reserved with an offer of a licence are {}.", {"keep": "kept", "drop": "dropped"}),
    "hold": (
        "Pairs whose permission could not be determined are {}.",
        {"keep": "kept", "drop": "dropped, and asked again by a later run"},
    ),
    "unread": (
        "Pictures of an earlier download that did not keep all that was said with them are {}.",
        {"keep": "kept", "drop": "dropped"},
    ),
}


def require() -> None:
    """Stop early if the card cannot be made.

    Raises:
        MissingExtra: jinja2 or matplotlib is not installed.
    """
    for module in ("jinja2", "matplotlib"):
        if importlib.util.find_spec(module) is None:
            raise MissingExtra("report", "emit", module)


def write(release: Release, catalog: Catalog, manifest: dict[str, Any]) -> dict[str, FileFact]:
    """Write ``README.md``, ``funnel.png`` and ``croissant.json``.

    Args:
        release: where to.
        catalog: its tables, complete.
        manifest: as it will be written, but for its ``files``.
    """
    found = facts(catalog)
    picture = funnel_picture(manifest["counts"]["rows"], manifest["counts"]["funnel"])
    return {
        FUNNEL: release.put(FUNNEL, picture),
        README: release.put(README, card(manifest, found).encode()),
        **_croissant.write(release, manifest, found),
    }


def card(manifest: dict[str, Any], found: dict[str, Any]) -> str:
    """The dataset card, in Markdown with the front matter that the Hugging Face hub and its ``datasets`` read.

    Args:
        manifest: the release's, but for its ``files``.
        found: its ``facts``.
    """
    released = manifest["counts"]["released"]
    # Releases of before these keys were known are taken down, too.
    stated = {"publisher": None, "contact": None, "url": None, "published_on": None, **manifest["settings"]["emit"]}
    return render(
        "card.md.j2",
        **found,
        manifest=manifest,
        counts=manifest["counts"],
        stated=stated,
        picture=manifest["settings"]["fetch"]["encode_format"],
        # datasets takes folders of one name for the same data, unless their cards differ in what is loaded.
        shards_root=merkle_root({shard["path"]: shard for shard in found["shards"]}),
        columns=[{"name": column.name, "type": str(column.type)} for column in SIDECAR],
        summary=summary(manifest, found),
        sheet=datasheet(manifest, found),
        bullets=lambda sentences: "\n".join(f"- {line(sentence)}" for sentence in sentences),
        policy=policy_words(manifest["policy"]),
        kinds=_KINDS,
        size_category=next((name for digits, name in _SIZE_CATEGORIES if released < 10**digits), "100B<n<1T"),
    )


def policy_words(policy: dict[str, Any]) -> list[str]:
    """A policy in sentences."""
    binding = ", ".join(_KINDS.get(str(kind), str(kind)) for kind in policy["binding"]) or "nothing"
    purpose = {"train": "training in general", "genai": "training, generative models included"}[policy["purpose"]]
    sentences = [f"Wanted for {purpose}.", f"What binds: {binding}."]
    sentences += [text.format(words[policy[key]]) for key, (text, words) in _TREATMENT.items() if key in policy]
    if policy["ai_agent_proxy"] == "any":
        sentences.append("A URL closed to a known AI crawler by robots.txt counts as closed to us.")
    if policy.get("noindex") == "deny":
        sentences.append("A noindex in an X-Robots-Tag header counts as a refusal.")
    if policy["licences"]:
        sentences.append(f"Licences that count as permission: {', '.join(policy['licences'])}.")
    sentences.append(
        f"A picture matches a hash list within {policy['phash_max_distance']} of 64 bits (pHash) or "
        f"{policy['pdq_max_distance']} of 256 bits (PDQ, quality {policy['pdq_min_quality']} or more)."
    )
    return sentences


def funnel_picture(rows: int, funnel: list[dict[str, Any]]) -> bytes:
    """Rows left after each stage, as a PNG whose bytes depend on the numbers alone.

    Args:
        rows: rows in the sources.
        funnel: stage, removed and rows_left, in flow order.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's own style would change the bytes
        figure = Figure(figsize=(9, 0.62 * (len(funnel) + 1) + 1.1), dpi=120, facecolor="white")
        FigureCanvasAgg(figure)
        _draw(figure, rows, funnel)
        target = io.BytesIO()
        figure.savefig(target, format="png", metadata={"Software": None})
    return target.getvalue()


def _draw(figure: Any, rows: int, funnel: list[dict[str, Any]]) -> None:
    steps = [{"stage": "sources", "removed": 0, "rows_left": rows}, *funnel]
    longest = max(len(_bar_label(step["rows_left"], step["removed"])) for step in steps)
    axes = figure.add_axes((0.14, 0.04, 0.84 - 0.0108 * longest, 0.80))  # room for the labels, at 11 points
    widest = max(rows, 1)
    for place, step in enumerate(steps):
        left, removed = step["rows_left"], step["removed"]
        axes.barh(place, left, height=0.66, color="#2f6f8f")
        axes.barh(place, removed, left=left, height=0.66, color="#e3b7a0")
        axes.text(left + removed + 0.012 * widest, place, _bar_label(left, removed), va="center", fontsize=11,
                  color="#333333")  # fmt: skip
    axes.set_yticks(range(len(steps)), [step["stage"] for step in steps], fontsize=12)
    axes.invert_yaxis()
    axes.set_xlim(0, widest)
    axes.set_xticks([])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    figure.text(0.14, 0.93, "Rows left after each stage", fontsize=15, weight="bold", color="#222222")
    figure.text(0.14, 0.875, "dark: left; light: removed by the stage", fontsize=10.5, color="#666666")


def _bar_label(left: int, removed: int) -> str:
    return f"{left:,}  (\N{MINUS SIGN}{removed:,})" if removed else f"{left:,}"
