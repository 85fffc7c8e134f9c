"""Tables of a work directory, invented: what `ingest` and `fetch` would have written of a list of any length.

Each row is a function of its number, so that parts are made side by side and nothing is held in memory. Hosts follow
Zipf's law over a million names. Of the rows, one in ten repeats an earlier one; of the pictures, one in ten is a copy
of another, half of them to the byte and half nearly so, and one copy in ten is of one of a hundred pictures that occur
very often, by Zipf's law again. One picture in forty came by a redirect from elsewhere, one in fifty was refused by a
header, one in fifty is flat.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from invented_lists import FOLDERS, HOSTS, LISTED, WORDS, captions, host_names, joined, pick, words_of
from numpy.typing import NDArray

from fairshard.pipelines import ingest
from fairshard.pipelines._store import Store
from fairshard.schemas.tables import IMAGE, PAIR, SIGNAL

pc: Any = pyarrow.compute  # its functions are made when it is imported, where type checkers cannot see them
Numbers = NDArray[np.uint64]

PICTURE_BYTES = 2_000
_PICTURES_BYTES = 64 << 20
_PART_ROWS = 1_000_000
_BLOCK_ROWS = 250_000
_HOT = 100
_PALETTES = 64  # few, so that pages of them are packed: a table of 100 million rows has to fit on a disk
_COMMON_CAPTIONS = 20_000
_HASHES = {"sha256": 100_000, "phash": 10_000, "pdq": 10_000}
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
SCOPES = (*LISTED, *_HASHES)


def make_tables(folder: Path, rows: int, workers: int) -> None:
    """Write ``folder/work`` of a list of so many rows, and ``folder/SCOPE.parquet``, the registries."""
    root = str(folder / "work")
    parts = [(root, number, start, min(start + _PART_ROWS, rows)) for number, start in enumerate(_starts(rows))]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.starmap(_make_part, parts, chunksize=1)
    with Store(root).task("fetch", "pictures", "benchmark") as task:
        path = task.scratch("pictures.tar")
        Path(path).write_bytes(np.random.default_rng(0).bytes(_PICTURES_BYTES))
        task.keep(path, "work_shard/0000.tar")
    for scope, keys in {**_listed_places(rows), **_listed_hashes(rows)}.items():
        pq.write_table(pa.table({scope: keys}), folder / f"{scope}.parquet")


def rows_files(store: Store) -> list[str]:
    """What `ingest` finds repeated rows by, part after part."""
    return [store.path(mark.extra["kept"][0]) for mark in store.marks("ingest") if "kept" in mark.extra]


def _starts(rows: int) -> range:
    return range(0, rows, _PART_ROWS)


def _make_part(root: str, number: int, start: int, end: int) -> None:
    store = Store(root)
    with store.task("ingest", f"{number:05d}", "benchmark") as task:
        path = task.scratch("rows")
        with pq.ParquetWriter(path, ingest.ROW, compression="zstd") as writer:
            for row in _blocks(start, end):
                writer.write_batch(_row(row, number))
        task.keep(path, f"ingest-lists/{number:05d}.rows")
        task.write("pair", map(_pair, _pairs(start, end)))
        task.rows_in = end - start
    with store.task("fetch", f"{number:04d}", "benchmark") as task:
        task.write("image", map(_image, _pairs(start, end)))
        task.write("signal", map(_signal, _pairs(start, end)))


def _blocks(start: int, end: int) -> Iterator[Numbers]:
    for first in range(start, end, _BLOCK_ROWS):
        yield np.arange(first, min(first + _BLOCK_ROWS, end), dtype=np.uint64)


def _pairs(start: int, end: int) -> Iterator[Numbers]:
    """Numbers of the rows that repeat no other."""
    return (row[row % 10 != 9] for row in _blocks(start, end))


def _mixed(row: Numbers, salt: int) -> Numbers:
    """64 bits that look random, a function of number and salt. Source: SplitMix64 (Steele, Lea, Flood 2014)."""
    value = (row + np.uint64(salt << 40) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _rank(row: Numbers, salt: int, most: int) -> NDArray[np.int64]:
    """int64[n] below ``most``: rank r with a probability that goes like 1 / (r + 1)."""
    return (np.exp(_mixed(row, salt) / 2.0**64 * np.log(most)) - 1).astype(np.int64)


def _id(row: Numbers) -> pa.Array:
    return pa.array(_mixed(row, 1).view(np.int64))


def _first(row: Numbers) -> Numbers:
    """The row that each row repeats: an earlier one where there is one to repeat, else itself."""
    block = _mixed(row, 2) % (row // np.uint64(10) + np.uint64(1))
    block = np.where(row % 1000 == 19, _rank(row, 3, _HOT).astype(np.uint64) % (row // np.uint64(10) + 1), block)
    earlier = block * np.uint64(10) + _mixed(row, 4) % np.uint64(9)
    return np.where(row % 10 == 9, earlier, row)


def _row(row: Numbers, part: int) -> pa.RecordBatch:
    """``ROW``[n]; one repeated row in a hundred has no URL instead."""
    none = row % 1000 == 9
    first = _first(row)
    columns = [
        pa.array(_mixed(first, 1).view(np.int64), mask=none),
        pa.array(_mixed(first, 5).view(np.int64), mask=none),
        pa.repeat(pa.scalar(part, pa.int32()), len(row)),
        pa.array(row.astype(np.int64)),
        pc.if_else(pa.array(none), "null_url", pa.scalar(None, pa.string())),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=ingest.ROW)


def _key(row: Numbers, words: pa.Array, salt: int) -> tuple[pa.Array, pa.Array]:
    """Domain and ``url_key`` of each row."""
    domain = host_names(_rank(row, salt, HOSTS), words)
    folder = pa.array(FOLDERS).take(pa.array(_mixed(row, 7) % np.uint64(len(FOLDERS))))
    return domain, joined(domain, "/", folder, pc.cast(pa.array(row), pa.string()), ".jpg")


@lru_cache(maxsize=1)
def _words() -> pa.Array:
    return words_of(WORDS)


@lru_cache(maxsize=1)
def _common_captions() -> pa.Array:
    return captions(np.random.default_rng(0), _COMMON_CAPTIONS, _words())


def _pair(row: Numbers) -> pa.RecordBatch:
    words, random = _words(), np.random.default_rng(int(row[0]))
    domain, key = _key(row, words, 6)
    common = _common_captions()
    again = pa.array(_mixed(row, 8) % 10 == 0)
    text = pc.if_else(again, common.take(pa.array(_rank(row, 9, _COMMON_CAPTIONS))), captions(random, len(row), words))
    named = pa.array(_mixed(row, 10) % 5 == 0)
    creator = joined("Studio ", words.take(pa.array(_rank(row, 11, WORDS))))
    return _filled(PAIR.schema, len(row), {
        "pair_id": _id(row), "url": joined("https://www.", key), "url_key": key, "host": domain, "domain": domain,
        "caption": pc.fill_null(text, "nothing"), "source": pa.repeat("list", len(row)),
        "source_row": pa.array(row.astype(np.int64)), "licence": pick(random, len(row), pa.array([None, None, "CC BY 4.0"])),
        "creator": pc.if_else(named, creator, pa.scalar(None, pa.string())),
        "similarity": pa.array(random.uniform(0.28, 0.45, len(row)).round(3).astype(np.float32)),
    })  # fmt: skip


def _shown(row: Numbers) -> tuple[Numbers, NDArray[np.bool_]]:
    """The number of the picture that each row shows, and whether it is nearly that one."""
    draw = _mixed(row, 12) % np.uint64(1000)
    other = _mixed(row, 13) % (row + np.uint64(1))
    other = other // np.uint64(10) * np.uint64(10) + other % np.uint64(9)  # of a row that repeats no other
    picture = np.where(draw < 90, np.minimum(other, row), row)
    picture = np.where((draw >= 90) & (draw < 100), _rank(row, 14, _HOT).astype(np.uint64), picture)
    return picture, (draw < 100) & (draw % 2 == 1)


def _bit(row: Numbers, salt: int) -> Numbers:
    return np.uint64(1) << (_mixed(row, salt) % np.uint64(64))


def _phash(row: Numbers) -> NDArray[np.int64]:
    picture, near = _shown(row)
    return (_mixed(picture, 20) ^ np.where(near, _bit(row, 21), np.uint64(0))).view(np.int64)


def _pdq(row: Numbers) -> NDArray[np.uint8]:
    """uint8[n, 32]: a near picture has two bits of each word flipped."""
    picture, near = _shown(row)
    words = [
        _mixed(picture, 22 + word) ^ np.where(near, _bit(row, 30 + word) | _bit(row, 40 + word), np.uint64(0))
        for word in range(4)
    ]
    return np.ascontiguousarray(np.stack(words, axis=1)).view(np.uint8)


def _sha256(row: Numbers) -> pa.Array:
    picture, near = _shown(row)
    file = np.where(near, row + np.uint64(1 << 50), picture)
    return _hex(np.stack([_mixed(file, 50 + word) for word in range(4)], axis=1).view(np.uint8))


def _image(row: Numbers) -> pa.RecordBatch:
    words, count = _words(), len(row)
    picture, _ = _shown(row)
    url = joined("https://www.", _key(row, words, 6)[1])
    elsewhere = joined("https://cdn.", _key(row, words, 15)[1])
    palettes = np.random.default_rng(0).integers(0, 256, (_PALETTES, 768), np.uint8)
    side = (100 + _mixed(picture, 16) % np.uint64(2000)).astype(np.int32)
    place = (_mixed(row, 17) % np.uint64(_PICTURES_BYTES - PICTURE_BYTES)).astype(np.int64)
    return _filled(IMAGE.schema, count, {
        "pair_id": _id(row), "asked_url": url, "status": pa.repeat("ok", count),
        "final_url": pc.if_else(pa.array(row % 40 == 5), elsewhere, url), "mime": pa.repeat("image/jpeg", count),
        "size_bytes": pa.array(place), "width_px": pa.array(side), "height_px": pa.array(side // 4 * 3),
        "sha256": _sha256(row), "phash": pa.array(_phash(row)), "pdq": _binary(_pdq(row)),
        "pdq_quality": pa.array(np.where(picture % 50 == 0, 30, 60 + picture % 41).astype(np.int32)),
        "colours": _binary(palettes[picture % np.uint64(_PALETTES)]),
        "work_shard": pa.repeat("work_shard/0000.tar", count), "work_key": pa.repeat("x.jpg", count),
        "work_offset": pa.array(place), "work_bytes": pa.array(np.full(count, PICTURE_BYTES)),
        "work_width_px": pa.repeat(pa.scalar(256, pa.int32()), count),
        "work_height_px": pa.repeat(pa.scalar(192, pa.int32()), count),
        "fetched_at": pa.repeat(pa.scalar(_NOW, pa.timestamp("us", "UTC")), count),
    })  # fmt: skip


def _signal(row: Numbers) -> pa.RecordBatch:
    row = row[row % 20 == 3]
    count = len(row)
    return _filled(SIGNAL.schema, count, {
        "pair_id": _id(row), "kind": pa.repeat("x_robots_tag", count),
        "verdict": pc.if_else(pa.array(_mixed(row, 18) % 5 < 2), "deny", "none"), "scope": pa.repeat("url", count),
        "value": pa.repeat("noai", count), "source": pa.repeat("header", count),
        "hop": pa.repeat(pa.scalar(0, pa.int32()), count),
        "observed_at": pa.repeat(pa.scalar(_NOW, pa.timestamp("us", "UTC")), count), "parser": pa.repeat("benchmark", count),
    })  # fmt: skip


def _filled(schema: pa.Schema, count: int, values: dict[str, pa.Array]) -> pa.RecordBatch:
    columns = [values[field.name] if field.name in values else pa.nulls(count, field.type) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _binary(rows: NDArray[np.uint8], kind: pa.DataType | None = None) -> pa.Array:
    data = np.ascontiguousarray(rows)
    offsets = np.arange(len(data) + 1, dtype=np.int32) * data.shape[1]
    return pa.Array.from_buffers(kind or pa.binary(), len(data), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def _hex(data: NDArray[np.uint8]) -> pa.Array:
    """string[n] of uint8[n, width]"""
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    return _binary(np.stack([digits[data >> 4], digits[data & 15]], axis=2).reshape(len(data), -1), pa.string())


def _listed_places(rows: int) -> dict[str, pa.Array]:
    """Lists of one length whatever the rows: one host in twenty, one URL in two thousand; the rest meets nothing."""
    words = _words()
    hosts = np.arange(3, HOSTS, 20)
    prefixed = host_names(np.arange(7, LISTED["url_prefix"] * 40, 40), words)
    row = np.arange(7, rows, 2000, dtype=np.uint64)[: LISTED["url"]]
    missing = pa.array(np.arange(LISTED["url"] - len(row)))
    return {
        "domain": host_names(np.concatenate([hosts, np.arange(HOSTS, HOSTS + LISTED["domain"] - len(hosts))]), words),
        "url": pa.concat_arrays([
            joined("https://", _key(row, words, 6)[1]),
            joined("https://nobody.example/", pc.cast(missing, pa.string()), ".jpg"),
        ]),
        "url_prefix": joined("https://", prefixed, "/", FOLDERS[0]),
        "creator": joined("Studio ", words.take(pa.array(np.arange(4, LISTED["creator"] * 9, 9)))),
    }  # fmt: skip


def _listed_hashes(rows: int) -> dict[str, pa.Array]:
    """Lists of one length: half of each occurs, in rows from end to end."""
    found = {}
    for scope, count in _HASHES.items():
        here = np.linspace(11, rows - 1, count // 2).astype(np.uint64)
        row = np.concatenate([here, np.arange(2**40, 2**40 + count // 2, dtype=np.uint64)])
        if scope == "sha256":
            found[scope] = _sha256(row)
        else:
            found[scope] = _hex(
                _pdq(row) if scope == "pdq" else _phash(row).astype(">i8").view(np.uint8).reshape(-1, 8)
            )
    return found
