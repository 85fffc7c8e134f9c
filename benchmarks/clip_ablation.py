"""What the options for few pairs do to the CLIP trainer on the sample web: each alone, and all together.

    python benchmarks/clip_ablation.py                                  # makes the sample's release first
    python benchmarks/clip_ablation.py --release demo/release --out runs  # goes on with the runs that are there
    python benchmarks/clip_ablation.py --seeds 5 --epochs 30 --image-size 32

Each row is the mean over seeds of training, and its standard deviation from seed to seed; the split is the same for all.
Recall at 5 is the mean of both directions among the held-out pairs. The margin says by how much a held-out picture is
nearer to its own caption than to the nearest other one. The AUC is of the audit's membership attack by that margin: how
well one can tell what was trained on. CPU is that of a run, all its processes.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fairshard.pipelines import _audit_model, demo, train
from fairshard.pipelines._trained import read_run
from fairshard.schemas.train_config import Augmentation, TrainConfig

_AUGMENTATION = Augmentation(scale=(0.5, 1.0), color_jitter_prob=0.5, gray_scale_prob=0.1)
_OPTIONS = {
    "augmentation": {"augmentation": _AUGMENTATION},
    "caption dropout 0.2": {"caption_dropout": 0.2},
    "self-supervision 0.5": {"self_supervision": 0.5},
}
ARMS = {"none": {}, **_OPTIONS, "all three": {k: v for option in _OPTIONS.values() for k, v in option.items()}}


@dataclasses.dataclass(frozen=True)
class Measured:
    """One run; shares are 0 to 1."""

    recall_at_5: float
    held_out_loss: float
    margin: float
    auc: float
    cpu_s: float | None


def measure(release: Path, out: Path, config: TrainConfig) -> Measured:
    """Train, unless that was done before, and measure."""
    before = _cpu_s()
    result = train.run(release, out, config)
    cpu_s = None if result.already_done else _cpu_s() - before
    memory = _audit_model.measure(read_run(out, release), (), 2000)
    if memory is None:
        raise SystemExit(f"{release} has too few pairs to compare")
    at_five = [found["recall"][1]["value"] for found in result.record["retrieval"].values()]
    return Measured(
        statistics.mean(at_five),
        result.record["loss"]["held_out"],
        float(memory.held_out_ties.margin.mean()),
        memory.attacks["margin"].auc,
        cpu_s,
    )


def table(found: dict[str, list[Measured]]) -> str:
    """Markdown: a row an arm."""
    lines = ["| option | recall at 5 | held-out loss | held-out margin | membership AUC | CPU s a run |",
             "|---|---:|---:|---:|---:|---:|"]  # fmt: skip
    for arm, runs in found.items():
        cpu = [run.cpu_s for run in runs if run.cpu_s is not None]
        cells = [_spread([100 * run.recall_at_5 for run in runs], 1, " %"), _spread([r.held_out_loss for r in runs], 2),
                 _spread([r.margin for r in runs], 3), _spread([r.auc for r in runs], 3),
                 f"{statistics.median(cpu):.0f}" if cpu else "not run"]  # fmt: skip
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(values: Sequence[float], digits: int, unit: str = "") -> str:
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{unit}{spread}"


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path, help="of the sample web; made if not given")
    parser.add_argument("--out", type=Path, help="folder of the runs, which stay there")
    parser.add_argument("--seeds", type=int, default=3, help="default 3")
    parser.add_argument("--epochs", type=int, default=10, help="default 10")
    parser.add_argument("--image-size", type=int, help="side of the model's input in pixels; 64 if not given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fairshard-ablation-") as scratch:
        out = options.out or Path(scratch, "runs")
        if options.release is None:
            demo.run(Path(scratch, "demo"), train=False)
        release = options.release or Path(scratch, "demo", "release")
        found: dict[str, list[Measured]] = {arm: [] for arm in ARMS}
        for seed in range(options.seeds):
            for number, (arm, changes) in enumerate(ARMS.items()):
                config = TrainConfig(epochs=options.epochs, image_size=options.image_size, seed=seed, **changes)
                found[arm].append(measure(release, out / f"{number}-{seed}", config))
                print(f"seed {seed}, {arm}: {found[arm][-1]}", flush=True)
        print(table(found))


if __name__ == "__main__":
    main()
