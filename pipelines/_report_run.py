"""What the report shows of a CLIP run and of an audit: the losses as a curve, retrieval, and the audit's measures.

An audit's rows about single pairs are for those who hold the data; only its measures of the whole run are shown.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..schemas.errors import ReleaseError
from ._trained import run_record

_EPOCHS_LISTED = 12
_STEPS_DRAWN = 400
# The picture's own units.
_LEFT, _TOP, _RIGHT, _BOTTOM = 40.0, 10.0, 630.0, 230.0
_Point = tuple[float, float]
# Of a diffusion run; both show nothing but what was generated and what is released.
_PICTURES = {
    "replicas.png": "The generated pictures that are most alike to a trained one, each at the left of it. Framed are those "
    "that count as replicas, by the model that compares or by a hash.",
    "replication.png": "Left: how alike generated pictures are to the nearest trained one, beside held-out pictures, which "
    "cannot be copies: if the two lie together, there is no sign of copying. Right: the same by how often a picture was "
    "trained on.",
}
_MEASURE_WORDS = {
    "later_opt_out": "released pairs that have opted out since",
    "leaked_picture": "tested pairs with the picture of a trained one",
    "leaked_caption": "tested pairs with the caption of a trained one",
    "membership": "how surely trained pairs are told from others by {} (AUC)",
    "canary": "planted canaries, by {}",
    "replication": "generated pictures that are replicas of trained ones, by {}",
    "memorised": "trained pairs that the model knows by heart",
}


@dataclass(frozen=True)
class Curve:
    """Losses as lines of an SVG of 640 by 260 units.

    Attributes:
        lines: points by what they are of (step, epoch, held_out, guessing), as ``points`` of a polyline.
        dots: of ``epoch`` and ``held_out``: centres.
        heights: where each gridline is, and its loss.
        places: where each marked epoch is, and its number.
    """

    lines: dict[str, str]
    dots: dict[str, list[_Point]]
    heights: list[tuple[float, str]]
    places: list[tuple[float, int]]


def trained(folder: str, manifest_sha256: str) -> dict[str, Any]:
    """A finished run: what and how long, ``curve`` (null without a finite loss), some ``epochs``, ``retrieval``.

    Raises:
        ReleaseError: no finished run, one on another release, or files that `train` did not write.
    """
    record, path = run_record(Path(folder)), Path(folder) / "metrics.jsonl"
    if record.get("trainer", "clip") != "clip":
        raise ReleaseError(folder, "is of another trainer", "a run of the CLIP trainer", "Show this one by --diffusion")
    check_release(folder, "was trained on", record["release"]["manifest_sha256"], manifest_sha256)
    with told(path, "the losses that train writes"):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        listed = some(epochs(rows), _EPOCHS_LISTED)
    with told(Path(folder) / "run.json", "the record that train writes"):
        return {
            "fingerprint": record["fingerprint"],
            "model": record["config"]["model"],
            "initialised_from": record["model"]["initialised_from"],
            "parameters": int(record["model"]["parameters"]),
            "epochs_run": int(record["config"]["epochs"]),
            "samples": {name: int(record["samples"][name]) for name in ("trained", "held_out", "tested")},
            "batch_size": int(record["config"]["batch_size"]),
            "curve": curve(rows, float(record["loss"]["guessing"])),
            "epochs": listed,
            "retrieval": [
                {"direction": direction, "candidates": int(found["candidates"])}
                | {name: float(recall[name]) for name in ("value", "low", "high", "chance")} | {"k": int(recall["k"])}
                for direction, found in record["retrieval"].items()
                for recall in found["recall"]
            ],
        }  # fmt: skip


def audited(folder: str, manifest_sha256: str, run: str | None, diffusion: str | None = None) -> dict[str, Any]:
    """An audit: when it was made, and what it measured of the run as a whole.

    Args:
        folder: of the audit.
        manifest_sha256: of the release that it has to be of.
        run: fingerprint of the run that it has to be of; null: any.
        diffusion: of the diffusion run that it has to be of, if it is of one; null: any.

    Raises:
        ReleaseError: no audit, one of another release or run, or a damaged one.
    """
    path = Path(folder) / "audit.json"
    with told(path, "the record of an audit"):
        record = json.loads(path.read_bytes())
        check_release(folder, "audited", record["release"], manifest_sha256)
        if run not in (None, record["run"]):
            raise ReleaseError(folder, f"audited the run {record['run']}", f"{run}, which is shown")
        of_diffusion = record.get("diffusion") or {}
        if diffusion not in (None, of_diffusion.get("run", diffusion)):
            raise ReleaseError(folder, f"audited the run {of_diffusion['run']}", f"{diffusion}, which is shown")
        measures = [found for found in record["measures"] if found["pair_id"] is None]
        shown = _PICTURES if of_diffusion else {}
        return {
            "compared_by": str((of_diffusion.get("copy_model") or {}).get("kind", "")),
            "audited_at": str(record["audited_at"]),
            "measures": [_measure(found) for found in measures],
            "pictures": [{"uri": _uri(Path(folder) / name), "words": words} for name, words in shown.items()
                         if (Path(folder) / name).exists()],
        }  # fmt: skip


def _uri(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def curve(rows: Sequence[Mapping[str, Any]], guessing: float | None) -> Curve | None:
    """The losses of metrics.jsonl as a picture; null if none is finite.

    Args:
        rows: ``epoch`` and ``loss`` of each step, ``epoch`` and ``held_out_loss`` of each epoch.
        guessing: what a model that knows nothing loses; null where that cannot be said.
    """
    steps = [row["loss"] for row in rows if "loss" in row]
    by_epoch = epochs(rows)
    last = max((row["epoch"] for row in by_epoch), default=1)
    drawn = {
        "step": some([((place + 1) * last / len(steps), loss) for place, loss in enumerate(steps)], _STEPS_DRAWN),
        "epoch": [(row["epoch"], row["training"]) for row in by_epoch],
        "held_out": [(row["epoch"], row["held_out"]) for row in by_epoch if row["held_out"] is not None],
        "guessing": [] if guessing is None else [(0, guessing), (last, guessing)],
    }
    finite = {name: [point for point in points if math.isfinite(point[1])] for name, points in drawn.items()}
    if not finite["step"]:
        return None
    highest = max(loss for points in finite.values() for _, loss in points) or 1.0
    gap = _gap(highest)
    highest = gap * math.ceil(highest / gap)

    def place(point: tuple[float, float]) -> _Point:
        across, up = point[0] / last, max(point[1], 0.0) / highest
        return round(_LEFT + across * (_RIGHT - _LEFT), 1), round(_BOTTOM - up * (_BOTTOM - _TOP), 1)

    placed = {name: [place(point) for point in points] for name, points in finite.items()}
    lines = {name: " ".join(f"{x},{y}" for x, y in points) for name, points in placed.items()}
    heights = [(place((0, gap * n))[1], f"{gap * n:g}") for n in range(round(highest / gap) + 1)]
    marked = some([row["epoch"] for row in by_epoch], _EPOCHS_LISTED)
    return Curve(lines, {name: some(placed[name], 60) for name in ("epoch", "held_out")}, heights,
                 [(place((epoch, 0))[0], epoch) for epoch in marked])  # fmt: skip


def epochs(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of metrics.jsonl: epoch, mean loss in ``training`` and loss ``held_out``, by epoch."""
    losses: dict[int, list[float]] = {}
    held_out: dict[int, float] = {}
    for row in rows:
        if "loss" in row:
            losses.setdefault(int(row["epoch"]), []).append(float(row["loss"]))
        if "held_out_loss" in row:
            held_out[int(row["epoch"])] = float(row["held_out_loss"])
    return [
        {"epoch": epoch, "training": sum(found) / len(found), "held_out": held_out.get(epoch)}
        for epoch, found in sorted(losses.items())
    ]


