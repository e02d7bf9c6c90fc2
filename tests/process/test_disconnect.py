"Who logs out is gone at once, whichever worker has the page: also a client that ignores what it is told."
import asyncio, json
from contextlib import AsyncExitStack
from time import monotonic

import pytest

from tests.support.clock import PATIENCE
from tests.support.places import place
from tests.support.serving import connect, fetch, serving, uvicorn

pytestmark = pytest.mark.anyio
AT_ONCE = 0.3  # seconds
TRIES = 5  # on a machine that others use, the best one counts


async def readers_of(port, workers):
    "How many pages each of the workers has, once all have answered."
    readers = {}
    while len(readers) < workers:
        stats = json.loads(await fetch(port, '/stats'))
        readers[stats['worker']] = stats['readers']
    return readers


async def open_on_both(stack, port, topic):
    "Streams of a topic, some of them on each of two workers."
    streams = []
    while not streams or not all((await readers_of(port, 2)).values()):
        stream, _ = await stack.enter_async_context(connect(port, f'/events?topics={topic}'))
        await stream.readuntil(b'\n\n')  # the first event-less chunk, which says where it stands
        streams.append(stream)
    return streams


async def time_to_leave(port, user):
    "Seconds from a logout until its last stream has ended. The streams of others stay."
    while any((await readers_of(port, 2)).values()): pass  # those of the time before
    async with AsyncExitStack() as stack:
        streams, others = [await open_on_both(stack, port, topic) for topic in (user, 'others')]
        began = monotonic()
        await fetch(port, f'/logout?topic={user}')
        ends = await asyncio.gather(*(stream.readuntil(b'\r\n0\r\n\r\n') for stream in streams))  # the last chunk
        took = monotonic() - began
        assert not any(b'event:' in end for end in ends)
        await fetch(port, '/publish?topic=others&text=here')
        for stream in others: await stream.readuntil(b'data: here\n')
        return took


@pytest.mark.parametrize('kind', ['sqlite', 'redis'])
async def test_a_logout_ends_the_streams_on_every_worker(tmp_path, kind):
    with place(kind, tmp_path) as log:
        async with serving(tmp_path, *uvicorn('--workers', '2', '--no-access-log', app='channel'), LOG=log) as server:
            async with asyncio.timeout(PATIENCE):
                for left in reversed(range(TRIES)):
                    if (took := await time_to_leave(server.port, f'user{left}')) <= AT_ONCE or not left: break
    assert took <= AT_ONCE
