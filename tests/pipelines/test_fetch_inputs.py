"""Who is asked for what, and how slowly: what workers of `fetch` are given."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fairshard.pipelines import fetch
from fairshard.pipelines._fetch_task import Asked, asked_by_url

EARLY, LATE = datetime(2026, 1, 1, 10, tzinfo=UTC), datetime(2026, 1, 1, 11, tzinfo=UTC)
PAIRS = [
    {"pair_id": pair_id, "url": f"http://{host}/{name}", "host": host.removeprefix("www.")}
    for pair_id, host, name in [(1, "a.example", "1"), (-2, "a.example", "1"), (3, "www.a.example", "2"),
                                (4, "b.example:81", "3"), (5, "c.example", "4")]
]  # fmt: skip
FILES = [
    {"origin": "http://a.example", "kind": "robots_txt", "crawl_delay_s": 1.5, "fetched_at": EARLY},
    {"origin": "http://www.a.example", "kind": "robots_txt", "crawl_delay_s": 0.5, "fetched_at": EARLY},
    {"origin": "http://www.a.example", "kind": "ai_txt", "fetched_at": LATE},
    {"origin": "http://b.example:81", "kind": "robots_txt", "crawl_delay_s": 0.0, "fetched_at": EARLY},
]
PERMITTED = {"pair_id": 3, "kind": "registry", "verdict": "allow", "scope": "url", "source": "letters", "rule_id": 1}


@pytest.mark.parametrize(("min_delay_s", "b"), [(0, (None, None)), (0.25, (0.0, EARLY))])
def test_hosts_are_asked_as_slowly_as_any_of_their_files_says(make_work, tmp_path, min_delay_s, b):
    pairs = [{**pair, "host": pair["host"].partition(":")[0]} for pair in PAIRS]
    config = {"fetch": {"partitions": 2, "min_delay_s": min_delay_s}}
    work = make_work(config, pair=pairs, host_file=FILES, signal=[PERMITTED])
    folder = str(tmp_path / "inputs")
    assert fetch._write_inputs(work, folder, ["0000", "0001"]) == 3
    parts = [asked_by_url(work.partition_files(folder, "part", number)) for number in range(2)]
    assert {one.host for one in parts[0].values()}.isdisjoint(one.host for one in parts[1].values())
    assert parts[0] | parts[1] == {
        "http://a.example/1": Asked((-2, 1), frozenset(), "a.example", 1.5, LATE),
        "http://www.a.example/2": Asked((3,), frozenset({3}), "a.example", 1.5, LATE),
        "http://b.example:81/3": Asked((4,), frozenset(), "b.example", *b),
        "http://c.example/4": Asked((5,), frozenset(), "c.example", None, None),
    }
