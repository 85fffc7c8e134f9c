"""docs/registries.md names scopes, endings and defaults as they are, and its examples are read as it says."""

from __future__ import annotations

import typing

import pytest
from pages import code, names, page, section

from fairshard.pipelines._hash_entries import LIST_SCOPES
from fairshard.pipelines._registries import load_one
from fairshard.pipelines._registry_file import READERS
from fairshard.schemas import typed_yaml
from fairshard.schemas.config import Registry, Scope
from fairshard.udfs.hash_lists import WITHDRAWN

PAGE = page("docs/registries.md")
# What each example holds, in the order of the page.
EXAMPLES = {
    "txt": [["pdq"] * 3, ["md5", "md5", "sha256"]],
    "csv": [["pdq"] * 2, ["pdq", "md5"], ["md5", "md5", "pdq"]],
    "json": [["pdq"]],
    "xml": [["md5"]],
}
CASES = [(kind, number) for kind, examples in EXAMPLES.items() for number in range(len(examples))]


def table(head: str) -> dict[str, str]:
    """The first two cells of each row of the table that begins so, by each name in the first."""
    lines = PAGE.partition(f"| {head} |")[2].partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: row[1] for row in cells for name in names(row[0])}


def test_every_scope_and_ending_is_there():
    assert set(table("scope")) == set(typing.get_args(Scope))
    assert {name for name in names(section(PAGE, "Files")) if name.startswith(".")} == set(READERS)


def test_every_key_is_there_with_its_default():
    keys = table("key")
    assert set(keys) == set(Registry.__dataclass_fields__)
    assert float(keys["max_malformed"]) == Registry("", "", "pdq").max_malformed


def test_the_configs_are_some():
    configs = [typed_yaml.parse(text, "page")["registries"] for text in code(PAGE, "yaml")]
    assert [[typed_yaml.build(Registry, entry, "page").name for entry in entries] for entries in configs] == [
        ["optouts", "stopncii", "ncmec"],
        ["optouts"],
    ]


def test_the_words_of_a_withdrawal_are_there():
    assert set(WITHDRAWN) <= set(names(PAGE.partition("**Withdrawn** is")[2].partition(".")[0]))


@pytest.mark.parametrize(("kind", "number"), CASES)
def test_an_example_is_read(tmp_path, kind, number):
    expected = EXAMPLES[kind][number]
    assert len(code(PAGE, kind)) == len(EXAMPLES[kind])
    path = tmp_path / f"list.{kind}"
    path.write_text(code(PAGE, kind)[number])
    scope = expected[0] if len(set(expected)) == 1 and kind in ("txt", "csv") else "hash"
    assert scope in LIST_SCOPES
    found = load_one(Registry("list", path.name, scope), str(path))
    assert (found.rules["scope"].to_pylist(), found.malformed) == (expected, 0)
