"""The whole flow on the sample web: nothing vanishes, nobody who opted out gets in, every engine agrees."""

from __future__ import annotations

import collections
import csv
import dataclasses
import io
import json
import tarfile

import datasets
import duckdb
import mlcroissant
import pytest
from PIL import Image
from sample_run import run_sample, sample_job

from fairshard.examples.sample_web import FOLDER
from fairshard.pipelines import _catalog, explain, plan
from fairshard.pipelines._run import run as run_stages
from fairshard.pipelines._sources import read, resolve
from fairshard.pipelines._store import Store
from fairshard.pipelines._work import STAGES
from fairshard.schemas import config as configs
from fairshard.schemas import policy as policies
from fairshard.schemas.errors import ReleaseError, StageError
from fairshard.schemas.tables import TABLES
from fairshard.udfs.urls import canonical_key

TRUTH = list(csv.DictReader((FOLDER / "truth.csv").open(encoding="utf-8", newline="")))


@pytest.fixture(scope="module")
def fates(sample):
    """(source, source_row) -> (stage, reason) of every row of the sources."""
    found = {(row["source"], row["source_row"]): ("ingest", row["reason"]) for row in sample.rows("rejected")}
    dropped = {row["pair_id"]: (row["stage"], row["reason"]) for row in sample.rows("dropped")}
    released = {row["pair_id"]: ("emit", "released") for row in sample.rows("sample")}
    for row in sample.rows("pair"):
        found[row["source"], row["source_row"]] = dropped.get(row["pair_id"]) or released[row["pair_id"]]
    return found


def test_every_row_ends_in_exactly_one_place(sample):
    pairs = [row["pair_id"] for row in sample.rows("pair")]
    dropped = [row["pair_id"] for row in sample.rows("dropped")]
    released = [row["pair_id"] for row in sample.rows("sample")]
    assert len(pairs) == len(set(pairs))
    assert sorted(pairs) == sorted(dropped + released)
    rows = {file.source: sum(batch.num_rows for batch, _ in read(file)) for file in resolve(sample.job)}
    counted = collections.Counter(row["source"] for table in ("pair", "rejected") for row in sample.rows(table))
    assert counted == rows
    assert sum(rows.values()) >= 800


def test_other_tools_read_the_whole_release(sample, tmp_path):
    released = {row["pair_id"] for row in sample.rows("sample")}
    shards = {"train": str(sample.release / "shards/*.tar")}
    read_by = {
        "datasets": [row["json"]["pair_id"] for row in datasets.load_dataset(
            "webdataset", data_files=shards, split="train", cache_dir=str(tmp_path)).remove_columns("jpg")],
        "mlcroissant": [row["sample/pair_id"] for row in
                        mlcroissant.Dataset(jsonld=str(sample.release / "croissant.json")).records("sample")],
    }  # fmt: skip
    assert {tool: len(found) for tool, found in read_by.items()} == dict.fromkeys(read_by, len(released))
    assert [set(found) for found in read_by.values()] == [released, released]


def test_the_release_is_worth_having(sample):
    assert len(sample.rows("sample")) >= 300
    assert len({row["host"] for row in sample.rows("pair")}) >= 25
    labels = {row["label"] for row in sample.rows("score") if row["kind"] == "language"}
    assert len(labels & {"en", "de", "fr", "es", "it", "pt", "nl", "pl", "ja", "zh", "ar"}) >= 6


KINDS = {
    "registry_url": "deny:registry", "registry_url_prefix": "deny:registry", "registry_host": "deny:registry",
    "registry_domain": "deny:registry", "registry_creator": "deny:registry", "robots_txt": "deny:robots_txt",
    "robots_txt_hold": "hold:robots_txt", "tdmrep": "deny:tdmrep", "tdmrep_cond": "cond:tdmrep",
    "x_robots_tag": "deny:x_robots_tag", "hash_md5": "deny:hash_list", "hash_sha256": "deny:hash_list",
    "hash_phash": "deny:hash_list", "hash_pdq": "deny:hash_list", "iscc": "deny:hash_list",
    "content_signal": "deny:content_signal", "aipref": "deny:aipref", "ai_txt": "deny:ai_txt",
    "ai_txt_hold": "hold:ai_txt", "rsl": "deny:rsl", "rsl_cond": "cond:rsl", "rsl_hold": "hold:rsl",
    "noindex": "deny:x_robots_tag", "redirect_closed": "deny:robots_txt",
    "xmp": "deny:xmp", "free_text": "deny:free_text", "synthetic": "deny:synthetic", "c2pa": "deny:c2pa",
    "c2pa_hold": "hold:c2pa", "file_creator": "deny:registry", "caption_name": "deny:registry",
    "endpoint": "deny:registry", "endpoint_hold": "hold:registry", "opt_in": "deny:robots_txt",
    "html_meta": "deny:html_meta", "page_x_robots_tag": "deny:x_robots_tag", "page_tdmrep": "deny:tdmrep",
    "page_tdmrep_cond": "cond:tdmrep", "page_aipref": "deny:aipref", "page_content_signal": "deny:content_signal",
}  # fmt: skip


