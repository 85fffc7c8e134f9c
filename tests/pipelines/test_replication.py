"""Replicas among generated pictures, and membership by the losses of a diffusion model, on pictures of coloured tiles."""

from __future__ import annotations

import dataclasses
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fairshard.pipelines import (
    _audit_diffusion,
    _audit_diffusion_rows,
    _canaries,
    _copy_model,
    _replication,
    _replication_picture,
)
from fairshard.pipelines._held_out import split_samples
from fairshard.pipelines._released import read_release, verified_samples
from fairshard.pipelines._replication import CANARY, HELD_OUT, TRAINED, Asked
from fairshard.pipelines._trained import Trained
from fairshard.schemas.audit_config import AuditConfig
from fairshard.schemas.diffusion_config import DiffusionConfig
from fairshard.schemas.train_config import TrainConfig
from fairshard.udfs.membership import attack

torch = pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("diffusers", reason="needs the extra [train]")
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")

INVENTED = _canaries.canaries(60, 99, 64)
OFTEN = INVENTED[:3]  # seven times each


def same(picture: Image.Image) -> Image.Image:
    return picture


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Trained:
    """A release of invented pairs, some of them repeated, and its sides; no model has been trained on it yet."""
    from test_train import write_release

    pairs = [*INVENTED, *OFTEN * 6]
    samples = [
        {"png": _canaries._png(pair), "txt": pair.caption.encode(), "json": b'{"pair_id": %d}' % n}
        for n, pair in enumerate(pairs)
    ]
    release = read_release(write_release(tmp_path_factory.mktemp("replication") / "release", samples, per_shard=40))
    split = split_samples(verified_samples(release), 0.45)
    return Trained(Path(), {}, TrainConfig(), Path(), release, split)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    from test_audit_copies import torchscript

    return _copy_model.load(torchscript(tmp_path_factory.mktemp("model") / "tiles.pt"), 64)


def picture_of(key: str) -> Image.Image:
    number = int(key)
    return [*INVENTED, *OFTEN * 6][number].picture


def copies_of(trained: Trained) -> dict[str, int]:
    """How often the picture of each comes, by equal bytes: there are no tables here that know of nearly equal ones."""
    times = Counter(sample.picture_sha256 for sample in trained.split.trained)
    return {sample.key: times[sample.picture_sha256] for sample in trained.split.trained}


def asked(trained: Trained, near: set[str], canaries: list, repeats: int, count: int) -> list[Asked]:
    return _replication.asked(trained.split, near, copies_of(trained), canaries, repeats, count)


def measured(trained: Trained, tiles, captions: list[Asked], generated: list[Image.Image], canaries=()):
    found = _replication.measure(trained, set(), list(canaries), captions, generated, tiles, same, 0.01, 31, 2, 50)
    assert found is not None
    return found


def row_of(found: _replication.Replication, tiles, subject: str, trained: Trained):
    kept = _audit_diffusion.Kept(None, tiles, [], found, None, {})  # type: ignore[arg-type]
    ids = {sample.key: int(sample.pair_id) for sample in trained.split.trained}
    rows = _audit_diffusion_rows.rows(kept, AuditConfig(), ids)
    return next(row for row in rows if row["subject"] == subject)


