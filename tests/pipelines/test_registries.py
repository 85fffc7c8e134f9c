"""Opt-out registries: read in every format, refused when in doubt, matched where they apply and nowhere else."""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from fairshard.examples.sample_web.server import SampleWeb
from fairshard.pipelines import _gate, _registries, consult
from fairshard.pipelines.cli import main
from fairshard.schemas.config import Registry
from fairshard.schemas.errors import InputError, RegistryError
from fairshard.udfs.urls import canonical_key, registrable_domain

NOW = datetime.now(UTC)
SILENT = "name: test\npurpose: {purpose}\nhost_files: 'off'\n"


def load(folder: Path, name: str, data: bytes, scope: str = "domain", **more) -> list[dict]:
    (folder / name).write_bytes(data)
    found = _registries.load_one(Registry("list", name, scope, **more), str(folder / name))
    return found.rules.to_pylist()


def keys(rules: list[dict]) -> list[str]:
    return [rule["key"] for rule in rules]


def parquet(folder: Path, columns: dict) -> bytes:
    pq.write_table(pa.table(columns), folder / "made.parquet")
    return (folder / "made.parquet").read_bytes()


FORMATS = {
    "list.txt": b"\xef\xbb\xbf# a comment\n\n a.example \nB.example\n",
    "list.csv": b'\xef\xbb\xbfDomain,note\r\na.example,"x, ""y"""\r\nB.example,"two\nlines"\r\n',
    "list.tsv": b"note\tdomain\nx\ta.example\ny\tB.example\n",
    "list.jsonl": '{"domain": "a.example", "note": "x\u2028y"}\n\n{"domain": "B.example"}\n'.encode(),
    "plain.jsonl": b'"a.example"\n"B.example"\n',
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format(tmp_path, name):
    assert keys(load(tmp_path, name, FORMATS[name])) == ["a.example", "b.example"]


def test_parquet(tmp_path):
    data = parquet(tmp_path, {"DOMAIN": ["a.example"], "valid_from": [datetime(2020, 1, 1)], "sure": [True]})
    (rule,) = load(tmp_path, "list.parquet", data)
    assert (rule["key"], rule["valid_from"]) == ("a.example", datetime(2020, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int8(), pa.string())])
def test_parquet_keys_of_any_type_of_text(tmp_path, kind):
    data = parquet(
        tmp_path, {"domain": pa.array(["a.example", None, "B.example"] * 10 + ["c.example"] * 600).cast(kind)}
    )
    assert keys(load(tmp_path, "list.parquet", data)) == ["a.example", "b.example", "c.example"]


def test_times_that_no_calendar_has(tmp_path):
    (rule,) = load(tmp_path, "list.csv", b"domain,valid_from\na.example,0001-01-01T00:00:00+02:00\n")
    assert rule["valid_from"] is None
    data = parquet(tmp_path, {"domain": ["a.example"], "valid_from": pa.array([2**62], pa.timestamp("us"))})
    with pytest.raises(RegistryError, match="cannot be read"):
        load(tmp_path, "list.parquet", data)


@pytest.mark.parametrize("column", ["domain", "key", "value", "hash", "KEY"])
def test_columns_that_hold_the_key(tmp_path, column):
    assert keys(load(tmp_path, "list.csv", f"note,{column}\nx.example,a.example\n".encode())) == ["a.example"]


def test_a_column_of_another_name_has_to_be_named(tmp_path):
    data = b"domain,site\nx.example,a.example\n"
    assert keys(load(tmp_path, "list.csv", data, column="Site")) == ["a.example"]
    with pytest.raises(RegistryError, match="one called 'page'"):
        load(tmp_path, "list.csv", data, column="page")


