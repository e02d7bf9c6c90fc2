"Live views on two workers: each page shows the newest state, whichever worker has it, and each worker renders for itself."
import asyncio, json, sqlite3
from contextlib import AsyncExitStack, closing

import pytest

from fasthtml_sse import EventParser
from tests.support.clock import PATIENCE
from tests.support.places import place
from tests.support.serving import connect, fetch, serving, uvicorn

pytestmark = pytest.mark.anyio


async def workers_of(port):
    "What each of two workers says."
    said = {}
    while len(said) < 2:
        stats = json.loads(await fetch(port, '/stats'))
        said[stats['worker']] = stats
    return said.values()

async def until_shown(stream, parser, count):
    "The number of books in each event, up to one with so many."
    found = []
    while found[-1:] != [count]:
        line = await stream.readline()  # the size of a chunk
        if not line.strip(): continue
        data = await stream.readexactly(int(line, 16))
        found += [event.data.count('<li>') for event in parser.feed(data) if event.data]
    return found


@pytest.mark.parametrize('kind', ['sqlite', 'redis'])
async def test_pages_of_both_workers_show_the_newest_state(tmp_path, kind):
    books = tmp_path/'books.db'
    with closing(sqlite3.connect(books)) as db: db.execute('create table book (title)')
    with place(kind, tmp_path) as log:
        command = uvicorn('--workers', '2', '--no-access-log', app='shelf')
        async with serving(tmp_path, *command, LOG=log, BOOKS=str(books)) as server, AsyncExitStack() as stack, asyncio.timeout(PATIENCE):
            pages = []
            while not pages or not all(stats['readers'] for stats in await workers_of(server.port)):
                stream, _ = await stack.enter_async_context(connect(server.port, '/events'))
                await stream.readuntil(b'\r\n\r\n')
                pages.append((stream, EventParser()))
            for page in pages: assert await until_shown(*page, 0) == [0]
            await fetch(server.port, '/shelve?title=1')
            for page in pages: assert await until_shown(*page, 1) == [1]
            await asyncio.gather(*(fetch(server.port, f'/shelve?title={n}') for n in range(2, 41)))
            for page in pages:
                found = await until_shown(*page, 40)
                assert found == sorted(found)  # never an older state after a newer one
            renders = [stats['renders'] for stats in await workers_of(server.port)]
            assert all(3 <= each <= 42 for each in renders)
            late, _ = await stack.enter_async_context(connect(server.port, '/events'))
            await late.readuntil(b'\r\n\r\n')
            assert await until_shown(late, EventParser(), 40) == [40]
