"The gallery: every page has its parts, and every stream does what its page says."
import asyncio, re, runpy, subprocess, sys
from collections import deque
from html import escape, unescape
from itertools import count

import pytest
from fasthtml.common import Client, to_xml

from examples import answer, board, cells, chat, clock, deploy, job, layout, plan, script, tabs, todo
from examples.gallery import app
from fasthtml_sse import Channel, LogError, MemoryLog
from fasthtml_sse.testing import open_stream
from tests.support import ROOT
from tests.support.clock import PATIENCE
from tests.support.gallery import (
    fresh_chats, fresh_oven, fresh_places, fresh_rooms, fresh_todo, page, position, shell_command, still_cells,
)


def test_the_index_leads_to_every_example():
    home = page('/')
    for example in (clock, answer, job, deploy, todo, board, chat, plan, cells, tabs, script): assert f'href="{example.index}"' in home


@pytest.mark.parametrize('path, parts', [
    ('/clock/', ('id="clock"', 'role="timer"', '<sse-source src="/clock/ticks"')),
    ('/answer/', ('id="turns"', 'role="log"', 'hx-post="/answer/send?chat=', '<sse-source src="/answer/news?chat=', 'examples/model.py')),
    ('/job/', ('<progress', 'action="/job/start"', 'name="breaks"')),
    ('/job/?id=x', ('hx-post="/job/stop?id=x"', '<sse-source src="/job/watch?id=x"')),
    ('/deploy/', ('hx-post="/deploy/start"', '<progress', 'role="status"')),
    ('/board/', ('<caption', 'id="trains"', 'aria-live="polite"', '<sse-source src="/board/changes"')),
    ('/chat/', (
        'id="messages"', 'role="log"', 'hx-post="/chat/send?room=Lobby"', 'aria-current="page"',
        '<sse-source src="/chat/events?room=Lobby"',
    )),
    ('/todo/', ('id="todos"', 'hx-post="/todo/add"', 'insert into todo', '<sse-source src="/todo/changes" after="')),
    ('/cells/', ('id="cells"', 'hx-post="/cells/sow"', '<sse-source src="/cells/changes"')),
    ('/plan/', ('id="stage-1"', 'aria-labelledby="name-3"', '<sse-source src="/plan/changes"')),
    ('/tabs/', ('id="streams"', 'id="notes"', 'src="/tabs.js"', '<sse-source src="/tabs/events"', 'shared')),
])
def test_an_example_has_its_parts_and_its_code(path, parts):
    html = page(path)
    file = f'examples{path.rpartition("/")[0]}.py'
    everywhere = '<html lang="en"', '<h1>', '<sse-status', 'href="/style.css"', '<details', file, 'import'
    for part in (*parts, *everywhere): assert part in html


def test_the_job_of_a_fresh_page_has_not_started():
    assert '<sse-source' not in page('/deploy/').partition('<details')[0].partition('<body')[2]


def test_scripts_come_from_here_where_npm_put_them_and_else_from_their_public_addresses(tmp_path, monkeypatch):
    (tmp_path/'build.js').touch()
    monkeypatch.setattr(layout, 'npm', tmp_path)
    assert layout.script('build.js', 'https://cdn/x.js').src == '/npm/build.js'
    assert layout.script('other.js', 'https://cdn/x.js').src == 'https://cdn/x.js'


def test_scripts_and_styles_come_from_here_or_from_the_addresses_of_htmx():
    for address in re.findall(r'<(?:script|link)[^>]* (?:src|href)="([^"]*)"', page('/')):
        if address.startswith('/'): assert page(address)
        else: assert address.startswith(('https://cdn.jsdelivr.net/npm/htmx', 'data:image/svg+xml,'))


@pytest.mark.parametrize('path', sorted((ROOT/'examples').glob('*.py')), ids=lambda p: p.name)
def test_code_is_shown_as_it_is_written(path):
    text = path.read_text(encoding='utf-8')
    assert ''.join(piece if isinstance(piece, str) else piece.children[0] for piece in layout.highlight(text)) == text


