"""Near-duplicates among files of a folder, against imagededup: time, and what is left of planted families.

    apt-get install openclipart-png
    python -m venv peer && peer/bin/pip install imagededup
    python benchmarks/duplicates_peer.py --peer-python peer/bin/python

Each picture lies in the folder four times: as a PNG, at half its size, as a JPEG of quality 30 and as a WebP. Both
tools read the files with two processes each, hash them and say which to remove: imagededup by PHash as it comes
(10 bits), fairshard as it comes (``Dedup`` in schemas/config.py: equal bytes, pHash, PDQ). fairshard's time includes
its processes' start, sha256, md5, PDQ and writing its tables; imagededup's is without imports. Scored are the pairs
that imagededup lists and those within a group of fairshard's, then what is left: right is one file of each four.
"""

from __future__ import annotations

import argparse
import functools
import io
import itertools
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image
from planted_copies import CHANGES, DEBIAN, bmp, different, pixel_digest, shown

from fairshard.pipelines import dedup
from fairshard.pipelines._store import Store
from fairshard.pipelines._work import Work
from fairshard.schemas.config import from_mapping
from fairshard.schemas.tables import TABLES
from fairshard.udfs.hashing import fingerprint

Found = tuple[float, list[str], list[tuple[str, str]]]  # seconds, files to remove, files tied to each other

_KINDS = ("resize to 50 %", "JPEG 30", "format WebP 80")
_CHUNK = 100

_WHEN = datetime(2026, 1, 1, tzinfo=UTC)

_PEER = """
import json, sys, time
from imagededup.methods import PHash
from imagededup.utils.general_utils import get_files_to_remove
start = time.perf_counter()
found = PHash(verbose=False).find_duplicates(image_dir=sys.argv[1])
removed = get_files_to_remove(found)
print(json.dumps([time.perf_counter() - start, removed, [(a, b) for a in found for b in found[a] if a < b]]))
"""


def main() -> None:
    options = _options()
    if not options.pictures.is_dir():
        sys.exit(f"{options.pictures}: no such folder; apt-get install openclipart-png, or --pictures FOLDER")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "pictures")
        folder.mkdir()
        families = _plant(options.pictures, folder, options.originals)
        files = sorted(path.name for path in folder.iterdir())
        print(f"{families:,} pictures, each in {len(_KINDS) + 1} files")
        ours, removed, ties = _timed_ours(folder, Path(scratch))
        print(f"fairshard   {ours:7.1f} s  {pair_score(files, ties)}; {summary(files, removed)}")
        found = _peer(options.peer_python, folder)
        if found is None:
            print("imagededup  not measured: imagededup is not installed (--peer-python says where it is)")
        else:
            theirs, removed, ties = found
            print(f"imagededup  {theirs:7.1f} s  {pair_score(files, ties)}; {summary(files, removed)}")
            print(f"fairshard is {theirs / ours:.2f} times as fast")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, default=DEBIAN, help=f"a folder (default {DEBIAN})")
    parser.add_argument("--originals", type=int, default=2500, help="how many, chosen by hash (default 2,500)")
    parser.add_argument("--peer-python", default=sys.executable, help="a Python that has imagededup")
    return parser.parse_args()