def test_all_columns_of_a_rule(tmp_path):
    data = b"url,action,purpose,declared_by,valid_from,withdrawn_at,evidence\n" \
           b"http://a.example/x.jpg,allow,train,Ada,2024-05-01,2030-01-01T12:00:00+02:00,https://a.example/letter\n"  # fmt: skip
    (rule,) = load(tmp_path, "list.csv", data, "url", sensitive=True)
    assert {name: rule[name] for name in rule if name != "rule_id"} == {
        "registry": "list", "scope": "url", "key": "a.example/x.jpg", "action": "allow", "purpose": "train",
        "declared_by": "Ada", "valid_from": datetime(2024, 5, 1, tzinfo=UTC),
        "withdrawn_at": datetime(2030, 1, 1, 10, tzinfo=UTC), "evidence": "https://a.example/letter", "sensitive": True,
    }  # fmt: skip


KEYS = [
    ("url", "HTTPS://www.A.example:443/%7Eada/./x.jpg?b=1#top", "a.example/~ada/x.jpg?b=1"),
    ("url_prefix", "a.example/art", "a.example/art"),
    ("url_prefix", "a.example", "a.example/"),
    ("host", "www.A.example", "a.example"),
    ("host", "a.example:8080", "a.example"),
    ("host", "[::1]", "[::1]"),
    ("domain", "*.a.example", "a.example"),
    ("domain", "https://a.example/page", "a.example"),
    ("domain", "bücher.example", "xn--bcher-kva.example"),
    ("creator", "  ADA\u00a0 Lovelace ", "ada lovelace"),
    ("licence", "ＣＣ-BY 4.0", "cc-by 4.0"),
    ("md5", "A" * 32, "a" * 32),
    ("pdq", "0" * 63, None),
    ("phash", "0x" + "0" * 16, None),
    ("sha256", "g" * 64, None),
    ("url", "", None),
    ("domain", "*.", None),
    ("domain", "a b.example", None),
    ("creator", " ", None),
]


@pytest.mark.parametrize(("scope", "key", "normal"), KEYS)
def test_keys_take_the_form_that_pairs_have(scope, key, normal):
    assert _registries.normal_key(scope, key) == normal


@given(st.text(max_size=40), st.sampled_from(sorted({scope for scope, _, _ in KEYS})))
def test_no_key_raises_and_a_normal_one_stays(key, scope):
    found = _registries.normal_key(scope, key)
    assert found is None or _registries.normal_key(scope, found) == found


@given(st.text("aB.:/?#@\\\\ \tü%4", max_size=12))
def test_a_url_without_a_scheme_is_read_as_one_with(key):
    given = key.strip()
    assert _registries.normal_key("url", key) == canonical_key(given if "://" in given else f"https://{given}")


def test_an_unknown_action_restricts_and_so_does_an_unreadable_date(tmp_path):
    data = b"domain,action,valid_from\na.example,ALLOWED,\nb.example,,soon\nc.example,no idea,\n"
    assert [(rule["action"], rule["valid_from"]) for rule in load(tmp_path, "list.csv", data)] == [("deny", None)] * 3


@pytest.mark.parametrize("row", ["allow,,,", "allow, ,,", "allow,seen,someday,", "allow,seen,,once"])
def test_a_doubtful_permission_is_not_honoured(tmp_path, row):
    data = f"domain,action,evidence,valid_from,withdrawn_at\nb.example,deny,,,\na.example,{row}\n"
    assert keys(load(tmp_path, "list.csv", data.encode())) == ["b.example"]


def test_withdrawn_entries_by_status_are_left_out(tmp_path):
    assert keys(load(tmp_path, "list.csv", b"domain,status\na.example,Tombstone\nb.example,active\n")) == ["b.example"]


def test_a_few_malformed_entries_are_counted_and_more_refuse_the_list(tmp_path, caplog):
    lines = [f"a{n}.example" for n in range(19)]
    (tmp_path / "list.txt").write_text("\n".join([*lines, "a b"]))
    found = _registries.load_one(Registry("list", "list.txt", "domain"), str(tmp_path / "list.txt"))
    assert (found.rules.num_rows, found.malformed) == (19, 1)
    assert "1 of 20 entries are no domain and were left out (line 20)" in caplog.text
    with pytest.raises(InputError, match=r"2 of 20 entries are no domain \(lines 19, 20\); expected at most 5%"):
        load(tmp_path, "list.txt", "\n".join([*lines[1:], "a b", "c d"]).encode())
    assert len(load(tmp_path, "list.txt", "\n".join([*lines[1:], "a b", "c d"]).encode(), max_malformed=0.1)) == 18


