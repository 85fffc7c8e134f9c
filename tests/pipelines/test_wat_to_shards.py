"""The pages of the sample web as a WAT file, made here with another parser, through the whole pipeline to shards."""

from __future__ import annotations

import csv
import tarfile
from collections.abc import Iterator

import pytest
from sample_run import run_sample
from warc_files import packed, wat

from fairshard.examples.sample_web import FOLDER
from fairshard.pipelines._warc import records
from fairshard.schemas.config import Source
from fairshard.udfs import http_message

lexbor = pytest.importorskip("selectolax.lexbor")

LINES = (FOLDER / "truth.csv").read_text(encoding="utf-8").splitlines()
TRUTH = [row for row in csv.DictReader(LINES) if row["source"] == "pages"]
# WAT keeps no JSON-LD, so the creator that an ImageObject names is lost, and with it the registry's entry.
LOST = {row["url"] for row in TRUTH if row["kind"] == "registry_creator"}


def wat_records() -> Iterator[bytes]:
    """A WAT record for each page of the sample's archive."""
    for record in records(str(FOLDER / "pages.warc.gz"), ("response",), 1 << 20):
        message = http_message.parse(record.content) if record.kind else None
        if message and message.status == 200 and message.header("content-type").startswith("text/html"):
            yield _wat_record(record.uri, message)


def _wat_record(uri: str, message: http_message.Message) -> bytes:
    tree = lexbor.LexborHTMLParser(message.body.decode())
    links = [
        {"path": "IMG@/src", "url": image.attributes.get("src") or "", "alt": image.attributes.get("alt") or ""}
        for image in tree.css("img")
    ]
    links += [
        {"path": f"{link.tag.upper()}@/href", "url": link.attributes["href"], "rel": link.attributes.get("rel") or ""}
        for link in tree.css("a[href], link[href]")
    ]
    metas = [
        {"name": meta.attributes["name"], "content": meta.attributes.get("content") or ""}
        for meta in tree.css("meta[name]")
    ]
    return wat(links, metas, uri, headers=dict(message.headers))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wat")
    (folder / "pages.wat.gz").write_bytes(packed(*wat_records()))
    return run_sample(folder, sources=(Source(str(folder / "pages.wat.gz")),), workers=1)


def test_the_pairs_are_those_that_the_truth_tells_of(run):
    pairs = {row["url"] for row in run.store.read("pair").to_pylist()}
    assert pairs == {row["url"] for row in TRUTH if row["fate"] != "rejected"}
    rejected = [row["reason"] for row in run.store.read("rejected").to_pylist()]
    wanted = [row["kind"] for row in TRUTH if row["fate"] == "rejected" and row["url"]]
    assert sorted(rejected) == sorted(wanted)


def test_each_pair_has_the_fate_that_the_truth_tells_of(run):
    dropped = {row["pair_id"]: row["stage"] for row in run.store.read("dropped").to_pylist()}
    found = {row["url"]: dropped.get(row["pair_id"], "emit") for row in run.store.read("pair").to_pylist()}
    wanted = {row["url"]: row["stage"] for row in TRUTH if row["fate"] != "rejected"}
    assert found == {**wanted, **dict.fromkeys(LOST, "emit")}


def test_what_is_released_lies_in_the_shards(run):
    released = sum(row["fate"] == "released" for row in TRUTH) + len(LOST)
    names = []
    for path in sorted(run.release.glob("shards/*.tar")):
        with tarfile.open(path) as shard:
            names += shard.getnames()
    assert sum(name.endswith(".jpg") for name in names) == run.store.read("sample").num_rows == released