@pytest.mark.anyio
async def test_the_clock_ticks():
    async with open_stream(app, '/clock/ticks') as s:
        faces = [(await s.next(timeout=PATIENCE)).data for _ in range(2)]
    assert [re.findall(r'Tick \d', face) for face in faces] == [['Tick 1'], ['Tick 2']]
    assert len({re.search('datetime="(.*?)"', face)[1] for face in faces}) == 2
    assert all('hx-swap-oob="innerHTML:#clock"' in face for face in faces)


@pytest.fixture
def model(monkeypatch): return fresh_chats(monkeypatch)


async def ask(prompt, chat='a chat'):
    "What a page is answered that has asked."
    return await answer.send(chat, prompt)


@pytest.mark.anyio
async def test_an_answer_comes_as_text_and_then_as_markdown_without_html(model):
    async with open_stream(app, '/answer/news?chat=a%20chat') as s:
        await ask(' <i>Why?</i> ')
        brought = await s.next()
    turn, = answer.chats['a chat']
    assert '&lt;i&gt;Why?&lt;/i&gt;' in brought.data and f'src="/answer/watch?id={turn.id}"' in brought.data
    while not model.asked: await asyncio.sleep(0)
    model.say('*a*', ' <b>', None)
    async with open_stream(app, f'/answer/watch?id={turn.id}') as s: *pieces, whole, close = [event async for event in s]
    assert ''.join(re.search('<div hx-swap-oob="beforeend:#text-.*?">(.*)</div>', piece.data)[1] for piece in pieces) == '*a* &lt;b&gt;'
    assert '<p><em>a</em> &lt;b&gt;</p>' in whole.data and 'hx-swap-oob="outerHTML' in whole.data and '<sse-source' not in whole.data
    assert (close.event, close.data) == ('close', 'done')


@pytest.mark.anyio
async def test_a_turn_is_there_when_its_run_has_begun_and_not_before(model, monkeypatch):
    run, seen = answer.live.run, []
    async def fails(*args, **kwargs): raise LogError('the disk is full')
    async def slow(*args, **kwargs):
        for _ in range(10): await asyncio.sleep(0)
        seen.extend(answer.chats['a chat'])
        return await run(*args, **kwargs)
    monkeypatch.setattr(answer.live, 'run', fails)
    with pytest.raises(LogError): await ask('one')
    monkeypatch.setattr(answer.live, 'run', slow)
    answers = await asyncio.gather(ask('one'), ask('one'))
    assert [reply and reply.status_code for reply in answers] == [None, 409] and not seen and len(answer.chats['a chat']) == 1
    await answer.stop('a chat')

@pytest.mark.anyio
async def test_a_chat_asks_one_thing_at_a_time_and_the_model_gets_all_that_was_said(model):
    for _ in range(2): refused = await ask('one')
    assert refused.status_code == 409 == (await ask('  ', 'another chat')).status_code
    for said in ('1', RuntimeError('no')):
        first = answer.chats['a chat'][-1]
        run = await answer.live.run(lambda: (), first.id)
        while len(model.asked) < len(answer.chats['a chat']): await asyncio.sleep(0)
        model.say(said, None)
        await run.wait()
        assert await ask('next') is None
    while len(model.asked) < 3: await asyncio.sleep(0)
    assert [(m['role'], m['content']) for m in model.asked[-1]] == [
        ('user', 'one'), ('assistant', '1'), ('user', 'next'), ('user', 'next')]
    await answer.stop('a chat')
    await answer.stop('no chat')
    await (await answer.live.run(lambda: (), answer.chats['a chat'][-1].id)).wait()
    assert [turn.end for turn in answer.chats['a chat']] == ['', 'Sorry, the answer broke off. Please ask again.', 'Stopped.']


