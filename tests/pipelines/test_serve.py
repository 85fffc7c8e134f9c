"""serve: what people are told, what is written down, and what strangers cannot do."""

from __future__ import annotations

import asyncio
import csv
import json
import shutil
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import small_world
from aiohttp import ClientSession, FormData, web
from click.testing import CliRunner

from fairshard.pipelines import serve, takedown
from fairshard.pipelines._optout_requests import OptOutRequests
from fairshard.pipelines.cli import main
from fairshard.schemas.errors import InputError

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return str(small_world.emitted(tmp_path_factory.mktemp("world")))


@contextmanager
def on_loopback(application: web.Application):
    """A server on a free port, in a thread. Yields the port."""
    loop, runner = asyncio.new_event_loop(), web.AppRunner(application)

    async def start() -> int:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner.addresses[0][1]

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def served(release: str, requests: Path | None = None):
    """The site. Yields its address."""
    site = serve.Site(serve.Desk(release, requests), frozenset({"127.0.0.1", "localhost"}))
    with on_loopback(site.application()) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def site(release, tmp_path):
    with served(release, tmp_path / "requests") as url:
        yield url


def ask(method: str, url: str, **how) -> tuple[int, str, dict[str, str]]:
    async def one() -> tuple[int, str, dict[str, str]]:
        async with ClientSession() as session, session.request(method, url, allow_redirects=False, **how) as answer:
            return answer.status, await answer.text(), dict(answer.headers)

    return asyncio.run(one())


def upload(site: str, data: bytes) -> tuple[int, str, dict[str, str]]:
    form = FormData()
    form.add_field("picture", data, filename="../../etc/mine.jpg")
    return ask("POST", f"{site}/picture", data=form)


def test_what_is_in_and_what_was_left_out(site):
    status, page, headers = ask("GET", f"{site}/", params={"domain": "b.example"})
    assert status == 200 and "2 in this release, 2 left out" in page
    assert "https://b.example/43.jpg" in page and "shards/0000" in page
    assert headers["Content-Security-Policy"].startswith("default-src 'none'") and "Set-Cookie" not in headers
    assert "<script" not in page
    assert "Not found" in ask("GET", f"{site}/", params={"url": "https://x.example/a.jpg"})[1]
    assert "1 in this release" in ask("GET", f"{site}/", params={"url": "http://www.a.example/3.jpg#top"})[1]
    assert "2 in this release" in ask("GET", f"{site}/", params={"creator": "ada *example*"})[1]


def test_a_picture_is_found_and_not_kept(site, release):
    before = small_world.contents(Path(release))
    status, page, _ = upload(site, small_world.PICTURES[5])
    assert status == 200 and "1 in this release" in page and "the very file" in page
    assert small_world.contents(Path(release)) == before


def test_what_a_sensitive_list_removed_is_not_told(site):
    for name, text in (("domain", "hidden-painter.example"), ("creator", "Unlisted Artist")):
        _, page, _ = ask("GET", f"{site}/", params={name: text})
        assert "Not found" in page and "canvas nobody lists" not in page
        assert "2 pairs that were left out are covered by lists that may not be published" in page


def test_text_from_outside_is_text(site):
    _, page, _ = ask("GET", f"{site}/", params={"creator": '"><script>alert(1)</script>\u202e'})
    assert "<script" not in page and "\u202e" not in page.split("<form", 1)[0]


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {"Host": "evil.example"}, 421),
        ("GET", "/", {"Host": "["}, 421),
        ("GET", "/../../etc/passwd", {}, 404),
        ("GET", "/picture", {}, 405),
        ("PUT", "/", {}, 405),
        ("POST", "/opt-out", {"Origin": "http://evil.example"}, 403),
        ("POST", "/opt-out", {"Origin": "null"}, 403),
        ("POST", "/opt-out", {"Origin": "http://["}, 403),
        ("POST", "/opt-out", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", "/picture", {"Origin": "http://127.0.0.1:1"}, 403),
        ("POST", "/picture", {}, 400),
    ],
)
def test_strangers_get_nothing(site, tmp_path, method, path, headers, status):
    data = {"scope": "url", "key": "https://a.example/1.jpg"} if method == "POST" else None
    answer = ask(method, site + path, headers=headers, data=data)
    assert (answer[0], answer[2]["X-Content-Type-Options"]) == (status, "nosniff")
    assert list((tmp_path / "requests").iterdir()) == []


def test_uploads_are_bounded_and_have_to_be_pictures(site, monkeypatch):
    assert upload(site, b"<html>")[0] == 400
    assert upload(site, b"")[0] == 400
    assert upload(site, bytes(serve.MAX_UPLOAD_BYTES + 1))[0] == 413


def test_who_asks_when_many_wait_is_told_to_come_back(release):
    async def crowd() -> list[object]:
        desk = serve.Desk(release, None)
        asked = (desk.find("domain", "b.example") for _ in range(100))
        return await asyncio.gather(*asked, return_exceptions=True)

    found = asyncio.run(crowd())
    answered = [one for one in found if isinstance(one, dict)]
    assert all(one["released"] == 2 for one in answered)
    assert (len(answered), sum(isinstance(one, serve.Busy) for one in found)) == (32, 68)


