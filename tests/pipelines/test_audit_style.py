"""Creators whose pictures a set resembles: one who made it is found, and nobody in pictures of nobody."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from fairshard.pipelines import audit
from fairshard.pipelines._audit_style import compared
from fairshard.pipelines._held_out import split_samples
from fairshard.pipelines._release import FORMAT
from fairshard.pipelines._released import read_release, verified_samples
from fairshard.pipelines.cli import main
from fairshard.schemas import policy
from fairshard.schemas.errors import InputError
from fairshard.schemas.release import OUTCOME, PUBLIC_TABLES, public
from fairshard.schemas.train_config import TrainConfig
from fairshard.udfs.centroids import centroids

HUES = {"Ada": (220, 60, 40), "Bo": (40, 160, 70), "Cy": (50, 70, 210), "Dee": (230, 200, 60)}
EACH = 12


def painted(hue: tuple[int, int, int], seed: int) -> bytes:
    """Patches about one colour."""
    noise = np.random.default_rng(seed).normal(0, 40, (6, 6, 3)) + hue
    buffer = io.BytesIO()
    Image.fromarray(noise.clip(0, 255).astype(np.uint8)).resize((64, 64)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A release of four creators who each keep to a colour, and a run of a model that nobody has trained."""
    open_clip = pytest.importorskip("open_clip", reason="needs the extra [train]")
    import torch
    from safetensors.torch import save_file
    from test_train import write_release

    folder = tmp_path_factory.mktemp("style")
    creators = [name if n % 2 else f" {name.upper()} " for name in HUES for n in range(EACH)] + ["Eve"] * 3
    pictures = [painted(HUES.get(name.strip().title(), (128, 128, 128)), n) for n, name in enumerate(creators)]
    release = write_release(folder / "release", [
        {"png": data, "txt": b"a picture", "json": json.dumps({"pair_id": n}).encode()} for n, data in enumerate(pictures)
    ])  # fmt: skip
    tables(release, creators)
    torch.manual_seed(0)
    run, config = folder / "run", TrainConfig()
    run.mkdir()
    shutil.copy(Path(audit.__file__).parent / "model_configs" / f"{config.model}.json", run)
    open_clip.add_model_config(run / f"{config.model}.json")
    model = open_clip.create_model(config.model)
    model.eval()
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, run / "model.safetensors")
    found = read_release(release)
    held_out = split_samples(verified_samples(found), config.holdout_share).held_out
    (run / "held_out.txt").write_text("\n".join(sample.key for sample in held_out))
    stated = {"manifest_sha256": found.manifest_sha256}
    record = {"status": "done", "checkpoint": "model.safetensors", "release": stated,
              "config": dataclasses.asdict(config), "threads": 1}  # fmt: skip
    (run / "run.json").write_text(json.dumps(record))
    return folder


def tables(release: Path, creators: list[str]) -> None:
    """What `emit` writes beside the shards, as far as it matters."""
    for name in ("pairs", "tables"):
        (release / name).mkdir()
    for name in PUBLIC_TABLES:
        pq.write_table(public(name).empty_table(), release / "tables" / f"{name}-00000.parquet")
    rows = [{"pair_id": n, "key": f"{n:09d}", "creator": creator, "outcome": "released", "withheld": False}
            for n, creator in enumerate(creators)]  # fmt: skip
    schema = pa.schema([field.with_nullable(True) for field in OUTCOME])
    pq.write_table(pa.Table.from_pylist(rows, schema), release / "pairs" / "00000.parquet")
    rules = dataclasses.asdict(policy.load("strict", release))
    counts = {"rows": len(rows), "rejected": 0, "dropped": 0, "released": len(rows), "withheld": 0, "reasons": {}}
    files = json.loads((release / "manifest.json").read_text())["files"]
    manifest = {"format": FORMAT, "files": files, "policy": rules, "sources": [], "endpoints": [], "counts": counts}
    (release / "manifest.json").write_text(json.dumps(manifest, default=str))


def shown(folder: Path, pictures: list[bytes]) -> Path:
    folder.mkdir()
    for data in pictures:
        (folder / f"{hashlib.sha256(data).hexdigest()[:8]}.png").write_bytes(data)
    return folder


def test_the_creator_of_a_set_is_found(world, tmp_path):
    folder = shown(tmp_path / "new", [painted(HUES["Cy"], seed) for seed in range(1000, 1020)])
    (folder / "notes.txt").write_text("no picture")
    rows = audit.style(folder, str(world / "release"), world / "run")
    whole, first, *rest = rows
    assert whole["subject"] == "all" and whole["value"] > 0.9 > 0.5 > whole["threshold"] and not whole["finding"]
    assert first["finding"] and first["value"] > 0.5 and first["subject"].lower() == "creator cy"
    assert [row["finding"] for row in rest] == [False] * len(rest)
    assert [row["value"] is None for row in rest if row["subject"] == "notes.txt"] == [True]
    assert sum(row["detail"].lower().startswith("nearest creators: cy") for row in rest) >= 16


def test_pictures_of_nobody_find_nobody(world, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (20, 6, 6, 3), np.uint8)
    folder = shown(tmp_path / "new", [])
    for n, picture in enumerate(noise):
        Image.fromarray(picture).resize((64, 64)).save(folder / f"{n}.png")
    rows = audit.style(folder, str(world / "release"), world / "run")
    assert len(rows) >= 21 and not any(row["finding"] for row in rows)


def test_the_command(world, tmp_path):
    folder = shown(tmp_path / "new", [painted(HUES["Bo"], seed) for seed in range(3000, 3020)])
    told = ["audit", "style", str(folder), "--release", str(world / "release"), "--model", str(world / "run")]
    found = CliRunner().invoke(main, told)
    assert found.exit_code == 1 and "of 22 with a finding" in found.output.splitlines()[-1], found.output
    assert "Likeness, not a finding of law" in found.output


def test_of_a_picture_alone_no_limit_is_told(world, tmp_path):
    folder = shown(tmp_path / "new", [painted(HUES["Cy"], 1000)])
    creator = audit.style(folder, str(world / "release"), world / "run")[1]
    assert (creator["value"], creator["threshold"], creator["finding"]) == (1, None, False)
    assert "nearest of all creators to 1 of 1 pictures" in creator["detail"]
    assert "so few pictures tell nothing" in creator["detail"]


def test_too_few_creators_and_no_pictures(world, tmp_path):
    folder = shown(tmp_path / "new", [painted(HUES["Bo"], 1)])
    with pytest.raises(InputError, match="has 0 creators with 13 pictures"):
        audit.style(folder, str(world / "release"), world / "run", 13)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="holds 1 files, and none is a picture"):
        audit.style(tmp_path / "none", str(world / "release"), world / "run")


@pytest.mark.parametrize("seed", range(20))
def test_vectors_of_nobody_stand_out_for_nobody(seed):
    vectors = np.random.default_rng(seed).normal(size=(700, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    by = centroids(vectors[:500], np.arange(500) % 10)
    files = [f"{n}.png" for n in range(200)]
    rows = compared(dict(zip(files, vectors[500:], strict=True)), files, [f"creator {n}" for n in range(10)], by)
    assert len(rows) >= 205 and not any(row["finding"] for row in rows)
