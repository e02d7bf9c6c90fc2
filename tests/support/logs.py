"What the suites of the channel share: one class for each log, how it is made and how another process would open it."
import asyncio, functools, tempfile
from itertools import count
from pathlib import Path

import apsw, pytest

import fasthtml_sse.broadcast.redis as redis_module
from fasthtml_sse import Channel, EventParser, Gap, MemoryLog, RedisLog, SQLiteLog

from . import redis
from .clock import PATIENCE, until


class Logs:
    "The logs of one test, which are closed when it ends. A kind of log is a subclass that makes them."
    durable = False  # whether events outlive the process, and reach others
    slack = 0  # events of a topic that may be kept beyond `maxlen`, where the store trims by the batch

    def __init__(self): self.opened, self._maxlen = [], None

    def open(self, maxlen):
        "A log object, for what the previous ones of this test were for, if that can be."
        raise NotImplementedError

    async def clean_up(self): "Drop what the test has stored."

    def make(self, maxlen=10_000):
        self._maxlen = maxlen
        self.opened.append(self.open(maxlen))
        return self.opened[-1]

    def again(self):
        "The log as another process opens it."
        return self.make(self._maxlen)

    def surely(self, maxlen): return maxlen + self.slack + 1  # so many events of a topic are never all kept

    async def __aenter__(self): return self

    async def __aexit__(self, *error):
        for log in self.opened: await log.aclose()
        await self.clean_up()


class Memory(Logs):
    def open(self, maxlen): return MemoryLog(maxlen)


class SQLite(Logs):
    durable = True
    def __init__(self):
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(dir='/dev/shm' if Path('/dev/shm').is_dir() else None)
    def open(self, maxlen): return SQLiteLog(Path(self._folder.name)/'events.db', maxlen=maxlen)
    async def clean_up(self): self._folder.cleanup()


class Apsw(SQLite):
    "In the file of a database that the app has opened by another library."
    def __init__(self):
        super().__init__()
        self._app = None

    def open(self, maxlen):
        self._app = self._app or apsw.Connection(f'{self._folder.name}/events.db')
        return SQLiteLog(self._app, maxlen=maxlen)

    async def clean_up(self):
        self._app.close()
        await super().clean_up()


class Redis(Logs):
    durable, _names = True, count()
    def __init__(self):
        super().__init__()
        self._name = f'test {next(self._names)}'
        self._block, redis_module.BLOCK = redis_module.BLOCK, 20  # milliseconds for which the end of a test has to wait
    def open(self, maxlen): return RedisLog(redis.shared().url, maxlen=maxlen, name=self._name)
    async def clean_up(self): redis_module.BLOCK = self._block


KINDS = [Memory, SQLite, Redis, Apsw]
# Apsw is the same code as SQLite, by another library
EACH = [pytest.param(kind, id=kind.__name__, marks=[pytest.mark.full] if kind is Apsw else []) for kind in KINDS]


def on_every_log(test):
    "`test`, once with each kind of `logs`, which are closed before its end."
    @pytest.mark.parametrize('logs', EACH)
    @functools.wraps(test)
    async def on_one(logs, **kwargs):
        async with logs() as made: await test(made, **kwargs)
    return on_one


# What is read

def text_of(entry):
    "The data of an entry; its id in front if it is a gap."
    if isinstance(entry, Gap): return entry
    event, = EventParser().feed(entry.frame)
    assert event.id == entry.id
    return event.data

async def read(subscription, n=1):
    "The data of the next `n` entries of `subscription`, and its gaps."
    async with asyncio.timeout(PATIENCE): return [text_of(await anext(subscription)) for _ in range(n)]

async def read_on(channel, *topics, after):
    "All that follows the id `after` up to now: an event is published behind it, to know the end."
    topic, found = topics[0] if topics else '', []
    last = await channel.publish('the last', topic)
    subscription = channel.subscribe(*topics, after=after)
    async with asyncio.timeout(PATIENCE):
        async for entry in subscription:
            if entry.id != last or isinstance(entry, Gap): found.append(text_of(entry))
            if entry.id == last: return found

async def publish(channel, *texts, topic=''):
    "The ids of `texts`."
    return [await channel.publish(text, topic) for text in texts]

async def settled(log):
    "Wait until this process has seen all that it published, where it reads a copy."
    await log.ready()
    await until(lambda: log._history.end >= log.end, 0.001)

def opened(logs, maxlen=10_000): return Channel(logs.make(maxlen))
