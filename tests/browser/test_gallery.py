"The gallery in Chromium: visitors who see what others do."
import pytest

from examples import layout
from examples.gallery import app
from tests.support.gallery import fresh_places, fresh_rooms

from .live import serve
from .pages import HURRY


@pytest.fixture
def rooms(monkeypatch): return fresh_rooms(monkeypatch)

@pytest.fixture
def places(monkeypatch): return fresh_places(monkeypatch)

@pytest.fixture
def visit(chromium):
    "`visit(address)` is the page of a visitor of their own, once it is live."
    if not (layout.npm/'htmx-2.0.7').exists(): pytest.skip('htmx is missing: run `npm ci` in tests/')
    contexts = []
    def visit(address):
        contexts.append(chromium.new_context())
        contexts[-1].add_init_script(HURRY)
        page = contexts[-1].new_page()
        page.goto(address)
        page.wait_for_selector('sse-source[state=live]', state='attached')
        return page
    yield visit
    for context in contexts: context.close()


def send(page, text):
    page.fill('#text', text)
    page.press('#text', 'Enter')
    page.wait_for_function('document.querySelector("#text").value == ""')


def until_said(page, *texts):
    page.wait_for_function('n => document.querySelectorAll("#messages li").length >= n', arg=len(texts))
    assert page.locator('#messages p').all_text_contents() == [*texts]


def test_two_visitors_chat_and_go_on_after_a_restart(visit, rooms):
    with serve(app) as site:
        ann, bob, eve = (visit(f'{site.url}/chat/?room={room}') for room in ('Lobby', 'Lobby', 'Garden'))
        ann.fill('#name', 'Ann')
        send(ann, 'Hello, <b>Bob</b>!')
        send(bob, 'Hello')
        for page in (ann, bob): until_said(page, 'Welcome', 'Hello, <b>Bob</b>!', 'Hello')
        eve.wait_for_function('document.querySelectorAll("#new-Lobby i").length == 3')  # with the welcome
        eve.click('text=Lobby')
        until_said(eve, 'Welcome', 'Hello, <b>Bob</b>!', 'Hello')
        assert bob.locator('#messages b').all_text_contents()[1] == 'Ann'

        site.stop()
        ann.wait_for_selector('sse-status.sse-reconnecting')
        ann.fill('#text', 'Still there?')
        with ann.expect_event('requestfailed'): ann.press('#text', 'Enter')
        assert ann.input_value('#text') == 'Still there?'
        site.start()
        for page in (ann, bob): page.wait_for_selector('sse-source[state=live]', state='attached')
        send(ann, 'Still there?')
        for page in (ann, bob): until_said(page, 'Welcome', 'Hello, <b>Bob</b>!', 'Hello', 'Still there?')


def test_visitors_move_cards_for_each_other(visit, places):
    with serve(app) as site:
        ann, bob = (visit(f'{site.url}/plan/') for _ in range(2))
        for page in (ann, bob): page.wait_for_selector('#stage-1 #card-1')
        ann.press('#on-1', 'Enter')
        for page in (ann, bob): page.wait_for_selector('#stage-2 #card-1')
        assert ann.evaluate('document.activeElement.id') == 'on-1' and bob.locator('#card-1').count() == 1
        bob.click('#on-1')
        for page in (ann, bob): page.wait_for_selector('#stage-3 #card-1')
        late = visit(f'{site.url}/plan/')
        late.wait_for_selector('#stage-3 #card-1')
        assert late.locator('.stages li').count() == 3
