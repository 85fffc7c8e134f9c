"""How long the core takes to install, and how much room it needs: a fresh venv and ``pip install .`` without extras.

    python benchmarks/install.py
    python benchmarks/install.py --extras crawl --no-cache

Only ``pip install`` is timed. Packages come from pip's cache where it has them, unless ``--no-cache`` is given;
otherwise the network counts. Targets for the core: under 30 s and 600 MB.

Measured for the core on two cores that had other work: 13.4 s with pip's cache, 384 MB.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
# What setuptools leaves behind, or has no use for, is not copied.
_LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "demo", "*.egg-info", "__pycache__")


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="fairshard-install-") as temporary:
        source, place = Path(temporary) / "source", Path(temporary) / "venv"
        shutil.copytree(_ROOT, source, ignore=_LEFT_OUT)  # pip builds in the folder it is given
        venv.create(place, with_pip=True)
        python = place / "bin" / "python"
        before = _megabytes(place)
        seconds = _install(python, source, options)
        subprocess.run([python, "-c", "import fairshard.pipelines.cli"], check=True, cwd=temporary)
        after = _megabytes(place)
    extras = f" with {options.extras}" if options.extras else ", core"
    cache = "without pip's cache" if options.no_cache else "with pip's cache"
    print(f"fairshard{extras}: {seconds:.1f} s {cache}, {after - before:.0f} MB ({after:.0f} MB with Python and pip)")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extras", default="", help="such as crawl,train (default: none)")
    parser.add_argument("--no-cache", action="store_true", help="download everything")
    parser.add_argument("--limit", type=float, default=900, help="seconds after which it is stopped (default 900)")
    return parser.parse_args()


def _install(python: Path, source: Path, options: argparse.Namespace) -> float:
    """Install into the venv of an interpreter. Returns seconds."""
    what = f"{source}[{options.extras}]" if options.extras else str(source)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", what]
    command += ["--no-cache-dir"] if options.no_cache else []
    # As on a machine of its own: compiled files count.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    done = subprocess.run(command, timeout=options.limit, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}")
    return time.perf_counter() - began


def _megabytes(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()) / 1e6


if __name__ == "__main__":
    main()
