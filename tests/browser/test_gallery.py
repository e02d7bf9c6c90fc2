"The gallery in Chromium: visitors who see what others do."
import subprocess

import pytest

from examples import layout
from examples.gallery import app
from tests.support.gallery import fresh_chats, fresh_oven, fresh_places, fresh_rooms, fresh_todo, shell_command, still_cells

from .live import serve
from .pages import HURRY, until


@pytest.fixture
def rooms(monkeypatch): return fresh_rooms(monkeypatch)

@pytest.fixture
def places(monkeypatch): return fresh_places(monkeypatch)

@pytest.fixture
def model(monkeypatch): return fresh_chats(monkeypatch)

@pytest.fixture
def oven(monkeypatch): return fresh_oven(monkeypatch)

@pytest.fixture
def visit(chromium):
    "`visit(address)` is the page of a visitor of their own, once it is live; `state=None` does not wait for that."
    if not (layout.npm/'htmx-2.0.7').exists(): pytest.skip('htmx is missing: run `npm ci` in tests/')
    contexts = []
    def visit(address, state='live'):
        contexts.append(chromium.new_context())
        contexts[-1].add_init_script(HURRY)
        page = contexts[-1].new_page()
        page.goto(address)
        if state: page.wait_for_selector(f'sse-source[state={state}]', state='attached')
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


@pytest.mark.full
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


def another_tab(page):
    "Of the same visitor, at the same address."
    tab = page.context.new_page()
    tab.goto(page.url)
    return tab


def ask(page, model, prompt):
    "Ask by the keyboard, and wait until the model has heard it."
    count = len(model.asked)
    page.fill('#prompt', prompt)
    page.press('#prompt', 'Enter')
    until(lambda: len(model.asked) > count)


def until_shown(page, selector, text, number=0):
    shown = '([selector, number, text]) => document.querySelectorAll(selector)[number]?.textContent == text'
    page.wait_for_function(shown, arg=[selector, number, text])


def test_an_answer_comes_to_all_tabs_survives_a_reload_and_is_asked_for_once(visit, model):
    with serve(app) as site:
        ann = visit(f'{site.url}/answer/')
        tabs = [ann, another_tab(ann)]
        tabs[1].wait_for_selector('sse-source[state=live]', state='attached')
        ask(ann, model, 'What <b>now</b>?')
        model.say('Some ', '<script>document.title = "run"</script>', ' & *more*,')
        text = 'Some <script>document.title = "run"</script> & *more*,'
        for tab in tabs: until_shown(tab, '.coming', text)
        assert ann.input_value('#prompt') == '' and ann.text_content('#turns p') == 'What <b>now</b>?'
        tabs[1].reload()
        tabs.append(another_tab(ann))
        for tab in tabs: until_shown(tab, '.coming', text)
        model.say(' and the end.', None)
        for tab in tabs:
            until_shown(tab, '#turns em', 'more')
            assert tab.text_content('#turns li > div').strip() == 'Some <script>document.title = "run"</script> & more, and the end.'
            assert tab.title().startswith('Answer') and tab.locator('#turns li').count() == 1
        assert model.asked == [[{'role': 'user', 'content': 'What <b>now</b>?'}]]
        ask(tabs[1], model, 'And then?')
        assert [message['role'] for message in model.asked[1]] == ['user', 'assistant', 'user']
        model.say('Nothing.', None)
        for tab in tabs: until_shown(tab, '#turns li:nth-child(2) > div', 'Nothing.\n')


def test_an_answer_is_stopped_by_a_button_that_stays_in_its_place_and_fails_politely(visit, model):
    with serve(app) as site:
        ann = visit(f'{site.url}/answer/')
        assert not ann.locator('#stop').is_visible()
        ask(ann, model, 'Write a lot')
        place = ann.locator('#stop').bounding_box()
        model.say('line\n' * 60)
        ann.wait_for_function('document.querySelector(".talk").scrollTop > 500')
        assert ann.locator('#stop').bounding_box() == place == ann.locator('.ask form button').bounding_box()
        ann.fill('#prompt', 'Go on')
        with ann.expect_response('**/send*') as refused: ann.press('#prompt', 'Enter')
        assert refused.value.status == 409 and ann.input_value('#prompt') == 'Go on'
        ann.click('#stop')
        until_shown(ann, '#turns small', 'Stopped.')
        until(lambda: model.left == 1)
        assert ann.text_content('#turns li > div').count('line') == 60 and not ann.locator('#stop').is_visible()
        ask(ann, model, 'Fail')
        bob = another_tab(ann)
        model.say('Half', RuntimeError('secret'))
        for page in (ann, bob):
            until_shown(page, '#turns small', 'Sorry, the answer broke off. Please ask again.', 1)
            assert page.text_content('#turns li:nth-child(2) > div') == 'Half\n' and 'secret' not in page.content()


