"""A takedown that is killed leaves the old release as it was, and the next one absent or whole."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import small_world

from fairshard.pipelines.verify import verify

SCRIPT = Path(__file__).with_name("kill_points.py")


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return small_world.emitted(tmp_path_factory.mktemp("world"))


def killed(release, folder, *points):
    """What ``kill_points.py`` says."""
    (folder / "list.txt").write_text("img.b.example\n")
    given = [str(release), f"host={folder / 'list.txt'}", str(folder), *map(str, points)]
    said = subprocess.run([sys.executable, str(SCRIPT), *given], capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in said.splitlines()]


def test_killed_at_some_change(release, tmp_path):
    before = small_world.contents(release)
    (whole,) = killed(release, tmp_path)
    last = whole["appears"]
    points = [last // 2, last - 1, last, last + 1]
    found = killed(release, tmp_path, *points)
    assert [one["status"] for one in found] == [-signal.SIGKILL] * len(points)
    assert [(tmp_path / str(point)).exists() for point in points] == [False] * 3 + [True]
    expected = small_world.contents(tmp_path / "whole")
    assert small_world.contents(tmp_path / str(last + 1)) == expected and verify(str(tmp_path / str(last + 1))) == []
    assert small_world.contents(release) == before and verify(str(release)) == []
