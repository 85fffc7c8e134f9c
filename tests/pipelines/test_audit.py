"""What an audit finds: in a run on the sample, in a model that memorised, and in outputs from anywhere."""

from __future__ import annotations

import dataclasses
import html
import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image, ImageOps

from fairshard.pipelines import _audit_diffusion, _audit_leaks, _audit_model, audit, demo, report
from fairshard.pipelines._audit_repeats import repeats
from fairshard.pipelines._held_out import Split
from fairshard.pipelines._release import Release
from fairshard.pipelines._released import Sample
from fairshard.pipelines._trained import read_run
from fairshard.pipelines.cli import main
from fairshard.schemas import config as configs
from fairshard.schemas.audit_config import AuditConfig
from fairshard.schemas.config import Registry
from fairshard.schemas.diffusion_config import DiffusionConfig
from fairshard.schemas.errors import InputError, MissingExtra, ReleaseError, StageError
from fairshard.schemas.release import OUTCOME, public
from fairshard.schemas.tables import AUDIT
from fairshard.schemas.train_config import TrainConfig


@pytest.fixture(scope="module")
def job(sample, tmp_path_factory):
    """The sample's job, trained for an epoch."""
    pytest.importorskip("open_clip_train", reason="needs the extra [train]")
    from fairshard.pipelines import train

    folder = tmp_path_factory.mktemp("audit")
    train.run(sample.job.release_dir, folder / "run", TrainConfig(epochs=1))
    return changed(sample.job, run_dir=str(folder / "run"), audit_dir=str(folder / "audit"))


@pytest.fixture(scope="module")
def both(job, tmp_path_factory):
    """A diffusion model as well, as small as can be, and the audit of both: what the demo does after a release is made."""
    pytest.importorskip("diffusers", reason="needs the extra [train]")
    folder = tmp_path_factory.mktemp("both")
    tiny = DiffusionConfig(image_size=8, block_channels=(8, 16), epochs=1, sampling_steps=2, canaries=1,
                           canary_repeats=1)  # fmt: skip
    made = changed(job, train=TrainConfig(epochs=1), diffusion=tiny, audit=AuditConfig(generated=8, loss_draws=1),
                   diffusion_dir=str(folder / "diffusion"), audit_dir=str(folder / "audit"))  # fmt: skip
    return made, demo.models(made)


def changed(job, **values):
    return dataclasses.replace(job, config=dataclasses.replace(job.config, **values))


