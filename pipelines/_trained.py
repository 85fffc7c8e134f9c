"""A finished run and the release it was trained on, each checked against the other."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..schemas import typed_yaml
from ..schemas.errors import ReleaseError
from ..schemas.train_config import TrainConfig
from ._held_out import Split, split_samples
from ._released import Release, read_release, verified_samples
from ._trainer_process import WEIGHTS

_TRAIN = "Run `fairshard train CONFIG` first"


@dataclass(frozen=True)
class Trained:
    """A model and what it was trained on.

    Attributes:
        folder: of the run.
        record: run.json.
        config: the run's own, not that of today.
        checkpoint: the last one.
        release: whose shards have shown the hashes of the manifest.
        split: the two sides.
    """

    folder: Path
    record: dict[str, Any]
    config: TrainConfig
    checkpoint: Path
    release: Release
    split: Split


def read_run(run_dir: str | Path, release_dir: str | Path) -> Trained:
    """A finished run, its release, and which side each sample was on.

    Raises:
        ReleaseError: no finished run, one on another release or that held out other samples, or a release that does not
            verify.
    """
    folder = Path(run_dir)
    record = run_record(folder)
    release = read_release(release_dir)
    trained_on = record["release"]["manifest_sha256"]
    if trained_on != release.manifest_sha256:
        raise ReleaseError(str(folder), f"was trained on another release, of manifest {trained_on[:16]}",
                           f"{release.manifest_sha256[:16]}, which {release_dir} is", _TRAIN)  # fmt: skip
    config = typed_yaml.build(TrainConfig, record["config"], f"{folder / 'run.json'}: config")
    split = split_samples(verified_samples(release), config.holdout_share)
    check_held_out(folder / "held_out.txt", split)
    return Trained(folder, record, config, folder / record["checkpoint"], release, split)


def run_record(folder: Path) -> dict[str, Any]:
    """What run.json says of a finished run: at least its release, its config and a checkpoint that is there.

    Raises:
        ReleaseError: no finished run.
    """
    path = folder / "run.json"
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ReleaseError(str(path), "does not exist", "the record of a finished run", _TRAIN) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ReleaseError(str(path), f"cannot be read ({error})", "the record of a finished run", _TRAIN) from error
    if not isinstance(record, dict) or record.get("status") != "done":
        raise ReleaseError(str(path), "is of a run that has not ended", "a finished run", _TRAIN)
    checkpoint, release, config = (record.get(key) for key in ("checkpoint", "release", "config"))
    stated = isinstance(release, dict) and isinstance(release.get("manifest_sha256"), str) and isinstance(config, dict)
    if not stated or checkpoint != WEIGHTS:
        raise ReleaseError(str(path), "does not name a release, a config and a checkpoint", "what train writes", _TRAIN)
    if not (path.parent / checkpoint).is_file():
        raise ReleaseError(str(path.parent / checkpoint), "does not exist", "the run's checkpoint", _TRAIN)
    return record


def ended(folder: Path) -> bool:
    """Whether a folder holds the record of a finished run, or of what claims to be one and has to be looked at."""
    try:
        record = json.loads((folder / "run.json").read_bytes())
    except FileNotFoundError:
        return False
    except (OSError, ValueError, RecursionError):
        return True
    return not isinstance(record, dict) or record.get("status") != "running"


def check_held_out(path: Path, split: Split) -> None:
    """Refuse a run whose list of held-out keys is not that of a split.

    Raises:
        ReleaseError: it is another, or cannot be read.
    """
    listed = held_out_keys(path)
    if listed != {sample.key for sample in split.held_out}:
        raise ReleaseError(str(path), f"lists {len(listed)} keys that are not those held out of the release",
                           f"the {len(split.held_out)} that train holds out", _TRAIN)  # fmt: skip


def held_out_keys(path: Path) -> set[str]:
    """The keys that a run lists as held out.

    Raises:
        ReleaseError: it cannot be read.
    """
    try:
        return set(path.read_text().split())
    except (OSError, ValueError) as error:
        raise ReleaseError(str(path), f"cannot be read ({error})", "the keys held out", _TRAIN) from error
