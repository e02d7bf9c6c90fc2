"What the user of a page does goes on through a gap, a refresh, a morph and a snapshot, on each htmx."
from functools import partial
from threading import Event

import pytest
from fasthtml.common import *
from fasthtml.svg import Circle, Svg

from fasthtml_sse import Channel, SSESource, swap

from .keeping import FILL, FILLED, LOOK, Pages, fields
from .pages import HURRY, asked_within, item, page_app, route_of, until, until_items, until_state

FULL = pytest.mark.full  # for `make test-all`
WAYS = [way if way in ('morph', 'refresh') else pytest.param(way, marks=FULL) for way in Pages.WAYS]  # a gap refreshes, a snapshot morphs


@pytest.mark.parametrize('named', [True, pytest.param(False, marks=FULL)], ids=['named', 'nameless'])
@pytest.mark.parametrize('way', Pages.WAYS)
def test_what_was_entered_stays(visit, build, way, named):
    pages = Pages(build, lambda version: fields(named))
    with visit(pages.app, build, script=HURRY) as page:
        page.evaluate(FILL)
        page.click('[contenteditable]')
        page.keyboard.press('End')
        page.keyboard.type(', longer')
        assert page.evaluate(LOOK) == FILLED
        pages.change(page, way)
        assert page.evaluate(LOOK) == FILLED
        page.keyboard.type('!')
        pages.change(page, way)
        assert page.evaluate(LOOK) == [*FILLED[:-1], ['draft', 'draft, longer!']]


# Where the structure is another, so that elements are replaced

MOVES = dict(
    before=lambda parts: [P('news'), *parts],
    wrapped=lambda parts: [Fieldset(*parts)],
    away=lambda parts: [Div(Div(P('news')), *parts)])


@pytest.mark.parametrize('move', ['before', *(pytest.param(move, marks=FULL) for move in ('wrapped', 'away'))])
@pytest.mark.parametrize('way', ['morph', 'refresh'])
@pytest.mark.parametrize('named', [True, pytest.param(False, marks=FULL)], ids=['named', 'nameless'])
def test_what_was_entered_stays_where_the_form_has_moved(visit, build, way, move, named):
    pages = Pages(build, lambda version: MOVES[move](fields(named)) if version else fields(named))
    with visit(pages.app, build) as page:
        page.evaluate(FILL)
        page.click('[contenteditable]')
        page.keyboard.press('End')
        page.keyboard.type(', longer')
        pages.change(page, way)
        assert page.evaluate(LOOK) == FILLED


@pytest.mark.parametrize('way', WAYS)
def test_where_the_markup_of_a_field_has_changed_it_counts(visit, build, way):
    "Except where somebody is typing."
    def render(version):
        return [
            Input(id='text', value=f'server {version}'),
            Input(id='typing', value=f'server {version}'),
            Textarea(f'server {version}', id='area'),
            Input(type='checkbox', id='tick', checked=version == 1),
            Select(*(Option(n, selected=n == version) for n in range(3)), id='select'),
            Div(f'server {version}', id='draft', contenteditable='true'),
            Input(id='same', value='server')]
    pages = Pages(build, render)
    with visit(pages.app, build, script=HURRY) as page:
        for id in ('text', 'area', 'draft', 'same', 'typing'): page.fill(f'#{id}', 'mine')
        page.check('#tick')
        page.uncheck('#tick')
        page.select_option('#select', '2')
        page.focus('#typing')
        pages.change(page, way)
        look = '[text.value, area.value, tick.checked, select.value, draft.innerText, same.value, typing.value]'
        assert page.evaluate(look) == ['server 1', 'server 1', True, '1', 'server 1', 'mine', 'mine']


# Focus, caret and selection

