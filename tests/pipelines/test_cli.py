"""The command line: what verbs print, and how they end."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys

import click
import pytest
import small_world
from click.testing import CliRunner

from fairshard.pipelines import _output, cli, demo
from fairshard.pipelines.cli import main


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> str:
    return str(small_world.emitted(tmp_path_factory.mktemp("world")))


def run(*words: str, **more):
    return CliRunner().invoke(main, list(words), **more)


@pytest.mark.parametrize("verb", cli.VERBS)
def test_the_list_of_verbs_says_what_each_is_for_in_whole_words(verb):
    command = main.get_command(click.Context(main), verb)
    assert command is not None and command.name == verb
    line = next(line for line in run("--help", terminal_width=80).output.splitlines() if line.startswith(f"  {verb} "))
    assert not line.endswith("...")


@pytest.mark.parametrize(
    ("question", "code"),
    [
        (("--domain", "a.example"), 0),
        (("--url", "https://no.example/41.jpg"), 0),  # left out is an answer
        (("--domain", "nobody.example"), 1),
        (("--image", __file__), 2),
        (("--image", "missing.jpg"), 2),
        ((), 2),
    ],
)
def test_lookup_ends_with_1_if_nothing_is_found(release, question, code):
    found = run("lookup", release, "--json", *question)
    assert found.exit_code == code
    if code < 2:
        assert json.loads(found.stdout)["found"] == (code == 0)
    else:
        assert found.stdout == "" and found.stderr


SQL = """
SELECT 'nan'::DOUBLE AS a, '-inf'::FLOAT AS b, [1.5, 'nan'::DOUBLE] AS c, {'x': 'inf'::DOUBLE} AS d, NULL AS e,
       1.50::DECIMAL(9, 2) AS f, TIMESTAMPTZ '2026-01-02 03:04:05Z' AS g, 'ab'::BLOB AS h, true AS i, 2::HUGEINT AS j
"""


def test_json_of_a_query_is_json(release):
    def refuse(word: str) -> None:
        raise ValueError(word)

    (row,) = json.loads(run("sql", release, SQL, "--json").stdout, parse_constant=refuse)
    assert row == {"a": None, "b": None, "c": [1.5, None], "d": {"x": None}, "e": None, "f": 1.5,
                   "g": "2026-01-02 03:04:05+00:00", "h": "6162", "i": True, "j": 2}  # fmt: skip


def test_a_pipe_gets_all_rows_as_csv(release):
    long = "a word, " * 40
    query = f"SELECT 'x' AS a, '{long}' AS b, NULL AS c, [1, 2] AS d, true AS e, 'f'::BLOB AS a FROM range(150)"
    rows = list(csv.reader(io.StringIO(run("sql", release, query).stdout)))
    assert rows == [["a", "b", "c", "d", "e", "a"], *[["x", long, "", "[1, 2]", "true", "66"]] * 150]


def test_a_terminal_gets_a_table_of_the_first_rows(release, monkeypatch):
    monkeypatch.setattr(_output.STDOUT, "_force_terminal", True)
    found = run("sql", release, "SELECT range AS n FROM range(150)")
    assert (len(found.stdout.splitlines()), "50 more rows" in found.stderr) == (101, True)


@pytest.mark.parametrize("query", ["", " \n", "/* a comment */", ";"])
def test_an_empty_query_is_refused(release, query):
    for found in (run("sql", release, query), run("sql", release, input=query)):
        assert (found.exit_code, found.stdout) == (2, "")
        assert "the query is empty; expected one statement" in found.stderr


def test_sql_that_is_none_is_named(release):
    found = run("sql", release, "SELEC 1")
    assert found.exit_code == 2 and "SELEC 1" in found.stderr


def test_advice_to_run_again_is_given_where_it_is_true(release, monkeypatch):
    def broken(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/a/file")

    monkeypatch.setattr("fairshard.pipelines.verify.check", broken)
    monkeypatch.setattr("fairshard.pipelines.demo.run", lambda *_, **__: broken())
    said = [run("verify", release), run("demo")]
    assert [found.exit_code for found in said] == [2, 2]
    assert [found.stderr for found in said] == [
        "fairshard: /a/file: Permission denied\n",
        "fairshard: /a/file: Permission denied. What was committed stays; run again to go on\n",
    ]


def test_a_demo_without_iscc_lib_leaves_the_declared_works_out(monkeypatch, tmp_path):
    whole = {listed.name for listed in demo.job(tmp_path, "").config.registries}
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda name: None)
    assert whole - {listed.name for listed in demo.job(tmp_path, "").config.registries} == {"declared-works"}


def test_a_demo_in_a_file_is_refused():
    found = run("demo", "--no-train", "--dir", f"{__file__}/demo")
    assert found.exit_code == 2 and "test_cli.py is a file; expected a folder" in found.stderr


INTERRUPTED = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, *_):
        if name == "pyarrow":
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupt())
from fairshard.pipelines.cli import main
main(["sql", "work", "SELECT 1"])
"""


def test_ctrl_c_while_a_verb_is_imported_ends_quietly():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "fairshard: interrupted\n")


QUERY = """
import signal, sys
from fairshard.pipelines.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)
main(["sql", sys.argv[1], f"FROM read_csv('{sys.argv[2]}')"])
"""


def test_ctrl_c_ends_a_query(release, tmp_path):
    """The query waits for a pipe that nobody fills."""
    os.mkfifo(tmp_path / "rows.csv")
    command = [sys.executable, "-c", QUERY, release, str(tmp_path / "rows.csv")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    with open(tmp_path / "rows.csv", "w"):  # opens when the query does
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (-signal.SIGINT, "")


def test_a_query_leaves_ctrl_c_as_it_was(release):
    before = signal.getsignal(signal.SIGINT)
    run("sql", release, "SELECT 1")
    assert signal.getsignal(signal.SIGINT) is before