class TestAudit:
    def test_a_run_on_the_sample(self, job):
        found = audit.run(job)
        assert [(row["kind"], row["subject"]) for row in found.measures] == [
            ("later_opt_out", "all"), ("leaked_picture", "all"), ("leaked_caption", "all"),
            ("membership", "similarity"), ("membership", "margin"), ("memorised", "all"),
        ]  # fmt: skip
        assert [row["value"] for row in found.measures[:2]] == [0, 0]
        table = pq.read_table(found.out_dir / "audit.parquet")
        assert table.schema.equals(AUDIT.schema) and table.to_pylist() == found.rows
        keys = [(row["kind"], row["subject"]) for row in found.rows]
        assert len(keys) == len(set(keys))
        record = json.loads((found.out_dir / "audit.json").read_text())
        assert record["measures"] == found.measures and record["attacks"]["margin"]["members"] >= 20
        assert sorted(path.name for path in found.out_dir.iterdir()) == sorted(audit.WRITES)
        assert audit.summary(found)[: len(found.measures)] == [audit.line(row) for row in found.measures]

    def test_the_report_shows_them(self, job):
        found = audit.run(job)
        page = report.html(job.config.release_dir, job.config.run_dir, job.config.audit_dir)
        details = [html.escape(row["detail"]) for row in found.measures]
        assert page.count("<polyline") == 4 and [detail for detail in details if detail not in page] == []

    def test_a_diffusion_run_is_audited_too(self, both):
        made, first = both
        kinds = [(row["kind"], row["subject"]) for row in first["audit"]]
        assert kinds[6:] == [
            ("membership", "denoising loss"), ("replication", "similarity"), ("replication", "pdq"),
            ("replication", "phash"), ("replication", "duplicates"), ("canary", "generated"),
        ]  # fmt: skip
        names = sorted(path.name for path in Path(made.audit_dir).iterdir())
        assert names == sorted([*audit.WRITES, *audit.OF_DIFFUSION])
        record = json.loads((Path(made.audit_dir) / "audit.json").read_text())["diffusion"]
        assert record["copy_model"]["kind"] == "CLIP" and record["steps"] == 2
        page = report.html(made.release_dir, made.run_dir, made.audit_dir, made.diffusion_dir)
        assert page.count("data:image/png;base64,") == 8 + 2 and page.count("<polyline") == 4 + 3
        assert "Models trained on it" in page and "is no proof of a copy" in page

    def test_the_demo_does_nothing_twice(self, both):
        made, first = both
        folders = (made.run_dir, made.diffusion_dir, made.audit_dir)
        before = {path: path.stat().st_mtime_ns for folder in folders for path in Path(folder).rglob("*")}
        again = demo.models(made)
        assert again["train"]["already_done"] and again["diffusion"]["already_done"]
        assert again["audit"] == first["audit"]
        assert {path: path.stat().st_mtime_ns for folder in folders for path in Path(folder).rglob("*")} == before

    def test_a_diffusion_run_of_something_else_is_not_audited_and_the_rest_is(self, both, tmp_path):
        made, first = both
        other = shutil.copytree(made.diffusion_dir, tmp_path / "diffusion")
        asked = changed(made, diffusion_dir=str(other), audit_dir=str(tmp_path / "audit"))
        (other / "held_out.txt").write_text("none\n")
        shutil.copytree(made.audit_dir, asked.audit_dir)
        found = audit.run(asked)
        assert [row["value"] for row in found.measures[:6]] == [row["value"] for row in first["audit"][:6]]
        said = [(row["kind"], row["subject"], row["value"], row["finding"]) for row in found.measures[6:]]
        assert said == [("membership", "denoising loss", None, False), ("replication", "similarity", None, False)]
        assert all("held out other pairs than the CLIP run" in row["detail"] for row in found.measures[6:])
        assert sorted(path.name for path in found.out_dir.iterdir()) == sorted(audit.WRITES)
        page = report.html(made.release_dir, None, str(found.out_dir))
        assert "not measured: the diffusion run held out other pairs" in page and "image/png" not in page
        # Of a run on another release the same is said, before anything of it is loaded.
        record = json.loads((other / "run.json").read_text())
        record["release"]["manifest_sha256"] = "0" * 64
        (other / "run.json").write_text(json.dumps(record))
        trained = read_run(made.run_dir, made.release_dir)
        skipped = _audit_diffusion.measure_run(asked, trained, set())
        assert isinstance(skipped, _audit_diffusion.NotAudited) and "is of another release" in skipped.reason
        (other / "run.json").write_text("{")
        with pytest.raises(ReleaseError, match=r"run\.json: cannot be read"):
            _audit_diffusion.measure_run(asked, trained, set())

    def test_later_opt_outs_are_findings(self, job, sample, tmp_path):
        released = sample.store.read("sample").to_pylist()[:2]
        urls = {row["pair_id"]: row["url"] for row in sample.store.read("pair").to_pylist()}
        listed = [urls[row["pair_id"]] for row in released]
        (tmp_path / "later.csv").write_text("\n".join(["url", *listed]) + "\n")
        later = Registry("later", str(tmp_path / "later.csv"), "url")
        found = audit.run(changed(job, registries=(*job.config.registries, later), audit_dir=str(tmp_path / "out")))
        rows = [row for row in found.rows if row["kind"] == "later_opt_out"]
        assert {row["pair_id"] for row in rows[1:]} >= {row["pair_id"] for row in released}
        assert rows[0]["value"] == len(rows) - 1 and rows[0] in found.findings
        assert all("later denies by url" in row["detail"] for row in rows[1:])

    def test_the_command(self, job, sample, tmp_path, monkeypatch):
        for limit, code in ((1.0, 0), (0.0, 1)):
            limits = AuditConfig(max_membership_auc=limit, max_leaked_captions=1.0)
            monkeypatch.setattr(configs, "load", lambda *_, limits=limits: changed(job, audit=limits))
            found = CliRunner().invoke(main, ["audit", "--json", "job.yaml"])
            assert found.exit_code == code, found.output
            assert json.loads(found.stdout)["rows"][0]["kind"] == "later_opt_out"

    def test_before_training(self, job, tmp_path):
        with pytest.raises(ReleaseError, match=r"run\.json: does not exist.*Run `fairshard train CONFIG` first"):
            audit.run(changed(job, run_dir=str(tmp_path / "none")))

    @pytest.mark.parametrize(
        ("name", "content", "error", "message"),
        [
            ("run.json", b"{", ReleaseError, "cannot be read"),
            ("run.json", b'{"status": "running"}', ReleaseError, "has not ended"),
            ("run.json", b'{"status": "done", "checkpoint": "../x.pt"}', ReleaseError, "does not name a release"),
            ("held_out.txt", b"000000000\n", ReleaseError, "lists 1 keys that are not those held out"),
            ("model.safetensors", None, ReleaseError, "does not exist"),
            ("model.safetensors", b"no checkpoint", StageError, "cannot be loaded"),
        ],
    )
    def test_a_run_that_is_not_whole(self, job, tmp_path, name, content, error, message):
        shutil.copytree(job.run_dir, tmp_path / "run")
        (tmp_path / "run" / name).unlink() if content is None else (tmp_path / "run" / name).write_bytes(content)
        with pytest.raises(error, match=message):
            audit.run(changed(job, run_dir=str(tmp_path / "run"), audit_dir=str(tmp_path / "audit")))
        assert not (tmp_path / "audit").exists()

    def test_a_run_on_another_release(self, job, tmp_path):
        shutil.copytree(job.release_dir, tmp_path / "release")
        with (tmp_path / "release/manifest.json").open("a") as manifest:
            manifest.write("\n")
        with pytest.raises(ReleaseError, match="was trained on another release"):
            audit.run(changed(job, release_dir=str(tmp_path / "release")))

    @pytest.mark.parametrize("file", ["shards/00000.tar", "pairs/00000.parquet", "tables/image-00000.parquet"])
    def test_a_release_that_was_changed(self, job, tmp_path, file):
        shutil.copytree(job.release_dir, tmp_path / "release")
        with (tmp_path / "release" / file).open("ab") as damaged:
            damaged.write(b"\0")
        with pytest.raises(match=r"has sha256 .* as manifest\.json says"):
            audit.run(changed(job, release_dir=str(tmp_path / "release")))

    def test_a_missing_extra_is_named(self, job, monkeypatch):
        monkeypatch.setattr(audit._clip_embed, "find_spec", lambda module: None)
        with pytest.raises(MissingExtra, match=r"audit: needs the extra \[train\]"):
            audit.run(job)


