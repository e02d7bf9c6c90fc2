"In a notebook: what `show` and `HTMX` display is live in Jupyter's page, which is none of the app's."
from collections.abc import Callable
from typing import Any

import pytest
from fasthtml.common import *
from fasthtml.core import cors_allow, htmxsrc
from fasthtml.jupyter import HTMX, htmx_config_port, show
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from fasthtml_sse import ConnectionStatus, SSESource, last_event_id, sse_headers, swap

from .live import serve
from .pages import item, items, page_app, until, until_items, until_state

pytestmark = pytest.mark.connections

# What there is of JupyterLab: its settings, and how it shows an output, whose scripts run in the page and one after the other
LAB = '''<!doctype html><link rel="icon" href="data:,"><script id="jupyter-config-data" type="application/json">{}</script>
<body><main></main><script>
function output(cell, html) {
  const main = document.querySelector('main')
  while (main.children.length <= cell) main.append(document.createElement('section'))
  main.children[cell].innerHTML = html
  for (const dead of main.children[cell].querySelectorAll('script')) {
    const script = document.createElement('script')
    for (const {name, value} of dead.attributes) script.setAttribute(name, value)
    script.textContent = dead.textContent
    dead.replaceWith(script)
  }
}
</script></body>'''


class Notebook:
    "Jupyter's page; `run` shows in a cell what a function displays or returns."
    def __init__(self, page: Any, displayed: list): self.page, self._displayed = page, displayed

    def run(self, cell: int, fn: Callable, *args: Any, **kwargs: Any) -> None:
        self._displayed.clear()
        value = fn(*args, **kwargs)
        html = ''.join(each.data for each in [*self._displayed, *([] if value is None else [value])])
        self.page.evaluate('args => output(...args)', [cell, html])

    def show(self, cell: int, *elements: Any) -> None: self.run(cell, show, *elements)


@pytest.fixture
def displayed(monkeypatch):
    "What is displayed, while FastHTML and this library believe that they are in a notebook."
    shown: list[Any] = []
    for module in ('fasthtml.core', 'fasthtml.jupyter', 'fasthtml_sse.page'): monkeypatch.setattr(f'{module}.IN_NOTEBOOK', True)
    for module in ('IPython.display', 'fasthtml.jupyter'): monkeypatch.setattr(f'{module}.display', shown.append)
    return shown


@pytest.fixture
def notebook(browse, build, displayed):
    "A new notebook, in a page with `asked`, what it has requested."
    lab = Starlette(routes=[Route('/', lambda request: HTMLResponse(LAB))])
    with browse(lab, build) as context:
        page = context.new_page()
        page.asked = []
        page.on('request', lambda request: page.asked.append(request.url))
        page.goto(context.site.url)
        yield Notebook(page, displayed)


def stream(topic: Any, app: FastHTML) -> None:
    "Serve `topic`. Jupyter's page is of another origin, so an id may be part of the address."
    app.get('/events')(lambda request: topic.response(last_event_id(request)))


@pytest.fixture
def app(displayed, build, topic):
    app, rt = page_app(build)
    stream(topic, app)
    @rt('/')
    def home(): return Ul(id='list'), SSESource('/events', id='source')
    return app


def loads(page: Any) -> int: return page.asked.count(htmxsrc.src)


def test_elements_are_live_in_the_notebooks_own_page(notebook, app, topic):
    "Though it has no htmx, and the first message is there before that."
    topic.publish(item('one'))
    page = notebook.page
    with serve(app) as site:
        notebook.run(0, htmx_config_port, site.port)
        notebook.show(1, *sse_headers(), Ul(id='list'), SSESource('/events', after='0', id='source'), ConnectionStatus())
        notebook.show(2, *sse_headers(), P(id='clock'), SSESource('/events', id='other'))
        until_items(page, ['one'])
        until_state(page, 'live', 'other')
        topic.publish(swap.update('12:00', '#clock'))
        page.wait_for_selector('#clock:text("12:00")')
        assert loads(page) == 1 and page.locator('sse-status').inner_text() == 'Live'
        for _ in range(3): notebook.show(2, *sse_headers(), P(id='clock'), SSESource('/events', id='other'))
        until_state(page, 'live', 'other')
        until(lambda: topic.live == 2)
        topic.publish(swap.update('12:01', '#clock'))
        page.wait_for_selector('#clock:text("12:01")')
        assert loads(page) == 1


@pytest.mark.full
def test_the_htmx_of_the_app_is_waited_for(notebook, displayed, build, topic):
    "Where `nb_hdrs` displays it."
    topic.publish(item('one'))
    def make() -> None: notebook.app, _ = page_app(build, nb_hdrs=True)
    notebook.run(0, make)
    stream(topic, notebook.app)
    with serve(notebook.app) as site:
        notebook.run(1, htmx_config_port, site.port)
        notebook.show(2, Ul(id='list'), SSESource('/events', after='0', id='source'))
        until_items(notebook.page, ['one'])
        assert sum('htmx.org@' in url for url in notebook.page.asked) == 1


