"""Refusals that wait for their partition to be committed: what a killed run leaves unfinished harms no other line."""

from __future__ import annotations

import pytest

from fairshard.pipelines._refusals import Refusals
from fairshard.pipelines._store import Store


def kept(store: Store) -> list[str]:
    return [image["asked_url"] for image, _ in Refusals(store, "0000")]


@pytest.mark.parametrize("cut", [1, 2, 9, 30])
def test_a_line_that_was_not_finished_spoils_no_other(tmp_path, cut):
    store = Store(str(tmp_path))
    for url in ("/1", "/2"):
        Refusals(store, "0000").add({"asked_url": url, "error": None}, [{"kind": "x_robots_tag"}])
    (file,) = tmp_path.glob("_refused/*.jsonl")
    file.write_bytes(file.read_bytes()[:-cut])
    first = ["/1", "/2"] if cut == 1 else ["/1"]  # the end of the line alone is missing
    assert kept(store) == first
    Refusals(store, "0000").add({"asked_url": "/3"}, [])
    assert kept(store) == [*first, "/3"]
    Refusals(store, "0000").forget()
    assert kept(store) == []