@pytest.fixture
def pretend(monkeypatch):
    "The model that answers where there is no key for another, and no SDK. It does not pause."
    for name in ('ANTHROPIC_API_KEY', 'OPENAI_API_KEY'): monkeypatch.delenv(name, raising=False)
    for name in ('anthropic', 'openai'): monkeypatch.setitem(sys.modules, name, None)
    made = runpy.run_path(str(ROOT/'examples'/'model.py'))
    made['ask'].__globals__['PAUSE'] = 0
    return made['ask']


@pytest.mark.anyio
async def test_a_model_is_at_hand_without_a_key_and_fails_when_it_is_told_to(pretend):
    words = [word async for word in pretend([dict(role='user', content='Why?')])]
    assert ''.join(words).startswith('Question 1: *“Why?”*') and len(words) > 50
    with pytest.raises(RuntimeError, match='told to fail'):
        async for word in pretend([dict(role='user', content='Please fail')]): words.pop()


@pytest.mark.anyio
async def test_who_comes_late_to_a_job_gets_its_latest_event_and_its_end(monkeypatch):
    fresh_oven(monkeypatch).release(6)
    started = await job.start()
    id = started.loc.partition('id=')[2]
    await (await job.jobs.run(lambda: (), id)).wait()
    async with open_stream(app, f'/job/watch?id={id}') as s: latest, close = [event async for event in s]
    assert 'value="6"' in latest.data and 'All 6 loaves are baked.' in latest.data and (close.event, close.data) == ('close', 'done')
    async with open_stream(app, '/job/watch?id=unknown') as s: lost, close = [event async for event in s]
    assert 'the job is lost' in lost.data and close.data == 'lost'


def test_the_button_brings_a_fresh_plan_and_the_connection():
    html = Client(app).post('/deploy/start', headers={'HX-Request': 'true'}).text
    assert html.count('waiting') == 2 * len(deploy.STEPS) and '<sse-source src="/deploy/run"' in html


def steps(html):
    "The number and the state of each step that is shown, one after the other."
    return re.findall(r'<li (?=[^>]*id="step-(\d)")(?=[^>]*class="(\w+)")', html)


def bars(html): return re.findall(r'value="(\d+)"', html)


@pytest.mark.anyio
async def test_the_job_does_its_steps_in_order_and_closes_its_stream(monkeypatch):
    monkeypatch.setattr(deploy, 'PAUSE', 0)
    async with open_stream(app, '/deploy/run') as s: *events, last = [event async for event in s]
    assert last.event == 'close' and {event.event for event in events} == {None}
    sent = ''.join(event.data for event in events)
    assert steps(sent) == [(str(n), state) for n in range(len(deploy.STEPS)) for state in ('running', 'done')]
    assert bars(sent) == [str(n + 1) for n in range(deploy.TOTAL)]


@pytest.mark.anyio
@pytest.mark.parametrize('done', [1, 5, 6, 7, 20, 53, 54])
async def test_a_job_whose_connection_was_lost_goes_on_where_it_was(done, monkeypatch):
    monkeypatch.setattr(deploy, 'PAUSE', 0)
    async with open_stream(app, '/deploy/run') as s: whole = [event async for event in s]
    async with open_stream(app, '/deploy/run', last_event_id=str(done)) as s: rest = [event async for event in s]
    seen = whole[:[event.id for event in whole].index(str(done)) + 1]
    one_go, two_goes = (''.join(event.data for event in events) for events in (whole, seen + rest))
    assert bars(two_goes) == bars(one_go) == [str(n + 1) for n in range(deploy.TOTAL)]
    assert dict(steps(two_goes)) == dict(steps(one_go))
    assert [event.data for event in rest[-2:]] == [event.data for event in whole[-2:]]