LOOK = bytes(range(100, 132))


class TestLeaks:
    """Trained pairs 1 to 3 and tested pairs 4 to 7, in tables of a release made by hand."""

    def release(self, folder: Path, phash: int | None = None) -> tuple[Release, Split]:
        """Of the fifth, whose PDQ is like no other, the pHash may be given."""
        samples = [Sample("shards/00000.tar", f"{n}", f"{n}", "", f"{n}") for n in range(1, 8)]
        looks = {1: LOOK, 4: b"\xff" + LOOK[1:], 5: bytes(len(LOOK)), 6: LOOK}
        said = {2: "A cat, asleep.", 3: "a cat asleep", 5: "A CAT asleep"}
        release = Release(str(folder))
        captions = {n: said.get(n, f"caption {n}") for n in range(1, 8)}
        outcome = [{"source": "list", "pair_id": n, "key": f"{n}", "caption": captions[n], "outcome": "released",
                    "withheld": False} for n in captions]  # fmt: skip
        # The seventh is as like the first as can be, but too flat to say so.
        image = [{"pair_id": n, "status": "ok", "phash": n * 0x0F0F0F0F0F, "pdq": looks.get(n, bytes([n * 36]) * 32),
                  "pdq_quality": 100} for n in range(1, 7)]  # fmt: skip
        image.append({**image[0], "pair_id": 7, "pdq_quality": 10})
        image[4]["phash"] = image[4]["phash"] if phash is None else phash
        for name, rows, schema in (("pairs/00000.parquet", outcome, OUTCOME),
                                   ("tables/image-00000.parquet", image, public("image"))):  # fmt: skip
            release.write_parquet(name, schema, [pa.RecordBatch.from_pylist(blank(rows, schema), schema=schema)])
        return release, Split(samples[:3], samples[3:], samples[3:], 0)

    def test_pictures_within_the_radius_and_captions_but_for_spelling(self, tmp_path):
        found = _audit_leaks.find(*self.release(tmp_path), AuditConfig())
        single = [(r["kind"], r["pair_id"], r["other_id"], r["value"]) for r in found.rows if r["pair_id"]]
        assert single == [("leaked_picture", 4, 1, 5), ("leaked_picture", 6, 1, 0), ("leaked_caption", 5, 2, 2)]
        whole = [(r["kind"], r["value"], r["finding"]) for r in found.rows if not r["pair_id"]]
        assert whole == [("leaked_picture", 0.5, True), ("leaked_caption", 0.25, True)]
        assert found.near == {"1", "4", "6"} and found.pair_ids == {str(n): n for n in range(1, 8)}

    def test_wider_limits(self, tmp_path):
        limits = AuditConfig(max_leaked_pictures=0.5, max_leaked_captions=0.25)
        found = _audit_leaks.find(*self.release(tmp_path), limits)
        assert [r["value"] for r in found.rows if not r["pair_id"]] == [0.5, 0.25]
        assert not any(r["finding"] for r in found.rows if not r["pair_id"])

    def test_phash_counts_where_pdq_confirms_it(self, tmp_path):
        release, split = self.release(tmp_path, phash=0x0F0F0F0F0F)
        assert _audit_leaks.find(release, split, AuditConfig()).near == {"1", "4", "6"}

    def test_tables_that_do_not_list_a_sample(self, tmp_path):
        release, split = self.release(tmp_path)
        pq.write_table(pq.read_table(tmp_path / "pairs/00000.parquet").slice(1), tmp_path / "pairs/00000.parquet")
        with pytest.raises(ReleaseError, match="lists 6 of 7 samples"):
            _audit_leaks.find(release, split, AuditConfig())


