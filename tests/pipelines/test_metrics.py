"""Figures for Prometheus: text that it reads, numbers that are those of the run."""

from __future__ import annotations

import dataclasses
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sample_run import SampleRun

from fairshard.pipelines import _run
from fairshard.pipelines._metrics import Metric, Sample, render
from fairshard.schemas.config import from_mapping
from fairshard.schemas.errors import InputError, SourceError

# The text format 0.0.4, stricter than Prometheus reads it: HELP, TYPE and samples of a metric side by side, in order.
NAME = r"[a-z_]+"
LABEL = rf'{NAME}="(?:[^"\\\n]|\\\\|\\"|\\n)*"'
LINE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (-?[0-9]+(?:\.[0-9]+)?(?:e[+-][0-9]+)?)")


def parsed(text: str) -> dict[str, dict[tuple, float]]:
    """Samples by metric and labels.

    Raises:
        AssertionError: it is no exposition.
    """
    assert text.endswith("\n")
    found: dict[str, dict[tuple, float]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in found and line.split(" ", 3)[3]
        elif line.startswith("# TYPE "):
            assert line == f"# TYPE {name} gauge"
            found[name] = {}
        else:
            match = LINE.fullmatch(line)
            assert match and match[1] == name, line
            labels = tuple(re.findall(rf'({NAME})="((?:[^"\\]|\\.)*)"', match[2] or ""))
            assert labels not in found[name]
            found[name][labels] = float(match[3])
    assert all(found.values())
    return found


@pytest.fixture(scope="module")
def figures(sample: SampleRun) -> dict[str, dict[tuple, float]]:
    return parsed((sample.folder / "work" / "metrics.prom").read_text())


def test_they_are_those_of_the_run(sample, figures):
    for stage in sample.summary["stages"]:
        name = (("stage", stage["stage"]),)
        assert figures["fairshard_stage_rows_in"][name] == stage["rows_in"]
        assert figures["fairshard_stage_rows_out"][name] == stage["rows_out"]
        lost = figures["fairshard_stage_rows_lost"]
        assert (
            sum(count for labels, count in lost.items() if labels[:1] == name) == stage["rows_in"] - stage["rows_out"]
        )
    assert figures["fairshard_run_success"] == {(): 1}
    assert figures["fairshard_last_success_timestamp_seconds"] == figures["fairshard_run_end_timestamp_seconds"]


def test_rows_that_were_lost_are_counted_by_reason(sample, figures):
    reasons: dict[tuple, int] = {}
    for row in sample.rows("dropped"):
        key = (("stage", row["stage"]), ("reason", row["reason"]))
        reasons[key] = reasons.get(key, 0) + 1
    lost = figures["fairshard_stage_rows_lost"]
    assert {key: count for key, count in lost.items() if key[0][1] != "ingest"} == reasons


def test_every_request_of_a_picture_is_counted_by_class(sample):
    """Against what the sample web has seen. A kept connection that has just expired is tried once more."""
    seen = [one for one in sample.requests if one.method == "GET"]
    text = (sample.folder / "work" / "run.json").read_text()
    assert '"requests"' in text
    counted = [one["requests"] for one in sample.summary["stages"] if "requests" in one]
    for kind in ("2xx", "3xx", "4xx"):
        assert sum(one.get(kind, 0) for one in counted) <= sum(one.status // 100 == int(kind[0]) for one in seen)
    assert sum(sum(one.values()) for one in counted) >= 0.9 * len(seen)


def test_bytes_are_those_of_pictures_and_of_the_release(sample, figures):
    assert figures["fairshard_stage_read_bytes"][("stage", "fetch"),] > 1_000_000
    size = sum(path.stat().st_size for path in sample.release.rglob("*") if path.is_file())
    catalog = (sample.release / "catalog.duckdb").stat().st_size
    assert figures["fairshard_stage_released_bytes"][("stage", "emit"),] == size - catalog


def test_values_may_hold_anything():
    text = render([Metric("a", "b", [Sample({"reason": 'x "y" \\ \n z'}, 1)]), Metric("none", "", [])])
    assert text == '# HELP a b\n# TYPE a gauge\na{reason="x \\"y\\" \\\\ \\n z"} 1\n'
    assert parsed(text) == {"a": {(("reason", 'x \\"y\\" \\\\ \\n z'),): 1}}


def test_a_failure_is_told_where_one_wants_it_and_the_last_success_stands(tmp_path):
    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"url": [f"https://a.example/{n}.jpg" for n in range(999)], "text": ["words"] * 999}), path)
    job = from_mapping({"work_dir": "work", "release_dir": "release", "sources": [{"path": path.name}]}, tmp_path)
    job = dataclasses.replace(job, config=dataclasses.replace(job.config, metrics_file="collected/fairshard.prom"))
    _run.run(job, ["ingest"])
    before = parsed((tmp_path / "collected" / "fairshard.prom").read_text())
    path.write_bytes(path.read_bytes()[:4] + bytes(2000) + path.read_bytes()[2004:])
    with pytest.raises(SourceError):
        _run.run(job, ["ingest"])
    after = parsed((tmp_path / "collected" / "fairshard.prom").read_text())
    assert (before["fairshard_run_success"], after["fairshard_run_success"]) == ({(): 1}, {(): 0})
    assert after["fairshard_run_exit_code"] == {(): 2}
    assert after["fairshard_last_success_timestamp_seconds"] == before["fairshard_last_success_timestamp_seconds"]
    assert [path.name for path in (tmp_path / "collected").iterdir()] == ["fairshard.prom"]
    assert not (tmp_path / "work" / "metrics.prom").exists()


def test_figures_that_cannot_be_written_cost_no_run(tmp_path, caplog):
    (tmp_path / "list.csv").write_text("url,text\nhttps://a.example/1.jpg,words\n")
    required = {"work_dir": "work", "release_dir": "release", "sources": [{"path": "list.csv"}]}
    _run.run(from_mapping({**required, "metrics_file": "list.csv/figures.prom"}, tmp_path), ["ingest"])
    assert [line for line in caplog.messages if line.startswith("figures for Prometheus cannot be written: ")]
    with pytest.raises(InputError, match="planet://a: cannot be reached"):
        _run.run(from_mapping({**required, "metrics_file": "planet://a"}, tmp_path), ["ingest"])
