"""How far a fetch has come, as workers and the process that started them tell it."""

from __future__ import annotations

import logging

import pytest

from fairshard.pipelines import _progress
from fairshard.pipelines._fetch_progress import Tally, in_words, tell, watched
from fairshard.pipelines._progress import Bar


def test_a_line_names_pairs_hosts_the_end_and_the_failures(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(_progress, "_LINE_EVERY_S", -1.0)
    caplog.set_level(logging.INFO, "fairshard")
    one, other = (Tally(str(tmp_path), name, of) for name, of in (("0000", {"a": 3, "b": 2}), ("0001", {"c": 1500})))
    one.add("a", 3, None)
    one.add("b", 1, "timeout")
    other.add("c", 1000, "http_404")
    other.add("c", 500, None)
    one.write()
    other.write()
    tell(str(tmp_path), 3, Bar("fetch", 2000, None))
    (line,) = caplog.messages
    assert line.startswith("fetch: 1,504 of 2,000, about 0:00:")
    assert line.endswith(" left, 2 of 3 hosts, without a picture: http_404 1,000, timeout 1")


def test_nothing_is_told_of_what_has_not_begun(tmp_path, caplog):
    with watched(str(tmp_path / "no folder yet"), 10, 3):
        pass
    assert caplog.messages == []


def test_rare_reasons_are_summed_up():
    assert in_words({"a": 1, "b": 5, "c": 3, "d": 2, "e": 1, "f": 1}) == "b 5, c 3, d 2, a 1, others 2"


@pytest.mark.parametrize(("done", "known"), [(0, False), (5, True), (10, False)])
def test_an_end_is_estimated_on_the_way_alone(done, known):
    told = Bar("x", 10, None)
    told.reach(done)
    assert ("left" in told._end()) == known
