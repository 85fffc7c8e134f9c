"""What a CLIP model sees in pictures: the table ``embedding``, made where other work on bytes runs.

A partition is one of ``fetch``: its renditions lie in one tar. Equal originals are seen once, and when a partition has
to be made again, what the same model saw in the same originals is taken over.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from ..schemas.config import fingerprint
from ..schemas.errors import StageError
from ..schemas.tables import EMBEDDING, IMAGE
from ._clip_model import ClipModel
from ._memory import keep_freed_memory
from ._shards import read_ranges
from ._store import Store, read_parquet

if TYPE_CHECKING:  # workers, which import this too, do without the engines
    from ._work import Work

SEEN = """
SELECT alive.pair_id, image.sha256, image.work_shard, image.work_offset, image.work_bytes, renditions.part
FROM alive JOIN image ON alive.pair_id = image.pair_id JOIN renditions ON image.work_shard = renditions.work_shard
WHERE image.status = 'ok' AND image.sha256 IS NOT NULL
"""
_SEEN = pa.schema(
    [
        *(IMAGE.schema.field(name) for name in ("pair_id", "sha256", "work_shard", "work_offset", "work_bytes")),
        ("part", pa.int32()),
    ]
)
_BATCH = 64  # of pictures; always as many, so that what is seen does not depend on what else is
_ROWS = 4096  # of the table at once
_Place = tuple[str, int, int]


@dataclass(frozen=True)
class EmbedTask:
    """One partition to look at: what a worker is given.

    Attributes:
        root: work directory.
        partition, fingerprint: of the task.
        facts: fingerprint of what decides a vector, but for the original; vectors made under the same one are kept.
        seen: Parquet files of ``_SEEN``.
        model, sha256: and its checkpoint's.
    """

    root: str
    partition: str
    fingerprint: str
    facts: str
    seen: tuple[str, ...]
    model: ClipModel
    sha256: str


def embeddings(work: Work, model: ClipModel, identity: str) -> None:
    """Make the vectors of all pictures that reach ``dedup``. Needs ``alive`` and ``image`` on the engine."""
    marks = {mark.partition: mark for mark in work.store.marks("fetch")}
    print_ = work.fingerprint("dedup", "embedding", identity)
    undone = work.undone("dedup", sorted(marks), print_)
    if not undone:
        return
    shards = [f"work_shard/{name}.tar" for name in undone]
    parts = pa.array(range(len(undone)), pa.int32())
    work.engine.register("renditions", pa.table({"work_shard": shards, "part": parts}))
    folder, sha256 = work.scratch("dedup-seen"), model.sha256()
    work.engine.write(SEEN, folder, _SEEN, partition_by="part")
    tasks = [
        EmbedTask(
            root=work.store.root,
            partition=name,
            fingerprint=print_,
            facts=fingerprint(work.version, identity, marks[name].extra.get("facts")),
            seen=work.partition_files(folder, "part", part),
            model=model,
            sha256=sha256,
        )
        for part, name in enumerate(undone)
    ]
    for _ in work.map("dedup", embed, tasks, lambda count: f"{count} pictures looked at"):
        pass


def embed(task: EmbedTask) -> int:
    """Look at the pictures of one partition and commit its rows. Returns how many were new.

    Raises:
        ReleaseError: a rendition is not in the work directory any more.
        StageError: the model cannot be loaded, or makes no numbers of a picture.
    """
    keep_freed_memory()
    store = Store(task.root)
    seen = _seen(task.seen)
    with store.task("dedup", task.partition, task.fingerprint) as done:
        known = _taken_over(store, task)
        new = {sha256: place for sha256, place in _places(store, seen) if sha256 not in known}
        order = sorted(new, key=new.__getitem__)
        for start in range(0, len(order), _BATCH):
            some = order[start : start + _BATCH]
            known |= zip(some, _looked_at(store, task.model, [new[sha256] for sha256 in some]), strict=True)
        done.extra |= {"facts": task.facts, "looked_at": len(new)}
        done.write("embedding", _rows(seen, known, task.sha256))
    return len(new)


def _seen(files: tuple[str, ...]) -> pa.Table:
    """The pairs of a partition, by id."""
    columns = [name for name in _SEEN.names if name != "part"]
    parts = [read_parquet(path, columns) for path in files]
    return pa.concat_tables(parts).sort_by("pair_id") if parts else _SEEN.empty_table().select(columns)


def _places(store: Store, seen: pa.Table) -> Iterator[tuple[str, _Place]]:
    """Each original, and where a rendition of it lies."""
    columns = ("sha256", "work_shard", "work_offset", "work_bytes")
    for sha256, shard, offset, size in zip(*(seen[name].to_pylist() for name in columns), strict=True):
        yield sha256, (store.path(shard), offset, size)


def _taken_over(store: Store, task: EmbedTask) -> dict[str, NDArray[np.float32]]:
    mark = store.mark("dedup", task.partition)
    if mark is None or mark.extra.get("facts") != task.facts:
        return {}
    known: dict[str, NDArray[np.float32]] = {}
    for name in mark.files.get("embedding", []):
        table = read_parquet(store.path(name), ["sha256", "vector"])
        known |= zip(table["sha256"].to_pylist(), vectors_of(table["vector"]), strict=True)
    return known


def vectors_of(column: pa.ChunkedArray | pa.Array) -> NDArray[np.float32]:
    """The column ``vector`` as float32[n, d]."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return array.flatten().to_numpy().reshape(len(array), -1) if len(array) else np.zeros((0, 0), np.float32)


def _looked_at(store: Store, model: ClipModel, places: list[_Place]) -> NDArray[np.float32]:
    """float32[n, d] of unit length, rounded to 16 bits."""
    import torch

    encoder, transform = _loaded(model)
    found = zip(read_ranges(store.fs, places), places, strict=True)
    pictures = [transform(_picture(data, place)) for data, place in found]
    pictures += [torch.zeros_like(pictures[0])] * (_BATCH - len(pictures))
    with _one_thread(), torch.inference_mode():
        vectors = encoder.encode_image(torch.stack(pictures), normalize=True).float().numpy()[: len(places)]
    if not np.isfinite(vectors).all():
        raise StageError(model.checkpoint, "gives vectors that are no numbers", "finite ones")
    return vectors.astype(np.float16).astype(np.float32)


@lru_cache(maxsize=1)
def _loaded(model: ClipModel) -> tuple[Any, Any]:
    """Once a worker, not once a partition."""
    return model.load()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Workers are as many as there are cores, and sums round differently with another number of threads."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _picture(data: bytes, place: _Place) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise StageError(f"{place[0]}: byte {place[1]}", f"cannot be decoded ({error})", "a rendition") from error


def _rows(seen: pa.Table, known: dict[str, NDArray[np.float32]], model: str) -> Iterator[pa.RecordBatch]:
    for batch in seen.to_batches(_ROWS):
        vectors = np.stack([known[sha256] for sha256 in batch["sha256"].to_pylist()])
        ends = np.arange(0, vectors.size + 1, vectors.shape[1], dtype=np.int32)
        columns = [batch["pair_id"], pa.array([model] * len(batch)), batch["sha256"],
                   pa.ListArray.from_arrays(pa.array(ends), pa.array(vectors.ravel()))]  # fmt: skip
        yield pa.RecordBatch.from_arrays(columns, schema=EMBEDDING.schema)
