"An answer that outlives its page: exact in every tab, whatever is cut, loaded anew, left and come back to, and made once."
import asyncio, random
from contextlib import contextmanager

import pytest
from fasthtml.common import A, Div, Title

from fasthtml_sse import Channel, ServerSentEvent, SSESource, swap
from tests.apps.answers import TEXT
from tests.support.serving import Server

from .live import BUILDS
from .pages import HURRY, answer_from_npm, page_app

few = [build if build in BUILDS[:1] else pytest.param(build, marks=pytest.mark.full) for build in BUILDS]


def text(page): return page.evaluate('document.querySelector("#answer").textContent')

def until_ended(page, outcome='done'):
    page.wait_for_selector(f'#source[state=ended][outcome={outcome}]', state='attached', timeout=20_000)


@pytest.fixture
def served(chromium, tmp_path):
    "`with served(kind, build, mode) as (server, context):` serves the app by one worker in memory, or by two over a file."
    @contextmanager
    def serving(kind, build, mode, *more, **env):
        place = 'memory' if kind == 'memory' else str(tmp_path/'events.db')
        workers = () if kind == 'memory' or '--reload' in more else ('--workers', '2')
        command = '-m', 'uvicorn', 'tests.apps.answers:app', '--port', 'PORT', '--no-access-log', *workers, *more
        server = Server(tmp_path/'server', *command, PLACE=place, BUILD=build, MODE=mode, **env)
        server.start()
        try:
            with chromium.new_context() as context:
                answer_from_npm(context, build)
                context.set_default_timeout(20_000)
                context.add_init_script(HURRY)
                yield server, context
        finally: server.kill()
    return serving


@pytest.mark.full  # test_watch has harder ones, where lines tear
@pytest.mark.parametrize('build, kind, mode', [(BUILDS[0], 'sqlite', 'text')])
def test_an_answer_is_exact_in_each_tab_through_breaks_and_reloads(served, build, kind, mode):
    chance = random.Random(f'{build} {kind} {mode}')
    with served(kind, build, mode) as (server, context):
        def ask(path): return context.request.post(server.url + path).text()
        def open_tab():
            tab = context.new_page()
            tab.goto(server.url)
            return tab
        ask('/start')
        tabs = [open_tab() for _ in range(3)]
        acts = ['cut'] * 20 + ['reload'] * 8
        chance.shuffle(acts)
        for act in acts:
            if act == 'cut': ask('/cut')
            else: chance.choice(tabs).reload()
            tabs[0].wait_for_timeout(chance.uniform(0, 60))
        tabs.append(open_tab())  # a late one
        for tab in tabs: until_ended(tab)
        tabs.append(open_tab())  # and one that comes after the end
        until_ended(tabs[-1])
        for tab in tabs: assert text(tab) == TEXT and tab.evaluate('window.pwned') is None
        assert ask('/start') == 'done' and server.notes.read_text().split() == ['called']


# What happens to the page meanwhile, and afterwards

class Story:
    "An app whose answer has a first half, and a second when it is told to."
    def __init__(self, build, boost=False):
        self.channel, self.goes_on, self.calls = Channel(), False, 0
        self.app, rt = page_app(build, bodykw={('hx_boost_inherited' if build.startswith('4.') else 'hx_boost'): 'true'} if boost else {})
        @rt('/')
        def index():
            news = SSESource('/news', id='news', after=self.channel.log.id(self.channel.log.end))
            return Title('Answer'), Div(id='answer'), SSESource('/watch', id='source'), news, A('Away', href='/away', id='away')
        @rt('/away')
        def away(): return Title('Away'), Div('elsewhere', id='elsewhere'), A('Home', href='/', id='home')
        @rt('/watch')
        def watch(): return self.channel.watch('answer')
        @rt('/news')
        def news(): return self.channel.response('news')
        @rt('/start')
        async def start(): await self.channel.run(self.source, 'answer')
        @rt('/go-on')
        def go_on(): self.goes_on = True
        @rt('/refresh')
        async def refresh(): await self.channel.publish(swap.refresh(), 'news')
        @rt('/gap')
        async def gap(): await self.channel.publish(ServerSentEvent('{}', event='gap'), 'news')

    async def source(self):
        self.calls += 1
        for piece in ('Half', ' of <it>, '): yield swap.append(piece, 'answer')
        while not self.goes_on: await asyncio.sleep(0.01)
        for piece in ('and', ' the rest.'): yield swap.append(piece, 'answer')

