"`<sse-source>` keeps a page live, whatever befalls the connection, on each htmx."
import asyncio, gzip, re, time
from pathlib import Path
from threading import Event

import pytest
from fasthtml.common import *
from starlette.responses import RedirectResponse, Response

import fasthtml_sse
from fasthtml_sse import ConnectionStatus, ServerSentEvent, SSEResponse, SSESource, sse, sse_headers, sse_script, swap

from .live import NPM
from .pages import HURRY, RECORD, Topic, asked_within, item, items, page_app, route_of, until, until_items, until_state

FILES = Path(fasthtml_sse.__file__).parent

def live_app(topic, build, *content, headers=None, **source):
    "An app whose page lists what `topic` appends."
    app, rt = page_app(build, headers)
    route_of(topic, app)
    @rt('/')
    def get(): return Title('Live'), RECORD, SSESource('/events', id='source', **source), ConnectionStatus(), Ul(id='list'), *content
    return app


def test_the_script_is_small():
    client = Client(app := page_app('4.0.0')[0])
    sse_script(app)
    script, idiomorph = client.get('/sse_source.js').text, (FILES/'idiomorph.min.js').read_text()
    assert idiomorph in script and idiomorph == (NPM/'idiomorph/dist/idiomorph.min.js').read_text()
    ours, theirs = (len(gzip.compress(text.encode(), 9)) for text in (script.replace(idiomorph, ''), idiomorph))
    assert ours <= 6 * 1024 and theirs <= 3.5 * 1024


@pytest.mark.parametrize('name', ['stream', 'share'])
def test_connections_know_nothing_of_htmx(name):
    "What connects never asks for htmx: tests of that are marked `connections`, and have enough in one."
    assert 'htmx' not in re.sub('//.*', '', (FILES/f'sse_{name}.js').read_text())


def test_messages_events_and_states(visit, topic, build):
    with visit(live_app(topic, build), build) as page:
        until_state(page, 'live')
        topic.publish(item('one'))
        topic.publish('the data', event='foo')
        topic.publish(item('two'))
        until_items(page, ['one', 'two'])
        assert page.evaluate('said') == [['foo', 'source', 'the data', '2']]
        assert page.evaluate('states') == ['connecting', 'live']
        assert page.locator('sse-status').inner_text() == 'Live' and page.locator('sse-status.sse-live[role=status]').count() == 1
        assert page.locator('sse-source').get_attribute('after') == '3'
        assert topic.requests == [None]


@pytest.mark.connections
def test_a_page_gets_what_came_between_its_rendering_and_its_connecting(visit, topic, build):
    app, rt = page_app(build)
    route_of(topic, app)
    @rt('/')
    def get():
        after = topic.last_id
        topic.publish(item('in between'))
        return SSESource('/events', after=after), Ul(id='list')
    topic.publish(item('rendered'))
    with visit(app, build) as page:
        until_items(page, ['in between'])
        assert topic.requests == ['1']


def test_content_runs_as_htmx_has_it(visit, topic, build):
    app = live_app(topic, build, Div(id='spot'), Div(id='answer'))
    @app.get('/answer')
    def answer(): return 'answered'
    with visit(app, build) as page:
        until_state(page, 'live')
        topic.publish(swap.update([Button('Ask', hx_get='/answer', hx_target='#answer'), Script('document.title = "ran"')], '#spot'))
        page.wait_for_function('document.title == "ran"')
        page.click('text=Ask')
        page.wait_for_function('document.getElementById("answer").textContent == "answered"')


def test_a_message_that_names_no_place_becomes_the_content(visit, topic, build):
    app, rt = page_app(build)
    route_of(topic, app)
    @rt('/')
    def get(): return SSESource('/events', id='source'), Div(SSESource('/events', id='list', hx_swap='beforeend scroll:bottom'))
    with visit(app, build) as page:
        until(lambda: topic.live == 2)
        topic.publish(Li('one'))
        topic.publish('plain & simple')
        topic.publish(Li('two'))
        until_items(page, ['one', 'two'])
        topic.publish(item('three'))
        until_items(page, ['one', 'two', 'three', 'three'])  # both sources append it
        assert page.locator('#source').inner_html() == '<li>two</li>'


