"Many pages and many tabs: no connection is left behind, and a shared one outlives every tab."
import asyncio

import pytest
from fasthtml.common import *
from playwright.sync_api import TimeoutError as TimedOut

from fasthtml_sse import ConnectionStatus, SSESource

from .pages import HURRY, RECORD, asked_within, browsing, item, items, page_app, route_of, until, until_items, until_state

pytestmark = pytest.mark.connections

TABS = 10


# Navigation

def numbered_app(topic, build, source):
    app, rt = page_app(build)
    route_of(topic, app)
    restored = Script('addEventListener("pageshow", e => window.restored = e.persisted)')
    @rt('/page/{n}')
    def get(n: int): return Title(n), RECORD, source, Ul(id='list'), restored
    return app

def visit_pages(context, count, patience=lambda: 10_000):
    "Go from page to page, each of which has `patience()` ms to appear."
    page = context.new_page()
    page.goto(f'{context.site.url}/page/0')
    for n in range(1, count):
        page.wait_for_function('document.querySelector("[state=live]") || window.plain?.readyState == 1', timeout=patience())
        page.evaluate('n => { setTimeout(() => location.href = `/page/${n}`) }', n)
        page.wait_for_function('n => document.title == n', arg=str(n), timeout=patience())
    return page

def test_twelve_pages_leave_one_stream_and_back_restores_a_live_one(keeping, topic, build):
    with browsing(keeping, numbered_app(topic, build, SSESource('/events', id='source')), build) as context:
        page = visit_pages(context, 12)
        until_state(page, 'live')
        until(lambda: topic.live == 1)
        assert topic.most <= 2 and len(topic.requests) == 12
        page.evaluate('history.back()')
        page.wait_for_function('document.title == "10" && window.restored')
        until_state(page, 'live')
        until(lambda: topic.live == 1)
        topic.publish(item('news'))
        until_items(page, ['news'])
        assert topic.most <= 2

def test_pages_that_are_left_before_they_are_live_keep_no_request(keeping, build):
    app, rt = page_app(build)
    asked, waiting = [], set()
    @app.get('/slow')
    async def slow(request):
        asked.append(request.query_params['page'])
        waiting.add(key := object())
        try:
            while not await request.is_disconnected(): await asyncio.sleep(0.02)
        finally: waiting.discard(key)
    @rt('/page/{n}')
    def get(n: int): return Title(n), SSESource(f'/slow?page={n}')
    with browsing(keeping, app, build) as context:
        page = context.new_page()
        page.goto(f'{context.site.url}/page/0')
        for n in range(1, 9):
            until(lambda: str(n - 1) in asked)
            page.evaluate('n => { setTimeout(() => location.href = `/page/${n}`) }', n)
            page.wait_for_function('n => document.title == n', arg=str(n))
        until(lambda: '8' in asked and len(waiting) == 1)
        assert asked == [str(n) for n in range(9)]
        page.close()

@pytest.mark.full  # what it shows is the browser's doing
def test_plain_event_sources_hang_there(keeping, topic):
    "What the test above would not notice if the browser kept no pages."
    plain = Script('window.plain = new EventSource("/events")')
    with browsing(keeping, numbered_app(topic, '2.0.7', plain), '2.0.7') as context:
        hang = lambda: topic.live >= 5  # of the six connections that Chromium has, one may wait for the page
        with pytest.raises(TimedOut): visit_pages(context, 12, lambda: 1500 if hang() else 10_000)
        assert hang()


# Tabs

class Tabs:
    "Pages that share a connection, each with a list."
    def __init__(self, context, topic): self.context, self.topic, self.pages = context, topic, []

    def open(self, count=1):
        for _ in range(count):
            page = self.context.new_page()
            page.goto(self.context.site.url)
            until_state(page, 'live')
            self.pages.append(page)
        self.settle()

    def settle(self): until(lambda: self.topic.live == 1)

    def expect(self, *texts):
        "All have gained these items, once, in order."
        for page in self.pages:
            page.wait_for_function('text => document.getElementById("list").lastElementChild?.textContent == text', arg=texts[-1])
            assert items(page)[-len(texts):] == [*texts] and len(set(items(page))) == len(items(page))

    def take_leader(self):
        "Count the tab that holds the connection among these no longer."
        holds = """() => navigator.locks.request("mine", {ifAvailable: true}, async () => {
            const {held} = await navigator.locks.query(), id = name => held.find(lock => lock.name.startsWith(name)).clientId
            return id("mine") == id("sse-source")
        })"""
        leader, = (page for page in self.pages if page.evaluate(holds))
        self.pages.remove(leader)
        return leader

def shared_app(topic, build, **settings):
    app, rt = page_app(build)
    route_of(topic, app, **settings)
    @rt('/')
    def get(after: str = ''):
        source = SSESource('/events', after=after or topic.last_id, shared=True, id='source')
        return Title('Shared'), RECORD, source, ConnectionStatus(), Ul(id='list')
    return app

@pytest.fixture
def tabs(browse, topic, build):
    with browse(shared_app(topic, build, heartbeat_interval=0.4), build, script=HURRY, clock=True) as context: yield Tabs(context, topic)