@pytest.mark.parametrize(
    ("name", "data", "where"),
    [
        ("list.txt", b"# comment\n\na b\nc.example\n", "line 3"),
        ("list.csv", b'note,domain\n"two\nlines",a.example\n\n"three\nmore\nlines",a b\nx,\n', "lines 5, 8"),
        ("list.jsonl", b'{"domain": "a.example"}\n\n{"domain": null}\n', "line 3"),
        ("list.csv", b"domain\n" + b"a b\n" * 8, "lines 2, 3, 4, 5, 6 and 3 more"),
        ("list.parquet", {"domain": ["a.example", "a b", None]}, "rows 2, 3"),
    ],
)
def test_malformed_entries_are_named_by_their_place_and_not_by_what_they_hold(tmp_path, name, data, where):
    data = data if isinstance(data, bytes) else parquet(tmp_path, data)
    with pytest.raises((RegistryError, InputError)) as error:
        load(tmp_path, name, data, sensitive=True)
    assert f"({where}); expected" in str(error.value) and "a b" not in str(error.value)


def test_restrictions_on_one_key_are_one_for_all_their_time_and_purposes(tmp_path):
    data = b"domain,purpose,valid_from,withdrawn_at\n" \
           b"a.example,genai,2020-01-01,2021-01-01\na.example,,2019-01-01,\nb.example,genai,,\nb.example,GENAI,,\n"  # fmt: skip
    rules = load(tmp_path, "list.csv", data)
    assert [(rule["purpose"], rule["valid_from"], rule["withdrawn_at"]) for rule in rules] == [
        (None, datetime(2019, 1, 1, tzinfo=UTC), None), (None, None, None)]  # fmt: skip


def in_force(folder: Path, row: str, purpose: str = "genai", now: datetime = NOW) -> bool:
    header = "domain,action,purpose,valid_from,withdrawn_at,evidence"
    (folder / "list.csv").write_text(f"{header}\n{row}\n")
    loaded = _registries.load_one(Registry("list", "list.csv", "domain"), str(folder / "list.csv"))
    return _registries.in_force(loaded.rules, now, purpose).num_rows > 0


PAST, FUTURE = (NOW - timedelta(days=1)).isoformat(), (NOW + timedelta(days=1)).isoformat()
FORCE = [
    ("a.example,deny,,,,", "train", True),
    (f"a.example,deny,,{FUTURE},,", "train", False),
    (f"a.example,deny,,{PAST},,", "train", True),
    (f"a.example,deny,,,{PAST},", "train", False),
    (f"a.example,deny,,,{FUTURE},", "train", True),
    ("a.example,deny,genai,,,", "train", False),
    ("a.example,deny,genai,,,", "genai", True),
    ("a.example,deny,search,,,", "train", True),
    ("a.example,deny,train,,,", "genai", True),
    ("a.example,allow,,,,seen", "train", True),
    ("a.example,allow,train,,,seen", "genai", True),
    ("a.example,allow,genai,,,seen", "genai", True),
    ("a.example,allow,genai,,,seen", "train", False),
    ("a.example,allow,search,,,seen", "genai", False),
    (f"a.example,allow,,,{PAST},seen", "genai", False),
    (f"a.example,allow,,{FUTURE},,seen", "genai", False),
]


@pytest.mark.parametrize(("row", "purpose", "holds"), FORCE)
def test_dates_and_purposes_decide_whether_a_rule_is_in_force(tmp_path, row, purpose, holds):
    assert in_force(tmp_path, row, purpose) is holds


