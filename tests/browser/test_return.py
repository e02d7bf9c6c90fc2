"A source comes back: more and more slowly if it does not get on, at once if somebody looks, from another origin, and with the seventh tab."
import asyncio
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from threading import Event

import pytest
from fasthtml.common import *
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from fasthtml_sse import Channel, ConnectionStatus, ServerSentEvent, SSEResponse, SSESource, last_event_id, sse

from .live import serve
from .pages import HURRY, RECORD, item, items, page_app, route_of, until, until_items, until_later, until_state

pytestmark = pytest.mark.connections


# Sources that do not get on

async def raises_at_once():
    raise RuntimeError('down')
    yield

async def raises_after_eight():
    for n in range(8): yield item(n)
    raise RuntimeError('down')

async def ends(): yield item('one')

def snapshot_fails(): raise RuntimeError('down')

CHAT = Channel()
FAILING = dict(
    raises_at_once=sse(raises_at_once),
    raises_bare=lambda: SSEResponse(raises_at_once),
    raises_after_eight=sse(raises_after_eight),
    ends_without_close=lambda: SSEResponse(ends),
    status_500=lambda: Response(status_code=500),
    status_404=lambda: Response(status_code=404),
    no_stream=lambda: P('of no use'),
    snapshot_fails=lambda: CHAT.response(snapshot=snapshot_fails))
OFTEN = ['raises_at_once']  # the others are for `make test-all`


def requests_within(page, seconds: int) -> int:
    "How many streams this page asks for in so many seconds, at once."
    asked = []
    page.on('request', lambda request: asked.append(request.url) if request.url.endswith('/events') else None)
    for _ in range(seconds * 2):
        page.wait_for_function('source.state != "live"')  # one that stays so for long is a success
        page.clock.fast_forward(500)
        page.evaluate('fetch("/nothing").then(answer => answer.text())')
    return len(asked)


@pytest.mark.parametrize('source', [name if name in OFTEN else pytest.param(name, marks=pytest.mark.full) for name in FAILING])
def test_what_does_not_get_on_is_asked_for_more_and_more_slowly(browse, build, source):
    app, rt = page_app(build)
    app.get('/events')(FAILING[source])
    @rt('/')
    def home(): return SSESource('/events', id='source'), Ul(id='list')
    with browse(app, build, clock=True) as context:
        page = context.new_page()
        page.goto(context.site.url)
        assert 3 <= requests_within(page, 20) <= 5
        assert requests_within(page, 60) <= 3


def test_a_stream_with_ids_that_gets_on_is_back_soon_each_time(visit, topic, build):
    app, rt = page_app(build)
    @app.get('/events')
    def events(request):
        at = int(last_event_id(request) or 0)
        topic.requests.append(at)
        async def few():
            yield ServerSentEvent(str(at + 1), event='foo', id=str(at + 1))
        return SSEResponse(few)
    @rt('/')
    def home(): return SSESource('/events', id='source')
    with visit(app, build, script=HURRY) as page:
        page.wait_for_function('pauses.length >= 6')
        assert all(1000 <= pause < 1500 for pause in page.evaluate('pauses'))
        assert topic.requests[:6] == list(range(6))


def test_to_learn_where_it_stands_is_not_to_get_on(visit, build):
    "As from a channel whose snapshot fails, while others publish: each answer has a new id, and no event."
    app, rt = page_app(build)
    asked = []
    @app.get('/events')
    def events(request):
        asked.append(last_event_id(request))
        return SSEResponse([ServerSentEvent(id=str(len(asked)))])
    @rt('/')
    def home(): return SSESource('/events', id='source')
    with visit(app, build, script=HURRY) as page:
        page.wait_for_function('pauses.length >= 5')
        for n, pause in enumerate(page.evaluate('pauses')[:5]): assert 1000 * 2 ** n <= pause < 1500 * 2 ** n
        assert asked[:5] == [None, '1', '2', '3', '4']


def test_a_stream_that_lived_for_ten_seconds_was_no_failure(visit, build):
    "Though it has no ids."
    app, rt = page_app(build)
    answers, lives, cut = [500] * 3, [], Event()
    async def idless():
        lives.append(1)
        cut.clear()
        yield ServerSentEvent('x', event='foo')
        while not cut.is_set(): await asyncio.sleep(0.01)
    @app.get('/events')
    def events(): return Response(status_code=answers.pop()) if answers else SSEResponse(idless)
    @rt('/')
    def home(): return SSESource('/events', id='source')
    with visit(app, build, script=HURRY, clock=True) as page:
        def cut_after(ms):
            "The pause that follows when the stream is cut so long after it began."
            before = len(lives)
            until_state(page, 'live')
            page.clock.fast_forward(ms)
            page.evaluate('pauses.length = 0')
            cut.set()
            page.wait_for_function('pauses.length')
            until_later(page, lambda: len(lives) > before)
            return page.evaluate('pauses[0]')
        until_later(page, lambda: lives)
        assert cut_after(8000) >= 8000 and cut_after(11_000) < 1500 and 2000 <= cut_after(1) < 3000


