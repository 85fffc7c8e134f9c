"""The two sides of a release for training: what is trained on, and what the model is tested on."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from ..udfs.holdout import holdout_position
from ._released import Sample

# Recall at k among a thousand is what the field reports; more would only make chance smaller.
MAX_TESTED = 1000


@dataclass(frozen=True)
class Split:
    """The two sides, and what the test is made on.

    Attributes:
        trained: samples the loader passes on.
        held_out: samples it never does.
        tested: those held out whose picture is not on the training side, at most ``MAX_TESTED``.
        copies: how many were held out but have their picture on the training side.
    """

    trained: list[Sample]
    held_out: list[Sample]
    tested: list[Sample]
    copies: int


def split_samples(samples: list[Sample], share: float) -> Split:
    """Divide samples by hash of their pair's id; see ``Split``. The lowest hashes are held out, and tested first."""
    positions = holdout_position(pa.array([sample.pair_id for sample in samples], pa.string())).to_pylist()
    placed = sorted(zip(positions, samples, strict=True), key=lambda item: (item[0], item[1].key))
    held_out = [sample for at, sample in placed if at < share]
    trained = [sample for at, sample in placed if at >= share]
    pictures = {sample.picture_sha256 for sample in trained}
    apart = [sample for sample in held_out if sample.picture_sha256 not in pictures]
    return Split(trained, held_out, apart[:MAX_TESTED], len(held_out) - len(apart))


def spoken(caption: str) -> str:
    """A caption as open_clip's tokenizer sees it: lower case, white space folded."""
    return " ".join(caption.lower().split())


def shared(split: Split) -> dict[str, int]:
    """How many tested samples have their key, pair, picture or caption on the training side.

    The first three are zero or the test would leak. Captions may repeat: two pictures of a cat are both "cat".
    """
    sides = {
        "keys": lambda sample: sample.key,
        "pairs": lambda sample: sample.pair_id,
        "pictures": lambda sample: sample.picture_sha256,
        "captions": lambda sample: spoken(sample.caption),
    }
    trained = {name: {of(sample) for sample in split.trained} for name, of in sides.items()}
    return {name: sum(of(sample) in trained[name] for sample in split.tested) for name, of in sides.items()}