class TestReplication:
    def test_a_planted_copy_among_generated_pictures_is_found_first(self, trained, tiles):
        key = trained.split.trained[5].key
        others = [canary.picture for canary in _canaries.never_planted(19, 0, 64)]
        generated = [*others[:7], picture_of(key), *others[7:]]
        captions = [Asked(HELD_OUT, "none", "a caption", 0)] * 20
        found = measured(trained, tiles, captions, generated)
        assert found.near.similarity.argmax() == 7 and found.near.keys[7] == found.near.pdq_keys[7] == key
        assert found.by_hash.nonzero()[0].tolist() == found.by_phash.nonzero()[0].tolist() == [7]
        assert found.by_similarity[7] and (found.near.bits[7], found.near.phash_bits[7]) == (0, 0)
        assert found.by_similarity.sum() <= 3  # of 31 controls none may be above, so chance puts about one in 32 there
        kept = _audit_diffusion.Kept(None, tiles, [], found, None, {})  # type: ignore[arg-type]
        rows = _audit_diffusion_rows.rows(kept, AuditConfig(max_replicated=0.04), {key: 5})
        shares = {row["subject"]: (row["value"], row["finding"]) for row in rows if row["pair_id"] is None}
        assert shares["pdq"] == shares["phash"] == (0.05, True) and shares["similarity"] == (
            found.by_similarity.mean(),
            True,
        )
        first = next(row for row in rows if row["pair_id"] is not None)
        assert (first["subject"], first["pair_id"], first["finding"]) == ("picture 0007", 5, True)

    def test_pictures_that_copy_nothing_are_no_replicas(self, trained, tiles):
        fresh = [canary.picture for canary in _canaries.never_planted(100, 1, 64)]
        found = measured(trained, tiles, [Asked(TRAINED, "none", "a caption", 1)] * 100, fresh)
        assert found.by_similarity.mean() <= 0.1 and not found.by_hash.any() and not found.by_phash.any()
        assert abs(np.median(found.near.similarity) - np.median(found.control.similarity)) < 0.05

    def test_replicas_by_how_often_they_were_trained_on(self, trained, tiles):
        captions = asked(trained, set(), [], 0, 24)
        often = [each for each in captions if each.copies > 1]
        once = [each for each in captions if each.side == TRAINED and each.copies == 1]
        assert {each.caption for each in often} == {canary.caption for canary in OFTEN} and len(once) == 9
        fresh = iter(_canaries.never_planted(24, 2, 64))
        generated = [picture_of(each.key) if each.copies > 1 else next(fresh).picture for each in captions]
        row = row_of(measured(trained, tiles, captions, generated), tiles, "duplicates", trained)
        assert row["value"] == 1 and "3 of 3 of pictures trained on 2 to 9 times" in row["detail"]

    def test_canaries_that_come_out_are_extracted(self, trained, tiles):
        planted = _canaries.canaries(4, 0, 64)
        captions = asked(trained, set(), planted, 100, 4)[-4:]
        assert {each.side for each in captions} == {CANARY} and captions[0].copies == 100
        # The first is itself, the second another canary, the third a released picture, the fourth nothing.
        generated = [planted[0].picture, planted[3].picture, INVENTED[0].picture, Image.new("RGB", (64, 64), "red")]
        assert measured(trained, tiles, captions, generated, planted).extracted.tolist() == [True, False, False, False]

    def test_what_is_on_both_sides_is_neither_asked_nor_a_control(self, trained, tiles):
        near = {sample.key for sample in (*trained.split.trained[:3], *trained.split.tested[:3])}
        captions = asked(trained, near, [], 0, 1000)
        assert {each.key for each in captions}.isdisjoint(near)
        assert {each.side for each in captions} == {TRAINED, HELD_OUT}
        every = {sample.key for sample in trained.split.tested}
        assert _replication.measure(trained, every, [], captions, [], tiles, same, 0.01, 31, 2, 50) is None

    def test_their_pictures(self, trained, tiles):
        captions = asked(trained, set(), [], 0, 8)
        generated = [canary.picture for canary in _canaries.never_planted(len(captions), 3, 64)]
        found = measured(trained, tiles, captions, generated)
        views = _replication.trained_views(trained, found.near.keys, [], same)
        assert set(views) == set(found.near.keys)
        for png in (_replication_picture.draw(found), _replication_picture.draw_matches(found, views)):
            assert Image.open(io.BytesIO(png)).width > 500


