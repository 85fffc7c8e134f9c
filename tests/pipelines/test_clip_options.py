"""Words left out of captions, and the loss on views of pictures."""

from __future__ import annotations

import math
import random

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("open_clip", reason="needs the extra [train]")

from fairshard.pipelines import _clip_options as options  # noqa: E402


def test_words_are_left_out_by_share_and_keep_their_order():
    random.seed(0)
    words = [str(n) for n in range(1000)]
    kept = options.fewer_words(" ".join(words), 0.3).split()
    assert 650 < len(kept) < 750 and kept == sorted(kept, key=int)


@pytest.mark.parametrize("caption", ["", "  ", "word", "\u7f8e\u3057\u3044\u5c71"])
def test_the_last_word_stays(caption):
    assert options.fewer_words(caption, 0.999) == caption


def test_views_told_apart_cost_nothing_and_views_alike_cost_guessing():
    apart = torch.eye(8)
    assert options.same_picture_loss(apart, apart) == pytest.approx(0, abs=1e-3)
    alike = torch.ones(8, 4)
    assert options.same_picture_loss(alike, alike) == pytest.approx(math.log(15), abs=1e-5)
    assert options.same_picture_loss(apart, apart.roll(1, 0)) > math.log(15)


def test_views_reach_the_gradient_and_leave_what_testing_uses_alone():
    import open_clip

    from fairshard.pipelines._clip_model import MODEL_CONFIGS

    open_clip.add_model_config(MODEL_CONFIGS)
    create = options.with_views(open_clip.create_model_and_transforms)
    model, transform, _ = create("fairshard-tiny", output_dict=True)
    statistics = {name: value.clone() for name, value in model.visual.named_buffers() if "running" in name}
    images, texts = torch.rand(4, 3, 3, 64, 64), torch.ones(4, 32, dtype=torch.long)
    plain = model.eval()(images[:, 0], texts)
    assert set(plain) == {"image_features", "text_features", "logit_scale"}
    with options._running_statistics_kept(model):
        model.train().encode_image(images[:, 1])
    assert all(
        torch.equal(statistics[name], value) for name, value in model.visual.named_buffers() if "running" in name
    )
    losses = options.WithViews(open_clip.ClipLoss(), 0.5)(**model(images, texts), output_dict=True)
    losses["self_supervision_loss"].backward()
    assert model.visual.conv1.weight.grad.abs().sum() > 0 and set(losses) == {
        "contrastive_loss",
        "self_supervision_loss",
    }
    from PIL import Image

    assert transform(Image.new("RGB", (90, 70))).shape == (3, 3, 64, 64)
