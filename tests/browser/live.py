"Pages that load htmx, served by a real uvicorn and shown by a real browser."
from __future__ import annotations

import asyncio, os, socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import uvicorn
from fasthtml.common import FT, Div, FastHTML, Link, Meta, Script, fast_app

from fasthtml_sse import sse_headers

NPM = Path(__file__).parent.parent / 'node_modules'
GIVEN = os.environ.get('HTMX', '').split()  # other versions of htmx, which have been installed as these are
SHIPPED = GIVEN or ['2.0.7', '4.0.0']  # those that FastHTML loads, its default first
BUILDS = GIVEN or ['2.0.7', '2.0.11', '4.0.0', '4.0.1']  # tests/package.json installs each of them as htmx-<version>


def scripts(build: str) -> list[str]:
    "The files of one htmx: itself, and its extension for streams."
    if build.startswith('4.'): return [f'htmx-{build}/dist/htmx.js', f'htmx-{build}/dist/ext/hx-sse.js']
    return [f'htmx-{build}/dist/htmx.js', 'htmx-ext-sse/dist/sse.js']


def make_app(*content: FT, build: str | None = None) -> FastHTML:
    "An app whose page `/` holds `content` and, with a `build`, loads that htmx."
    files = scripts(build) if build else []
    for file in files:
        if not (NPM / file).exists(): pytest.skip(f'{file} is missing: run `npm ci` in tests/')
    hdrs = [Link(rel='icon', href='data:,'), Meta(name='htmx-config', content='{"metaCharacter": "-"}')]
    hdrs += [Script(src=f'/{file}') for file in files]
    if files: hdrs += sse_headers()
    app, rt = fast_app(default_hdrs=False, hdrs=hdrs, static_path=str(NPM), secret_key='of no use')
    @rt('/')
    def get(): return content
    return app


def connect(id: str, url: str, **attrs: Any) -> FT:
    "An element that listens to `url`, whichever htmx is loaded, and shows nothing itself."
    return Div(id=id, hx_ext='sse', sse_connect=url, sse_swap='message', hx_sse_connect=url, hx_swap='none', **attrs)


class Prompt(uvicorn.Server):
    "A server that looks ten times as often whether it should stop."
    async def main_loop(self) -> None:
        while not self.should_exit: await asyncio.sleep(0.01)


class Site:
    "An app at an address that stays the same while its server stops and starts."
    def __init__(self, app: FastHTML):
        self.app = app
        with socket.create_server(('127.0.0.1', 0)) as sock: self.port = sock.getsockname()[1]
        self.url = f'http://127.0.0.1:{self.port}'

    def start(self) -> None:
        self._sock = socket.create_server(('127.0.0.1', self.port))
        self._server = Prompt(uvicorn.Config(self.app, log_config=None, ws='none', timeout_graceful_shutdown=5))
        self._thread = Thread(target=self._server.run, args=([self._sock],), name='uvicorn', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._sock.close()
        assert not self._thread.is_alive(), 'uvicorn still runs'


@contextmanager
def serve(app: FastHTML) -> Iterator[Site]:
    "Run `app` in a thread."
    site = Site(app)
    site.start()
    try: yield site
    finally: site.stop()


@contextmanager
def visit(browser: Any, app: FastHTML) -> Iterator[Any]:
    "A page of `browser` that shows `app`. It must not ask anyone else for anything, nor throw."
    requests, faults = [], []
    with serve(app) as site, browser.new_context() as context:
        context.set_default_timeout(10_000)
        context.on('request', lambda request: requests.append(request))
        context.on('weberror', lambda fault: faults.append(fault))
        page = context.new_page()
        page.goto(site.url)
        yield page
    strangers = [request.url for request in requests if not request.url.startswith(site.url)]
    assert not strangers, f'requests that left the test: {strangers}'
    errors = [fault.error for fault in faults if fault.error.name != 'AbortError']  # htmx 4.0.0 lets one escape at hx-sse-close
    assert not errors, f'errors on the page: {errors}'
