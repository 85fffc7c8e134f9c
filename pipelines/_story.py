"""Answers of ``explain`` and ``lookup`` in words, for a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ._reasons import REASON_WORDS

# What could move the cursor, change colours or reverse the text: a header's value is anybody's text.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def explain_text(answer: Mapping[str, Any]) -> str:
    """An answer of ``explain``."""
    lines = [line for story in answer["pairs"] for line in (*_story(story), "")]
    return _visible(lines if answer["pairs"] else _not_found(answer))


def lookup_text(answer: Mapping[str, Any]) -> str:
    """An answer of ``lookup``."""
    if "releases" not in answer:
        return _visible(_found(answer))
    lines = []
    for each in answer["releases"]:
        lines += [f"{each['release']}:", *(f"  {line}" for line in _found(each))]
    return _visible(lines)


def _found(answer: Mapping[str, Any]) -> list[str]:
    lines = [f"{answer['released']:,} released, {answer['dropped']:,} left out"] if answer["pairs"] else ["Not found"]
    for row in answer["pairs"]:
        lines.append(f"  {_outcome(row)}  {row['url']}  (pair {row['pair_id']}{_likeness(row)})")
    more = answer["released"] + answer["dropped"] - len(answer["pairs"])
    lines += [f"  and {more:,} more"] if more else []
    return [*lines, answer["note"]] if answer["note"] else lines


def _story(story: Mapping[str, Any]) -> Iterator[str]:
    pair = story["pair"]
    yield f"pair {pair['pair_id']}: {story['outcome']}"
    yield f"  url       {pair['url']}"
    yield f"  caption   {pair['caption']}"
    yield f"  source    {pair['source']}, row {pair['source_row']}"
    for name in ("creator", "licence", "page_url"):
        if name in pair:
            yield f"  {name:9} {pair[name]}"
    yield "  signals" if story["signals"] else "  signals   none recorded"
    for signal in story["signals"]:
        yield f"    {_signal(signal)}"
    if story["image"]:
        yield f"  image     {_image(story['image'])}"
    for score in story["scores"]:
        yield f"  score     {score['kind']}: {' '.join(str(score[key]) for key in ('label', 'value') if key in score)}"
    if story["duplicate"]:
        yield from _duplicate(story["duplicate"])
    yield f"  decision  {_decision(story)}"


def _signal(signal: Mapping[str, Any]) -> str:
    hop = f", response {signal['hop']}" if "hop" in signal else ""
    value = f": {signal['value']}" if "value" in signal else ""
    only_if = f" (if {signal['only_if']})" if "only_if" in signal else ""
    when = f"  [{signal['observed_at']}]" if "observed_at" in signal else ""
    said_by = f"{signal['kind']} ({signal['scope']}) by {signal['source']}"
    return f"{signal['verdict']:5} {said_by}{hop}{value}{only_if}{when}"


def _image(image: Mapping[str, Any]) -> str:
    if image["status"] != "ok":
        return f"{image['status']}: {image.get('error', 'bytes not kept')}"
    hashes = ", ".join(f"{name} {image[name]}" for name in ("sha256", "phash", "pdq") if name in image)
    size = f"{image.get('width_px')} x {image.get('height_px')} px"
    file = f"{image['mime']}, {image['size_bytes']:,} bytes" if "mime" in image else "its file is not at hand"
    return f"{size}, {file}, {hashes}"


def _duplicate(duplicate: Mapping[str, Any]) -> Iterator[str]:
    far = f", {_distance(duplicate)} from the keeper" if "distance" in duplicate else ""
    yield f"  group     {duplicate['group_id']}, tie: {duplicate['kind']}{far}"
    for member in duplicate["members"]:
        keeper = " (keeper)" if member["pair_id"] == duplicate["keeper_id"] else ""
        yield f"    {member['pair_id']} {member['outcome']}{keeper} {member['url']}"


def _distance(duplicate: Mapping[str, Any]) -> str:
    if duplicate["kind"] == "semantic":
        return f"cosine distance {duplicate['distance'] / 1000:.3f}"
    return f"{duplicate['distance']} bits"


def _decision(story: Mapping[str, Any]) -> str:
    if story["dropped"]:
        dropped = story["dropped"]
        evidence = f" because of {dropped['evidence']}" if dropped["evidence"] else ""
        words = f" ({REASON_WORDS[dropped['reason']]})" if dropped["reason"] in REASON_WORDS else ""
        return f"left out by {dropped['stage']}, {dropped['reason']}{words}{evidence}"
    if story["sample"]:
        return f"released in {story['sample']['shard']} as {story['sample']['key']}"
    return "none yet: no stage has left it out, and it has not been released"


def _not_found(answer: Mapping[str, Any]) -> list[str]:
    asked = answer["asked"]
    lines = [f"Not found: {asked['url'] if asked['url'] is not None else 'pair ' + str(asked['pair_id'])}"]
    lines += [answer["note"]] if answer["note"] else []
    lines += ["Nearest:"] if answer["nearest"] else []
    return lines + [f"  {row['outcome']}  {row['url']}  (pair {row['pair_id']})" for row in answer["nearest"]]


def _outcome(row: Mapping[str, Any]) -> str:
    if row["outcome"] == "released":
        return f"released  {row['shard']} {row['key']}"
    return f"left out  {row['stage']}, {row['reason']}"


def _likeness(row: Mapping[str, Any]) -> str:
    return f", {row['match']} {row['distance']} bits" if row.get("distance") is not None else ""


def _visible(lines: list[str]) -> str:
    return "\n".join(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", line) for line in lines).rstrip()
