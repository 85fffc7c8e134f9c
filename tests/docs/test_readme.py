"""What the pages say about commands, stages, extras and files holds."""

from __future__ import annotations

import configparser
import importlib
import re
import shlex

import click
import pytest
from pages import PAGES, ROOT, code, names, page, rows, section

from fairshard.pipelines import cli
from fairshard.pipelines._work import STAGES
from fairshard.schemas import config, errors, typed_yaml

README = page("README.md")


def commands() -> list[str]:
    """Every ``fairshard ...`` of the pages that could be typed: indented lines, and verbs with an argument in backticks."""
    found = set()
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        found |= {line.partition("  ")[0] for line in re.findall(r"^ {4,}(fairshard .*)$", text, re.M)}
        found |= {" ".join(name.split()) for name in re.findall(r"`(fairshard [a-z]+ [^`]+)`", text)}
    return sorted(command for command in found if not re.search(r"\b(VERB|NAME|FILE|DIR|CONFIG)\b", command))


@pytest.mark.parametrize("command", commands())
def test_a_command_parses(command):
    parse(cli.main, shlex.split(command))


def parse(command: click.Command, words: list[str]) -> None:
    """Parse a command line to its last verb. Runs nothing.

    Raises:
        click.UsageError: it is none.
    """
    name, *arguments = words
    with command.make_context(name, list(arguments)) as context:
        if isinstance(command, click.Group):
            verb, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            assert found is not None
            parse(found, [str(verb), *rest])


def test_every_verb_is_in_the_readme():
    text = " ".join(README.split())
    assert {verb for verb in cli.VERBS if f"fairshard {verb} " not in text} == {"demo"}  # it is `make demo`


def test_every_make_target_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    asked = {target for path in PAGES for target in re.findall(r"(?:`|^ {4})make ([a-z]+)", path.read_text(), re.M)}
    assert asked and asked <= targets


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path):
    links = re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8"))
    assert {link for link in links if "://" not in link and not (path.parent / link).exists()} == set()


def test_the_stages_read_and_write_what_the_readme_says():
    said = {names(row[0])[0]: (names(row[1]), names(row[2])) for row in rows(section(README, "Stages"))}
    modules = {stage: importlib.import_module(f"fairshard.pipelines.{stage}") for stage in STAGES}
    assert said == {stage: (list(module.READS), list(module.WRITES)) for stage, module in modules.items()}
    assert list(said) == list(STAGES)


def test_the_job_is_a_job(tmp_path):
    (job,) = code(README, "yaml")
    loaded = config.from_mapping(typed_yaml.parse(job, "README.md"), tmp_path)
    assert loaded.policy.name == "strict"
    assert loaded.config.balance.max_per_domain == 1000


def test_the_extras_are_those_of_the_package():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert {names(row[0])[0] for row in rows(section(README, "Install"))} == set(setup["options.extras_require"])


def test_the_exit_codes_are_those_of_the_errors():
    codes = {int(row[0]): row[1] for row in rows(section(README, "What it is for"))}
    assert codes[errors.InputError.exit_code].startswith("bad")
    assert codes[errors.Refused.exit_code].startswith("refused")
    assert set(codes) == {0, 1, 2, 3, 4}


def test_the_demo_prints_the_numbers_of_the_readme(sample):
    said = [[row[0], int(row[1]), int(row[2])] for row in rows(section(README, "What the demo shows"))]
    assert said == [[stage["stage"], stage["rows_in"], stage["rows_out"]] for stage in sample.summary["stages"]]
    hosts = len({row["host"] for row in sample.rows("pair")})
    assert f"{hosts} invented hosts" in README


def test_files_that_the_pages_name_are_there():
    table = rows(section(page("CONTRIBUTING.md"), "Where does it happen?"))
    missing = set()
    for _, cell in table:
        folder = ""
        for name in names(cell):
            folder = name.rpartition("/")[0] + "/" if "/" in name else folder
            if not (ROOT / name).exists() and not (ROOT / folder / name).exists():
                missing.add(name)
    assert missing == set()