@pytest.mark.parametrize('status, form', [
    (429, 'seconds'), (503, 'date'), *(pytest.param(*pair, marks=pytest.mark.full) for pair in ((429, 'date'), (503, 'seconds')))])
def test_the_server_says_when_to_come_back(visit, topic, build, status, form):
    app, rt = page_app(build)
    asked = []
    @app.get('/events')
    def events(request):
        asked.append(1)
        if len(asked) > 1: return topic.response('0')
        later = '20' if form == 'seconds' else format_datetime(datetime.now(timezone.utc) + timedelta(seconds=20), usegmt=True)
        return Response(status_code=status, headers={'retry-after': later})
    @rt('/')
    def home(): return RECORD, SSESource('/events', id='source')
    with visit(app, build, clock=True) as page:
        page.wait_for_selector('[reason=too-many]', state='attached')
        assert requests_within(page, 15) == 0 and len(asked) == 1
        until_later(page, lambda: len(asked) == 2)


# Somebody looks at it again

async def falls_silent():
    yield ServerSentEvent(id='0')
    await asyncio.sleep(3600)

def show(page) -> None: page.evaluate('dispatchEvent(new Event("visibilitychange"))')


@pytest.mark.parametrize('shared', [False, True])
@pytest.mark.parametrize('occasion', ['online', 'visibilitychange', 'focus'])
def test_a_dead_line_is_noticed_when_somebody_looks(visit, topic, build, occasion, shared):
    app, rt = page_app(build)
    @app.get('/events')
    def events(request):
        topic.requests.append(last_event_id(request))
        if len(topic.requests) > 1: return topic.response('0', heartbeat_interval=10)
        return SSEResponse(falls_silent, heartbeat_interval=None, headers={'heartbeat-interval': '10'})
    @rt('/')
    def home(): return RECORD, SSESource('/events', id='source', shared=shared), Ul(id='list')
    topic.publish(item('missed'))
    with visit(app, build, clock=True) as page:
        page.wait_for_selector('[after="0"]', state='attached')
        page.clock.fast_forward(9000)
        page.evaluate('name => dispatchEvent(new Event(name))', occasion)
        page.clock.fast_forward(900)
        page.clock.fast_forward(200)
        assert topic.requests == [None] and items(page) == []  # silent for less than a heartbeat at that time
        page.evaluate('name => dispatchEvent(new Event(name))', occasion)
        page.clock.fast_forward(310)
        page.clock.fast_forward(10)
        until_items(page, ['missed'])


# Another origin

@contextmanager
def two_origins(browser, topic, build, credentials=False, after=None, dead=False):
    "A page, and a stream of another origin, whose first line may die."
    app, rt = page_app(build)
    allow = dict(allow_origin_regex='http://127.*', allow_credentials=True) if credentials else dict(allow_origins=['*'])
    other, _ = page_app(build, middleware=[Middleware(CORSMiddleware, **allow)])
    topic.cookies = []
    @other.get('/events')
    def events(request):
        topic.cookies.append(request.cookies.get('who'))
        assert 'last-event-id' not in request.headers  # it would need a preflight, which Playwright answers here
        if dead and len(topic.cookies) == 1:
            return SSEResponse(falls_silent, heartbeat_interval=None, headers={'heartbeat-interval': '0.2'})
        return topic.response(last_event_id(request))
    @other.get('/login')
    def login(): return Response(headers={'set-cookie': 'who=ada; SameSite=Lax'})
    with serve(other) as site:
        @rt('/')
        def home():
            return RECORD, SSESource(f'{site.url}/events?room=1', after=after, credentials=credentials, id='source'), Ul(id='list')
        with browser(app, build, script=HURRY) as context:
            context.request.get(f'{site.url}/login')
            page = context.new_page()
            page.goto(context.site.url)
            page.other = site
            yield page


@pytest.mark.parametrize('credentials', [False, True])
def test_another_origin_is_as_good(browse, topic, build, credentials):
    topic.publish(item('before'))
    with two_origins(browse, topic, build, credentials) as page:
        until_state(page, 'live')
        topic.publish(item('one'))
        until_items(page, ['one'])
        topic.cut()
        until(lambda: len(topic.requests) == 2)
        topic.publish(item('two'))
        until_items(page, ['one', 'two'])
        assert topic.requests == [None, '2'] and topic.cookies == ['ada' if credentials else None] * 2


