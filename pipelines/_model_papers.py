"""What goes with a model: its card (``README.md``) and its bill of materials (``bom.cdx.json``, CycloneDX 1.6).

Both are filled from the record of the run and the manifest of the release, so nothing in them is anybody's opinion. The
card needs jinja2, which the extra [train] brings.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

from ._markdown import render

CARD, BOM = "README.md", "bom.cdx.json"
_RELEASE, _MODEL, _TOWER = "release", "model", "text-encoder"
_TEMPLATES = {"clip": "model_card.md.j2", "diffusion": "diffusion_card.md.j2"}


def write(folder: Path, record: dict[str, Any], manifest: dict[str, Any]) -> None:
    """Write both into the folder of a run, beside its weights.

    Args:
        folder: of the run.
        record: run.json of a finished run.
        manifest: of the release it was trained on.
    """
    weights = hashlib.sha256((folder / record["checkpoint"]).read_bytes()).hexdigest()
    about = _about(manifest)
    (folder / CARD).write_text(
        render(_TEMPLATES[_trainer(record)], record=record, about=about, weights=weights), "utf-8"
    )
    (folder / BOM).write_text(json.dumps(bom(record, about, weights), indent=2, ensure_ascii=False) + "\n", "utf-8")


def _about(manifest: dict[str, Any]) -> dict[str, str]:
    """What the manifest calls the release; releases of others may lack all of it."""
    policy = manifest.get("policy")
    return {
        "title": str(manifest.get("title", "a release without a title")),
        "policy": str(policy.get("name")) if isinstance(policy, dict) else "not stated",
        "merkle_root": str(manifest.get("merkle_root", "none")),
    }


def _trainer(record: dict[str, Any]) -> str:
    return record.get("trainer", "clip")


def bom(record: dict[str, Any], about: dict[str, str], weights: str) -> dict[str, Any]:
    """The model, the release it was trained on and the code that trained it, each by hash or version.

    Source: CycloneDX 1.6, https://cyclonedx.org/docs/1.6/json/.
    """
    model, tower = (_diffusion, [_tower(record)]) if _trainer(record) == "diffusion" else (_clip, [])
    parts = [_RELEASE, *(part["bom-ref"] for part in tower), *sorted(record["versions"])]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, weights)}",
        "version": 1,
        "metadata": {"timestamp": record["finished_at"], "component": model(record, weights)},
        "components": [_release(record, about), *tower, *map(_library, sorted(record["versions"].items()))],
        "dependencies": [
            {"ref": _MODEL, "dependsOn": parts},
            *({"ref": part["bom-ref"], "dependsOn": [_RELEASE]} for part in tower),
        ],
    }


def _clip(record: dict[str, Any], weights: str) -> dict[str, Any]:
    metrics = [
        {"type": f"recall at {found['k']}, {direction}", "value": f"{found['value']:.4f}", "slice": "held-out pairs",
         "confidenceInterval": {"lowerBound": f"{found['low']:.4f}", "upperBound": f"{found['high']:.4f}"}}
        for direction, scores in record["retrieval"].items() for found in scores["recall"]
    ]  # fmt: skip
    name = record["config"]["model"]
    return _model(record, name, weights, "self-supervised", "contrastive image-text embedding", metrics)


def _diffusion(record: dict[str, Any], weights: str) -> dict[str, Any]:
    metrics = [{"type": f"mean squared error of {record['loss']['of']}", "value": f"{record['loss']['held_out']:.4f}",
                "slice": "held-out pairs"}]  # fmt: skip
    name = f"fairshard-diffusion-{record['config']['image_size']}"
    return _model(record, name, weights, "supervised", "text-to-image generation", metrics)


def _model(
    record: dict[str, Any], name: str, weights: str, approach: str, task: str, metrics: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": name,
        "version": weights[:16],
        "hashes": [_sha256(weights)],
        "modelCard": {
            "modelParameters": {
                "approach": {"type": approach},
                "task": task,
                "modelArchitecture": record["model"]["architecture"],
                "datasets": [{"ref": _RELEASE}],
            },
            "quantitativeAnalysis": {"performanceMetrics": metrics},
        },
        "properties": [
            {"name": "fairshard:initialised_from", "value": record["model"]["initialised_from"]},
            {"name": "fairshard:parameters", "value": str(record["model"]["parameters"])},
            {"name": "fairshard:seed", "value": str(record["config"]["seed"])},
            {"name": "fairshard:canaries", "value": str((record.get("canaries") or {}).get("planted", 0))},
        ],
    }


def _tower(record: dict[str, Any]) -> dict[str, Any]:
    """What reads the captions of a diffusion model."""
    said = record["text_encoder"]
    return {
        "type": "machine-learning-model",
        "bom-ref": _TOWER,
        "name": Path(said["architecture"]).stem,
        "version": said["sha256"][:16],
        "hashes": [_sha256(said["sha256"])],
        "modelCard": {"modelParameters": {"task": "contrastive image-text embedding", "datasets": [{"ref": _RELEASE}]}},
        "properties": [{"name": "fairshard:canaries", "value": str(said["canaries"])}],
    }


def _release(record: dict[str, Any], about: dict[str, str]) -> dict[str, Any]:
    sha256 = record["release"]["manifest_sha256"]
    return {
        "type": "data",
        "bom-ref": _RELEASE,
        "name": about["title"],
        "version": sha256[:16],
        "hashes": [_sha256(sha256)],
        "data": [{"type": "dataset", "name": "image-text pairs trained on",
                  "contents": {"properties": [{"name": "fairshard:pairs", "value": str(record["samples"]["trained"])}]}}],
        "properties": [
            {"name": "fairshard:policy", "value": about["policy"]},
            {"name": "fairshard:merkle_root", "value": about["merkle_root"]},
        ],
    }  # fmt: skip


def _library(versioned: tuple[str, str]) -> dict[str, Any]:
    name, version = versioned
    if name == "python":
        return {"type": "platform", "bom-ref": name, "name": "CPython", "version": version}
    purl = f"pkg:pypi/{name.replace('_', '-')}@{version}"
    return {"type": "library", "bom-ref": name, "name": name, "version": version, "purl": purl}


def _sha256(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest}