def test_permissions_do_not_lend_each_other_time(tmp_path):
    old = f"a.example,allow,,2001-01-01,{PAST},letter 1"
    assert not in_force(tmp_path, f"{old}\na.example,allow,,{FUTURE},,letter 2")
    assert in_force(tmp_path, f"{old}\na.example,allow,,{PAST},,letter 2")


def test_the_next_change_is_the_nearest_date_to_come(tmp_path):
    data = f"domain,valid_from,withdrawn_at\na.example,{PAST},{FUTURE}\nb.example,2999-01-01,\n"
    (tmp_path / "list.csv").write_text(data)
    rules = _registries.load_one(Registry("list", "list.csv", "domain"), str(tmp_path / "list.csv")).rules
    assert _registries.next_change(rules, NOW) == datetime.fromisoformat(FUTURE)
    assert _registries.next_change(rules, datetime(3000, 1, 1, tzinfo=UTC)) is None


# --- matching, on every engine -------------------------------------------------------------------------------


@pytest.fixture
def matched(make_work, tmp_path):
    """``matched({url: creator or None}, scope, "list text")``: URLs that the list hits, and the work."""

    def run(urls, scope: str, text: str, purpose: str = "genai", **registry):
        (tmp_path / "0").mkdir()
        (tmp_path / "0" / "policy.yaml").write_text(SILENT.format(purpose=purpose))
        (tmp_path / "0" / "list.csv").write_text(text)
        lists = [{"name": "list", "path": "list.csv", "scope": scope, **registry}]
        pairs = [pair(number, url, **more) for number, (url, more) in enumerate(urls.items())]
        work = make_work({"policy": "policy.yaml", "registries": lists}, pair=pairs)
        consult.run(work)
        hits = {row["pair_id"] for row in work.store.read("signal").to_pylist()}
        return {url for number, url in enumerate(urls) if number in hits}, work

    return run


def pair(pair_id: int, url: str, **more) -> dict:
    key = canonical_key(url) or ""
    host = key.split("/")[0].split(":")[0]
    row = {"pair_id": pair_id, "url": url, "url_key": key, "host": host, "domain": registrable_domain(host)}
    return {**row, "caption": "words", "source_row": pair_id, **more}


def plain(*urls: str) -> dict[str, dict]:
    return {url: {} for url in urls}


def test_a_domain_covers_its_subdomains_and_no_look_alike(matched):
    covered = plain("http://example.org/a.jpg", "https://img.cdn.example.org:8443/a.jpg", "http://www.example.org/")
    others = plain("http://notexample.org/", "http://example.org.evil.com/", "http://org/", "http://example.com/example.org",
                   "http://1.2.3.4/")  # fmt: skip
    assert matched({**covered, **others}, "domain", "domain\nexample.org\n")[0] == set(covered)


def test_a_domain_never_covers_its_parents(matched):
    urls = plain("http://a.b.example.org/x", "http://b.example.org/x", "http://example.org/x", "http://xb.example.org/")
    assert matched(urls, "domain", "domain\nb.example.org\n")[0] == set(list(urls)[:2])


def test_a_domain_in_its_own_script(matched):
    urls = plain("http://img.bücher.example/a.jpg", "http://xn--bcher-kva.example/b.jpg", "http://bucher.example/c.jpg")
    assert matched(urls, "domain", "domain\nBÜCHER.example\n")[0] == set(list(urls)[:2])


def test_a_host_covers_itself_alone(matched):
    urls = plain("http://img.example.org/a", "https://img.example.org:444/a", "http://www.img.example.org/a",
                 "http://x.img.example.org/a", "http://example.org/a")  # fmt: skip
    assert matched(urls, "host", "host\nimg.example.org\n")[0] == set(list(urls)[:3])


def test_a_prefix_ends_at_its_last_character(matched):
    urls = plain("http://a.example/art/x.jpg", "https://www.a.example/art/?q", "http://a.example/artist/x.jpg",
                 "http://a.example/art", "http://b.example/art/x.jpg", "http://x.a.example/art/", "http://a.example:81/art/x")  # fmt: skip
    assert matched(urls, "url_prefix", "url_prefix\nhttps://a.example/art/\n")[0] == set(list(urls)[:2])


