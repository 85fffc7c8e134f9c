"""Pairs out of WAT files: pairs a second on one core, and memory against the size of the file.

    python benchmarks/extract.py
    python benchmarks/extract.py --pages 20000 --links 65

Peer: the way in which cc2dataset 1.5 reads WAT files, written anew: FastWARC, each record through simdjson into Python
objects, ``img`` links with an ``alt``, relative ones resolved, an MD5 of each (pip install pysimdjson; cc2dataset itself
asks for packages that are gone). It holds the whole file and all of its pairs in memory, gives what it finds as it
is, and reads no terms. Ours also sets aside what LAION threw away, row by row, and reads the terms of each page. Both
have to find the same pairs.

The files are made, by default like Common Crawl's: 190 links a page in the mean, of which one in seven shows a picture,
and six in ten of those have a text. (A WAT file of 2017 held 9.3 million links, 1.27 million of them ``IMG@/src``; the
crawl of September 2016 10.35 TiB of packed WAT for 1.72 billion pages, 6.6 kB each; invented words pack better, and take
3.5 kB.) ``--links 65`` makes small pages. One page in fifty says noai. CPU seconds of one process, median of rounds in which both read in turn; the ratio is that within
a round, so that what else runs on the machine counts for both. Peak memory is that of a process of its own for each size.

Where our seconds go: two fifths into unpacking and finding records (FastWARC, as the peer), a fifth into taking pictures out
of the links and JSON of the rest (`udfs/_links.c`, msgspec), the rest into rows, URLs, LAION's rules and terms. What was
tried and gave nothing: isal for gzip, which takes as long as FastWARC; simdjson, which parses fastest and loses it on the
way to Python; Arrow's and DuckDB's JSON, which take three times as long as msgspec.
"""

from __future__ import annotations

import argparse
import gc
import gzip
import hashlib
import importlib.util
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from fairshard.pipelines import _archives
from fairshard.pipelines._memory import peak_mb
from fairshard.pipelines._raw import SourceFile

Pairs = set[tuple[str, str]]
Reader = Callable[[str], list[Any]]
_WORDS = ("old", "painting", "of", "boats", "on", "a", "blue", "lake", "before", "mountains", "in", "evening", "light")


def main() -> None:
    options = _options()
    if options.measure:
        rows = sum(batch.num_rows for batch in _batches(options.measure))
        print(json.dumps({"rows": rows, "peak_mb": peak_mb()}))
        return
    with tempfile.TemporaryDirectory() as folder:
        one, four = (_made(Path(folder) / f"{n}.wat.gz", n * options.pages, options.links) for n in (1, 4))
        _speed(str(one), options.rounds)
        for path in (one, four):
            print(f"{path.stat().st_size / 1e6:6.1f} MB packed: {_measured(path)['peak_mb']:5.0f} MB of memory")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=6_000, help="of the file (default 6,000)")
    parser.add_argument("--links", type=int, default=190, help="of a page in the mean (default 190)")
    parser.add_argument("--rounds", type=int, default=5, help="times that each is measured (default 5)")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    return parser.parse_args()


def _speed(path: str, rounds: int) -> None:
    readers = {"fairshard": _ours, "cc2dataset": _peer}
    if importlib.util.find_spec("simdjson") is None:
        print("cc2dataset not measured: simdjson is not installed (pip install pysimdjson)")
        del readers["cc2dataset"]
    gc.freeze()  # as our workers do: what is imported stays, and is not gone through again. The peer gains by it too
    seconds, found = _timed(readers, path, rounds)
    for name, taken in seconds.items():
        middle, pairs = statistics.median(taken), len(found[name])
        print(f"{name:10} {middle:6.2f} s of CPU  {pairs:,} pairs, {pairs / middle:,.0f} a second")
    if len(readers) > 1:
        ratios = [theirs / ours for ours, theirs in zip(*seconds.values(), strict=True)]
        print(f"fairshard is {statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})")
        if odd := found["fairshard"] ^ found["cc2dataset"]:
            sys.exit(f"other pairs: {sorted(odd)[:3]}")


def _timed(readers: dict[str, Reader], path: str, rounds: int) -> tuple[dict[str, list[float]], dict[str, Pairs]]:
    """CPU seconds of each reader in each round, and the pairs that it found."""
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    pairs: dict[str, Pairs] = {}
    for number in range(rounds + 1):  # the first is to warm up, and to compare what was found
        for name, read in readers.items():
            start = time.process_time()
            found = read(path)
            if number:
                seconds[name].append(time.process_time() - start)
            else:
                pairs[name] = _pairs(found)
            del found
    return seconds, pairs