class TestRepeats:
    def test_equal_and_nearly_equal_pictures_count_and_flat_ones_by_their_bytes(self, tmp_path):
        release, split = TestLeaks().release(tmp_path)
        every, path = [*split.trained, *split.held_out], tmp_path / "tables/image-00000.parquet"
        assert repeats(release, every) == {"1": 3, "2": 1, "3": 1, "4": 3, "5": 1, "6": 3, "7": 1}
        assert repeats(release, split.trained) == {"1": 1, "2": 1, "3": 1}
        images = pq.read_table(path)
        same = pa.array(["same" if n in (5, 7) else f"{n}" for n in range(1, 8)])
        pq.write_table(images.set_column(images.column_names.index("sha256"), "sha256", same), path)
        assert repeats(release, every)["7"] == repeats(release, every)["5"] == 2


def blank(rows: list[dict], schema: pa.Schema) -> list[dict]:
    return [{field.name: None for field in schema} | row for row in rows]


class TestMemorisation:
    """Noise with invented names: nothing can be learnt from it, only remembered."""

    @pytest.fixture(scope="class")
    def release(self, tmp_path_factory) -> Path:
        pytest.importorskip("open_clip_train", reason="needs the extra [train]")
        from test_train import write_release

        generator = np.random.default_rng(0)
        samples = []
        for n in range(120):
            picture = Image.fromarray(generator.integers(0, 256, (4, 4, 3), np.uint8)).resize((64, 64), 0)
            buffer = io.BytesIO()
            picture.save(buffer, "PNG")
            name = " ".join("".join(generator.choice(list("aeioubdfgklmnprst"), 4)) for _ in range(3))
            samples.append({"png": buffer.getvalue(), "txt": name.encode(), "json": b'{"pair_id": %d}' % n})
        return write_release(tmp_path_factory.mktemp("memory") / "release", samples)

    def measured(self, release: Path, **config) -> _audit_model.Memory:
        from fairshard.pipelines import train
        from fairshard.pipelines._trained import read_run

        out = release.parent / f"run {config}"
        train.run(release, out, TrainConfig(batch_size=28, holdout_share=0.3, **config))
        memory = _audit_model.measure(read_run(out, release), (), 2000)
        assert memory is not None
        return memory

    def test_a_model_that_memorised_is_told(self, release):
        memory = self.measured(release, epochs=15)
        assert memory.attacks["margin"].low > 0.8
        rows = _audit_model.rows(memory, AuditConfig(), {s.key: int(s.pair_id) for s in memory.trained})
        measures = {(row["kind"], row["subject"]): row for row in rows if row["pair_id"] is None}
        assert all(row["finding"] for row in measures.values()) and len(measures) == 3
        margins = [row["value"] for row in rows if row["pair_id"] is not None]
        assert margins == sorted(margins, reverse=True) and len(margins) >= 20

    def test_a_model_that_learnt_nothing_gives_nothing_away(self, release):
        memory = self.measured(release, epochs=1, lr=1e-9)
        for attack in memory.attacks.values():
            assert attack.low < 0.5 < attack.high and attack.members == attack.others >= 30

    def test_too_few_pairs_are_said_to_be_too_few(self):
        (row,) = _audit_model.rows(None, AuditConfig(), {})
        assert row["value"] is None and not row["finding"] and "not measured" in row["detail"]


def released_pictures(release: Path, number: int) -> list[Image.Image]:
    with tarfile.open(release / "shards/00000.tar") as tar:
        members = [member for member in tar if member.name.endswith(".jpg")][:number]
        return [Image.open(io.BytesIO(tar.extractfile(m).read())).convert("RGB") for m in members]  # type: ignore[union-attr]