@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('field', ['Input', pytest.param('Textarea', marks=FULL), 'editable'])
def test_a_sentence_goes_on_in_its_field(visit, build, way, field):
    make = dict(Input=Input, Textarea=Textarea, editable=partial(Div, contenteditable='true'))[field]
    search, other = Input(id='search', autofocus=True), Input(id='other', autofocus=True)
    pages = Pages(build, lambda version: [search, Form(P(version), make(id='field')), other])
    with visit(pages.app, build, script=HURRY) as page:
        page.click('#field')
        page.keyboard.type('half of a sence')
        for _ in range(2): page.keyboard.press('ArrowLeft')
        pages.change(page, way)
        page.keyboard.type('ten')
        assert page.evaluate('field.value ?? field.innerText') == 'half of a sentence' and page.evaluate('search.value') == ''
        page.keyboard.press('Control+A')
        pages.change(page, way)
        page.keyboard.type('anew')
        assert page.evaluate('field.value ?? field.innerText') == 'anew'


def test_who_types_nowhere_is_not_sent_to_a_field(visit, build):
    pages = Pages(build, lambda version: [Input(id='search', autofocus=version > 0), Button('B', id='button')])
    with visit(pages.app, build) as page:
        pages.change(page, 'refresh')
        pages.channel.publish_sync(swap.morph(Input(id='search', autofocus=True, title='new'), '#search'))
        page.wait_for_selector('[title=new]')
        assert page.evaluate('document.activeElement == document.body')
        page.focus('#button')
        pages.change(page, 'morph')
        assert page.evaluate('document.activeElement.id') == 'button'


def test_what_is_typed_can_be_taken_back_after_a_morph(visit, build):
    pages = Pages(build, lambda version: [Input(id='field')])
    with visit(pages.app, build) as page:
        page.focus('#field')
        page.keyboard.type('one')
        pages.change(page, 'morph')
        page.keyboard.press('Control+Z')
        assert page.evaluate('field.value') != 'one'


def test_text_that_is_marked_stays_marked(visit, build):
    pages = Pages(build, lambda version: [P('some words to be copied', id='text')])
    with visit(pages.app, build) as page:
        page.evaluate('getSelection().setBaseAndExtent(text.firstChild, 5, text.firstChild, 10)')
        for way in ('morph', 'refresh'):
            pages.change(page, way)
            assert page.evaluate('String(getSelection())') == 'words'


# What is open, scrolled, played

def opened(version):
    return [
        Details(Summary('more'), P(version), id='details'),
        Details(Summary('nameless'), P(version)),
        Dialog(P(version), Input(id='inside'), Button('Close', onclick='this.closest("dialog").close()'), id='dialog'),
        Div('popover', id='popover', popover='manual'),
        Button('Outside', id='outside', onclick='window.clicked = true'),
        Div(*(P(n) for n in range(60)), id='long', style='height: 100px; overflow: auto'),
        Div(style='height: 3000px')]

def moved(version): return [P('news'), Section(*opened(version))] if version else opened(version)

MOVED = dict(same=opened, moved=moved)


@pytest.mark.parametrize('render', ['same', pytest.param('moved', marks=FULL)])
@pytest.mark.parametrize('way', WAYS)
def test_what_is_open_stays_open_and_scrolled(visit, build, way, render):
    pages = Pages(build, MOVED[render])
    with visit(pages.app, build, script=HURRY) as page:
        page.click('#details summary')
        page.click('text=nameless')
        page.evaluate('long.scrollTop = 300; scrollTo(0, 200); popover.showPopover(); dialog.showModal()')
        page.fill('#inside', 'typed')
        pages.change(page, way)
        look = '''[details.open, document.querySelectorAll('details')[1].open, popover.matches(':popover-open'),
            dialog.matches(':modal') && dialog.open, long.scrollTop, scrollY, inside.value, document.activeElement.id]'''
        assert page.evaluate(look) == [True, True, True, True, 300, 200, 'typed', 'inside']
        page.click('text=Close')
        page.click('#outside')
        assert page.evaluate('window.clicked')


