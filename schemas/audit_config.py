"""The `audit` section of a config."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AuditConfig:
    """What an audit calls a finding: more than these limits. All shares are 0 to 1.

    Attributes:
        max_later_opt_outs: released pairs that today's registries forbid.
        max_leaked_pictures: share of the tested pairs whose picture nearly is one that was trained on.
        max_leaked_captions: share of the tested pairs whose caption, but for case, punctuation and spacing, was
            trained on. Some are to be expected: two pictures of a cat are both called "cat".
        max_membership_auc: of the attack that tells trained from held-out pairs; 0.5 is chance. Exceeded only if
            the lower end of its 95 % interval is above.
        memorised_false_positives: a trained pair counts as memorised if its own caption leads by more than those of
            all held-out pairs but this share do. So this is the share that chance gives.
        max_memorised: share of the trained pairs that count as memorised.
        max_canaries_extracted: share of the planted canaries (``train.canaries``) that the model gives away wholly.
        generated: pictures that a diffusion run is asked for; half of their captions were trained on.
        replicated_false_positives: a generated picture counts as a replica if it is more alike to a trained one than all
            held-out pictures but this share are.
        max_replicated: share of the generated pictures that are replicas.
        copy_model: what compares them: TorchScript such as SSCD, or ONNX; the job's own CLIP run if not given.
        copy_side: of its input in pixels, where it has none of its own.
        loss_draws: noise levels at which a diffusion run's loss of a pair is taken.
        max_pairs: of each side that the model is shown; chosen by hash of their ids.
    """

    max_later_opt_outs: int = 0
    max_leaked_pictures: float = 0.0
    max_leaked_captions: float = 0.1
    max_membership_auc: float = 0.6
    memorised_false_positives: float = 0.05
    max_memorised: float = 0.1
    max_canaries_extracted: float = 0.05
    generated: int = 64
    replicated_false_positives: float = 0.01
    max_replicated: float = 0.05
    copy_model: str | None = None
    copy_side: int | None = None
    loss_draws: int = 8
    max_pairs: int = 2000