def test_one_broken_message_costs_neither_the_next_nor_the_connection(browse, topic, build):
    with browse(live_app(topic, build), build) as context:
        page, errors = context.new_page(), []
        page.on('console', lambda message: message.type == 'error' and errors.append(message.text))
        page.goto(context.site.url)
        until_state(page, 'live')
        topic.publish(NotStr('<p hx-swap-oob="sideways:#list">x</p>'))
        topic.publish(NotStr('<p hx-swap-oob="beforeend:#[">x</p>'))
        topic.publish(NotStr('<p hx-swap-oob="sideways:#list">x</p><p hx-swap-oob="beforeend:#[">x</p>'))
        topic.publish(item('after'))
        page.wait_for_function('document.getElementById("list").lastElementChild?.textContent == "after"')
        assert topic.requests == [None] and page.evaluate('states') == ['connecting', 'live']
        assert any('sse-source' in error for error in errors)


# Connections

@pytest.mark.connections
def test_the_server_goes_and_comes_back(visit, topic, build):
    with visit(live_app(topic, build), build, script=HURRY) as page:
        until_state(page, 'live')
        topic.publish(item('before'))
        until_items(page, ['before'])
        page.context.site.stop()
        until_state(page, 'reconnecting')
        for n in range(20): topic.publish(item(n))
        page.wait_for_function('pauses.length >= 5')  # meanwhile the page tries in vain
        page.context.site.start()
        page.wait_for_function('document.querySelectorAll("#list > li").length == 21')
        topic.publish(item('after'))
        until_items(page, ['before', *map(str, range(20)), 'after'])
        assert page.evaluate('states') == ['connecting', 'live', 'reconnecting', 'live']
        assert topic.requests == [None, '1']


@pytest.mark.connections
def test_a_failed_first_connection_is_tried_again(visit, topic, build):
    topic.answers = [500, 500]
    with visit(live_app(topic, build), build, script=HURRY) as page:
        until_state(page, 'live')
        topic.publish(item('there'))
        until_items(page, ['there'])
        assert len(topic.requests) == 3 and page.evaluate('states') == ['connecting', 'live']
        assert page.evaluate('pauses.length') == 2


@pytest.mark.connections
@pytest.mark.parametrize('status', [204, 401, 403])
def test_some_answers_stop_the_source(visit, topic, build, status):
    topic.answers = [status]
    with visit(live_app(topic, build), build, clock=True) as page:
        until_state(page, 'stopped')
        assert asked_within(page, 60_000) == []
        assert len(topic.requests) == 1 and page.evaluate('states') == ['connecting', 'stopped']
        assert page.evaluate('said') == ([['denied', 'source', None, status]] if status != 204 else [])
        page.evaluate('document.getElementById("source").open()')
        if status == 204: assert len(topic.requests) == 1
        else: until_state(page, 'live')


@pytest.mark.connections
def test_a_source_that_was_denied_may_move_and_try_again(visit, topic, build):
    topic.answers = [401]
    with visit(live_app(topic, build), build) as page:
        until_state(page, 'stopped')
        page.evaluate('document.body.append(source)')
        page.evaluate('source.open()')
        until_state(page, 'live')


@pytest.mark.connections
def test_a_listener_may_close_a_source_before_it_asks(visit, topic, build):
    closing = Script('addEventListener("sse:status", e => e.target.close?.())')
    with visit(live_app(topic, build, closing), build, clock=True) as page:
        until_state(page, 'ended')
        topic.publish(item('nobody listens'))
        assert asked_within(page, 60_000) == []
        until(lambda: topic.live == 0)
        assert items(page) == [] and len(topic.requests) <= 1


@pytest.mark.connections
def test_a_redirect_to_a_login_page_stops_the_source(visit, topic, build):
    app, rt = page_app(build)
    @rt('/login')
    def login(): return 'Who are you?'
    @rt('/events')
    def events():
        topic.requests.append(None)
        return RedirectResponse('/login', status_code=303)
    @rt('/')
    def home(): return RECORD, SSESource('/events', id='source')
    with visit(app, build) as page:
        until_state(page, 'stopped')
        assert page.evaluate('said') == [['denied', 'source', None, 200]] and len(topic.requests) == 1


