"Where logs are used at the edges: forks, finalizers, threads that cannot start, the end of the process, and files that others write to."
import asyncio, gc, os, sqlite3, subprocess, sys, threading
from contextlib import closing
from threading import Thread

import pytest
from fastlite import database

from fasthtml_sse import Channel, EventParser, LogError, SQLiteLog
from fasthtml_sse.broadcast import sqlite
from tests.support import ROOT
from tests.support.clock import PATIENCE, until
from tests.support.logs import KINDS, on_every_log, opened, read, settled
from tests.support.redis import shared

pytestmark = pytest.mark.anyio
forking = pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning')  # that is what is tested
STORED = [kind for kind in KINDS if kind.durable]


def in_child(fn):
    "What `fn()` comes to in a process that is forked off: its text, or that of what it raised."
    reading, writing = os.pipe()
    if not (child := os.fork()):
        try:
            try: said = str(fn())
            except Exception as e: said = f'{type(e).__name__}: {e}'
            os.write(writing, said.encode())
        finally: os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe: said = pipe.read()
    os.waitpid(child, 0)
    return said

def run(script, *args, timeout=20):
    "What a script of its own process prints, which must end well."
    command = [sys.executable, '-c', script, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr

def texts_in(path):
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute('select data from sse_events order by position').fetchall()
    return [EventParser().feed(bytes(data))[0].data for data, in rows]


# Forks

@forking
@pytest.mark.parametrize('kind', STORED, ids=lambda kind: kind.__name__)
async def test_a_child_publishes_to_all_and_loses_nothing_though_its_parent_closes_the_log(kind):
    async with kind() as logs:
        channel, other = opened(logs), Channel(logs.again())
        start = await other.tail()
        subscription = channel.subscribe(after=start)
        await channel.publish('before')
        await read(subscription)
        reading, writing = os.pipe()
        if not (child := os.fork()):
            try:
                channel.publish_sync('child 0')
                os.read(reading, 1)  # until the parent has closed its own
                for n in range(1, 100): channel.publish_sync(f'child {n}')
            finally: os._exit(0)
        await channel.publish('parent')
        await channel.aclose()
        os.write(writing, b'x')
        await asyncio.to_thread(os.waitpid, child, 0)
        for fd in (reading, writing): os.close(fd)
        found = await read(other.subscribe(after=start), 102)
        assert [text for text in found if text.startswith('child')] == [f'child {n}' for n in range(100)]
        assert set(found) >= {'before', 'parent'}

@forking
@pytest.mark.parametrize('kind', STORED, ids=lambda kind: kind.__name__)
async def test_children_that_are_forked_while_the_parent_publishes_can_publish(kind):
    async with kind() as logs:
        channel, over, published = opened(logs), threading.Event(), []
        start = await channel.tail()
        def publishing():
            while not over.is_set(): published.append(channel.publish_sync(f'parent {len(published)}'))
        thread = Thread(target=publishing)
        thread.start()
        try: said = [in_child(lambda n=n: channel.publish_sync(f'child {n}')) for n in range(12)]
        finally:
            over.set()
            thread.join()
        assert not [text for text in said if 'Error' in text] and len({*said, *published}) == len(published) + 12
        found = await read(channel.subscribe(after=start), len(published) + 12)
        assert [text for text in found if text.startswith('child')] == [f'child {n}' for n in range(12)]

@forking
@on_every_log
async def test_a_fork_while_others_look_hangs_no_child(logs):
    channel, over = opened(logs), threading.Event()
    subscription = channel.subscribe('other')
    step = asyncio.create_task(read(subscription))
    await until(lambda: channel.log._readers, 0.001)
    def looking():
        while not over.is_set(): channel.stats(), channel.log.count(None, 0)
    threads = [Thread(target=looking) for _ in range(3)]
    for thread in threads: thread.start()
    def job():
        channel.stats()
        return channel.publish_sync('x') and 'published'
    try: said = {in_child(job) for _ in range(20)}
    finally:
        over.set()
        for thread in threads: thread.join()
    if logs.durable: assert said == {'published'}
    else: assert len(said) == 1 and 'LogError: this process was forked' in min(said) and 'events.db' in min(said)
    await channel.publish('to the parent', 'other')
    assert await step == ['to the parent']

@forking
async def test_a_child_with_readers_of_its_own_has_a_channel_in_memory():
    channel = Channel()
    step = asyncio.create_task(read(channel.subscribe()))
    await until(lambda: channel.log._readers)
    def job():
        async def alone():
            reading = asyncio.create_task(read(channel.subscribe()))
            while not channel.log._readers: await asyncio.sleep(0)
            await channel.publish('mine')
            return await reading
        found = []
        thread = Thread(target=lambda: found.append(asyncio.run(alone())))
        thread.start()
        thread.join()
        return found[0]
    assert await asyncio.to_thread(in_child, job) == "['mine']"
    await channel.publish('x')
    assert await step == ['x']

@forking
async def test_a_child_of_a_process_that_writes_for_long_says_that_it_cannot(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, 'WAIT', 0.05)
    channel = Channel(SQLiteLog(tmp_path/'events.db'))
    await channel.publish('x')
    store = channel.log._store
    with store._gate: said = in_child(lambda: channel.publish_sync('y'))
    assert said.startswith('LogError: ') and 'was forked while its parent was writing' in said
    await channel.publish('z')
    assert texts_in(tmp_path/'events.db') == ['x', 'z']
    await channel.aclose()

async def test_what_was_written_to_a_journal_that_somebody_removed_is_an_error(tmp_path):
    channel = Channel(SQLiteLog(tmp_path/'events.db'))
    await channel.publish('x')
    (tmp_path/'events.db-wal').unlink()
    with pytest.raises(LogError, match='events.db-wal was removed while it was in use'): await channel.publish('y')
    await channel.aclose()


# Finalizers, wherever they run

class Dying:
    "Publishes when it is collected, which is when there is no name for it any more and the collector comes by."
    def __init__(self, channel, heard):
        self.channel, self.heard, self.me = channel, heard, self
    def __del__(self): self.heard.append(self.channel.publish_sync('from a finalizer', 'dying'))

@on_every_log
async def test_a_finalizer_may_publish_wherever_it_runs(logs):
    "The collector runs at every few allocations, so it comes by in each line of the log's own threads too."
    channel, heard, before = opened(logs), [], gc.get_threshold()
    start = await channel.tail()
    subscription = channel.subscribe('mine', after=start)
    gc.set_threshold(3, 2, 2)
    try:
        async with asyncio.timeout(60):
            for n in range(300):
                for _ in range(3): Dying(channel, heard)
                await channel.publish(n, 'mine')
                if n % 10 == 0: channel.stats()
            assert await read(subscription, 300) == [str(n) for n in range(300)]
    finally: gc.set_threshold(*before)
    gc.collect()
    await channel.publish('end', 'dying')
    found = []
    async with asyncio.timeout(PATIENCE):
        async for entry in channel.subscribe('dying', after=start):
            found.append(entry.id)
            if entry.frame.endswith(b'data: end\n\n'): break
    known = [id for id in heard if not id.endswith('.untold')]
    assert len(found) == len(heard) + 1 == 901 and set(known) <= set(found) and len(known) > 100

@on_every_log
async def test_what_a_closed_loop_has_left_is_collected_without_a_deadlock(logs):
    channel, before = opened(logs), gc.get_threshold()
    await channel.log.ready()
    def leave():
        loop = asyncio.new_event_loop()
        async def wait():
            subscription = channel.subscribe('a')
            task = asyncio.ensure_future(anext(subscription))
            while not subscription._waiting: await asyncio.sleep(0)
            task._log_destroy_pending = False
        loop.run_until_complete(wait())
        loop.close()
    gc.set_threshold(5, 2, 2)
    try:
        for n in range(100):
            if n % 4 == 0: await asyncio.to_thread(leave)
            async with asyncio.timeout(PATIENCE): await channel.publish(n, 'a')
    finally: gc.set_threshold(*before)
    gc.collect()
    await channel.publish('last', 'a')
    await settled(channel.log)
    assert not channel.log._readers


# Threads that cannot start

@pytest.fixture
def no_threads(monkeypatch):
    "A switch: while it is on, no thread of the log can be started."
    start, off = Thread.start, threading.Event()
    def refuse(thread):
        if thread.name.startswith('fasthtml_sse') and not off.is_set(): raise RuntimeError("can't start new thread")
        start(thread)
    monkeypatch.setattr(Thread, 'start', refuse)
    return off

@pytest.mark.parametrize('kind', STORED, ids=lambda kind: kind.__name__)
async def test_a_log_whose_threads_cannot_start_says_so_and_works_once_they_can(kind, no_threads, monkeypatch):
    monkeypatch.setattr('fasthtml_sse.broadcast.stored.RETRY', 0.02)
    async with kind() as logs:
        channel = opened(logs)
        with pytest.raises(LogError, match="needs a thread, and none can be started: can't start new thread"): await channel.publish('x')
        with pytest.raises(LogError, match='needs a thread'): await channel.tail()
        id = channel.publish_sync('in the thread that publishes')
        subscription = channel.subscribe()
        step = asyncio.create_task(read(subscription))
        await until(lambda: 'needs a thread' in (channel.stats().error or ''), 0.001)
        no_threads.set()
        await channel.log.ready()
        assert await channel.tail() == id
        while not channel.log._readers: await asyncio.sleep(0.01)
        await channel.publish('y')
        assert await step == ['y']
        await until(lambda: channel.stats().error is None, 0.001)


# The end of a process

AT_THE_END = '''
import atexit, sys
from fasthtml_sse import Channel
channel = Channel(sys.argv[1])
class Last:
    def __del__(self): print(bool(channel.publish_sync('from a finalizer')), flush=True)
keep = Last()
keep.me = keep
atexit.register(lambda: print(bool(channel.publish_sync('at exit')), flush=True))
sys.last = keep
BEFORE
'''

@pytest.mark.parametrize('before', ['', "channel.publish_sync('before')"], ids=['first', 'later'])
@pytest.mark.parametrize('place', ['sqlite', 'redis'])
def test_a_process_that_publishes_at_its_very_end_ends(tmp_path, place, before):
    where = tmp_path/'events.db' if place == 'sqlite' else shared().url
    out, err = run(AT_THE_END.replace('BEFORE', before), where)
    assert out.startswith('True\n')
    if place == 'sqlite': assert 'at exit' in texts_in(tmp_path/'events.db')


# Files that others write to

@pytest.fixture
def file(tmp_path):
    "A log of this process, and what others do to its file."
    path = tmp_path/'events.db'
    def by_others(*statements):
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            for statement in statements: db.execute(*(statement if isinstance(statement, tuple) else (statement,)))
    by_others.path = path
    return by_others

async def test_a_row_that_is_no_event_is_told_and_passed_over(file, caplog):
    channel = Channel(SQLiteLog(file.path))
    subscription = channel.subscribe()
    start = await channel.publish('a')
    bad = ["'text'", "x'00'", "x'ff'", "cast('data: half' as blob)", '7', "'data: text\n\n'"]
    file(*(f"insert into sse_events (topic, data, at) values ('', {data}, 0)" for data in bad))
    file("insert into sse_events (topic, data, at) values (x'ff', x'0a0a', 0)")
    await channel.publish('b')
    assert await read(subscription, 2) == ['a', 'b']
    late = Channel(SQLiteLog(file.path))
    assert await read(late.subscribe(after=start)) == ['b'] == await read(late.subscribe('', after=start))
    assert caplog.text.count('passes over what is no event') >= 7 and channel.stats().error is None
    for each in (channel, late): await each.aclose()

async def test_columns_and_tables_of_others_stop_nobody(file):
    channel = Channel(SQLiteLog(file.path))
    await channel.publish('a')
    file(*(f'alter table {table} add column mine text' for table in ('sse_events', 'sse_topics', 'sse_log', 'sse_records', 'sse_words')))
    start = await channel.tail()
    await channel.publish('b', 'job', end=True)
    late = Channel(SQLiteLog(file.path))
    await late.log.asay('word')
    assert await read(late.subscribe('job', after=start)) == ['b']
    for each in (channel, late): await each.aclose()

@pytest.mark.parametrize('when', ['up', 'down'])
async def test_a_log_that_was_emptied_by_sql_is_told(file, when):
    channel = Channel(SQLiteLog(file.path))
    ids = [await channel.publish(n, 'a') for n in range(5)]
    if when == 'down': await channel.aclose()
    file('delete from sse_events')
    late = Channel(SQLiteLog(file.path))
    gap, = await read(late.subscribe('a', after=ids[1]))
    assert gap.after == ids[1]
    id = await late.publish('new', 'a')
    assert await read(late.subscribe('a', after=ids[4])) == ['new'] and id not in ids
    for each in (channel, late): await each.aclose()

FIRST_VERSION = '''
create table sse_events (position integer primary key autoincrement, topic text not null, data blob not null, at real not null);
create index sse_events_of_topic on sse_events (topic, position);
create table sse_topics (topic text primary key, count integer not null, trimmed integer not null) without rowid;
create table sse_log (epoch text not null, count integer not null, trimmed integer not null, forgotten integer not null);
insert into sse_log values ('0123456789ab', 3, 2, 0);
insert into sse_topics values ('a', 2, 2), ('b', 1, 0);
insert into sse_events values (3, 'a', cast('data: 3' || char(10, 10) as blob), 0);
insert into sse_events values (4, 'b', cast('data: 4' || char(10, 10) as blob), 0);
insert into sse_events values (5, 'a', cast('data: 5' || char(10, 10) as blob), 0);
'''

async def test_a_file_of_the_first_version_goes_on(file):
    with closing(sqlite3.connect(file.path)) as db: db.executescript(FIRST_VERSION)
    channel = Channel(SQLiteLog(file.path, maxlen=2))
    assert await channel.tail() == '0123456789ab-5'
    assert await read(channel.subscribe(after='0123456789ab-2'), 3) == ['3', '4', '5']
    assert await read(channel.subscribe('b', since='start')) == ['4']
    for n in range(6, 9): await channel.publish(n, 'a', end=n == 8)
    late = Channel(SQLiteLog(file.path, maxlen=2))
    with pytest.raises(LogError, match='has ended'): await late.publish('x', 'a')
    with closing(sqlite3.connect(file.path)) as db:
        assert db.execute('select version from sse_log').fetchone() == (sqlite.VERSION,)
        rows, = db.execute('select count(*) from sse_events').fetchone()
        assert db.execute('select count, trimmed from sse_log').fetchone() == (rows, 7)
    for each in (channel, late): await each.aclose()

async def test_a_file_of_a_newer_version_is_left_alone(file):
    channel = Channel(SQLiteLog(file.path))
    await channel.publish('x')
    await channel.aclose()
    file('update sse_log set version = 99')
    later = Channel(SQLiteLog(file.path))
    for _ in range(2):
        with pytest.raises(LogError, match='its tables have version 99, and this one knows 2'): await later.publish('y')
    await later.aclose()
    assert texts_in(file.path) == ['x']

def test_the_file_of_the_app_itself_is_refused_where_another_sqlite_is_loaded(file):
    db = database(file.path)
    db.q('create table todo (id integer primary key, title text)')
    why = r"holds tables that are not the log's \(todo\), and apsw is loaded.*a file of its own"
    with pytest.raises(ValueError, match=why): Channel(SQLiteLog(file.path))
    with pytest.raises(ValueError, match='todo'): Channel(str(file.path))

async def test_tables_of_the_app_that_come_later_are_told_of(file):
    channel = Channel(SQLiteLog(file.path))
    await channel.publish('x')
    database(file.path).q('create table todo (id integer primary key, title text)')
    with pytest.raises(LogError, match=r"holds tables that are not the log's \(todo\)"): await channel.publish('y')
    await channel.aclose()

def test_without_another_sqlite_a_log_may_live_in_any_file(file):
    file('create table todo (id integer primary key, title text)')
    script = '''
import sys
sys.modules['fastlite'] = None
from fasthtml_sse.broadcast.sqlite import SQLiteLog
from fasthtml_sse.broadcast.store import Post
sys.modules.pop('apsw', None)
print(bool(SQLiteLog(sys.argv[1]).append(Post('', b'data: x\\n\\n'))))
'''
    assert run(script.replace("sys.modules['fastlite'] = None\n", ''), file.path)[0] == 'True\n'


# Files that grow

async def test_the_journal_stays_small_whoever_reads(file):
    channel, over = Channel(SQLiteLog(file.path, maxlen=1000)), threading.Event()
    await channel.tail()
    def reading():
        with closing(sqlite3.connect(file.path)) as db:
            while not over.is_set(): db.execute('select count(*), sum(length(data)) from sse_events').fetchall()
    readers = [Thread(target=reading) for _ in range(2)]
    for reader in readers: reader.start()
    largest = 0
    try:
        for n in range(25):
            await asyncio.gather(*(channel.publish('x' * 10_000) for _ in range(100)))
            largest = max(largest, os.stat(f'{file.path}-wal').st_size)
    finally:
        over.set()
        for reader in readers: reader.join()
    assert largest < 16e6
    await channel.aclose()