def test_ten_tabs_share_a_stream_that_outlives_the_leader_the_server_and_an_error(tabs, topic):
    tabs.open(TABS)
    for n in range(3): topic.publish(item(f'a{n}'))
    tabs.expect('a0', 'a1', 'a2')
    assert topic.live == 1

    tabs.take_leader().close()
    topic.publish(item('b0'))  # nobody may be connected now
    topic.publish(item('b1'))
    tabs.expect('b0', 'b1')
    tabs.settle()

    tabs.context.site.stop()
    topic.publish(item('c0'))
    for page in tabs.pages: until_state(page, 'reconnecting')
    topic.answers = [500]
    tabs.context.site.start()
    topic.publish(item('c1'))
    tabs.expect('c0', 'c1')
    tabs.settle()
    assert not topic.answers

    topic.publish(item('d0'))
    tabs.expect('d0')
    tabs.settle()
    for page in tabs.pages:
        assert items(page) == ['a0', 'a1', 'a2', 'b0', 'b1', 'c0', 'c1', 'd0']
        assert page.evaluate('states') == ['connecting', 'live', 'reconnecting', 'live']
        assert page.locator('sse-status').inner_text() == 'Live'

def test_a_tab_that_stands_elsewhere_catches_up_by_itself_and_joins(tabs, topic):
    topic.publish(item('long ago'))
    tabs.open(2)
    topic.publish(item('seen'))
    tabs.expect('seen')
    late = tabs.context.new_page()
    late.goto(f'{tabs.context.site.url}/?after=0')
    until_items(late, ['long ago', 'seen'])
    topic.publish(item('by all'))
    until_items(late, ['long ago', 'seen', 'by all'])
    tabs.expect('by all')
    tabs.settle()
    assert topic.requests == ['1', '0']

@pytest.mark.full
def test_tabs_that_do_not_say_where_they_stand_share_too(browse, topic, build):
    app, rt = page_app(build)
    route_of(topic, app)
    @rt('/')
    def get(): return RECORD, SSESource('/events', shared=True, id='source'), Ul(id='list')
    with browse(app, build) as context:
        tabs = Tabs(context, topic)
        tabs.pages = [context.new_page() for _ in range(TABS)]
        for page in tabs.pages: page.evaluate('url => { setTimeout(() => location.href = url) }', context.site.url)
        for page in tabs.pages: until_state(page, 'live')  # the seventh could not even load if the others kept their connections
        tabs.settle()
        topic.publish(item('one'))
        tabs.expect('one')
        assert topic.live == 1

@pytest.mark.parametrize('end', ['close', 401])
def test_what_ends_one_ends_all(tabs, topic, end):
    topic.retry = 50
    tabs.open(3)
    if end == 'close': topic.publish('over', event='close')
    else:
        topic.answers = [401] * 20  # also for a tab that a busy machine made impatient
        topic.cut()
    over = 'ended' if end == 'close' else 'stopped'
    for page in tabs.pages: until_state(page, over)
    asked = len(topic.requests)
    assert asked_within(tabs.pages[0], 60_000) == []
    assert topic.live == 0 and len(topic.requests) == asked
    for page in tabs.pages: assert page.locator('#source').get_attribute('state') == over

def test_a_leader_that_falls_silent_holds_up_nobody(tabs, topic):
    tabs.open(3)
    tabs.take_leader().evaluate('BroadcastChannel.prototype.postMessage = () => {}')
    topic.publish(item('unheard'))
    tabs.expect('unheard')
    until(lambda: topic.live == 3)

def test_a_tab_that_meets_the_others_before_it_was_live_becomes_live(browse, topic, build):
    leader = """url => navigator.locks.request(`sse-source  ${url}`, () => new Promise(() => {
        const channel = new BroadcastChannel(`sse-source  ${url}`), say = message => channel.postMessage(message)
        window.asked = 0
        channel.onmessage = ({data}) => {
            if (!data.asks) return
            if (asked++) return say({at: '2', id: '2', state: 'live', patience: 0})
            say({at: '1', id: '1', state: 'live', patience: 0})
            say({at: '1', id: '2', event: 'message', data: 'seen already'})
        }
        window.leads = true
    })) && 0"""
    app = shared_app(topic, build)
    @app.get('/empty')
    def empty(): return P('empty')
    with browse(app, build) as context:
        first, page = context.new_page(), context.new_page()
        first.goto(f'{context.site.url}/empty')
        first.evaluate(leader, f'{context.site.url}/events')
        first.wait_for_function('window.leads')
        page.goto(f'{context.site.url}/?after=2')
        until_state(page, 'live')
        assert first.evaluate('asked') == 2 and topic.requests == [] and page.inner_text('#source') == ''

def test_keys_keep_users_apart(browse, topic, build):
    app, rt = page_app(build)
    route_of(topic, app)
    @rt('/{user}')
    def get(user: str): return SSESource('/events', shared=user, id='source')
    with browse(app, build) as context:
        for user in ('ann', 'ann', 'bob'):
            page = context.new_page()
            page.goto(f'{context.site.url}/{user}')
            until_state(page, 'live')
        topic.publish('x')
        until(lambda: topic.live == 2)
        names = page.evaluate('navigator.locks.query().then(({held}) => held.map(lock => lock.name))')
        expected = [f'sse-source {user} {context.site.url}/events' for user in ('ann', 'bob')]
        assert sorted(name for name in names if '/' in name) == expected

def test_without_the_means_each_tab_connects_by_itself(browse, topic, build):
    with browse(shared_app(topic, build), build) as context:
        context.add_init_script('Object.defineProperty(Navigator.prototype, "locks", {value: undefined})')
        for _ in range(2):
            page = context.new_page()
            page.goto(context.site.url)
            until_state(page, 'live')
        until(lambda: topic.live == 2)
