"""Plays the sample web: an HTTP proxy on loopback behind which every host of ``web.yaml`` lives.

``with SampleWeb() as web:`` starts it in a thread; ``web.proxy_url`` goes into ``fetch.proxy``. From a shell:
``python -m fairshard.examples.sample_web.server --port 8989``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import socket
import threading
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from aiohttp import web
from multidict import CIMultiDict

from . import FOLDER, bodies, endpoint, hosts
from .hosts import NOT_FOUND, Answer
from .variant import MIME, encoded

log = logging.getLogger(__name__)

DRIP_S = 1.0
DRIP_BYTES = 3600
"""One byte a second for an hour: only a bound on the whole exchange ends it."""

ENDLESS_CHUNKS = 16_384
"""64 kB each, 1 GB in all: more than anybody reads, yet not for ever."""

FOLDERS = ("pictures", "paintings")
NO_HOST = 502
CLOSED = 0


class Request(NamedTuple):
    """One line of the log. ``status`` is what was sent, 0 where the connection was closed instead."""

    method: str
    url: str
    status: int


class SampleWeb:
    """The sample web on a loopback port, in a thread of this process.

    Args:
        folder: holds ``web.yaml``, ``pictures/``, ``paintings/`` and ``registries/``; the bundled one if not given.
        port: 0 takes a free one.
    """

    def __init__(self, folder: Path = FOLDER, port: int = 0) -> None:
        self._folder = folder
        self._hosts = hosts.load(folder / "web.yaml")
        self._files = {file.name: file for name in FOLDERS for file in sorted((folder / name).iterdir())}
        self._by_stem = {file.stem: file for file in self._files.values()}
        self._made: dict[tuple[str, Answer], bytes] = {}
        self._failed: dict[str, int] = {}
        self._log: list[Request] = []
        self._port = port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> SampleWeb:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def proxy_url(self) -> str:
        """``http://127.0.0.1:PORT``, once started."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def requests(self) -> list[Request]:
        """All requests so far, in the order in which they came."""
        return list(self._log)

    def clear_requests(self) -> None:
        """Forget the requests so far, and that some URLs have already failed."""
        self._log.clear()
        self._failed.clear()

    def start(self) -> None:
        """Listen on loopback; returns when requests are answered.

        Raises:
            OSError: the port is taken.
        """
        listener = socket.create_server(("127.0.0.1", self._port), backlog=512)
        self._port = listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, args=(listener,), name="sample-web", daemon=True)
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """Close the port and all connections."""
        if self._thread is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
            self._thread = None

    def wait(self) -> None:
        """Serve until ``stop``."""
        if self._thread is not None:
            self._thread.join()

    def _serve(self, listener: socket.socket) -> None:
        with asyncio.Runner() as runner:  # cancels what is still dripping when it ends
            runner.run(self._run(listener))

    async def _run(self, listener: socket.socket) -> None:
        runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0.1)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        self._loop = asyncio.get_running_loop()
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        url, host = request.url, host_name(request)
        known = self._hosts.get(host)
        if known is None:
            return self._logged(request, web.Response(status=NO_HOST, text=f"no host {host}\n"))
        answer = known.answer(url.path)
        if request.method not in (("POST",) if answer.endpoint else ("GET", "HEAD")):
            return self._logged(request, web.Response(status=405))
        if answer.endpoint is not None:
            said = endpoint.answer(self._folder / answer.endpoint, await request.text())
            return self._logged(request, web.Response(text=said, content_type="application/json"))
        if self._failed.get(str(url), 0) < answer.fails_first:
            self._failed[str(url)] = self._failed.get(str(url), 0) + 1
            return self._logged(request, web.Response(status=503, text="try again\n"))
        if answer.serve == "close":
            return self._closed(request)
        if answer.serve in ("drip", "endless", "cut"):
            return await self._stream(request, answer)
        return self._logged(request, self._response(answer, PurePosixPath(url.path).name))

    def _logged(self, request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
        self._log.append(Request(request.method, str(request.url), response.status))
        return response

    def _closed(self, request: web.BaseRequest) -> web.StreamResponse:
        self._log.append(Request(request.method, str(request.url), CLOSED))
        if request.transport is not None:
            request.transport.close()
        return web.Response()

    def _response(self, answer: Answer, name: str) -> web.Response:
        headers = CIMultiDict(answer.headers)
        if answer.redirect is not None:
            headers["Location"] = answer.redirect.format(name=name)
            return web.Response(status=answer.redirect_status, headers=headers)
        if answer.status != 200:
            return web.Response(status=answer.status, headers=headers)
        if answer.body is not None:
            headers["Content-Type"] = answer.content_type or "text/plain"
            return web.Response(body=answer.body.encode(), headers=headers)
        found = self._picture(answer, name)
        if found is None:
            return web.Response(status=NOT_FOUND.status, headers=headers, text="not found\n")
        body, mime = found
        headers["Content-Type"] = answer.content_type or mime
        return web.Response(body=body, headers=headers)

    def _picture(self, answer: Answer, name: str) -> tuple[bytes, str] | None:
        if answer.serve in ("html", "empty", "dot", "ribbon", "bomb", "bomb_whole"):
            return _special(answer.serve)
        by_stem = answer.variant is not None or answer.content_type is not None
        file = self._by_stem.get(PurePosixPath(name).stem) if by_stem else self._files.get(name)
        if file is None:
            return None
        if answer.variant is None:
            body = file.read_bytes()
            return (body[: len(body) // 2] if answer.serve == "truncated" else body), _mime(file.suffix)
        key = (file.name, answer)
        if key not in self._made:
            self._made[key] = encoded(file.read_bytes(), answer.variant)
        return self._made[key], MIME[answer.variant.encode]

    async def _stream(self, request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "image/jpeg"})
        if answer.serve == "drip":
            response.content_length = DRIP_BYTES
        elif answer.serve == "cut":
            response.content_length = 20_000
        self._logged(request, response)
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            await self._pour(response, answer)
        if request.transport is not None:
            request.transport.abort()
        return response

    async def _pour(self, response: web.StreamResponse, answer: Answer) -> None:
        start = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"
        if answer.serve == "drip":
            for _ in range(DRIP_BYTES):
                await response.write(b"\xff")
                await asyncio.sleep(DRIP_S)
        elif answer.serve == "endless":
            for _ in range(ENDLESS_CHUNKS):
                await response.write(start.ljust(65_536, b"\x11"))
        else:
            await response.write(start.ljust(5_000, b"\x11"))


def host_name(request: web.BaseRequest) -> str:
    """Lower-case host that a proxy request is for, without its port; "" where it names none (CONNECT)."""
    return (request.url.raw_host or "").lower() if request.method != "CONNECT" else ""


def _special(kind: str) -> tuple[bytes, str]:
    if kind == "html":
        return bodies.HTML, "image/jpeg"
    if kind == "empty":
        return b"", "image/jpeg"
    return getattr(bodies, kind)(), "image/png"


def _mime(suffix: str) -> str:
    return {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}[suffix]


def main(arguments: list[str] | None = None) -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="Play the sample web: an HTTP proxy on loopback.")
    parser.add_argument("--port", type=int, default=8989)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with SampleWeb(port=options.port) as sample, contextlib.suppress(KeyboardInterrupt):
        log.info("fetch.proxy: %s", sample.proxy_url)
        sample.wait()


if __name__ == "__main__":
    main()
