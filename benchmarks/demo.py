"""How long the demo takes: fresh, and again when everything is done. Stops with 1 if the second made a request.

    python benchmarks/demo.py
    python benchmarks/demo.py --no-train --runs 3

Fresh is ``fairshard demo`` into an empty folder: sample web, all stages, both models, their audit. Targets on two cores:
fresh under three minutes, again under five seconds and without a request.

Measured on two cores: fresh 105 s with 1,087 requests, beside other work; again 1.8 s without one.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time


def main() -> None:
    options = _options()
    fresh, again, requests = [], [], []
    for _ in range(options.runs):
        with tempfile.TemporaryDirectory(prefix="fairshard-demo-") as folder:
            for times in (fresh, again):
                began = time.perf_counter()
                requests.append(_demo(folder, options))
                times.append(time.perf_counter() - began)
    for name, times, made in (("fresh", fresh, requests[0::2]), ("again", again, requests[1::2])):
        print(f"{name}  {statistics.median(times):7.2f} s in the median of {len(times)}, {max(made)} requests")
    if any(requests[1::2]):
        sys.exit("the second run asked for something")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1, help="fresh ones, each followed by one more (default 1)")
    parser.add_argument("--no-train", action="store_true", help="stop at the release")
    parser.add_argument("--limit", type=float, default=900, help="seconds after which a run is stopped (default 900)")
    return parser.parse_args()


def _demo(folder: str, options: argparse.Namespace) -> int:
    """Run the demo. Returns the number of requests it made."""
    entry = "from fairshard.pipelines.cli import main; main()"
    command = [sys.executable, "-c", entry, "--quiet", "demo", "--dir", folder, "--json"]
    command += ["--no-train"] if options.no_train else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            output, _ = process.communicate(timeout=options.limit)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit {process.returncode}")
    return json.loads(output)["requests"]


if __name__ == "__main__":
    main()
