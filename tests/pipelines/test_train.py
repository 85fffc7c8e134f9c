"""Training on a release of drawn shapes: what is trained on, what comes out, what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import math
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image, ImageDraw

from fairshard.pipelines import _markdown, _model_papers, train
from fairshard.schemas.errors import ConfigError, MissingExtra, ReleaseError, StageError
from fairshard.schemas.train_config import Augmentation, TrainConfig

pytest.importorskip("open_clip_train", reason="needs the extra [train]")

COLOURS = ("red", "green", "blue", "orange", "black", "purple")
SHAPES = ("circle", "square", "bar", "stripe")
QUICK = TrainConfig(epochs=8, batch_size=32)
ALL_OPTIONS = TrainConfig(
    epochs=3, batch_size=32, augmentation=Augmentation(scale=(0.6, 1.0), color_jitter_prob=0.5, gray_scale_prob=0.1),
    caption_dropout=0.3, self_supervision=0.5, grad_clip_norm=1.0,
)  # fmt: skip


def shape_picture(n: int) -> tuple[bytes, str]:
    colour, shape = COLOURS[n % 6], SHAPES[n // 6 % 4]
    picture, at = Image.new("RGB", (96, 96), "white"), 4 + n * 7 % 24
    box = {"circle": (at, at, at + 56, at + 56), "square": (at, at, at + 56, at + 56),
           "bar": (at, 0, at + 24, 95), "stripe": (0, at, 95, at + 24)}[shape]  # fmt: skip
    pen = ImageDraw.Draw(picture)
    (pen.ellipse if shape == "circle" else pen.rectangle)(box, fill=colour)
    picture.putpixel((0, 0), (n % 256, n // 256, 0))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue(), f"a {colour} {shape}"


def write_release(folder: Path, samples: list[dict[str, bytes]], per_shard: int = 100) -> Path:
    """Shards of the given files by ending, and their manifest."""
    (folder / "shards").mkdir(parents=True)
    for start in range(0, len(samples), per_shard):
        with tarfile.open(folder / f"shards/{start // per_shard:05d}.tar", "w") as tar:
            for n, files in enumerate(samples[start : start + per_shard], start):
                for suffix, content in files.items():
                    member = tarfile.TarInfo(f"{n:09d}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return write_manifest(folder)


def write_manifest(folder: Path) -> Path:
    files = {
        f"shards/{path.name}": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
        for path in sorted(folder.glob("shards/*.tar"))
    }
    (folder / "manifest.json").write_text(json.dumps({"files": files}))
    return folder


def drawn_samples(n: int = 200) -> list[dict[str, bytes]]:
    drawn = [shape_picture(i) for i in range(n)]
    return [
        {"png": picture, "txt": caption.encode(), "json": json.dumps({"pair_id": i}).encode()}
        for i, (picture, caption) in enumerate(drawn)
    ]


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return write_release(tmp_path_factory.mktemp("train") / "release", drawn_samples())


@pytest.fixture(scope="module")
def finished(release) -> train.TrainResult:
    return train.run(release, release.parent / "run", QUICK)


@pytest.fixture(scope="module")
def with_options(release) -> train.TrainResult:
    return train.run(release, release.parent / "with_options", ALL_OPTIONS)


def test_the_record_names_the_release_and_counts_every_sample(release, finished):
    record = json.loads((finished.out_dir / "run.json").read_text())
    assert record == finished.record
    assert record["release"]["manifest_sha256"] == hashlib.sha256((release / "manifest.json").read_bytes()).hexdigest()
    counts = record["samples"]
    held_out = (finished.out_dir / "held_out.txt").read_text().split()
    assert (counts["released"], counts["held_out"]) == (200, len(held_out))
    assert counts["trained"] == 200 - len(held_out) == sum(shard["trained"] for shard in record["release"]["shards"])
    shared = record["shared_by_trained_and_tested"]
    assert (shared["keys"], shared["pairs"], shared["pictures"]) == (0, 0, 0)
    assert record["pictures_per_s"] > 0


def test_held_out_retrieval_is_beyond_chance(finished):
    for direction in train.DIRECTIONS:
        at_five = finished.record["retrieval"][direction]["recall"][1]
        assert at_five["low"] > at_five["chance"] and at_five["p_value"] < 0.01


def test_the_checkpoint_loads_in_open_clip(finished):
    import open_clip
    import torch

    open_clip.add_model_config(finished.out_dir / "fairshard-tiny.json")
    model, _, transform = open_clip.create_model_and_transforms("fairshard-tiny", pretrained=str(finished.checkpoint))
    model.eval()
    pictures = [transform(Image.open(io.BytesIO(shape_picture(n)[0]))) for n in range(24)]
    captions = [shape_picture(n)[1] for n in range(24)]
    with torch.inference_mode():
        texts = model.encode_text(open_clip.get_tokenizer("fairshard-tiny")(captions), normalize=True)
        scores = model.encode_image(torch.stack(pictures), normalize=True) @ texts.T
    assert sum(n in scores[n].topk(5).indices for n in range(24)) > 12


def test_the_folder_holds_the_losses_and_their_picture(finished):
    rows = [json.loads(line) for line in (finished.out_dir / "metrics.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in rows if "loss" in row]
    assert steps == list(range(len(steps))) and len(steps) == 8 * -(-finished.record["samples"]["trained"] // 32)
    assert [row["epoch"] for row in rows if "held_out_loss" in row] == list(range(1, 9))
    assert rows[0]["loss"] > finished.record["loss"]["last_epoch"]
    for name in ("loss.png", "retrieval.png"):
        assert Image.open(finished.out_dir / name).size[0] > 500


def test_a_finished_run_is_left_as_it_is(release, finished):
    before = {path: path.stat().st_mtime_ns for path in finished.out_dir.rglob("*")}
    again = train.run(release, finished.out_dir, QUICK)
    assert again.already_done and again.record == finished.record
    assert {path: path.stat().st_mtime_ns for path in finished.out_dir.rglob("*")} == before


def test_killed_and_resumed_it_ends_where_an_uninterrupted_run_ends(release, with_options, tmp_path):
    psutil = pytest.importorskip("psutil")
    whole, config, out = with_options, ALL_OPTIONS, tmp_path / "run"
    # It starts as the folder of a run on another release, which must not be built upon.
    shutil.copytree(whole.out_dir, out)
    (out / "run.json").write_text(json.dumps({**whole.record, "fingerprint": "another"}))
    code = (
        "import sys; from fairshard.pipelines import train;"
        "from fairshard.schemas.train_config import Augmentation, TrainConfig;"
        f"train.run(sys.argv[1], sys.argv[2], {config!r})"
    )
    parent = psutil.Popen([sys.executable, "-c", code, str(release), str(out)])
    wait_for(lambda: (out / "checkpoints/epoch_latest.pt").exists())
    trainers = parent.children()
    parent.kill()
    parent.wait()
    wait_for(lambda: not any(t.is_running() and t.status() != psutil.STATUS_ZOMBIE for t in trainers))
    assert trainers and not (out / f"checkpoints/epoch_{config.epochs}.pt").exists()
    resumed = train.run(release, out, config)
    assert 0 < resumed.record["resumed_after_epoch"] < config.epochs
    for name in ("metrics.jsonl", "model.safetensors"):
        assert (out / name).read_bytes() == (whole.out_dir / name).read_bytes(), name
    assert resumed.record["retrieval"] == whole.record["retrieval"]


def test_options_are_stated_and_leave_nothing_in_the_weights(with_options):
    safetensors = pytest.importorskip("safetensors")
    rows = [json.loads(line) for line in (with_options.out_dir / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "loss" in row]
    assert [row["step"] for row in steps] == list(range(15))
    assert all(row["self_supervision_loss"] > 0 for row in steps)
    with safetensors.safe_open(with_options.checkpoint, "pt") as weights:
        assert not any("self_supervision" in name for name in weights.keys())  # noqa: SIM118 not a mapping
    card = (with_options.out_dir / "README.md").read_text()
    assert "| augmentation: scale | " in card and "| caption_dropout | 0.3 |" in card


def test_two_processes_train_together_in_mixed_precision_on_accumulated_batches(release, tmp_path):
    config = TrainConfig(epochs=2, batch_size=16, processes=2, precision="amp_bf16", accum_freq=2, self_supervision=0.5)
    record = train.run(release, tmp_path / "run", config).record
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    steps = -(-record["samples"]["trained"] // (16 * 2)) // 2
    assert [row["step"] for row in rows if "loss" in row] == list(range(2 * steps))
    assert record["loss"]["guessing"] == pytest.approx(math.log(16 * 2 * 2))


def wait_for(condition) -> None:
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline, "gave up waiting"
        time.sleep(0.02)


def test_the_loader_passes_over_what_is_held_out(tmp_path, monkeypatch):
    import torch
    from open_clip_train import data, main

    from fairshard.pipelines import _clip_trainer

    samples = [{**files, "txt": str(n).encode()} for n, files in enumerate(drawn_samples(60))]
    monkeypatch.chdir(write_release(tmp_path / "release", samples, per_shard=30))
    for module, name in ((data, "get_wds_dataset"), (data, "filter_no_caption_or_no_image"), (data, "log_and_continue"),
                         (data, "tarfile_to_samples_nothrow"), (data.wds, "shuffle"), (main, "train_one_epoch"),
                         (main, "evaluate"), (main, "create_model_and_transforms")):  # fmt: skip
        monkeypatch.setattr(module, name, getattr(module, name))
    held_out = [f"{n:09d}" for n in range(10, 22)]
    job = SimpleNamespace(held_out=held_out, tested=held_out[:10], seed=0, canaries=0, caption_dropout=0.0,
                          self_supervision=0.0, device="cpu")  # fmt: skip
    _clip_trainer.adapt_open_clip(job, _clip_trainer.Journal(tmp_path / "metrics.jsonl"))  # type: ignore[arg-type]
    shards = "shards/00000.tar::shards/00001.tar"
    args = SimpleNamespace(train_data=shards, val_data=shards, train_num_samples=48, val_num_samples=10, batch_size=8,
                           workers=0, world_size=1, seed=0, train_data_upsampling_factors=None)  # fmt: skip

    def seen(is_train: bool) -> set[int]:
        number = lambda caption: torch.tensor([[int(caption)]])  # noqa: E731
        read = data.get_wds_dataset(args, lambda picture: torch.zeros(1), is_train, tokenizer=number)
        return {int(text) for _, texts in read.dataloader for text in texts[:, 0]}

    assert seen(is_train=True) == set(range(60)) - set(range(10, 22))
    assert seen(is_train=False) == set(range(10, 20))


def test_text_towers_of_others_begin_from_random_weights_too(monkeypatch):
    from open_clip_train import data, main

    from fairshard.pipelines import _clip_trainer

    for module, name in ((data, "get_wds_dataset"), (data, "log_and_continue"), (data, "tarfile_to_samples_nothrow"),
                         (data.wds, "shuffle"), (main, "train_one_epoch"), (main, "evaluate")):  # fmt: skip
        monkeypatch.setattr(module, name, getattr(module, name))
    # Their library is not there; open_clip would ask it for weights unless told not to.
    monkeypatch.setattr(main, "create_model_and_transforms", lambda *names, **asked: (names, asked))
    job = SimpleNamespace(held_out=[], tested=[], canaries=0, caption_dropout=0.0, self_supervision=0.0, device="cpu")
    _clip_trainer.adapt_open_clip(job, None)  # type: ignore[arg-type]
    made = main.create_model_and_transforms("roberta-ViT-B-32", "", output_dict=True)
    assert made == (("roberta-ViT-B-32", ""), {"pretrained_text": False, "output_dict": True})


def test_a_held_out_copy_of_a_trained_picture_is_not_tested():
    samples = [train.Sample("shards/00000.tar", str(n), str(n), "a shape", f"picture {n % 50}") for n in range(100)]
    split = train.split_samples(samples, 0.3)
    trained = {sample.picture_sha256 for sample in split.trained}
    assert split.copies > 0 and split.tested
    assert len(split.tested) + split.copies == len(split.held_out)
    assert not any(sample.picture_sha256 in trained for sample in split.tested)


def test_a_shard_that_was_changed_is_refused(tmp_path):
    folder = write_release(tmp_path / "release", drawn_samples(60))
    with (folder / "shards/00000.tar").open("r+b") as shard:
        shard.seek(600)
        shard.write(b"\x00\x01")
    with pytest.raises(match=r"00000\.tar: has sha256 .*; expected .* as manifest.json says"):
        train.run(folder, tmp_path / "run", QUICK)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda files: files["pairs.parquet"].update(sha256="0" * 64), r"pairs\.parquet: has sha256 .* as manifest"),
        (
            lambda files: files.update({"tables/x": {"sha256": "", "bytes": 0}}),
            r"tables/x: cannot be read \(No such file",
        ),
        (lambda files: files.update({"../x": {"sha256": "", "bytes": 0}}), r"manifest\.json: lists '\.\./x'"),
    ],
)
def test_a_release_is_trained_on_only_if_all_of_it_verifies(edit, message, tmp_path):
    folder = write_release(tmp_path / "release", drawn_samples(60))
    (folder / "pairs.parquet").write_bytes(b"rows")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["pairs.parquet"] = {"sha256": hashlib.sha256(b"rows").hexdigest(), "bytes": 4}
    edit(manifest["files"])
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ReleaseError, match=message):
        train.run(folder, tmp_path / "run", QUICK)
    (folder / "manifest.json").write_text(json.dumps(manifest | {"merkle_root": "00"}))
    with pytest.raises(ReleaseError, match="merkle_root: 00; expected that of its files"):
        train.run(folder, tmp_path / "run", QUICK)
    assert not (tmp_path / "run").exists()


def test_a_shard_that_is_missing_is_refused(tmp_path):
    folder = write_release(tmp_path / "release", drawn_samples(60), per_shard=30)
    (folder / "shards/00001.tar").unlink()
    with pytest.raises(match=r"00001\.tar: cannot be read"):
        train.run(folder, tmp_path / "run", QUICK)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (None, "cannot be read"),
        (b"{", "is not JSON"),
        (b"[]", "has no 'files'"),
        (b'{"files": {"README.md": {"sha256": ""}}}', "lists no shard"),
        (b'{"files": {"shards/../../other.tar": {"sha256": ""}}}', "lists no shard"),
        (b'{"files": {"shards/00000.tar": {}}}', "gives no sha256 of shards/00000.tar"),
    ],
)
def test_not_a_release(manifest, message, tmp_path):
    if manifest is not None:
        (tmp_path / "manifest.json").write_bytes(manifest)
    with pytest.raises(ReleaseError, match=message):
        train.run(tmp_path, tmp_path / "run", QUICK)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (drawn_samples(30), r"gives a worker \d+ pairs to train on; expected a batch of 32"),
        ([{**files, "txt": b"the same"} for files in drawn_samples(60)], "held-out pairs to test on"),
        ([{"png": b"", "json": b"{}"}], "holds json, png; expected a picture and a .txt caption"),
        ([{"png": b"", "txt": b"\xff"}], "cannot be read"),
    ],
)
def test_a_release_that_cannot_be_trained_on(samples, message, tmp_path):
    with pytest.raises(ReleaseError, match=message):
        train.run(write_release(tmp_path / "release", samples), tmp_path / "run", QUICK)


def test_a_key_that_comes_twice(tmp_path):
    folder = write_release(tmp_path / "release", drawn_samples(40))
    shutil.copy(folder / "shards/00000.tar", folder / "shards/00001.tar")
    with pytest.raises(ReleaseError, match="holds the key '000000000' twice"):
        train.run(write_manifest(folder), tmp_path / "run", QUICK)


def test_a_picture_that_cannot_be_read_stops_the_run(tmp_path):
    samples = drawn_samples(60)
    samples[5]["png"] = b"not a picture"
    with pytest.raises(StageError, match=r"the trainer ended with 1: .*000000005\.png"):
        train.run(write_release(tmp_path / "release", samples), tmp_path / "run", QUICK)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "fairshard-tinny"}, "Did you mean 'fairshard-tiny'"),
        ({"epochs": 0}, "train.epochs: is 0; expected at least 1"),
        ({"holdout_share": 1.0}, "train.holdout_share: is 1.0; expected a share between 0 and 1"),
        ({"lr": float("nan")}, "train.lr: is nan; expected a positive number"),
        ({"workers": 3}, "train.workers: is 3; expected at most 2, one a shard"),
        ({"processes": 2, "workers": 2}, "train.processes times train.workers: is 4; expected at most 2, one a shard"),
        ({"caption_dropout": 1.0}, "train.caption_dropout: is 1.0; expected a share below 1"),
        (
            {"augmentation": Augmentation(scale=(0.9, 0.5))},
            r"train.augmentation.scale: is \[0.9, 0.5\]; expected two shares",
        ),
        ({"augmentation": Augmentation(color_jitter=(1.0,))}, "train.augmentation.color_jitter: .* four numbers"),
        (
            {"augmentation": Augmentation(gray_scale_prob=2)},
            "train.augmentation.gray_scale_prob: is 2; expected a share",
        ),
        ({"precision": "amp"}, "train.precision: is amp, on the CPU; expected fp32, bf16 or amp_bf16"),
        ({"device": "warp"}, "train.device: is 'warp', which torch does not know"),
        ({"device": "cuda:64"}, "train.device: is 'cuda:64', and torch finds .*Set train.device: cpu"),
    ],
)
def test_a_config_that_makes_no_sense(change, message, release, tmp_path):
    with pytest.raises(ConfigError, match=message):
        train.run(release, tmp_path / "run", TrainConfig(**change))


def test_a_folder_with_other_checkpoints_is_not_touched(release, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(StageError, match="holds checkpoints but no run"):
        train.run(release, tmp_path, QUICK)


def test_a_missing_extra_is_named(release, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "find_spec", lambda module: None)
    with pytest.raises(MissingExtra, match=r"train: needs the extra \[train\]"):
        train.run(release, tmp_path / "run", QUICK)


def test_importing_the_stage_loads_no_torch():
    code = "import sys, fairshard.pipelines.train; sys.exit(bool({'torch', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestJournal:
    def test_epochs_past_the_checkpoint_are_said_anew(self, tmp_path):
        from fairshard.pipelines._clip_trainer import Journal

        journal = Journal(tmp_path / "metrics.jsonl")
        for epoch in (1, 2):
            journal.add(epoch, epoch * 10, "loss", epoch)
        journal.write()
        later = Journal(tmp_path / "metrics.jsonl")
        later.begin(2)
        later.add(2, 20, "loss", 0.5)
        later.write()
        rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        assert rows == [{"epoch": 1, "step": 10, "loss": 1}, {"epoch": 2, "step": 20, "loss": 0.5}]

    def test_a_loss_that_is_no_number_stops_the_run(self, tmp_path):
        from fairshard.pipelines._clip_trainer import Journal

        with pytest.raises(FloatingPointError, match=r"loss became nan in epoch 3: lower lr"):
            Journal(tmp_path / "metrics.jsonl").add(3, 7, "loss", float("nan"))


def test_the_weights_say_what_they_were_trained_on_and_hold_no_code(finished):
    safetensors = pytest.importorskip("safetensors")
    with safetensors.safe_open(finished.checkpoint, "pt") as weights:
        assert weights.metadata()["release_manifest_sha256"] == finished.record["release"]["manifest_sha256"]
    assert not (finished.out_dir / "checkpoints").exists()


def test_the_bill_of_materials_is_one_and_names_release_weights_and_code(finished):
    validation = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema")
    text = (finished.out_dir / "bom.cdx.json").read_text()
    assert validation.JsonStrictValidator(schema.SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    model, (release, *code) = bom["metadata"]["component"], bom["components"]
    assert model["hashes"][0]["content"] == hashlib.sha256(finished.checkpoint.read_bytes()).hexdigest()
    assert release["hashes"][0]["content"] == finished.record["release"]["manifest_sha256"]
    assert {"name": "open_clip_torch", "version": finished.record["versions"]["open_clip_torch"]}.items() <= next(
        each for each in code if each["name"] == "open_clip_torch"
    ).items()


def test_the_model_card_is_filled_from_the_record(finished):
    card = (finished.out_dir / "README.md").read_text()
    samples = finished.record["samples"]
    assert finished.record["release"]["manifest_sha256"] in card
    assert f"| trained on | {samples['trained']:,} |" in card
    assert f"| held out, by hash of the pair's id | {samples['held_out']:,} |" in card


def test_a_title_from_outside_breaks_out_of_nothing():
    record = {"config": {"model": "m", "seed": 0}, "versions": {}, "retrieval": {}, "finished_at": "2026-01-01T00:00:00+00:00",
              "model": {"architecture": "m.json", "initialised_from": "random weights", "parameters": 1},
              "release": {"manifest_sha256": "ab" * 32}, "samples": {"trained": 1}}  # fmt: skip
    about = _model_papers._about({"title": "<script>| `x` |", "policy": "none at all"})
    assert about["policy"] == "not stated"
    assert _markdown.cell(about["title"]) == "&lt;script&gt;\\| \\`x\\` \\|"
    assert _model_papers.bom(record, about, "cd" * 32)["components"][0]["name"] == "<script>| `x` |"
