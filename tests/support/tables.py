"The app's own file: opened by each library, with a channel in it, and what its log holds."
import asyncio, json, sqlite3, subprocess, sys
from collections import Counter
from contextlib import asynccontextmanager, contextmanager

import apsw, pytest
from fastlite import database

from fasthtml_sse import Channel, EventParser, SQLiteLog
from tests.support.clock import PATIENCE


# The libraries

def by_sqlite3(path): return sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)

def by_apsw(path):
    db = apsw.Connection(str(path))
    db.set_busy_timeout(PATIENCE * 1000)
    return db

def by_fastlite(path):
    db = database(path)
    db.conn.set_busy_timeout(PATIENCE * 1000)
    return db

EACH = [by_sqlite3, by_fastlite, pytest.param(by_apsw, marks=pytest.mark.full)]  # fastlite is by apsw, too

def close(db): getattr(db, 'conn', db).close()


@asynccontextmanager
async def app(path, *statements, connect=by_sqlite3, publish=(), **settings):
    "A connection of the app that has run `statements`, and a channel in its file to which the tables in `publish` publish."
    db = connect(path)
    channel = Channel(SQLiteLog(db, **settings))
    try:
        for statement in statements: db.execute(statement)
        for table in publish: channel.publish_table(table)
        yield db, channel
    finally:
        await channel.aclose()
        close(db)


# What is in the file

def event_in(data):
    event, = EventParser().feed(b'id: 1\n' + bytes(data))
    return event

def changes_in(db, *topics):
    "What the log says of tables: (name, what, row)."
    found = []
    for topic, data in db.execute('select topic, data from sse_events where state is null order by position'):
        event = event_in(data)
        if event.event is None or topics and topic not in topics: continue
        said = json.loads(event.data)
        found.append((event.event, said['op'], said['rowid']))
    return found

def texts_in(db, topic):
    query = 'select data from sse_events where topic = ? and state is null order by position'
    return [event_in(data).data for data, in db.execute(query, (topic,))]

def check_counts(db):
    "What the log counts is what there is, and it says of each topic up to where something is gone."
    there = Counter(topic for topic, in db.execute('select topic from sse_events'))
    assert dict(list(db.execute('select topic, count from sse_topics'))) == there
    assert list(db.execute('select count from sse_log')) == [(there.total(),)]
    first = 'select min(position) from sse_events where sse_events.topic = sse_topics.topic'
    assert not list(db.execute(f'select topic from sse_topics where trimmed >= ({first})'))

def check_whole(db): assert list(db.execute('pragma integrity_check')) == [('ok',)]


# Another process that knows nothing of channels

SHELL = '''
import json, sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=10, isolation_level=None)
for line in sys.stdin:
    before = time.monotonic()
    for statement in json.loads(line): db.execute(statement)
    print(json.dumps(before), flush=True)
'''

class Shell:
    def __init__(self, process): self.process = process

    async def run(self, *statements):
        "When it began to run them; it has then."
        self.process.stdin.write(json.dumps(statements).encode() + b'\n')
        return json.loads(await self.process.stdout.readline())

@asynccontextmanager
async def shell(path):
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process = await asyncio.create_subprocess_exec(sys.executable, '-c', SHELL, str(path), **pipes)
    try: yield Shell(process)
    finally:
        process.stdin.close()
        await process.wait()


@contextmanager
def opened(path, connect=by_sqlite3):
    db = connect(path)
    try: yield db
    finally: close(db)
