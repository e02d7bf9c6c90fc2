"A run as its pages see it: exact on lines that tear and while the page changes under it, and an end that is said on every worker."
import asyncio, random
from contextlib import ExitStack, contextmanager
from itertools import count, product
from threading import Thread
from time import monotonic

import pytest
from fasthtml.common import A, Div, Pre, Title
from starlette.responses import Response

from fasthtml_sse import Channel, MemoryLog, SSESource, swap
from tests.apps.watched import FAILS, PIECES, TEXT
from tests.support.serving import HOST, Server, uvicorn

from .live import BUILDS, SHIPPED
from .pages import HURRY, answer_from_npm, browsing, page_app, until

SLOW = dict(timeout=20_000)


def rare(*values, id=None): return pytest.param(*values, id=id, marks=pytest.mark.full)

def text(page, id='1'): return page.evaluate('id => document.getElementById(id).textContent', f'a{id}')

def until_ended(page, outcome='done'):
    page.wait_for_selector(f'#source[state=ended][outcome={outcome}]', state='attached', **SLOW)

def until_text(page, expected, id='1'):
    page.wait_for_function('([id, expected]) => document.getElementById(id)?.textContent == expected', arg=[f'a{id}', expected], **SLOW)


class Served:
    "Servers of one app, and the pages of a browser."
    def __init__(self, folder, context, servers, allowed):
        self.folder, self.context, self.servers, self._allowed = folder, context, servers, allowed

    def allow(self, pieces): self._allowed.write_text(str(pieces))

    def ask(self, path, server=0): assert self.context.request.post(self.servers[server].url + path).ok

    def open(self, url=None, id='1'):
        page = self.context.new_page()
        page.goto(f'{url or self.servers[0].url}/?id={id}')
        return page

    def count(self, what): return sum(len(server.noted(what)) for server in self.servers)


@pytest.fixture
def served(chromium, tmp_path):
    "`with served(kind, build, mode, *options) as site:` serves the app with these options of uvicorn, so many times on ports of their own."
    @contextmanager
    def serving(kind, build, mode, *options, times=1, allowed=len(PIECES), keeps=''):
        (tmp_path/'allowed').write_text(str(allowed))
        env = dict(PLACE='memory' if kind == 'memory' else str(tmp_path/'events.db'), BUILD=build, MODE=mode,
            ALLOWED=str(tmp_path/'allowed'), KEPT=str(tmp_path), KEEPS=keeps)
        command = uvicorn('--no-access-log', *options, app='watched')
        servers = [Server(tmp_path/f'server-{n}', *command, **env) for n in range(times)]
        with ExitStack() as stack:
            for server in servers:
                stack.callback(server.kill)
                server.start()
            context = stack.enter_context(chromium.new_context())
            answer_from_npm(context, build)
            context.set_default_timeout(20_000)
            context.add_init_script(HURRY)
            yield Served(tmp_path, context, servers, tmp_path/'allowed')
    return serving


# Lines that tear