def test_another_origin_is_asked_after_an_id(browse, topic, build):
    topic.publish(item('one'))
    with two_origins(browse, topic, build, after='0') as page:
        until_items(page, ['one'])
        assert topic.requests == ['0']


def test_a_dead_line_to_another_origin_is_noticed(browse, topic, build):
    with two_origins(browse, topic, build, dead=True) as page:
        topic.publish(item('missed'))
        until_items(page, ['missed'])
        assert topic.requests == ['0']


def test_a_page_with_a_password_in_its_address(browse, topic, build):
    app, rt = page_app(build)
    route_of(topic, app)
    @rt('/')
    def home(): return RECORD, SSESource('/events', id='source'), Ul(id='list')
    htmx_fails = 'SecurityError' if build == '4.0.0' else None  # where it starts, whoever else is on the page
    with browse(app, build, forgiven=htmx_fails) as context:
        page = context.new_page()
        page.goto(context.site.url.replace('//', '//user:pass@'))
        until_state(page, 'live')
        topic.publish(item('there'))
        until_items(page, ['there'])


def test_an_address_is_that_of_the_page_which_named_it(browse, topic, build):
    app, rt = page_app(build)
    route_of(topic, app, '/room/events')
    @rt('/room/')
    def home(): return RECORD, SSESource('events', id='source'), Ul(id='list')
    with browse(app, build, script=HURRY) as context:
        page = context.new_page()
        page.goto(f'{context.site.url}/room/')
        until_state(page, 'live')
        page.evaluate('history.pushState({}, "", "/elsewhere/for/long")')
        context.site.stop()
        until_state(page, 'reconnecting')
        context.site.start()
        until_state(page, 'live')
        topic.publish(item('there'))
        until_items(page, ['there'])
        page.evaluate('source.setAttribute("after", "0")')  # which opens another stream
        until_items(page, ['there', 'there'])


# Many tabs

def test_every_tab_can_load_and_send(browse, topic, build):
    sent = []
    app, rt = page_app(build)
    route_of(topic, app)
    @rt('/')
    def home():
        send = Button('Send', hx_post='/send', hx_swap='none')
        return RECORD, SSESource('/events', id='source', after='0'), ConnectionStatus(), Ul(id='list'), send
    @rt('/send')
    def post():
        sent.append(1)
        topic.publish(item(len(sent)))
    with browse(app, build) as context:
        tabs = []
        for n in range(8):
            page = context.new_page()
            page.goto(context.site.url)
            until_state(page, 'live')
            tabs.append(page)
            page.click('text=Send')
            until_items(page, list(map(str, range(1, n + 2))))
        until(lambda: topic.live == 5)
        waits = [page for page in tabs if page.evaluate('source.state') != 'live']
        assert len(waits) == 3
        for page in waits:
            page.wait_for_selector('[reason=no-connection]', state='attached')
            assert page.inner_text('sse-status') == 'Too many tabs'
            page.click('text=Send')
        until(lambda: len(sent) == 11)
        waits[0].evaluate('dispatchEvent(new Event("focus"))')
        until_items(waits[0], list(map(str, range(1, 12))))
        assert topic.live == 5


@pytest.mark.full
def test_every_tab_can_send_though_no_stream_has_ids(browse, build):
    sent = []
    app, rt = page_app(build)
    @rt('/events')
    @sse
    async def clock():
        while True:
            yield item('x')
            await asyncio.sleep(0.5)
    @rt('/')
    def home(): return SSESource('/events', id='source'), Ul(id='list'), Button('Send', hx_post='/send', hx_swap='none')
    @rt('/send')
    def post(): sent.append(1)
    with browse(app, build) as context:
        for n in range(7):
            page = context.new_page()
            page.goto(context.site.url)
            until_state(page, 'live')
            page.click('text=Send')
            until(lambda: len(sent) == n + 1)


# Gaps in a row

def test_a_page_that_is_told_of_gap_after_gap_fetches_itself_ever_more_slowly(visit, build):
    app, rt = page_app(build)
    pages, told = [], []
    @app.get('/events')
    def events():
        told.append(1)
        return SSEResponse([ServerSentEvent(retry=20), ServerSentEvent('{}', event='gap', id=f'x-{len(told)}')])
    @rt('/')
    def home():
        pages.append(1)
        return Title(len(pages)), SSESource('/events', after='old', id='source')
    with visit(app, build, clock=True) as page:
        for _ in range(40):
            page.clock.fast_forward(250)
            page.evaluate('fetch("/nothing").then(answer => answer.text())')
        assert 3 <= len(pages) <= 6
