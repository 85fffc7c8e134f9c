"""Vectors of a release's pictures, and which of them is nearest to some others.

The vectors of a release are made and compared in blocks and never held all at once. They may be kept in a file, for
the next time that the same model looks at the same release.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ..schemas.errors import ReleaseError, StageError
from ..udfs.nearest import Closest
from ._copy_model import CopyModel, Vectors
from ._embed import vectors_of
from ._progress import bar
from ._release import Release
from ._released import Sample
from ._shards import read_samples

_BLOCK = 256
_TEXT = ("json", "txt")
_MAX_PIXELS = 64_000_000
_KEPT = "vectors.parquet"

Seen = tuple[list[str], Vectors]


@dataclass(frozen=True)
class Found:
    """What is nearest to each of some pictures.

    Attributes:
        keys: of the nearest samples.
        similarity: float32[n], cosine.
    """

    keys: list[str]
    similarity: npt.NDArray[np.float32]


def nearest(queries: Vectors, seen: Iterable[Seen]) -> Found | None:
    """The sample that is nearest to each picture; None if there are no samples.

    Args:
        queries: float32[n, d], of unit length; they are held in memory.
        seen: keys and float32[m, d] of unit length, block by block.
    """
    closest, keys = Closest(queries), {}
    for some, vectors in seen:
        for row, place in closest.look(vectors):
            keys[row] = some[place]
    return Found([keys[row] for row in range(len(queries))], closest.similarity) if len(keys) == len(queries) else None


def release_vectors(release: Release, shards: list[str], model: CopyModel, keep: Path | None = None) -> Iterator[Seen]:
    """Vectors of every picture in some shards, in their order.

    Args:
        release: where they are.
        shards: their names in it.
        model: which looks.
        keep: a folder to keep the vectors in, or to find them in.

    Raises:
        ReleaseError: a shard cannot be read, or a picture not be decoded.
        StageError: the model fails.
    """
    if keep is None:
        yield from _looked_at(release, shards, model)
        return
    about = {b"model": repr(model.said()).encode(), b"shards": _identity(release, shards).encode()}
    if not _is_of(keep / _KEPT, about):
        _write(keep, about, _looked_at(release, shards, model))
    yield from _read(keep / _KEPT)


def pictures(release: Release, shard: str, keys: Collection[str] | None = None) -> Iterator[tuple[str, Image.Image]]:
    """Key and RGB picture of the samples of a shard, or of those with some keys.

    Raises:
        ReleaseError: it cannot be read, or a picture not be decoded.
    """
    try:
        with release.fs.open(release.path(shard), "rb") as file:
            for sample in read_samples(file, shard):  # type: ignore[arg-type]
                if keys is None or sample.key in keys:
                    data = next((data for ending, data in sample.parts.items() if ending not in _TEXT), b"")
                    yield sample.key, _decoded(data, f"{shard}: {sample.key}")
    except OSError as error:
        raise ReleaseError(shard, f"cannot be read ({error})", "a WebDataset shard") from error


def pictures_of(folder: Path, samples: Collection[Sample]) -> Iterator[tuple[str, Image.Image]]:
    """Key and RGB picture of some samples, in the order of the shards; raises as ``pictures``."""
    wanted = {sample.key for sample in samples}
    for shard in sorted({sample.shard for sample in samples}):
        yield from pictures(Release(str(folder)), shard, wanted)


def _looked_at(release: Release, shards: list[str], model: CopyModel) -> Iterator[Seen]:
    keys, waiting = [], []
    with bar("look", len(shards)) as progress:
        for shard in shards:
            for key, picture in pictures(release, shard):
                keys.append(key)
                waiting.append(picture)
                if len(keys) == _BLOCK:
                    yield keys, model.vectors(waiting)
                    keys, waiting = [], []
            progress.advance(1, model.kind)
        if keys:
            yield keys, model.vectors(waiting)


def _decoded(data: bytes, where: str) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as picture:
            if picture.width * picture.height > _MAX_PIXELS:
                raise ReleaseError(where, f"has {picture.width} x {picture.height} px", f"at most {_MAX_PIXELS} in all")
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ReleaseError(where, f"cannot be decoded ({error})", "a picture") from error


def _identity(release: Release, shards: list[str]) -> str:
    return f"{release.fact('manifest.json').sha256} {' '.join(shards)}"


def _is_of(path: Path, about: dict[bytes, bytes]) -> bool:
    try:
        found = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowException):
        return False
    return all(found.get(name) == value for name, value in about.items())


def _write(folder: Path, about: dict[bytes, bytes], seen: Iterator[Seen]) -> None:
    schema = pa.schema([("key", pa.string()), ("vector", pa.list_(pa.float32()))]).with_metadata(about)
    with (
        Release(str(folder)).create(_KEPT) as sink,
        pq.ParquetWriter(sink, schema, compression="zstd", use_dictionary=False) as writer,
    ):
        for keys, vectors in seen:
            ends = np.arange(0, vectors.size + 1, vectors.shape[1], dtype=np.int32)
            columns = [pa.array(keys), pa.ListArray.from_arrays(pa.array(ends), pa.array(vectors.ravel()))]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))


def _read(path: Path) -> Iterator[Seen]:
    try:
        for batch in pq.ParquetFile(path).iter_batches(_BLOCK):
            yield batch.column("key").to_pylist(), vectors_of(batch.column("vector"))
    except (OSError, pa.ArrowException) as error:
        raise StageError(str(path), f"cannot be read ({error})", "vectors", "Delete it and run again") from error