@pytest.mark.anyio
async def test_the_board_begins_with_all_of_it(monkeypatch):
    monkeypatch.setattr(board, 'MINUTE', 0.001)
    async with open_stream(app, '/board/changes') as s:
        first, second = await s.next(), await s.next()
    assert first.data.count('<tr ') == board.ROWS and 'hx-swap-oob="innerHTML:#trains"' in first.data
    assert 'hx-swap-oob="innerHTML:#now"' in second.data


def test_a_day_of_arrivals_stays_in_bounds_and_changes_only_what_is_there():
    station, seen, listed = board.Station(), set(), []
    rows = {f'train-{train.number}' for train in station.trains}
    for _ in range(24 * 60):
        for change in station.minute():
            html = to_xml(change)
            style, target = re.search('hx-swap-oob="(.*?):#(.*?)"', html).groups()
            seen.add((style, target.split('-')[0]))
            if style == 'beforeend': rows.add(re.search('id="(train-.*?)"', html)[1])
            elif style == 'afterbegin': listed.insert(0, re.search('id="(arrived-.*?)"', html)[1])
            elif style == 'delete': (rows if target in rows else listed).remove(target)
            else: assert target == 'now' or target.replace('status', 'train') in rows
        assert rows == {f'train-{train.number}' for train in station.trains} and len(rows) == board.ROWS
        assert len(listed) <= board.LINES
    assert seen == {
        ('innerHTML', 'now'),
        ('innerHTML', 'status'),
        ('beforeend', 'trains'),
        ('afterbegin', 'arrived'),
        ('outerHTML', 'train'),
        ('delete', 'train'),
        ('delete', 'arrived'),
    }


@pytest.fixture
def rooms(monkeypatch): return fresh_rooms(monkeypatch)


def messages(html): return re.findall('</time> *<p>(.*?)</p>', html)


def marks(html):
    "How much is new in the other rooms, as a page begins."
    return {room: marks.count('<i>') for room, marks in re.findall(r'<span id="new-(\w+)"[^>]*>(.*?)</span>', html)}


async def say(text, room='Lobby', name='Ann'): await chat.send({}, chat.Room(room), name, text)


@pytest.mark.anyio
async def test_a_message_comes_by_history_or_by_stream_and_never_by_both(rooms):
    await say('before')
    html = page('/chat/')
    await say('meanwhile')
    async with open_stream(app, '/chat/events?room=Lobby', last_event_id=position(html)) as s:
        await say('after')
        events = [await s.next() for _ in range(2)]
        assert s.raw.count(b'data: ') == 2
    assert messages(html) == ['Welcome', 'before'] and [messages(event.data) for event in events] == [['meanwhile'], ['after']]
    assert all('hx-swap-oob="beforeend:#messages"' in event.data for event in events)


@pytest.mark.anyio
async def test_a_page_hears_what_is_said_in_its_room_and_of_others_only_that(rooms):
    async with open_stream(app, '/chat/events?room=Garden') as s:
        await say('in the lobby')
        await say('in the garden', 'Garden')
        mark, message = await s.next(), await s.next()
        assert s.raw.count(b'data: ') == 2
    assert 'hx-swap-oob="beforeend:#new-Lobby"' in mark.data and 'in the lobby' not in mark.data
    assert messages(message.data) == ['in the garden']


@pytest.mark.anyio
async def test_counts_of_what_is_new_follow_a_visitor_from_room_to_room(rooms):
    visitor = Client(app)
    assert marks(visitor.get('/chat/').text) == {'Garden': 1, 'Workshop': 1}
    for room in ('Lobby', 'Garden', 'Garden', 'Workshop'): await say('something', room)
    assert marks(visitor.get('/chat/?room=Garden').text) == {'Lobby': 0, 'Workshop': 2}
    for room in ('Lobby', 'Garden', 'Workshop'): await say('more', room)
    assert marks(visitor.get('/chat/?room=Garden').text) == {'Lobby': 1, 'Workshop': 3}
    assert marks(page('/chat/?room=Workshop')) == {'Lobby': 3, 'Garden': 4}