@pytest.mark.connections
def test_close_ends_it_for_good(visit, build):
    runs = []
    app, rt = page_app(build)
    @rt('/job')
    @sse(retry=50)
    def job():
        runs.append(1)
        for n in range(3): yield item(n)
    @rt('/')
    def get(): return RECORD, SSESource(job, id='source'), ConnectionStatus(), Ul(id='list')
    with visit(app, build, clock=True) as page:
        until_state(page, 'ended')
        until_items(page, ['0', '1', '2'])
        page.evaluate('document.body.append(document.getElementById("source"))')
        assert asked_within(page, 60_000) == []
        assert runs == [1] and page.evaluate('states') == ['connecting', 'live', 'ended']
        assert page.evaluate('said') == [['close', 'source', 'Connection closed', '']]
        assert page.locator('sse-status').inner_text() == 'Ended'


@pytest.mark.connections
def test_a_lone_retry_is_honoured_and_ids_survive_errors(visit, topic, build):
    app, times = page_app(build)[0], []
    first = ServerSentEvent(retry=100), ServerSentEvent('x', event='foo', id='7'), ServerSentEvent(id='8')
    @app.get('/events')
    def events(request):
        times.append(time.monotonic())
        topic.requests.append(request.headers.get('last-event-id'))
        if len(times) in (2, 3): return Response(status_code=500)
        if len(times) == 1: return SSEResponse(first)
        if len(times) == 4: return SSEResponse([ServerSentEvent('y', event='foo', id='9')])
        return topic.response('0')
    @app.get('/')
    def home(): return RECORD, SSESource('/events', id='source'), Ul(id='list')
    topic.publish(item('back'))
    with visit(app, build) as page:
        until_items(page, ['back'])
    assert topic.requests[:5] == [None, *'8889']
    pauses = [later - earlier for earlier, later in zip(times, times[1:])]
    assert all(pause >= asked for pause, asked in zip(pauses, (0.1, 0.2, 0.4, 0.1))) and pauses[3] < 0.8  # it starts anew when it gets on


@pytest.mark.connections
def test_attempts_come_ever_slower_and_each_page_at_its_own_time(visit, topic, build):
    topic.answers = [500] * 9
    with visit(live_app(topic, build), build, script=HURRY) as page:
        until_state(page, 'live')
        pauses, least = page.evaluate('pauses'), [1000, 2000, 4000, 8000, 16_000, *[30_000] * 4]
        assert len(pauses) == 9 and all(1 <= pause / ms < 1.5 for pause, ms in zip(pauses, least))
        assert len({pause / ms for pause, ms in zip(pauses, least)}) == 9


@pytest.mark.connections
def test_ids_of_any_text_come_back(visit, build):
    seen = []
    app, rt = page_app(build)
    @app.get('/events')
    def events(request):
        seen.append(fasthtml_sse.last_event_id(request))
        over = [ServerSentEvent('x', event='close')] if len(seen) > 1 else []
        return SSEResponse([ServerSentEvent(retry=20), ServerSentEvent('x', id='naïve 日本 🎉'), *over])
    @rt('/')
    def get(): return SSESource('/events', id='source')
    with visit(app, build) as page:
        until_state(page, 'ended')
    assert seen == [None, 'naïve 日本 🎉']


@pytest.mark.connections
@pytest.mark.parametrize('occasion', ['online', 'visibilitychange'])
def test_a_browser_that_is_back_does_not_wait(visit, topic, build, occasion):
    topic.retry = 60_000
    with visit(live_app(topic, build), build) as page:
        until_state(page, 'live')
        page.evaluate('name => dispatchEvent(new Event(name))', occasion)
        topic.publish(item('still the same'))
        until_items(page, ['still the same'])
        assert topic.requests == [None]
        topic.cut()
        until_state(page, 'reconnecting')
        hide = 'yes => Object.defineProperty(document, "hidden", {value: yes, configurable: true})'
        page.evaluate(hide, True)
        page.evaluate('name => dispatchEvent(new Event(name))', occasion)
        page.evaluate(hide, False)
        assert page.locator('#source').get_attribute('state') == 'reconnecting'
        page.evaluate('name => dispatchEvent(new Event(name))', occasion)
        until_state(page, 'live')
        assert topic.requests == [None, '1']