def test_the_view_follows_an_answer_unless_its_reader_has_scrolled_up(visit, model):
    seen = '[talk.scrollTop, talk.scrollHeight - talk.clientHeight - talk.scrollTop]'
    with serve(app) as site:
        ann = visit(f'{site.url}/answer/')
        ask(ann, model, 'Write a lot')
        def say_more(lines):
            model.say('line\n' * 20)
            ann.wait_for_function('n => document.querySelector(".coming")?.textContent.split("\\n").length > n', arg=lines)
            ann.evaluate('new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))')
            return ann.evaluate(seen)
        top, left = say_more(20)
        assert top > 0 and left < 2
        ann.hover('.talk')
        ann.mouse.wheel(0, -120)
        ann.wait_for_function('top => document.querySelector(".talk").scrollTop == top - 120', arg=top)
        assert say_more(40)[0] == top - 120
        ann.mouse.wheel(0, 5000)
        until(lambda: ann.evaluate(seen)[1] < 2)
        top, left = say_more(60)
        assert top > 500 and left < 2


def test_tabs_of_a_job_are_in_step_also_late_ones_and_any_may_cancel_it(visit, oven):
    with serve(app) as site:
        ann = visit(f'{site.url}/job/', state=None)
        assert ann.text_content('#job p') == 'The oven is cold.' and ann.locator('#cancel').count() == 0
        ann.click('#start')
        tabs = [ann, another_tab(ann)]
        for done in (1, 2):
            oven.release()
            for tab in tabs: until_shown(tab, '#job p', f'{done} of 6 loaves')
        with ann.expect_popup() as opened: ann.click('text=Another tab')
        tabs.append(opened.value)
        tabs[1].reload()
        for tab in tabs:
            until_shown(tab, '#job p', '2 of 6 loaves')
            assert tab.eval_on_selector('progress', 'bar => [bar.value, bar.max]') == [2, 6]
        tabs[2].click('#cancel')
        for tab in tabs:
            until_shown(tab, '#job p', 'Cancelled, after 2 loaves.')
            tab.wait_for_selector('sse-source[outcome=stopped]', state='attached')
            assert not tab.locator('#cancel').is_visible()
        oven.release(6)
        late = another_tab(ann)
        until_shown(late, '#job p', 'Cancelled, after 2 loaves.')


def test_a_job_tells_its_pages_that_it_is_done_or_failed_or_lost(visit, oven):
    with serve(app) as site:
        ann, bob, eve = (visit(f'{site.url}/job/', state=None) for _ in range(3))
        ann.check('input[name=breaks]')
        ann.click('#start')
        oven.release(6)
        until_shown(ann, '#job p', 'The oven is broken, after 3 loaves.')
        ann.wait_for_selector('sse-status[outcome=failed]')
        for _ in range(3): assert oven.acquire(timeout=5)
        bob.click('#start')
        oven.release(6)
        until_shown(bob, '#job p', 'All 6 loaves are baked.')
        eve.click('#start')
        oven.release()
        until_shown(eve, '#job p', '1 of 6 loaves')
        site.stop()
        oven.release(6)
        site.start()
        until_shown(eve, '#job p', 'The server was restarted, and the job is lost.')
        assert bob.text_content('#job p') == 'All 6 loaves are baked.'


def until_titles(page, *titles):
    page.wait_for_function("""titles => {
        const shown = [...document.querySelectorAll('#todos [name=title]')].map(field => field.getAttribute('value'))
        return JSON.stringify(shown) == JSON.stringify(titles) }""", arg=[*titles])


def test_two_windows_and_a_shell_change_one_list_and_keep_what_is_typed_in_a_row(visit):
    fresh_todo('one', 'two', 'three')
    with serve(app) as site:
        ann, bob = (visit(f'{site.url}/todo/') for _ in range(2))
        ann.fill('#todo-2 [name=title]', 'two, and a half')
        bob.fill('.todo form input', '<b>four</b>')
        bob.press('.todo form input', 'Enter')
        bob.check('#todo-2 [type=checkbox]')
        until_titles(bob, 'one', 'two', 'three', '<b>four</b>')
        subprocess.run(shell_command(bob.content()), shell=True, check=True, timeout=20)
        bob.click('#todo-1 button')
        for page in (ann, bob): until_titles(page, 'two', 'three', '<b>four</b>', 'From a terminal')
        ann.wait_for_selector('#todo-2 :checked')
        until(lambda: bob.input_value('.todo form input') == '')
        assert ann.input_value('#todo-2 [name=title]') == 'two, and a half'
        assert ann.evaluate('document.activeElement.closest("li").id') == 'todo-2'
        ann.press('#todo-2 [name=title]', 'Enter')
        ann.uncheck('#todo-2 [type=checkbox]')
        for page in (ann, bob):
            until_titles(page, 'two, and a half', 'three', '<b>four</b>', 'From a terminal')
            until_shown(page, '#todos p', '4 of 4 to do')
            assert not page.is_checked('#todo-2 [type=checkbox]')


def test_a_cell_that_one_visitor_clicks_lives_for_the_other(visit, monkeypatch):
    still_cells(monkeypatch)
    with serve(app) as site:
        ann, bob = (visit(f'{site.url}/cells/') for _ in range(2))
        ann.click('#cells tr:nth-child(21) td:nth-child(11)')
        for page in (ann, bob):
            page.wait_for_selector('#cells tr:nth-child(21) td:nth-child(11).alive')
            assert page.locator('#cells .alive').count() == 10  # with what has fallen into the corner
