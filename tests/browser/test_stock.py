"What htmx's own extensions for streams do, and what they leave to the page: each claim of how-to/stock.ipynb."
import asyncio, time
from functools import partial

import pytest
from fasthtml.common import *
from playwright.sync_api import TimeoutError as TimedOut
from starlette.responses import Response

from fasthtml_sse import ServerSentEvent, SSEResponse, SSESource, last_event_id, sse, sse_headers

from .pages import Topic, asked_within, browsing, item, items, page_app, route_of, until, until_items, until_later, visiting

EXTENSION = 'https://cdn.jsdelivr.net/npm/htmx-ext-sse@2.2.4/sse.js'
RECORD = Script('''
const said = []
for (const name of ['htmx:sseOpen', 'htmx:sseError', 'htmx-sse-before-connection', 'htmx-sse-after-connection'])
    addEventListener(name, () => said.push(name.split(/[:-]sse-?/)[1]))''')
KEEP = '''window.sources = []
window.EventSource = class extends EventSource {
    constructor(...args) { super(...args); sources.push(this) }
}'''
HIDE = '''hidden => {
    Object.defineProperty(document, 'hidden', {get: () => hidden, configurable: true})
    Object.defineProperty(document, 'visibilityState', {get: () => hidden ? 'hidden' : 'visible', configurable: true})
    document.dispatchEvent(new Event('visibilitychange'))
}'''


def is_4(build): return build.startswith('4.')

def for_2(url): return dict(hx_ext='sse', sse_connect=url, sse_swap='message', sse_close='close')

def for_4(url): return dict(hx_sse_connect=url, hx_sse_close='close')

def listen(build, url='/events', **attrs):
    "The element of the extension that goes with `build`."
    return Div(**{'id': 'source', 'hx_swap': 'none', **(for_4 if is_4(build) else for_2)(url), **attrs})

def impatient(build): return dict(hx_config='sse.reconnectDelay:50ms sse.reconnectJitter:0') if is_4(build) else {}

def extended_app(build, **settings):
    "An app with the extension, as its users make it."
    headers = (RECORD,) if is_4(build) else (RECORD, Script(src=EXTENSION))
    return page_app(build, headers=headers, exts='sse4' if is_4(build) else None, **settings)

def stock_app(topic, build, **attrs):
    "An app whose page lists what `topic` appends."
    app, rt = extended_app(build)
    route_of(topic, app)
    @rt('/')
    def get(): return listen(build, **attrs), Ul(id='list')
    return app

browsing, visiting = (partial(show, forgiven='AbortError') for show in (browsing, visiting))  # htmx 4.0.0 lets it escape when it closes

@pytest.fixture
def browse(chromium): return partial(browsing, chromium)

@pytest.fixture
def visit(chromium): return partial(visiting, chromium)

def until_read(page, *topics):
    "Wait until the page lists an event of each topic: a server streams before the page reads."
    for n, topic in enumerate(topics):
        until(lambda topic=topic: topic.live == 1)
        topic.publish(item(n))
        until_items(page, [str(i) for i in range(n + 1)])


# What works

@pytest.mark.parametrize('markup', ['own', 'both'])
def test_messages_come_and_close_ends_it(visit, build, markup):
    runs = []
    app, rt = extended_app(build)
    @rt('/job')
    @sse(retry=50)
    def job():
        runs.append(1)
        for n in range(3): yield item(n)
    @rt('/')
    def get():
        if markup == 'own': return listen(build, job, **impatient(build)), Ul(id='list')
        return Div(hx_swap='none', **for_2(job), **for_4(job), **impatient(build)), Ul(id='list')
    with visit(app, build, script=KEEP, clock=True) as page:
        until_items(page, ['0', '1', '2'])
        until(lambda: page.evaluate('sources.map(source => source.readyState)') == ([] if is_4(build) else [2]))  # closed
        assert asked_within(page, 60_000) == []
        assert runs == [1] and items(page) == ['0', '1', '2']


def test_the_extension_says_how_the_connection_is(browse, topic, build):
    with browse(stock_app(topic, build), build) as context:
        page = context.new_page()
        page.goto(context.site.url)
        until_read(page, topic)
        context.site.stop()
        expected = ['before-connection', 'after-connection', 'before-connection'] if is_4(build) else ['Open', 'Error']
        page.wait_for_function('n => said.length == n', arg=len(expected))
        assert page.evaluate('said') == expected


def test_htmx_2_empties_an_element_without_hx_swap_none(visit, topic, build):
    app, rt = extended_app(build)
    route_of(topic, app)
    @rt('/')
    def get(): return Div('old', id='source', **(for_4 if is_4(build) else for_2)('/events')), Ul(id='list')
    with visit(app, build) as page:
        until(lambda: topic.live == 1)
        topic.publish(item('one'))
        until_items(page, ['one'])
        assert page.locator('#source').text_content() == ('old' if is_4(build) else '')