def test_what_visitors_type_is_text_and_their_name_is_kept(rooms):
    visitor, name = Client(app), """<i>"O'Ann" x="""
    for text in ('<b>bold</b>', '  '):
        assert visitor.post('/chat/send?room=Lobby', data=dict(name=name, text=text)).status_code == 200
    html = visitor.get('/chat/').text
    assert messages(html) == ['Welcome', '&lt;b&gt;bold&lt;/b&gt;'] and f'<b>{escape(name, quote=False)}</b>' in html
    assert unescape(re.search(r'<input [^>]*value=(["\'])(.*?)\1', html)[2]) == name


@pytest.mark.anyio
async def test_history_is_kept_small_and_rooms_are_given(rooms):
    for n in range(chat.KEPT + 5): await say(f'{n} ' + 'x' * 999, name='n' * 99)
    last = rooms['Lobby'][-1]
    assert len(messages(page('/chat/'))) == chat.KEPT and len(last.text) == 300 and len(last.name) == 20
    for path in ('/chat/?room=Cellar', '/chat/events?room=Cellar'): assert Client(app).get(path).status_code == 404


@pytest.fixture
def places(monkeypatch): return fresh_places(monkeypatch)


def cards(html):
    "The cards of each stage, where all of them come."
    updates = re.split(r'hx-swap-oob="innerHTML:#stage-(\d)"', html)
    return {int(stage): [int(task) for task in re.findall(r'id="card-(\d)"', part)] for stage, part in zip(updates[1::2], updates[2::2])}


@pytest.mark.anyio
async def test_a_new_page_gets_the_whole_plan_and_then_what_moves(places):
    async with open_stream(app, '/plan/changes') as s:
        whole = await s.next()
        await plan.move(1, 2)
        moved = await s.next()
    assert cards(whole.data) == {1: [1, 2], 2: [3], 3: []}
    assert re.findall('hx-swap-oob="(.*?)"', moved.data) == ['delete:#card-1', 'beforeend:#stage-2'] and [*places] == [2, 3, 1]
    assert re.findall('hx-post="(.*?)"', moved.data) == ['/plan/move?task=1&amp;to=1', '/plan/move?task=1&amp;to=3']


@pytest.mark.anyio
@pytest.mark.parametrize('missed', [0, 5, 6])
async def test_who_missed_more_than_the_log_keeps_gets_the_whole_again(places, missed):
    async with open_stream(app, '/plan/changes') as s: last = (await s.next()).id
    for n in range(missed): await plan.move(1, 1 + n % 3)
    async with open_stream(app, '/plan/changes', last_event_id=last) as s:
        events = [await s.next() for _ in range(missed)] if missed < 6 else [await s.next()]
        await plan.move(2, 3)
        events.append(await s.next())
    assert [cards(event.data) for event in events] == ([{}] * (missed + 1) if missed < 6 else [{1: [2], 2: [3], 3: [1]}, {}])


@pytest.mark.anyio
async def test_a_plan_of_an_earlier_run_is_replaced(places):
    async with open_stream(app, '/plan/changes', last_event_id='an-earlier-run') as s:
        assert cards((await s.next()).data) == {1: [1, 2], 2: [3], 3: []}


@pytest.mark.parametrize('query', ['task=9&to=1', 'task=1&to=4', 'task=1&to=0'])
def test_moves_that_are_none_are_ignored(places, query):
    assert Client(app).post(f'/plan/move?{query}').status_code == 200
    assert places == {1: 1, 2: 1, 3: 2} and plan.plan.log.end == 0


@pytest.fixture
def notes(monkeypatch):
    "The notes of a server that has just started."
    fresh = dict(log=Channel(), notes=deque(maxlen=tabs.ROWS), open_streams=set(), numbers=count(1))
    for name, value in fresh.items(): monkeypatch.setattr(tabs, name, value)
    tabs.tell('The server started')
    return tabs.notes