@pytest.mark.connections
def test_a_silent_connection_is_taken_for_dead(visit, topic, build):
    app, rt = page_app(build)
    hung = Event()
    @app.get('/events')
    def events(request):
        topic.requests.append(request.headers.get('last-event-id'))
        if len(topic.requests) > 1: return topic.response('0', heartbeat_interval=0.2)
        return SSEResponse(never, heartbeat_interval=None, headers={'heartbeat-interval': '0.2'})
    async def never():
        try:
            yield ServerSentEvent(id='0')
            await asyncio.sleep(3600)
        finally: hung.set()
    @rt('/')
    def get(): return RECORD, SSESource('/events', id='source'), Ul(id='list')
    topic.publish(item('alive'))
    with visit(app, build, script=HURRY) as page:
        until_items(page, ['alive'])
        page.wait_for_timeout(1500)  # heartbeats keep a quiet one alive
        assert topic.requests == [None, '0', '0'] and hung.is_set()  # the third is noted by the topic itself
        assert page.evaluate('states') == ['connecting', 'live', 'reconnecting', 'live']


# Leaving

def check_that_removal_closes(visit, topic, build, remove):
    app = live_app(topic, build, Div(SSESource('/inner', id='inner'), id='parent'), Button('Away', hx_get='/away', hx_target='#parent'))
    inner = Topic()
    route_of(inner, app, '/inner')
    @app.get('/away')
    def away(): return 'gone'
    with visit(app, build) as page:
        until_state(page, 'live', 'inner')
        until_state(page, 'live')
        until(lambda: topic.live == inner.live == 1)
        remove(page)
        page.wait_for_selector('#inner', state='detached')
        until(lambda: inner.live == 0, 0.2)
        assert topic.live == 1 and inner.requests == [None]


@pytest.mark.connections
@pytest.mark.parametrize('how', ['element', 'parent'])
def test_removal_by_a_script_closes_the_connection_at_once(visit, topic, build, how):
    scripts = dict(element='document.getElementById("inner").remove()', parent='document.getElementById("parent").innerHTML = ""')
    check_that_removal_closes(visit, topic, build, lambda page: page.evaluate(scripts[how]))


@pytest.mark.parametrize('how', ['htmx', 'oob'])
def test_removal_by_htmx_closes_the_connection_at_once(visit, topic, build, how):
    ways = dict(htmx=lambda page: page.click('text=Away'), oob=lambda page: topic.publish(swap.remove('#inner')))
    check_that_removal_closes(visit, topic, build, ways[how])


@pytest.mark.parametrize('shared', [False, True])
def test_what_is_removed_leaves_nothing_behind(visit, topic, build, shared):
    with visit(live_app(topic, build, shared=shared), build) as page:
        until_state(page, 'live')
        until(lambda: topic.live == 1)
        page.evaluate('window.gone = new WeakRef(document.getElementById("source")); gone.deref().remove()')
        until(lambda: topic.live == 0, 0.2)
        session = page.context.new_cdp_session(page)
        def collected():
            session.send('HeapProfiler.collectGarbage')
            return page.evaluate('!gone.deref()')
        until(collected)
        assert not page.evaluate('navigator.locks.query().then(({held, pending}) => held.length + pending.length)')


@pytest.mark.connections
def test_moving_keeps_the_connection(visit, topic, build):
    with visit(live_app(topic, build, Div(id='other')), build) as page:
        until_state(page, 'live')
        page.evaluate('document.getElementById("other").append(document.getElementById("source"))')
        topic.publish(item('one'))
        until_items(page, ['one'])
        assert topic.requests == [None]


@pytest.mark.connections
def test_another_address_is_another_stream(visit, topic, build):
    other, app = Topic(), live_app(topic, build)
    route_of(other, app, '/other')
    with visit(app, build) as page:
        until_state(page, 'live')
        topic.publish(item('one'))
        until_items(page, ['one'])
        page.evaluate('document.getElementById("source").setAttribute("src", "/other")')
        until(lambda: other.live == 1 and topic.live == 0)
        other.publish(item('two'))
        until_items(page, ['one', 'two'])
        assert other.requests == [None]