def _gap(highest: float) -> float:
    """A round distance of at most six gridlines."""
    unit = 10.0 ** math.floor(math.log10(highest / 5))
    return next(unit * step for step in (1, 2, 5, 10) if highest / (unit * step) <= 5)


def some(values: list[Any], most: int) -> list[Any]:
    """Evenly spaced ones, the last among them, in order."""
    step = math.ceil(len(values) / most) if values else 1
    return values[::-1][::step][::-1]


def _measure(found: Mapping[str, Any]) -> dict[str, Any]:
    words = _MEASURE_WORDS.get(found["kind"], str(found["kind"]).replace("_", " "))
    numbers = {name: None if found[name] is None else f"{found[name]:.4g}" for name in ("value", "threshold")}
    return {"words": words.format(found["subject"]), **numbers, "finding": bool(found["finding"]),
            "detail": found["detail"]}  # fmt: skip


@contextmanager
def told(path: Path, expected: str) -> Iterator[None]:
    """Name the file that is not what it should be.

    Raises:
        ReleaseError: in place of what tells that.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise ReleaseError(str(path), "does not exist", expected) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise ReleaseError(str(path), f"cannot be read ({error})", expected) from error


def check_release(folder: str, did: str, found: Any, expected: str) -> None:
    """Refuse a run or an audit of another release, by the hash of its manifest.

    Raises:
        ReleaseError: it is.
    """
    if found != expected:
        raise ReleaseError(folder, f"{did} another release, of manifest {str(found)[:16]}",
                           f"{expected[:16]}, which is reported")  # fmt: skip
