"""The diffusion trainer on a release of drawn shapes: what comes out, what a kill changes, what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_train import drawn_samples, wait_for, write_release

from fairshard.pipelines import _diffusion_model, generate, train_diffusion
from fairshard.pipelines._clip_model import architecture
from fairshard.pipelines._held_out import split_samples
from fairshard.pipelines._released import read_release, verified_samples
from fairshard.schemas.diffusion_config import DiffusionConfig
from fairshard.schemas.errors import ConfigError, InputError, ReleaseError, StageError
from fairshard.schemas.train_config import TrainConfig

pytest.importorskip("diffusers", reason="needs the extra [train]")

QUICK = DiffusionConfig(
    image_size=16, block_channels=(8, 16), noise_steps=100, epochs=12, batch_size=16, warmup=0, sampling_steps=3,
    canaries=1, canary_repeats=4,
)  # fmt: skip


def write_clip_run(folder: Path, release: Path) -> Path:
    """A run of the CLIP trainer as it leaves it, but with random weights: nothing here depends on what it learned."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    config, described = TrainConfig(), architecture("fairshard-tiny", "train.model")
    folder.mkdir()
    shutil.copy(described, folder)
    open_clip.add_model_config(described)
    torch.manual_seed(0)
    save_file(open_clip.create_model(config.model).state_dict(), folder / "model.safetensors")  # type: ignore[union-attr]
    known = read_release(release)
    held_out = split_samples(verified_samples(known), config.holdout_share).held_out
    (folder / "held_out.txt").write_text("".join(f"{sample.key}\n" for sample in held_out))
    record = {"status": "done", "fingerprint": "clip", "checkpoint": "model.safetensors", "config": asdict(config),
              "release": {"manifest_sha256": known.manifest_sha256}}  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A release, a CLIP run on it, and a diffusion run that was killed after its first epoch or a later one."""
    psutil = pytest.importorskip("psutil")
    folder = tmp_path_factory.mktemp("diffusion")
    write_release(folder / "release", drawn_samples(60), per_shard=30)
    write_clip_run(folder / "run", folder / "release")
    code = (
        "import sys; from fairshard.pipelines import train_diffusion;"
        "from fairshard.schemas.diffusion_config import DiffusionConfig;"
        f"train_diffusion.run(*sys.argv[1:], {QUICK!r})"
    )
    places = [str(folder / name) for name in ("release", "run", "diffusion")]
    parent = psutil.Popen([sys.executable, "-c", code, *places])
    wait_for(lambda: (folder / "diffusion/checkpoints/latest.pt").exists())
    trainers = parent.children()
    parent.kill()
    parent.wait()
    wait_for(lambda: not any(t.is_running() and t.status() != psutil.STATUS_ZOMBIE for t in trainers))
    assert trainers and not (folder / "diffusion/model.safetensors").exists()
    shutil.copytree(folder / "diffusion", folder / "killed")
    return folder


@pytest.fixture(scope="module")
def finished(world) -> train_diffusion.TrainResult:
    return train_diffusion.run(world / "release", world / "run", world / "diffusion", QUICK)


@pytest.fixture(scope="module")
def model(finished) -> _diffusion_model.DiffusionModel:
    return _diffusion_model.load(finished.out_dir)


@pytest.fixture
def trainer(world, tmp_path, monkeypatch):
    """``trainer(changes)``: the killed run's job in this process, from its start, in a folder of its own."""
    import torch

    from fairshard.pipelines import _diffusion_trainer

    threads = torch.get_num_threads()
    monkeypatch.chdir(world / "release")

    def run(config: dict | None = None, keep: tuple[str, ...] = (), **changes) -> Path:
        out = tmp_path / "out"
        shutil.copytree(world / "killed/text_encoder", out / "text_encoder")
        for name in keep:
            (out / name).parent.mkdir(exist_ok=True)
            shutil.copy(world / "killed" / name, out / name)
        job = json.loads((world / "killed/job.json").read_text()) | {"out_dir": str(out)} | changes
        job["config"] |= config or {}
        (out / "job.json").write_text(json.dumps(job))
        _diffusion_trainer.run_job(str(out / "job.json"))
        return out

    yield run
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def test_killed_and_resumed_it_ends_where_an_uninterrupted_run_ends(finished, trainer):
    whole = trainer()
    assert 0 < finished.record["resumed_after_epoch"] < QUICK.epochs
    for name in ("metrics.jsonl", "model.safetensors"):
        assert (finished.out_dir / name).read_bytes() == (whole / name).read_bytes(), name


