"""Which captions of a release lines repeat (``fairshard audit text``): time and memory, against a loop in Python.

    python benchmarks/text_overlap.py                            # a million captions, 1,000 lines: a minute
    python benchmarks/text_overlap.py --captions 10000000 --peers

fairshard   ``audit.text``, whole, on the tables of a release, which are in the page cache.
loop        Python over captions that DuckDB hands out, split into words, with a dict of the lines' runs of eight words:
            what one writes first, and what fairshard was before.

Captions are invented words, ten on average, one in a hundred Chinese. Of the lines a third are captions, a third share
ten words with one, and a third are new. Each runs in a process of its own: CPU time of all its threads, from opening
the release to rows, and the most memory it held, less what it held before. Both have to find the same.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from fairshard.pipelines import audit
from fairshard.pipelines._catalog import open_release
from fairshard.pipelines._release import FORMAT, MANIFEST
from fairshard.schemas import policy
from fairshard.schemas.release import OUTCOME, PUBLIC_TABLES, public
from fairshard.udfs.overlap import longest_shared_run, runs
from fairshard.udfs.text import caption_key

_RUN = 8
_AT_ONCE = 500_000

# A function of the row's number alone.
_CAPTION = """
SELECT i AS pair_id, CASE WHEN i % 100 = 99
    THEN array_to_string(list_transform(range(24), lambda k: chr((19968 + hash(i, k) % 3000)::INTEGER)), '')
    ELSE 'The ' || array_to_string(list_transform(range(5 + i % 11), lambda k: 'word' || (hash(i, k) % 20000)), ' ') || '.'
    END AS caption
FROM range($first, $first + $rows) AS numbers(i)
"""


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="fairshard-benchmark-", dir=options.dir) as temporary:
        folder = Path(temporary)
        lines = _make(folder, options.captions, options.lines)
        print(
            f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {options.captions:,} captions, {lines:,} lines"
        )
        found = [_measured(ours, folder, options.captions)]
        if "loop" in options.peers:
            found.append(_measured(loop, folder, options.captions))
        if any(rows != found[0] for rows in found):
            raise SystemExit("they do not find the same")
        print(f"{sum(value > 0 for value in found[0])} lines repeat a caption or eight words of one")


def ours(folder: Path) -> list[float]:
    """What each line shares with the closest caption."""
    return [row["value"] or 0.0 for row in audit.text(folder / "lines.txt", str(folder))]


def loop(folder: Path) -> list[float]:
    """The same, caption by caption. It would take Chinese for one word, so no line is."""
    lines = caption_key(pa.array((folder / "lines.txt").read_text().splitlines())).to_pylist()
    by_run: dict[str, set[int]] = {}
    by_key: dict[str, list[int]] = {}
    for number, line in enumerate(lines):
        by_key.setdefault(line, []).append(number)
        for run in runs(line.split(), _RUN):
            by_run.setdefault(run, set()).add(number)
    best = [0.0] * len(lines)
    captions = "SELECT pair_id, caption FROM outcome WHERE outcome = 'released' ORDER BY pair_id"
    for batch in open_release(str(folder)).rows(captions).to_batches(10_000):
        for key in caption_key(batch.column("caption")).to_pylist():
            words = key.split()
            same = by_key.get(key, ())
            near = {number for at in range(len(words) - _RUN + 1)
                    for number in by_run.get(" ".join(words[at : at + _RUN]), ())}  # fmt: skip
            for number in near.union(same):
                shared = len(words) if number in same else longest_shared_run(lines[number].split(), words)
                best[number] = max(best[number], shared)
    return best


def _make(folder: Path, captions: int, lines: int) -> int:
    """The tables of a release, and ``lines.txt`` beside them. Returns how many lines there are."""
    (folder / "pairs").mkdir()
    (folder / "tables").mkdir()
    for name in PUBLIC_TABLES:
        pq.write_table(public(name).empty_table(), folder / "tables" / f"{name}-00000.parquet")
    connection = duckdb.connect()
    connection.execute("SET enable_progress_bar = false")
    for number, first in enumerate(range(0, captions, _AT_ONCE)):
        rows = min(_AT_ONCE, captions - first)
        made = connection.sql(_CAPTION, params={"first": first, "rows": rows}).to_arrow_table()
        known = {"pair_id": made["pair_id"], "caption": made["caption"],
                 "outcome": pa.array(["released"] * rows), "withheld": pa.array([False] * rows)}  # fmt: skip
        columns = [known.get(field.name, pa.nulls(rows, field.type)) for field in OUTCOME]
        unchecked = pa.schema([field.with_nullable(True) for field in OUTCOME])
        pq.write_table(pa.table(columns, unchecked), folder / "pairs" / f"{number:05}.parquet")
    step = max(1, captions // lines)
    taken = [caption for caption in _every(connection, captions, step) if " " in caption]
    texts = [_line(number, caption) for number, caption in enumerate(taken)]
    (folder / "lines.txt").write_text("\n".join(texts))
    manifest = {"format": FORMAT, "files": {}, "policy": asdict(policy.load("strict", folder)), "sources": [],
                "endpoints": [], "counts": {"rows": captions, "rejected": 0, "dropped": 0, "released": captions,
                                            "withheld": 0, "reasons": {}}}  # fmt: skip
    (folder / MANIFEST).write_text(json.dumps(manifest, default=str))
    return len(texts)


def _every(connection: duckdb.DuckDBPyConnection, captions: int, step: int) -> list[str]:
    query = f"SELECT caption FROM ({_CAPTION}) WHERE pair_id % $step = $step // 2 ORDER BY pair_id"
    rows = connection.sql(query, params={"first": 0, "rows": captions, "step": step}).fetchall()
    return [caption for (caption,) in rows]


def _line(number: int, caption: str) -> str:
    """The caption itself, ten words of it among others, or new words."""
    if number % 3 == 0:
        return caption
    return f"new {number} {' '.join(caption.split()[:10])} and more" if number % 3 == 1 else "other " * 9 + str(number)


def _measured(search: Callable[[Path], list[float]], folder: Path, captions: int) -> list[float]:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_run, args=(search, folder, queue))
    process.start()
    found, seconds, megabytes = queue.get()
    process.join()
    print(f"{search.__name__:10} {seconds:8.1f} s of CPU {captions / seconds:12,.0f} captions/s {megabytes:8.0f} MB",
          flush=True)  # fmt: skip
    return found


def _run(search: Callable[[Path], list[float]], folder: Path, queue: Any) -> None:
    before, began = _megabytes(), time.process_time()
    found = search(folder)
    queue.put((found, time.process_time() - began, _megabytes() - before))


def _megabytes() -> float:
    """The most memory held so far. Not ``ru_maxrss``, which a new process takes over from the one that began it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=1_000_000, help="default 1,000,000")
    parser.add_argument("--lines", type=int, default=1000, help="default 1,000")
    parser.add_argument("--peers", nargs="*", choices=["loop"], default=["loop"], help="default: loop")
    parser.add_argument("--dir", help="where the tables are put; a temporary folder if not given")
    return parser.parse_args()


if __name__ == "__main__":
    main()
