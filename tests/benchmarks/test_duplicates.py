"""How the benchmarks of duplicates choose pictures and count pairs."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from fairshard.schemas.config import Dedup
from fairshard.udfs.decoding import decode

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module


@pytest.fixture
def scores(load) -> ModuleType:
    return load("duplicates_scores")


def hashes(scores, phash, topic=None, known=None, colours=None, seed=0):
    """Pictures with these pHashes, each of one level of grey if known; all else is random."""
    rng, count = np.random.default_rng(seed), len(phash)
    turned = rng.integers(0, 2**63, (count, 8, 4), np.uint64)
    return scores.Hashes(
        topic=np.arange(1, count + 1) if topic is None else np.array(topic),
        symmetric=np.zeros(count, np.bool_),
        sha256=rng.integers(0, 2**63, count, np.uint64),
        phash=np.array(phash, np.uint64),
        pdq=turned[:, 0],
        turned=turned,
        known=np.ones(count, np.bool_) if known is None else np.array(known),
        colours=np.zeros((count, 768), np.uint8)
        if colours is None
        else np.repeat(np.array(colours, np.uint8), 768).reshape(-1, 768),
        seen=np.full(count, colours is not None),
        vector=np.zeros((count, 0), np.float32),
    )


def test_pairs_are_right_wrong_or_not_compared(scores):
    """The second picture is 2 bits from the first and of its topic; the third cannot be compared."""
    originals = hashes(scores, [0b0, 0b11, 0xFF], topic=[5, 5, 6], known=[True, True, False])
    copies = hashes(scores, [0b1, 0b11, 0xFF], topic=[5, 5, 6])
    found = scores.tally(scores.Measure(scores.phash_bits, 64), originals, copies)
    assert found.own.nonzero()[0].tolist() == [0, 1, 65]
    assert found.wrong[:4].tolist() == [0, 2, 2, 0]
    assert found.wrong_within[:4].tolist() == found.wrong[:4].tolist()
    assert found.nearest.tolist() == [2, 1, 65]
    assert found.recall()[:2].tolist() == [0.5, 1.0]
    assert found.precision()[:3].tolist() == [1.0, 0.5, 1 / 3]
    assert found.precision(within_topics=False)[:3].tolist() == [1.0, 1.0, 1.0]
    assert found.tied_wrongly()[:3].tolist() == [0, 1 / 3, 2 / 3]


def test_all_pairs_are_counted_across_blocks(scores):
    rng = np.random.default_rng(1)
    values = rng.integers(0, 32, 400)
    originals, copies = hashes(scores, values[:200]), hashes(scores, values[200:])
    found = scores.tally(scores.Measure(scores.phash_bits, 64), originals, copies)
    apart = [
        (int(values[left] ^ values[right]).bit_count(), left % 200 == right % 200)
        for left in range(400)
        for right in range(left)
    ]
    assert found.wrong[:6].tolist() == [sum(pair == (bits, False) for pair in apart) for bits in range(6)]
    assert found.own[:6].tolist() == [sum(pair == (bits, True) for pair in apart) for bits in range(6)]


def test_tallies_are_added_up(scores):
    measure = scores.Measure(scores.phash_bits, 64)
    first = scores.tally(measure, hashes(scores, [0, 1]), hashes(scores, [0, 3]))
    second = scores.tally(measure, hashes(scores, [0, 0xFF]), hashes(scores, [0, 0xFFFF]))
    both = scores.together([first, second])
    assert both.recall()[:2].tolist() == [0.5, 0.75]
    assert both.tied_wrongly()[1] == 0.5


def test_dihedral_takes_the_nearest_turn(scores):
    left, right = hashes(scores, [0], seed=1), hashes(scores, [0], seed=2)
    turned = np.stack([left.turned[0]])
    turned[0, 6] = right.pdq[0] ^ np.uint64(1)
    left = scores.Hashes(**{**vars(left), "turned": turned})
    assert scores.dihedral_bits(left, right).tolist() == [[4]]
    assert scores.pdq_bits(left, left).tolist() == [[0]]


def test_hashes_tie_where_pictures_are_not_flat(scores):
    one = hashes(scores, [0, 0, 0b11111], known=[True, False, True])
    alone = functools.partial(Dedup, colour_max_distance=None, confirming_pdq_max_distance=None)
    assert scores.untied(alone(phash_max_distance=4))(one, one).tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
    assert scores.untied(alone(phash_max_distance=5))(one, one).tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    by_pdq = alone(phash_max_distance=None, pdq_max_distance=31)
    assert scores.untied(by_pdq)(one, one).tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
    one = scores.Hashes(**{**vars(one), "pdq": np.zeros_like(one.pdq)})
    assert scores.untied(by_pdq)(one, one)[0].tolist() == [0, 1, 0]


def test_colours_confirm_what_hashes_find(scores):
    """The last is 7 bits from the others, and the last but one flat."""
    one = hashes(scores, [0, 0, 0, 0, 127], known=[True, True, True, False, True], colours=[100, 116, 170, 100, 100])
    assert scores.untied(Dedup(confirming_pdq_max_distance=60))(one, one)[0].tolist() == [0, 1, 1, 1, 1]
    one = scores.Hashes(**{**vars(one), "pdq": np.zeros_like(one.pdq)})
    assert scores.untied(Dedup())(one, one)[0].tolist() == [0, 0, 1, 0, 1]
    assert scores.untied(Dedup(phash_max_distance=7))(one, one)[0].tolist() == [0, 0, 1, 0, 0]
    assert scores.untied(Dedup(colour_max_distance=None))(one, one)[0].tolist() == [0, 0, 0, 1, 1]
    unknown = scores.Hashes(**{**vars(one), "seen": np.zeros(5, np.bool_)})
    assert scores.untied(Dedup())(unknown, unknown)[0].tolist() == [0, 1, 1, 1, 1]


def test_cosine_is_rounded_up_to_a_step(scores):
    one = hashes(scores, [0, 0, 0])
    vectors = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    one = scores.Hashes(**{**vars(one), "vector": vectors})
    assert scores.cosine_steps(one, one)[0].tolist() == [0, scores.COSINE_STEPS, 2 * scores.COSINE_STEPS]


def test_equal_pixels_are_one_picture(load, tmp_path):
    planted = load("planted_copies")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8))
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "b.png", compress_level=0)
    picture.rotate(180).save(tmp_path / "c.png")
    picture.resize((63, 90)).save(tmp_path / "small.png")
    (tmp_path / "text.png").write_text("no picture")
    digests = {path: planted.pixel_digest(path) for path in sorted(tmp_path.iterdir())}
    assert sorted(path.name for path in planted.different(digests, None)) == ["a.png", "c.png"]
    assert len(planted.different(digests, 1)) == 1


def test_every_copy_is_a_picture(load):
    planted = load("planted_copies")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8))
    sizes = {name: decode(change(picture)).rgb.shape[:2] for name, change in planted.CHANGES.items()}
    assert sizes["resize to 25 %"] == (20, 25)
    assert sizes["crop 10 %"] == (72, 90)
    assert sizes["turn 90"] == (100, 80)
    assert sizes["border 5 %"] == (90, 110)
    assert set(planted.EASY) < set(sizes)


def test_symmetric_is_its_own_mirror_image_or_half_turn(load):
    is_symmetric = load("planted_copies").is_symmetric
    half = np.random.default_rng(0).integers(0, 256, (128, 64), np.uint8)
    left, right = (np.concatenate([half, other], axis=1) for other in (half[:, ::-1], half[::-1, ::-1]))
    assert [is_symmetric(Image.fromarray(pixels)) for pixels in (left, left.T, right)] == [True] * 3
    assert not is_symmetric(Image.fromarray(np.concatenate([half, half], axis=1)))


def test_what_is_left_of_families(load):
    peer = load("duplicates_peer")
    files = ["0-0.png", "0-1.jpeg", "1-0.png", "1-1.jpeg", "2-0.png", "2-1.jpeg"]
    told = peer.summary(files, ["0-1.jpeg", "2-0.png", "2-1.jpeg"])
    assert told == "one file left of 1 pictures, several of 1, none of 1"
    ties = [("0-0.png", "0-1.jpeg"), ("0-1.jpeg", "1-0.png")]
    assert peer.pair_score(files, ties) == "pairs: precision 0.5000, recall 0.3333"


def test_a_picture_of_a_folder_and_one_of_a_folder_in_it_are_of_one_topic(scores):
    inner = 7 * scores.TOPICS
    originals = hashes(scores, [0b0, 0b1, 0b10], topic=[inner, inner + 3, inner + 4])
    found = scores.tally(scores.Measure(scores.phash_bits, 64), originals, originals)
    assert (found.wrong[1:3].tolist(), found.wrong_within[1:3].tolist()) == ([8, 4], [8, 0])
