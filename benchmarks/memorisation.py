"""Does deduplication keep a diffusion model from copying? One model, trained with planted duplicates and without.

    python benchmarks/memorisation.py     # three seeds, six models of some five minutes of a core each, two at a time
    python benchmarks/memorisation.py --seeds 1 --steps 300 --out experiment   # quicker; what it made stays there

Pictures of the sample web are listed, most of them once, some 4, 16 or 64 times under other addresses with the same
caption. fairshard makes two releases of that one list, whose configs differ in `dedup` alone: off, and as it is by
default. On each a CLIP model is trained for its text tower, and then the same small diffusion model for the same number
of steps, from each seed. Each model draws pictures from the captions of the planted ones.

Likeness is the correlation of all colour values with those of the planted picture, at the model's own size. A drawn
picture counts as a copy if it is more like the planted one than 95 % of real pictures that were never trained on are
like whichever trained picture is nearest to them; or, second measure, if its pHash is within 10 of 64 bits. Only planted
pictures that are trained on in both releases count: the held-out side is chosen by hash.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import hashlib
import io
import multiprocessing
import statistics
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from PIL import Image

from fairshard.examples.sample_web import FOLDER
from fairshard.examples.sample_web.server import SampleWeb
from fairshard.pipelines import demo, train, train_diffusion
from fairshard.pipelines._diffusion_model import load
from fairshard.pipelines._held_out import spoken
from fairshard.pipelines._run import run as run_stages
from fairshard.pipelines._shards import read_samples
from fairshard.pipelines._trained import Trained, read_run
from fairshard.pipelines._work import STAGES
from fairshard.schemas.config import Balance, Dedup, Source
from fairshard.schemas.diffusion_config import DiffusionConfig
from fairshard.schemas.train_config import TrainConfig
from fairshard.udfs.phash import phash

COPIES = (1, 4, 16, 64)
ARMS = {
    "duplicates left in": Dedup(exact=False, phash_max_distance=None, pdq_max_distance=None),
    "deduplicated": Dedup(),
}
_MIRRORS = ("cdn.harbour.example", "static.orchard.example", "gallery.lantern.example", "archive.pebble.example",
            "art.juniper.example", "snow.glacier.example", "photos.meadow.example", "meadow.example")  # fmt: skip
_CONTROL_PERCENTILE, _PHASH_BITS = 95, 10
Pictures = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Drawn:
    """What one model drew.

    Attributes:
        likeness: by caption, of each drawn picture to the planted one; -1 to 1.
        bits: by caption, in which their pHashes differ.
        best: by caption, the drawn picture that is most like it.
    """

    likeness: dict[str, list[float]]
    bits: dict[str, list[int]]
    best: dict[str, Image.Image]


def planted_list(pictures: int, each: int) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """Addresses and captions, and how often each planted caption is listed.

    Args:
        pictures: that are listed in all.
        each: planted for each of ``COPIES``.
    """
    found: dict[str, str] = {}
    for row in pq.read_table(FOLDER / "pairs.parquet", columns=["URL", "TEXT"]).to_pylist():
        url, caption = row["URL"] or "", row["TEXT"] or ""
        if "/pictures/" in url and urlsplit(url).hostname in _MIRRORS and caption:
            found.setdefault(caption, url)
    chosen = sorted(found.items(), key=lambda item: hashlib.sha256(item[0].encode()).digest())[:pictures]
    copies = {caption: COPIES[n // each] for n, (caption, _) in enumerate(chosen[: each * len(COPIES)])}
    rows = [(url, caption) for caption, url in chosen]
    for caption, url in chosen[: each * len(COPIES)]:
        rows += [(f"http://{_MIRRORS[n % len(_MIRRORS)]}{urlsplit(url).path}?copy={n}", caption)
                 for n in range(1, copies[caption])]  # fmt: skip
    return rows, copies


def releases(folder: Path, rows: Iterable[tuple[str, str]]) -> dict[str, Path]:
    """A release for each arm, of the same list, fetched once."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "list.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("url", "caption"), *rows])
    made: dict[str, Path] = {}
    with SampleWeb() as web:
        job = demo.job(folder, web.proxy_url)
        for number, (arm, dedup) in enumerate(ARMS.items()):
            made[arm] = folder / f"release-{number}"
            if (made[arm] / "manifest.json").exists():
                continue
            config = dataclasses.replace(
                job.config, sources=(Source(str(folder / "list.csv")),), dedup=dedup, balance=Balance(),
                release_dir=str(made[arm]), work_dir=str(folder / "work"),
            )  # fmt: skip
            run_stages(dataclasses.replace(job, config=config), STAGES)
    return made


