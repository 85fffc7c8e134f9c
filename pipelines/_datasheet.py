"""What a datasheet asks of a dataset, answered from the release's own tables and manifest.

The dataset card shows the sentences under the headings of Gebru et al., "Datasheets for Datasets"; ``croissant.json``
gives the same ones as the properties of Croissant's RAI vocabulary. What only people know (why, with whose money, to
what effect on society) is not made up: it is left out.

A sentence is plain text. Names of hosts, creators and sources in it are others' words, so whoever shows it escapes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_PURPOSES = {"train": "training in general", "genai": "training, generative models included"}
_NAME_MAX_CHARS = 80
_CHANGING = ("fetch", "filter", "dedup", "balance")


@dataclass(frozen=True)
class Datasheet:
    """The answers: sentences, by what they are about."""

    uses: list[str]
    composition: list[str]
    missing: list[str]
    biases: list[str]
    personal: list[str]
    collection: list[str]
    raw: list[str]
    preprocessing: list[str]
    tools: list[str]
    limitations: list[str]
    maintenance: list[str]


def summary(manifest: dict[str, Any], found: dict[str, Any]) -> str:
    """What the release is, in two sentences."""
    counts, lists = manifest["counts"], len(manifest["sources"])
    return (
        f"{counts['released']:,} image-text pairs in {counts['shards']:,} WebDataset shards "
        f"({found['pictures']['bytes']:,} bytes of pictures), curated from {counts['rows']:,} rows of {lists} image-text "
        f"list{'' if lists == 1 else 's'} with fairshard {manifest['fairshard']} under the policy "
        f"{manifest['policy']['name']}. Every row of the sources is either in a shard or in a table, with the reason why "
        "it was left out."
    )


def datasheet(manifest: dict[str, Any], found: dict[str, Any]) -> Datasheet:
    """The answers.

    Args:
        manifest: the release's, but for its ``files``.
        found: its ``facts``.
    """
    purpose = _PURPOSES[manifest["policy"]["purpose"]]
    return Datasheet(
        uses=[f"Whether pairs may be used was asked for {purpose}. Other uses were not asked about."],
        composition=_composition(manifest, found),
        missing=_missing(manifest, found),
        biases=_biases(manifest, found),
        personal=_personal(manifest, found),
        collection=_collection(manifest, found),
        raw=_raw(manifest),
        preprocessing=_preprocessing(manifest),
        tools=_tools(manifest, found),
        limitations=_limitations(manifest, found),
        maintenance=_maintenance(manifest),
    )


def _composition(manifest: dict[str, Any], found: dict[str, Any]) -> list[str]:
    pictures = found["pictures"]
    said = ["A sample is one picture with one caption, and what is known of both."]
    if pictures["least_px"] is not None:
        said.append(
            f"Originals are {pictures['width_px']:,} x {pictures['height_px']:,} px in the median, each side from "
            f"{pictures['least_px']:,} to {pictures['most_px']:,} px."
        )
    return said


def _missing(manifest: dict[str, Any], found: dict[str, Any]) -> list[str]:
    released, stated = manifest["counts"]["released"], found["named"]
    lost = {"failed": "could not be had", "hold": "could not be cleared", "left": "their hosts put off"}
    counted = ((words, _lost(found["reasons"], f"{prefix}:")) for prefix, words in lost.items())
    return [
        *(f"Pairs that {words}: {rows:,}." for words, rows in counted if rows),
        f"Samples without a stated licence: {released - stated['licence']:,} of {released:,}; without a creator: "
        f"{released - stated['creator']:,}; without a page: {released - stated['page']:,}.",
    ]


def _lost(reasons: Iterable[dict[str, Any]], prefix: str) -> int:
    return sum(row["rows"] for row in reasons if row["reason"].startswith(prefix))


def _biases(manifest: dict[str, Any], found: dict[str, Any]) -> list[str]:
    hosts, languages, released = found["hosts"], found["languages"], manifest["counts"]["released"]
    said = []
    if hosts:
        most = sum(host["share"] for host in hosts)
        said.append(
            f"Hosts: {found['named']['hosts']:,}. The largest, {_name(hosts[0]['host'])}, gives "
            f"{_percent(hosts[0]['share'])} of the samples, the ten largest {_percent(most)}."
        )
    said += [f"The creator with the most samples, {_name(row['creator'])}, has {_percent(row['share'])} of them."
             for row in found["creators"]]  # fmt: skip
    if languages:
        said.append(
            f"Languages of the captions: {len(languages):,}. The most frequent, {languages[0]['language']}, is that of "
            f"{_percent(languages[0]['rows'] / released)}."
        )
    return said


def _personal(manifest: dict[str, Any], found: dict[str, Any]) -> list[str]:
    stated, released = found["named"], manifest["counts"]["released"]
    said = [
        f"Samples that name their creator: {stated['creator']:,} of {released:,}; different names: {stated['creators']:,}.",
        "No stage looks for people, in pictures or in captions.",
    ]
    if found["tags"]:
        tags = ", ".join(f"{_name(row['tag'])} {row['rows']:,}" for row in found["tags"])
        said.append(f"The sources' own NSFW tags of the samples: {tags}.")
    return said


def _collection(manifest: dict[str, Any], found: dict[str, Any]) -> list[str]:
    asked = [*manifest["registries"], *manifest["endpoints"]]
    said = ["The pairs are rows of image-text lists or web archives; the pictures were fetched from their URLs, or taken "
            "from an earlier download."]  # fmt: skip
    if asked:
        said.append(f"Asked for opt-outs: {', '.join(entry['name'] for entry in asked)}.")
    if found["said"]:
        total = sum(row["said"] for row in found["said"])
        refused = sum(row["deny"] for row in found["said"])
        said.append(f"Statements about the pairs that were read: {total:,}; refusals among them: {refused:,}.")
    return said


def _raw(manifest: dict[str, Any]) -> list[str]:
    return [
        *(f"Rows of {_name(source['name'])}: {source['rows']:,}; released: {source['released']:,}."
          for source in manifest["sources"]),
        "The originals are not in the release. Their SHA-256, pHash and PDQ are in the sidecars of the shards.",
    ]  # fmt: skip


def _preprocessing(manifest: dict[str, Any]) -> list[str]:
    removed = {step["stage"]: step["removed"] for step in manifest["counts"]["funnel"]}
    return [
        f"Rows that {stage} removed: {removed.get(stage, 0):,}; its settings: {_listed(manifest['settings'][stage])}."
        for stage in _CHANGING
    ]


def _listed(settings: dict[str, Any]) -> str:
    """Settings that are given, in words."""
    given = ((name, _value(value)) for name, value in sorted(settings.items()) if value not in (None, [], ()))
    return ", ".join(f"{name} {value}" for name, value in given) or "none"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("sha256"))
    if isinstance(value, list | tuple):
        return " ".join(str(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _tools(manifest: dict[str, Any], found: dict[str, Any]) -> list[str]:
    measured = {row["kind"]: row["rows"] for row in found["scores"]}
    said = [
        f"Measured by fairshard {manifest['fairshard']}: {kind}; samples: {rows:,}." for kind, rows in measured.items()
    ]
    if "language" in measured:
        said.append("Languages are those that fastText's lid.176 reads in the captions.")
    model = manifest["settings"]["dedup"].get("embedding_model")
    if model:
        said.append(f"Pictures were compared by a model of {model['architecture']}, SHA-256 {model['sha256']}.")
    return said


def _limitations(manifest: dict[str, Any], found: dict[str, Any]) -> list[str]:
    released = manifest["counts"]["released"]
    return [
        f"Samples for which an explicit permission is on record: {found['permitted']:,} of {released:,}. The others are in "
        "because nothing on record refuses them under the policy; silence is not consent.",
        "Captions are as the sources give them. No stage checks that they are true.",
        "Near-duplicates that differ by more than the distances in the settings of dedup are still in.",
    ]


def _maintenance(manifest: dict[str, Any]) -> list[str]:
    takedowns, stated = manifest.get("takedowns", []), manifest["settings"]["emit"]
    gone = sum(takedown["pairs"] for takedown in takedowns)
    said = [
        f"This is release {version(manifest)}. Takedowns so far: {len(takedowns)}; samples that they removed: {gone:,}."
    ]
    if stated.get("publisher"):
        said.append(f"Published by {stated['publisher']}.")
    if stated.get("contact"):
        said.append(f"Opt-outs reach the publisher at {stated['contact']}.")
    return [*said, "Later opt-outs are taken out in a next release, of which only the shards concerned differ; its "
            "tombstones list what whoever holds this one should delete."]  # fmt: skip


def version(manifest: dict[str, Any]) -> str:
    """Of the release in its chain. Taking samples away changes data, which takes a new major version (Croissant 1.0)."""
    return f"{1 + len(manifest.get('takedowns', []))}.0.0"


def _name(text: str) -> str:
    """What others call something, on one line and not too long."""
    text = " ".join(text.split())
    return text if len(text) <= _NAME_MAX_CHARS else text[: _NAME_MAX_CHARS - 1] + "…"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
