"""Takedowns of one release, each in a process that is killed at some change to the file system.

    python kill_points.py RELEASE SCOPE=FILE FOLDER [POINT...]

Changes are counted from 1, as Python announces them to audit hooks, before they happen. For each point, the next release
would be ``FOLDER/POINT``, and a line of JSON tells how the process ended. Without points, one takedown goes to its end,
into ``FOLDER/whole``, and the line has the number of changes and the place of the move that makes the release appear.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from fairshard.pipelines import _card, _recheck, takedown  # noqa: F401

_CHANGES = ("os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "open")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def main() -> None:
    release, registry, folder, *points = sys.argv[1:]
    for point in points or ["whole"]:
        child = os.fork()  # before any library has begun a thread
        if not child:
            _take(release, registry, f"{folder}/{point}", int(point) if points else 0)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if points:
            _say(point=int(point), status=os.waitstatus_to_exitcode(status))


def _take(release: str, registry: str, out: str, point: int) -> None:
    seen: list[str] = []

    def hook(event: str, args: tuple) -> None:
        if event in _CHANGES and (event != "open" or (isinstance(args[2], int) and args[2] & _WRITING)):
            seen.append(str(args[1]) if event == "os.rename" else event)
            if len(seen) == point:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    takedown.takedown(release, out, [registry])
    if not point:
        _say(changes=len(seen), appears=seen.index(out) + 1)


def _say(**facts: int) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