HALF, WHOLE = 'Half of <it>, ', 'Half of <it>, and the rest.'

def until_text(page, expected):
    page.wait_for_function('expected => document.querySelector("#answer")?.textContent == expected', arg=expected)

def refresh(page, ask): by_fetch(page, lambda: ask('/refresh'))
def gap(page, ask): by_fetch(page, lambda: ask('/gap'))

def by_fetch(page, act):
    with page.expect_response(lambda answer: answer.url.endswith('/') and answer.request.resource_type == 'fetch'): act()

def back(page, ask):
    page.click('#away')
    page.wait_for_selector('#elsewhere')
    page.go_back()
    page.wait_for_selector('#answer')

def away_by_link(page, ask):
    page.click('#away')
    page.wait_for_selector('#elsewhere')
    page.click('#home')
    page.wait_for_selector('#answer')

@pytest.mark.parametrize('boost', [pytest.param(False, id='plain'), pytest.param(True, id='boosted', marks=pytest.mark.full)])
@pytest.mark.parametrize('what', [refresh, back, *(pytest.param(what, marks=pytest.mark.full) for what in (gap, away_by_link))])
@pytest.mark.parametrize('build', few)
def test_an_answer_is_exact_after_what_happens_to_its_page(browse, build, what, boost):
    story = Story(build, boost)
    with browse(story.app, build, script=HURRY) as context:
        def ask(path): assert context.request.post(context.site.url + path).ok
        page = context.new_page()
        ask('/start')
        page.goto(context.site.url)
        until_text(page, HALF)
        what(page, ask)  # in mid answer
        until_text(page, HALF)
        ask('/go-on')
        until_text(page, WHOLE)
        until_ended(page)
        what(page, ask)  # after it
        until_text(page, WHOLE)
        until_ended(page)
        page.wait_for_timeout(100)  # for what would come twice
        assert text(page) == WHOLE and story.calls == 1


@pytest.mark.parametrize('build', few)
def test_a_failure_is_said_politely_and_nothing_is_called_again(served, build):
    with served('memory', build, 'append') as (server, context):
        context.request.post(server.url + '/start?fails=1')
        page = context.new_page()
        page.goto(server.url)
        until_ended(page, 'failed')
        assert text(page) == 'Sorry.'
        page.reload()
        until_ended(page, 'failed')
        page.wait_for_timeout(300)
        assert server.notes.read_text().split() == ['called']
        log = server.log.read_text()
        assert log.count('RuntimeError: secret') == 1 and 'secret' not in page.content()


@pytest.mark.parametrize('build', few)
def test_a_stop_on_any_worker_ends_the_element_of_each_tab(served, build):
    with served('sqlite', build, 'append', PAUSE='0.05') as (server, context):
        context.request.post(server.url + '/start')
        tabs = [context.new_page() for _ in range(2)]
        for tab in tabs: tab.goto(server.url)
        for tab in tabs: tab.wait_for_selector('#answer:not(:empty)')
        assert context.request.post(server.url + '/stop').text() == 'True'
        for tab in tabs: until_ended(tab, 'stopped')
        assert text(tabs[0]) == text(tabs[1]) != '' and TEXT.startswith(text(tabs[0]))


@pytest.mark.full  # without a page: tests/process/test_runs.py
@pytest.mark.parametrize('build', BUILDS)
def test_a_saved_file_in_mid_answer_is_a_loss_that_the_page_says(served, build, tmp_path):
    "With `uvicorn --reload` and a channel in memory."
    watched = tmp_path/'watched'
    watched.mkdir()
    (watched/'code.py').write_text('before = True')
    with served('memory', build, 'append', '--reload', '--reload-dir', str(watched), PAUSE='0.05') as (server, context):
        context.request.post(server.url + '/start')
        page = context.new_page()
        loads = []
        page.on('request', lambda request: request.resource_type == 'document' and loads.append(request.url))
        page.goto(server.url)
        page.wait_for_selector('#answer:not(:empty)')
        (watched/'code.py').write_text('after = True')
        until_ended(page, 'lost')
        assert text(page).endswith('Lost.') and len(loads) == 1
        assert server.notes.read_text().split() == ['called']
