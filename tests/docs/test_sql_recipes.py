"""Every query of docs/sql.md answers its question on the sample web."""

from __future__ import annotations

import re

import pytest
from pages import code, page

from fairshard.pipelines import _catalog

QUESTIONS = {
    title: code(text, "sql")
    for title, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", page("docs/sql.md"), re.M | re.S)
}


def test_each_question_has_one_query():
    assert len(QUESTIONS) >= 10
    assert {title for title, queries in QUESTIONS.items() if len(queries) != 1} == set()


@pytest.mark.parametrize("directory", ["work", "release"])
@pytest.mark.parametrize("question", QUESTIONS)
def test_the_query_has_an_answer(sample, question, directory):
    assert _catalog.sql(str(sample.folder / directory), QUESTIONS[question][0]).num_rows > 0


def test_the_rows_of_each_source_add_up(sample):
    (query,) = QUESTIONS["Is every row of the sources accounted for?"]
    found = _catalog.sql(sample.job.work_dir, query).to_pylist()
    assert all(row["listed"] == row["rejected"] + row["dropped"] + row["released"] for row in found)


def test_the_nearest_picture_is_the_picture(sample):
    (query,) = QUESTIONS["What looks like this picture?"]
    assert _catalog.sql(sample.job.work_dir, query)["bits"][0].as_py() == 0


def test_ones_own_connection_knows_the_functions(sample, capsys):
    (block,) = code(page("docs/sql.md"), "python")
    names = {}
    exec(block.replace("demo/release", str(sample.folder / "release")), names)
    assert "max(phash_distance(phash, 0))" in capsys.readouterr().out
    assert names["connection"].sql("SELECT max(pdq_distance(pdq, pdq)) FROM image").fetchall() == [(0,)]