def as_pixels(picture: Image.Image, side: int) -> Pictures:
    """float32[3 * side * side], centred and of unit length: the inner product of two is their correlation."""
    from fairshard.pipelines._denoising import as_tensor

    pixels = as_tensor(picture, side).numpy().ravel()
    pixels = pixels - pixels.mean()
    return pixels / max(float(np.linalg.norm(pixels)), 1e-6)


def pictures_of(run: Trained) -> dict[str, Image.Image]:
    """By key, every picture of the release."""
    found: dict[str, Image.Image] = {}
    for shard in run.release.shards:
        with (run.release.folder / shard.path).open("rb") as file:
            for sample in read_samples(file, shard.path):
                data = next(sample.parts[ending] for ending in ("jpg", "png", "webp") if ending in sample.parts)
                found[sample.key] = Image.open(io.BytesIO(data)).convert("RGB")
    return found


def control(run: Trained, pictures: dict[str, Image.Image], side: int) -> float:
    """The likeness to the nearest trained picture that few held-out pictures reach."""
    trained = np.stack([as_pixels(pictures[sample.key], side) for sample in run.split.trained])
    apart = np.stack([as_pixels(pictures[sample.key], side) for sample in run.split.tested])
    return float(np.percentile((apart @ trained.T).max(axis=1), _CONTROL_PERCENTILE))


def draw(run_dir: Path, release: Path, planted: dict[str, Image.Image], times: int, seed: int) -> Drawn:
    """Draw each planted caption some times, and compare."""
    model = load(run_dir, release)
    captions = [caption for caption in planted for _ in range(times)]
    made = model.generate(captions, seed, model.config.sampling_steps, model.config.guidance)
    drawn = Drawn({}, {}, {})
    for caption, picture in zip(captions, made, strict=True):
        real = planted[caption]
        likeness = float(as_pixels(picture, model.image_size) @ as_pixels(real, model.image_size))
        if likeness > max(drawn.likeness.get(caption, [-2.0])):
            drawn.best[caption] = picture
        drawn.likeness.setdefault(caption, []).append(likeness)
        drawn.bits.setdefault(caption, []).append(_bits(picture, real.resize(picture.size)))
    return drawn


def _bits(one: Image.Image, other: Image.Image) -> int:
    first, second = (phash(np.asarray(picture.convert("L"))) for picture in (one, other))
    return ((first ^ second) & 0xFFFF_FFFF_FFFF_FFFF).bit_count()


