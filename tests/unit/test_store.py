"What lies between a log and its store: threads that wait for it, who shares what they find, and a store that fails."
import asyncio, threading, time

import pytest

import fasthtml_sse.broadcast.store as store_module
from fasthtml_sse import LogError
from fasthtml_sse.broadcast.store import Appends, Calls, Page, Reads, StoredLog
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

    def read(self, topics, after, limit): return self.answer(after, Page([], after))
    def append(self, events): return self.answer([data for _, data in events], [*range(len(events))])
    def tail(self): return self.answer('tail', 7)
    def changes(self, after): return bool(time.sleep(0.01))
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


async def test_readers_at_one_place_share_a_page_though_one_gives_up():
    store = SlowStore()
    reads = Reads(store)
    gives_up, waits = (asyncio.wrap_future(reads.page(None, 7)) for _ in range(2))
    await until(lambda: store.asked)
    gives_up.cancel()
    await turns()
    store.may.set()
    assert await waits == Page([], 7) and store.asked == [7]
    reads.close()

async def test_an_append_that_is_given_up_is_none_and_harms_none_beside_it():
    store = SlowStore()
    appends = Appends(store)
    first = asyncio.wrap_future(appends.submit('a', b'first'))
    await until(lambda: store.asked)
    given_up, beside = (asyncio.wrap_future(appends.submit('a', data)) for data in (b'given up', b'beside'))
    given_up.cancel()
    await turns()
    store.may.set()
    assert [await first, await beside] == [0, 0] and store.asked == [[b'first'], [b'beside']]
    appends.close()

def test_what_is_closed_takes_no_calls():
    calls = Calls('of a test')
    calls.close()
    with pytest.raises(LogError, match='the log is closed'): calls.submit(print)

def test_a_call_that_is_given_up_is_not_made():
    calls, may, made = Calls('of a test'), threading.Event(), []
    calls.submit(may.wait, PATIENCE)
    assert calls.submit(made.append, 'given up').cancel()
    last = calls.submit(made.append, 'last')
    may.set()
    last.result(PATIENCE)
    calls.close()
    assert made == ['last']

async def test_a_read_that_waits_when_the_log_closes_is_refused():
    store = SlowStore()
    reads = Reads(store)
    first, second = (asyncio.wrap_future(reads.page(None, after)) for after in (1, 2))
    await until(lambda: store.asked)
    closing = asyncio.create_task(asyncio.to_thread(reads.close))
    await until(lambda: reads._calls.closed)
    store.may.set()
    assert await first == Page([], 1)
    with pytest.raises(LogError, match='the log is closed'): await second
    await closing

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
    monkeypatch.setattr(store_module, 'RETRY', 0.01)
    log = StoredLog(FailingStore(2), 10)
    assert (await log.fetch(None, 5)).end == 5 and log._store.asked == [5, 5, 5]
    await log.aclose()

async def test_a_store_that_fails_is_tried_again_after_a_pause_and_spoken_of_once(monkeypatch, caplog):
    monkeypatch.setattr(store_module, 'RETRY', 0.05)
    began = time.monotonic()
    log = StoredLog(FailingStore(4), 10)
    await log.ready()
    assert time.monotonic() - began >= 4 * 0.05 and caplog.text.count('is tried again') == 1
    await log.aclose()
