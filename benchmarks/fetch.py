"""From a list of URLs to shards with fingerprints: fairshard against img2dataset followed by imagehash and pdqhash.

    python benchmarks/fetch.py
    python benchmarks/fetch.py --images 400 --runs 1
    python benchmarks/fetch.py --https             # TLS, with a certificate made for the run
    python benchmarks/fetch.py --small             # fetching alone: 64 px, either side on one core, the server on the other

A process of its own serves distinct JPEGs of about 60 kB on 40 loopback addresses, so that per-host limits act as
they do on a real list. Both sides begin with a new interpreter and a Parquet list, have two worker processes, and
render to the same size. They take turns; the table shows medians, of seconds and of the CPU seconds of all processes
of a side, which say more where the machine has other work.

fairshard   ``fairshard run``: ingest, consult (no host files), fetch (sha256, md5, pHash, PDQ, rendition; committed tables
            and tars of renditions), and then on to the released WebDataset shards, with screen, filter, dedup and
            balance, and to the whole release, with tables, manifest, catalog and dataset card. All three are timed.
            ``--dihedral`` has it make PDQ of eight orientations, as the presets of policies do.
img2dataset ``download()`` in two processes with sha256 to WebDataset shards, and when it is done ``imagehash.phash`` and
            ``pdqhash.compute`` of the pictures in them, in a loop, as the two libraries come. Further rows: the same
            in a pool of two processes; and the same of the originals, PDQ in eight orientations, which is what
            fairshard stores (timed on every tenth and scaled).

Measured on two cores, medians of three runs in seconds: fairshard to fingerprints and tars 11.4, to released shards 13.0,
to the release 14.3; img2dataset alone 25.0, with the loop 36.6, with two hashing processes 33.7, with the originals'
hashes 83. So fairshard is 3.4 times as fast as the peer (3.1, 3.4 and 3.7 in three runs; medians of two other calls were
3.1 and 3.5), to released shards 2.97 times (2.76 to 3.24), to the release 2.7 times (2.5 to 2.9); against two hashing
processes 3.2, 2.8 and 2.5 times. Over TLS 11.7 against 42.8, 3.8 times (3.3 to 3.9; another call 4.1), and
4,000 pictures of 64 px on one core 5.1 against 25.3 of img2dataset alone, 5.2 times (3.8 to 5.4). What limits it is
pixels: of some 3.8 ms of CPU a picture beyond the start, decoding, shrinking, encoding and hashing take 2.3; requests,
evidence, rows and the interpreter the rest.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import multiprocessing
import os
import resource
import signal
import ssl
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageChops, ImageDraw

_HOSTS = [f"127.0.0.{number}" for number in range(1, 41)]
_WIDTH, _HEIGHT, _QUALITY = 640, 480, 75
_SMALL = 64, 48
_FIELDS = 12
_PER_SHARD = 500
_ALONE = "img2dataset alone"
_PEER = "img2dataset, then imagehash and pdqhash"
_POOLED = "the same, hashing in 2 processes"
_ALIKE = "the same, hashing originals as fairshard does"
_OURS = ("fairshard, to fingerprints and tars", "fairshard, to released shards", "fairshard, to the release")
_ORIGINALS_STEP = 10
_SPAWN = multiprocessing.get_context("spawn")


def main() -> None:
    options = _options()
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # or importing it would ask the network for news of itself
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a checkout would be compiled anew by each process
    with tempfile.TemporaryDirectory(prefix="fairshard-benchmark-") as temporary:
        folder = Path(temporary)
        size = _make_pictures(folder, options.images, options.small)
        width, height = _SMALL if options.small else (_WIDTH, _HEIGHT)
        print(f"{options.images:,} JPEGs of {width} x {height} px, {size / 1000:.1f} kB in the mean", end=", ")
        print(f"{'https' if options.https else 'http'}, {_workers(options)} workers")
        if options.https:
            os.environ["SSL_CERT_FILE"] = str(_write_certificate(folder))
        here, there = _SPAWN.Pipe()
        server = _SPAWN.Process(target=_serve, args=(folder, options.images, there, options.https), daemon=True)
        server.start()
        there.close()
        _write_list(folder, options.images, f"http{'s' * options.https}://{{host}}:{here.recv()}/{{number}}.jpg")
        if options.small:
            _pin(server.pid or 0)
        try:
            times = [_round(folder, number, options) for number in range(options.runs)]
        finally:
            here.close()  # tells the server to stop
            server.join(10)
    _show(options.images, times)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4000, help="how many (default 4,000)")
    parser.add_argument("--runs", type=int, default=3, help="of each side (default 3)")
    parser.add_argument("--threads", type=int, default=32, help="of each img2dataset process (default 32)")
    parser.add_argument("--https", action="store_true", help="over TLS")
    parser.add_argument("--small", action="store_true", help="pictures of 64 px, and one core for either side")
    parser.add_argument("--dihedral", action="store_true", help="fairshard makes PDQ of all eight orientations")
    parser.add_argument("--limit", type=float, default=600, help="seconds after which a run is stopped (default 600)")
    return parser.parse_args()


def _workers(options: argparse.Namespace) -> int:
    return 1 if options.small else 2


def _pin(server: int) -> None:
    """This process, and with it all that it starts from now on, on one core, and the server on the other."""
    first, second, *_ = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(server, {first})
    os.sched_setaffinity(0, {second})


def _show(images: int, times: list[dict[str, float]]) -> None:
    medians = {name: statistics.median(run[name] for run in times) for name in times[0]}
    for name, seconds in medians.items():
        print(f"{name:<46} {seconds:7.2f} s  {images / seconds:7.0f} images/s")
    pairs = [(name, peer) for name in _OURS for peer in (_ALONE, _PEER, _POOLED)]
    for name, peer in [*pairs, (f"{_OURS[-1]}: CPU", f"{_PEER}: CPU")]:
        ratios = [run[peer] / run[name] for run in times]
        each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{name}: x{statistics.median(ratios):.2f} of '{peer}', run by run {each}")


def _round(folder: Path, number: int, options: argparse.Namespace) -> dict[str, float]:
    """Both sides in turn, first one, then the other; what they wrote is looked at and removed."""
    times: dict[str, float] = {}
    sides: list[Callable[[Path, Path, argparse.Namespace], dict[str, float]]] = [_ours, _theirs]
    for side in sides if number % 2 == 0 else sides[::-1]:
        with tempfile.TemporaryDirectory(prefix="run-", dir=folder) as place:
            times |= side(folder, Path(place), options)
    print("  ".join(f"{name} {seconds:.2f} s" for name, seconds in sorted(times.items())), flush=True)
    return dict(sorted(times.items()))


def _ours(folder: Path, place: Path, options: argparse.Namespace) -> dict[str, float]:
    policy = {"name": "benchmark", "host_files": "off", "pdq_dihedral": options.dihedral}
    (place / "policy.yaml").write_text(json.dumps(policy))
    job = {
        "work_dir": "work", "release_dir": "release", "policy": "policy.yaml", "workers": _workers(options),
        "sources": [{"path": str(folder / "list.parquet")}], "fetch": {"allow_private": True},
        "emit": {"samples_per_shard": _PER_SHARD},
    }  # fmt: skip
    (place / "job.yaml").write_text(json.dumps(job))
    began, used = time.time(), _cpu_s()
    entry = "from fairshard.pipelines.cli import main; main()"
    command = [sys.executable, "-c", entry, "--quiet", "run", str(place / "job.yaml"), "--json"]
    _call(command, options.limit)
    whole = time.time() - began
    fetched, sharded = (_last_commit(place, marks) - began for marks in ("fetch/*", "emit/0*"))
    rendered = sum(_read_column(path, "status").count("ok") for path in (place / "work/image").iterdir())
    _check("fairshard", rendered, options.images)
    cpu = _cpu_s() - used
    return {
        _OURS[0]: fetched,
        _OURS[1]: sharded,
        _OURS[2]: whole,
        f"{_OURS[2]}: CPU": cpu,
    }


def _last_commit(place: Path, marks: str) -> float:
    return max(mark.stat().st_mtime for mark in (place / "work/_done").glob(f"{marks}.json"))


def _theirs(folder: Path, place: Path, options: argparse.Namespace) -> dict[str, float]:
    began = time.time()
    how = str(options.threads), str(_workers(options))
    _call([sys.executable, __file__, _PEER, str(folder), str(place), *how], options.limit)
    ends = json.loads((place / "ends.json").read_text())
    _check("img2dataset", ends["pictures"], options.images)
    downloaded = ends["downloaded"] - began
    return {
        _ALONE: downloaded,
        _PEER: downloaded + ends["hashed_s"],
        f"{_PEER}: CPU": ends["cpu_s"],
        _POOLED: downloaded + ends["hashed_by_two_s"],
        _ALIKE: downloaded + ends["originals_s"],
    }


def _img2dataset(folder: Path, place: Path, threads: int, workers: int) -> None:
    """The peer, in an interpreter of its own. Leaves behind when it was done with what."""
    from img2dataset import download

    download(
        url_list=str(folder / "list.parquet"), input_format="parquet", url_col="url", caption_col="caption",
        output_folder=str(place / "shards"), output_format="webdataset", number_sample_per_shard=_PER_SHARD,
        processes_count=workers, thread_count=threads, image_size=256, resize_mode="keep_ratio",
        encode_quality=95, compute_hash="sha256",
    )  # fmt: skip
    ends: dict[str, float] = {"downloaded": time.time()}
    shards = sorted((place / "shards").glob("*.tar"))
    found = list(map(_hashes_of_shard, shards))
    ends |= {"hashed_s": time.time() - ends["downloaded"], "pictures": sum(map(len, found))}
    ends["cpu_s"] = _cpu_s(resource.RUSAGE_SELF) + _cpu_s()
    ends["hashed_by_two_s"] = _seconds_of_two(_hashes_of_shard, shards)
    some = sorted((folder / "pictures").iterdir())[::_ORIGINALS_STEP]
    ends["originals_s"] = _seconds_of_two(_hashes_of_original, some) * _ORIGINALS_STEP
    (place / "ends.json").write_text(json.dumps(ends))


def _seconds_of_two(function: Callable[[Path], Any], paths: list[Path]) -> float:
    began = time.time()
    with _SPAWN.Pool(2) as pool:
        pool.map(function, paths, chunksize=1)
    return time.time() - began


def _hashes_of_shard(shard: Path) -> list[tuple[str, str]]:
    with tarfile.open(shard) as tar:
        files = [file.read() for member in tar if member.name.endswith(".jpg") and (file := tar.extractfile(member))]
    return [_hashes(file) for file in files]


def _hashes_of_original(path: Path) -> tuple[tuple[str, str], list[Any]]:
    """What fairshard stores of an original, by imagehash and pdqhash."""
    import pdqhash

    data = path.read_bytes()
    return _hashes(data), pdqhash.compute_dihedral(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def _hashes(data: bytes) -> tuple[str, str]:
    import imagehash
    import pdqhash

    image = Image.open(io.BytesIO(data))
    bits, _ = pdqhash.compute(np.asarray(image.convert("RGB")))
    return str(imagehash.phash(image)), np.packbits(bits).tobytes().hex()


def _call(command: list[str], limit_s: float) -> None:
    """Run a command and its children, and leave none of them behind."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = process.wait(limit_s)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        if code:
            output.seek(0)
            sys.exit(f"{' '.join(command)}: exit {code}\n{output.read().decode()}")


