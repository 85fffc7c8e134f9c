"""The tar that holds a partition's renditions until ``emit`` puts them into shards."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from ._files import file_system
from ._store import Store, Task

_TAR_BLOCK = 512


class WorkShard:
    """The tar that holds a partition's renditions, with the place of each."""

    def __init__(self, name: str, sink: BinaryIO):
        self.name, self._sink, self._at = name, sink, 0

    def add(self, key: str, data: bytes) -> dict[str, Any]:
        """Append one member. Returns the ``image`` columns that find it again."""
        info = tarfile.TarInfo(key)
        info.size = len(data)
        header = info.tobuf(tarfile.USTAR_FORMAT)
        padding = -len(data) % _TAR_BLOCK
        self._sink.write(header + data + bytes(padding))
        offset = self._at + len(header)
        self._at = offset + len(data) + padding
        return {"work_shard": self.name, "work_key": key, "work_offset": offset, "work_bytes": len(data)}

    def end(self) -> None:
        """Write the two empty blocks that end a tar."""
        self._sink.write(bytes(2 * _TAR_BLOCK))


@contextmanager
def work_shard(task: Task, partition: str) -> Iterator[WorkShard]:
    """The tar of a partition, kept with the task's other files."""
    scratch, name = task.scratch("work.tar"), posixpath.join("work_shard", f"{partition}.tar")
    fs, plain = file_system(scratch)
    with fs.open(plain, "wb") as sink:
        shard = WorkShard(name, sink)
        yield shard
        shard.end()
    task.keep(scratch, name)


def read_range(store: Store, name: str, offset: int, size: int) -> bytes:
    """Some bytes of a file in the work directory."""
    fs, plain = file_system(store.path(name))
    return fs.cat_file(plain, start=offset, end=offset + size)
