"The gallery: every page has its parts, every stream does what its page says, and `python -m examples` serves and stops."
import os, re, signal, socket, subprocess, sys
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fasthtml.common import Client, to_xml

from examples import board, clock, deploy, layout, tabs
from examples.gallery import app
from fasthtml_sse.testing import open_stream

ROOT = Path(__file__).parent.parent


def page(path, **headers):
    answer = Client(app).get(path, headers=headers)
    assert answer.status_code == 200
    return answer.text


def test_the_index_leads_to_every_example():
    home = page('/')
    for example in (clock, deploy, board, tabs): assert f'href="{example.index}"' in home


@pytest.mark.parametrize('path, parts', [
    ('/clock/', ('id="clock"', 'role="timer"', '<sse-source src="/clock/ticks"')),
    ('/deploy/', ('hx-post="/deploy/start"', '<progress', 'role="status"')),
    ('/board/', ('<caption', 'id="trains"', 'aria-live="polite"', '<sse-source src="/board/changes"')),
    ('/tabs/', ('id="streams"', 'id="notes"', 'src="/tabs.js"', '<sse-source src="/tabs/events"', 'shared'))])
def test_an_example_has_its_parts_and_its_code(path, parts):
    html = page(path)
    for part in (*parts, '<html lang="en"', '<h1>', '<sse-status', 'href="/style.css"', '<details', f'examples{path[:-1]}.py', 'import'): assert part in html


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
        faces = [(await s.next(timeout=3)).data for _ in range(2)]
    assert [re.findall(r'Tick \d', face) for face in faces] == [['Tick 1'], ['Tick 2']]
    assert len({re.search('datetime="(.*?)"', face)[1] for face in faces}) == 2
    assert all('hx-swap-oob="innerHTML:#clock"' in face for face in faces)


def test_the_button_brings_a_fresh_plan_and_the_connection():
    html = Client(app).post('/deploy/start', headers={'HX-Request': 'true'}).text
    assert html.count('waiting') == 2 * len(deploy.STEPS) and '<sse-source src="/deploy/run"' in html


@pytest.mark.anyio
async def test_the_job_does_its_steps_in_order_and_closes_its_stream(monkeypatch):
    monkeypatch.setattr(deploy, 'PAUSE', 0)
    async with open_stream(app, '/deploy/run') as s: *events, last = [event async for event in s]
    assert last.event == 'close' and {event.event for event in events} == {None}
    sent = ''.join(event.data for event in events)
    states = re.findall(r'<li (?=[^>]*id="step-(\d)")(?=[^>]*class="(\w+)")', sent)
    assert states == [(str(n), state) for n in range(len(deploy.STEPS)) for state in ('running', 'done')]
    assert re.findall(r'value="(\d+)"', sent) == [str(n + 1) for n in range(deploy.TOTAL)]


@pytest.mark.anyio
@pytest.mark.parametrize('done', [1, 5, 6, 7, 20, 53, 54])
async def test_a_job_whose_connection_was_lost_goes_on_where_it_was(done, monkeypatch):
    monkeypatch.setattr(deploy, 'PAUSE', 0)
    async with open_stream(app, '/deploy/run') as s: whole = [event async for event in s]
    async with open_stream(app, '/deploy/run', last_event_id=str(done)) as s: rest = [event async for event in s]
    seen = whole[:[event.id for event in whole].index(str(done)) + 1]
    def states(events): return dict(re.findall(r'<li (?=[^>]*id="step-(\d)")(?=[^>]*class="(\w+)")', ''.join(event.data for event in events)))
    def bars(events): return re.findall(r'value="(\d+)"', ''.join(event.data for event in events))
    assert bars(seen + rest) == bars(whole) == [str(n + 1) for n in range(deploy.TOTAL)]
    assert states(seen + rest) == states(whole) and [event.data for event in rest[-2:]] == [event.data for event in whole[-2:]]


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
    assert seen == {('innerHTML', 'now'), ('innerHTML', 'status'), ('beforeend', 'trains'), ('afterbegin', 'arrived'),
                    ('outerHTML', 'train'), ('delete', 'train'), ('delete', 'arrived')}


@pytest.fixture
def log(monkeypatch):
    monkeypatch.setattr(tabs, 'log', tabs.Log())
    return tabs.log


def shown(html):
    "The notes that a page or an event brings, the newest first."
    return [int(number) for number in re.findall(r'id="note-(\d+)"', html)]


