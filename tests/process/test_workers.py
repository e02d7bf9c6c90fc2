"Two workers, clients that come and go, and what is killed on the way: nothing that was published is lost, doubled or swapped."
import asyncio, json, os, random, signal
from collections import Counter
from itertools import count
from typing import NamedTuple

import pytest

from tests.support.clock import PATIENCE
from tests.support.places import place
from tests.support.redis import redis
from tests.support.serving import Reader, fetch, over_socket, serving

PUBLISHERS, TOPICS = 8, 'abcde'
EVENT = 35  # bytes on the wire, about
LAST = [f'{topic}-last' for topic in TOPICS]
APP = '-m', 'uvicorn', 'tests.apps.channel:app', '--port', 'PORT', '--workers', '2', '--no-access-log'


class Size(NamedTuple):
    events: int
    clients: int
    drops: int  # of each client's connections


SIZES = [
    pytest.param(Size(700, 25, 5), id='small'),
    pytest.param(Size(1500, 60, 10), id='large', marks=[pytest.mark.full, pytest.mark.timeout(240)]),
]
pytestmark = [pytest.mark.anyio, pytest.mark.parametrize('size', SIZES)]


class TopicReader(Reader):
    "Reads some topics."
    def __init__(self, port, topics, last_id):
        super().__init__(over_socket(port, f"/events?topics={'+'.join(topics)}"), last_id)
        self.topics = topics

    async def read_with_drops(self, size):
        "Come back at once, but not with all others at the same moment. The connection is dropped at random places the first times."
        share = EVENT * size.events * len(self.topics) // len(TOPICS)
        await self.run([random.randrange(1, share // size.drops) for _ in range(size.drops)], pause=0.02)

    def has(self, texts): return set(self.texts[-20:]) >= {text for text in texts if text[0] in self.topics}


class Publishing:
    "Texts published by several at once, each by whichever worker takes it: `events` of them, and on until as many `workers` were seen."
    def __init__(self, port, events, workers):
        self.port, self.events, self.expected = port, events, workers
        self.numbers, self.ids, self.workers, self.failed = count(), {}, set(), 0

    async def publish(self, text):
        "Whether it is published; if not, it may be."
        try: answer = json.loads(await fetch(self.port, f'/publish?topic={text[0]}&text={text}'))
        except (OSError, ValueError): return False
        self.ids[text] = answer['id']
        self.workers.add(answer['worker'])
        return True

    async def publish_some(self):
        while len(self.ids) < self.events or len(self.workers) < self.expected:
            number = next(self.numbers)
            if await self.publish(f'{TOPICS[number % len(TOPICS)]}{number}'): continue
            self.failed += 1
            await asyncio.sleep(0.02)

    async def publish_the_last(self):
        for text in LAST:
            while not await self.publish(text): await asyncio.sleep(0.02)

    async def run(self): await asyncio.gather(*(self.publish_some() for _ in range(PUBLISHERS)))

    async def until(self, share):
        while len(self.ids) < self.events * share: await asyncio.sleep(0.01)


async def exercise(server, size, workers=2, disturb=None):
    "Publish to clients that come and go while `disturb` runs, and check what each of them has."
    start = json.loads(await fetch(server.port, '/tail'))['id']
    clients = [TopicReader(server.port, random.sample(TOPICS, random.randint(1, 3)), start) for _ in range(size.clients)]
    witness, publishing = TopicReader(server.port, TOPICS, start), Publishing(server.port, size.events, workers)
    tasks = [asyncio.create_task(run) for run in (*(client.read_with_drops(size) for client in clients), witness.run(pause=0.02))]
    try:
        await asyncio.gather(publishing.run(), *([disturb(publishing)] if disturb else []))
        await publishing.publish_the_last()
        while not all(client.has(LAST) for client in [*clients, witness]): await asyncio.sleep(0.05)
    finally:
        for task in tasks: task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    check(clients, witness, publishing.ids)
    for client in clients: assert client.statuses.count(200) >= size.drops and not client.gaps
    assert len(publishing.ids) >= size.events + len(LAST) and len(publishing.workers) == workers
    return publishing


def check(clients, witness, ids):
    "Everybody has what the witness has of their topics: all that has an id, in the order of the ids, and the rest at most once."
    assert max(Counter(witness.texts).values()) == 1 and set(ids) <= set(witness.texts)
    order = [position(ids[text]) for text in witness.texts if text in ids]
    assert order == sorted(order)
    for client in clients: assert client.texts == [text for text in witness.texts if text[0] in client.topics]


def position(id):
    "What an id says about order: SQLite's end with a number, Redis's with a time and a number."
    parts = id.split('-')
    return tuple(map(int, parts[-2:] if id[:13].isdigit() else parts[-1:]))


async def error_of(port): return json.loads(await fetch(port, '/stats'))['error']


@pytest.mark.parametrize('kind', ['sqlite', pytest.param('redis', marks=pytest.mark.full)])
async def test_nothing_is_lost_between_two_workers(tmp_path, size, kind):
    with place(kind, tmp_path) as log:
        async with serving(tmp_path, *APP, LOG=log) as server: publishing = await exercise(server, size)
    assert not publishing.failed

@pytest.mark.parametrize('kind', [pytest.param('sqlite', marks=pytest.mark.full), 'redis'])
async def test_nothing_is_lost_when_a_worker_is_killed(tmp_path, size, kind):
    async def kill(publishing):
        await publishing.until(0.4)
        os.kill(min(publishing.workers), signal.SIGKILL)
    with place(kind, tmp_path) as log:
        async with serving(tmp_path, *APP, LOG=log) as server: publishing = await exercise(server, size, 3, kill)
    assert publishing.failed < size.events * 0.1

async def test_nothing_is_lost_when_redis_restarts(tmp_path, size):
    with redis(tmp_path, '--appendonly', 'yes') as database:
        async def restart(publishing):
            await publishing.until(0.4)
            await asyncio.to_thread(database.stop)
            assert not await publishing.publish('a-lost')
            while not await error_of(publishing.port): await asyncio.sleep(0.01)
            await asyncio.to_thread(database.start)
            again = len(publishing.ids)
            async with asyncio.timeout(PATIENCE):
                while len(publishing.ids) == again: await asyncio.sleep(0.01)
        async with serving(tmp_path, *APP, LOG=f'redis {database.url}') as server:
            await exercise(server, size, disturb=restart)
            while await error_of(server.port): await asyncio.sleep(0.05)