def shown(html):
    "The notes that a page or an event brings, the newest first."
    return [int(number) for number in re.findall(r'id="note-(\d+)"', html)]


def kept(): return shown(''.join(map(to_xml, reversed(tabs.notes))))


@pytest.mark.anyio
async def test_a_tab_misses_nothing_between_its_rendering_and_its_connection(notes):
    html = page('/tabs/')
    tabs.tell('meanwhile')
    async with open_stream(app, '/tabs/events', last_event_id=position(html)) as s:
        events = [await s.next(timeout=PATIENCE) for _ in range(2)]
        assert events[1].id == await tabs.log.tail()
    assert [*reversed([shown(event.data)[0] for event in events]), *shown(html)] == [4, 3, 2, 1]
    assert 'meanwhile' in events[0].data and re.search(r'Stream \d+ was opened', events[1].data)
    assert re.search('hx-swap-oob="innerHTML:#streams">1<', events[1].data)


@pytest.mark.anyio
async def test_who_takes_over_is_told_of_the_stream_that_ended(notes):
    async with open_stream(app, '/tabs/events', last_event_id=await tabs.log.tail()) as s: last = await s.next(timeout=PATIENCE)
    assert not tabs.open_streams
    async with open_stream(app, '/tabs/events', last_event_id=last.id) as s:
        texts = [(await s.next(timeout=PATIENCE)).data for _ in range(2)]
    assert 'was closed' in texts[0] and 'was opened' in texts[1] and len(notes) == 5


@pytest.mark.anyio
@pytest.mark.parametrize('id', ['earlier-run', 'trimmed'])
async def test_a_tab_whose_last_note_is_not_known_gets_all_that_are(id, notes, monkeypatch):
    if id == 'trimmed':
        monkeypatch.setattr(tabs, 'log', Channel(MemoryLog(maxlen=tabs.ROWS - 1)))
        id = await tabs.log.tail()
    for n in range(tabs.ROWS): tabs.tell(f'Note {n}')
    async with open_stream(app, '/tabs/events', last_event_id=id) as s:
        first = await s.next(timeout=PATIENCE)
        assert 'hx-swap-oob="innerHTML:#notes"' in first.data and shown(first.data) == kept()
        tabs.tell('another')
        assert shown((await s.next(timeout=PATIENCE)).data)[0] == kept()[0]


@pytest.mark.anyio
async def test_notes_come_to_every_tab_and_the_oldest_go(notes):
    html = page('/tabs/')
    rows = shown(html)
    async with open_stream(app, '/tabs/events', last_event_id=position(html)) as s:
        await s.next(timeout=PATIENCE)
        rows.insert(0, 3)
        for n in range(4, 3 * tabs.ROWS):
            await tabs.hello(5)
            event = await s.next(timeout=PATIENCE)
            assert 'Tab 5 says hello' in event.data
            rows.insert(0, shown(event.data)[0])
            for gone in re.findall(r'hx-swap-oob="delete:#note-(\d+)"', event.data): rows.remove(int(gone))
            assert rows == kept()
    assert len(rows) == tabs.ROWS


def test_the_button_says_hello(notes):
    address = re.search('hx-post="(.*?)"', page('/tabs/'))[1]
    assert Client(app).post(address).status_code < 300
    assert re.search(r'Tab \d+ says hello', to_xml(notes[-1]))


def titles(html): return [unescape(title) for title in re.findall(r'name="title" value="(.*?)"', html)]