def anew(version):
    "Parts that no morph can match, as they have no ids and stand elsewhere."
    close = Button('Close', onclick='this.closest("dialog").close()')
    form = Form(Input(name='title') if version else None, Input(name='q'))
    view = Div(Div(style='height: 999px'), cls='view', style='height: 50px; overflow: auto')
    parts = form, Div('hint', popover='manual', cls='hint'), Dialog(Input(name='inside'), close), view
    return [Section(P('news'), *parts)] if version else parts


@pytest.mark.parametrize('way', ['morph', 'refresh'])
def test_a_sentence_goes_on_where_its_field_is_made_anew(visit, build, way):
    pages = Pages(build, anew)
    with visit(pages.app, build) as page:
        page.evaluate('document.querySelector("[name=q]").isOld = true')
        page.click('[name=q]')
        page.keyboard.type('half of a sence')
        for _ in range(2): page.keyboard.press('ArrowLeft')
        pages.change(page, way)
        page.keyboard.type('ten')
        assert page.evaluate('[document.activeElement.isOld, document.activeElement.value]') == [None, 'half of a sentence']


@pytest.mark.parametrize('way', ['morph', 'refresh'])
def test_what_is_open_stays_open_and_scrolled_where_it_is_made_anew(visit, build, way):
    pages = Pages(build, anew)
    with visit(pages.app, build) as page:
        page.evaluate('document.querySelector(".hint").showPopover(); document.querySelector("dialog").showModal()')
        page.evaluate('window.old = document.querySelector(".view"); old.scrollTop = 300')
        page.keyboard.type('ye')
        pages.change(page, way)
        page.keyboard.type('s')
        look = '[document.querySelector("dialog").matches(":modal"), document.querySelector(".hint").matches(":popover-open")]'
        assert page.evaluate(look) == [True, True] and page.evaluate('document.activeElement.value') == 'yes'
        assert page.evaluate('[old.isConnected, document.querySelector(".view").scrollTop]') == [False, 300]
        page.click('text=Close')
        page.click('[name=q]')


def test_a_dialog_that_htmx_has_brought_stays(visit, build):
    pages = Pages(build, lambda version: [Button('Edit', hx_get='/edit', hx_target='#box', hx_swap='afterend')])
    @pages.app.get('/edit')
    def edit(): return Dialog(Input(id='inside'), Button('Close', onclick='this.closest("dialog").close()'), id='dialog')
    with visit(pages.app, build, script=HURRY) as page:
        page.click('text=Edit')
        page.wait_for_selector('#dialog', state='attached')
        page.evaluate('dialog.showModal()')
        page.fill('#inside', 'typed')
        pages.change(page, 'gap')
        assert page.evaluate('[dialog.matches(":modal"), inside.value]') == [True, 'typed']
        page.click('text=Close')
        page.click('text=Edit')


PLAYER = '''Object.defineProperty(HTMLMediaElement.prototype, 'paused', {get() { return !this.plays }})
HTMLMediaElement.prototype.play = async function () { this.plays = true }'''

@pytest.mark.parametrize('way', ['morph', 'refresh'])
def test_music_plays_on(visit, build, way):
    "Also where its element is made anew."
    tone = 'data:audio/wav;base64,UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA='
    pages = Pages(build, lambda version: [Section(Audio(src=tone))] if version else [Audio(src=tone)])
    with visit(pages.app, build, script=PLAYER) as page:
        page.evaluate('window.old = document.querySelector("audio"); old.play()')
        pages.change(page, way)
        assert page.evaluate('[document.querySelector("audio") == old, document.querySelector("audio").plays]') == [False, True]


# Lists, and the page once more