def test_a_morph_may_change_the_address_and_keep_the_id(visit, topic, build):
    other = Topic()
    around = lambda url: Div(SSESource(url, after='1', id='inner'), id='around')
    app = live_app(topic, build, around('/first'), headers=sse_headers(morph=True))
    route_of(Topic(), app, '/first')
    route_of(other, app, '/other')
    with visit(app, build) as page:
        until_state(page, 'live', 'inner')
        until_state(page, 'live')
        topic.publish(swap.morph(around('/other'), '#around'))
        until(lambda: other.live == 1)
        assert other.requests == ['1']


def test_boosted_navigation_and_back(visit, topic, build):
    app, rt = page_app(build, bodykw={'hx_boost_inherited' if build.startswith('4.') else 'hx_boost': 'true'})
    route_of(topic, app)
    def frame(name):
        links = A('forward', href='/two'), A('away', href='/none')
        return Title(name), H1(name), SSESource('/events', after=topic.last_id, id='source'), Ul(id='list'), *links
    @rt('/')
    def one(): return frame('one')
    @rt('/two')
    def two(): return frame('two')
    @rt('/none')
    def none(): return Title('none'), H1('none')
    with visit(app, build) as page:
        until_state(page, 'live')
        page.evaluate('window.same = true')
        page.click('text=forward')
        page.wait_for_function('document.querySelector("h1").textContent == "two"')
        until(lambda: len(topic.requests) == 2 and topic.live == 1)
        topic.publish(item('x'))
        until_items(page, ['x'])
        page.click('text=away')
        page.wait_for_function('document.querySelector("h1").textContent == "none"')
        until(lambda: topic.live == 0, 0.2)
        topic.publish(item('y'))
        page.go_back()
        page.wait_for_function('document.querySelector("h1").textContent == "two"')
        until(lambda: topic.live == 1)
        topic.publish(item('z'))
        page.wait_for_function('document.getElementById("list").lastElementChild?.textContent == "z"')
        # htmx 2 keeps a snapshot, htmx 4 asks for a fresh page
        assert items(page) == (['x', 'y', 'z'] if build.startswith('2.') else ['z'])
        assert page.evaluate('window.same')


@pytest.mark.parametrize('build', ['2.0.7', pytest.param('2.0.11', marks=pytest.mark.full)])
def test_what_has_ended_stays_so_in_a_snapshot(visit, build):
    runs = []
    app, rt = page_app(build, bodykw={'hx_boost': 'true'})
    @rt('/job')
    @sse
    def job():
        runs.append(1)
        yield item('done')
    @rt('/')
    def home(): return Title('job'), SSESource(job, id='source'), Ul(id='list'), A('away', href='/none')
    @rt('/none')
    def none(): return Title('none'), H1('none')
    with visit(app, build, clock=True) as page:
        until_state(page, 'ended')
        page.click('text=away')
        page.wait_for_selector('h1')
        page.go_back()
        until_items(page, ['done'])
        assert asked_within(page, 60_000) == []
        assert runs == [1] and page.locator('#source').get_attribute('state') == 'ended'


# What the page shows

@pytest.mark.parametrize('children', [False, True])
def test_focus_and_typed_text_survive_twenty_morphs(visit, topic, build, children):
    form = lambda n: Div(Label(n, id='label'), Input(id='field', value=n), id='form')
    app = live_app(topic, build, form(0), headers=sse_headers(morph=True))
    with visit(app, build) as page:
        until_state(page, 'live')
        page.focus('#field')
        page.evaluate('field.same = true')
        page.keyboard.type('typed')
        page.keyboard.press('ArrowLeft')
        for n in range(1, 21): topic.publish(swap.morph(form(n).children if children else form(n), '#form', children=children))
        page.wait_for_function('label.textContent == "20"')
        page.keyboard.type('!')
        assert page.evaluate('[field.same, document.activeElement == field, field.value]') == [True, True, 'type!d0']


def test_a_morph_around_a_source_leaves_it_alone(visit, topic, build):
    inner, around = Topic(), lambda text: Div(P(text), SSESource('/inner', id='inner'), id='around')
    app = live_app(topic, build, around('old'), headers=sse_headers(morph=True))
    route_of(inner, app, '/inner')
    with visit(app, build) as page:
        until_state(page, 'live', 'inner')
        until_state(page, 'live')
        inner.publish(item('one'))
        until_items(page, ['one'])
        topic.publish(swap.morph(around('new'), '#around'))
        page.wait_for_function('document.querySelector("#around p").textContent == "new"')
        assert page.locator('#inner').get_attribute('state') == 'live'
        inner.publish(item('two'))
        until_items(page, ['one', 'two'])
        assert inner.requests == [None]


