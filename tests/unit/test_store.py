"What lies between a log and its store: threads that wait for it, who shares what they find, and a store that fails."
import asyncio, threading, time

import pytest

import fasthtml_sse.broadcast.stored as stored_module
from fasthtml_sse import Channel, LogError, SQLiteLog
from fasthtml_sse.broadcast.store import News, Page, Post
from fasthtml_sse.broadcast.stored import Appends, Reads, StoredLog
from fasthtml_sse.core.source import Worker
from tests.support.asgi import Client
from tests.support.clock import PATIENCE, turns, until

pytestmark = pytest.mark.anyio


class SlowStore:
    "A store that holds nothing, and answers when it `may`."
    patience = 0.0

    def __init__(self): self.may, self.asked = threading.Event(), []

    def answer(self, question, answer):
        self.asked.append(question)
        self.may.wait(PATIENCE)
        return answer

    def read(self, topics, after, limit, told=0): return self.answer(after, Page([], after))
    def append(self, posts): return self.answer([post.data for post in posts], [*range(len(posts))])
    def tail(self): return self.answer('tail', 7)
    def follow(self): return self.tail()
    def news(self, after): return News(bool(time.sleep(0.01)))
    def id(self, position): return str(position)
    def renew(self): "Nothing is open."
    def wake(self): "Nothing sleeps for long."
    def close(self): "Nothing is open."


class FailingStore(SlowStore):
    "A store that fails so many `times`."
    def __init__(self, times):
        super().__init__()
        self.times = times
        self.may.set()

    def answer(self, question, answer):
        super().answer(question, answer)
        if len(self.asked) <= self.times: raise LogError('away')
        return answer


def close(worker):
    worker.stop()
    worker.join()

async def test_readers_at_one_place_share_a_page_though_one_gives_up():
    store, reads = SlowStore(), Reads()
    gives_up, waits = (asyncio.wrap_future(reads.ask(store.read, None, 7, 256, fresh=False)) for _ in range(2))
    await until(lambda: store.asked)
    gives_up.cancel()
    await turns()
    store.may.set()
    assert await waits == Page([], 7) and store.asked == [7]
    close(reads.worker)

async def test_what_must_be_fresh_is_asked_again_once_it_is_being_answered():
    store, reads = SlowStore(), Reads()
    first = asyncio.wrap_future(reads.ask(store.tail))
    await until(lambda: store.asked)
    later = [asyncio.wrap_future(reads.ask(store.tail)) for _ in range(5)]
    store.may.set()
    assert await asyncio.gather(first, *later) == [7] * 6 and store.asked == ['tail'] * 2
    close(reads.worker)

def append(appends, data):
    "A post that waits for its turn, in this loop."
    waiter = asyncio.get_running_loop().create_future()
    appends.submit(Post('a', data), waiter)
    return waiter

async def test_an_append_that_is_given_up_is_none_and_harms_none_beside_it():
    store = SlowStore()
    appends = Appends(store)
    first = append(appends, b'first')
    await until(lambda: store.asked)
    given_up, beside = append(appends, b'given up'), append(appends, b'beside')
    given_up.cancel()
    await turns()
    store.may.set()
    assert [await first, await beside] == [0, 0] and store.asked == [[b'first'], [b'beside']]
    close(appends.worker)

async def test_what_a_store_leaves_is_offered_again_in_order(monkeypatch):
    monkeypatch.setattr(stored_module, 'BATCH', 4)
    class Picky(SlowStore):
        "Takes two at a time."
        def append(self, posts): return super().append(posts[:2])
    store = Picky()
    appends = Appends(store)
    waiters = [append(appends, bytes([n])) for n in range(7)]
    store.may.set()
    await asyncio.gather(*waiters)
    assert b''.join(b''.join(batch) for batch in store.asked) == bytes(range(7)) and max(map(len, store.asked)) == 2
    close(appends.worker)

def test_a_worker_that_was_stopped_refuses_what_it_is_given():
    worker, refused = Worker('of a test'), []
    worker.call(lambda: None, refused.append)
    close(worker)
    worker.call(lambda: None, refused.append)
    assert [str(error) for error in refused] == ['of a test was stopped']

def test_a_worker_makes_all_calls_that_it_had_when_it_was_stopped():
    worker, may, made = Worker('of a test'), threading.Event(), []
    worker.call(lambda: may.wait(PATIENCE), made.append)
    for n in range(3): worker.call(lambda n=n: made.append(n), made.append)
    worker.stop()
    may.set()
    worker.join()
    assert made == [0, 1, 2]