def test_a_url_is_met_in_every_spelling(matched):
    urls = plain("http://a.example/x%20y.jpg", "https://www.A.example:443/./x%20y.jpg#f", "http://a.example/x%20y.JPG",
                 "http://a.example/x%20y.jpg?v=1", "http://a.example/x+y.jpg")  # fmt: skip
    assert matched(urls, "url", "url\nHTTP://a.example/x y.jpg\n")[0] == set(list(urls)[:2])


def test_creators_are_compared_folded(matched):
    names = [
        "Ada Lovelace",
        "ADA  LOVELACE",
        "ada\u00a0lovelace",
        "Ａda Lovelace",
        "Ada Lovelace Jr.",
        None,
        "Lovelace",
    ]
    urls = {f"http://a.example/{number}": {"creator": name} for number, name in enumerate(names)}
    assert matched(urls, "creator", "creator\nada lovelace\n")[0] == set(list(urls)[:4])


def test_licences_are_compared_folded(matched):
    urls = {f"http://a.example/{n}": {"licence": name} for n, name in enumerate(["All Rights Reserved", "CC0", None])}
    assert matched(urls, "licence", "licence\nall rights reserved\n")[0] == {"http://a.example/0"}


def test_what_is_sensitive_is_never_said(matched, caplog):
    caplog.set_level(logging.DEBUG)
    secrets = ("hidden.example", "doubt ful.example", "permitted.example")
    text = "domain,action,valid_from\nhidden.example,deny,someday\npermitted.example,allow,\ndoubt ful.example,deny,\n"
    text += "".join(f"x{n}.example,deny,\n" for n in range(20))
    hits, work = matched(plain("http://hidden.example/1.jpg", "http://a.example/"), "domain", text, sensitive=True)
    assert hits == {"http://hidden.example/1.jpg"}
    (signal,), (dropped,) = (work.store.read(name).to_pylist() for name in ("signal", "dropped"))
    assert (signal["value"], dropped["reason"]) == (None, "deny:registry")
    assert dropped["evidence"] == f"list (domain): rule {signal['rule_id']}"
    assert [secret for secret in secrets if secret in caplog.text] == []
    assert "someday" not in caplog.text


BROKEN_SECRETS = {
    "csv without header": ("list.csv", b"hidden.example,x\nhidden2.example,y\n"),
    "csv with another number of cells": ("list.csv", b"domain,x\nhidden.example,1,2,3\n"),
    "json": ("list.jsonl", b'{"domain": hidden.example}\n'),
    "no text": ("list.txt", b"hidden.example\n\xff\xfe\n"),
    "no key": ("list.txt", b"hidden.exa mple\n"),
}


@pytest.mark.parametrize("case", BROKEN_SECRETS)
def test_an_error_about_a_sensitive_list_does_not_quote_it(tmp_path, case, caplog):
    with pytest.raises(RegistryError) as raised:
        load(tmp_path, *BROKEN_SECRETS[case], sensitive=True)
    assert "hidden" not in str(raised.value) + caplog.text


def test_a_rule_that_changes_later_makes_the_next_run_look_again(matched):
    hits, work = matched(plain("http://a.example/"), "domain", f"domain,valid_from\na.example,{FUTURE}\n")
    assert hits == set()
    assert work.store.mark("consult", "registry").expires_at == FUTURE
    expire(work, "registry")  # the day has come
    consult.match_registries(work, NOW + timedelta(days=1))
    _gate.run(work, "consult")
    assert [row["reason"] for row in work.store.read("dropped").to_pylist()] == ["deny:registry"]
    assert work.store.mark("consult", "registry").expires_at is None


