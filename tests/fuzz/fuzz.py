"""Fuzzes one parser, led by the branches it reaches.

    pip install atheris
    python tests/fuzz/fuzz.py robots_txt --seconds 60
    python tests/fuzz/fuzz.py robots_txt crash-0a1b2c       # run one input again

An input that breaks a law, takes a second of CPU or more than 2 GB is written to the working directory. A law that was
broken once is kept as a test beside the parser's other tests.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fairshard.udfs", "http_sf"]):
    from targets import TARGETS

from seeds import WORDS, seeds

MAX_BYTES = 100_000
MAX_CPU_S = 1.0
MAX_MEMORY_MB = 2_000


def main() -> None:
    """Fuzz, or run the given inputs once."""
    options = _options()
    target = TARGETS[options.target]

    def law(data: bytes) -> None:
        start = time.process_time()
        target(data)
        spent = time.process_time() - start
        assert spent < MAX_CPU_S, f"{spent:.1f} s of CPU for {len(data)} bytes"

    if options.inputs:
        for path in options.inputs:
            law(path.read_bytes())
        return
    with tempfile.TemporaryDirectory() as folder:
        atheris.Setup([sys.argv[0], *_flags(options, Path(folder))], law)
        atheris.Fuzz()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("inputs", nargs="*", type=Path, help="run these and stop")
    parser.add_argument("--seconds", type=int, default=60, help="how long (default 60)")
    return parser.parse_args()


def _flags(options: argparse.Namespace, folder: Path) -> list[str]:
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, data in enumerate(seeds(options.target)):
        (corpus / str(number)).write_bytes(data)
    words = folder / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in WORDS), encoding="ascii")
    return [
        f"-max_total_time={options.seconds}",
        f"-max_len={MAX_BYTES}",
        f"-rss_limit_mb={MAX_MEMORY_MB}",
        f"-dict={words}",
        "-timeout=20",
        "-print_final_stats=1",
        str(corpus),
    ]


def _escaped(word: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


if __name__ == "__main__":
    main()
