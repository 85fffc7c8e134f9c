"""A CLIP model on disk: a run of `fairshard train`, or a checkpoint of open_clip's whose architecture is stated."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..schemas import typed_yaml
from ..schemas.config import Job, fingerprint
from ..schemas.errors import ConfigError, Refused, StageError, did_you_mean
from ..schemas.train_config import TrainConfig
from ._trained import run_record

MODEL_CONFIGS = Path(__file__).parent / "model_configs"
_KEY = "dedup.embedding_model"


@dataclass(frozen=True)
class ClipModel:
    """Where a model lies, and what it is.

    Attributes:
        checkpoint: of open_clip's.
        architecture: the JSON file that describes it; its name without the ending is what open_clip calls it.
        image_size: side of its input in pixels; as the architecture says if None.
        trained_on: SHA-256 of the manifest of the release it was trained on; None where that is not stated.
    """

    checkpoint: str
    architecture: str
    image_size: int | None
    trained_on: str | None

    def sha256(self) -> str:
        """Of the checkpoint, hex."""
        now = Path(self.checkpoint).stat()
        return _sha256(self.checkpoint, now.st_size, now.st_mtime_ns)

    def identity(self) -> str:
        """Fingerprint of all that decides what it makes of a picture."""
        return fingerprint(self.sha256(), json.loads(Path(self.architecture).read_bytes()), self.image_size)

    def said(self) -> dict[str, str | None]:
        """For the run summary and the manifest of a release: what it is, not where."""
        return {"sha256": self.sha256(), "architecture": Path(self.architecture).stem, "trained_on": self.trained_on}

    def load(self) -> tuple[Any, Any]:
        """The model, ready to be asked, and its transform of pictures.

        Raises:
            StageError: the checkpoint cannot be loaded.
        """
        import open_clip

        name = Path(self.architecture).stem
        try:
            open_clip.add_model_config(self.architecture)
            model, _, transform = open_clip.create_model_and_transforms(
                name, pretrained=self.checkpoint, force_image_size=self.image_size
            )
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise StageError(self.checkpoint, f"cannot be loaded ({reason})", f"a checkpoint of {name}") from error
        model.eval()  # type: ignore[union-attr]
        return model, transform


@lru_cache(maxsize=1)
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    """Of a file of gigabytes, read once as long as it stays what it is."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def embedding_model(job: Job) -> ClipModel | None:
    """The model that a job compares pictures by; None where it does not.

    Raises:
        ConfigError: there is none at the path, or its architecture is not stated or not known.
        ReleaseError: a folder that is not of a finished run.
        Refused: the policy keeps only what was permitted, and the model does not say what it was trained on.
    """
    config = job.config.dedup
    if config.embedding_model is None:
        return None
    path = Path(job.path(config.embedding_model))
    if path.is_dir():
        if config.embedding_architecture is not None:
            raise ConfigError("dedup.embedding_architecture", "is given", "none: a run folder states its own")
        return of_run(path, run_record(path))
    if not path.is_file():
        raise ConfigError(_KEY, f"is '{config.embedding_model}', which is not there", "a run folder or a checkpoint")
    if job.policy.none == "drop":
        raise Refused(
            _KEY, f"{path.name} does not say what it was trained on",
            f"a run folder of `fairshard train`, since policy {job.policy.name} keeps only what was permitted",
        )  # fmt: skip
    if config.embedding_architecture is None:
        raise ConfigError("dedup.embedding_architecture", "is not given", "the architecture of the checkpoint")
    return ClipModel(str(path), _described(job, config.embedding_architecture), None, None)


def of_run(folder: Path, record: dict[str, Any]) -> ClipModel:
    """The model of a finished run, its last checkpoint."""
    config = typed_yaml.build(TrainConfig, record["config"], f"{folder / 'run.json'}: config")
    described = folder / f"{config.model}.json"
    return ClipModel(
        str(folder / record["checkpoint"]), str(described), config.image_size, record["release"]["manifest_sha256"]
    )


def architecture(name: str, key: str) -> Path:
    """The file that describes an architecture: ours, or open_clip's, found without importing torch.

    Raises:
        ConfigError: there is none of that name.
    """
    spec = find_spec("open_clip")
    theirs = [Path(place, "model_configs") for place in (spec and spec.submodule_search_locations) or ()]
    known = {path.stem: path for place in (*theirs, MODEL_CONFIGS) for path in place.glob("*.json")}
    if name not in known:
        raise ConfigError(key, f"is '{name}'", "an architecture of open_clip's", did_you_mean(name, known))
    return known[name]


def _described(job: Job, name: str) -> str:
    if not name.endswith(".json"):
        return str(architecture(name, "dedup.embedding_architecture"))
    path = job.path(name)
    if not Path(path).is_file():
        raise ConfigError("dedup.embedding_architecture", f"is '{name}', which is not there", "a JSON file")
    return path