def _cpu_s(who: int = resource.RUSAGE_CHILDREN) -> float:
    """CPU time of the processes that were waited for, and of those that they waited for."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def _check(who: str, found: int, expected: int) -> None:
    if found != expected:
        sys.exit(f"{who}: {found} pictures came through, {expected} expected")


def _read_column(path: Path, name: str) -> list[Any]:
    return pq.read_table(path, columns=[name])[name].to_pylist()


# The web.


def _make_pictures(folder: Path, count: int, small: bool) -> float:
    """Write the pictures. Returns their mean size in bytes."""
    (folder / "pictures").mkdir()
    step = max(1, count // 8)
    parts = [(folder, first, min(first + step, count), small) for first in range(0, count, step)]
    with _SPAWN.Pool(2) as pool:
        return sum(pool.starmap(_write_pictures, parts, chunksize=1)) / count


def _write_pictures(folder: Path, first: int, end: int, small: bool) -> int:
    fields = [_field(seed) for seed in range(_FIELDS)]
    sizes = 0
    for number in range(first, end):
        data = _picture(fields, number, small)
        (folder / "pictures" / f"{number}.jpg").write_bytes(data)
        sizes += len(data)
    return sizes


def _field(seed: int) -> Image.Image:
    """Noise with the spectrum of a photograph: amplitudes that fall with frequency, channels that go together."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(_HEIGHT)[:, None], np.fft.rfftfreq(_WIDTH))
    fall = np.maximum(frequency, 1 / _WIDTH) ** -1.3
    noise = random.normal(size=(4, _HEIGHT, _WIDTH))
    planes = np.fft.irfft2(np.fft.rfft2(noise) * fall, (_HEIGHT, _WIDTH))
    pixels = np.stack([planes[0] + 0.3 * plane for plane in planes[1:]], axis=2)
    return Image.fromarray((128 + 60 * (pixels - pixels.mean()) / pixels.std()).clip(0, 255).astype(np.uint8))