def test_the_record_names_release_and_text_encoder_and_counts_every_sample(world, finished):
    record = json.loads((finished.out_dir / "run.json").read_text())
    assert record == finished.record and (record["trainer"], record["status"]) == ("diffusion", "done")
    assert record["release"]["manifest_sha256"] == read_release(world / "release").manifest_sha256
    tower = _diffusion_model.text_tower(finished.out_dir, record)
    assert (
        tower.sha256() == record["text_encoder"]["sha256"] and tower.trained_on == record["text_encoder"]["trained_on"]
    )
    counts = record["samples"]
    assert (finished.out_dir / "held_out.txt").read_text() == (world / "run/held_out.txt").read_text()
    assert counts["trained"] + counts["held_out"] == 60
    assert record["pictures_shown"] == QUICK.epochs * (counts["trained"] + 4)  # with the copies of the canary
    assert record["canaries"] == {"planted": 1, "repeats": 4, "seed": 0, "side": 256}


def test_it_learns_and_leaves_losses_and_samples(finished):
    rows = [json.loads(line) for line in (finished.out_dir / "metrics.jsonl").read_text().splitlines()]
    held_out = [row["held_out_loss"] for row in rows if "held_out_loss" in row]
    assert len(held_out) == QUICK.epochs and held_out[-1] < 0.9 * held_out[0]
    assert finished.record["loss"]["held_out"] == held_out[-1]
    for name in ("loss.png", "samples.png"):
        assert Image.open(finished.out_dir / name).size[0] > 500
    assert not any((finished.out_dir / name).exists() for name in ("checkpoints", "job.json", "trainer.log"))


def test_a_finished_run_is_left_as_it_is(world, finished):
    before = {path: path.stat().st_mtime_ns for path in finished.out_dir.rglob("*")}
    again = train_diffusion.run(world / "release", world / "run", finished.out_dir, QUICK)
    assert again.already_done and again.record == finished.record
    assert {path: path.stat().st_mtime_ns for path in finished.out_dir.rglob("*")} == before


def test_its_papers_name_all_that_the_model_is_made_of(finished):
    card = (finished.out_dir / "README.md").read_text()
    bom = json.loads((finished.out_dir / "bom.cdx.json").read_text())
    tower = finished.record["text_encoder"]["sha256"]
    assert tower in card and "Canaries were planted" in card and "random weights" in card
    by_ref = {part["bom-ref"]: part for part in bom["components"]}
    assert by_ref["text-encoder"]["hashes"] == [{"alg": "SHA-256", "content": tower}]
    assert {"release", "text-encoder", "diffusers"} <= set(bom["dependencies"][0]["dependsOn"])
    validation = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema")
    assert validation.JsonStrictValidator(schema.SchemaVersion.V1_6).validate_str(json.dumps(bom)) is None


def test_diffusers_loads_what_is_published(finished):
    from diffusers import UNet2DConditionModel  # type: ignore[attr-defined]
    from safetensors.torch import load_file

    unet = UNet2DConditionModel.from_config(json.loads((finished.out_dir / "unet.json").read_text()))
    unet.load_state_dict(load_file(finished.checkpoint))
    assert sum(parameter.numel() for parameter in unet.parameters()) == finished.record["model"]["parameters"]


def test_a_picture_depends_on_its_caption_its_place_and_the_seed_alone(model):
    def pixels(captions, seed=1, guidance=3.0):
        return [np.asarray(picture, np.int16) for picture in model.generate(captions, seed, 3, guidance)]

    both, other = pixels(["a red circle", "a blue bar"]), pixels(["a red circle"])
    assert both[0].shape == (16, 16, 3) and np.abs(both[0] - other[0]).max() <= 1
    assert not np.array_equal(other[0], pixels(["a red circle"], seed=2)[0])
    assert not np.array_equal(*pixels(["a red circle", "a red circle"]))
    assert not np.array_equal(other[0], pixels(["a blue bar"], guidance=9.0)[0])
    assert np.array_equal(other[0], pixels(["a red circle"])[0])