def position(html): return re.search('<sse-source [^>]*after="(.*?)"', html)[1]


@pytest.mark.anyio
async def test_a_tab_misses_nothing_between_its_rendering_and_its_connection(log):
    html = page('/tabs/')
    log.add('meanwhile')
    async with open_stream(app, '/tabs/events', last_event_id=position(html)) as s:
        events = [await s.next(timeout=3) for _ in range(2)]
    assert [*reversed([shown(event.data)[0] for event in events]), *shown(html)] == [4, 3, 2, 1]
    assert 'meanwhile' in events[0].data and re.search(r'Stream \d+ was opened', events[1].data)
    assert 'hx-swap-oob="innerHTML:#streams"' in events[1].data and events[1].id == f'{tabs.RUN}-4'


@pytest.mark.anyio
async def test_who_takes_over_is_told_of_the_stream_that_ended(log):
    async with open_stream(app, '/tabs/events', last_event_id=log.notes[-1].id) as s: last = await s.next(timeout=3)
    assert not log.open
    async with open_stream(app, '/tabs/events', last_event_id=last.id) as s: texts = [(await s.next(timeout=3)).data for _ in range(2)]
    assert 'was closed' in texts[0] and 'was opened' in texts[1] and len(log.notes) == 5


@pytest.mark.anyio
@pytest.mark.parametrize('id', [None, 'earlier-run', 'trimmed'])
async def test_a_tab_whose_last_note_is_not_known_gets_all_that_are(id, log):
    if id == 'trimmed': id = log.notes[0].id
    for n in range(tabs.ROWS): log.add(f'Note {n}')
    async with open_stream(app, '/tabs/events', last_event_id=id) as s:
        first = await s.next(timeout=3)
        assert 'hx-swap-oob="innerHTML:#notes"' in first.data and shown(first.data) == [note.number for note in reversed(log.notes)]
        log.add('another')
        assert shown((await s.next(timeout=3)).data) == [log.notes[-1].number]


@pytest.mark.anyio
async def test_notes_come_to_every_tab_and_the_oldest_go(log):
    html = page('/tabs/')
    rows = shown(html)
    async with open_stream(app, '/tabs/events', last_event_id=position(html)) as s:
        await s.next(timeout=3)
        rows.insert(0, 3)
        for n in range(4, 3 * tabs.ROWS):
            await tabs.hello(5)
            event = await s.next(timeout=3)
            assert 'Tab 5 says hello' in event.data
            rows.insert(0, shown(event.data)[0])
            for gone in re.findall(r'hx-swap-oob="delete:#note-(\d+)"', event.data): rows.remove(int(gone))
            assert rows == [note.number for note in reversed(log.notes)]
    assert len(rows) == tabs.ROWS


def test_the_button_says_hello(log):
    address = re.search('hx-post="(.*?)"', page('/tabs/'))[1]
    assert Client(app).post(address).status_code < 300
    assert re.fullmatch(r'Tab \d+ says hello', log.notes[-1].text)


@pytest.mark.parametrize('sig, code', [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 0)], ids=['SIGTERM', 'Ctrl-C'])
def test_the_gallery_prints_its_address_serves_there_and_stops_at_once_with_a_stream_open(sig, code, tmp_path):
    env = {k: v for k, v in os.environ.items() if k != 'PORT'} | {'PYTHONPATH': str(ROOT)}
    run = [sys.executable, '-m', 'examples']
    with subprocess.Popen(run, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            address = re.fullmatch(r'Gallery: (http://127\.0\.0\.1:\d+)\n', process.stdout.readline())[1]
            server = HTTPConnection(urlsplit(address).netloc, timeout=10)
            server.request('GET', '/')
            assert (answer := server.getresponse()).status == 200 and b'Clock' in answer.read()
            server.request('GET', '/clock/ticks')
            stream = server.getresponse()
            assert stream.readline() == b': Connected\n'
            process.send_signal(sig)
            assert process.wait(timeout=2) == code
            assert b'retry: ' in stream.read()
            server.close()
            assert process.stderr.read() == ''
        finally: process.kill()
    assert not list(tmp_path.iterdir())


def test_a_port_that_is_taken_is_named():
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run([sys.executable, '-m', 'examples'], cwd=ROOT, env={**os.environ, 'PORT': port}, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and done.stderr.startswith(f'Cannot listen on port {port}')
