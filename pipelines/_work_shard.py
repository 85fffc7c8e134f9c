"""The tar that holds a partition's renditions until ``emit`` puts them into shards."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from tarfile import BLOCKSIZE
from typing import Any, BinaryIO

from ._files import file_system
from ._store import Store, Task
from ._tar import member


class WorkShard:
    """The tar that holds a partition's renditions, with the place of each."""

    def __init__(self, name: str, sink: BinaryIO):
        self.name, self._sink, self._at = name, sink, 0

    def add(self, key: str, data: bytes) -> dict[str, Any]:
        """Append one member. Returns the ``image`` columns that find it again."""
        written = member(key, data)
        self._sink.write(written)
        self._at += len(written)
        offset = self._at - len(data) - -len(data) % BLOCKSIZE  # after the header, however long
        return {"work_shard": self.name, "work_key": key, "work_offset": offset, "work_bytes": len(data)}

    def end(self) -> None:
        """Write the two empty blocks that end a tar."""
        self._sink.write(bytes(2 * BLOCKSIZE))


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