def expire(work, partition: str) -> None:
    """What time does to a completion marker."""
    path = Path(work.store.path("_done", "consult", f"{partition}.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "expires_at": PAST}))


def test_an_expired_marker_is_made_again_though_nothing_else_changed(matched):
    _, work = matched(plain("http://a.example/"), "domain", f"domain,valid_from\na.example,{FUTURE}\n")
    before = work.store.mark("consult", "registry").committed_at
    consult.run(work)
    assert work.store.mark("consult", "registry").committed_at == before
    expire(work, "registry")
    consult.run(work)
    assert work.store.mark("consult", "registry").committed_at > before


# --- a list that cannot be trusted refuses the run ------------------------------------------------------------

REFUSED = {
    "missing": (None, {}, "does not exist"),
    "empty": (b"", {}, "is empty"),
    "a folder": (..., {}, "is a folder"),
    "stale": (b"domain\na.example\n", {"max_age_days": 1}, "2.0 days old"),
    "stale by its date": (b"domain\na.example\n", {"dated": "2020-01-01", "max_age_days": 365}, "days old"),
    "stale by the policy": (b"domain\na.example\n", {}, "40.0 days old"),
    "of an unknown ending": (b"a.example\n", {"path": "list.xls"}, "ends in '.xls'"),
    "without entries": (b"domain\n", {}, "has no entry"),
    "comments alone": (b"# nothing\n", {"path": "list.txt"}, "has no entry"),
    "without a usable column": (b"site,when\na.example,now\n", {}, "has the columns site, when"),
    "too many malformed": (b"domain\na b\nc.example\n", {}, "1 of 2 entries are no domain"),
    "null keys": (b'{"domain": null}\n', {"path": "list.jsonl"}, "1 of 1 entries are no domain"),
    "another encoding": ("domain\na.example\n".encode("utf-16"), {}, "cannot be read"),
    "broken rows": (b"domain\na.example,b,c\n", {}, "cannot be read (line 2 has 3 cells and the first 1)"),
    "an open quote": (
        b'domain,note\na.example,"x\nb.example,y\n',
        {},
        "cannot be read (line 2: unexpected end of data)",
    ),
    "broken JSON": (b'{"domain": "a.example"\n', {"path": "list.jsonl"}, "cannot be read (line 1 is not JSON)"),
    "deep JSON": (b"[" * 100_000, {"path": "list.jsonl"}, "cannot be read"),
    "no Parquet": (b"PAR1 not really PAR1", {"path": "list.parquet"}, "cannot be read"),
}
EXIT_CODE = {"too many malformed": 2}
AGE_DAYS = {"stale": 2, "stale by the policy": 40}


@pytest.fixture(scope="module")
def web():
    with SampleWeb() as web:
        yield web


@pytest.mark.parametrize("case", REFUSED)
def test_the_run_is_refused_before_anything_is_asked_or_written(tmp_path, web, case):
    data, changes, message = REFUSED[case]
    registry = {"name": "opt-outs", "path": "list.csv", "scope": "domain", **changes}
    path = tmp_path / registry["path"]
    if data is ...:
        path.mkdir()
    elif data is not None:
        path.write_bytes(data)
        then = NOW.timestamp() - AGE_DAYS.get(case, 0) * 86_400
        os.utime(path, (then, then))
    (tmp_path / "pairs.csv").write_text("url,text\nhttp://meadow.example/pictures/x.jpg,words\n")
    config = {"work_dir": "work", "release_dir": "release", "sources": [{"path": "pairs.csv"}], "registries": [registry],
              "fetch": {"proxy": web.proxy_url}, "workers": 1}  # fmt: skip
    (tmp_path / "job.yaml").write_text(json.dumps(config))
    web.clear_requests()
    for verb in ("run", "plan"):
        result = CliRunner().invoke(main, ["-q", verb, str(tmp_path / "job.yaml")])
        assert result.exit_code == EXIT_CODE.get(case, 3), result.output
        assert "registry opt-outs" in result.stderr and message in result.stderr
    assert web.requests == []
    assert not (tmp_path / "work").exists() and not (tmp_path / "release").exists()