def _picture(fields: list[Image.Image], number: int, small: bool) -> bytes:
    """Two fields moved at random and mixed, under a few ellipses: no two alike."""
    random = np.random.default_rng(1000 + number)
    moved = [
        ImageChops.offset(fields[field], int(random.integers(_WIDTH)), int(random.integers(_HEIGHT)))
        for field in random.choice(len(fields), 2, replace=False)
    ]
    picture = Image.blend(moved[0], moved[1], float(random.uniform(0.2, 0.8)))
    draw = ImageDraw.Draw(picture)
    for _ in range(3):
        left, top = random.integers(_WIDTH - 160), random.integers(_HEIGHT - 120)
        box = (left, top, left + random.integers(40, 160), top + random.integers(40, 120))
        draw.ellipse([int(side) for side in box], fill=tuple(int(level) for level in random.integers(256, size=3)))
    file = io.BytesIO()
    (picture.resize(_SMALL) if small else picture).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _write_list(folder: Path, count: int, url: str) -> None:
    urls = [url.format(host=_HOSTS[number % len(_HOSTS)], number=number) for number in range(count)]
    table = pa.table({"url": urls, "caption": [f"picture number {number}" for number in range(count)]})
    pq.write_table(table, folder / "list.parquet")


def _write_certificate(folder: Path) -> Path:
    """A certificate of the server's addresses, signed by itself, with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    addresses = x509.SubjectAlternativeName([x509.IPAddress(ip_address(host)) for host in _HOSTS])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
    signed = made.add_extension(addresses, False).add_extension(x509.BasicConstraints(True, None), True)
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = folder / "server.pem"
    path.write_bytes(signed.sign(key, hashes.SHA256()).public_bytes(pem) + key.private_bytes(pem, *plain))
    return path


def _serve(folder: Path, count: int, pipe: Connection, https: bool) -> None:
    asyncio.run(_serve_until_closed(folder, count, pipe, https))


async def _serve_until_closed(folder: Path, count: int, pipe: Connection, https: bool) -> None:
    """Serve the pictures from memory; ends when the other end of the pipe does, however it ended."""
    answers = {f"/{number}.jpg".encode(): _answer(folder / "pictures" / f"{number}.jpg") for number in range(count)}
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    secure = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if https else None
    if secure is not None:
        secure.load_cert_chain(folder / "server.pem")
    first = await loop.create_server(lambda: _Exchange(answers), _HOSTS[0], 0, backlog=1024, ssl=secure)
    port = first.sockets[0].getsockname()[1]
    await loop.create_server(lambda: _Exchange(answers), _HOSTS[1:], port, backlog=1024, ssl=secure)
    pipe.send(port)
    loop.add_reader(pipe.fileno(), over.set)
    await over.wait()


def _answer(path: Path) -> bytes:
    data = path.read_bytes()
    return b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data)


class _Exchange(asyncio.Protocol):
    """As little HTTP/1.1 as both clients need, since the server shares their cores."""

    def __init__(self, answers: dict[bytes, bytes]):
        self._answers, self._asked = answers, b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._asked += data
        while b"\r\n\r\n" in self._asked:
            head, _, self._asked = self._asked.partition(b"\r\n\r\n")
            self._transport.write(self._answers[head.split(b" ", 2)[1]])
            if b"connection: close" in head.lower():
                self._transport.close()


if __name__ == "__main__":
    if sys.argv[1:2] == [_PEER]:  # by `_theirs`
        _img2dataset(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
    else:
        main()
