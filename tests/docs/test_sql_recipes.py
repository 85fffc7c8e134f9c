"""Every query of docs/sql.md answers its question on the sample web: with fairshard, and in DuckDB alone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import code, page

from fairshard.pipelines import _catalog, takedown
from fairshard.pipelines._duckdb import MACROS
from fairshard.schemas.errors import SqlError
from fairshard.udfs.catalog import UDFS

QUESTIONS = {
    title: (text, code(text, "sql"))
    for title, text in re.findall(r"^### (.*?)\n(.*?)(?=^##|\Z)", page("docs/sql.md"), re.M | re.S)
}
OF_WORK_ALONE = [title for title, (text, _) in QUESTIONS.items() if text.strip().startswith("In a work directory:")]
PYTHON = re.compile("|".join(rf"\b{udf.name}\(" for udf in UDFS if udf.name not in MACROS))
IN_PYTHON = [title for title, (_, (query, *_)) in QUESTIONS.items() if PYTHON.search(query)]


def query_of(title: str) -> str:
    return QUESTIONS[title][1][0]


@pytest.fixture(scope="module")
def demo(sample, tmp_path_factory):
    """The sample's directories, and beside them what recipes name: a new list, and the release after it."""
    folder = tmp_path_factory.mktemp("recipes")
    shutil.copytree(sample.folder / "work", folder / "work", ignore=shutil.ignore_patterns("work_shard"))
    shutil.copytree(sample.release, folder / "release")
    (folder / "optouts.csv").write_text("domain\nrowan.example\nwillow.example\nnobody.example\n")
    takedown.takedown(str(folder / "release"), str(folder / "release-2"), [f"domain={folder / 'optouts.csv'}"])
    return folder


def test_each_question_has_one_query():
    assert len(QUESTIONS) >= 25
    assert {title for title, (_, queries) in QUESTIONS.items() if len(queries) != 1} == set()
    assert (len(OF_WORK_ALONE), IN_PYTHON) == (2, ["Which captions are made from a template?"])


@pytest.fixture(scope="module")
def opened(demo):
    return {kind: _catalog.open_catalog(str(demo / kind)) for kind in ("work", "release")}


@pytest.mark.parametrize("kind", ["work", "release"])
@pytest.mark.parametrize("title", QUESTIONS)
def test_the_query_has_an_answer(demo, opened, title, kind, monkeypatch):
    monkeypatch.chdir(demo / kind)
    if kind == "release" and title in OF_WORK_ALONE:
        with pytest.raises(SqlError, match=r"host_file does not exist|observed_at"):
            opened[kind].rows(query_of(title))
    else:
        assert opened[kind].rows(query_of(title)).num_rows > 0


PLAIN = """
import json, sys, duckdb
connection = duckdb.connect("catalog.duckdb", read_only=True)
print(json.dumps([len(connection.execute(query).fetchall()) for query in json.load(sys.stdin)]))
assert "fairshard" not in sys.modules
"""


@pytest.mark.parametrize("kind", ["work", "release"])
def test_the_query_has_the_same_number_of_rows_in_duckdb_alone(demo, opened, kind, monkeypatch):
    left_out = {*IN_PYTHON, *(OF_WORK_ALONE if kind == "release" else [])}
    queries = [query_of(title) for title in QUESTIONS if title not in left_out]
    command = [sys.executable, "-c", PLAIN]
    ran = subprocess.run(
        command, cwd=demo / kind, input=json.dumps(queries), capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    monkeypatch.chdir(demo / kind)
    assert json.loads(ran.stdout) == [opened[kind].rows(query).num_rows for query in queries]


def test_the_rows_of_each_source_add_up(sample):
    found = _catalog.sql(sample.job.work_dir, query_of("Is every row of the sources accounted for?")).to_pylist()
    assert all(row["listed"] == row["rejected"] + row["dropped"] + row["released"] for row in found)


def test_the_nearest_picture_is_the_picture(sample):
    assert _catalog.sql(sample.job.work_dir, query_of("What looks like this picture?"))["bits"][0].as_py() == 0


def test_pairs_are_counted_once(opened):
    counted = opened["work"].rows(query_of("About how many pairs did anybody say anything?"))
    sizes = opened["work"].dicts(query_of("How large are the groups of duplicates?"))
    total = opened["work"].rows("FROM pair").num_rows
    assert sum(counted["pairs"].to_pylist()) == total
    assert sum(row["members"] * row["groups"] for row in sizes) == opened["work"].rows("FROM duplicate").num_rows


def test_a_new_list_removes_what_the_takedown_removed(demo, opened, monkeypatch):
    monkeypatch.chdir(demo / "release")
    listed = opened["release"].rows(query_of("What would a new list remove?"))
    changed = opened["release"].dicts(query_of("What changed between two releases?"))
    removed = sum(listed["released"].to_pylist())
    assert [(row["before"], row["after"], row["pairs"]) for row in changed] == [("released", "dropped", removed)]
    assert removed > 0


def test_the_keeper_has_the_most_pixels(opened):
    found = opened["work"].rows(query_of("Was the better copy kept?"))
    assert set(found["keeper_has"].to_pylist()) == {"more pixels", "as many"}


def test_ones_own_connection_knows_the_functions(demo, capsys, monkeypatch):
    monkeypatch.chdir(Path(demo).parent)
    (block,) = code(page("docs/sql.md"), "python")
    exec(block.replace("demo/release", f"{demo.name}/release"), {})
    assert "template" in capsys.readouterr().out
