"Apps as their users make them, with `fast_app` and `sse_headers`, on servers that come and go."
from __future__ import annotations

import asyncio, re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from inspect import getclosurevars
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit

from fasthtml.common import FastHTML, Li, Link, Script, fast_app
from starlette.responses import Response

from fasthtml_sse import ServerSentEvent, SSEResponse, sse_headers, swap, to_event

from .live import NPM, scripts, serve

# Notes what the sources of a page say, from the first on
RECORD = Script('''
const said = [], states = []
for (const name of ['foo', 'close', 'gap', 'denied'])
    addEventListener(`sse:${name}`, e => said.push([name, e.target.id, e.detail.data, e.detail.id ?? e.detail.status]))
addEventListener('sse:status', e => e.detail && states.push(e.detail.state))''')

# Notes the pauses between the attempts of our element, and makes them a thousandth as long. They alone are drawn at random
HURRY = '''{
    window.pauses = []
    const wait = setTimeout
    window.setTimeout = (run, ms) => {
        const isPause = ms % 1
        if (isPause) pauses.push(ms)
        return wait(run, isPause ? ms / 1000 : ms)
    }
}'''


def page_app(build: str, headers: tuple | None = None, **settings: Any) -> tuple:
    "An app and its `rt`, as `fast_app` makes them for this htmx."
    hdrs = Link(rel='icon', href='data:,'), *(headers or sse_headers())
    return fast_app(htmx4=build.startswith('4.'), hdrs=hdrs, secret_key='of no use', **settings)


def answer_from_npm(context: Any, build: str) -> None:
    "Answer what the pages of `context` ask of public addresses: htmx and its extension from npm, the rest with nothing."
    htmx, extension = scripts(build)
    files = {'/hx-sse|/htmx-ext-sse@': extension, '/htmx\\.org@': htmx}
    def answer(route: Any) -> None:
        file = next((file for part, file in files.items() if re.search(part, route.request.url)), None)
        kind = 'text/css' if route.request.url.endswith('.css') else 'text/javascript'
        route.fulfill(content_type=kind, body=(NPM/file).read_text() if file else '')
    context.route(re.compile('^https://'), answer)


class Topic:
    "Events with ids, and streams of what follows an id."
    def __init__(self):
        self.events, self.requests, self.live, self.most, self.retry, self._cuts, self._wakers = [], [], 0, 0, None, 0, set()
        self.answers: list[int] = []  # statuses of the next requests, before any stream

    def __repr__(self) -> str: return f'Topic({self.last_id=}, {self.requests=}, {self.live=}, {self._cuts=})'

    @property
    def last_id(self) -> str: return str(len(self.events))

    def publish(self, value: Any, event: str | None = None) -> None:
        self.events.append(replace(to_event(value, event=event), id=str(len(self.events) + 1)))
        self._wake()

    def cut(self) -> None:
        "End the streams of all requests so far."
        self._cuts += 1
        self._wake()

    def _wake(self) -> None:
        for loop, waker in list(self._wakers):
            if not loop.is_closed(): loop.call_soon_threadsafe(waker.set)

    def response(self, last_event_id: str | None = None, **settings: Any) -> Response:
        self.requests.append(last_event_id)
        if self.answers: return Response('<p>of no use</p>', status_code=self.answers.pop(0))
        at = len(self.events) if last_event_id is None else int(last_event_id)
        cuts = self._cuts  # a page may be live before its stream is asked for the first event
        return SSEResponse(lambda: self._follow(at, cuts), **settings)

    async def _follow(self, at: int, cuts: int | None = None) -> AsyncIterator[ServerSentEvent]:
        waker, cuts = asyncio.Event(), self._cuts if cuts is None else cuts
        self._wakers.add(key := (asyncio.get_running_loop(), waker))
        self.live += 1
        self.most = max(self.most, self.live)
        try:
            yield ServerSentEvent(id=str(at), retry=self.retry)
            while self._cuts == cuts:
                waker.clear()
                while at < len(self.events):  # they are published by another thread, at any time
                    at += 1
                    yield self.events[at - 1]
                await waker.wait()
        finally:
            self._wakers.discard(key)
            self.live -= 1


def until(condition: Any, seconds: float = 20) -> None:
    "Wait until `condition()` holds."
    ends = monotonic() + seconds
    while not condition():
        assert monotonic() < ends, f'it did not come to pass in {seconds} s: {getclosurevars(condition).nonlocals}'
        sleep(0.005)


def route_of(topic: Topic, app: FastHTML, path: str = '/events', **settings: Any) -> None:
    "Serve `topic` at `path`, with its last id from the header."
    @app.get(path)
    def events(request): return topic.response(request.headers.get('last-event-id'), **settings)


@contextmanager
def browsing(browser: Any, app: FastHTML, build: str, forgiven: str | None = None, script: str = '', clock: bool = False) -> Iterator[Any]:
    """A context of `browser`, with `site` running `app`. Its pages run `script` before all else, and a `clock` can move on their time.
    None may throw, except errors whose name ends so."""
    faults = []
    with serve(app) as site, browser.new_context() as context:
        answer_from_npm(context, build)
        context.set_default_timeout(10_000)
        context.on('weberror', lambda fault: faults.append(fault.error))
        if clock: context.clock.install()
        if script: context.add_init_script(script)
        context.site = site
        yield context
    errors = [fault for fault in faults if not (forgiven and fault.name.endswith(forgiven))]
    assert not errors, f'errors on the page: {errors}'


@contextmanager
def visiting(browser: Any, app: FastHTML, build: str, **settings: Any) -> Iterator[Any]:
    "A page that shows `app`, in such a context."
    with browsing(browser, app, build, **settings) as context:
        page = context.new_page()
        page.goto(context.site.url)
        yield page


def item(n: Any) -> Any: return swap.append(Li(n), '#list')


def items(page: Any) -> list[str]: return page.evaluate('[...document.querySelectorAll("#list > li")].map(li => li.textContent)')


def until_items(page: Any, expected: list[str]) -> None:
    "Wait for as many items, and see that they are these: none twice, none lost, in order."
    page.wait_for_function('n => document.querySelectorAll("#list > li").length >= n', arg=len(expected))
    assert items(page) == expected


def until_state(page: Any, state: str, id: str = 'source') -> None:
    page.wait_for_function('([id, state]) => document.getElementById(id)?.getAttribute("state") == state', arg=[id, state])


def until_later(page: Any, condition: Any) -> None:
    "Wait until `condition()` holds, while the time of the page runs many times as fast."
    def look() -> Any:
        page.clock.fast_forward(100)
        return condition()
    until(look)


def asked_within(page: Any, ms: int, steps: int = 5) -> list[str]:
    "The paths that the tabs of this browser ask for while so much time passes, at once. After each step every tab has an answer."
    context, asked = page.context, []
    def note(request: Any) -> None: asked.append(urlsplit(request.url).path)
    context.on('request', note)
    for _ in range(steps):
        context.clock.fast_forward(ms // steps)
        for tab in context.pages: tab.evaluate('fetch("/nothing").then(answer => answer.text())')
    context.remove_listener('request', note)
    assert asked.count('/nothing') == steps * len(context.pages)
    return [path for path in asked if path != '/nothing']
