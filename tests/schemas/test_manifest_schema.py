"""The JSON Schema that ships describes the manifests that are written."""

from __future__ import annotations

import json
from importlib import resources

import jsonschema
import pytest
import small_world

from fairshard.pipelines import takedown

SCHEMA = json.loads(resources.files("fairshard.schemas").joinpath("manifest.schema.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def manifests(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    dated = {"name": "public-list", "path": "public.csv", "scope": "domain", "dated": "2026-01-31"}
    given = {"endpoints": [{"name": "dnt", "url": "https://api.example/q?key=1"}], "registries": [dated]}
    first = small_world.emitted(folder, **given)
    (folder / "list.csv").write_text("domain\na.example\n")
    takedown.takedown(str(first), str(folder / "next"), [f"domain={folder / 'list.csv'}"], [])
    return [json.loads((path / "manifest.json").read_text("utf-8")) for path in (first, folder / "next")]


def test_a_release_and_the_next_one_are_as_it_says(manifests):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for manifest in manifests:
        jsonschema.validate(manifest, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert [len(manifest.get("takedowns", [])) for manifest in manifests] == [0, 1]
    assert [manifest["registries"][0]["dated"] for manifest in manifests] == ["2026-01-31"] * 2
    assert {key for manifest in manifests for key in manifest} == set(SCHEMA["properties"])


@pytest.mark.parametrize(
    ("path", "value"),
    [(("merkle_root",), "00"), (("counts", "rows"), -1), (("format",), "fairshard-release/2"), (("more",), 1),
     (("policy", "hold"), "maybe"), (("files", "README.md", "bytes"), "many")],
)  # fmt: skip
def test_what_is_otherwise_is_not(manifests, path, value):
    changed = json.loads(json.dumps(manifests[0]))
    place = changed
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed, SCHEMA, cls=jsonschema.Draft202012Validator)