def pair_score(files: Sequence[str], ties: Iterable[tuple[str, str]]) -> str:
    """Precision and recall of the pairs found."""
    sizes = Counter(_family_of(name) for name in files)
    wanted = sum(size * (size - 1) // 2 for size in sizes.values())
    found = [_family_of(left) == _family_of(right) for left, right in ties]
    return f"pairs: precision {sum(found) / max(len(found), 1):.4f}, recall {sum(found) / max(wanted, 1):.4f}"


def summary(files: Iterable[str], removed: Iterable[str]) -> str:
    """What is left of families of files, whose names begin with the family and a dash."""
    gone, left = set(removed), {}
    for name in files:
        left[_family_of(name)] = left.get(_family_of(name), 0) + (name not in gone)
    right, lost = (sum(count == number for count in left.values()) for number in (1, 0))
    return f"one file left of {right:,} pictures, several of {len(left) - right - lost:,}, none of {lost:,}"


def _family_of(name: str) -> str:
    return name.partition("-")[0]


def _plant(pictures: Path, folder: Path, count: int) -> int:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        paths = sorted(path for path in pictures.rglob("*") if path.is_file())
        chosen = different(dict(zip(paths, pool.map(pixel_digest, paths, 16), strict=True)), count)
        pool.map(functools.partial(_family, folder=folder), enumerate(chosen), 8)
    return len(chosen)


def _family(numbered: tuple[int, Path], folder: Path) -> None:
    number, path = numbered
    picture = shown(path)
    if picture is None:
        raise FileNotFoundError(path)  # it was there when it was chosen
    for place, data in enumerate([bmp(picture), *(CHANGES[kind](picture) for kind in _KINDS)]):
        with Image.open(io.BytesIO(data)) as copy:
            name = folder / f"{number:05d}-{place}.{(copy.format or '').lower()}"
            if copy.format == "BMP":
                copy.save(name.with_suffix(".png"))
            else:
                name.write_bytes(data)


def _timed_ours(folder: Path, scratch: Path) -> Found:
    """Seconds with all that has to start."""
    names = sorted(path.name for path in folder.iterdir())
    required = {"work_dir": "work", "release_dir": "release", "sources": [{"path": "list.csv"}]}
    start = time.perf_counter()
    work = Work(from_mapping({**required, "workers": 2}, scratch))
    try:
        numbered = [(number, folder / name) for number, name in enumerate(names)]
        chunks = [numbered[at : at + _CHUNK] for at in range(0, len(numbered), _CHUNK)]
        rows = [row for part in work.compute.map(_image_rows, chunks) for row in part]
        with Store(work.job.work_dir).task("ingest", "all", "planted") as task:
            task.write("pair", _table("pair", [_pair(row["pair_id"]) for row in rows]))
            task.write("image", _table("image", rows))
        dedup.run(work)
        dropped = work.store.read("dropped", ["dedup"])["pair_id"].to_pylist()
        duplicate = work.store.read("duplicate").select(["pair_id", "group_id"]).to_pylist()
    finally:
        work.close()
    seconds, groups = time.perf_counter() - start, defaultdict(list)
    for row in duplicate:
        groups[row["group_id"]].append(names[row["pair_id"]])
    ties = [pair for group in groups.values() for pair in itertools.combinations(group, 2)]
    return seconds, [names[pair_id] for pair_id in dropped], ties


def _image_rows(numbered: list[tuple[int, Path]]) -> list[dict[str, Any]]:
    columns = ("sha256", "md5", "width_px", "height_px", "phash", "pdq", "pdq_quality", "colours")
    found = [(number, fingerprint(path.read_bytes())) for number, path in numbered]
    return [
        {"pair_id": number, "asked_url": _url(number), "status": "ok", "fetched_at": _WHEN}
        | {name: getattr(row, name) for name in columns}
        for number, row in found
    ]


def _url(number: int) -> str:
    return f"https://pictures.example/{number}"


def _pair(number: int) -> dict[str, Any]:
    url = _url(number)
    place = {"host": "pictures.example", "domain": "pictures.example", "source": "planted", "source_row": number}
    return {"pair_id": number, "url": url, "url_key": url, "caption": "a picture", **place}


def _table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=TABLES[name].schema)


def _peer(python: str, folder: Path) -> Found | None:
    """Seconds without imports; None where imagededup is not installed."""
    if subprocess.run([python, "-c", "import imagededup"], capture_output=True).returncode:
        return None
    done = subprocess.run([python, "-c", _PEER, str(folder)], check=True, stdout=subprocess.PIPE, text=True)
    seconds, removed, ties = json.loads(done.stdout.splitlines()[-1])
    return seconds, removed, ties


if __name__ == "__main__":
    main()