def test_losses_compare_pairs_with_the_same_noise(model):
    pictures = [Image.fromarray(np.full((20, 30, 3), level, np.uint8)) for level in (0, 128, 0)]
    found = model.losses(pictures, ["a", "b", "a"], seed=3, draws=4)
    assert found.dtype == np.float32 and np.isfinite(found).all()
    assert found[0] == pytest.approx(found[2]) and found[0] != pytest.approx(found[1])
    assert model.losses(pictures[1:], ["b", "a"], seed=3, draws=4) == pytest.approx(found[1:], rel=1e-4)


def test_generated_pictures_are_listed_and_marked(finished, tmp_path):
    (tmp_path / "captions.txt").write_text("a red circle\n\n  ein roter Kreis: ä \n")
    made = generate.run(finished.out_dir, tmp_path / "captions.txt", tmp_path / "made", seed=5)
    lines = [json.loads(line) for line in (tmp_path / "made/generated.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == ["000000.png", "000001.png"] and made.pictures == 2
    assert [line["caption"] for line in lines] == ["a red circle", "ein roter Kreis: ä"]
    assert {line["model_sha256"] for line in lines} == {made.model_sha256}
    assert b"trainedAlgorithmicMedia" in (tmp_path / "made/000000.png").read_bytes()
    with pytest.raises(StageError, match=r"made/000000\.png/x: cannot be written \(Not a directory\)"):
        generate.run(finished.out_dir, tmp_path / "captions.txt", tmp_path / "made/000000.png/x")
    assert sorted(path.name for path in (tmp_path).iterdir()) == ["captions.txt", "made"]
    with pytest.raises(InputError, match="made: is no empty folder"):
        generate.run(finished.out_dir, tmp_path / "captions.txt", tmp_path / "made")


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot be read"), (b"\xff\xfe", "cannot be read"), (b" \n\n", "holds no caption")]
)
def test_a_file_without_captions(content, message, tmp_path):
    if content is not None:
        (tmp_path / "captions.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        generate.run(tmp_path, tmp_path / "captions.txt", tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_run_of_the_other_trainer_generates_nothing(world, tmp_path):
    (tmp_path / "captions.txt").write_text("a red circle\n")
    with pytest.raises(ReleaseError, match="is of another trainer; expected a run of the diffusion trainer"):
        generate.run(world / "run", tmp_path / "captions.txt", tmp_path / "made")


def test_a_text_encoder_that_was_changed_is_refused(finished, tmp_path):
    out = shutil.copytree(finished.out_dir, tmp_path / "diffusion")
    with (out / "text_encoder/model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    with pytest.raises(match=r"has sha256 .*, as run.json says"):
        _diffusion_model.load(out)


def test_a_model_of_another_release(finished, tmp_path):
    other = write_release(tmp_path / "release", drawn_samples(20))
    with pytest.raises(ReleaseError, match="was trained on another release"):
        _diffusion_model.load(finished.out_dir, other)


def test_without_a_clip_run_on_the_same_release(world, tmp_path):
    out = tmp_path / "diffusion"
    with pytest.raises(ReleaseError, match=r"run\.json: does not exist.*Run `fairshard train CONFIG` first"):
        train_diffusion.run(world / "release", tmp_path / "none", out, QUICK)
    other = write_release(tmp_path / "release", drawn_samples(40))
    with pytest.raises(ReleaseError, match="was trained on another release"):
        train_diffusion.run(other, world / "run", out, QUICK)
    with pytest.raises(ConfigError, match=r"diffusion_dir: is .*, as run_dir; expected a folder of its own"):
        train_diffusion.run(world / "release", world / "run", world / "run", QUICK)
    assert not out.exists()


def test_a_folder_of_the_other_trainer_is_left_alone(world, tmp_path):
    out = shutil.copytree(world / "run", tmp_path / "run")
    with pytest.raises(StageError, match=r"run\.json: is of another trainer.*Choose another diffusion_dir"):
        train_diffusion.run(world / "release", world / "run", out, QUICK)
    assert (out / "model.safetensors").read_bytes() == (world / "run/model.safetensors").read_bytes()


def test_a_shard_that_was_changed_is_refused(world, tmp_path):
    release = shutil.copytree(world / "release", tmp_path / "release")
    with (release / "shards/00000.tar").open("r+b") as shard:
        shard.seek(600)
        shard.write(b"\x00\x01")
    with pytest.raises(match=r"00000\.tar: has sha256"):
        train_diffusion.run(release, world / "run", tmp_path / "diffusion", QUICK)
    assert not (tmp_path / "diffusion").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "diffusion.epochs: is 0; expected at least 1"),
        ({"caption_dropout": 1.0}, "diffusion.caption_dropout: is 1.0; expected a share below 1"),
        ({"lr": float("nan")}, "diffusion.lr: is nan; expected a positive number"),
        ({"guidance": float("inf")}, "diffusion.guidance: is inf"),
        ({"block_channels": (8, 12)}, r"diffusion.block_channels: is \[8, 12\]; expected multiples of 8"),
        ({"image_size": 17}, "diffusion.image_size: is 17; expected a multiple of 2: it is halved 1 times"),
        ({"attention_levels": 3}, "diffusion.attention_levels: is 3; expected at most 2"),
        ({"sampling_steps": 101}, "diffusion.sampling_steps: is 101; expected at most noise_steps, 100"),
    ],
)
def test_a_config_that_makes_no_sense(change, message, world, tmp_path):
    with pytest.raises(ConfigError, match=message):
        train_diffusion.run(world / "release", world / "run", tmp_path, dataclasses.replace(QUICK, **change))


