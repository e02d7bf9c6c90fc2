"The page element in Firefox and in WebKit, Safari's engine: it comes back, and nobody loses what they were doing."
import pytest
from fasthtml.common import *

from fasthtml_sse import Channel, ConnectionStatus, SSESource, swap

from .engines import ENGINES, app_for, browsing
from .keeping import FILL, FILLED, LOOK, Pages, fields
from .pages import item, items, route_of, until, until_items, until_state

pytestmark = [pytest.mark.full, pytest.mark.parametrize('build', ['2.0.7', '4.0.1'], scope='module')]


@pytest.fixture(scope='module', params=ENGINES)
def engine(request):
    with ENGINES[request.param]().run() as engine: yield engine


@pytest.fixture
def visit(engine):
    "`with visit(app) as open:` serves the app, of which `open(path)` opens pages."
    return lambda app: browsing(engine, app)


def live_app(topic, build, path='/', **source):
    "An app whose page lists what `topic` appends."
    app, rt = app_for(build)
    route_of(topic, app, f'{path}events')
    @rt(path)
    def get(): return Title('Live'), SSESource(id='source', **{'url': '/events', **source}), ConnectionStatus(), Ul(id='list')
    return app


# Connections

def test_the_server_goes_and_comes_back(visit, topic, build):
    with visit(live_app(topic, build)) as open:
        page = open()
        until_state(page, 'live')
        for text in ('one', 'two'): topic.publish(item(text))
        until_items(page, ['one', 'two'])
        page.context.site.stop()
        until_state(page, 'reconnecting')
        for n in range(20): topic.publish(item(n))
        page.wait_for_function('pauses.length >= 3')  # meanwhile the page tries in vain
        page.context.site.start()
        until_items(page, ['one', 'two', *map(str, range(20))])
        topic.publish(item('after'))
        until_items(page, ['one', 'two', *map(str, range(20)), 'after'])
        assert page.evaluate('states') == ['connecting', 'live', 'reconnecting', 'live']
        assert page.evaluate('document.querySelector("sse-status").textContent') == 'Live' and topic.requests == [None, '2']


def test_two_tabs_share_a_connection_that_outlives_the_first(visit, topic, build):
    with visit(live_app(topic, build, after='0', shared=True)) as open:
        first, second = open(), open()
        for page in (first, second): until_state(page, 'live')
        topic.publish(item('one'))
        for page in (first, second): until_items(page, ['one'])
        until(lambda: topic.live == 1)
        first.goto('about:blank')
        topic.publish(item('two'))
        until_items(second, ['one', 'two'])
        until(lambda: topic.live == 1)


def test_a_page_that_is_left_keeps_no_stream_and_is_live_again_when_somebody_comes_back(visit, topic, build):
    "WebKit shows the page that it has kept. Firefox keeps none that has a stream or a lock, and loads it anew."
    with visit(live_app(topic, build, after='0')) as open:
        page = open()
        for n in range(8):  # of the connections to a site a browser has six
            until_state(page, 'live')
            until(lambda: topic.live == 1)
            page.goto(f'{page.context.site.url}/?{n}')
        until_state(page, 'live')
        page.go_back()
        assert page.evaluate('location.search') == '?6'
        until_state(page, 'live')
        topic.publish(item('news'))
        until_items(page, ['news'])
        until(lambda: topic.live == 1)


def test_a_page_with_a_password_in_its_address(visit, topic, build):
    with visit(live_app(topic, build, url='events')) as open:
        page = open(user='user:pass@')
        assert 'user:pass@' in page.evaluate('document.baseURI')  # which fetch does not take
        until_state(page, 'live')
        topic.publish(item('there'))
        until_items(page, ['there'])
        topic.publish(swap.refresh())
        page.wait_for_function('document.querySelectorAll("#list > li").length == 0')  # as it is rendered
        until_state(page, 'live')