def test_a_strict_content_security_policy(browse, topic, build):
    npm = f'/htmx-{build}/dist/htmx.js', '/idiomorph/dist/idiomorph.js'
    config = Meta(name='htmx-config', content='{"includeIndicatorStyles": false}')
    hdrs = config, Script(src=npm[0]), *sse_headers(src='/own/sse_source.js', morph=npm[1])
    app, rt = fast_app(default_hdrs=False, hdrs=hdrs, static_path=str(NPM), secret_key='of no use')
    sse_script(app, '/own/sse_source.js')
    route_of(topic, app)
    @rt('/')
    def get():
        page = SSESource('/events', id='source'), ConnectionStatus(), Ul(id='list'), Div(P('old'), id='form')
        return *page, HttpHeader('Content-Security-Policy', "script-src 'self'")
    with browse(app, build) as context:
        page, refused = context.new_page(), []
        page.on('console', lambda message: message.type == 'error' and refused.append(message.text))
        page.goto(context.site.url)
        until_state(page, 'live')
        topic.publish(item('there'))
        topic.publish(swap.morph(Div(P('new'), id='form'), '#form'))
        until_items(page, ['there'])
        page.wait_for_function('document.querySelector("#form p").textContent == "new"')
        assert page.locator('sse-status').inner_text() == 'Live' and not refused
        answer = context.request.get(f'{context.site.url}{page.locator("script[src*=sse_source]").get_attribute("src")}')
        assert answer.headers['cache-control'] == 'public, max-age=31536000, immutable'


@pytest.mark.connections
def test_the_status_is_that_of_the_worst_source_or_of_the_one_named(visit, topic, build):
    dead, app = Topic(), page_app(build)[0]
    dead.answers = [500] * 100
    route_of(topic, app)
    route_of(dead, app, '/dead')
    @app.get('/')
    def home():
        return (
            SSESource('/events', id='source'),
            SSESource('/dead', id='dead'),
            ConnectionStatus(id='worst', connecting='Un moment'),
            ConnectionStatus(of='source', id='good'),
            ConnectionStatus(of='#dead', id='bad', cls='mine'),
            ConnectionStatus(of='nobody', id='none'),
        )
    with visit(app, build) as page:
        words = lambda: page.evaluate('[...document.querySelectorAll("sse-status")].map(e => e.textContent)')
        until(lambda: words() == ['Un moment', 'Live', 'Connecting', ''])
        assert page.locator('#bad').get_attribute('class') == 'sse-status mine sse-connecting'
        page.evaluate('document.getElementById("dead").remove()')
        until(lambda: words() == ['Live', 'Live', '', ''])
        page.evaluate('Object.assign(document.getElementById("worst"), {textContent: "morphed", className: "sse-status"})')
        until(lambda: words()[0] == 'Live')
        assert page.locator('#worst').get_attribute('class') == 'sse-status sse-live'


# Gaps

class Gaps:
    "An app whose stream tells a page which asks for what follows `old` that something is missing."
    def __init__(self, build, says_where=True, morph=False):
        self.topic, self.pages, self.failures, self.shown = Topic(), 0, 0, []
        self.app, rt = page_app(build, sse_headers(morph=morph))
        @self.app.get('/events')
        def events(request):
            after = request.headers.get('last-event-id')
            self.topic.requests.append(after)
            return SSEResponse(self.told if after == 'old' else lambda: self.topic._follow(int(after)))
        @rt('/')
        def get():
            self.pages += 1
            if self.pages > 1 and self.failures:
                self.failures -= 1
                return Response('no', status_code=500)
            if self.pages > 1: self.show('while rendering')
            first = self.pages == 1
            after = 'old' if first else self.topic.last_id if says_where else None
            source = SSESource('/events', id='source', after=after)
            shown = Ul(*map(Li, self.shown), id='list')
            return Title(self.pages), RECORD if first else None, source, ConnectionStatus(), Input(id='field'), shown

    def show(self, text):
        self.shown.append(text)
        self.topic.publish(item(text))

    async def told(self):
        yield ServerSentEvent(retry=50)
        yield ServerSentEvent('{"after": "old"}', event='gap', id=self.topic.last_id)
        async for event in self.topic._follow(len(self.topic.events)): yield event


