"""Do-Not-Train endpoints: what is asked, how answers are found, and every way in which there is none."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner
from test_registries import pair

from fairshard.pipelines import consult, plan, screen
from fairshard.pipelines._catalog import write_catalog
from fairshard.pipelines._store import Store, read_parquet
from fairshard.pipelines.cli import main
from fairshard.schemas.config import from_mapping
from fairshard.schemas.errors import ConfigError

SILENT = "name: test\npurpose: genai\nhost_files: 'off'\n"
URLS = [f"https://a.example/{name}.jpg" for name in "abcdef"]
Answer = Callable[[list[str]], Any]


class Api:
    """A Do-Not-Train endpoint on loopback, and what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[list[str]] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Answer = lambda urls: rows(*urls)

    @property
    def urls(self) -> list[str]:
        return sorted(url for batch in self.asked for url in batch)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        urls = [line for line in (await request.text()).split("\n") if line]
        self.asked.append(urls)
        self.headers.append(dict(request.headers))
        answer = self.answer(urls)
        if callable(answer):
            return await answer(request)
        return answer if isinstance(answer, web.Response) else web.json_response(answer)


@pytest.fixture
def api():
    made = Api()
    with served(made.handle) as made.url:
        yield made


@contextmanager
def served(handle):
    """A server on a free port of loopback, in a thread."""
    loop = asyncio.new_event_loop()

    async def start() -> int:
        application = web.Application()
        application.router.add_route("*", "/query", handle)
        runner = web.AppRunner(application, shutdown_timeout=0, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        stops.append(runner)
        return runner.addresses[0][1]

    stops: list[web.AppRunner] = []
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        port = asyncio.run_coroutine_threadsafe(start(), loop).result()
        yield f"http://127.0.0.1:{port}/query"
    finally:
        asyncio.run_coroutine_threadsafe(stops[0].cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def rows(*urls: str, **said: Any) -> dict:
    return {"urls": [{"url": url, "optOut": False, "optIn": False, **said} for url in urls]}


@pytest.fixture
def consulted(make_duckdb_work, tmp_path, api):
    return consulter(make_duckdb_work, tmp_path, api)


def consulter(make_work, tmp_path: Path, api: Api):
    """``consulted(urls)``: fates by URL after `consult`, and the work."""

    def run(urls=URLS, policy: str = SILENT, lists: str = "", consult_config=None, pairs=None, image=(), **endpoint):
        (tmp_path / "0").mkdir(exist_ok=True)
        (tmp_path / "0" / "policy.yaml").write_text(policy)
        (tmp_path / "0" / "list.csv").write_text(lists)
        given = {
            "policy": "policy.yaml",
            "endpoints": [{"name": "do-not-train", "url": api.url, **endpoint}],
            "consult": {"partitions": 2, "retries": 0, "timeout_s": 5, **(consult_config or {})},
            "fetch": {"allow_private": True},
        }
        if lists:
            given["registries"] = [{"name": "list", "path": "list.csv", "scope": "url"}]
        rows = {"pair": pairs or [pair(number, url) for number, url in enumerate(urls)], "image": list(image)}
        work = make_work(given, **rows)
        consult.run(work)
        return fates(work.store), work

    return run


def fates(store: Store) -> dict[str, str]:
    dropped = {row["pair_id"]: row["reason"] for row in store.read("dropped").to_pylist()}
    return {row["url"]: dropped.get(row["pair_id"], "alive") for row in store.read("pair").to_pylist()}


def test_answers_are_found_by_the_url_they_name(make_work, tmp_path, api):
    """Shuffled, in another spelling, with others between them, one twice and contradicting, one not at all."""
    a, b, c, d, e, f = URLS
    said = {b: True, a: False, e: False, d: True}
    twice = [{"url": c, "optOut": True}, {"url": c, "optOut": False}, {"url": "https://b.example/", "optOut": True}]
    shuffled = [{"url": url.replace("https://", "HTTP://www."), "optOut": out} for url, out in said.items()]
    api.answer = lambda urls: {"urls": [*twice, *shuffled, None, 3, {"optOut": True}, {"url": 5}]}
    found, work = consulter(make_work, tmp_path, api)()
    hold, deny = "hold:registry", "deny:registry"
    assert found == {a: "alive", b: deny, c: deny, d: deny, e: "alive", f: hold}
    signals = {row["pair_id"]: row for row in work.store.read("signal").to_pylist()}
    assert sorted(signals) == [1, 2, 3, 5]
    shown = {key: signals[1][key] for key in ("kind", "verdict", "scope", "source", "rule_id", "only_if")}
    assert shown == {"kind": "registry", "verdict": "deny", "scope": "url", "source": "do-not-train", "rule_id": None,
                     "only_if": None}  # fmt: skip
    assert json.loads(signals[1]["value"]) == {"url": "HTTP://www.a.example/b.jpg", "optOut": True}
    assert signals[5]["value"] == "the answer does not name this URL"
    assert signals[1]["parser"] == work.version
    assert abs((datetime.now(UTC) - signals[1]["observed_at"]).total_seconds()) < 600


def test_only_distinct_urls_are_asked_in_batches_and_every_spelling(consulted, api):
    http = URLS[0].replace("https", "http")
    pairs = [pair(number, url, caption=f"words {number}") for number, url in enumerate([*URLS, *URLS, http])]
    api.answer = lambda urls: rows(*urls) if http not in urls else rows(*urls, optOut=True)
    found, _ = consulted(pairs=pairs, batch_urls=1, consult_config={"partitions": 1})
    assert api.urls == sorted([http, *URLS])
    assert {len(batch) for batch in api.asked} == {1}
    assert {url for url, fate in found.items() if fate == "deny:registry"} == {URLS[0], http}


def test_what_lists_have_settled_is_not_asked(consulted, api):
    lists = f"url,action,evidence,purpose\n{URLS[0]},deny,,\n{URLS[1]},allow,https://a.example/licence,\n"
    lists += f"{URLS[2]},allow,https://a.example/licence,genai\n"
    api.answer = lambda urls: web.Response(status=500)
    found, _ = consulted(lists=lists)
    assert api.urls == URLS[2:]
    assert Counter(found.values()) == {"deny:registry": 1, "alive": 1, "hold:registry": 4}


def test_where_redirects_ended_is_asked_about_when_pictures_are_there(make_work, tmp_path, api):
    """Of the five: plain, another spelling, away and out, away and in, away to what does not answer."""
    ended = [
        URLS[0],
        URLS[1].replace("https", "http"),
        *(f"https://b.example/{name}.jpg" for name in ("out", "in", "lost")),
    ]
    image = [{"pair_id": number, "status": "ok", "final_url": url} for number, url in enumerate(ended)]
    image.append({"pair_id": 5, "status": "ok", "final_url": "https://b.example/dropped.jpg"})
    api.answer = lambda urls: rows(*(url for url in urls if "f.jpg" not in url))
    _, work = consulter(make_work, tmp_path, api)(image=image)
    assert api.urls == URLS
    api.asked.clear()
    api.answer = lambda urls: {"urls": [{"url": url, "optOut": "out" in url} for url in urls if "lost" not in url]}
    screen.run(work)
    assert api.urls == sorted(ended[2:])
    a, b, c, d, e, f = URLS
    hold, deny = "hold:registry", "deny:registry"
    assert fates(work.store) == {a: "alive", b: "alive", c: deny, d: "alive", e: hold, f: hold}
    api.asked.clear()
    screen.run(work)
    assert api.asked == []


async def hang(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b'{"urls": [')
    await asyncio.Event().wait()
    return response


def nothing(status: int = 200, **more) -> Answer:
    return lambda urls: web.Response(status=status, **more)


FAILURES: dict[str, Answer] = {
    "500": nothing(500),
    "401": nothing(401),
    "204": nothing(204),
    "redirect": nothing(302, headers={"Location": "/query"}),
    "hang": lambda urls: hang,
    "empty": nothing(),
    "html": nothing(text="<html>ok</html>"),
    "cut": lambda urls: web.Response(text=json.dumps(rows(*urls))[:-1]),
    "not UTF-8": nothing(body=b'{"urls": [{"url": "\xff"}]}'),
    "deep": nothing(text="[" * 100_000),
    "a list": lambda urls: rows(*urls)["urls"],
    "no list": lambda urls: {"urls": dict.fromkeys(urls, False)},
    "by position": lambda urls: {"urls": [{"optOut": False}] * len(urls)},
    "words": lambda urls: rows(*urls, optOut="no"),
    "null": lambda urls: rows(*urls, optOut=None),
    "zero": lambda urls: rows(*urls, optOut=0),
    "nested": lambda urls: rows(*urls, optOut=[False]),
    "twice": lambda urls: web.Response(text=json.dumps(rows(*urls)).replace('"optIn"', '"optOut"')),
    "too large": lambda urls: web.Response(text=json.dumps(rows(*urls)) + " " * (17 << 20)),
}


@pytest.mark.parametrize("name", FAILURES)
def test_whatever_is_no_answer_holds(consulted, api, name):
    api.answer = FAILURES[name]
    found, work = consulted(consult_config={"timeout_s": 0.3 if name == "hang" else 5, "partitions": 1})
    assert set(found.values()) == {"hold:registry"}
    assert work.store.read("signal").num_rows == len(URLS)
    assert len(api.asked) == 1


def test_another_policy_is_judged_on_the_answers_without_asking(consulted, api):
    api.answer = lambda urls: rows(*URLS[:2], optOut=True)
    _, work = consulted()
    api.asked.clear()
    policy = Path(work.job.folder, "other.yaml")
    policy.write_text(SILENT + "hold: keep\n")
    found = plan.run(work.job, "other.yaml")
    assert (found["kept"], found["dropped"]) == (4, [{"reason": "deny:registry", "pairs": 2}])
    assert api.asked == []


def test_nobody_there_holds(consulted, api):
    api.url = "http://127.0.0.1:9/query"
    found, work = consulted()
    assert set(found.values()) == {"hold:registry"}
    assert {row["value"].split(":")[0] for row in work.store.read("signal").to_pylist()} == {"no answer"}


def test_an_opt_in_permits_nothing_and_is_kept(consulted, api):
    api.answer = lambda urls: rows(*urls, optIn=True)
    found, work = consulted(policy=SILENT + "none: drop\n")
    assert set(found.values()) == {"none:policy"}
    assert Counter(work.store.read("answer")["verdict"].to_pylist()) == {"allow": 6}


def test_a_resume_does_not_ask_again_and_what_was_held_is_asked_alone(make_work, tmp_path, api):
    api.answer = lambda urls: rows(*(url for url in urls if url != URLS[3]))
    _, work = consulter(make_work, tmp_path, api)()
    api.asked.clear()
    consult.run(work)
    assert api.asked == []
    for path in Path(work.store.root, "_done", "consult").glob("answer-*.json"):  # an hour later
        path.write_text(json.dumps({**json.loads(path.read_text()), "expires_at": "2020-01-01T00:00:00+00:00"}))
    api.answer = lambda urls: rows(*urls, optOut=True)
    consult.run(work)
    assert api.asked == [[URLS[3]]]
    assert fates(work.store) == {**dict.fromkeys(URLS, "alive"), URLS[3]: "deny:registry"}


def test_answers_that_are_too_old_are_asked_for_again(consulted, api):
    _, work = consulted(max_age_days=0)
    consult.run(work)
    assert Counter(api.urls) == dict.fromkeys(URLS, 2)


def test_a_killed_run_asks_only_for_what_it_had_not_committed(consulted, api):
    _, work = consulted()
    lost = Path(work.store.root, "_done", "consult", "answer-0001.json")
    urls = read_parquet(work.store.path(json.loads(lost.read_text())["files"]["answer"][0]))["url"].to_pylist()
    lost.unlink()
    api.asked.clear()
    consult.run(work)
    assert 0 < len(urls) < len(URLS)
    assert api.urls == sorted(urls)


def test_an_endpoint_that_never_answers_is_given_up(consulted, api):
    api.answer = nothing(500)
    urls = [f"https://a.example/{number}.jpg" for number in range(40)]
    found, _ = consulted(urls, batch_urls=1)
    assert set(found.values()) == {"hold:registry"}
    assert 10 <= len(api.asked) < 20


def test_retries_after_500(consulted, api):
    answers = iter([web.Response(status=500), *[None] * 9])
    api.answer = lambda urls: next(answers) or rows(*urls)
    found, _ = consulted(consult_config={"retries": 1, "partitions": 1})
    assert set(found.values()) == {"alive"}
    assert len(api.asked) == 2


@pytest.mark.parametrize(("key", "sent"), [("s3cret", "API s3cret"), ("Bearer s3cret", "Bearer s3cret")])
def test_the_key_is_sent_and_kept_nowhere(consulted, api, monkeypatch, caplog, key, sent):
    monkeypatch.setenv("DNT_KEY", key)
    _, work = consulted(key_env="DNT_KEY")
    assert {headers["Authorization"] for headers in api.headers} == {sent}
    assert {headers["Content-Type"] for headers in api.headers} == {"text/plain"}
    files = [path for path in Path(work.job.folder).rglob("*") if path.is_file()]
    assert files and not [path for path in files if b"s3cret" in path.read_bytes()]
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("key", [None, "", " ", "a\nb", "ключ"])
def test_without_a_key_nothing_begins(tmp_path, monkeypatch, key):
    monkeypatch.setenv("DNT_KEY", key or "")
    if key is None:
        monkeypatch.delenv("DNT_KEY")
    result = planned(tmp_path, {"url": "https://api.example/query", "key_env": "DNT_KEY"})
    assert result.exit_code == 3
    assert "the environment variable DNT_KEY holds no API key" in result.stderr


def planned(folder: Path, endpoint: dict):
    (folder / "list.csv").write_text("url,text\nhttps://a.example/a.jpg,words\n")
    job = {
        "work_dir": "work",
        "release_dir": "release",
        "sources": [{"path": "list.csv"}],
        "endpoints": [{"name": "dnt", **endpoint}],
    }
    (folder / "job.yaml").write_text(json.dumps(job))
    return CliRunner().invoke(main, ["plan", str(folder / "job.yaml")])


def test_plan_shows_it_and_asks_nothing(tmp_path):
    result = planned(tmp_path, {"url": "https://api.example/query", "max_age_days": 3})
    assert result.exit_code == 0, result.output
    assert (
        "registry dnt: asked at https://api.example/query, 1,000 URLs a request; answers serve 3 days" in result.stdout
    )


@pytest.mark.parametrize("url", ["http://127.0.0.1/query", "http://[::1]/", "http://169.254.169.254/latest"])
def test_a_private_address_is_refused_before_anything_begins(tmp_path, url):
    result = planned(tmp_path, {"url": url})
    assert result.exit_code == 3
    assert "may not be asked (refused_address" in result.stderr


@pytest.mark.parametrize(
    "url", ["ftp://api.example/", "file:///etc/passwd", "api.example", "https://me:pw@api.example/", "http://["]
)
def test_urls_that_are_no_endpoint(tmp_path, url):
    given = {"work_dir": "work", "release_dir": "release", "sources": [{"path": "list.csv"}]}
    with pytest.raises(ConfigError, match=r"endpoints\[0\].url: is .* an http or https URL") as error:
        from_mapping({**given, "endpoints": [{"name": "dnt", "url": url}]}, tmp_path)
    assert "pw" not in str(error.value).replace("https://", "")


def test_explain_tells_what_the_endpoint_said(consulted, api):
    api.answer = lambda urls: rows(*urls, optOut=True)
    _, work = consulted()
    write_catalog(work.store)
    result = CliRunner().invoke(main, ["explain", work.job.work_dir, "--url", URLS[0]])
    assert 'deny  registry (url) by do-not-train: {"url": "https://a.example/a.jpg", "optOut": true' in result.stdout
    assert "left out by consult, deny:registry because of do-not-train (url)" in result.stdout


def test_names_are_not_shared_with_lists(tmp_path):
    given = {"work_dir": "work", "release_dir": "release", "sources": [{"path": "list.csv"}]}
    lists = [{"name": "dnt", "path": "list.csv", "scope": "url"}]
    with pytest.raises(ConfigError, match="registries: two are called 'dnt'"):
        from_mapping(
            {**given, "registries": lists, "endpoints": [{"name": "dnt", "url": "https://a.example/"}]}, tmp_path
        )