class TestImages:
    def test_copies_are_found_however_they_were_turned(self, sample, tmp_path):
        first, second, third = released_pictures(sample.release, 3)
        first.save(tmp_path / "copy.png")
        ImageOps.mirror(second).resize((300, 280)).save(tmp_path / "mirrored.jpg", quality=60)
        third.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.webp")
        noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
        Image.fromarray(noise).resize((200, 200)).save(tmp_path / "new.png")
        Image.new("RGB", (64, 64), "red").save(tmp_path / "flat.png")
        (tmp_path / "notes.txt").write_text("no picture")
        (tmp_path / ".hidden").write_text("passed over")
        rows = {row["subject"]: row for row in audit.images(tmp_path, str(sample.release))}
        assert {name: row["finding"] for name, row in rows.items()} == {
            "copy.png": True, "mirrored.jpg": True, "turned.webp": True, "new.png": False, "flat.png": False,
            "notes.txt": False,
        }  # fmt: skip
        ids = {row["key"]: row["pair_id"] for row in sample.store.read("sample").to_pylist()}
        assert [rows[name]["pair_id"] for name in ("copy.png", "mirrored.jpg", "turned.webp")] == [
            ids[key] for key in sorted(ids)[:3]
        ]
        assert rows["new.png"]["value"] > rows["new.png"]["threshold"]
        assert rows["flat.png"]["value"] is rows["notes.txt"]["value"] is None

    @pytest.mark.parametrize(("name", "message"), [("none", "is no folder"), (".", "holds no file")])
    def test_no_pictures(self, sample, tmp_path, name, message):
        with pytest.raises(InputError, match=message):
            audit.images(tmp_path / name, str(sample.release))

    def test_nothing_but_other_files(self, sample, tmp_path):
        (tmp_path / "a.png").write_text("no picture")
        with pytest.raises(InputError, match="holds 1 files, and none is a picture"):
            audit.images(tmp_path, str(sample.release))

    @pytest.mark.parametrize("file", ["pairs/00000.parquet", "tables/image-00000.parquet"])
    def test_tables_that_were_changed(self, sample, tmp_path, file):
        shutil.copytree(sample.release, tmp_path / "release")
        with (tmp_path / "release" / file).open("ab") as damaged:
            damaged.write(b"\0")
        (tmp_path / "a.txt").write_text("a line")
        for form in (audit.images, audit.text):
            with pytest.raises(ReleaseError, match=r"has sha256 .* as manifest\.json says"):
                form(tmp_path if form is audit.images else tmp_path / "a.txt", str(tmp_path / "release"))


class TestText:
    def test_whole_captions_and_long_runs(self, sample, tmp_path):
        pairs = {row["pair_id"]: row["caption"] for row in sample.store.read("pair").to_pylist()}
        released = [(row["pair_id"], pairs[row["pair_id"]]) for row in sample.store.read("sample").to_pylist()]
        pair_id, caption = max(released, key=lambda pair: (len(pair[1].split()), pair[1]))
        words = caption.split()
        assert len(words) > 9
        lines = [caption, f"  {caption.upper()}!", f"so {' '.join(words[1:10])} indeed", " ".join(words[:5]), "", "x y"]
        (tmp_path / "text.txt").write_text("\n".join(lines))
        rows = audit.text(tmp_path / "text.txt", str(sample.release))
        assert [(row["subject"], row["finding"]) for row in rows] == [
            ("line 1", True), ("line 2", True), ("line 3", True), ("line 4", False), ("line 6", False),
        ]  # fmt: skip
        assert [row["pair_id"] for row in rows[:2]] == [pair_id] * 2
        assert ["verbatim" in row["detail"] for row in rows[:3]] == [True, False, False]
        assert rows[2]["value"] >= 9 and " ".join(words[1:9]) in pairs[rows[2]["pair_id"]] and rows[3]["value"] == 0

    @pytest.mark.parametrize(("content", "message"), [(b"\xff", "cannot be read"), (b" \n", "is empty")])
    def test_no_text(self, sample, tmp_path, content, message):
        (tmp_path / "text.txt").write_bytes(content)
        with pytest.raises(InputError, match=message):
            audit.text(tmp_path / "text.txt", str(sample.release))

    def test_the_command(self, sample, tmp_path):
        (tmp_path / "text.txt").write_text("words that no caption has\n")
        arguments = ["audit", "text", str(tmp_path / "text.txt"), "--release", str(sample.release)]
        found = CliRunner().invoke(main, arguments)
        assert (found.exit_code, found.stdout.splitlines()[-1]) == (0, "0 of 1 with a finding, 0 not compared")
