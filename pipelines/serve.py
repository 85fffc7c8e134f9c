"""serve: a page for creators: "am I in it?", and a form to ask to be left out.

Read-only but for opt-out requests, which go to a folder that the maintainer names. No file is ever served, so no request
can lead to one; an uploaded picture is hashed in memory and forgotten. Only requests that name a host the server
knows are answered, and only forms of its own pages are taken, so that no other website can use a browser to look into
it or to opt others out. There are no cookies and no scripts.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..schemas.errors import InputError, MissingExtra
from . import _manifest, lookup
from ._optout_requests import SCOPES, OptOutRequests
from ._page_words import reason_words, visible
from ._release import Release

if TYPE_CHECKING:  # aiohttp is an extra
    from aiohttp import web

MAX_UPLOAD_BYTES = 32 * 1024 * 1024
_LOCAL = ("localhost", "127.0.0.1", "::1")
_ASKED = {"url": "Address of a picture", "domain": "Domain", "creator": "Name of a creator"}
_AT_ONCE, _WAITING = 2, 32  # look-ups at once, and those that may wait for a turn; others are sent away
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with "no-referrer" a browser would not say where a form of ours comes from
    "Cache-Control": "no-store",
}


class Desk:
    """Answers about one release."""

    def __init__(self, release: str, requests: Path | None):
        """Raises ReleaseError where it is no finished release."""
        self.manifest = _manifest.load(Release(release))
        self.requests = OptOutRequests(requests) if requests else None
        self._catalog = lookup.opened(release)
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0

    async def find(self, kind: str, value: str | bytes) -> dict[str, Any]:
        """What the release says about somebody's picture, domain or name.

        Raises:
            InputError: it is not what it should be.
            Busy: too many others ask.
        """
        if self._waiting >= _WAITING:
            raise Busy
        self._waiting += 1
        try:
            async with self._turns:
                return await asyncio.to_thread(self._find, kind, value)
        finally:
            self._waiting -= 1

    def _find(self, kind: str, value: str | bytes) -> dict[str, Any]:
        cursor = self._catalog.connection.cursor()
        try:
            return lookup.find(replace(self._catalog, connection=cursor), lookup.question(kind, value))
        finally:
            cursor.close()


class Busy(Exception):
    """Too many look-ups wait already."""


class Site:
    """The pages. Each is a function of what the desk says."""

    def __init__(self, desk: Desk, names: frozenset[str]):
        """``names``: hosts, in lower case and without port, that a request may name."""
        self._desk, self._names, self._page = desk, names, _template()

    def application(self) -> web.Application:
        """The site as aiohttp runs it."""
        from aiohttp import web

        made = web.Application(client_max_size=MAX_UPLOAD_BYTES, middlewares=[self._guard()])
        made.router.add_get("/", self._ask)
        made.router.add_post("/picture", self._ask_picture)
        made.router.add_get("/asked", self._asked)
        made.router.add_post("/opt-out", self._opt_out)
        return made

    def _guard(self) -> Any:
        """Headers of every answer; who is answered at all; errors as pages."""
        from aiohttp import web

        @web.middleware
        async def guard(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.Response]]
        ) -> web.Response:
            try:
                if _host_of(f"//{request.headers.get('Host', '')}") not in self._names:
                    answer = self._shown(421, error="This server does not go by that name.")
                elif request.method == "POST" and not _from_here(request):
                    answer = self._shown(403, error="Forms are taken from this site's own pages alone.")
                else:
                    answer = await handler(request)
            except InputError as error:
                answer = self._shown(400, error=f"{error}.")
            except Busy:
                answer = self._shown(503, error="Too many people are asking. Please try again in a minute.")
            except web.HTTPRequestEntityTooLarge:
                answer = self._shown(413, error=f"Pictures may have up to {MAX_UPLOAD_BYTES >> 20} MiB.")
            except web.HTTPException as error:
                answer = self._shown(error.status, error=f"{error.reason}.")
            answer.headers.update(_HEADERS)
            return answer

        return guard

    async def _ask(self, request: web.Request) -> web.Response:
        asked = [(kind, text) for kind in _ASKED if (text := request.query.get(kind, "").strip())]
        if not asked:
            return self._shown()
        kind, text = asked[0]
        return self._shown(kind=kind, asked=text, answer=await self._desk.find(kind, text))

    async def _ask_picture(self, request: web.Request) -> web.Response:
        form = await request.post()
        file = form.get("picture")
        data = b"" if file is None or isinstance(file, (str, bytes, bytearray)) else file.file.read()
        if not data:
            raise InputError("The form", "has no picture", "a file")
        return self._shown(kind="picture", asked="your picture", answer=await self._desk.find("image", data))

    async def _opt_out(self, request: web.Request) -> web.Response:
        from aiohttp import web

        if self._desk.requests is None:
            raise web.HTTPNotFound
        form = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        said = (form.get(name, "") for name in ("scope", "key", "declared_by", "evidence"))
        await asyncio.to_thread(self._desk.requests.add, *said)
        return web.Response(status=303, headers={"Location": "/asked"})

    async def _asked(self, request: web.Request) -> web.Response:
        return self._shown(thanks=True)

    def _shown(self, status: int = 200, **facts: Any) -> web.Response:
        from aiohttp import web

        blank = {"kind": None, "asked": "", "answer": None, "error": None, "thanks": False}
        page = self._page(manifest=self._desk.manifest, kinds=_ASKED, scopes=SCOPES if self._desk.requests else None,
                          max_mib=MAX_UPLOAD_BYTES >> 20, **{**blank, **facts})  # fmt: skip
        return web.Response(text=page, status=status, content_type="text/html", charset="utf-8")


def run(release: str, host: str, port: int, names: tuple[str, ...], requests: str | None) -> None:
    """Serve until interrupted.

    Raises:
        MissingExtra: aiohttp or jinja2 is not installed.
        ReleaseError: the folder is no finished release.
        InputError: others can reach the address, and no name is given that they may call it by.
        OSError: the address is taken.
    """
    for module in ("aiohttp", "jinja2"):
        if importlib.util.find_spec(module) is None:
            raise MissingExtra("crawl", "fairshard serve", module)
    from aiohttp import web

    if not _is_local(host) and not names:
        raise InputError("--host", f"is {host}, which others can reach", "--name, the host name that they ask for")
    known = frozenset((*_LOCAL, host.lower(), *(name.lower() for name in names)))
    site = Site(Desk(release, Path(requests) if requests else None), known)
    web.run_app(site.application(), host=host, port=port, access_log=None)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _from_here(request: web.Request) -> bool:
    """Whether a form was sent by one of our pages, as browsers say it."""
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if origin is not None:
        return origin.lower().partition("://")[2] == request.headers.get("Host", "").lower()
    return site in (None, "same-origin")


def _template() -> Callable[..., str]:
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True,
                                     undefined=jinja2.StrictUndefined)  # fmt: skip
    environment.filters.update(visible=visible, reason=reason_words, number=lambda value: f"{value:,}")
    text = resources.files(__package__ or "").joinpath("templates", "serve.html.j2").read_text(encoding="utf-8")
    return functools.partial(environment.from_string(text).render)
