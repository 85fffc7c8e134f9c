"""Pictures compared by what a model sees: a small one with random weights, which tells planted copies from others."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import shutil
import tarfile

import numpy as np
import pyarrow as pa
import pytest
import small_world
from conftest import table
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_world import picture

from fairshard.pipelines import _clip_model, _preflight, _semantic, balance, dedup, emit
from fairshard.pipelines._catalog import write_catalog
from fairshard.pipelines._store import write_parquet
from fairshard.pipelines._vectors import Vectors, read_vectors
from fairshard.pipelines._work import Work
from fairshard.pipelines.explain import explain, text
from fairshard.schemas import policy
from fairshard.schemas.errors import ConfigError, MissingExtra, Refused, ReleaseError, StageError
from fairshard.udfs.components import components

RADIUS = 0.1
ARCHITECTURE = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16, "head_width": 32, "pool_type": "avg"},
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The checkpoint in a folder of a run that never was."""
    torch, open_clip = pytest.importorskip("torch"), pytest.importorskip("open_clip")
    safetensors = pytest.importorskip("safetensors.torch")
    folder = tmp_path_factory.mktemp("run")
    (folder / "toy.json").write_text(json.dumps(ARCHITECTURE))
    open_clip.add_model_config(folder / "toy.json")
    torch.manual_seed(0)
    safetensors.save_file(open_clip.create_model("toy").state_dict(), folder / "model.safetensors")
    record = {"status": "done", "checkpoint": "model.safetensors", "config": {"model": "toy"},
              "release": {"manifest_sha256": "ab" * 32}}  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def copied(data: bytes) -> bytes:
    target = io.BytesIO()
    Image.open(io.BytesIO(data)).resize((90, 70)).save(target, "JPEG", quality=40)
    return target.getvalue()


PICTURES = {number: picture(number, 96) for number in range(-3, 9) if number >= 0} | {-1: picture(20, 96)}
COPIES = {100: copied(PICTURES[3]), 101: copied(PICTURES[-1]), 105: PICTURES[5]}


def fetched(work: Work, pictures: dict[int, bytes], partitions: int = 2) -> Work:
    """Leave the pictures as ``fetch`` would."""
    for part in range(partitions):
        with work.store.task("fetch", f"{part:04d}", "test") as task:
            tar, rows = task.scratch("work.tar"), []
            with tarfile.open(tar, "w", format=tarfile.USTAR_FORMAT) as file:
                for pair_id, data in pictures.items():
                    if pair_id % partitions == part:
                        member = tarfile.TarInfo(f"{pair_id}.jpg")
                        member.size, offset = len(data), file.offset + 512
                        file.addfile(member, io.BytesIO(data))
                        rows.append(shown(pair_id, data, f"work_shard/{part:04d}.tar", offset))
            task.write("image", table("image", rows))
            task.keep(tar, f"work_shard/{part:04d}.tar")
            task.extra["facts"] = "test"
    return work


def shown(pair_id: int, data: bytes, shard: str, offset: int) -> dict:
    return {"pair_id": pair_id, "sha256": hashlib.sha256(data).hexdigest(), "pdq_quality": 0, "work_shard": shard,
            "work_key": f"{pair_id}.jpg", "work_offset": offset, "work_bytes": len(data),
            "width_px": 50 if pair_id >= 100 else 96, "height_px": 50}  # fmt: skip


def job(make, model, pictures, partitions=2, top=None, **config) -> Work:
    pairs = [{"pair_id": pair_id, "url_key": str(pair_id), "caption": f"text {pair_id}"} for pair_id in pictures]
    no_hashes = {"phash_max_distance": None, "pdq_max_distance": None}
    section = {"embedding_model": str(model), "embedding_max_distance": RADIUS, **no_hashes, **config}
    return fetched(make({"dedup": section, "workers": 1, **(top or {})}, pair=pairs), pictures, partitions)


def rows(work: Work, name: str) -> dict[int, dict]:
    return {row["pair_id"]: row for row in work.store.read(name, ["dedup"]).to_pylist()}