def test_an_address_is_that_of_the_page_which_named_it(visit, topic, build):
    with visit(live_app(topic, build, path='/room/', url='events')) as open:
        page = open('/room/')
        until_state(page, 'live')
        page.evaluate('history.pushState({}, "", "/elsewhere/for/long")')
        page.context.site.stop()
        until_state(page, 'reconnecting')
        page.context.site.start()
        until_state(page, 'live')
        topic.publish(item('there'))
        until_items(page, ['there'])
        page.evaluate('["pagehide", "pageshow"].forEach(name => dispatchEvent(new Event(name)))')  # as a browser does that keeps a page
        until(lambda: len(topic.requests) == 3)
        topic.publish(item('and here'))
        until_items(page, ['there', 'and here'])


# What somebody does

def filled_in(page):
    "What `LOOK` sees when all is filled in. Firefox has no fields for a month or a week, and takes them as text."
    unknown = page.evaluate('["month", "week"].filter(kind => document.querySelector(`[type=${kind}]`).type != kind)')
    assert unknown == (['month', 'week'] if 'Firefox' in page.evaluate('navigator.userAgent') else [])
    return [['text' if kind in unknown else kind, value] for kind, value in FILLED]


@pytest.mark.parametrize('named', [True, False], ids=['named', 'nameless'])
@pytest.mark.parametrize('way', Pages.WAYS)
def test_what_was_entered_stays(visit, build, way, named):
    pages = Pages(build, lambda version: fields(named), app_for)
    with visit(pages.app) as open:
        page = open()
        page.evaluate(FILL)
        page.click('[contenteditable]')
        page.keyboard.press('End')
        page.keyboard.type(', longer')
        filled = filled_in(page)
        assert page.evaluate(LOOK) == filled
        pages.change(page, way)
        assert page.evaluate(LOOK) == filled
        page.keyboard.type('!')
        pages.change(page, way)
        assert page.evaluate(LOOK) == [*filled[:-1], ['draft', 'draft, longer!']]


def around(version, *content, anew):
    "An element with `content`, which can be morphed, or is `anew` in each version."
    return (Section if anew and version % 2 else Div)(*content)


@pytest.mark.parametrize('anew', [False, True], ids=['same', 'anew'])
@pytest.mark.parametrize('way', Pages.WAYS)
def test_the_caret_stays_where_somebody_writes(visit, build, way, anew):
    "Also in a field that had to be made anew, unless it has elements of its own."
    fields = dict(input=Input(name='field', value='old'), textarea=Textarea('old', name='field'))
    if not anew: fields['[contenteditable]'] = Div('old', contenteditable='true')
    pages = Pages(build, lambda version: [around(version, *fields.values(), anew=anew), P('new', Input(name='more'))], app_for)
    with visit(pages.app) as open:
        page = open()
        for field in fields:
            page.click(field)
            page.keyboard.press('End')
            page.keyboard.type(' text')
            for _ in range(2): page.keyboard.press('ArrowLeft')
            pages.change(page, way)
            page.keyboard.type('!')
            assert page.evaluate('f => [document.querySelector(f)].map(f => f.value ?? f.innerText)[0]', field) == 'old te!xt'
            assert page.evaluate('f => document.activeElement == document.querySelector(f)', field)


@pytest.mark.parametrize('way', Pages.WAYS)
def test_what_is_open_and_scrolled_stays(visit, build, way):
    def render(version):
        yield Details(Summary('More'), P(version))
        yield Div(f'Hint {version}', popover=True, id='hint')
        yield Div(*(P(n) for n in range(50 + version)), style='height: 100px; overflow: auto', id='long')
        yield Div(style='height: 5000px')
    pages = Pages(build, render, app_for)
    look = '[document.querySelector("details").open, hint.matches(":popover-open"), long.scrollTop, scrollY, hint.textContent]'
    with visit(pages.app) as open:
        page = open()
        page.click('summary')
        page.evaluate('() => { hint.showPopover(); long.scrollTop = 300; scrollTo(0, 200) }')
        assert page.evaluate(look) == [True, True, 300, 200, 'Hint 0']
        pages.change(page, way)
        assert page.evaluate(look) == [True, True, 300, 200, 'Hint 1']