async def test_who_gives_up_waiting_for_the_end_leaves_it_to_the_others():
    log = StoredLog(SlowStore(), 10)
    gives_up, waits = (asyncio.create_task(log.ready()) for _ in range(2))
    await until(lambda: log._store.asked)
    gives_up.cancel()
    await turns()
    log._store.may.set()
    await waits
    assert log.end == 7
    await log.aclose()

async def test_the_end_never_goes_back():
    store = FailingStore(0)
    log = StoredLog(store, 10)
    await log.ready()
    positions = iter([9, 8])
    store.tail = lambda: next(positions)
    for _ in range(2): await log.tail()
    assert log.end == 9
    await log.aclose()

async def test_who_waits_for_the_end_is_told_that_the_log_is_closed():
    log = StoredLog(FailingStore(1000), 10)
    waits = asyncio.create_task(log.ready())
    await until(lambda: log._store.asked)
    await log.aclose()
    with pytest.raises(LogError, match='the log is closed'): await waits

async def test_a_read_that_fails_is_tried_again_and_its_reader_hears_nothing(monkeypatch):
    monkeypatch.setattr(stored_module, 'RETRY', 0.01)
    log = StoredLog(FailingStore(2), 10)
    assert (await log.fetch(None, 5)).end == 5 and log._store.asked == [5, 5, 5]
    await log.aclose()

async def test_a_store_that_fails_is_tried_again_after_a_pause_and_spoken_of_once(monkeypatch, caplog):
    monkeypatch.setattr(stored_module, 'RETRY', 0.05)
    began = time.monotonic()
    log = StoredLog(FailingStore(4), 10)
    await log.ready()
    assert time.monotonic() - began >= 4 * 0.05 and caplog.text.count('is tried again') == 1
    await log.aclose()

async def test_what_comes_while_an_old_batch_is_read_needs_no_other_event(tmp_path):
    channel, late = (Channel(SQLiteLog(tmp_path/'events.db')) for _ in range(2))
    start = await channel.tail()
    await channel.publish('old', 'a')
    await late.log.ready()
    read, asked, may = late.log._store.read, threading.Event(), threading.Event()
    def read_slowly(topics, *args):
        page = read(topics, *args)
        if topics:
            asked.set()
            may.wait(PATIENCE)
        return page
    late.log._store.read = read_slowly
    async with Client.asking(late.response('a', heartbeat_interval=None), start) as client:
        await until(asked.is_set, 0.001)
        id = await channel.publish('new', 'a')
        await until(lambda: late.log._history.end >= late.log.position(id), 0.001)
        await turns()
        may.set()
        await client.got(b'data: new\n\n')
    for each in (channel, late): await each.aclose()

async def test_an_append_that_is_given_up_while_it_is_made_harms_none_beside_it():
    class Two(SlowStore):
        def append(self, posts):
            self.asked.append(len(posts))
            (self.may if len(self.asked) == 1 else self.later).wait(PATIENCE)
            return [*range(len(posts))]
    store = Two()
    store.later = threading.Event()
    appends = Appends(store)
    first = append(appends, b'first')
    await until(lambda: store.asked)
    given_up, beside = append(appends, b'given up'), append(appends, b'beside')
    store.may.set()
    await until(lambda: store.asked == [1, 2])
    given_up.cancel()
    store.later.set()
    async with asyncio.timeout(PATIENCE): assert [await first, await beside] == [0, 1]
    close(appends.worker)

async def test_a_log_that_is_closed_refuses_what_nobody_will_read(tmp_path):
    log = SQLiteLog(tmp_path/'events.db')
    await log.aappend(Post('', b'data: x\n\n'))
    await log.aclose()
    with pytest.raises(LogError, match='the log is closed'): log.append(Post('', b'data: y\n\n'))
    with pytest.raises(LogError, match='the log is closed'): await log.aappend(Post('', b'data: y\n\n'))

async def test_who_appends_in_a_thread_of_the_log_does_not_wait_for_itself():
    inner = []
    class Interrupted(SlowStore):
        def append(self, posts):
            if not inner: inner.append(log.append(Post('', b'inner')))
            return super().append(posts)
    log = StoredLog(Interrupted(), 10)
    log._store.may.set()
    async with asyncio.timeout(PATIENCE):
        await log.aappend(Post('', b'outer'))
        await until(lambda: [b'inner'] in log._store.asked)
    assert inner[0].endswith('.untold')
    await log.aclose()