def _pairs(found: list[Any]) -> Pairs:
    if found and isinstance(found[0], dict):
        return {(link["url"], link["alt"]) for link in found if len(link["alt"]) >= 5}
    rows = [row for batch in found for row in batch.select(["reason", "url", "caption"]).to_pylist()]
    return {(row["url"].decode(), row["caption"].decode()) for row in rows if row["caption"] and row["reason"] is None}


def _ours(path: str) -> list[Any]:
    return list(_batches(path))


def _batches(path: str) -> Iterator[Any]:
    return (batch for batch, _ in _archives.read(SourceFile("a", path, "wat", "")))


def _peer(path: str) -> list[dict[str, str]]:
    import simdjson
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    found: list[dict[str, str]] = []
    stream = BytesIO(Path(path).read_bytes())
    for record in ArchiveIterator(stream, record_types=WarcRecordType.metadata, parse_http=False):
        envelope = simdjson.load(record.reader)["Envelope"]
        page = envelope["Payload-Metadata"].get("HTTP-Response-Metadata", {}).get("HTML-Metadata", {})
        if "Links" not in page:
            continue
        url = envelope["WARC-Header-Metadata"]["WARC-Target-URI"]
        base = urljoin(url, page["Head"]["Base"]) if "Base" in page.get("Head", {}) else url
        links = [link for link in page["Links"] if link.get("path", "") == "IMG@/src" and link.get("alt", "")]
        for link in links:
            there = link["url"] if link["url"].startswith(("http://", "https://")) else urljoin(base, link["url"])
            if there.startswith(("http://", "https://")):
                uid = hashlib.md5((link["alt"] + there).encode(), usedforsecurity=False).hexdigest()
                found.append({"uid": uid, "url": there, "alt": link["alt"], "page_url": url})
    return found


def _measured(path: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _made(path: Path, pages: int, links: int) -> Path:
    """A WAT file: of each page a record about the request and one about the response."""
    draw = random.Random(pages)
    request = {"Envelope": {"Payload-Metadata": {"HTTP-Request-Metadata": {"Headers": {"User-Agent": "crawler"}}}}}
    with path.open("wb") as out:
        for number in range(pages):
            url = f"https://www.site-{number % 997}.example/blog/post-{number}.html"
            for document in (request, _envelope(draw, url, number, links)):
                body = json.dumps(document, separators=(",", ":")).encode()
                head = (
                    f"WARC/1.0\r\nWARC-Type: metadata\r\nWARC-Target-URI: {url}\r\nContent-Length: {len(body)}\r\n\r\n"
                )
                out.write(gzip.compress(head.encode() + body + b"\r\n\r\n", 6, mtime=0))
    return path


def _envelope(draw: random.Random, url: str, number: int, mean: int) -> dict[str, Any]:
    host = url.split("/")[2]
    links: list[dict[str, str]] = []
    for _ in range(draw.randrange(mean // 3, mean * 5 // 3)):
        word, place = draw.choice(_WORDS), draw.randrange(10**9)
        if draw.random() < 1 / 7:
            there = f"https://cdn{place % 9}.{host}" if draw.random() < 0.7 else ""
            picture = {"path": "IMG@/src", "url": f"{there}/img/{place}.jpg"}
            links.append(picture | ({"alt": _said(draw, 3, 12)} if draw.random() < 0.6 else {}))
        else:
            links.append({"path": "A@/href", "url": f"https://{host}/{word}/{place}.html", "text": _said(draw, 1, 6)})
    metas = [
        {"name": "viewport", "content": "width=device-width"},
        {"name": "description", "content": _said(draw, 15, 25)},
    ]
    metas += [{"name": "robots", "content": "noai" if number % 50 == 0 else "index, follow"}]
    head = {"Title": _said(draw, 3, 8), "Metas": metas, "Scripts": [{"path": "SCRIPT@/src", "url": "/a.js"}] * 8}
    headers = {"Server": "nginx", "Content-Type": "text/html; charset=UTF-8", "Cache-Control": "max-age=0"}
    response = {
        "Response-Message": {"Status": "200"},
        "Headers": headers,
        "HTML-Metadata": {"Head": head, "Links": links},
    }
    about = {"WARC-Type": "response", "WARC-Date": "2026-01-01T00:00:00Z", "WARC-Target-URI": url}
    return {"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": response}, "WARC-Header-Metadata": about}}


def _said(draw: random.Random, least: int, most: int) -> str:
    return " ".join(draw.choices(_WORDS, k=draw.randrange(least, most)))


if __name__ == "__main__":
    main()
