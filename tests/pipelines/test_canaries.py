"""Planted pairs: what they are, that they are trained on and never tested on, and that a model gives them away."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from fairshard.pipelines import _audit_canaries, _canaries
from fairshard.schemas.errors import ConfigError, ReleaseError
from fairshard.schemas.train_config import TrainConfig
from fairshard.udfs.hashing import fingerprint


class TestCanaries:
    def test_a_seed_gives_the_same_ones_and_fewer_are_the_first_of_them(self):
        few, many = _canaries.canaries(3, 7, 64), _canaries.canaries(20, 7, 64)
        assert [(c.key, c.caption, c.picture.tobytes()) for c in few] == [
            (c.key, c.caption, c.picture.tobytes()) for c in many[:3]
        ]
        assert few[0].caption == "ragere gigavi lelivo" and few[0].picture.size == (64, 64)

    def test_no_caption_comes_twice(self):
        planted, controls = _canaries.canaries(500, 0, 4), _canaries.never_planted(500, 0, 4)
        other_seed = _canaries.canaries(500, 1, 4)
        captions = [*(c.caption for c in (*planted, *controls, *other_seed)), *_canaries.candidates(2000, 0)]
        assert len(set(captions)) == len(captions) == 3500

    def test_their_pictures_are_told_apart_by_their_hashes(self):
        hashes = []
        for canary in _canaries.canaries(20, 0, 256):
            found = fingerprint(_canaries._png(canary))
            assert found.pdq is not None and (found.pdq_quality or 0) >= 50
            hashes.append(np.unpackbits(np.frombuffer(found.pdq, np.uint8)))
        apart = [(hashes[i] != hashes[j]).sum() for i in range(20) for j in range(i)]
        assert min(apart) > 62

    @pytest.mark.parametrize("said", ["some", {"planted": 1}, {"planted": 1, "seed": -1, "side": 8}])
    def test_a_record_that_does_not_say_which(self, said):
        with pytest.raises(ReleaseError, match=r"run\.json: canaries: is .*; expected how many, their seed and side"):
            _canaries.of_record({"canaries": said})

    def test_a_record_makes_them_again(self):
        record = _canaries.record(2, 100, 5, 32)
        assert [c.caption for c in _canaries.of_record({"canaries": record})] == [
            c.caption for c in _canaries.canaries(2, 5, 32)
        ]
        assert _canaries.of_record({}) == _canaries.of_record({"canaries": _canaries.record(0, 100, 5, 32)}) == []


class TestPlanted:
    def test_all_copies_come_spread_over_the_epoch(self):
        plant = _canaries.planted(_canaries.canaries(2, 0, 8), repeats=5, released=20)
        keys = [sample["__key__"] for sample in plant({"__key__": str(n)} for n in range(20))]
        assert [key for key in keys if not key.startswith("canary")] == [str(n) for n in range(20)]
        assert keys.count("canary0000") == keys.count("canary0001") == 5
        assert {"".join("c" if key.startswith("canary") else "-" for key in keys)} == {"--c" * 10}

    def test_the_trained_side_has_them_and_the_held_out_side_has_not(self, tmp_path, monkeypatch):
        pytest.importorskip("open_clip_train", reason="needs the extra [train]")
        import torch
        from open_clip_train import data, main
        from test_train import drawn_samples, write_release

        from fairshard.pipelines import _clip_trainer

        samples = [{**files, "txt": str(n).encode()} for n, files in enumerate(drawn_samples(40))]
        monkeypatch.chdir(write_release(tmp_path / "release", samples))
        for module, name in ((data, "get_wds_dataset"), (data, "filter_no_caption_or_no_image"), (main, "evaluate"),
                             (data, "tarfile_to_samples_nothrow"), (data, "log_and_continue"), (data.wds, "shuffle"),
                             (main, "train_one_epoch"), (main, "create_model_and_transforms")):  # fmt: skip
            monkeypatch.setattr(module, name, getattr(module, name))
        held_out = [f"{n:09d}" for n in range(10)]
        job = SimpleNamespace(held_out=held_out, tested=held_out, seed=0, canaries=2, canary_repeats=5, released=40,
                              caption_dropout=0.0, self_supervision=0.0, device="cpu")  # fmt: skip
        _clip_trainer.adapt_open_clip(job, _clip_trainer.Journal(tmp_path / "m"))  # type: ignore[arg-type]
        args = SimpleNamespace(train_data="shards/00000.tar", val_data="shards/00000.tar", train_num_samples=40,
                               val_num_samples=10, batch_size=8, workers=0, world_size=1, seed=0,
                               train_data_upsampling_factors=None)  # fmt: skip

        def seen(is_train: bool) -> list[str]:
            captions = []

            def tokens(caption: str) -> torch.Tensor:
                captions.append(caption)
                return torch.zeros(1, 1)

            list(data.get_wds_dataset(args, lambda picture: torch.zeros(1), is_train, tokenizer=tokens).dataloader)
            return sorted(captions)

        planted = [canary.caption for canary in _canaries.canaries(2, 0, 256)]
        assert seen(is_train=True) == sorted([*(str(n) for n in range(10, 40)), *planted * 5])
        assert seen(is_train=False) == sorted(str(n) for n in range(10))


class TestExposure:
    """Trained on a hundred pairs ten times, and on three canaries two hundred times."""

    @pytest.fixture(scope="class")
    def finished(self, tmp_path_factory):
        pytest.importorskip("open_clip_train", reason="needs the extra [train]")
        from test_train import write_release

        from fairshard.pipelines import train

        folder = tmp_path_factory.mktemp("canaries")
        invented = _canaries.canaries(100, 99, 32)  # of another seed: each pair has a caption and colours of its own
        samples = [
            {"png": _canaries._png(pair), "txt": pair.caption.encode(), "json": b'{"pair_id": %d}' % n}
            for n, pair in enumerate(invented)
        ]
        release = write_release(folder / "release", samples)
        config = TrainConfig(epochs=10, batch_size=28, canaries=3, canary_repeats=20, image_size=32)
        return release, train.run(release, folder / "run", config)

    def test_a_canary_trained_200_times_is_extracted_and_one_never_planted_is_not(self, finished):
        from fairshard.pipelines._trained import read_run

        release, result = finished
        exposed = _audit_canaries.measure(read_run(result.out_dir, release))
        assert exposed is not None and exposed.ranks.tolist() == [1, 1, 1]
        assert (exposed.control_ranks == 1).mean() < 0.1 < 200 < np.median(exposed.control_ranks)
        extracted, bits = _audit_canaries.rows(exposed, 0.05)
        assert (extracted["value"], extracted["finding"], bits["value"]) == (1, True, 10)
        assert "20 times an epoch" in extracted["detail"]

    def test_the_model_says_that_it_has_them(self, finished):
        _, result = finished
        record = json.loads((result.out_dir / "run.json").read_text())
        assert record["canaries"] == {"planted": 3, "repeats": 20, "seed": 0, "side": 256}
        card = (result.out_dir / "README.md").read_text()
        assert "**Canaries were planted.** 3 invented pairs" in card and "20\ntimes each in every epoch" in card
        bom = json.loads((result.out_dir / "bom.cdx.json").read_text())
        assert {"name": "fairshard:canaries", "value": "3"} in bom["metadata"]["component"]["properties"]

    def test_none_are_planted_unless_asked_for(self):
        assert TrainConfig().canaries == 0 and _audit_canaries.rows(None, 0.05) == []

    def test_a_number_that_makes_no_sense(self, finished, tmp_path):
        from fairshard.pipelines import train

        with pytest.raises(ConfigError, match=r"train\.canary_repeats: is 0; expected at least 1"):
            train.run(finished[0], tmp_path / "run", TrainConfig(canaries=1, canary_repeats=0))
