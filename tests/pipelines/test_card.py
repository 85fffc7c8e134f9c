"""What a release says of itself, read by the libraries that people read releases with. Offline."""

from __future__ import annotations

import dataclasses
import html
import io
import json
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import mlcroissant
import pyarrow.parquet as pq
import pytest
import small_world
import webdataset
import yaml
from PIL import Image
from small_world import PICTURES, RELEASED

from fairshard.pipelines.takedown import takedown
from fairshard.pipelines.verify import line, verify
from fairshard.schemas.config import Emit
from fairshard.schemas.release import SIDECAR

STATED = {"publisher": "Example & Daughters", "contact": "opt-out@example.org", "url": "https://example.org/pairs",
          "published_on": "2026-01-31"}  # fmt: skip
GONE = 5  # the pair of img.b.example


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    """A release, and the next one after a takedown."""
    folder = tmp_path_factory.mktemp("world")
    emit = {"samples_per_shard": 2, "title": "A *small* | world", **STATED}
    first = small_world.emitted(folder, emit=emit)
    (folder / "hosts.txt").write_text("img.b.example\n")
    takedown(str(first), str(folder / "next"), [f"host={folder / 'hosts.txt'}"])
    return {"first": first, "next": folder / "next"}


@pytest.fixture(params=["first", "next"])
def release(releases, request):
    return releases[request.param]


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")


def described(release):
    """The rows of the sidecars, in the order of the shards."""
    return [row for path in sorted(release.glob("shards/*.parquet")) for row in pq.read_table(path).to_pylist()]


def ids(release):
    return [pair_id for pair_id in RELEASED if release.name == "release" or pair_id != GONE]


def croissant(release):
    return json.loads((release / "croissant.json").read_text())


def front_matter(release):
    return yaml.safe_load((release / "README.md").read_text().split("---\n")[1])


def test_croissant_is_valid_without_a_warning(release):
    metadata = mlcroissant.Dataset(jsonld=str(release / "croissant.json")).metadata
    assert (metadata.ctx.issues.errors, metadata.ctx.issues.warnings) == (set(), set())
    assert metadata.conforms_to == ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"]
    assert (metadata.name, metadata.url) == ("A *small* | world", "https://example.org/pairs")
    assert [(one.name, one.email) for one in metadata.creators] == [("Example & Daughters", "opt-out@example.org")]


def test_the_validator_of_the_command_line_accepts_it(releases):
    call = [sys.executable, "-c", "from mlcroissant.scripts.cli import main; main()", "validate", "--jsonld"]
    done = subprocess.run([*call, str(releases["next"] / "croissant.json")], capture_output=True, text=True)
    assert done.returncode == 0 and "Done." in done.stderr and "warning" not in done.stderr.lower(), done.stderr


def test_its_records_are_the_released_pairs(release):
    dataset = mlcroissant.Dataset(jsonld=str(release / "croissant.json"))
    records = [{name.removeprefix("sample/"): value.decode() if isinstance(value, bytes) else value
                for name, value in record.items()} for record in dataset.records("sample")]  # fmt: skip
    shards = [record.pop("shard") for record in records]
    assert records == described(release)
    assert [record["pair_id"] for record in records] == ids(release)
    assert shards == [f"shards/{int(record['key'][:5]):05d}" for record in records]


def test_it_lists_each_shard_as_the_manifest_does(release):
    files = json.loads((release / "manifest.json").read_text())["files"]
    listed = {one["contentUrl"]: one for one in croissant(release)["distribution"] if one["@type"] == "cr:FileObject"}
    assert {name: one["sha256"] for name, one in listed.items()} == {
        name: fact["sha256"] for name, fact in files.items() if name.endswith(".tar")
    }
    assert {one["contentSize"] for one in listed.values()} == {f"{files[name]['bytes']} B" for name in listed}
    assert "croissant.json" in files


def test_it_says_what_was_taken_down(releases):
    first, later = croissant(releases["first"]), croissant(releases["next"])
    assert (first["version"], later["version"]) == ("1.0.0", "2.0.0")
    assert "Takedowns so far: 1; samples that they removed: 1." in later["rai:dataReleaseMaintenancePlan"]
    for document, release in ((first, releases["first"]), (later, releases["next"])):
        said = html.unescape((release / "README.md").read_text()).replace("\n- ", " ")
        assert f"## Maintenance\n {document['rai:dataReleaseMaintenancePlan']}" in said


def test_a_change_to_it_is_found(releases, tmp_path):
    whole = (releases["first"] / "croissant.json").read_text()
    try:
        (releases["first"] / "croissant.json").write_text(whole.replace("1.0.0", "1.0.1"))
        assert [line(one).partition(", sha256")[0] for one in verify(str(releases["first"]))] == [
            f"changed_file: croissant.json: {len(whole.encode())} bytes"
        ]
    finally:
        (releases["first"] / "croissant.json").write_text(whole)
    assert verify(str(releases["first"])) == verify(str(releases["next"])) == []


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_reads_the_folder(release, streaming):
    rows = list(datasets.load_dataset(str(release), split="train", streaming=streaming))
    assert [row["json"] for row in rows] == described(release)
    assert [row["txt"] for row in rows] == [row["caption"] for row in described(release)]
    assert [row["jpg"].tobytes() for row in rows] == [
        Image.open(io.BytesIO(PICTURES[pair_id])).tobytes() for pair_id in ids(release)
    ]
    assert list(rows[0]["json"]) == SIDECAR.names