@pytest.mark.parametrize('morph', [False, True])
def test_a_gap_refreshes_the_page_and_nothing_is_lost_or_twice(visit, build, morph):
    gaps = Gaps(build, morph=morph)
    gaps.show('missed')
    with visit(gaps.app, build) as page:
        page.fill('#field', 'typed')
        page.wait_for_function('document.title == "2"')
        until_state(page, 'live')
        gaps.show('after')
        until_items(page, ['missed', 'while rendering', 'after'])
        assert page.evaluate('said') == [['gap', 'source', '{"after": "old"}', '1']]
        assert gaps.pages == 2 and gaps.topic.requests == ['old', '2']
        assert page.locator('sse-status').inner_text() == 'Live'


def test_a_page_that_does_not_say_where_it_stands_goes_on_after_the_gap(visit, build):
    gaps = Gaps(build, says_where=False, morph=True)
    with visit(gaps.app, build) as page:
        page.wait_for_function('document.title == "2"')
        page.wait_for_function('document.querySelectorAll("li").length == 2')
        assert gaps.topic.requests == ['old', '0'] and items(page) == ['while rendering'] * 2  # nothing is lost, but this is twice


def test_a_listener_can_prevent_the_refresh(browse, build):
    gaps = Gaps(build)
    with browse(gaps.app, build) as context:
        page = context.new_page()
        page.add_init_script('addEventListener("sse:gap", e => e.preventDefault())')
        page.goto(context.site.url)
        page.wait_for_function('said.length == 1')
        gaps.show('next')
        until_items(page, ['next'])
        assert gaps.pages == 1 and gaps.topic.requests == ['old']


@pytest.mark.parametrize('there', ['/two', '/login'])
def test_a_refresh_does_not_put_a_page_where_another_is(visit, build, there):
    app, rt = page_app(build, bodykw={'hx_boost_inherited' if build.startswith('4.') else 'hx_boost': 'true'})
    asked, left, told = [], Event(), Event()
    @app.get('/events')
    def events(): return SSEResponse([ServerSentEvent(retry=50), ServerSentEvent('{}', event='gap', id='9')])
    @rt('/')
    def one():
        asked.append(1)
        if len(asked) > 1:
            told.set()
            if there == '/login': return RedirectResponse(there, status_code=303)
            left.wait(5)
        return Title('one'), H1('one'), SSESource('/events', after='1', id='source'), A('two', href='/two')
    @rt('/two')
    def two(): return Title('two'), H1('two')
    @rt('/login')
    def login(): return Title('login'), H1('login')
    with visit(app, build, clock=True) as page:
        assert told.wait(5)
        if there == '/two':
            page.click('text=two')
            page.wait_for_function('document.querySelector("h1").textContent == "two"')
            # The page that came late is not shown, not even for a moment; where the page is now, is asked for instead
            page.evaluate('''window.shown = new Set
                new MutationObserver(() => shown.add(document.querySelector("h1")?.textContent)).observe(document, {
                    subtree: true, childList: true, characterData: true})''')
            with page.expect_event('requestfinished', lambda request: request.url.endswith('/two')): left.set()
        page.wait_for_url(f'**{there}')
        assert asked_within(page, 10_000) == []
        assert page.inner_text('h1') == there[1:]
        assert page.evaluate('[...window.shown ?? []].includes("one")') is False


@pytest.mark.connections
def test_a_refresh_that_fails_is_tried_again(browse, build):
    gaps = Gaps(build)
    gaps.failures = 1
    gaps.show('missed')
    with browse(gaps.app, build, clock=True) as context:
        page, failures = context.new_page(), []
        page.on('console', lambda message: 'Error: 500' in message.text and failures.append(message))
        page.goto(context.site.url)
        until(lambda: page.title() == '1' and failures)
        page.clock.fast_forward(5000)
        page.wait_for_function('document.title == "3"')
        until_state(page, 'live')
        until_items(page, ['missed', 'while rendering'])
        assert gaps.topic.requests == ['old', 'old', '2']
