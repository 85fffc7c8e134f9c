"""Pictures against a release by a copy-detection model: TorchScript, ONNX, and a run of train."""

from __future__ import annotations

import io
import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image
from test_audit import released_pictures

from fairshard.pipelines import _audit_copies, _copy_model, _release_vectors, audit
from fairshard.pipelines._picture_grid import Cell, grid
from fairshard.pipelines._release import Release
from fairshard.pipelines._release_vectors import nearest
from fairshard.pipelines.cli import main
from fairshard.schemas.errors import InputError, MissingExtra, ReleaseError, StageError
from fairshard.schemas.tables import AUDIT

torch = pytest.importorskip("torch", reason="needs the extra [train]")
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")


def torchscript(path, pool: int = 8) -> str:
    """A model that sees the mean colour of 8 times 8 tiles."""

    class Tiles(torch.nn.Module):
        def forward(self, pixels):
            return torch.nn.functional.adaptive_avg_pool2d(pixels, 8).flatten(1)

    torch.jit.trace(Tiles(), torch.zeros(1, 3, 64, 64)).save(str(path))
    return str(path)


def field(number: int, value: int | bytes | str) -> bytes:
    """A field of protobuf."""
    if isinstance(value, int):
        return bytes([number << 3 & 0x7F | (0x80 if number > 15 else 0)]) + (
            bytes([number >> 4]) if number > 15 else b"") + varint(value)  # fmt: skip
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def onnx(path, count: int | str = "n", side: int = 64, op: str = "AveragePool", more: int = 0) -> str:
    """The same model as ONNX: pools of side / 8, then flattened. https://github.com/onnx/onnx/blob/main/onnx/onnx.proto"""

    def values(name: str, *shape: int | str) -> bytes:
        dims = b"".join(field(1, field(1 if isinstance(size, int) else 2, size)) for size in shape)
        return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))

    def ints(name: str) -> bytes:
        return field(5, field(1, name) + field(8, side // 8) * 2 + field(20, 7))

    pool = field(1, "x") + field(2, "y") + field(4, op) + ints("kernel_shape") + ints("strides")
    flat = field(1, "y") + field(2, "z") + field(4, "Flatten")
    graph = field(1, pool) + field(1, flat) + field(2, "g") + field(11, values("x", count, 3, side, side))
    graph += b"".join(field(11, values(f"x{n}", 1)) for n in range(more))
    graph += field(12, values("z", count, 192))
    path.write_bytes(field(1, 8) + field(7, graph) + field(8, field(2, 13)))
    return str(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return torchscript(tmp_path_factory.mktemp("model") / "tiles.pt")


@pytest.fixture(scope="module")
def generated(sample, tmp_path_factory):
    """A copy, a copy that was painted over, noise, and what is no picture."""
    folder = tmp_path_factory.mktemp("generated")
    first, second = released_pictures(sample.release, 2)
    first.save(folder / "z_copy.png")
    painted = second.copy()
    painted.paste((255, 0, 0), (0, 0, second.width // 3, second.height // 2))
    painted.save(folder / "painted.png")
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    Image.fromarray(noise).resize((200, 200)).save(folder / "new.png")
    (folder / "notes.txt").write_text("no picture")
    (folder / "cut.png").write_bytes((folder / "z_copy.png").read_bytes()[:500])
    return folder


class TestAlike:
    def test_a_planted_copy_is_found_first_and_one_painted_over_is_found_too(self, sample, generated, model):
        rows = audit.images(generated, str(sample.release), model, side=64)
        assert [row["kind"] for row in rows] == ["copied_picture"] * 5 + ["alike_picture"] * 5
        seen = {row["subject"]: row for row in rows if row["kind"] == "alike_picture"}
        ids = {row["key"]: row["pair_id"] for row in sample.store.read("sample").to_pylist()}
        first, second = [ids[key] for key in sorted(ids)[:2]]
        assert [row["subject"] for row in _audit_copies._nearest_first(rows)] == [
            "z_copy.png",
            "painted.png",
            "new.png",
        ]
        assert (seen["z_copy.png"]["pair_id"], seen["painted.png"]["pair_id"]) == (first, second)
        assert seen["z_copy.png"]["value"] == pytest.approx(1, abs=1e-5)
        assert {name: (row["finding"], row["threshold"]) for name, row in seen.items()} == {
            "z_copy.png": (True, 0.75), "painted.png": (True, 0.75), "new.png": (False, 0.75),
            "notes.txt": (False, None), "cut.png": (False, None),
        }  # fmt: skip
        assert seen["cut.png"]["detail"] == "not compared: no picture (truncated)"

    def test_onnx_sees_what_torchscript_sees(self, sample, generated, model, tmp_path):
        pytest.importorskip("onnxruntime", reason="needs the extra [audit]")
        values = []
        for path, side in ((model, 64), (onnx(tmp_path / "n.onnx"), None), (onnx(tmp_path / "1.onnx", 1), 64)):
            rows = _audit_copies.alike(generated, str(sample.release), _copy_model.load(path, side))
            values.append([row["value"] for row in rows if row["value"] is not None])
        assert len(values[0]) == 3 and values[1:] == [pytest.approx(values[0], abs=1e-4)] * 2

    def test_a_similarity_of_ones_own(self, sample, generated, model, tmp_path):
        for similarity, found in ((-1.0, 3), (0.999, 1)):
            looking = _copy_model.load(model, 64)
            rows = _audit_copies.alike(generated, str(sample.release), looking, similarity, tmp_path)
            assert sum(row["finding"] for row in rows) == found

    def test_table_picture_and_kept_vectors(self, sample, generated, model, tmp_path, monkeypatch):
        arguments = ["audit", "images", str(generated), "--release", str(sample.release), "--model", model,
                     "--side", "64", "--out", str(tmp_path / "out"), "--json"]  # fmt: skip
        found = CliRunner().invoke(main, arguments)
        assert found.exit_code == 1, found.output
        rows = json.loads(found.stdout)
        table = pq.read_table(tmp_path / "out/audit.parquet")
        assert table.schema.equals(AUDIT.schema) and table.to_pylist() == rows
        assert Image.open(tmp_path / "out/matches.png").width > 500
        monkeypatch.setattr(_release_vectors, "_looked_at", None)  # a second look would fail
        again = CliRunner().invoke(main, arguments)
        assert again.exit_code == 1 and json.loads(again.stdout) == rows

    def test_a_picture_counts_once_in_the_total_of_the_command(self, sample, generated, model):
        arguments = [
            "audit",
            "images",
            str(generated),
            "--release",
            str(sample.release),
            "--model",
            model,
            "--side",
            "64",
        ]
        last = CliRunner().invoke(main, arguments).output.splitlines()[-1]
        assert last == "2 of 5 with a finding, 2 not compared"

    def test_kept_vectors_of_another_model_are_made_anew(self, sample, model, tmp_path):
        release, shards = Release(str(sample.release)), ["shards/00000.tar"]
        sizes = []
        for side in (64, 32, 64):
            looking = _copy_model.load(model, side)
            kept = list(_release_vectors.release_vectors(release, shards, looking, tmp_path))
            fresh = list(_release_vectors.release_vectors(release, shards, looking))
            assert [keys for keys, _ in kept] == [keys for keys, _ in fresh]
            assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(kept, fresh, strict=True))
            sizes.append(sum(len(keys) for keys, _ in kept))
        assert len(set(sizes)) == 1 and os.listdir(tmp_path) == ["vectors.parquet"]

    def test_without_a_model_there_is_a_picture_too(self, sample, generated, tmp_path):
        audit.images(generated, str(sample.release), out=str(tmp_path))
        assert sorted(os.listdir(tmp_path)) == ["audit.parquet", "matches.png"]


class TestModels:
    @pytest.mark.parametrize(
        ("name", "content", "error", "message"),
        [
            ("none.pt", None, InputError, "is not there; expected a run folder"),
            ("model.pt", b"no model", StageError, "cannot be loaded .*expected TorchScript"),
            ("model.onnx", b"no model", StageError, "cannot be loaded .*expected ONNX"),
        ],
    )
    def test_what_is_no_model(self, name, content, error, message, tmp_path):
        if name.endswith(".onnx"):
            pytest.importorskip("onnxruntime", reason="needs the extra [audit]")
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(error, match=message):
            _copy_model.load(tmp_path / name)

    def test_a_folder_that_is_no_run(self, tmp_path):
        with pytest.raises(ReleaseError, match=r"run\.json: does not exist"):
            _copy_model.load(tmp_path)

    def test_a_side_that_the_file_does_not_have(self, tmp_path):
        pytest.importorskip("onnxruntime", reason="needs the extra [audit]")
        with pytest.raises(InputError, match="takes pictures of 64 px, and 32 is asked for"):
            _copy_model.load(onnx(tmp_path / "m.onnx"), 32)

    def test_onnx_that_takes_more_than_pictures(self, tmp_path):
        pytest.importorskip("onnxruntime", reason="needs the extra [audit]")
        with pytest.raises(StageError, match=r"it takes 2 inputs: x, x0\); expected ONNX that takes pictures alone"):
            _copy_model.load(onnx(tmp_path / "m.onnx", more=1))

    def test_a_model_that_gives_no_vectors(self, tmp_path):
        class Sum(torch.nn.Module):
            def forward(self, pixels):
                return pixels.sum() / 0

        torch.jit.trace(Sum(), torch.zeros(1, 3, 8, 8)).save(str(tmp_path / "sum.pt"))
        with pytest.raises(StageError, match=r"gives \[\] of 2 pictures"):
            _copy_model.load(tmp_path / "sum.pt", 8).vectors([Image.new("RGB", (9, 9))] * 2)

    def test_a_missing_extra_is_named(self, tmp_path, monkeypatch):
        monkeypatch.setattr(_copy_model, "find_spec", lambda module: None)
        (tmp_path / "m.onnx").touch()
        with pytest.raises(MissingExtra, match=r"audit: needs the extra \[audit\]"):
            _copy_model.load(tmp_path / "m.onnx")

    def test_pictures_are_scaled_as_torchvision_scales_them(self):
        transforms = pytest.importorskip("torchvision.transforms")
        pixels = np.random.default_rng(1).integers(0, 256, (70, 50, 3), np.uint8)
        picture = Image.fromarray(pixels)
        usual = transforms.Compose([
            transforms.Resize([32, 32]), transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ])  # fmt: skip
        assert np.allclose(_copy_model.scaled([picture], 32)[0], usual(picture).numpy(), atol=1e-5)


def test_the_nearest_does_not_depend_on_the_blocks():
    generator = np.random.default_rng(0)
    queries, many = (generator.normal(size=(n, 8)).astype(np.float32) for n in (50, 300))
    queries, many = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, many))
    keys = [str(n) for n in range(300)]
    for size in (1, 7, 300):
        found = nearest(queries, ((keys[at : at + size], many[at : at + size]) for at in range(0, 300, size)))
        assert found is not None
        assert found.keys == [keys[row] for row in (queries @ many.T).argmax(axis=1)]
        assert np.allclose(found.similarity, (queries @ many.T).max(axis=1), atol=1e-6)
    assert nearest(queries, []) is None


def test_a_grid_of_any_number_of_pairs():
    picture = Image.new("RGB", (30, 10), "blue")
    for count in (0, 1, 5):
        sheet = Image.open(io.BytesIO(grid("title", [Cell(picture, None, "a long text " * 30, True)] * count)))
        assert sheet.mode == "RGB" and (count == 0) == (
            (0, 0, 255) not in [c for _, c in sheet.getcolors(1 << 20) or []]
        )
