import json
import pickle

import pytest

from fairshard.schemas import config, policy
from fairshard.schemas.errors import ConfigError, FairshardError, MissingExtra, RegistryError

LEAST = {"work_dir": "w", "release_dir": "r", "sources": [{"path": "a.csv"}]}


def load(tmp_path, text):
    (tmp_path / "job.yaml").write_text(text)
    return config.load(tmp_path / "job.yaml")


def test_paths_start_at_the_config_file(tmp_path):
    job = load(tmp_path, "work_dir: w\nrelease_dir: /r\nsources: [{path: a.csv}]\n")
    assert (job.work_dir, job.release_dir) == (str(tmp_path / "w"), "/r")
    assert job.path("s3://bucket/x") == "s3://bucket/x"


def test_a_day_is_text(tmp_path):
    job = load(tmp_path, "work_dir: w\nrelease_dir: r\nsources: [{path: a.csv}]\nemit: {published_on: 2026-01-31}\n")
    assert job.config.emit.published_on == "2026-01-31"


def test_a_number_may_have_an_exponent_as_in_yaml_1_2(tmp_path):
    job = load(tmp_path, f"{json.dumps(LEAST)[:-1]}, train: {{lr: 1e-4, weight_decay: 2.E1}}}}")
    assert (job.config.train.lr, job.config.train.weight_decay) == (1e-4, 20)


def test_ports_are_numbers_of_tcp(tmp_path):
    given = "{work_dir: w, release_dir: r, sources: [{path: a.csv}], fetch: {ports: [1, 443, 65535]}}"
    assert load(tmp_path, given).config.fetch.ports == (1, 443, 65535)
    assert config.from_mapping(LEAST, tmp_path).config.fetch.ports is None


def test_settings_of_spark_are_text(tmp_path):
    given = {"spark.master": "yarn", "spark.executor.cores": 2, "spark.ui.enabled": True, "spark.memory.fraction": 0.5}
    found = config.from_mapping({**LEAST, "spark": given}, tmp_path).config.spark
    assert list(found.values()) == ["yarn", "2", "true", "0.5"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fetch": {"timeout": 3}}, r"config\.fetch: unknown key 'timeout'\. Did you mean 'timeout_s'\?"),
        ({"sorces": []}, r"unknown key 'sorces'\. Did you mean 'sources'\?"),
        ({"sources": []}, r"config\.sources: is empty; expected at least one source"),
        ({"sources": "a.csv"}, r"config\.sources: is text; expected a list"),
        ({"sources": [{"path": "a", "format": "xls"}]}, r"sources\[0\]\.format: is 'xls'; expected one of auto"),
        ({"sources": [{"path": "a", "name": "x"}, {"path": "b", "name": "x"}]}, "two are called 'x'"),
        ({"sources": [{"path": "a\0b.csv"}]}, r"sources\[0\]\.path: is 'a\\x00b\.csv'; expected text without a NUL"),
        ({"workers": True}, r"config\.workers: is True; expected a whole number"),
        ({"fetch": {"concurrency": 0}}, r"config\.fetch\.concurrency: is 0; expected at least 1"),
        ({"fetch": {"max_bytes_per_s": 0}}, r"config\.fetch\.max_bytes_per_s: is 0; expected at least 1"),
        ({"fetch": {"ports": []}}, r"config\.fetch\.ports: is empty; expected at least one port\. Leave it out"),
        ({"fetch": {"ports": [80, 0]}}, r"config\.fetch\.ports\[1\]: is 0; expected a port from 1 to 65535"),
        ({"fetch": {"ports": [65536]}}, r"config\.fetch\.ports\[0\]: is 65536; expected a port from 1 to 65535"),
        ({"fetch": {"ports": [-1]}}, r"config\.fetch\.ports\[0\]: is -1; expected a port"),
        ({"fetch": {"ports": ["http"]}}, r"config\.fetch\.ports\[0\]: is 'http'; expected a whole number"),
        ({"fetch": {"ports": [True]}}, r"config\.fetch\.ports\[0\]: is True; expected a whole number"),
        ({"fetch": {"ports": 80}}, r"config\.fetch\.ports: is a number; expected a list"),
        ({"fetch": {"max_delay_s": -1}}, r"config\.fetch\.max_delay_s: is -1\.0; expected at least 0"),
        ({"balance": {"max_per_templates": 9}}, r"unknown key 'max_per_templates'\. Did you mean 'max_per_template'\?"),
        ({"balance": {"max_per_template": 0}}, r"config\.balance\.max_per_template: is 0; expected at least 1"),
        ({"balance": {"template_min_jaccard": 0.5}}, r"template_min_jaccard: is 0\.5; expected at least 0\.7"),
        ({"balance": {"template_min_jaccard": 1.5}}, r"template_min_jaccard: is 1\.5; expected at most 1"),
        ({"balance": {"template_min_jaccard": float("nan")}}, r"template_min_jaccard: is nan; expected at least 0\.7"),
        ({"emit": {"url": "example.org"}}, r"config\.emit\.url: is 'example\.org'; expected an http or https URL"),
        ({"emit": {"published_on": "31.1.2026"}}, r"config\.emit\.published_on: is '31\.1\.2026'; expected a day as"),
        ({"emit": {"published_on": "20260131"}}, r"expected a day as YYYY-MM-DD"),
        ({"spark": {"master": "yarn"}}, r"config\.spark\.master: is no setting of Spark; expected a setting such as"),
        ({"spark": {"spark.sql.ansi.enabled": False}}, r"ansi\.enabled: decides what comes out, and stays as it is"),
        (
            {"spark": {"spark.jars": ["a"]}},
            r"config\.spark\.spark\.jars: is a list; expected text, a number, true or false",
        ),
        (
            {"registries": [{"name": "a", "path": "a.csv", "scope": "url", "dated": "1.2.2026"}]},
            r"registries\[0\]\.dated: is '1\.2\.2026'; expected a day",
        ),
        (
            {"registries": [{"name": "a", "path": "a", "scope": "url", "dated": "2026-02-01", "pull_from": "b"}]},
            r"registries\[0\]\.dated: is given; expected none with 'pull_from'",
        ),
        ({"policy": "strikt"}, r"'strikt' is neither a preset nor a file\. Did you mean 'strict'\?"),
        ({"engine": None}, "expected one of duckdb, spark"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, change, message):
    with pytest.raises(ConfigError, match=message):
        config.from_mapping({**LEAST, **change}, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "holds a list; expected a mapping"),
        ("a: [\n", "is not YAML"),
        ("work_dir: a\nwork_dir: b\n", "key 'work_dir' twice"),
        ("1: a\n", "key 1 is not text"),
        ("", "holds nothing"),
        ("work_dir: w\nsources: [{path: a}]\n", "no key 'release_dir'"),
    ],
)
def test_a_file_that_is_no_config(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


def test_a_missing_config_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path / "none.yaml")


