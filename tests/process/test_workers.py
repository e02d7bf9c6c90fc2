"Two workers, a hundred clients that come and go, and what is killed on the way: nothing that was published is lost, doubled or swapped."
import asyncio, json, os, random, signal
from collections import Counter
from contextlib import contextmanager, suppress
from itertools import count

import httptools, pytest

from fasthtml_sse import EventParser
from tests.support.redis import redis
from tests.support.serving import fetch, serving

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]  # 25 on two idle cores
CLIENTS, DROPS, EVENTS, PUBLISHERS, TOPICS = 100, 20, 5000, 8, 'abcde'
EVENT = 35  # bytes on the wire, about
LAST = [f'{topic}-last' for topic in TOPICS]


class Client:
    "Reads topics as a browser would, over as many connections as it takes."
    def __init__(self, port, topics, last_id):
        self.port, self.topics, self.last_id = port, topics, last_id
        self.texts, self.gaps, self.connections = [], 0, 0

    async def read(self, limit=None):
        "Read on one connection, which is cut after `limit` bytes of the body, wherever that is."
        parser, received = EventParser(), 0
        def on_body(body):
            nonlocal received
            part = body if limit is None else body[:max(0, limit - received)]
            received += len(body)
            for event in parser.feed(part):
                if event.event == 'gap': self.gaps += 1
                else: self.texts.append(event.data)
            self.last_id = parser.last_event_id or self.last_id
        reader, writer = await asyncio.open_connection('127.0.0.1', self.port)
        self.connections += 1
        try:
            writer.write(f"GET /events?topics={'+'.join(self.topics)} HTTP/1.1\r\nHost: x\r\nLast-Event-ID: {self.last_id}\r\n\r\n".encode())
            http = httptools.HttpResponseParser(type('Body', (), {'on_body': staticmethod(on_body)})())
            while (limit is None or received < limit) and (data := await reader.read(2**16)): http.feed_data(data)
        finally: writer.transport.abort()

    async def run(self, drops=0):
        "Come back at once whenever the connection ends, which it does at random places the first times."
        share = EVENT * EVENTS * len(self.topics) // len(TOPICS)
        for drop in count():
            with suppress(OSError): await self.read(random.randrange(1, share // drops) if drop < drops else None)
            await asyncio.sleep(random.uniform(0, 0.02))  # not all at the same moment

    def has(self, texts): return set(self.texts[-20:]) >= {text for text in texts if text[0] in self.topics}


class Publishing:
    "Texts published by several at once, each by whichever worker takes the request."
    def __init__(self, port): self.port, self.left, self.ids, self.workers = port, list(range(EVENTS)), {}, set()

    async def publish(self, text):
        "Whether it is published; if not, it may be."
        try: answer = json.loads(await fetch(self.port, f'/publish?topic={text[0]}&text={text}'))
        except (OSError, ValueError): return False
        self.ids[text] = answer['id']
        self.workers.add(answer['worker'])
        return True

    async def publish_some(self):
        while self.left:
            number = self.left.pop()
            if not await self.publish(f'{TOPICS[number % len(TOPICS)]}{number}'): await asyncio.sleep(0.02)

    async def run(self):
        await asyncio.gather(*(self.publish_some() for _ in range(PUBLISHERS)))
        for text in LAST:
            while not await self.publish(text): await asyncio.sleep(0.02)

    async def until(self, share):
        while len(self.left) > EVENTS * (1 - share): await asyncio.sleep(0.01)


async def exercise(server, disturb=None):
    "Publish to clients that come and go while `disturb` runs, and check what each of them has."
    start = json.loads(await server.answers('/tail'))['id']
    clients = [Client(server.port, random.sample(TOPICS, random.randint(1, 3)), start) for _ in range(CLIENTS)]
    witness, publishing = Client(server.port, TOPICS, start), Publishing(server.port)
    tasks = [asyncio.create_task(client.run(DROPS)) for client in clients] + [asyncio.create_task(witness.run())]
    try:
        await asyncio.gather(publishing.run(), *([disturb(publishing)] if disturb else []))
        while not all(client.has(LAST) for client in [*clients, witness]): await asyncio.sleep(0.05)
    finally:
        for task in tasks: task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    check(clients, witness, publishing.ids)
    return publishing


def check(clients, witness, ids):
    "Everybody has what the witness has of their topics: all that has an id, in the order of the ids, and the rest at most once."
    assert max(Counter(witness.texts).values()) == 1 and set(ids) <= set(witness.texts)
    order = [tuple(map(int, ids[text].split('-')[-2:] if ids[text][:13].isdigit() else ids[text].split('-')[-1:])) for text in witness.texts if text in ids]
    assert order == sorted(order)
    for client in clients:
        assert client.texts == [text for text in witness.texts if text[0] in client.topics]
        assert client.connections > DROPS and not client.gaps


@contextmanager
def place(kind, folder, *options):
    "Where the log is, as the app is told."
    if kind == 'sqlite': yield f"sqlite {folder/'events.db'}"
    else:
        with redis(folder, *options) as server: yield f'redis {server.url}'

def two_workers(tmp_path, log): return serving(tmp_path, '-m', 'uvicorn', 'tests.apps.channel:app', '--port', 'PORT', '--workers', '2', '--no-access-log', LOG=log)


@pytest.mark.parametrize('kind', ['sqlite', 'redis'])
async def test_nothing_is_lost_between_two_workers(tmp_path, kind):
    with place(kind, tmp_path) as log:
        async with two_workers(tmp_path, log) as server: publishing = await exercise(server)
    assert len(publishing.ids) == EVENTS + len(LAST) and len(publishing.workers) == 2

@pytest.mark.parametrize('kind', ['sqlite', 'redis'])
async def test_nothing_is_lost_when_a_worker_is_killed(tmp_path, kind):
    async def kill(publishing):
        await publishing.until(0.4)
        os.kill(min(publishing.workers), signal.SIGKILL)
    with place(kind, tmp_path) as log:
        async with two_workers(tmp_path, log) as server: publishing = await exercise(server, kill)
    assert len(publishing.workers) == 3 and len(publishing.ids) > EVENTS * 0.9

async def test_nothing_is_lost_when_redis_restarts(tmp_path):
    with redis(tmp_path, '--appendonly', 'yes') as database:
        async def restart(publishing):
            await publishing.until(0.4)
            await asyncio.to_thread(database.stop)
            assert not await publishing.publish('a-lost')
            while not json.loads(await fetch(publishing.port, '/stats'))['error']: await asyncio.sleep(0.01)
            await asyncio.to_thread(database.start)
        async with two_workers(tmp_path, f'redis {database.url}') as server:
            publishing = await exercise(server, restart)
            while json.loads(await fetch(server.port, '/stats'))['error']: await asyncio.sleep(0.05)
    assert len(publishing.workers) == 2 and len(publishing.ids) > EVENTS * 0.5
