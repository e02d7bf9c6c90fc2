"FastHTML's serve(procs=2): two copies of the app on two ports, of which no server knows."
import asyncio, json, socket
from contextlib import suppress

import pytest
from fastcore.net import free_port

from tests.support.clock import until
from tests.support.serving import HOST, Reader, fetch, over_socket, serving

pytestmark = pytest.mark.anyio


def two_free_ports():
    "Two that follow each other."
    while True:
        port = free_port(HOST)
        with suppress(OSError), socket.create_server((HOST, port + 1)): return port, port + 1


TEXTS = [f'a{i}' for i in range(20)]

async def read_by_turns(ports, expected):
    "What a page on each port gets of `TEXTS`, which are published on one port and the other, once it has as many as are `expected`."
    readers = [Reader(over_socket(port, '/events?topics=a'), json.loads(await fetch(port, '/tail'))['id']) for port in ports]
    reading = [asyncio.create_task(reader.run()) for reader in readers]
    try:
        for i, text in enumerate(TEXTS): assert b'id' in await fetch(ports[i % 2], f'/publish?topic=a&text={text}')
        await until(lambda: all(len(reader.texts) >= len(texts) for reader, texts in zip(readers, expected)), pause=0.01)
        return [reader.texts for reader in readers]
    finally:
        for task in reading: task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)


@pytest.mark.parametrize('log, warnings, expected', [
    ('memory', 2, [TEXTS[::2], TEXTS[1::2]]),
    ('sqlite events.db', 0, [TEXTS, TEXTS]),
], ids=['memory', 'sqlite'])
async def test_copies_are_warned_of_unless_a_log_joins_them(tmp_path, log, warnings, expected):
    first, second = ports = two_free_ports()
    log = log.replace('events.db', f"{tmp_path/'events.db'}")
    async with serving(tmp_path, 'tests/apps/copies.py', port=first, PORT=f'{first}', PROCS='2', LOG=log) as server:
        await until(lambda: server.get('/ok', second), pause=0.01)
        assert await read_by_turns(ports, expected) == expected
        assert server.output.count('procs=') == warnings
        assert await server.stop() < 2
