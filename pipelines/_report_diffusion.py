"""What the report shows of a diffusion run: its losses as a curve, and the samples of its last epoch."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

from ._diffusion_model import diffusion_record
from ._report_run import check_release, curve, epochs, some, told

_EPOCHS_LISTED = 12
_LARGEST_PX = 512


def generating(folder: str, manifest_sha256: str) -> dict[str, Any]:
    """A finished diffusion run: what and how long, ``curve`` (null without a finite loss), some ``epochs``, ``samples``.

    Raises:
        ReleaseError: no finished run of this trainer, one on another release, or files that `train` did not write.
    """
    record, path = diffusion_record(Path(folder)), Path(folder)
    check_release(folder, "was trained on", record["release"]["manifest_sha256"], manifest_sha256)
    with told(path / "metrics.jsonl", "the losses that train writes"):
        rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        listed = some(epochs(rows), _EPOCHS_LISTED)
        drawn = curve(rows, None)
    with told(path / "samples.jsonl", "the samples that train writes"):
        # Not splitlines(): a caption may hold what that takes for the end of a line.
        lines = (path / "samples.jsonl").read_text(encoding="utf-8").split("\n")
        samples = [_sample(json.loads(line)) for line in lines if line]
    with told(path / "run.json", "the record that train writes"):
        config = record["config"]
        return {
            "fingerprint": record["fingerprint"],
            "side": int(config["image_size"]),
            "guidance": float(config["guidance"]),
            "prediction": str(config["prediction"]).removesuffix("_prediction"),
            "initialised_from": record["model"]["initialised_from"],
            "parameters": int(record["model"]["parameters"]),
            "epochs_run": int(config["epochs"]),
            "samples": {name: int(record["samples"][name]) for name in ("trained", "held_out", "tested")},
            "canaries": int((record.get("canaries") or {}).get("planted", 0)),
            "curve": drawn,
            "epochs": listed,
            "drawn": samples,
        }


def _sample(row: dict[str, Any]) -> dict[str, str]:
    """A caption and its picture as a data URI; decoded first, so that nothing but a small PNG gets into the page."""
    data = base64.b64decode(row["png"], validate=True)
    with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
        if max(picture.size) > _LARGEST_PX:
            raise ValueError(f"a picture of {picture.width} x {picture.height}")
        picture.load()
    return {"caption": str(row["caption"]), "uri": f"data:image/png;base64,{base64.b64encode(data).decode()}"}