def changed(work: Work, **config) -> Work:
    """The same work directory under another ``dedup`` section."""
    section = dataclasses.replace(work.job.config.dedup, **config)
    return Work(dataclasses.replace(work.job, config=dataclasses.replace(work.job.config, dedup=section)))


class TestStage:
    def test_planted_copies_are_tied_and_others_are_not_on_every_engine(self, make_work, model):
        work = job(make_work, model, PICTURES | COPIES)
        dedup.run(work)
        duplicate, dropped = rows(work, "duplicate"), rows(work, "dropped")
        assert {(one, duplicate[one]["keeper_id"], duplicate[one]["kind"]) for one in (100, 101, 105)} == {
            (100, 3, "semantic"), (101, -1, "semantic"), (105, 5, "exact"),
        }  # fmt: skip
        assert duplicate.keys() == {100, 101, 105, 3, -1, 5}
        assert {one: dropped[one]["reason"] for one in dropped} == {
            100: "semantic_duplicate", 101: "semantic_duplicate", 105: "exact_duplicate",
        }  # fmt: skip
        assert 0 < duplicate[100]["distance"] <= RADIUS * 1000
        assert dropped[100]["evidence"] == f"keeper=3 kind=semantic distance={duplicate[100]['distance']}/1000"
        clusters = rows(work, "score")
        assert clusters.keys() == (PICTURES | COPIES).keys()
        assert {row["kind"] for row in clusters.values()} == {"visual_cluster"}
        assert clusters[5]["label"] == clusters[105]["label"]
        assert work.store.mark("dedup", "all").extra["embedding"] == {
            "sha256": hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest(),
            "architecture": "toy", "trained_on": "ab" * 32, "pictures": 13, "clusters": 3, "cut_short": 0,
        }  # fmt: skip

    def test_vectors_are_those_of_the_model(self, make_duckdb_work, model):
        torch = pytest.importorskip("torch")
        work = job(make_duckdb_work, model, PICTURES)
        dedup.run(work)
        encoder, transform = _clip_model.embedding_model(work.job).load()
        found = rows(work, "embedding")
        assert {row["model"] for row in found.values()} == {
            hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
        }
        for pair_id, data in PICTURES.items():
            with torch.inference_mode():
                seen = encoder.encode_image(transform(Image.open(io.BytesIO(data)))[None], normalize=True)[0].numpy()
            assert np.allclose(found[pair_id]["vector"], seen, atol=1e-3)

    def test_explain_says_why(self, make_duckdb_work, model):
        work = job(make_duckdb_work, model, PICTURES | COPIES)
        dedup.run(work)
        write_catalog(work.store)
        distance = rows(work, "duplicate")[100]["distance"]
        words = text(explain(work.job.work_dir, pair_id=100))
        assert f"tie: semantic, cosine distance {distance / 1000:.3f} from the keeper" in words
        assert words.endswith(
            f"left out by dedup, semantic_duplicate because of keeper=3 kind=semantic distance={distance}/1000"
        )

    def test_ties_of_both_kinds_chain(self, make_duckdb_work, model):
        """100 shows what 3 does, 103 has the bytes of 100."""
        work = job(make_duckdb_work, model, PICTURES | COPIES | {103: COPIES[100]})
        dedup.run(work)
        assert {one for one, row in rows(work, "duplicate").items() if row["keeper_id"] == 3} == {3, 100, 103}

    def test_large_groups_are_split_by_vectors_too(self, make_duckdb_work, model):
        work = job(make_duckdb_work, model, PICTURES | COPIES, exact=False, split_above=1)
        dedup.run(work)
        assert {one: row["kind"] for one, row in rows(work, "duplicate").items() if one >= 100} == {
            100: "semantic", 101: "semantic", 105: "semantic",
        }  # fmt: skip

    def test_nothing_to_see(self, make_duckdb_work, model):
        work = job(make_duckdb_work, model, {})
        dedup.run(work)
        assert rows(work, "duplicate") == rows(work, "embedding") == {}

    @pytest.mark.slow
    def test_computes_and_partitions_give_the_same_rows(self, make_duckdb_work, model):
        pictures = PICTURES | COPIES
        alone = job(make_duckdb_work, model, pictures)
        others = [
            job(make_duckdb_work, model, pictures, partitions=1),
            job(make_duckdb_work, model, pictures, top={"compute": "dask", "workers": 2}),
            job(make_duckdb_work, model, pictures, partitions=3, top={"workers": 2}),
        ]
        for work in (alone, *others):
            dedup.run(work)
        for name in ("embedding", "score", "duplicate", "dropped"):
            assert [rows(other, name) for other in others] == [rows(alone, name)] * 3, name


