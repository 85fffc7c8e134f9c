"""docs/policy.md names every key with its default, and the presets as they are."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path

import pytest
from pages import code, names, page, rows, section

from fairshard.schemas import policy as policies
from fairshard.schemas import typed_yaml
from fairshard.schemas.policy import PRESETS, Kind, Policy
from fairshard.schemas.verdicts import VERDICTS

PAGE = page("docs/policy.md")
POLICIES = [policies.load(name, Path()) for name in PRESETS]


def shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def test_every_key_is_there_with_its_default():
    keys = rows(section(PAGE, "Every key"))
    defaults = {names(row[0])[0]: row[1].strip("`") for row in keys}
    assert defaults == {field.name: shown(field.default) for field in dataclasses.fields(Policy)}


def test_every_value_of_a_choice_is_there():
    hints = typing.get_type_hints(Policy)
    for key, _, values, _ in rows(section(PAGE, "Every key")):
        kind = hints[names(key)[0]]
        if typing.get_origin(kind) is typing.Literal:
            assert set(names(values)) == set(typing.get_args(kind)), key


@pytest.mark.parametrize("policy", POLICIES, ids=PRESETS)
def test_the_presets_are_as_described(policy):
    column = PRESETS.index(policy.name) + 1
    described = {names(row[0])[0]: row[column] for row in rows(section(PAGE, "The presets"))}
    known = dataclasses.asdict(policy)
    assert described == {key: shown(value) for key, value in known.items() if key not in ("name", "assumes")}
    assert f"- `{policy.name}`: {policy.assumes}" in " ".join(PAGE.split())


def test_the_verdicts_are_in_order():
    assert [names(row[0])[0] for row in rows(section(PAGE, "The five verdicts"))] == list(VERDICTS)


def test_every_kind_of_evidence_is_named():
    assert {kind for kind in typing.get_args(Kind) if f"`{kind}`" not in PAGE} == set()


def test_the_example_is_a_policy(tmp_path):
    _, example = code(PAGE, "yaml")
    (tmp_path / "my-policy.yaml").write_text(example)
    policy = policies.load("my-policy.yaml", tmp_path)
    assert (policy.name, policy.purpose) == (
        "my-policy",
        POLICIES[PRESETS.index(typed_yaml.parse(example, "")["extends"])].purpose,
    )
