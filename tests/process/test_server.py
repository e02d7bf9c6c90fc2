"Streams on real servers: how they end when the server does, and when the client does."
import asyncio, socket, time
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import uvicorn as uvicorn_package

from fasthtml_sse import SSEResponse, SSEStream
from fasthtml_sse.core.source import LINGER
from tests.support.servers import HYPERCORN, LAST_WORDS, ROWS, stop
from tests.support.serving import START, Stopwatch, connect, serving, streams, uvicorn

pytestmark = pytest.mark.anyio
COMMANDS = {'h11': uvicorn('--http', 'h11'), 'httptools': uvicorn('--http', 'httptools'), 'hypercorn': HYPERCORN}

async def last_words(connections): return [await reader.read(-1) for reader, _ in connections]


SELDOM = ('uvicorn, httptools, asyncio', 'uvicorn, h11, uvloop', 'gunicorn with uvicorn-worker, Ctrl-C', 'hypercorn, uvloop',
    'hypercorn, Ctrl-C', 'granian, uvloop', 'granian, Ctrl-C')  # whose parts are in other rows too

@pytest.mark.parametrize('name', [pytest.param(name, marks=pytest.mark.full) if name in SELDOM else name for name in ROWS])
async def test_fifty_streams_end_with_the_server(tmp_path, name):
    row = ROWS[name]
    for n in range(3):
        outcome = await stop(row, tmp_path/str(n))
        if row.workers == 1 or outcome.shutdowns <= row.workers: break  # else uvicorn took one that obeyed for one that died: a third
    assert outcome.seconds < (1 if row.workers == 1 else 1.5)  # uvicorn looks after its workers twice a second
    assert (outcome.finallys, outcome.shutdowns, len(outcome.waits), outcome.tracebacks) == (50, row.workers, 50, 0)
    assert len(set(outcome.waits)) > 25 and all(500 <= wait <= 3000 for wait in outcome.waits)


async def test_a_source_that_lingers_or_blocks_does_not_hold_the_exit(tmp_path):
    async with serving(tmp_path, *uvicorn()) as server, streams(server.port, '/lingering', '/blocked'):
        seconds = await server.stop()
        assert seconds < 1
        assert len(server.noted('finally')) == len(server.noted('on_shutdown')) == 1


@pytest.mark.parametrize('middleware', ['', 'passing', 'copying'])
async def test_a_silent_source_is_closed_as_soon_as_its_client_goes(tmp_path, middleware):
    async with serving(tmp_path, *uvicorn(), MIDDLEWARE=middleware) as server:
        async with streams(server.port, '/silent'): left = time.monotonic()
        noted, = await server.until_noted('finally')
        assert noted - left <= 0.1


@pytest.mark.parametrize('command', COMMANDS)
async def test_a_client_that_never_reads_is_dropped(tmp_path, command):
    async with serving(tmp_path, *COMMANDS[command]) as server:
        async with connect(server.port, '/firehose?send_timeout=1', receive_buffer=4096) as (reader, _):
            noted, = await server.until_noted('finally', timeout=10)
            full = server.noted('yield')[-1]
            assert 0.9 <= noted - full <= 2
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                while await reader.readuntil(b'\n'): pass
            seconds = await server.stop()
            assert seconds < 1


@pytest.mark.parametrize('command, middleware', [
    ('h11', ''),
    pytest.param('httptools', '', marks=pytest.mark.full),
    ('httptools', 'passing'),
    pytest.param('httptools', 'copying', marks=pytest.mark.full),
    pytest.param('hypercorn', '', marks=pytest.mark.full),
    ('hypercorn', 'passing'),
])
async def test_clients_that_never_read_do_not_hold_the_exit(tmp_path, command, middleware):
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(tmp_path, *COMMANDS[command], MIDDLEWARE=middleware))
        for path in ('/unread', '/firehose'): await stack.enter_async_context(connect(server.port, path, receive_buffer=4096))
        await server.until_noted('unread')
        await server.until_noted('yield')
        while time.monotonic() - server.noted('yield')[-1] < 0.1: await asyncio.sleep(0.01)
        seconds = await server.stop()
        assert seconds < 1
        assert len(server.noted('finally')) == 2 and len(server.noted('on_shutdown')) == 1


async def test_a_client_that_reads_late_gets_all_of_a_finite_stream(tmp_path):
    async with serving(tmp_path, *uvicorn()) as server, connect(server.port, '/finite', receive_buffer=4096) as (reader, _):
        await reader.readuntil(b'data: ')
        await asyncio.sleep(LINGER * 2)
        assert (await until_end(reader)).count(b'data: ') == 44