def test_a_named_event_is_swapped_by_htmx_2_and_starts_requests_with_both(visit, topic, build):
    app, rt = extended_app(build)
    route_of(topic, app)
    @rt('/answer')
    def answer(): return 'answered'
    @rt('/')
    def home():
        trigger = 'price from:#source' if is_4(build) else 'sse:price'
        kids = P('old', sse_swap='price', id='price'), P(hx_get='/answer', hx_trigger=trigger, hx_swap='innerHTML', id='answer')
        return (listen(build), *kids) if is_4(build) else Div(*kids, hx_ext='sse', sse_connect='/events', id='source')
    with visit(app, build) as page:
        until(lambda: topic.live == 1)
        topic.publish('new', event='price')
        page.wait_for_function('document.getElementById("answer").textContent == "answered"')
        assert page.locator('#price').text_content() == ('old' if is_4(build) else 'new')


# What is lost

theirs = pytest.mark.full  # what these show changes with the versions in tests/package.json alone

def failing_app(build, *statuses, words=(), **attrs):
    "An app whose stream ends after `words`; the requests after the first are answered with `statuses`, in turn, the last for ever."
    app, rt = extended_app(build)
    app.requests, app.times = [], []
    @app.get('/events')
    def events(request):
        app.requests.append(last_event_id(request))
        app.times.append(time.monotonic())
        if len(app.requests) == 1: return SSEResponse([*words])
        return Response(status_code=statuses[min(len(app.requests) - 2, len(statuses) - 1)])
    @rt('/')
    def get(): return listen(build, **{**impatient(build), **attrs})
    return app

SEEN = ServerSentEvent('x', id='8', retry=50)


@theirs
def test_htmx_2_forgets_the_id_after_an_http_error(visit, build):
    app = failing_app(build, 500, words=[SEEN])
    with visit(app, build, clock=True) as page: until_later(page, lambda: len(app.requests) >= 3)
    assert app.requests[:3] == [None, '8', '8' if is_4(build) else None]


@theirs
def test_an_id_in_the_address_is_where_htmx_2_starts_anew(browse, build):
    app = failing_app(build, 500, words=[SEEN])
    @app.get('/from')
    def start(): return listen(build, '/events?last_event_id=7', **impatient(build))
    with browse(app, build, clock=True) as context:
        page = context.new_page()
        page.goto(f'{context.site.url}/from')
        until_later(page, lambda: len(app.requests) >= 3)
    assert app.requests[:3] == ['7', '8', '8' if is_4(build) else '7']


@theirs
def test_htmx_4_tries_a_failed_first_connection_once(visit, topic, build):
    topic.answers = [500]
    with visit(stock_app(topic, build), build, clock=True) as page:
        until(lambda: topic.requests)
        assert asked_within(page, 60_000, steps=20) == ([] if is_4(build) else ['/events'])
        assert len(topic.requests) == (1 if is_4(build) else 2)


@theirs
def test_a_trigger_makes_htmx_4_try_again_and_also_reopen_what_was_closed(visit, build):
    requests, again = [], dict(hx_trigger='load, every 100ms')
    app, rt = extended_app(build)
    @app.get('/events')
    def events(request):
        requests.append(1)
        return SSEResponse([ServerSentEvent('', event='close')]) if len(requests) > 1 else Response(status_code=500)
    @rt('/')
    def get(): return listen(build, **again)
    with visit(app, build, script=KEEP, clock=True) as page:
        until_later(page, lambda: len(requests) >= 2)
        if is_4(build): until_later(page, lambda: len(requests) >= 3)
        else:
            until(lambda: page.evaluate('sources.map(source => source.readyState)') == [2, 2])  # closed
            assert asked_within(page, 60_000) == [] and len(requests) == 2


@pytest.mark.parametrize('status', [204, 401])
@theirs
def test_no_status_stops_it(visit, build, status):
    app = failing_app(build, status, words=[SEEN])
    with visit(app, build, clock=True) as page: until_later(page, lambda: len(app.requests) >= 4)


@theirs
def test_htmx_4_ignores_a_lone_retry(visit, build):
    retry = 60_000 if is_4(build) else 800
    app = failing_app(build, 500, words=[ServerSentEvent(retry=retry)], hx_config=None)
    with visit(app, build): until(lambda: len(app.requests) >= 2)
    pause = app.times[1] - app.times[0]
    assert pause < 10 if is_4(build) else 0.8 <= pause < 3  # what Chromium has by itself