def table(found: dict[str, list[Drawn]], copies: dict[str, int], threshold: float) -> str:
    """Markdown: a row for each number of copies, the arms side by side."""
    lines = [
        "| listed | pictures | arm | likeness | copies by likeness | copies by pHash |",
        "|---:|---:|---|---:|---:|---:|",
    ]
    for count in COPIES:
        those = [caption for caption, times in copies.items() if times == count]
        for arm, models in found.items():
            if not those or not models:
                continue
            likeness = [[x for caption in those for x in one.likeness[caption]] for one in models]
            bits = [[x for caption in those for x in one.bits[caption]] for one in models]
            cells = (
                _spread([statistics.mean(values) for values in likeness], "{:.2f}"),
                _spread([100 * statistics.mean(x > threshold for x in values) for values in likeness], "{:.0f} %"),
                _spread([100 * statistics.mean(x <= _PHASH_BITS for x in values) for values in bits], "{:.0f} %"),
            )
            lines.append(f"| {count} | {len(those)} | {arm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(values: Sequence[float], form: str) -> str:
    spread = f" ± {form.format(statistics.stdev(values))}" if len(values) > 1 else ""
    return form.format(statistics.mean(values)) + spread


def picture(path: Path, found: dict[str, list[Drawn]], copies: dict[str, int], planted: dict[str, Image.Image]) -> None:
    """replication.png: each planted picture above the nearest that the first model of each arm drew."""
    from matplotlib.figure import Figure

    names = {"as trained": planted} | {arm: models[0].best for arm, models in found.items()}
    figure = Figure(figsize=(1.1 * len(copies) + 1.2, 3.9), dpi=110, layout="constrained")
    grid = figure.subplots(len(names), len(copies), squeeze=False)
    for row, (name, pictures) in zip(grid, names.items(), strict=True):
        for place, caption in zip(row, copies, strict=True):
            place.imshow(pictures[caption].resize((64, 64)))
            place.set(xticks=[], yticks=[])
        row[0].set_ylabel(name, fontsize=8)
    for place, times in zip(grid[0], copies.values(), strict=True):
        place.set_title(f"× {times}", fontsize=8)
    figure.savefig(path, metadata={"Software": None})


def models(
    options: argparse.Namespace, folder: Path, seed: int, runs: dict[str, Trained], planted: dict[str, Image.Image]
) -> list[Drawn]:
    """What a model of each arm draws; they are trained side by side, each on one core."""
    jobs = []
    for number, run in enumerate(runs.values()):
        config = DiffusionConfig(image_size=options.side, block_channels=tuple(options.channels), seed=seed,
                                 batch_size=options.batch_size, sample_every=10**6)  # fmt: skip
        an_epoch = -(-len(run.split.trained) // config.batch_size)
        config = dataclasses.replace(config, epochs=max(1, round(options.steps / an_epoch)))
        jobs.append((run, folder / f"diffusion-{number}-{seed}", config, planted, options.times))
    with ProcessPoolExecutor(len(jobs), mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(_model, *zip(*jobs, strict=True)))


def _model(clip: Trained, out: Path, config: DiffusionConfig, planted: dict[str, Image.Image], times: int) -> Drawn:
    release = clip.release.folder
    train_diffusion.run(release, clip.folder, out, config)
    return draw(out, release, planted, times, config.seed)


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="fairshard-memorisation-") as scratch:
        folder = (options.out or Path(scratch)).resolve()
        rows, copies = planted_list(options.pictures, options.each)
        arms, runs = releases(folder, rows), {}
        for number, (arm, release) in enumerate(arms.items()):
            train.run(release, folder / f"clip-{number}", TrainConfig(epochs=options.clip_epochs, image_size=32))
            runs[arm] = read_run(folder / f"clip-{number}", release)
        # What is trained on in both, and what a picture that is not looks like.
        for run in runs.values():
            sides = {spoken(sample.caption) for sample in run.split.trained}
            copies = {caption: times for caption, times in copies.items() if spoken(caption) in sides}
        single = runs["deduplicated"]
        pictures = pictures_of(single)
        planted = {caption: next(pictures[sample.key] for sample in single.split.trained
                                 if spoken(sample.caption) == spoken(caption)) for caption in copies}  # fmt: skip
        found: dict[str, list[Drawn]] = {arm: [] for arm in arms}
        threshold = control(single, pictures, options.side)
        for seed in range(options.seeds):
            for arm, drawn in zip(arms, models(options, folder, seed, runs, planted), strict=True):
                found[arm].append(drawn)
                likeness = statistics.mean(x for values in drawn.likeness.values() for x in values)
                print(f"seed {seed}, {arm}: {len(runs[arm].split.trained)} pairs, likeness {likeness:.3f}", flush=True)
            shown = (options.out or Path(".")) / "replication.png"
            picture(shown, found, copies, planted)
            print(
                f"\nlikeness of a copy: over {threshold:.3f}; grid: {shown}\n{table(found, copies, threshold)}",
                flush=True,
            )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of all that is made, which stays there")
    parser.add_argument("--seeds", type=int, default=3, help="of the diffusion model (default 3)")
    parser.add_argument("--steps", type=int, default=1000, help="of its training, about (default 1,000)")
    parser.add_argument("--batch-size", type=int, default=32, help="default 32")
    parser.add_argument("--side", type=int, default=16, help="of its pictures in pixels (default 16)")
    parser.add_argument("--channels", type=int, nargs="+", default=[32, 64], help="of its levels (default 32 64)")
    parser.add_argument("--pictures", type=int, default=160, help="that are listed (default 160)")
    parser.add_argument("--each", type=int, default=4, help="planted for each number of copies (default 4)")
    parser.add_argument("--times", type=int, default=4, help="each planted caption is drawn (default 4)")
    parser.add_argument("--clip-epochs", type=int, default=4, help="of the CLIP models (default 4)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