def test_a_request_becomes_a_registry_that_a_takedown_reads(site, release, tmp_path):
    said = {"scope": "domain", "key": " b.example ", "declared_by": "Bea, of B", "evidence": "a\nletter"}
    status, _, headers = ask("POST", f"{site}/opt-out", data=said, headers={"Origin": site})
    assert (status, headers["Location"]) == (303, "/asked")
    assert "Your request is written down" in ask("GET", f"{site}/asked")[1]
    path = tmp_path / "requests" / "domain.csv"
    (row,) = csv.DictReader(path.open(encoding="utf-8"))
    assert (row["domain"], row["action"], row["declared_by"], row["evidence"]) == (
        "b.example", "deny", "Bea, of B", "a letter",
    )  # fmt: skip
    found = takedown.takedown(release, str(tmp_path / "next"), [f"domain={path}"], [])
    assert found.pairs == 2


@pytest.mark.parametrize(
    ("scope", "key", "evidence"),
    [("url", "", ""), ("url", "ftp://a.example/x", ""), ("domain", "a b", ""), ("../url", "x", ""), ("sha256", "ab", ""),
     ("creator", "A\x00", ""), ("creator", "A\u202eB", ""), ("creator", "A" * 2049, ""), ("creator", "A", "e" * 1001)],
)  # fmt: skip
def test_a_request_about_nothing_is_refused(tmp_path, scope, key, evidence):
    with pytest.raises(InputError):
        OptOutRequests(tmp_path).add(scope, key, "", evidence)
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_there_is_no_form(release):
    with served(release) as site:
        assert "Ask to be left out" not in ask("GET", f"{site}/")[1]
        assert ask("POST", f"{site}/opt-out", data={"scope": "url", "key": "https://a.example/1.jpg"})[0] == 404


def test_bad_starts_are_told(release, tmp_path):
    def started(*arguments: str) -> str:
        result = CliRunner().invoke(main, ["serve", *arguments])
        assert result.exit_code == 2
        return result.stderr

    assert "expected a finished release" in started(str(tmp_path))
    assert "which others can reach; expected --name" in started(release, "--host", "0.0.0.0")


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_sends_the_form_and_other_sites_cannot(site, tmp_path):
    """The real browser: what it says of the origin of a form decides."""
    filled = {"scope": "creator", "key": "Ann Example"}

    async def page(request: web.Request) -> web.Response:
        fields = "".join(f'<input name="{name}" value="{value}">' for name, value in filled.items())
        script = "<script>document.forms[0].submit()</script>"
        body = f'<form method="post" action="{site}/opt-out">{fields}</form>{script}'
        return web.Response(text=body, content_type="text/html")

    elsewhere = web.Application()
    elsewhere.router.add_get("/", page)
    with on_loopback(elsewhere) as port:
        assert "Forms are taken from this site" in dom(f"http://localhost:{port}/", tmp_path)
    assert list((tmp_path / "requests").iterdir()) == []
    typed = f"const said = {json.dumps(filled)}; for (const id in said) document.getElementById(id).value = said[id];"
    typed += "document.getElementById('key').form.submit()"
    asyncio.run(driven(f"{site}/", typed, "/asked", tmp_path))
    (row,) = csv.DictReader((tmp_path / "requests" / "creator.csv").open(encoding="utf-8"))
    assert row["creator"] == "Ann Example"


def chromium(folder: Path, *arguments: str) -> list[str]:
    quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
    return [str(CHROMIUM), *quiet, f"--user-data-dir={folder / 'profile'}", *arguments]


def dom(url: str, folder: Path) -> str:
    """The page that a browser ends at."""
    command = chromium(folder, "--virtual-time-budget=5000", "--dump-dom", url)
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


async def driven(url: str, script: str, ends_at: str, folder: Path) -> None:
    """Open a page, run a script of the tester in it, and wait for the page that it leads to."""
    command = chromium(folder, "--remote-debugging-port=0", "about:blank")
    browser = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    try:
        assert browser.stderr is not None
        address = ""
        while "DevTools listening on" not in address:
            address = (await asyncio.wait_for(browser.stderr.readline(), 60)).decode()
        port = address.split("127.0.0.1:")[1].split("/")[0]
        async with ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as listed:
                target = next(tab for tab in await listed.json(content_type=None) if tab["type"] == "page")
            async with session.ws_connect(target["webSocketDebuggerUrl"]) as tab, asyncio.timeout(60):
                await told(tab, 1, "Page.navigate", url=url)
                await at(tab, urlsplit(url).path)
                await told(tab, 2, "Runtime.evaluate", expression=script)
                await at(tab, ends_at)
    finally:
        browser.kill()
        await browser.wait()


async def told(tab, number: int, method: str, **how: str) -> dict:
    """The answer of the browser to a command."""
    await tab.send_json({"id": number, "method": method, "params": how})
    async for message in tab:
        if message.json().get("id") == number:
            return message.json()
    raise AssertionError("the browser is gone")


async def at(tab, path: str) -> None:
    """Wait until the whole page of a path is there."""
    number, found = 100, ""
    while found != f"complete http: {path}":
        where = "`${document.readyState} ${location.protocol} ${location.pathname}`"
        answer = await told(tab, number := number + 1, "Runtime.evaluate", expression=where)
        found = answer.get("result", {}).get("result", {}).get("value", "")
        await asyncio.sleep(0.05)