class TestMembership:
    """A UNet of 8 pixels, trained in this process; it reads no captions, which makes it quick."""

    @pytest.fixture(scope="class")
    def model(self, trained):
        from fairshard.pipelines._denoising import as_tensor, denoising_loss, new_schedule, new_unet
        from fairshard.pipelines._diffusion_model import DiffusionModel

        config = DiffusionConfig(image_size=8, block_channels=(32, 64), sampling_steps=4)
        torch.manual_seed(0)
        unet, schedule = new_unet(config, 16), new_schedule(config)
        optimizer = torch.optim.AdamW(unet.parameters(), lr=3e-3)
        distinct = {sample.picture_sha256: sample.key for sample in trained.split.trained}
        clean = torch.stack([as_tensor(picture_of(key), 8) for key in distinct.values()])
        for _ in range(100):
            drawn = clean[torch.randint(len(clean), (32,))]
            steps, text = torch.randint(config.noise_steps, (32,)), torch.zeros(32, 4, 16)
            denoising_loss(unet, schedule, drawn, torch.randn(drawn.shape), steps, text).mean().backward()
            torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        record = {"fingerprint": "in a test", "canaries": None}
        silent = lambda captions: torch.zeros(len(captions), 4, 16)  # noqa: E731
        return DiffusionModel(config, record, "00" * 32, unet.eval(), schedule, silent, "cpu")

    def test_a_model_trained_hard_gives_its_pairs_away_and_held_out_ones_are_alike(self, trained, model):
        distinct = {sample.picture_sha256: sample for sample in trained.split.trained}.values()
        known = -_audit_diffusion.losses(trained, model, [*distinct], 8)
        unknown = -_audit_diffusion.losses(trained, model, trained.split.tested, 8)
        assert attack(known, unknown).low > 0.6
        fresh = [canary.picture for canary in _canaries.never_planted(160, 4, 64)]
        one, other = (-model.losses(some, [""] * 80, 0, 4) for some in (fresh[:80], fresh[80:]))
        assert attack(one, other).low < 0.5 < attack(one, other).high

    def test_the_order_of_samples_is_kept(self, trained, model):
        samples = trained.split.tested[:5]
        forth = _audit_diffusion.losses(trained, model, samples, 2)
        back = _audit_diffusion.losses(trained, model, samples[::-1], 2)
        assert np.allclose(forth, back[::-1], atol=1e-5) and len(set(forth.round(6).tolist())) == 5

    def test_all_of_it(self, trained, tiles, model):
        limits = AuditConfig(generated=4, loss_draws=2)
        kept = _audit_diffusion.kept(trained, set(), copies_of(trained), model, tiles, [], limits)
        ids = {sample.key: int(sample.pair_id) for sample in trained.split.trained}
        rows = _audit_diffusion_rows.rows(kept, limits, ids)
        kinds = [(row["kind"], row["subject"]) for row in rows if row["pair_id"] is None]
        assert kinds == [("membership", "denoising loss"), ("replication", "similarity"), ("replication", "pdq"),
                         ("replication", "phash"), ("replication", "duplicates")]  # fmt: skip
        assert len(rows) == 9 and sorted(_audit_diffusion.draw(kept)) == sorted(_audit_diffusion.WRITES)
        assert kept.said()["copy_model"]["kind"] == "TorchScript"

    def test_too_few_pairs_are_said_to_be_too_few(self, trained, tiles, model):
        few = dataclasses.replace(trained, split=dataclasses.replace(trained.split, tested=trained.split.tested[:5]))
        kept = _audit_diffusion.kept(
            few, set(), copies_of(trained), model, tiles, [], AuditConfig(generated=2, loss_draws=1)
        )
        row = _audit_diffusion_rows.rows(kept, AuditConfig(), {})[0]
        assert row["value"] is None and "not measured: fewer than" in row["detail"]


def test_no_run_measures_nothing():
    assert _audit_diffusion_rows.rows(None, AuditConfig(), {}) == [] and _audit_diffusion.draw(None) == {}