def test_folders_of_one_name_are_not_taken_for_each_other(releases, tmp_path):
    for name, release in releases.items():
        folder = shutil.copytree(release, tmp_path / name / "pairs")
        rows = list(datasets.load_dataset(str(folder), split="train"))
        assert [row["json"]["pair_id"] for row in rows] == ids(release), name


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_reads_the_shards_alone(release, streaming):
    found = datasets.load_dataset(
        "webdataset", data_files={"train": str(release / "shards/*.tar")}, split="train", streaming=streaming
    )
    rows = list(found)
    assert [(row["__key__"], row["txt"], row["json"]["pair_id"]) for row in rows] == [
        (row["key"], row["caption"], row["pair_id"]) for row in described(release)
    ]
    # It knows the columns of the first few samples alone: none of those has a licence, one of the others has.
    assert "creator" in rows[0]["json"] and "licence" not in rows[0]["json"]


def test_the_snippets_of_the_card_run(release, monkeypatch, capsys):
    snippets = re.findall(r"```python\n(.*?)```", (release / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(release)
    assert [snippet.split("import ")[-1].split()[0] for snippet in snippets] == [
        "webdataset",
        "datasets",
        "mlcroissant",
    ]
    for snippet in snippets:
        exec(snippet, {})
        printed = capsys.readouterr().out.splitlines()
        assert [text.startswith(row["caption"]) for text, row in zip(printed, described(release), strict=True)] == [
            True for _ in ids(release)
        ]


def test_the_page_about_releases(releases, monkeypatch):
    page = (Path(__file__).parents[2] / "docs/releases.md").read_text()
    monkeypatch.chdir(releases["next"])
    for snippet in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        names: dict[str, Any] = {}
        exec(snippet, names)
        assert len(list(names.get("samples") or names["records"])) == len(RELEASED) - 1
    patterns = [name.replace("N" * 5, "[0-9]" * 5).replace("NAME", "*")
                for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for name in re.findall(r"`(.*?)`", row)]  # fmt: skip
    present = [str(path.relative_to(releases["next"])) for path in releases["next"].rglob("*") if path.is_file()]
    assert [name for name in present if not any(fnmatch(name, pattern) for pattern in patterns)] == []
    assert {field.name for field in dataclasses.fields(Emit)} - set(patterns) == {"samples_per_shard"}


def test_webdataset_reads_the_shards_of_a_next_release(releases):
    shards = sorted(str(path) for path in releases["next"].glob("shards/*.tar"))
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode())
    assert [sample["json"]["pair_id"] for sample in samples] == ids(releases["next"])


def test_front_matter(release):
    card = huggingface_hub.DatasetCard.load(release / "README.md", ignore_metadata_errors=False)
    data = card.data.to_dict()
    assert data["pretty_name"] == "A *small* | world"
    assert (data["license"], data["license_name"]) == ("other", "stated-by-each-sample")
    assert (data["size_categories"], set(data["language"])) == (["n<1K"], {"en", "de"})
    features = datasets.load_dataset_builder(str(release)).info.features
    assert {name: kind.dtype for name, kind in features["json"].items()} == {
        field.name: str(field.type) for field in SIDECAR
    }


def test_a_datasheet_has_its_sections(release):
    text = (release / "README.md").read_text()
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [
        "Load it", "Motivation", "Composition", "Collection", "Preprocessing", "Uses", "Distribution", "Maintenance",
    ]  # fmt: skip
    released = len(ids(release))
    assert f"- Samples that name their creator: 2 of {released}; different names: 1." in text
    assert "- The creator with the most samples, Ada \\*Example\\*, has " in text
    assert "- Published by Example &amp; Daughters, first on 2026-01-31, at https://example.org/pairs." in text
    assert "Tell opt-out@example.org which URL" in text
    assert "| robots.txt | 1 | 1 | 0 | 0 | 0 |" in text


def test_nothing_is_made_up_where_nothing_is_stated(tmp_path):
    title = 'x"\n---\nlicense: mit <script>'
    release = small_world.emitted(tmp_path, leave_out=tuple(RELEASED), emit={"title": title})
    assert (front_matter(release)["pretty_name"], front_matter(release)["license"]) == (title, "other")
    assert not {"creator", "publisher", "url", "datePublished", "citeAs"} & set(croissant(release))
    assert croissant(release)["name"] == title
    metadata = mlcroissant.Dataset(jsonld=str(release / "croissant.json")).metadata
    assert metadata.ctx.issues.errors == set()
    text = (release / "README.md").read_text()
    assert "Published by" not in text and "Tell whoever published this release which URL" in text
    assert "0 image-text pairs in 0 WebDataset shards" in text and "<script>" not in text.split("---\n")[-1]
