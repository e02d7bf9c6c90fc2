"What cannot work says so in the console, once, with what to do; and in the element's `reason`."
from __future__ import annotations

import pytest
from fasthtml.common import *
from starlette.responses import Response

from fasthtml_sse import ConnectionStatus, SSESource, swap

from .pages import RECORD, item, page_app, route_of, until_items, until_state


def lines(page) -> list[str]:
    "What the console says of errors, without what the browser and htmx say themselves."
    said = []
    page.on('console', lambda message: said.append(message.text) if message.type == 'error' else None)
    return said


def of_ours(said: list[str]) -> list[str]: return [text for text in said if text.startswith(('/', 'http', '#', '.'))]


def forgets_sse():
    async def clock():
        while True: yield 'x'
    return P('of no use')

def needs_a_room(room: int): return 'never'

MISTAKES = dict(
    forgets_sse=('/events', '/events answered 200 text/html, which is no event stream: is the handler decorated with @sse?', 'no-stream'),
    prefix=('/evens', '/evens answered 404: is there a route, with its prefix?', 'not-found'),
    method=('/post', '/post answered 405 text/plain: it needs GET', 'method'),
    parameter=('/room', '/room answered 400 text/plain: no parameter, or no login?', 'refused'),
    forbidden=('/forbidden', '/forbidden answered 403: no parameter, or no login?', 'refused'))


@pytest.mark.connections
@pytest.mark.parametrize('mistake', MISTAKES)
def test_a_mistake_has_one_line_and_a_reason(browse, build, mistake):
    address, line, reason = MISTAKES[mistake]
    app, rt = page_app(build)
    app.get('/events')(forgets_sse)
    app.post('/post')(lambda: 'posted')
    app.get('/room')(needs_a_room)
    app.get('/forbidden')(lambda: Response(status_code=403))
    tell = Script('window.reasons = []; addEventListener("sse:status", e => e.detail.reason && reasons.push(e.detail.reason))')
    @rt('/')
    def home(): return tell, SSESource(address, id='source'), ConnectionStatus()
    with browse(app, build, clock=True) as context:
        page = context.new_page()
        said = lines(page)
        page.goto(context.site.url)
        page.wait_for_selector(f'#source[reason={reason}]', state='attached')
        for _ in range(20):
            page.clock.fast_forward(2000)
            page.evaluate('fetch("/").then(answer => answer.text())')
        assert of_ours(said) == [line]
        assert page.evaluate('reasons') == [reason] and page.locator(f'sse-status[reason={reason}]').count() == 1


@pytest.mark.connections
def test_nobody_answers(browse, build):
    app, rt = page_app(build)
    @rt('/')
    def home(): return SSESource('http://127.0.0.1:9/events', id='source')
    with browse(app, build, clock=True) as context:
        page = context.new_page()
        said = lines(page)
        page.goto(context.site.url)
        page.wait_for_selector('#source[reason=network]', state='attached')
        for _ in range(20): page.clock.fast_forward(2000)
        line, = of_ours(said)
        assert line.startswith('http://127.0.0.1:9/events: ') and 'CORS' in line


def test_a_target_that_is_not_there(browse, topic, build):
    app, rt = page_app(build)
    route_of(topic, app)
    @rt('/')
    def home(): return RECORD, SSESource('/events', id='source'), Ul(id='list'), P(id='there')
    with browse(app, build) as context:
        page = context.new_page()
        said = lines(page)
        page.goto(context.site.url)
        until_state(page, 'live')
        for _ in range(3): topic.publish(swap.append(Li('x'), '#lisst'))
        topic.publish(swap.update('x', '.nowhere'))
        topic.publish(P('x', id='gone', hx_swap_oob='true'))
        topic.publish(swap.remove('#there'))
        topic.publish(item('after'))
        until_items(page, ['after'])
        told = ' is not in the page'
        assert of_ours(said) == ['#lisst' + told, '.nowhere' + told, '#gone' + told]
        assert page.locator('#source').get_attribute('reason') == 'no-target' and page.evaluate('source.state') == 'live'


def test_markup_is_told_from_text_that_looks_like_it(visit, topic, build):
    app, rt = page_app(build)
    route_of(topic, app)
    @rt('/')
    def home(): return SSESource('/events', id='source')
    with visit(app, build) as page:
        until_state(page, 'live')
        topic.publish(P('told', title='<b hx-swap-oob="true">'))
        page.wait_for_function('source.innerText.trim() == "told"')


# States

@pytest.mark.connections
@pytest.mark.parametrize('outcome', ['done', 'failed'])
def test_a_stream_that_is_over_says_how_it_ended(visit, topic, build, outcome):
    app, rt = page_app(build)
    route_of(topic, app)
    tell = Script('addEventListener("sse:status", e => window.told = e.detail)')
    @rt('/')
    def home(): return tell, SSESource('/events', id='source'), ConnectionStatus(failed='never', ended='Over')
    with visit(app, build) as page:
        until_state(page, 'live')
        topic.publish(outcome, event='close')
        until_state(page, 'ended')
        assert page.evaluate('[told.state, told.outcome, source.getAttribute("outcome")]') == ['ended', outcome, outcome]
        assert page.locator(f'sse-status.sse-ended[outcome={outcome}]').inner_text() == 'Over'
        color = page.evaluate('getComputedStyle(document.querySelector("sse-status"), "::before").backgroundColor')
        assert color == ('rgb(208, 47, 47)' if outcome == 'failed' else 'rgb(47, 111, 219)')


@pytest.mark.connections
@pytest.mark.parametrize('prevented', [False, True])
def test_a_source_that_is_refused_goes_to_the_login(visit, topic, build, prevented):
    app, rt = page_app(build)
    topic.answers = [401]
    route_of(topic, app)
    @rt('/login')
    def login(): return H1('Who are you?')
    prevent = Script('addEventListener("sse:denied", e => e.preventDefault())') if prevented else None
    @rt('/')
    def home(): return prevent, SSESource('/events', login=login, id='source')
    with visit(app, build) as page:
        if prevented: until_state(page, 'stopped')
        else: page.wait_for_selector('text=Who are you?')
        assert page.url.endswith('/login') != prevented


# No script

@pytest.mark.connections
@pytest.mark.parametrize('debug', [False, True])
@pytest.mark.parametrize('scripted', [False, True])
def test_a_page_without_the_script_says_so_in_debug_mode(browse, topic, build, debug, scripted):
    app, rt = page_app(build, None if scripted else (Meta(),), debug=debug)
    route_of(topic, app)
    @rt('/')
    def home(): return SSESource('/events', id='source')
    with browse(app, build) as context:
        page = context.new_page()
        said = lines(page)
        page.goto(context.site.url)
        if scripted: until_state(page, 'live')
        told = 'This page has an <sse-source>, and not its script: fast_app(hdrs=sse_headers())'
        assert page.inner_text('#source') == (told if debug and not scripted else '')
        assert (told in said) == (debug and not scripted) and page.locator('#source > *').count() == 0
