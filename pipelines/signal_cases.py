"""Judges opt-out cases: one JSON line in, verdict, tags and evidence out.

A case says what a site answers and what verdict is right; ``tests/vectors/README.md`` tells the format. Nothing
is fetched: a case brings its own files, headers and answers.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

from ..schemas.errors import InputError
from ..schemas.verdicts import VERDICTS
from ._case import read_case
from ._protocols import COMBINE, READERS, combined


def run(path: str | Path) -> Iterator[tuple[dict, str]]:
    """Judges every case of a JSON Lines file.

    Args:
        path: the file; pictures that cases name are relative to its folder. Blank lines are skipped.

    Yields:
        The result of each case (see ``judge``), and what is wrong with it: empty if the case is met or
        states no expectation.

    Raises:
        InputError: the file cannot be read, or a line is no case. The message names the line.
    """
    file = Path(path)
    try:
        with file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    case = _parse(line, f"{file}:{number}")
                    result = judge(case, file.parent, f"{file}:{number}")
                    yield result, mismatch(case, result)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(str(file), f"cannot be read ({error})", "JSON Lines in UTF-8") from error


def judge(case: dict, folder: str | Path, where: str = "case") -> dict:
    """The verdict on one case.

    Args:
        case: as in ``tests/vectors/README.md``.
        folder: what the path of a picture is relative to.
        where: how errors call the case.

    Returns:
        ``id``; ``verdict``; ``tags``, sorted; ``evidence``, a list of the pieces that were found.

    Raises:
        InputError: it is no case: a key is missing, has the wrong type or an unknown value.
    """
    read = read_case(case, Path(folder), where)
    if read.kind == COMBINE:
        verdict, pieces = combined(read)
    elif read.kind in READERS:
        piece = READERS[read.kind](read)
        verdict, pieces = piece.verdict, [piece]
    else:
        raise InputError(f"{where}: kind", f"is '{read.kind}'", f"one of {', '.join([*READERS, COMBINE])}")
    return {
        "id": read.id,
        "verdict": verdict,
        "tags": sorted({tag for piece in pieces for tag in piece.tags}),
        "evidence": [dataclasses.asdict(piece) | {"tags": list(piece.tags)} for piece in pieces],
    }


def mismatch(case: dict, result: dict) -> str:
    """How a result differs from what the case wants, in words; empty if it does not."""
    if "want" in case and case["want"] != result["verdict"]:
        return f"{result['id']}: verdict is {result['verdict']}, wanted {case['want']}"
    if "want_tags" in case and sorted(case["want_tags"]) != result["tags"]:
        return f"{result['id']}: tags are {result['tags']}, wanted {sorted(case['want_tags'])}"
    return ""


def _parse(line: str, where: str) -> dict:
    try:
        case = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(where, f"is no JSON ({error})", "one JSON object a line") from error
    if not isinstance(case, dict):
        raise InputError(where, f"is {type(case).__name__}", "a JSON object")
    if "want" in case and case["want"] not in VERDICTS:
        raise InputError(f"{where}: want", f"is {case['want']!r}", f"one of {', '.join(VERDICTS)}")
    tags = case.get("want_tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise InputError(f"{where}: want_tags", f"is {tags!r}", "a list of texts")
    return case
