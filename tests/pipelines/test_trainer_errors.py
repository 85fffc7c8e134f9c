"""What a trainer that fails says, and what it leaves behind."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_train import drawn_samples, write_release

from fairshard.pipelines import train
from fairshard.pipelines._trainer_errors import out_of_memory, trainer_failed
from fairshard.schemas.errors import StageError
from fairshard.schemas.train_config import TrainConfig

NO_NUMBERS = TrainConfig(epochs=1, batch_size=16, lr=1e30, warmup=0)


@pytest.mark.parametrize(
    ("code", "said", "log", "message"),
    [
        (1, "MemoryError: ", "", r"train: there was not enough memory \(MemoryError:\)\. Lower batch_size"),
        (1, "OutOfMemoryError: CUDA out of memory. Tried to", "", "there was not enough memory"),
        (-6, "", "terminate called\n  what():  std::bad_alloc", r"not enough memory \(what\(\):  std::bad_alloc\)"),
        (-signal.SIGKILL, "", "Epoch 1", "train: the trainer was killed, as a system does that is out of memory"),
        (
            1,
            "RuntimeError: [enforce fail at c.cc:6] . unexpected pos 7 vs 6",
            "",
            "run: there is no room left on the disk. Free",
        ),
        (1, "OSError: [Errno 28] No space left on device", "", "run: there is no room left on the disk"),
        (1, "FloatingPointError: loss became nan", "", "the trainer ended with 1: loss became nan. See log$"),
        (
            1,
            "UnpicklingError: torn",
            "",
            "run/checkpoints: cannot be gone on from .*torn.*; expected checkpoints of this",
        ),
        (1, "ValueError: odd", "", "the trainer ended with 1: ValueError: odd. See log; running again goes on"),
        (2, "", "first\nImportError: no", "the trainer ended with 2: ImportError: no"),
        (2, "", "", "the trainer ended with 2: it did not say why"),
    ],
)
def test_words(code, said, log, message):
    assert re.search(message, str(trainer_failed(code, said, log, "run", "log")))


def test_memory_that_this_process_could_not_have():
    said = out_of_memory(
        RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you")
    )
    assert said and said.startswith("there was not enough memory (RuntimeError: [enforce fail")
    assert out_of_memory(MemoryError()) and out_of_memory(ValueError("odd")) is None


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Path:
    """The folder of a release, and of a run whose loss became no number."""
    pytest.importorskip("open_clip_train", reason="needs the extra [train]")
    folder = tmp_path_factory.mktemp("stopped")
    write_release(folder / "release", drawn_samples(60))
    with pytest.raises(StageError, match=r"became (nan|inf) in epoch 1: lower "):
        train.run(folder / "release", folder / "run", NO_NUMBERS)
    return folder


def test_a_loss_that_is_no_number_publishes_nothing(stopped):
    left = {path.name for path in (stopped / "run").iterdir()}
    assert not left & {"model.safetensors", "README.md", "bom.cdx.json", "metrics.jsonl"}
    assert not [*(stopped / "run/checkpoints").iterdir()]
    assert '"status": "running"' in (stopped / "run/run.json").read_text()


def test_a_checkpoint_of_another_architecture_is_named_and_left_alone(stopped, tmp_path):
    import torch

    shutil.copytree(stopped / "run", tmp_path / "run")
    checkpoint = tmp_path / "run/checkpoints/epoch_latest.pt"
    torch.save({"epoch": 1, "state_dict": {"visual.other": torch.zeros(1)}, "optimizer": {}}, checkpoint)
    before = checkpoint.read_bytes()
    with pytest.raises(
        StageError, match=r"run/checkpoints: cannot be gone on from \(.*loading state_dict.*Delete them"
    ):
        train.run(stopped / "release", tmp_path / "run", NO_NUMBERS)
    assert checkpoint.read_bytes() == before


def test_too_little_memory_is_said_and_leaves_no_model(stopped, tmp_path):
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (5 << 30, 5 << 30));"
        "from fairshard.pipelines import train; from fairshard.schemas.train_config import TrainConfig;"
        "train.run(sys.argv[1], sys.argv[2], TrainConfig(epochs=1, batch_size=16, image_size=3072))"
    )
    command = [sys.executable, "-c", code, str(stopped / "release"), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "train: there was not enough memory" in done.stderr and "Lower batch_size" in done.stderr
    assert not (tmp_path / "run/model.safetensors").exists()