class Line:
    "A line to a server. Where a stream is on it, it may tear: after any byte of what comes next, and without a word."
    def __init__(self, port, chance):
        self.to, self._chance, self.torn, self.wanted = port, chance, 0, 0
        self.loop = asyncio.new_event_loop()
        self.thread = Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        self.server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._carry, HOST, 0), self.loop).result()
        self.url = f'http://{HOST}:{self.server.sockets[0].getsockname()[1]}'
        return self

    def __exit__(self, *error):
        asyncio.run_coroutine_threadsafe(self._close(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def _close(self):
        self.server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks: task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def tear(self): self.wanted += 1

    async def _carry(self, reader, writer):
        there, back = await asyncio.open_connection(HOST, self.to)
        up = asyncio.create_task(self._pump(reader, back))
        try: await self._stream(there, writer)
        except OSError: pass  # the page has gone
        finally:
            up.cancel()
            for end in (writer, back): end.transport.abort()

    async def _pump(self, reader, writer):
        try:
            while data := await reader.read(2**16): writer.write(data)
        finally: writer.transport.abort()

    async def _stream(self, reader, writer):
        is_stream = False
        while data := await reader.read(2**16):
            is_stream = is_stream or b'text/event-stream' in data
            if tears := is_stream and self.wanted: data = data[:self._chance.randrange(len(data))]
            writer.write(data)
            await writer.drain()
            if tears:
                self.wanted -= 1
                self.torn += 1
                writer.close()  # after what was written
                return await writer.wait_closed()


FULL = product((BUILDS[0], BUILDS[-1]), ('memory', 'sqlite'), ('append', 'text'))
WAYS = [(SHIPPED[-1], 'sqlite', 'append'), *(rare(*way) for way in FULL)]

@pytest.mark.parametrize('build, kind, mode', WAYS)
def test_an_answer_is_exact_in_each_tab_where_lines_tear(served, build, kind, mode):
    chance, step = random.Random(f'{build} {kind} {mode}'), len(PIECES) // 32
    options = ('--workers', '2') if kind == 'sqlite' else ()
    with served(kind, build, mode, *options, allowed=step) as site, Line(site.servers[0].port, chance) as line:
        site.ask('/start')
        tabs = [site.open(line.url) for _ in range(3)]
        acts = ['tear'] * 20 + ['reload'] * 8
        chance.shuffle(acts)
        for n, act in enumerate(acts, 2):
            if act == 'tear': line.tear()
            site.allow(n * step)
            if act == 'reload': chance.choice(tabs).reload()
            else: until(lambda: not line.wanted)
        so_far = ''.join(PIECES[:n * step])
        tabs.append(site.open(line.url))  # a late one
        for tab in tabs: until_text(tab, so_far)
        site.allow(len(PIECES))
        for tab in tabs: until_ended(tab)
        tabs.append(site.open(line.url))  # and one that comes after the end
        until_ended(tabs[-1])
        for tab in tabs: assert text(tab) == TEXT and tab.evaluate('window.pwned') is None
        watched_by = {line.split()[0] for line in site.servers[0].notes.read_text().splitlines() if line.startswith('watched-by')}
        assert line.torn == 20 and site.count('called-1') == 1 and len(watched_by) == (2 if kind == 'sqlite' else 1)


# What happens to the page under it

class Answer:
    "An app whose answer goes on as far as it may; a finished one can be kept, and then it is part of the page."
    PAUSE = 0.004
    def __init__(self, build, mode, boosted=False, log=None):
        self.channel, self.allowed, self.calls, self.kept, self.closed = Channel(log), 0, 0, None, False
        self.mode, self.pieces, self.more = mode, [], {}  # `more`: what else comes, before which piece
        self.app, rt = page_app(build, bodykw={('hx_boost_inherited' if build.startswith('4.') else 'hx_boost'): 'true'} if boosted else {})
        @rt('/')
        def index():
            news = SSESource('/news', id='news', after=self.channel.log.id(self.channel.log.end))
            return Title('Answer'), self.bubble(), news, A('Away', href='/away', id='away')
        @rt('/away')
        def away(): return Title('Away'), Div('elsewhere', id='elsewhere'), A('Home', href='/', id='home')
        @rt('/watch')
        def watch(): return Response(status_code=500) if self.closed else self.channel.watch('1')
        @rt('/news')
        def news(): return self.channel.response('news')
        @rt('/start')
        async def start(): await self.channel.run(self.source, '1', text=mode == 'text')
        @rt('/refresh')
        async def refresh(): await self.channel.publish(swap.refresh(), 'news')
        @rt('/cut')
        async def cut(): await self.channel.disconnect('1')

    def bubble(self):
        if self.kept: return Pre(self.kept, id='a1')
        if self.mode == 'text': return Pre(SSESource('/watch', id='source', hx_swap='beforeend'), id='a1')
        return Pre(id='a1'), SSESource('/watch', id='source')

    async def source(self):
        self.calls += 1
        for n in count():
            while n >= self.allowed: await asyncio.sleep(0.002)
            if n in self.more: yield self.more[n]
            if n == 100: break
            self.pieces.append(f'<i>{n} ')
            yield self.pieces[-1] if self.mode == 'text' else swap.append(self.pieces[-1], 'a1')
            await asyncio.sleep(self.PAUSE)

    def text(self, first=0, last=100): return ''.join(f'<i>{n} ' for n in range(first, last))


@contextmanager
def shown(browser, answer, build):
    "A page of this answer, once it has begun; `page.ask` posts."
    with browsing(browser, answer.app, build, script=HURRY) as context:
        page = context.new_page()
        def ask(path): assert context.request.post(context.site.url + path).ok
        page.ask = ask
        ask('/start')
        page.goto(context.site.url)
        yield page


def refresh(page):
    with page.expect_response(lambda answer: answer.url.endswith('/') and answer.request.resource_type == 'fetch'): page.ask('/refresh')

def back(page):
    page.click('#away')
    page.wait_for_selector('#elsewhere')
    page.go_back()
    page.wait_for_selector('#a1')

def link(page):
    page.click('#away')
    page.wait_for_selector('#elsewhere')
    page.click('#home')
    page.wait_for_selector('#a1')

@pytest.mark.parametrize('what, boosted', [(refresh, False), (back, False), rare(back, True), rare(link, False), rare(link, True)])
@pytest.mark.parametrize('mode', [rare('append'), 'text'])
@pytest.mark.parametrize('build', [build if build in SHIPPED else rare(build) for build in BUILDS])
def test_an_answer_that_flows_is_exact_whatever_happens_to_its_page(chromium, build, mode, what, boosted):
    answer = Answer(build, mode, boosted)
    with shown(chromium, answer, build) as page:
        for answer.allowed in (30, 60, 90): what(page)  # while so many flow
        until_text(page, answer.text(last=90))
        answer.allowed = 101
        until_text(page, answer.text())
        until_ended(page)
        what(page)
        until_ended(page)
        until_text(page, answer.text())
        answer.kept = answer.text()
        what(page)
        until_text(page, answer.text())
        page.wait_for_timeout(100)  # for what would come twice
        assert text(page) == answer.text() and answer.calls == 1


@pytest.mark.full
@pytest.mark.parametrize('mode', ['append', 'text'])
@pytest.mark.parametrize('build', BUILDS)
def test_a_page_that_the_browser_has_kept_goes_on_where_it_was(keeping, build, mode):
    answer = Answer(build, mode)
    with shown(keeping, answer, build) as page:
        page.evaluate('addEventListener("pageshow", e => window.restored = e.persisted)')
        answer.allowed = 30
        until_text(page, answer.text(last=30))
        page.evaluate('setTimeout(() => location.href = "/away")')
        page.wait_for_selector('#elsewhere')
        answer.allowed = 60
        until(lambda: len(answer.pieces) == 60)
        page.evaluate('history.back()')
        page.wait_for_function('window.restored')
        until_text(page, answer.text(last=60))
        answer.allowed = 101
        until_ended(page)
        assert text(page) == answer.text() and answer.calls == 1


@pytest.mark.parametrize('mode', [rare('append'), 'text'])
@pytest.mark.parametrize('build', [build if build in SHIPPED[-1:] else rare(build) for build in BUILDS])
def test_a_page_that_has_missed_too_much_begins_anew_with_what_is_kept(chromium, build, mode):
    answer = Answer(build, mode, log=MemoryLog(maxlen=20))
    with shown(chromium, answer, build) as page:
        answer.allowed = 10
        until_text(page, answer.text(last=10))
        answer.closed = True
        page.ask('/cut')
        page.wait_for_selector('#source[state=reconnecting]', state='attached')
        answer.allowed = 50
        until(lambda: len(answer.pieces) == 50)
        answer.closed = False
        until_text(page, answer.text(30, 50))
        for answer.allowed in range(60, 101, 10): until_text(page, answer.text(30, answer.allowed))
        answer.allowed = 101
        until_ended(page)
        assert text(page) == answer.text(30)
        refresh(page)  # the first of them are gone, too
        until_text(page, answer.text(81))
        until_ended(page)
        answer.kept = answer.text()
        refresh(page)
        until_text(page, answer.text())
        assert answer.calls == 1


# Its end

@pytest.mark.parametrize('mode', ['append', rare('text')])
@pytest.mark.parametrize('build', [build if build in SHIPPED[-1:] else rare(build) for build in BUILDS])
def test_a_button_on_another_worker_stops_it_and_each_page_says_so(served, build, mode):
    with served('sqlite', build, mode, times=2, allowed=40) as site:
        site.ask('/start', 0)
        here, there = [site.open(server.url) for server in site.servers]
        for page in (here, there): until_text(page, ''.join(PIECES[:40]))
        there.click('text=Stop')
        for page in (here, there):
            until_ended(page, 'stopped')
            assert text(page) == ''.join(PIECES[:40]) + 'Stopped.'
        site.allow(len(PIECES))
        late = site.open(site.servers[1].url)
        until_ended(late, 'stopped')
        assert text(late) == text(here) and site.count('called-1') == 1


@pytest.mark.full  # five seconds
@pytest.mark.parametrize('mode', ['append', 'text'])
@pytest.mark.parametrize('build', BUILDS)
def test_a_failure_is_said_on_each_worker_and_not_tried_again(served, build, mode):
    with served('sqlite', build, mode, times=2, allowed=4) as site:
        site.ask('/start?fails=1', 0)
        pages = [site.open(server.url) for server in site.servers]
        for page in pages: until_text(page, ''.join(PIECES[:4]))
        site.allow(len(PIECES))
        for page in pages:
            until_ended(page, 'failed')
            assert text(page) == ''.join(PIECES[:FAILS]) + 'Sorry.'
        watched = site.servers[1].notes.read_text().count('watched-by')
        page.wait_for_timeout(5000)
        logs = ''.join(server.output for server in site.servers)
        assert logs.count('RuntimeError: secret') == logs.count('Traceback') == 1 and 'secret' not in page.content()
        assert site.count('called-1') == 1 and site.servers[1].notes.read_text().count('watched-by') == watched


@pytest.mark.full
@pytest.mark.parametrize('mode', ['append', 'text'])
@pytest.mark.parametrize('build', BUILDS)
def test_a_saved_file_loses_what_runs_within_two_seconds_and_nothing_that_is_kept(served, build, mode, tmp_path):
    watched = tmp_path/'watched'
    watched.mkdir()
    (watched/'code.py').write_text('before = True')
    with served('memory', build, mode, '--reload', '--reload-dir', str(watched), keeps='yes') as site:
        server, loads = site.servers[0], []
        site.context.on('request', lambda request: request.resource_type == 'document' and loads.append(request.url))
        site.ask('/start?id=1')
        finished = site.open(id='1')
        until_ended(finished)
        site.allow(40)
        site.ask('/start?id=2')
        page = site.open(id='2')
        until_text(page, ''.join(PIECES[:40]), '2')
        (watched/'code.py').write_text('after = True')
        until_ended(page, 'lost')
        ended = monotonic()
        until(lambda: len(server.noted('started')) == 2)
        assert ended - server.noted('started')[1] < 2
        assert text(page, '2') == ''.join(PIECES[:40]) + 'Lost.' and len(loads) == 2
        assert site.count('called-1') == site.count('called-2') == 1
        until_ended(finished)
        assert text(finished) == TEXT
        finished.reload()
        until_text(finished, TEXT)
        page.reload()
        until_ended(page, 'lost')
        assert text(page, '2') == 'Lost.' and site.count('called-2') == 1


@pytest.mark.parametrize('mode', ['append', rare('text')])
@pytest.mark.parametrize('build', [build if build in SHIPPED[:1] else rare(build) for build in BUILDS])
def test_a_refresh_in_the_answer_itself_is_obeyed_once(chromium, build, mode):
    "Though the page begins the answer anew after it, and so is told of it again."
    answer = Answer(build, mode)
    answer.more = {10: swap.refresh(), 100: swap.refresh()}
    with shown(chromium, answer, build) as page:
        fetched = []
        page.on('request', lambda request: request.url.endswith('/') and request.resource_type == 'fetch' and fetched.append(1))
        for answer.allowed, times in ((50, 1), (101, 2)):
            until(lambda: page.title() and len(fetched) >= times)  # it tells of requests where it is asked something
            until_text(page, answer.text(last=min(answer.allowed, 100)))
        until_ended(page)
        page.wait_for_timeout(1000)  # for what would come again
        assert len(fetched) == 2 and text(page) == answer.text()