@pytest.mark.parametrize("row", TRUTH, ids=lambda row: f"{row['source']}-{row['source_row']}-{row['kind']}")
def test_every_planted_row_ends_as_planted(fates, row):
    stage, reason = fates[row["source"], int(row["source_row"])]
    if row["fate"] in ("one_of_group", "capped"):
        assert stage in (*row["stage"].split("|"), "emit")
        return
    if row["fate"] == "released":
        assert (stage, reason) == ("emit", "released"), row["note"]
        return
    assert stage in row["stage"].split("|"), (reason, row["note"])
    assert reason == (row["kind"] if row["fate"] == "rejected" else KINDS.get(row["kind"], reason))


def test_what_was_opted_out_before_fetching_was_never_asked_for(sample):
    refused = {row["pair_id"] for row in sample.rows("dropped") if row["stage"] == "consult"}
    urls = {canonical_key(row["url"]) for row in sample.rows("pair") if row["pair_id"] in refused}
    still_wanted = {canonical_key(row["url"]) for row in sample.rows("pair") if row["pair_id"] not in refused}
    asked = {canonical_key(url) for url in sample.requested_urls()}
    assert len(urls) > 80
    assert asked & (urls - still_wanted) == set()
    assert [url for url in sample.requested_urls() if "//closed.bramble.example/works/" in url] == []  # a redirect


def test_the_endpoint_is_asked_about_what_no_list_settles(sample):
    (endpoint,) = sample.job.config.endpoints
    posts = {(request.method, request.status) for request in sample.requests if request.url == endpoint.url}
    assert posts == {("POST", 200)}
    planted = {name: {row["url"] for row in TRUTH if row["kind"] == name} for name in ("endpoint", "endpoint_hold")}
    answered = {row["url"]: row["verdict"] for row in sample.rows("answer")}
    assert {url for url in answered if answered[url] == "deny"} == planted["endpoint"]
    assert {url for url in answered if answered[url] == "hold"} == planted["endpoint_hold"]
    assert {url for url in answered if answered[url] == "allow"} == {
        row["url"] for row in TRUTH if row["kind"] == "opt_in"
    }
    assert answered.keys() & {row["url"] for row in TRUTH if row["kind"] == "registry_url"} == set()


def test_opted_out_bytes_are_not_kept(sample):
    images = sample.rows("image")
    assert sum(row["status"] == "opted_out" for row in images) > 20
    for row in images:
        if row["status"] == "opted_out":
            assert {row[name] for name in ("sha256", "phash", "work_key", "size_bytes")} == {None}


def test_explain_names_the_route_of_every_planted_refusal(sample):
    refusals = [row for row in TRUTH if row["kind"] in KINDS and row["fate"] == "dropped"]
    assert {row["kind"] for row in refusals} == set(KINDS)
    for row in {row["kind"]: row for row in refusals}.values():
        for folder in (sample.job.work_dir, sample.job.release_dir):
            found = explain.explain(folder, url=row["url"])
            verdict, kind = KINDS[row["kind"]].split(":")
            if found["pairs"]:  # a sensitive list hides the URL in a release
                signals = [signal for story in found["pairs"] for signal in story["signals"]]
                assert (kind, verdict) in {(signal["kind"], signal["verdict"]) for signal in signals}
            else:
                assert row["kind"] == "hash_pdq" and folder == sample.job.release_dir


def test_shards_read_back_by_webdataset_and_duckdb(sample):
    import webdataset

    shards = sorted(str(path) for path in (sample.release / "shards").glob("*.tar"))
    samples = list(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False).decode("pil"))
    kept = {row["key"]: row for row in sample.rows("sample")}
    assert {found["__key__"] for found in samples} == set(kept)
    for found in samples:
        assert isinstance(found["jpg"], Image.Image)
        assert found["json"]["caption"] == found["txt"]
        assert found["json"]["pair_id"] == kept[found["__key__"]]["pair_id"]
    sidecar = duckdb.sql(f"SELECT count(*), count(DISTINCT key) FROM '{sample.release}/shards/*.parquet'").fetchall()
    assert sidecar == [(len(samples), len(samples))]


def test_nothing_that_was_dropped_is_in_a_shard(sample):
    dropped = {row["pair_id"] for row in sample.rows("dropped")}
    for path in (sample.release / "shards").glob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar.getmembers():
                if member.name.endswith(".json"):
                    assert json.load(tar.extractfile(member))["pair_id"] not in dropped


def test_a_rerun_does_nothing_and_asks_nobody(sample):
    before = {mark.partition + mark.stage: mark.committed_at for mark in sample.store.marks()}
    again = run_sample(sample.folder)
    assert again.requests == []
    assert {mark.partition + mark.stage: mark.committed_at for mark in again.store.marks()} == before
    assert all(stage["made_now"] == 0 for stage in again.summary["stages"])