@theirs
def test_a_message_that_cannot_be_swapped_costs_htmx_4_the_connection(visit, topic, build):
    with visit(stock_app(topic, build, **impatient(build)), build) as page:
        until(lambda: topic.live == 1)
        topic.publish(NotStr('<p hx-swap-oob="sideways:#list">x</p>'))
        if is_4(build): until(lambda: len(topic.requests) == 2)
        topic.publish(item('after'))
        page.wait_for_function('document.getElementById("list").lastElementChild?.textContent == "after"')
        assert len(topic.requests) == (2 if is_4(build) else 1)


@theirs
def test_a_hidden_tab_costs_htmx_4_the_connection(browse, topic, build):
    ours = Topic()
    app = stock_app(topic, build)
    route_of(ours, app, '/ours')
    @app.get('/both')
    def both(): return *sse_headers(), listen(build), SSESource('/ours'), Ul(id='list')
    with browse(app, build, clock=True) as context:
        page = context.new_page()
        page.goto(f'{context.site.url}/both')
        until_read(page, topic, ours)
        page.evaluate(HIDE, True)
        if is_4(build): until(lambda: topic.live == 0)
        assert asked_within(page, 10_000) == []
        assert (topic.live, ours.live) == (0 if is_4(build) else 1, 1)
        page.evaluate(HIDE, False)
        until(lambda: topic.live == ours.live == 1)
        assert len(ours.requests) == 1


def hangs(topic): return topic.live >= 5

def go_through_twelve(context, topic):
    "Each page is left when its stream is asked for. Raises where the page waits for a connection, or its stream does."
    topic.requests.clear()
    page = context.new_page()
    page.goto(context.site.url)
    for n in range(1, 12):
        page.wait_for_load_state()  # a page that is left before is not kept, and its htmx comes only while Playwright is waited for
        until(lambda n=n: len(topic.requests) == n)
        page.evaluate('n => { setTimeout(() => location.href = `/?${n}`) }', n)
        page.wait_for_function('n => location.search == `?${n}`', arg=n, timeout=1500 if hangs(topic) else 10_000)

@theirs
def test_twelve_pages_hang_with_htmx_2(keeping, topic, build):
    if is_4(build):
        with browsing(keeping, stock_app(topic, build), build) as context:
            go_through_twelve(context, topic)
            until(lambda: topic.live == 1)
        return
    for _ in range(3):  # a busy Chromium may drop pages that it keeps, and with them their connections
        with browsing(keeping, stock_app(topic, build), build) as context:
            with pytest.raises((TimedOut, AssertionError)): go_through_twelve(context, topic)
            assert len(topic.requests) < 12
            if hangs(topic): return
        until(lambda: topic.live == 0)
    raise AssertionError('no page hung')


@theirs
def test_an_element_that_a_script_removes_listens_until_the_next_message(visit, topic, build):
    with visit(stock_app(topic, build), build, clock=True) as page:
        until_read(page, topic)
        page.evaluate('document.getElementById("source").remove()')
        assert asked_within(page, 60_000) == []
        if not is_4(build): assert topic.live == 1
        topic.publish('x')
        until(lambda: topic.live == 0)


@theirs
def test_a_silent_connection_is_not_taken_for_dead(visit, build):
    requests = []
    app, rt = extended_app(build)
    @app.get('/events')
    def events(request):
        requests.append(1)
        return SSEResponse(silent, heartbeat_interval=None, headers={'heartbeat-interval': '0.1'})
    @rt('/')
    def get(): return listen(build)
    with visit(app, build, clock=True) as page:
        until(lambda: requests)
        assert asked_within(page, 60_000) == []
    assert requests == [1]

async def silent():
    yield ServerSentEvent(id='0')
    await asyncio.Event().wait()


@theirs
def test_each_tab_has_its_own_connection(browse, topic, build):
    with browse(stock_app(topic, build), build) as context:
        for _ in range(3): context.new_page().goto(context.site.url)
        until(lambda: topic.live == 3)


@theirs
def test_a_gap_changes_nothing(visit, topic, build):
    app, rt = extended_app(build)
    shown = []
    route_of(topic, app)
    @rt('/')
    def get():
        shown.append(1)
        return listen(build), Ul(id='list')
    with visit(app, build) as page:
        until(lambda: topic.live == 1)
        topic.publish('{"after": "0"}', event='gap')
        topic.publish(item('later'))
        until_items(page, ['later'])
        assert shown == [1] and len(topic.requests) == 1


# Moving to ours

def test_a_named_event_starts_a_request_with_ours(visit, topic, build):
    app, rt = page_app(build)
    route_of(topic, app)
    @rt('/answer')
    def answer(): return 'answered'
    @rt('/')
    def home(): return SSESource('/events'), P(hx_get='/answer', hx_trigger='sse:foo from:body', id='answer')
    with visit(app, build) as page:
        until(lambda: topic.live == 1)
        topic.publish('x', event='foo')
        page.wait_for_function('document.getElementById("answer").textContent == "answered"')