async def test_a_log_that_was_emptied_before_its_last_event_was_seen_has_its_new_end():
    store = SlowStore()
    store.may.set()
    log = StoredLog(store, 10)
    await log.ready()
    store.append = lambda posts: [9]
    await log.aappend(Post('', b'data: x\n\n'))
    store.tail = lambda: 3
    await until(lambda: log.end == 3, 0.001)
    await log.aclose()


async def test_an_error_of_publishers_stays_until_one_succeeds():
    class Full(SlowStore):
        looks, full = 0, True
        def append(self, posts):
            if self.full: raise LogError('the disk is full')
            return [*range(len(posts))]
        def news(self, after):
            self.looks += 1
            return super().news(after)
    store = Full()
    store.may.set()
    log = StoredLog(store, 10)
    await log.ready()
    with pytest.raises(LogError, match='the disk is full'): await log.aappend(Post('', b'data: x\n\n'))
    looks = store.looks
    await until(lambda: store.looks > looks + 3, 0.001)
    assert log.error == 'the disk is full'
    store.full = False
    await log.aappend(Post('', b'data: x\n\n'))
    assert log.error is None
    await log.aclose()

# What a process comes to that was forked, has no threads, or ends

async def test_a_log_in_memory_refuses_a_child_of_the_process_that_has_its_readers():
    channel = Channel()
    async with Client.asking(channel.response(heartbeat_interval=None)):
        await until(lambda: channel.log._readers)
        channel.log.begin_in_child()
        with pytest.raises(LogError, match='this process was forked'): channel.publish_sync('x')
    async with Client.asking(channel.response(heartbeat_interval=None)) as client:
        channel.publish_sync('for a reader of its own')
        await client.got(b'data: for a reader of its own\n\n')

async def test_a_child_of_a_process_that_writes_for_long_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr('fasthtml_sse.broadcast.sqlite.WAIT', 0.01)
    log = SQLiteLog(tmp_path/'events.db')
    with log._store._gate: log.before_fork()
    log.begin_in_child()
    with pytest.raises(LogError, match='was forked while its parent was writing'): log.append(Post('', b'data: x\n\n'))
    await log.aclose()

async def test_at_the_very_end_an_append_takes_no_thread(tmp_path, monkeypatch):
    log = SQLiteLog(tmp_path/'events.db')
    await log.aappend(Post('job', b'data: x\n\n', 'done'))
    renewed = []  # which would leave connections to the end of the process: tests/process/test_edges.py has real ones
    monkeypatch.setattr(log._store, 'renew', lambda: renewed.append(True))
    monkeypatch.setattr('sys.is_finalizing', lambda: True)
    id = log.append(Post('', b'data: y\n\n'))
    with pytest.raises(LogError, match='has ended'): log.append(Post('job', b'data: z\n\n'))
    monkeypatch.undo()
    assert await log.tail() == id
    await log.aclose()
    assert renewed == [True, True]

async def test_who_waits_for_the_end_waits_until_a_thread_can_be_started(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_module, 'RETRY', 0.01)
    log, start, refused = SQLiteLog(tmp_path/'events.db'), threading.Thread.start, []
    def refuse(thread):
        if thread.name != 'fasthtml_sse follow' or len(refused) == 3: return start(thread)
        refused.append(thread)
        raise RuntimeError("can't start new thread")
    monkeypatch.setattr(threading.Thread, 'start', refuse)
    async with asyncio.timeout(PATIENCE): await log.ready()
    assert len(refused) == 3 and log.end == 0
    await log.aclose()
    late = SQLiteLog(tmp_path/'events.db')
    await late.aclose()
    with pytest.raises(LogError, match='the log is closed'): await late.ready()
    with pytest.raises(LogError, match='the log is closed'): await late.tail()

async def test_where_all_that_waits_was_given_up_nothing_is_appended(monkeypatch):
    monkeypatch.setattr(stored_module, 'BATCH', 2)
    store = SlowStore()
    appends = Appends(store)
    first = append(appends, b'first')
    await until(lambda: store.asked)
    given_up = [append(appends, b'given up') for _ in range(4)]
    last = append(appends, b'last')
    for waiter in given_up: waiter.cancel()
    store.may.set()
    await asyncio.gather(first, last)
    assert store.asked == [[b'first'], [b'last']]
    close(appends.worker)
