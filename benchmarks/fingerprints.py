"""Fingerprints of pictures, against the libraries whose bits they equal: medians of one run, and their ratios.

    python benchmarks/fingerprints.py
    python benchmarks/fingerprints.py --folder ~/Pictures --rounds 5

Peers: pdqhash from pixels, imagehash from luma, and from the bytes of files Pillow, imagehash, pdqhash and hashlib
together. Every answer is compared, and the share of pictures that needed PDQ's slow exact sums is told. Each side goes
through all pictures, one after another on one core, then the other does, round by round. Then files on all cores: ours as
``fairshard hash`` reads them, the peer in one loop, and the peer in a process a core.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pdqhash
from PIL import Image

from fairshard.pipelines import hash as hash_verb
from fairshard.udfs import pdq as pdq_module
from fairshard.udfs.decoding import Undecodable, decode
from fairshard.udfs.hashing import fingerprint, pdq, phash, phash_hex
from fairshard.udfs.pdq_quick import quick_grid

# Height, width: of web pictures, small to large.
_SIZES = [(240, 320), (333, 500), (480, 640), (600, 600), (768, 1024), (1200, 900)]


def main() -> None:
    options = _options()
    files = _read(options.folder) if options.folder else [_photograph(seed) for seed in range(options.pictures)]
    if not files:
        sys.exit(f"{options.folder}: holds no picture that can be decoded")
    pictures = [decode(file) for file in files]
    print(
        f"{len(files)} pictures, {statistics.median(p.luma.size for p in pictures) / 1e6:.2f} megapixels in the median"
    )
    _compare_on_all_cores(files, options.rounds)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    _compare("PDQ from pixels", "pdqhash", options.rounds, pdq, _their_pdq, [p.rgb for p in pictures])
    _compare("pHash from luma", "imagehash", options.rounds, _our_phash, _their_phash, [p.luma for p in pictures])
    _compare("all from bytes", "Pillow + imagehash + pdqhash", options.rounds, _ours, _theirs, files)
    exact = sum(_is_exact(p.rgb) for p in pictures)
    print(f"PDQ in exact sums: {exact} of {len(pictures)} pictures")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=48, help="how many to make (default 48)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each is measured (default 3)")
    parser.add_argument("--folder", type=Path, help="measure the pictures in this folder instead")
    return parser.parse_args()


def _compare(
    what: str, peer: str, rounds: int, ours: Callable[..., Any], theirs: Callable[..., Any], inputs: list[Any]
) -> None:
    """Both in turn, each on all inputs, as a loop of either would go through them."""
    times: tuple[list[float], list[float]] = [], []
    same = sum(ours(given) == theirs(given) for given in inputs)  # also the first look at every size, not timed
    for _ in range(rounds):
        for function, spent in ((ours, times[0]), (theirs, times[1])):
            for given in inputs:
                start = time.perf_counter()
                function(given)
                spent.append((time.perf_counter() - start) * 1000)
    mine, other = (statistics.median(spent) for spent in times)
    total = sum(times[1]) / sum(times[0])
    print(
        f"{what:16} {mine:7.2f} ms   {peer:28} {other:7.2f} ms   x{other / mine:5.1f} (whole run x{total:.1f})"
        f"   same bits: {same} of {len(inputs)}"
    )


def _compare_on_all_cores(files: list[bytes], rounds: int) -> None:
    """The least time of each, for all files."""
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(cores) as pool:
        paths = [str(Path(folder, f"{number:06d}")) for number in range(len(files))]
        for path, file in zip(paths, files, strict=True):
            Path(path).write_bytes(file)
        ways = (
            lambda: [_of_line(line) for line in hash_verb.lines(paths)],
            lambda: [_their_file(path) for path in paths],
            lambda: list(pool.map(_their_file, paths, chunksize=4)),
        )
        found = [way() for way in ways]  # not timed
        times: list[list[float]] = [[], [], []]
        for _ in range(rounds):
            for way, spent in zip(ways, times, strict=True):
                start = time.perf_counter()
                way()
                spent.append((time.perf_counter() - start) * 1000 / len(files))
    ours, loop, processes = map(min, times)
    same = sum(a == b == c for a, b, c in zip(*found, strict=True))
    print(
        f"{cores} cores, a file: fairshard hash {ours:.2f} ms   the peer's loop {loop:.2f} ms   x{loop / ours:5.1f}"
        f"   the peer in {cores} processes {processes:.2f} ms   x{processes / ours:5.1f}   same bits: {same} of {len(files)}"
    )


def _of_line(line: dict[str, Any]) -> tuple[Any, ...]:
    return line["sha256"], line["md5"], line["phash"], bytes.fromhex(line["pdq"]), line["pdq_quality"]


def _their_file(path: str) -> tuple[Any, ...]:
    return _theirs(Path(path).read_bytes())


def _their_pdq(rgb: np.ndarray) -> tuple[bytes, int]:
    vector, quality = pdqhash.compute(rgb)
    return np.packbits(vector).tobytes(), quality


def _our_phash(luma: np.ndarray) -> str:
    return phash_hex(phash(luma))


def _their_phash(luma: np.ndarray) -> str:
    return str(imagehash.phash(Image.fromarray(luma)))


def _ours(file: bytes) -> tuple[Any, ...]:
    found = fingerprint(file)
    return found.sha256, found.md5, phash_hex(found.phash or 0), found.pdq, found.pdq_quality


def _theirs(file: bytes) -> tuple[Any, ...]:
    image = Image.open(io.BytesIO(file))
    code, quality = _their_pdq(np.asarray(image.convert("RGB")))
    digests = hashlib.sha256(file).hexdigest(), hashlib.md5(file, usedforsecurity=False).hexdigest()
    return *digests, str(imagehash.phash(image)), code, quality


def _is_exact(rgb: np.ndarray) -> bool:
    grid, scale = quick_grid(rgb), pdq_module._error_scale(*rgb.shape[:2])
    middle = pdq_module._middle(pdq_module._quick_code(grid)[None])
    return not pdq_module._are_certain(middle, scale) or pdq_module._quality_if_certain(grid, scale) is None


def _photograph(seed: int) -> bytes:
    """A JPEG with the spectrum of a photograph: amplitudes that fall with frequency, channels that go together."""
    random = np.random.default_rng(seed)
    height, width = _SIZES[seed % len(_SIZES)]
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    fall = 1 / np.maximum(frequency, 1 / max(height, width))
    planes = [
        np.fft.irfft2(np.fft.rfft2(random.normal(size=(height, width))) * fall, (height, width)) for _ in range(4)
    ]
    pixels = np.stack([planes[0] + 0.3 * plane for plane in planes[1:]], axis=2)
    pixels = 128 + 55 * (pixels - pixels.mean()) / pixels.std()
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
    return file.getvalue()


def _read(folder: Path) -> list[bytes]:
    files = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
    return [file for file in files if _is_picture(file)]


def _is_picture(file: bytes) -> bool:
    try:
        picture = decode(file)
    except Undecodable:
        return False
    return min(picture.luma.shape) >= 5  # below it there is nothing to measure


if __name__ == "__main__":
    main()
