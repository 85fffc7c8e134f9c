"""generate: pictures from the captions of a file, by a diffusion model that fairshard trained, each marked as generated."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from ..schemas.errors import InputError, MissingExtra, StageError
from . import _diffusion_model
from ._marks import marked_png
from ._progress import bar

WRITES = ("000000.png", "generated.jsonl")
LISTING = "generated.jsonl"


@dataclass(frozen=True)
class Generated:
    """What was made.

    Attributes:
        out_dir: the folder.
        pictures: how many are in it.
        model_sha256: of the weights, hex.
        seed, steps, guidance: as they were, defaults filled in.
    """

    out_dir: Path
    pictures: int
    model_sha256: str
    seed: int
    steps: int
    guidance: float


def run(
    run_dir: str | Path,
    captions_file: str | Path,
    out_dir: str | Path,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
) -> Generated:
    """A picture for each caption. The same model, captions and settings give the same pictures.

    Args:
        run_dir: of a finished run of the diffusion trainer.
        captions_file: UTF-8, one caption a line; empty lines are passed over.
        out_dir: a new or an empty folder: ``000000.png`` and so on, and ``generated.jsonl``, with a line of
            file, caption, seed and the weights' SHA-256 for each.
        seed: of the noise.
        steps, guidance: of sampling; as the run was configured if None.

    Raises:
        MissingExtra: [train] is not installed.
        InputError: no captions, a folder that holds something, or a setting out of range.
        ReleaseError: see ``_diffusion_model.load``.
        StageError: see there; or the folder cannot be written.
    """
    for module in ("torch", "diffusers", "open_clip", "safetensors"):
        if find_spec(module) is None:
            raise MissingExtra("train", "generate", module)
    captions, out = read_captions(Path(captions_file)), Path(out_dir).absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(str(out), "is no empty folder", "a new one: what a model made is kept apart")
    model = _diffusion_model.load(run_dir)
    steps = model.config.sampling_steps if steps is None else steps
    guidance = model.config.guidance if guidance is None else guidance
    if not 1 <= steps <= model.config.noise_steps:
        raise InputError("steps", f"is {steps}", f"1 to {model.config.noise_steps}, those the model was trained with")
    about = {
        "model": model.sha256,
        "release": model.record["release"]["manifest_sha256"],
        "software": f"fairshard {version('fairshard')}",
    }
    pictures = model.generate(captions, seed, steps, guidance)
    with (
        _whole(out) as partial,
        (partial / LISTING).open("w", encoding="utf-8") as listing,
        bar("generate", len(captions)) as progress,
    ):
        for number, (caption, picture) in enumerate(zip(captions, pictures, strict=True)):
            line = {"file": f"{number:06d}.png", "caption": caption, "seed": seed, "model_sha256": model.sha256}
            (partial / line["file"]).write_bytes(marked_png(picture, about))
            listing.write(json.dumps(line, ensure_ascii=False) + "\n")
            progress.advance()
    return Generated(out, len(captions), model.sha256, seed, steps, guidance)


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder under another name until it is whole: half of one would look like one of fewer captions."""
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.replace(out)
    except OSError as error:
        raise StageError(
            str(out), f"cannot be written ({error.strerror or error})", hint="Mend that and run again"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_captions(path: Path) -> list[str]:
    """The lines of a file that hold something.

    Raises:
        InputError: it cannot be read, or holds none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(str(path), f"cannot be read ({error})", "captions in UTF-8, one a line") from error
    captions = [line.strip() for line in lines if line.strip()]
    if not captions:
        raise InputError(str(path), "holds no caption", "one a line")
    return captions