@pytest.mark.anyio
async def test_whoever_changes_the_table_changes_the_pages_also_a_shell():
    fresh_todo('one', 'two')
    html, visitor = page('/todo/'), Client(app)
    assert titles(html) == ['one', 'two'] and '2 of 2 to do' in html
    async with open_stream(app, '/todo/changes', last_event_id=position(html)) as s:
        visitor.post('/todo/add', data=dict(title=' <three> '))
        assert titles((await s.next(timeout=PATIENCE)).data) == ['one', 'two', '<three>']
        visitor.post('/todo/tick?id=1', data=dict(done='1'))
        event = await s.next(timeout=PATIENCE)
        assert 'hx-swap-oob="outerMorph:#todos"' in event.data and event.data.count(' checked') == 1 and '2 of 3 to do' in event.data
        visitor.post('/todo/rename?id=2', data=dict(title='Two'))
        assert titles((await s.next(timeout=PATIENCE)).data) == ['one', 'Two', '<three>']
        visitor.post('/todo/tick?id=1')
        assert ' checked' not in (await s.next(timeout=PATIENCE)).data
        subprocess.run(shell_command(html), shell=True, check=True, timeout=20)
        assert titles((await s.next(timeout=PATIENCE)).data) == ['one', 'Two', '<three>', 'From a terminal']
        visitor.post('/todo/remove?id=1')
        assert titles((await s.next(timeout=PATIENCE)).data) == ['Two', '<three>', 'From a terminal']


def test_a_list_stays_short_whoever_writes_and_a_title_that_is_cleared_takes_its_row_along():
    table = fresh_todo(*map(str, range(todo.KEPT)))
    for _ in range(3): subprocess.run(shell_command(page('/todo/')), shell=True, check=True, timeout=20)
    assert len(table()) == todo.KEPT
    visitor = Client(app)
    visitor.post('/todo/add', data=dict(title='x' * 99))
    visitor.post('/todo/add', data=dict(title='  '))
    assert [row['title'] for row in table(order_by='id')] == ['4', '5', '6', '7', '8', '9', *['From a terminal'] * 3, 'x' * todo.LONG]
    visitor.post('/todo/rename?id=5', data=dict(title=' '))
    assert len(table()) == todo.KEPT - 1 and min(row['id'] for row in table()) == 6
    for change in ('rename', 'tick', 'remove'): assert visitor.post(f'/todo/{change}?id=5', data=dict(title='again')).status_code < 300
    assert len(table()) == todo.KEPT - 1


def test_cells_live_and_die_by_the_rules_on_a_board_without_edges():
    edge = cells.SIZE - 1
    row, column = {(edge, 0), (0, 0), (1, 0)}, {(0, edge), (0, 0), (0, 1)}
    assert cells.next_cells(row) == column and cells.next_cells(column) == row
    block = {(7, 7), (7, 8), (8, 7), (8, 8)}
    assert cells.next_cells(block) == block and cells.next_cells({(7, 7), (7, 8)}) == set()


def alive(html):
    "Which cells of a board live."
    rows = [re.findall('<td(.*?)>', row) for row in html.split('<tr>')[1:]]
    assert [len(row) for row in rows] == [cells.SIZE] * cells.SIZE
    return {(x, y) for y, row in enumerate(rows) for x, cell in enumerate(row) if 'alive' in cell}


@pytest.mark.anyio
async def test_a_board_goes_on_while_somebody_looks_and_shows_what_is_sown(monkeypatch):
    board = still_cells(monkeypatch, every=0.01)
    corner, spot = (set(cells.around(at, at, cells.SEED)) for at in (cells.SIZE - 1, 20))
    assert alive(page('/cells/')) == set() and board.generation == 0
    async with open_stream(app, '/cells/changes') as s:
        assert alive((await s.next(timeout=PATIENCE)).data) == corner
        Client(app).post('/cells/sow', data=dict(x=20, y=20))
        while alive((await s.next(timeout=PATIENCE)).data) != corner | spot: pass
    seen = board.generation
    await asyncio.sleep(5 * 0.01)
    assert 1 < seen and board.generation <= seen + 1
    async with open_stream(app, '/cells/changes') as s:
        assert f'Generation {board.generation + 1}' in (await s.next(timeout=PATIENCE)).data
        while f'Generation {seen + 5}' not in (await s.next(timeout=PATIENCE)).data: pass