async def until_end(reader):
    "All bytes up to the chunk that ends the body."
    got = b''
    while chunk := await reader.read(2**16):
        got += chunk
        if got.endswith(b'\r\n0\r\n\r\n'): return got
    raise AssertionError(f'cut off after {got[-200:]}')


async def test_a_stream_that_opens_while_the_server_stops_is_ended_too(tmp_path):
    async with serving(tmp_path, *uvicorn()) as server, connect(server.port, '/late') as (reader, _):
        await server.until_noted('late')
        seconds = await server.stop()
        assert seconds < 1 and b'retry: ' in await until_end(reader)


async def test_a_stream_that_was_open_before_the_server_listened_ends_too(tmp_path):
    async with serving(tmp_path, *uvicorn(), RELAY='1') as server, streams(server.port, '/silent'):
        await server.until_noted('relayed', 2)
        seconds = await server.stop()
        assert seconds < 1 and len(server.noted('finally')) == 1 and len(server.noted('relayed')) == 3


class OwnServe(uvicorn_package.Server):
    async def serve(self, sockets=None): await self._serve(sockets)

async def forever():
    yield 'x'
    await asyncio.Event().wait()

@asynccontextmanager
async def running(server=uvicorn_package.Server):
    "A uvicorn in this loop, which has to leave within a second; its port."
    with socket.create_server(('127.0.0.1', 0)) as sock:
        server = server(uvicorn_package.Config(SSEResponse(forever), lifespan='off', log_config=None))
        serving = asyncio.create_task(server.serve([sock]))
        while not server.started: await asyncio.sleep(0.01)
        yield sock.getsockname()[1]
        server.should_exit = True
        try: await asyncio.wait_for(asyncio.shield(serving), 1)
        finally:
            server.force_exit = True
            await serving
            await asyncio.sleep(LINGER)  # until the last look for what a client has not read

@pytest.mark.parametrize('server', [uvicorn_package.Server, OwnServe])
async def test_a_server_that_starts_when_a_stream_is_open_is_seen(server):
    relay = SSEStream().stream(forever)
    await anext(relay)
    async with AsyncExitStack() as clients, running(server) as port: await clients.enter_async_context(streams(port, '/'))
    await relay.aclose()

async def test_each_of_two_servers_on_one_loop_can_stop():
    async with AsyncExitStack() as clients, running() as one:
        await clients.enter_async_context(streams(one, '/'))
        async with running() as other: await clients.enter_async_context(streams(other, '/'))


APP = '''
import sys, asyncio
from fasthtml.common import *
from fasthtml_sse import sse
app, rt = fast_app(secret_key='test')
@rt
@sse
async def events():
    yield 'hello'
    await asyncio.sleep(3600)
@rt
def ok(): return 'VERSION'
if __name__ == '__main__': serve(host='127.0.0.1', port=int(sys.argv[1]))
'''

async def until_watching(pid):
    "Wait until the process watches its files, as Linux tells: an edit before that would go unseen."
    if not Path('/proc').exists(): pytest.skip('there is no /proc')
    async with asyncio.timeout(5):
        while not any('inotify wd' in info.read_text() for info in Path(f'/proc/{pid}/fdinfo').iterdir()): await asyncio.sleep(0.01)


@pytest.mark.parametrize('command', [
    pytest.param(('main.py', 'PORT'), id='serve'),
    pytest.param(('-m', 'uvicorn', 'main:app', '--reload', '--port', 'PORT'), id='uvicorn'),
])
async def test_an_edit_reloads_while_a_stream_is_open(tmp_path, command):
    main = tmp_path/'app'/'main.py'  # a folder of its own: the log must not be among the files that are watched
    main.parent.mkdir()
    main.write_text(APP.replace('VERSION', 'old'))
    async with serving(tmp_path, *command, cwd=main.parent) as server, streams(server.port, '/events') as connections:
        assert server.get('/ok') == b'old'
        await until_watching(server.process.pid)
        with Stopwatch(server.process.pid) as watch:
            main.write_text(APP.replace('VERSION', 'newer'))
            async with asyncio.timeout(START):
                while await asyncio.to_thread(server.get, '/ok') != b'newer': await asyncio.sleep(0.01)
        assert watch.seconds < 2
        assert b'retry: ' in (await last_words(connections))[0]

@pytest.mark.full
@pytest.mark.timeout(120)
async def test_thousands_of_streams_behind_middleware_end_whole(tmp_path):
    paths = ['/silent'] * 3000
    async with serving(tmp_path, *uvicorn(), MIDDLEWARE='passing') as server, streams(server.port, *paths) as connections:
        seconds = await server.stop(timeout=30)
        ends = [LAST_WORDS.search(await reader.read(-1)) for reader, _ in connections]
    print(f'{len(paths)} streams: {seconds:.1f} s')
    assert all(ends) and seconds < 5