class TestResume:
    def test_what_was_seen_stands(self, make_duckdb_work, model):
        work = job(make_duckdb_work, model, PICTURES | COPIES)
        dedup.run(work)
        before = work.marks("dedup")
        dedup.run(changed(work))
        assert work.marks("dedup") == before
        dedup.run(changed(work, embedding_max_distance=0.0001))
        assert set(rows(work, "dropped")) == {105}
        assert work.marks("dedup", leave_out="all") == [mark for mark in before if mark[0] != "all"]

    def test_an_earlier_stage_that_ran_again_costs_no_second_look(self, make_duckdb_work, model):
        work = job(make_duckdb_work, model, PICTURES | COPIES)
        dedup.run(work)
        assert sum(work.store.mark("dedup", part).extra["looked_at"] for part in ("0000", "0001")) == 12
        seen = rows(work, "embedding")
        with work.store.task("filter", "all", "test") as task:
            task.write("dropped", table("dropped", [{"pair_id": 3, "stage": "filter", "reason": "language"}]))
        work.store.put("work_shard/0000.tar", b"gone")
        dedup.run(changed(work))
        assert rows(work, "embedding") == {one: row for one, row in seen.items() if one != 3}
        assert 100 not in rows(work, "dropped")

    def test_a_broken_run_keeps_what_it_finished(self, make_duckdb_work, model):
        work = job(make_duckdb_work, model, PICTURES | COPIES)
        whole = work.store.fs.cat_file(work.store.path("work_shard/0001.tar"))
        work.store.put("work_shard/0001.tar", whole[:600])
        with pytest.raises(ReleaseError, match="ends before byte"):
            dedup.run(work)
        first = work.store.mark("dedup", "0000")
        assert first is not None and work.store.mark("dedup", "all") is None
        work.store.put("work_shard/0001.tar", whole)
        dedup.run(work)
        assert work.store.mark("dedup", "0000") == first and 100 in rows(work, "dropped")

    def test_switched_off_it_leaves_nothing(self, make_duckdb_work, model):
        work = job(make_duckdb_work, model, PICTURES | COPIES)
        dedup.run(work)
        dedup.run(changed(work, embedding_model=None))
        assert rows(work, "embedding") == rows(work, "score") == {} and set(rows(work, "dropped")) == {105}

    def test_another_model_sees_anew(self, make_duckdb_work, model, tmp_path):
        safetensors = pytest.importorskip("safetensors.torch")
        work = job(make_duckdb_work, model, PICTURES)
        dedup.run(work)
        shutil.copytree(model, tmp_path / "run")
        weights = safetensors.load_file(tmp_path / "run/model.safetensors")
        weights["visual.proj"] = weights["visual.proj"].flip(1)
        safetensors.save_file(
            {name: each.contiguous() for name, each in weights.items()}, tmp_path / "run/model.safetensors"
        )
        before = rows(work, "embedding")
        dedup.run(changed(work, embedding_model=str(tmp_path / "run")))
        after = rows(work, "embedding")
        assert np.allclose(after[1]["vector"], before[1]["vector"][::-1], atol=1e-3)
        assert after[1]["model"] != before[1]["model"]


