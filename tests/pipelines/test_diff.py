"""diff: what changed from one release to another."""

from __future__ import annotations

import csv
import json

import pytest
import small_world
from click.testing import CliRunner

from fairshard.pipelines import diff, takedown
from fairshard.pipelines.cli import main


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    """The small world; the same without what a domain opted out; and with another cap and one pair fewer."""
    first = small_world.emitted(tmp_path_factory.mktemp("first"))
    folder = tmp_path_factory.mktemp("others")
    (folder / "list.csv").write_text("domain\na.example\n")
    takedown.takedown(str(first), str(folder / "second"), [f"domain={folder / 'list.csv'}"], [])
    third = small_world.emitted(folder / "third", leave_out=(5,), balance={"max_per_domain": 7})
    return str(first), str(folder / "second"), str(third)


def test_a_takedown_by_reason(releases):
    first, second, _ = releases
    found = diff.compare(first, second)
    assert found["changes"] == [{"before": "released", "after": "deny:registry", "pairs": 3}]
    assert [found[side]["released"] for side in ("before", "after")] == [5, 2]
    assert [found[side]["withheld"] for side in ("before", "after")] == [2, 2]
    back = diff.compare(second, first)
    assert back["changes"] == [{"before": "deny:registry", "after": "released", "pairs": 3}]


def test_another_run_with_its_settings(releases):
    first, _, third = releases
    found = diff.compare(first, third)
    assert found["changes"] == [{"before": "released", "after": "cap", "pairs": 1}]
    assert found["made_from"] == {"settings.balance.max_per_domain": [None, 7]}
    assert "settings.balance.max_per_domain: nothing -> 7" in diff.text(found)


def test_nothing_changed(releases):
    found = diff.compare(releases[0], releases[0])
    assert (found["changes"], found["made_from"]) == ([], {})
    assert diff.text(found).endswith("no pair changed")


def test_pairs_of_one_release_alone_are_not_there_in_the_other(releases, tmp_path, monkeypatch):
    """The second source ends with its first row here; a rejected row is no pair."""
    monkeypatch.setattr(small_world, "PAIRS", [row for row in small_world.PAIRS if row["pair_id"] != 44])
    monkeypatch.setattr(small_world, "DROPPED", [row for row in small_world.DROPPED if row[0] != 44])
    monkeypatch.setattr(small_world, "REJECTED", small_world.REJECTED[:2])
    fewer = str(small_world.emitted(tmp_path))
    assert diff.compare(releases[0], fewer)["changes"] == [
        {"before": "deny:registry", "after": "not there", "pairs": 1}
    ]


def test_the_verb_lists_pairs_and_names_nobody_that_is_withheld(releases, tmp_path):
    first, second, _ = releases
    out = tmp_path / "changed.csv"
    result = CliRunner().invoke(main, ["diff", first, second, "--out", str(out), "--json"])
    assert result.exit_code == 0 and json.loads(result.stdout)["changes"][0]["pairs"] == 3
    rows = list(csv.DictReader(out.open(encoding="utf-8")))
    assert {int(row["pair_id"]) for row in rows} == {3, -9, -(2**62)}
    assert {(row["before"], row["after"]) for row in rows} == {("released", "deny:registry")}
    assert not [word for word in small_world.SECRET_WORDS if word in out.read_text() + result.output]


def test_what_is_no_release_is_said(releases, tmp_path):
    result = CliRunner().invoke(main, ["diff", releases[0], str(tmp_path)])
    assert result.exit_code == 2 and "expected a finished release" in result.stderr


def test_what_a_sensitive_list_removed_is_not_listed(releases, tmp_path):
    (tmp_path / "secret.txt").write_text("img.b.example\n")
    after = tmp_path / "after"
    takedown.takedown(releases[0], str(after), [], [f"host={tmp_path / 'secret.txt'}"])
    for before, later in ((releases[0], str(after)), (str(after), releases[0])):
        diff.write_pairs(before, later, str(tmp_path / "changed.csv"))
        (row,) = csv.DictReader((tmp_path / "changed.csv").open())
        assert (row["pair_id"], row["url"]) == ("", "") and {row["before"], row["after"]} == {"released", "not there"}
