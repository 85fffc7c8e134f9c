"""The pages of the sample web as a WAT file, made here with other parsers (warcio, lexbor), through the whole pipeline to shards."""

from __future__ import annotations

import csv
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import pytest
from sample_run import run_sample
from warc_files import DATE, packed, wat
from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from fairshard.examples.sample_web import FOLDER
from fairshard.pipelines import ingest
from fairshard.pipelines._store import Store
from fairshard.pipelines._work import Work
from fairshard.schemas.config import Source, from_mapping

lexbor = pytest.importorskip("selectolax.lexbor")

LINES = (FOLDER / "truth.csv").read_text(encoding="utf-8").splitlines()
TRUTH = [row for row in csv.DictReader(LINES) if row["source"] == "pages"]
# WAT keeps no JSON-LD, so the creator that an ImageObject names is lost, and with it the registry's entry.
LOST = {row["url"] for row in TRUTH if row["kind"] == "registry_creator"}


class SamplePage(NamedTuple):
    """A page of the sample's archive, as warcio reads it."""

    uri: str
    headers: list[tuple[str, str]]
    body: bytes


def sample_pages() -> Iterator[SamplePage]:
    """Those before the damaged record, at which warcio ends."""
    with (FOLDER / "pages.warc.gz").open("rb") as file, suppress(ArchiveLoadFailed):
        for record in ArchiveIterator(file):
            http = record.http_headers
            if http and http.get_statuscode() == "200" and http.get_header("content-type").startswith("text/html"):
                yield SamplePage(record.rec_headers["WARC-Target-URI"], http.headers, record.content_stream().read())


def wat_records() -> Iterator[bytes]:
    """A WAT record for each of them."""
    return map(_wat_record, sample_pages())


def warc_file(path: Path) -> Path:
    """The same pages as a WARC file, written by warcio."""
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for page in sample_pages():
            http = StatusAndHeaders("200 OK", page.headers, protocol="HTTP/1.1")
            dated = {"WARC-Date": DATE}
            made = writer.create_warc_record(
                page.uri, "response", BytesIO(page.body), http_headers=http, warc_headers_dict=dated
            )
            writer.write_record(made)
    return path


def _wat_record(page: SamplePage) -> bytes:
    tree = lexbor.LexborHTMLParser(page.body.decode())
    links = [
        {"path": "IMG@/src", "url": image.attributes.get("src") or "", "alt": image.attributes.get("alt") or ""}
        for image in tree.css("img")
    ]
    links += [
        {"path": f"{link.tag.upper()}@/href", "url": link.attributes["href"], "rel": link.attributes.get("rel") or ""}
        for link in tree.css("a[href], link[href]")
    ]
    html = tree.css_first("html").attributes
    metas = [{"name": "HTML@/lang", "content": html["lang"]}] if html.get("lang") else []
    metas += [
        {"name": meta.attributes["name"], "content": meta.attributes.get("content") or ""}
        for meta in tree.css("meta[name]")
    ]
    title = tree.css_first("title")
    return wat(links, metas, page.uri, headers=dict(page.headers), title=title.text() if title else "")


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


def ingested(folder: Path, path: Path) -> Store:
    given = {"work_dir": "work", "release_dir": "release", "sources": [{"path": str(path)}], "workers": 1}
    work = Work(from_mapping(given, folder))
    ingest.run(work)
    work.close()
    return work.store


def test_a_warc_file_and_a_wat_file_of_the_same_pages_give_the_same_pairs_and_terms(tmp_path):
    (tmp_path / "pages.wat.gz").write_bytes(packed(*wat_records()))
    names = (warc_file(tmp_path / "pages.warc.gz"), tmp_path / "pages.wat.gz")
    for name in ("warc", "wat"):
        (tmp_path / name).mkdir()
    from_warc, from_wat = (ingested(tmp_path / name.suffixes[0][1:], name) for name in names)

    def found(store: Store, table: str, *left_out: str) -> list[str]:
        rows = store.read(table).drop_columns([*left_out, "source"] if table == "pair" else list(left_out)).to_pylist()
        kept = (row for row in rows if row.get("scope") != "image")  # WAT keeps no JSON-LD
        return sorted(map(repr, kept))

    assert found(from_warc, "pair", "licence", "creator") == found(from_wat, "pair", "licence", "creator")
    assert len(found(from_wat, "pair")) == sum(row["fate"] != "rejected" for row in TRUTH)
    assert found(from_warc, "signal", "observed_at") == found(from_wat, "signal", "observed_at")
    assert from_wat.read("pair")["creator"].null_count == from_wat.read("pair").num_rows
    assert from_warc.read("pair")["creator"].null_count < from_warc.read("pair").num_rows


def test_what_is_released_lies_in_the_shards(run):
    released = sum(row["fate"] == "released" for row in TRUTH) + len(LOST)
    names = []
    for path in sorted(run.release.glob("shards/*.tar")):
        with tarfile.open(path) as shard:
            names += shard.getnames()
    assert sum(name.endswith(".jpg") for name in names) == run.store.read("sample").num_rows == released
