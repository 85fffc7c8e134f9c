"""What a sensitive list holds, and which URLs it removed, is in nothing that is published, printed or logged."""

from __future__ import annotations

import csv
import json
import logging
import urllib.request
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from fairshard.examples.sample_web import FOLDER
from fairshard.examples.sample_web.server import SampleWeb
from fairshard.pipelines._catalog import open_release
from fairshard.pipelines.cli import main
from fairshard.udfs.hashing import fingerprint

NCMEC = """<queryResult><images><image><member id="1"/><id>i1</id><fingerprints><md5>{}</md5><pdna>UGhvdG9ETkE=</pdna>
</fingerprints></image><image><id>i2</id><fingerprints><md5>{}</md5></fingerprints></image></images></queryResult>"""
MALFORMED = "malformed-secret"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A run with a list of each format against a few pictures: its folder, and what nobody may read anywhere."""
    folder = tmp_path_factory.mktemp("sensitive")
    with SampleWeb() as web:
        released = [row for row in csv.DictReader((FOLDER / "truth.csv").open()) if row["fate"] == "released"]
        traps = (row["url"] for row in released if row["kind"] in ("hash_list", "robots_txt", "tdmrep"))
        urls = list(dict.fromkeys(url for url in traps if url.startswith("http://")))
        near, exact, named = (row_of(web, url) for url in urls[:3])
        key = bytes([near["pdq"][0] ^ 0b10011, *near["pdq"][1:]]).hex()  # not the picture's own: 3 bits differ
        write_lists(folder, key, exact["md5"], named["url"])
        rows = (f"{url},a picture in plain words {number}\n" for number, url in enumerate(urls))
        (folder / "pairs.csv").write_text("url,text\n" + "".join(rows))
        (folder / "plain.txt").write_text("0" * 32)
        (folder / "job.yaml").write_text(json.dumps(job(web.proxy_url)))
        yield folder, secrets(key, exact["md5"], [near["url"], exact["url"], named["url"]]), near


def row_of(web: SampleWeb, url: str) -> dict:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": web.proxy_url}))
    with opener.open(url) as response:
        data = response.read()
    found = fingerprint(data)
    return {"url": url, "data": data, "pdq": found.pdq, "md5": found.md5}


def write_lists(folder: Path, key: str, md5: str, url: str) -> None:
    record = {"hashStatus": "Active", "signalType": "ImagePDQ", "lastModtimestamp": 1, "caseNumbers": {}}
    records = [{**record, "hashValue": value} for value in (key, MALFORMED)]
    (folder / "stopncii.json").write_text(json.dumps({"hashRecords": records, "hasMoreRecords": True}))
    (folder / "ncmec.xml").write_text(NCMEC.format(md5, MALFORMED))
    (folder / "urls.csv").write_text(f"url,valid_from\n{url},{MALFORMED}\n")


def job(proxy: str) -> dict:
    lists = [("stopncii", "stopncii.json", "hash"), ("ncmec", "ncmec.xml", "hash"), ("urls", "urls.csv", "url")]
    return {
        "work_dir": "work", "release_dir": "release", "sources": [{"path": "pairs.csv"}], "workers": 1,
        "registries": [{"name": name, "path": path, "scope": scope, "sensitive": True, "max_malformed": 0.5}
                       for name, path, scope in lists],
        "fetch": {"proxy": proxy},
    }  # fmt: skip


def secrets(key: str, md5: str, urls: list[str]) -> dict[str, list[str]]:
    places = [url.partition("://")[2] for url in urls]
    return {"keys": [key, md5, MALFORMED], "urls": [*urls, *places]}


def said(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, [*arguments])
    assert result.exit_code == code, result.output
    return result.stdout + result.stderr


@pytest.fixture(scope="module")
def run(world):
    """What ``run`` printed and logged, at its most talkative."""
    folder, _, _ = world
    caught: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: caught.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    printed = said("-v", "run", str(folder / "job.yaml"))
    logging.getLogger().removeHandler(handler)
    said("report", str(folder / "release"))
    return printed + "\n".join(caught)


def found_in(text: str, words: list[str]) -> list[str]:
    folded = text.casefold()
    return [word for word in words if word.casefold() in folded]


def test_the_lists_were_matched_and_what_is_wrong_with_them_was_said(world, run):
    folder, _, _ = world
    reasons = duckdb.sql(f"SELECT reason FROM '{folder}/release/pairs/*.parquet' WHERE withheld ORDER BY 1").fetchall()
    assert reasons == [("deny:hash_list",), ("deny:hash_list",), ("deny:registry",)]
    assert "registry stopncii: 1 of 2 entries are no hash and were left out (record 2)" in " ".join(run.split())
    assert "registry ncmec: 1 are of other kinds and left out: 1 photodna" in " ".join(run.split())


def test_nothing_printed_or_logged_by_a_run_holds_them(world, run):
    folder, words, _ = world
    assert found_in(run, words["keys"] + words["urls"]) == []
    assert found_in((folder / "work" / "run.json").read_text(), words["keys"] + words["urls"]) == []
    plan = said("-v", "plan", str(folder / "job.yaml")) + said("plan", str(folder / "job.yaml"), "--json")
    assert found_in(plan, words["keys"] + words["urls"]) == []


def test_no_file_of_the_release_holds_them(world, run):
    folder, words, _ = world
    files = [path for path in (folder / "release").rglob("*") if path.is_file()]
    assert {"report.html", "manifest.json", "README.md", "catalog.duckdb"} <= {path.name for path in files}
    binary = [bytes.fromhex(key) for key in words["keys"] if key != MALFORMED]
    for path in files:
        data = path.read_bytes()
        cells = str([hexed(row) for row in pq.read_table(path).to_pylist()]) if path.suffix == ".parquet" else ""
        assert found_in(cells + data.decode("latin-1"), words["keys"] + words["urls"]) == [], path
        assert not [key for key in binary if key in data], path


def hexed(row: dict) -> dict:
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()}


def test_no_view_of_the_catalog_holds_them(world, run):
    folder, words, _ = world
    catalog = open_release(str(folder / "release"))
    views = [row["table_name"] for row in catalog.dicts("SELECT table_name FROM information_schema.tables")]
    assert {"outcome", "rule", "signal", "image"} <= set(views)
    for view in views:
        rows = [hexed(row) for row in catalog.dicts(f"SELECT * FROM {view}")]
        assert found_in(str(rows), words["keys"] + words["urls"]) == [], view


def test_no_question_to_the_release_is_answered_with_them(world, run):
    folder, words, near = world
    release = str(folder / "release")
    (folder / "asked.png").write_bytes(near["data"])
    lookups = [("--image", str(folder / "asked.png")), ("--domain", near["url"].split("/")[2])]
    answers = [CliRunner().invoke(main, ["lookup", release, *asked, "--json"]).output for asked in lookups]
    for url in words["urls"][:3]:
        for verb in ("explain", "lookup"):
            answer = json.loads(CliRunner().invoke(main, [verb, release, "--url", url, "--json"]).stdout)
            assert not answer["found"]
            answers.append(json.dumps({name: value for name, value in answer.items() if name != "asked"}))
    answers.append(said("verify", release, "--registry", f"hash={folder / 'plain.txt'}"))
    assert found_in("".join(answers), words["keys"] + words["urls"]) == []


def test_the_work_directory_explains_a_drop_without_the_key(world, run):
    folder, words, near = world
    story = said("explain", str(folder / "work"), "--url", near["url"])
    assert "hash_list" in story
    assert found_in(story, words["keys"]) == []


def test_a_list_that_ends_the_run_is_not_quoted(world, tmp_path):
    folder, words, _ = world
    config = json.loads((folder / "job.yaml").read_text())
    for path in folder.iterdir():
        if path.suffix in (".json", ".xml", ".csv"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    for registry in config["registries"]:
        registry["max_malformed"] = 0.05
    (tmp_path / "job.yaml").write_text(json.dumps(config))
    printed = said("-v", "run", str(tmp_path / "job.yaml"), code=2)
    assert "registry stopncii: 1 of 2 entries are no hash (record 2); expected at most 5%" in " ".join(printed.split())
    assert found_in(printed, words["keys"] + words["urls"]) == []
    assert not (tmp_path / "work").exists()