class TestBalance:
    def test_cap_per_visual_cluster_on_every_engine(self, make_work, model):
        work = job(make_work, model, PICTURES, embedding_clusters=2, top={"balance": {"max_per_visual_cluster": 2}})
        dedup.run(work)
        balance.run(work)
        labels = {one: row["label"] for one, row in rows(work, "score").items()}
        dropped = work.store.read("dropped", ["balance"]).to_pylist()
        assert {row["reason"] for row in dropped} == {"cap_visual_cluster"}
        held = {label: list(labels.values()).count(label) for label in labels.values()}
        assert len(dropped) == sum(max(0, count - 2) for count in held.values())
        found = work.store.mark("balance", "all").extra["concentration"]["visual_cluster"]
        assert (found["before"]["pairs"], found["before"]["largest"]) == (10, max(held.values()))
        assert found["after"]["largest"] == 2


class TestRefusals:
    def test_a_model_of_unstated_data_where_only_what_was_permitted_is_kept(self, make_duckdb_work, model):
        strict = policy.load("licensed-only", model)
        work = job(make_duckdb_work, model / "model.safetensors", {}, embedding_architecture="ViT-B-32")
        with pytest.raises(Refused, match=r"does not say what it was trained on.*licensed-only keeps only"):
            _clip_model.embedding_model(dataclasses.replace(work.job, policy=strict))
        ours = dataclasses.replace(job(make_duckdb_work, model, {}).job, policy=strict)
        assert _clip_model.embedding_model(ours).trained_on == "ab" * 32

    @pytest.mark.parametrize(
        ("path", "architecture", "error", "message"),
        [
            ("none.pt", None, ConfigError, "embedding_model: is '.*none.pt', which is not there"),
            ("model.safetensors", None, ConfigError, "embedding_architecture: is not given"),
            ("model.safetensors", "ViT-B-31", ConfigError, "Did you mean 'ViT-B-32'"),
            ("model.safetensors", "none.json", ConfigError, "is 'none.json', which is not there"),
            ("empty", None, ReleaseError, "run.json: does not exist"),
            (".", "ViT-B-32", ConfigError, "a run folder states its own"),
        ],
    )
    def test_what_is_no_model(self, make_duckdb_work, model, path, architecture, error, message):
        (model / "empty").mkdir(exist_ok=True)
        work = job(make_duckdb_work, model / path, {}, embedding_architecture=architecture)
        with pytest.raises(error, match=message):
            _preflight.preflight(work.job, ())

    def test_a_checkpoint_with_its_architecture(self, make_duckdb_work, model):
        described = str(model / "toy.json")
        work = job(make_duckdb_work, model / "model.safetensors", PICTURES | COPIES, embedding_architecture=described)
        dedup.run(work)
        assert set(rows(work, "dropped")) == {100, 101, 105}

    def test_a_checkpoint_of_another_architecture(self, make_duckdb_work, model):
        work = job(make_duckdb_work, model / "model.safetensors", PICTURES, embedding_architecture="fairshard-tiny")
        with pytest.raises(StageError, match=r"cannot be loaded.*a checkpoint of fairshard-tiny"):
            dedup.run(work)

    def test_the_extra_is_named(self, make_duckdb_work, model, monkeypatch):
        work = job(make_duckdb_work, model, {})
        monkeypatch.setitem(_preflight.EXTRAS, "dedup", (("train", "no_such_module"),))
        _preflight.require_extras(work.job, ["dedup"])  # of a model, torch and open_clip are needed, and they are here
        monkeypatch.setattr(_preflight.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(MissingExtra, match=r"stage dedup: needs the extra \[train\]"):
            _preflight.require_extras(work.job, ["dedup"])

    def test_a_radius_has_to_be_stated(self, make_duckdb_work):
        with pytest.raises(ConfigError, match=r"embedding_max_distance: is not given; expected a cosine distance"):
            make_duckdb_work({"dedup": {"embedding_model": "run"}})

    def test_clusters_are_capped_only_where_there_are_any(self, make_duckdb_work):
        with pytest.raises(ConfigError, match=r"max_per_visual_cluster: is set; expected dedup\.embedding_model"):
            make_duckdb_work({"balance": {"max_per_visual_cluster": 5}})


def test_a_release_tells_the_model_by_its_hash_not_by_its_path(tmp_path):
    work = small_world.make(tmp_path, dedup={"embedding_model": "my/run", "embedding_max_distance": 0.1})
    seen = {"sha256": "cd" * 32, "architecture": "toy", "trained_on": "ab" * 32}
    with work.store.task("dedup", "all", "again") as task:
        task.write("dropped", table("dropped", []))
        task.extra["embedding"] = {**seen, "pictures": 5, "clusters": 2, "cut_short": 0}
    emit.run(work)
    work.close()
    manifest = (tmp_path / "release/manifest.json").read_text()
    assert json.loads(manifest)["settings"]["dedup"]["embedding_model"] == seen and "my/run" not in manifest


def stored(rows: np.ndarray, ids: np.ndarray | None = None) -> Vectors:
    vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return Vectors(
        np.arange(len(rows)) if ids is None else ids, vectors.astype(np.float16), np.ones(len(rows), np.float32)
    )


def groups(ties) -> set[frozenset[int]]:
    ids, group = (array.to_pylist() for array in components(ties["left_id"], ties["right_id"]))
    return {frozenset(one for one, its in zip(ids, group, strict=True) if its == name) for name in group}


class TestSearch:
    @settings(max_examples=25)
    @given(st.integers(0, 10_000), st.integers(1, 60), st.sampled_from([0.01, 0.1]), st.integers(1, 9))
    def test_groups_are_those_of_brute_force(self, seed, count, radius, clusters):
        rng = np.random.default_rng(seed)
        vectors = stored(rng.normal(size=(count, 3)), np.sort(rng.choice(10_000, count, replace=False) - 5000))
        found = _semantic.clustered(vectors, radius, clusters)
        assert found.homes.cut == 0
        every = vectors.at(slice(None))
        left, right = np.nonzero(np.tril(every @ every.T >= 1 - radius, -1))
        brute = {"left_id": vectors.ids[left], "right_id": vectors.ids[right]}
        assert groups(_semantic.ties(vectors, found, radius)) == groups(pa.table(brute))

    def test_a_crowd_is_tied_to_one_and_not_searched_with(self, monkeypatch):
        monkeypatch.setattr(_semantic, "_CROWD", 50)
        rng = np.random.default_rng(0)
        crowd = np.array([1, 0, 0, 0]) + rng.normal(scale=0.01, size=(300, 4))
        vectors = stored(np.concatenate([crowd, rng.normal(size=(40, 4))]))
        searched = []
        monkeypatch.setattr(_semantic, "near", lambda at, members, visitors, radius, near=_semantic.near: (
            searched.append(len(members)), near(at, members, visitors, radius))[1])  # fmt: skip
        ties = _semantic.ties(vectors, _semantic.clustered(vectors, 0.05, 4), 0.05)
        assert sum(searched) < 50 + 40
        assert any(set(range(300)) <= group for group in groups(ties))

    def test_vectors_are_found_by_id(self, tmp_path):
        for number, ids in enumerate(([-5, 9], [2, 7, 11])):
            given = [{"pair_id": one, "model": "m", "sha256": str(one), "vector": [one, 0.0]} for one in ids]
            batches = table("embedding", given).to_batches()
            write_parquet(str(tmp_path / f"{number}.parquet"), batches[0].schema, batches)
        vectors = read_vectors([str(tmp_path / f"{number}.parquet") for number in (0, 1)], str(tmp_path))
        assert vectors.ids.tolist() == [-5, 2, 7, 9, 11]
        assert vectors.stored[:, 0].tolist() == [-5, 2, 7, 9, 11]
        assert vectors.of(np.array([11, 3, -5])).tolist() == [[1, 0], [0, 0], [-1, 0]]
        assert len(list(tmp_path.iterdir())) == 2