def test_the_summary_is_a_funnel(sample):
    stages = sample.summary["stages"]
    assert [stage["rows_in"] for stage in stages[1:]] == [stage["rows_out"] for stage in stages[:-1]]
    assert stages[-1]["rows_out"] == len(sample.rows("sample"))
    assert all(stage["peak_mb"] > 0 for stage in stages)
    assert {stage["rows_written"]["dropped"] for stage in stages if stage["stage"] == "screen"} != {0}
    recorded = json.loads((sample.folder / "work" / "run.json").read_text())["stages"]
    assert [stage["rows_out"] for stage in recorded] == [stage["rows_out"] for stage in stages]


@pytest.fixture(scope="module")
def on_spark(tmp_path_factory):
    return run_sample(tmp_path_factory.mktemp("spark"), engine="spark", compute="spark")


@pytest.fixture(scope="module")
def on_dask(tmp_path_factory):
    return run_sample(tmp_path_factory.mktemp("dask"), compute="dask")


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    return run_sample(tmp_path_factory.mktemp("serial"), workers=1)


@pytest.mark.slow
@pytest.mark.parametrize("other", ["on_spark", "on_dask", "serial"])
def test_engines_and_computes_give_the_same_rows_and_bytes(sample, other, request):
    second = request.getfixturevalue(other)
    for table in TABLES:
        assert second.rows(table) == sample.rows(table), table
    assert second.bytes_of() == sample.bytes_of()


def test_a_changed_section_reruns_what_depends_on_it_and_nothing_else(sample):
    before = {mark.stage: mark.committed_at for mark in sample.store.marks()}
    config = dataclasses.replace(
        sample.job.config, balance=dataclasses.replace(sample.job.config.balance, max_per_caption=3)
    )
    changed = run_sample(sample.folder, balance=config.balance)
    made = {stage["stage"] for stage in changed.summary["stages"] if stage["made_now"]}
    assert made <= {"balance", "emit"} and "balance" in made
    assert changed.requests == []
    assert {
        mark.stage: mark.committed_at for mark in changed.store.marks() if mark.stage not in made
    }.items() <= before.items()
    run_sample(sample.folder)


def test_another_policy_needs_no_new_crawl(sample):
    (sample.folder / "looser.yaml").write_text("extends: strict\nhold: keep\n")
    policy = str(sample.folder / "looser.yaml")
    judged = plan.judged(sample.job, plan.policies.load(policy, sample.folder))
    strict = plan.judged(sample.job, sample.job.policy)
    assert judged["kept"] > strict["kept"]


def test_what_a_page_states_of_a_picture_licenses_it_and_what_it_states_of_itself_does_not(sample, tmp_path):
    archive = configs.Source(str(FOLDER / "pages.warc.gz"))
    only_pages = sample_job(tmp_path, "", sources=(archive,), registries=(), endpoints=())
    licensed = policies.load("licensed-only", tmp_path)
    run_stages(dataclasses.replace(only_pages, policy=dataclasses.replace(licensed, host_files="off")), STAGES[:2])
    store = Store(only_pages.work_dir)
    dropped = {row["pair_id"]: row["reason"] for row in store.read("dropped").to_pylist()}
    reasons = {row["source_row"]: dropped.get(row["pair_id"]) for row in store.read("pair").to_pylist()}
    planted = [int(row["source_row"]) for row in TRUTH if row["kind"] == "page_licence"]
    assert [reasons[row] for row in planted] == [None, "none:policy", "none:policy"]
    licences = {row["source_row"]: (row["licence"], row["creator"]) for row in store.read("pair").to_pylist()}
    assert [licences[row] for row in planted] == [
        ("cc0-1.0", "Dorothea Larkspoon"), ("cc-by-4.0", "Hob Nettleship"), (None, None)
    ]  # fmt: skip


def test_the_sql_verb_reads_both_catalogs(sample):
    for folder in (sample.job.work_dir, sample.job.release_dir):
        rows = _catalog.sql(folder, "SELECT count(*) AS samples FROM sample").to_pylist()
        assert rows == [{"samples": len(sample.rows("sample"))}]


def test_pictures_in_the_shards_are_the_rendition(sample):
    path = sorted((sample.release / "shards").glob("*.tar"))[0]
    with tarfile.open(path) as tar:
        first = next(member for member in tar.getmembers() if member.name.endswith(".jpg"))
        picture = Image.open(io.BytesIO(tar.extractfile(first).read()))
    assert min(picture.size) <= sample.job.config.fetch.image_size


def test_a_second_run_on_one_work_directory_is_refused(sample):
    with (
        sample.store.locked(alone=True),
        pytest.raises(StageError, match="another run is using it"),
    ):
        run_sample(sample.folder)


def test_a_lone_stage_wants_the_one_before_it(sample, tmp_path):
    with pytest.raises(ReleaseError, match="stage 'consult' has not run here"):
        run_stages(sample_job(tmp_path, ""), ["fetch"])
