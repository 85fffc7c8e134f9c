"""One shard of a release: what a worker is given and does. Workers that import this do without the engines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas.release import SIDECAR
from ..schemas.tables import IMAGE, PAIR, SHARD
from ._files import arrow_filesystem
from ._release import Release
from ._shards import finish, hex_bytes, hex_phash, read_ranges, sample_keys, shard_name, write_sample
from ._store import Store

# Where `emit` says which pair goes where, one row group a shard. Whoever makes a shard reads the file's footer, which tells
# of all its row groups: in one file for all shards, time would grow with their square.
SHARDS_A_PLAN = 250
PLAN = pa.schema(
    [
        *(PAIR.schema.field(name) for name in ("pair_id", "url", "caption", "source", "source_row")),
        *(PAIR.schema.field(name) for name in ("licence", "creator", "page_url")),
        *(IMAGE.schema.field(name) for name in ("width_px", "height_px", "work_width_px", "work_height_px")),
        *(IMAGE.schema.field(name) for name in ("sha256", "phash", "pdq", "work_shard", "work_offset", "work_bytes")),
    ]
)
_PICTURES_AT_ONCE = 64


@dataclass(frozen=True)
class ShardTask:
    """One shard to make: what a worker is given."""

    work_dir: str
    release_dir: str
    shard_id: int
    samples_per_shard: int
    encode_format: str
    fingerprint: str

    @property
    def partition(self) -> str:
        return f"{self.shard_id:05d}"


def sidecar(plan: pa.RecordBatch, keys: list[str]) -> pa.RecordBatch:
    """The samples of one shard as img2dataset would describe them.

    Args:
        plan: ``PLAN``[n], in order.
        keys: their keys in the shard.

    Returns:
        ``SIDECAR``[n].
    """
    renamed = {
        "key": pa.array(keys, pa.string()),
        "status": pa.array(["success"] * len(keys), pa.string()),
        "error_message": pa.nulls(len(keys), pa.string()),
        "width": plan.column("work_width_px"),
        "height": plan.column("work_height_px"),
        "original_width": plan.column("width_px"),
        "original_height": plan.column("height_px"),
        "phash": hex_phash(plan.column("phash")),
        "pdq": hex_bytes(plan.column("pdq")),
    }
    columns = [renamed[name] if name in renamed else plan.column(name) for name in SIDECAR.names]
    return pa.RecordBatch.from_arrays(columns, schema=SIDECAR)


def make_shard(job: ShardTask) -> int:
    """Write one shard and its sidecar into the release. Returns the number of samples.

    Raises:
        ReleaseError: a picture is not in the work directory any more.
        StageError: the release cannot be written.
    """
    store, release = Store(job.work_dir), Release(job.release_dir)
    with store.task("emit", job.partition, job.fingerprint) as task:
        plan = _read_plan(store, job.shard_id)
        keys = sample_keys(job.shard_id, plan.num_rows, job.samples_per_shard)
        described = sidecar(plan, keys)
        name = shard_name(job.shard_id)
        with release.create(name) as sink:
            for meta, picture in zip(described.to_pylist(), _pictures(store, plan), strict=True):
                write_sample(sink, picture, job.encode_format, meta)
            finish(sink)
        tar, table = sink.fact(), shard_name(job.shard_id, "parquet")
        facts = {name: tar, table: release.write_parquet(table, SIDECAR, [described])}
        row = [job.shard_id, name, plan.num_rows, tar.bytes, tar.sha256]
        task.write("shard", pa.table([[value] for value in row], schema=SHARD.schema))
        task.extra["released"] = {path: asdict(fact) for path, fact in facts.items()}
        task.rows_in = plan.num_rows
    return plan.num_rows


def plan_file(number: int) -> str:
    """Name of the plan of the shards from ``number * SHARDS_A_PLAN`` on."""
    return f"shard_plan/{number:05d}.parquet"


def _read_plan(store: Store, shard_id: int) -> pa.RecordBatch:
    number, group = divmod(shard_id, SHARDS_A_PLAN)
    fs, path = arrow_filesystem(store.path(plan_file(number)))
    with fs.open_input_file(path) as file:
        group = pq.ParquetFile(file).read_row_group(group)
    return group.cast(PLAN).combine_chunks().to_batches()[0]


def _pictures(store: Store, plan: pa.RecordBatch) -> Iterator[bytes]:
    columns = [plan.column(name).to_pylist() for name in ("work_shard", "work_offset", "work_bytes")]
    places = [(store.path(tar), start, size) for tar, start, size in zip(*columns, strict=True)]
    for first in range(0, len(places), _PICTURES_AT_ONCE):
        yield from read_ranges(store.fs, places[first : first + _PICTURES_AT_ONCE])