def test_a_list_has_no_doubles_and_an_end(visit, topic, build):
    app, rt = page_app(build)
    route_of(topic, app)
    @rt('/')
    def home(): return SSESource('/events', id='source'), Ul(id='list'), Table(Tbody(id='rows')), Select(id='select'), Svg(id='svg')
    def texts(page, selector): return page.evaluate('s => [...document.querySelectorAll(s)].map(e => e.textContent)', selector)
    with visit(app, build) as page:
        until_state(page, 'live')
        page.evaluate('window.list = document.getElementById("list")')
        for id in ('a', 'b', 'a', 'c', 'b'):
            topic.publish(swap.upsert(Li(f'{id}{len(topic.events)}', id=id), '#list'))
            topic.publish(swap.upsert(Tr(Td(f'{id}{len(topic.events)}'), id=f'r{id}'), '#rows'))
            topic.publish(swap.upsert(Option(id, id=f'o{id}'), '#select'))
            topic.publish(swap.upsert(Circle(1, id=f's{id}'), '#svg'))
        page.wait_for_function('document.querySelector("#rb")?.textContent == "b17"')
        assert texts(page, '#list > li') == ['a8', 'b16', 'c12'] and texts(page, '#rows > tr') == ['a9', 'b17', 'c13']
        until(lambda: texts(page, '#select > option') == ['a', 'b', 'c'])
        page.wait_for_function('document.querySelectorAll("#svg > circle").length == 3')
        assert page.evaluate('svg.firstElementChild instanceof SVGCircleElement')
        for n in range(50): topic.publish(swap.append(Li(n), '#list', keep=10))
        page.wait_for_function('list.lastElementChild.textContent == "49"')
        assert texts(page, '#list > li') == list(map(str, range(40, 50)))
        for text in ('new', 'newer'): topic.publish(swap.upsert(Li(text, id='new'), '#list', keep=3))
        page.wait_for_function('list.children.length == 3 && list.lastElementChild.textContent == "newer"')
        assert page.locator('#source').count() == 1 and page.locator('#rows').count() == 1


def test_many_refreshes_are_few_fetches(visit, build):
    pages, loads = Pages(build, lambda version: [Ul(Li(version), id='list')]), []
    pages.channel = Channel()  # which keeps each of them
    with visit(pages.app, build, clock=True) as page:
        until_state(page, 'live')
        page.on('request', lambda request: loads.append(request.url) if request.url.rstrip('/') == page.context.site.url else None)
        for n in range(1, 31):
            pages.version = n
            pages.channel.publish_sync([swap.refresh(), swap.update(n, '#other')])
        page.wait_for_function('document.querySelector("#list").textContent.trim() == "30"')
        asked_within(page, 10_000)
        assert len(loads) <= 2


def test_a_refresh_waits_for_the_request_that_caused_it(visit, build):
    pages = Pages(build, lambda version: [Button('Send', hx_post='/send', hx_swap='none')])
    order, answered = [], Event()
    @pages.app.post('/send')
    def send():
        pages.version += 1
        pages.channel.publish_sync(swap.refresh())
        answered.wait(5)
        order.append('sent')
    with visit(pages.app, build) as page:
        until_state(page, 'live')
        page.on('request', lambda request: order.append('fetched') if request.url.rstrip('/') == page.context.site.url else None)
        page.click('text=Send')
        page.wait_for_timeout(800)
        assert order == []
        answered.set()
        page.wait_for_function('document.querySelector(".version").textContent == "version 1"')
        assert order == ['sent', 'fetched']


def test_a_stream_from_its_start_begins_anew_after_a_refresh(visit, build):
    pages = Pages(build, lambda version: [Ul(id='list')])
    @pages.app.get('/answer')
    def answer(): return pages.channel.response('answer', since='start')
    pages.channel = Channel()
    render = pages.render
    pages.render = lambda version: [*render(version), SSESource('/answer', id='answer')]
    with visit(pages.app, build) as page:
        until_state(page, 'live')
        for n in range(3): pages.channel.publish_sync(item(n), 'answer')
        until_items(page, ['0', '1', '2'])
        pages.change(page, 'refresh')
        until_items(page, ['0', '1', '2'])
        pages.channel.publish_sync(None, 'answer', end=True)
        until_state(page, 'ended', 'answer')
        pages.change(page, 'refresh')
        until_state(page, 'ended', 'answer')
        until_items(page, ['0', '1', '2'])