def test_a_chat_whose_log_was_in_memory_restarts_while_somebody_writes(visit, build):
    "The chat of the README. The log begins anew, so the page is told of a gap, and fetched."
    app, rt = app_for(build)
    chats = [Channel()]
    @rt('/')
    async def index():
        source = SSESource('/events', after=await chats[-1].tail(), id='source')
        return Titled('Chat', Ul(id='list'), source, Form(Input(name='text'), hx_post='/send', hx_swap='none'))
    @rt('/send')
    async def send(text: str): await chats[-1].publish(item(text))
    @rt('/events')
    def events(): return chats[-1].response()
    with visit(app) as open:
        page = open()
        until_state(page, 'live')
        chats[-1].publish_sync(item('hello'))
        until_items(page, ['hello'])
        page.click('[name=text]')
        page.keyboard.type('I am writing!')
        page.keyboard.press('ArrowLeft')
        page.context.site.stop()
        until_state(page, 'reconnecting')
        chats.append(Channel())
        page.context.site.start()
        written = 'I am writing'
        while items(page) or page.evaluate('source.state') != 'live':
            page.keyboard.type('.')
            written += '.'
        page.keyboard.type(', on')
        assert page.evaluate('said.map(([event]) => event)') == ['gap']
        look = '(({value, selectionStart, selectionEnd, name}) => [name, value, selectionStart, selectionEnd])(document.activeElement)'
        assert page.evaluate(look) == ['text', f'{written}, on!', len(written) + 4, len(written) + 4]
        page.keyboard.press('Enter')
        until_items(page, [f'{written}, on!'])


@pytest.mark.parametrize('anew', [False, True], ids=['same', 'anew'])
@pytest.mark.parametrize('way', Pages.WAYS)
def test_a_modal_dialog_stays_open_and_sets_the_page_free_when_it_is_closed(visit, build, way, anew):
    def render(version):
        close = Button('Close', id='close', onclick='ask.close()')
        yield Button('Ask', id='opens', onclick='ask.showModal()')
        yield Button('Count', id='count', onclick='window.counted = (window.counted ?? 0) + 1')
        yield around(version, Dialog(P(f'Question {version}'), Input(name='answer'), close, id='ask'), anew=anew)
    pages = Pages(build, render, app_for)
    with visit(pages.app) as open:
        page = open()
        page.click('#opens')
        page.click('[name=answer]')
        page.keyboard.type('ye')
        pages.change(page, way)
        assert page.evaluate('[ask.open, ask.matches(":modal"), ask.firstElementChild.textContent]') == [True, True, 'Question 1']
        page.keyboard.type('s')
        assert page.evaluate('ask.querySelector("input").value') == 'yes'
        page.click('#close')
        assert page.evaluate('[ask.open, window.counted]') == [False, None]
        page.click('#count')
        assert page.evaluate('window.counted') == 1


@pytest.mark.parametrize('way', ['refresh', 'gap'])
def test_a_modal_dialog_that_is_not_in_the_markup_stays_too(visit, build, way):
    pages = Pages(build, lambda version: [Button('Count', id='count', onclick='window.counted = (window.counted ?? 0) + 1')], app_for)
    with visit(pages.app) as open:
        page = open()
        page.evaluate("""() => {
            document.body.insertAdjacentHTML('beforeend', '<dialog id=ask><button id=close onclick="ask.close()">Close</button></dialog>')
            ask.showModal()
        }""")
        pages.change(page, way)
        assert page.evaluate('[ask.open, ask.matches(":modal")]') == [True, True]
        page.click('#close')
        page.click('#count')
        assert page.evaluate('[ask.open, window.counted]') == [False, 1]


@pytest.mark.parametrize('way', Pages.WAYS)
def test_autofocus_in_new_markup_does_not_take_the_focus(visit, build, way):
    def render(version): return Input(name='mine'), *(Input(name='other', autofocus=True, id=f'other-{n}') for n in range(version))
    pages = Pages(build, render, app_for)
    with visit(pages.app) as open:
        page = open()
        page.click('[name=mine]')
        page.keyboard.type('typed')
        page.keyboard.press('ArrowLeft')
        for n in (1, 2):
            pages.change(page, way)
            page.keyboard.type('!')
            assert page.evaluate('[...document.querySelectorAll("input")].map(field => field.value)') == [f'type{"!" * n}d', *[''] * n]
            assert page.evaluate('document.activeElement.name') == 'mine'