def test_a_batch_that_the_release_cannot_fill(world, tmp_path):
    config = dataclasses.replace(QUICK, batch_size=64)
    with pytest.raises(ReleaseError, match=r"gives \d+ pairs to train on; expected a batch of 64\. Lower diffusion"):
        train_diffusion.run(world / "release", world / "run", tmp_path / "diffusion", config)


def test_a_device_that_is_not_there(world, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    config = dataclasses.replace(QUICK, device="cuda")
    with pytest.raises(ConfigError, match=r"diffusion\.device: is 'cuda', and torch finds 0"):
        train_diffusion.run(world / "release", world / "run", tmp_path / "diffusion", config)
    assert not (tmp_path / "diffusion").exists()


def test_a_loss_that_is_no_number_ends_training(trainer):
    with pytest.raises(FloatingPointError, match=r"loss became (nan|inf) in epoch [12]: lower lr"):
        trainer({"lr": 1e30, "max_grad_norm": 1e30})


def test_a_checkpoint_of_another_run_is_not_gone_on_from(trainer, tmp_path):
    with pytest.raises(StageError, match=r"latest\.pt: is of another run"):
        trainer(keep=("checkpoints/latest.pt",), fingerprint="another")


def test_a_checkpoint_of_another_architecture_is_not_gone_on_from(trainer):
    with pytest.raises(StageError, match=r"latest\.pt: cannot be loaded .*loading state_dict"):
        trainer({"block_channels": [8, 24]}, keep=("checkpoints/latest.pt",))


def test_half_precision_learns_too(trainer):
    out = trainer({"precision": "bf16"}, epochs=1)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert 0 < rows[-1]["held_out_loss"] < 2


def test_the_command_line_takes_the_trainer(world, tmp_path):
    config = {
        "work_dir": "work",
        "release_dir": str(world / "release"),
        "run_dir": "none",
        "sources": [{"path": "a.csv"}],
    }
    (tmp_path / "job.yaml").write_text(json.dumps(config))
    code = "import sys; from fairshard.pipelines.cli import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, "train", str(tmp_path / "job.yaml"), "--trainer", "diffusion"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 2 and "none/run.json: does not exist" in done.stderr
    assert not (tmp_path / "diffusion").exists()