@pytest.mark.parametrize("name", policy.PRESETS)
def test_a_preset_says_what_it_assumes(tmp_path, name):
    found = policy.load(name, tmp_path)
    assert found.name == name
    assert len(found.assumes) > 40


def test_a_policy_file_extends_a_preset(tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: eu\nhost_files: off\npdq_max_distance: 20\n")
    found = policy.load("mine.yaml", tmp_path)
    assert (found.name, found.host_files, found.pdq_max_distance) == ("mine", "off", 20)
    assert found.binding == policy.load("eu", tmp_path).binding


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: euro\n", "is 'euro'; expected a preset"),
        ("pdq_max_distance: 300\n", "is 300; expected 0 to 127"),
        ("binding: [robots]\n", r"binding\[0\]: is 'robots'; expected one of .*\. Did you mean 'robots_txt'"),
        ("hold: ignore\n", "expected one of keep, drop"),
    ],
)
def test_a_wrong_policy(tmp_path, text, message):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        policy.load("p.yaml", tmp_path)


def test_a_fingerprint_follows_the_values(tmp_path):
    one, two = (config.from_mapping({**LEAST, "fetch": {"retries": n}}, tmp_path).config for n in (1, 2))
    assert config.fingerprint(one.fetch) != config.fingerprint(two.fetch)
    assert config.fingerprint(one.dedup) == config.fingerprint(two.dedup)


@pytest.mark.parametrize("error", [RegistryError("r", "is stale", "fresh", "Fetch it"), MissingExtra("crawl", "fetch")])
def test_errors_survive_the_way_home_from_a_worker(error):
    again: FairshardError = pickle.loads(pickle.dumps(error))
    assert (str(again), again.exit_code, again.__dict__) == (str(error), error.exit_code, error.__dict__)


def test_values_set_from_outside_take_the_place_of_the_files(tmp_path):
    (tmp_path / "job.yaml").write_text("work_dir: w\nrelease_dir: r\nsources: [{path: a.csv}]\nfetch: {retries: 1}\n")
    job = config.load(tmp_path / "job.yaml", {"work_dir": "june", "fetch.retries": 4, "dedup.exact": False})
    assert (job.work_dir, job.config.fetch.retries, job.config.dedup.exact) == (str(tmp_path / "june"), 4, False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fetch.retrys": 1}, r"job\.yaml\.fetch: unknown key 'retrys'\. Did you mean 'retries'\?"),
        ({"work_dir.x": 1}, r"job\.yaml\.work_dir: has no keys that could be set"),
        ({"fetch.retries": "many"}, r"fetch\.retries: is 'many'; expected a whole number"),
    ],
)
def test_what_is_set_wrongly_is_named(tmp_path, changes, message):
    (tmp_path / "job.yaml").write_text("work_dir: w\nrelease_dir: r\nsources: [{path: a.csv}]\n")
    with pytest.raises(ConfigError, match=message):
        config.load(tmp_path / "job.yaml", changes)