def test_a_morph_after_htmx_was_loaded_again(notebook, app, topic):
    page = notebook.page
    with serve(app) as site:
        notebook.run(0, htmx_config_port, site.port)
        notebook.show(1, *sse_headers(), Ul(Li('old', id='one'), id='list'), SSESource('/events', id='source'))
        until_state(page, 'live')
        page.add_script_tag(url=htmxsrc.src)
        page.evaluate('window.list = document.getElementById("list")')
        topic.publish(swap.morph(Ul(Li('new', id='one'), id='list'), '#list'))
        page.wait_for_selector('#one:text("new")')
        assert page.evaluate('list.isConnected')


def test_a_component_is_live_in_a_frame(notebook, app, topic):
    "Whether the notebook's page has htmx or not."
    with serve(app) as site:
        notebook.run(0, htmx_config_port, site.port)
        notebook.run(1, HTMX, (Ul(id='list'), SSESource('/events', id='source')), app=app)
        frame = notebook.page.wait_for_selector('iframe').content_frame()
        until_state(frame, 'live')
        topic.publish(item('one'))
        until_items(frame, ['one'])
        topic.cut()
        until(lambda: len(topic.requests) == 2)
        topic.publish(item('two'))
        until_items(frame, ['one', 'two'])
        assert topic.requests == [None, '1']


@pytest.mark.full
def test_a_page_of_the_app_is_live_in_a_frame(notebook, app, topic):
    with serve(app) as site:
        notebook.run(0, HTMX, f'{site.url}/', host='')
        frame = notebook.page.wait_for_selector('iframe').content_frame()
        until_state(frame, 'live')
        topic.publish(item('one'))
        until_items(frame, ['one'])


@pytest.mark.full
def test_the_latest_server_is_asked(notebook, app, topic):
    page, home = notebook.page, (*sse_headers(), Ul(id='list'), SSESource('/events', id='source'))
    with serve(app) as first, serve(app) as second:
        notebook.run(0, htmx_config_port, first.port)
        notebook.show(1, *home)
        until_state(page, 'live')
        notebook.run(0, htmx_config_port, second.port)
        notebook.show(1, *home)
        until_state(page, 'live')
        notebook.run(2, HTMX, home, app=app)
        until_state(page.wait_for_selector('iframe').content_frame(), 'live')
        asked = [url for url in page.asked if url.endswith('/events')]
        assert asked == [f'{first.url}/events', f'{second.url}/events', f'{second.url}/events']


@pytest.mark.parametrize('what, framed', [
    ('gap', False), ('refresh', True), *(pytest.param(*pair, marks=pytest.mark.full) for pair in (('gap', True), ('refresh', False)))])
def test_jupyters_page_is_never_fetched_and_morphed(notebook, app, topic, what, framed):
    page, content = notebook.page, (Ul(id='list'), SSESource('/events', after='0', id='source'))
    with serve(app) as site:
        notebook.run(0, htmx_config_port, site.port)
        if framed: notebook.run(1, HTMX, content, app=app)
        else: notebook.show(1, *sse_headers(), *content)
        view = page.wait_for_selector('iframe').content_frame() if framed else page
        until_state(view, 'live')
        view.evaluate('window.list = document.getElementById("list")')
        topic.publish(item('one'))
        until_items(view, ['one'])
        if what == 'refresh': topic.publish(swap.refresh())
        else: topic.publish('of no use', event='gap')
        topic.publish(item('two'))
        until_items(view, ['one', 'two'])
        if what == 'gap': until(lambda: topic.requests[1:] == ['2'])
        else: view.wait_for_timeout(500)  # a refresh begins within 450 ms
        assert items(view) == ['one', 'two'] and view.evaluate('list.isConnected')
        assert page.asked.count(page.url) == 1


def test_a_frame_that_may_have_no_locks(visit, build, topic):
    "Such as one that is sandboxed, or of another site where a browser keeps sites apart."
    app, rt = page_app(build, middleware=[cors_allow])
    stream(topic, app)
    @rt('/')
    def home(): return Iframe(src='/framed', sandbox='allow-scripts')
    @rt('/framed')
    def framed(): return Ul(id='list'), SSESource('/events', id='source')
    with visit(app, build) as page:
        frame = page.wait_for_selector('iframe').content_frame()
        until_state(frame, 'live')
        topic.cut()
        until(lambda: len(topic.requests) == 2)
        topic.publish(item('one'))
        until_items(frame, ['one'])


def test_outside_of_a_notebook_the_headers_bring_no_htmx(displayed, monkeypatch):
    assert htmxsrc.src in sse_headers()[0].children[0]
    monkeypatch.setattr('fasthtml_sse.page.IN_NOTEBOOK', False)
    assert htmxsrc.src not in sse_headers()[0].children[0]
