"Live views: rendered once per change for all who read, the newest state only, and nothing for who has missed nothing."
import asyncio, logging, threading, time
from collections import Counter
from contextlib import AsyncExitStack
from contextvars import ContextVar
from html import unescape

import pytest
from fasthtml.common import Div, Li, Titled, Ul

import fasthtml_sse.broadcast.live as module
from fasthtml_sse import Channel, EventParser, LogError
from fasthtml_sse.broadcast.snapshot import THREADS
from tests.support.asgi import Client
from tests.support.clock import PATIENCE, until
from tests.support.logs import SQLite, on_every_log, opened

pytestmark = pytest.mark.anyio


class Shelf:
    "What is kept elsewhere, and a function that renders it."
    def __init__(self): self.books, self.calls = [], Counter()

    def render(self, *args):
        self.calls[args] += 1
        return Ul(*map(Li, self.books), id='shelf')

    async def arender(self, *args): return self.render(*args)

    async def put(self, channel, book, topic='books'):
        self.books.append(book)
        return await channel.publish('changed', topic)

def events(client): return [event for event in EventParser().feed(client.body) if event.data is not None]

def shown(client): return [event.data.count('<li>') for event in events(client)]

def reading(live, *args, after=None): return Client.asking(live.response(*args, heartbeat_interval=None), after)

async def until_shown(client, books): await until(lambda: shown(client)[-1:] == [books])

def end_of(client): return client.body.rpartition(b'id: ')[2].split(b'\n')[0].decode()


# What a page gets

@pytest.mark.parametrize('render', ['render', 'arender'])
@on_every_log
async def test_a_new_page_gets_the_present_state_and_then_each_change_as_a_morph(logs, render):
    channel, shelf = opened(logs), Shelf()
    live = channel.live(getattr(shelf, render), 'books', every=0.001)
    await shelf.put(channel, 'Emma')
    async with reading(live) as client:
        await until_shown(client, 1)
        await shelf.put(channel, 'Walden')
        await until_shown(client, 2)
        await channel.publish('changed', 'films')
        await shelf.put(channel, 'Ulysses')
        await until_shown(client, 3)
    first = events(client)[0]
    assert shown(client) == [1, 2, 3] and 'hx-swap-oob="outerMorph:#shelf"' in first.data and first.event is None

@on_every_log
async def test_one_call_serves_all_who_have_the_same_arguments(logs):
    channel, shelf = opened(logs), Shelf()
    live = channel.live(shelf.render, 'books', every=0.001)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(reading(live, user)) for user in ('Ann', 'Bob', 1, True) for _ in range(25)]
        for client in clients: await until_shown(client, 0)
        await shelf.put(channel, 'Emma')
        for client in clients: await until_shown(client, 1)
    assert shelf.calls == {('Ann',): 2, ('Bob',): 2, (1,): 4}  # 1 and True are equal, but not the same
    assert len({client.sent[-1] for client in clients[:25]}) == 1

@on_every_log
async def test_who_has_missed_nothing_gets_nothing(logs):
    channel, shelf = opened(logs), Shelf()
    live = channel.live(shelf.render, 'books', every=0.001)
    await shelf.put(channel, 'Emma')
    tail = await channel.tail()
    await channel.publish('changed', 'films')
    async with reading(live, after=tail) as client:
        await until(lambda: client.sent)
        assert not events(client) and not shelf.calls
        await shelf.put(channel, 'Walden')
        await until_shown(client, 2)
    assert shown(client) == [2] and shelf.calls == {(): 1}
    async with reading(live, after=end_of(client)) as again: await until(lambda: again.sent)
    assert not events(again) and shelf.calls == {(): 1}

@on_every_log
async def test_who_has_missed_a_thousand_changes_gets_one_event(logs):
    channel, shelf = opened(logs), Shelf()
    live = channel.live(shelf.render, 'books')
    async with reading(live) as client: await until_shown(client, 0)
    for n in range(20): await asyncio.gather(*(shelf.put(channel, n) for n in range(50)))
    async with reading(live, after=end_of(client)) as client: await until_shown(client, 1000)
    assert shown(client) == [1000] and shelf.calls == {(): 2}

@on_every_log
async def test_an_id_that_is_not_known_gets_the_present_state_and_no_gap(logs):
    channel, shelf = opened(logs, maxlen=2), Shelf()
    live = channel.live(shelf.render, 'books')
    ids = [await shelf.put(channel, n) for n in range(logs.surely(2) + 2)]
    for id in ('nonsense', ids[0]):
        async with reading(live, after=id) as client: await until_shown(client, len(ids))
        assert [event.event for event in events(client)] == [None]

@on_every_log
async def test_a_page_that_was_rendered_by_another_process_is_right(logs):
    channel, shelf = opened(logs), Shelf()
    other = Channel(logs.again()) if logs.durable else channel
    live = channel.live(shelf.render, 'books', every=0.001)
    async with reading(live) as client:
        await until_shown(client, 0)
        for n in range(1, 20):
            tail = await shelf.put(other, n)  # this process has not heard of it yet
            async with reading(live) as new, reading(live, after=tail) as knowing:
                await until(lambda: events(new))
                await until(lambda: knowing.sent)
            assert shown(new)[0] == n and not events(knowing)
    await other.aclose()

async def test_who_is_cut_off_before_it_has_anything_gets_the_present_state():
    channel, shelf, may = Channel(), Shelf(), threading.Event()
    def slow():
        may.wait(PATIENCE)
        return shelf.render()
    live = channel.live(slow, 'books', every=0.001)
    async with reading(live) as client: await until(lambda: client.sent)
    assert not events(client)
    may.set()
    async with reading(live, after=end_of(client)) as again: await until_shown(again, 0)

async def test_a_change_that_is_shown_before_this_process_has_heard_of_it_reaches_all(monkeypatch):
    async with SQLite() as logs:
        channel, shelf, heard = opened(logs), Shelf(), threading.Event()
        live = channel.live(shelf.render, 'books', every=0.001)
        async with reading(live, after=await channel.tail()) as knowing:
            await until(lambda: knowing.sent)
            look = channel.log._store.news
            monkeypatch.setattr(channel.log._store, 'news', lambda after: heard.wait(PATIENCE) and look(after))
            await asyncio.sleep(0.05)  # the look that is under way
            await shelf.put(channel, 'Emma')
            async with reading(live) as new: await until_shown(new, 1)
            heard.set()
            await until_shown(knowing, 1)
        assert shown(knowing) == [1] and shelf.calls == {(): 1}

async def test_who_takes_nothing_for_a_while_gets_the_newest_alone():
    channel, shelf = Channel(), Shelf()
    live = channel.live(shelf.render, 'books', every=0.001)
    async with reading(live) as slow, reading(live) as quick:
        for client in (slow, quick): await until_shown(client, 0)
        slow.free.clear()
        for n in range(1, 101):
            await shelf.put(channel, n)
            await until_shown(quick, n)
        slow.free.set()
        await until_shown(slow, 100)
    assert shown(slow) in ([0, 100], [0, 1, 100])  # what was under way when it stopped


async def test_news_that_a_page_that_comes_has_noted_reaches_all():
    async with SQLite() as logs:
        channel, other, shelf = opened(logs), Channel(logs.again()), Shelf()
        live, heard = channel.live(shelf.render, 'books', every=0.001), threading.Event()
        async with reading(live, after=await channel.tail()) as knowing:
            await until(lambda: knowing.sent)
            view = channel._readers.open()[0]._view
            look = channel.log._store.news
            channel.log._store.news = lambda after: heard.wait(PATIENCE) and look(after)
            await asyncio.sleep(0.05)
            await shelf.put(other, 'Emma')
            async with reading(live) as new: await until_shown(new, 1)
            wake, view.wake = view.wake, lambda in_task: None
            heard.set()
            await until(lambda: channel.log._history.end == 1)
            await view.begin()  # as a page does that comes just then
            view.wake = wake
            wake(False)
            await until_shown(knowing, 1)
        await other.aclose()


# How often

async def test_changes_are_gathered_and_the_last_is_always_shown():
    channel, shelf = Channel(), Shelf()
    live = channel.live(shelf.render, 'books', every=0.1)
    async with reading(live) as client:
        await until_shown(client, 0)
        began = time.monotonic()
        for n in range(200):
            await shelf.put(channel, n)
            await asyncio.sleep(0.002)
        await until_shown(client, 200)
        took = time.monotonic() - began
    assert 2 <= shelf.calls[()] <= took / 0.1 + 2

async def test_the_first_change_after_a_pause_is_shown_at_once():
    channel, shelf = Channel(), Shelf()
    live = channel.live(shelf.render, 'books', every=10)
    async with reading(live, after=await channel.tail()) as client:
        await until(lambda: client.sent)
        async with asyncio.timeout(5):
            await shelf.put(channel, 'Emma')
            await until_shown(client, 1)

async def test_what_nobody_reads_is_neither_rendered_nor_kept():
    channel, shelf = Channel(), Shelf()
    live = channel.live(shelf.render, 'books', every=0.001)
    async with reading(live) as client: await until_shown(client, 0)
    for n in range(10): await shelf.put(channel, n)
    await asyncio.sleep(0.05)
    assert shelf.calls == {(): 1} and channel.stats().readers == 0
    views = live._respond.__closure__
    open_views = [cell.cell_contents for cell in views if isinstance(cell.cell_contents, module.Views)]
    assert [view._open for view in open_views] == [{}] and not channel.log._readers

async def test_each_change_while_it_renders_is_shown():
    channel, shelf, may = Channel(), Shelf(), threading.Event()
    def slow():
        made = shelf.render()
        may.wait(PATIENCE)
        return made
    live = channel.live(slow, 'books', every=0.001)
    async with reading(live, after=await channel.tail()) as client:
        await until(lambda: client.sent)
        await shelf.put(channel, 1)
        await until(lambda: shelf.calls[()] == 1)
        await shelf.put(channel, 2)  # not in what is being made
        may.set()
        await until_shown(client, 2)
    assert shown(client) == [1, 2]


# Loops and threads

async def test_a_sync_function_runs_in_a_thread_with_the_context_of_its_view():
    channel, here, found = Channel(), threading.get_ident(), []
    def render():
        found.append(threading.get_ident() == here)
        return Div(id='x')
    async with reading(channel.live(render)) as client: await until(lambda: events(client))
    async def arender(): return render()
    async with reading(channel.live(arender)) as client: await until(lambda: events(client))
    assert found == [False, True]

@on_every_log
async def test_two_loops_share_the_calls_of_a_sync_function(logs):
    channel, shelf = opened(logs), Shelf()
    live, over, seen = channel.live(shelf.render, 'books', every=0.05), threading.Event(), []
    async def elsewhere():
        async with reading(live) as client:
            while not over.is_set():
                await asyncio.sleep(0.005)
                seen[:] = shown(client)
    async with reading(live) as client:
        await until_shown(client, 0)
        thread = asyncio.create_task(asyncio.to_thread(asyncio.run, elsewhere()))
        try:
            await until(lambda: seen == [0])
            for n in range(1, 6):
                await shelf.put(channel, n)
                await until_shown(client, n)
                await until(lambda: seen[-1] == n)
        finally:
            over.set()
            await thread
    assert shelf.calls[()] <= 9  # mostly 6: two that hear of a change at different moments may call twice


# What goes wrong

async def test_a_function_that_fails_is_logged_and_the_view_stays_until_the_next_change(caplog):
    channel, shelf = Channel(), Shelf()
    def render():
        if len(shelf.books) == 1: raise LookupError('no shelf')
        if len(shelf.books) == 2: return 'text'
        if len(shelf.books) == 3: return Ul()
        if len(shelf.books) == 4: return Titled('two', Ul(id='a')), Ul(id='b')
        if len(shelf.books) == 5: next(iter(()))
        return shelf.render()
    live = channel.live(render, 'books', every=0.001)
    async with reading(live) as client:
        await until_shown(client, 0)
        for n in range(1, 6):
            await shelf.put(channel, n)
            await until(lambda: len(caplog.records) == n)
        await shelf.put(channel, 6)
        await until_shown(client, 6)
    assert shown(client) == [0, 6] and all(record.levelno == logging.ERROR for record in caplog.records)
    texts = [record.getMessage() for record in caplog.records]
    reasons = 'no shelf', 'a str cannot carry', 'by the id of its element', 'a tuple cannot carry', 'StopIteration'
    for text, reason in zip(texts, reasons): assert reason in text
    assert all('could not be rendered, and stays as it was' in text for text in texts) and caplog.records[0].exc_info

async def test_a_store_that_fails_costs_no_page(monkeypatch, caplog):
    async with SQLite() as logs:
        channel, shelf = opened(logs), Shelf()
        live = channel.live(shelf.render, 'books', every=0.001)
        await channel.tail()
        def fail(): raise LogError('away')
        monkeypatch.setattr(channel.log._store, 'tail', fail)
        async with reading(live) as client: await until_shown(client, 0)
        monkeypatch.undo()
        await channel.aclose()
    assert not [record for record in caplog.records if 'live view' in record.getMessage()]

async def test_a_page_that_comes_to_a_view_which_fails_gets_it_later(caplog):
    channel, shelf, broken = Channel(), Shelf(), [True]
    def render():
        if broken: raise LookupError('no shelf')
        return shelf.render()
    live = channel.live(render, 'books', every=0.001)
    async with reading(live) as client:
        await until(lambda: caplog.records)
        broken.clear()
        async with reading(live) as other: await until_shown(other, 0)
        await until_shown(client, 0)

@pytest.mark.parametrize('is_async', [False, True])
async def test_a_function_that_hangs_holds_up_nothing_else(monkeypatch, caplog, is_async):
    monkeypatch.setattr(module, 'DEADLINE', 0.2)
    channel, shelf, may = Channel(), Shelf(), threading.Event()
    def hang():
        if len(shelf.books) == 1: may.wait(3 * PATIENCE)
        return shelf.render()
    async def ahang():
        if len(shelf.books) == 1: await asyncio.sleep(PATIENCE)
        return shelf.render()
    hanging, other = channel.live(ahang if is_async else hang, 'books', every=0.001), channel.live(shelf.render, 'books', every=0.001)
    async with reading(hanging) as client, reading(other) as quick:
        for each in (client, quick): await until_shown(each, 0)
        await shelf.put(channel, 1)
        await until_shown(quick, 1)
        await until(lambda: 'it took more than 0.2 s' in caplog.text)
        assert shown(client) == [0]
        await shelf.put(channel, 2)
        await until_shown(client, 2)
        may.set()
    assert shown(client) == [0, 2]

async def test_the_time_in_which_a_call_waits_for_a_thread_does_not_count(monkeypatch, caplog):
    monkeypatch.setattr(module, 'DEADLINE', 0.5)
    channel = Channel()
    def slow(user):
        time.sleep(0.1)
        return Div(user, id='x')
    live = channel.live(slow)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(reading(live, n)) for n in range(60)]
        for client in clients: await until(lambda: events(client))
    assert not caplog.records

async def test_a_function_that_hangs_takes_threads_of_its_own_alone(monkeypatch, caplog):
    monkeypatch.setattr(module, 'DEADLINE', 0.02)
    channel, may = Channel(), threading.Event()
    def hang(user): may.wait(PATIENCE); return Div(id='x')
    hanging, before = channel.live(hang, every=0.001), threading.active_count()
    async with AsyncExitStack() as stack:
        for n in range(THREADS): await stack.enter_async_context(reading(hanging, n))
        for _ in range(5):
            await channel.publish('changed')
            await asyncio.sleep(0.03)
        assert threading.active_count() - before <= THREADS
        async with reading(channel.live(lambda: Div(id='y'))) as quick: await until(lambda: events(quick))
        may.set()

async def test_a_function_runs_in_the_context_of_its_view():
    channel, shelf = Channel(), ContextVar('shelf', default='none')
    shelf.set('mine')
    def render(): return Div(shelf.get(), id='x')
    async def arender(): return render()
    for fn in (render, arender):
        async with reading(channel.live(fn)) as client: await until(lambda: events(client))
        assert 'mine' in events(client)[0].data

async def test_a_function_that_meets_a_cancellation_fails_and_is_logged(caplog):
    channel = Channel()
    async def awaits_what_was_cancelled():
        task = asyncio.create_task(asyncio.sleep(60))
        task.cancel()
        await task
    def exits(): raise SystemExit(3)
    for fn, what in ((awaits_what_was_cancelled, 'something that was cancelled'), (exits, 'SystemExit(3)')):
        async with reading(channel.live(fn)): await until(lambda: what in caplog.text)

async def test_an_end_closes_its_pages_though_the_last_state_cannot_be_rendered(caplog):
    channel, shelf, broken = Channel(), Shelf(), []
    def render():
        if broken: raise LookupError('no shelf')
        return shelf.render()
    live = channel.live(render, 'books', every=0.001)
    async with reading(live) as client:
        await until_shown(client, 0)
        broken.append(True)
        await channel.publish(None, 'books', end=True)
        await client.over()
    async with reading(live) as late: await late.over()
    assert [[event.event for event in events(each)] for each in (client, late)] == [[None, 'close'], ['close']]

SELECTORS = {'shelf': '#shelf', 'ä': '#ä', 7: '[id="7"]', 'todo.1': '[id="todo.1"]', 'a.b': '[id="a.b"]'}

@pytest.mark.parametrize('id', SELECTORS)
def test_any_id_is_found_again(id):
    assert f'outerMorph:{SELECTORS[id]}' in unescape(module.frame_for(Div(id=id)).decode())

async def test_a_page_that_was_never_begun_is_closed_without_a_word():
    channel = Channel()
    page = channel.live(lambda: Div(id='x')).response().open(None)
    await page.aclose()
    await page.aclose()
    assert channel.stats().lag == 0

async def test_what_cannot_be_shown_is_an_error_where_it_is_given():
    channel = Channel()
    def yields(): yield Div(id='x')
    async def ayields(): yield Div(id='x')
    def one(user): return Div(user, id='x')
    for fn in (7, None, 'text', Div(id='x'), yields, ayields):
        with pytest.raises(TypeError): channel.live(fn)
    for every in (0, -1, None, 'x', True, float('nan')):
        with pytest.raises(ValueError, match='every must be a positive number of seconds'): channel.live(one, every=every)
    with pytest.raises(TypeError, match='a topic must be a str'): channel.live(one, 7)
    live = channel.live(one)
    with pytest.raises(TypeError, match='must be hashable'): live.response([])
    for args in ((), ('a', 'b')):
        with pytest.raises(TypeError, match='cannot be called with'): live.response(*args)
    with pytest.raises(ValueError, match='heartbeat_interval'): live.response('a', heartbeat_interval=0)


# The end

@on_every_log
async def test_the_end_of_all_topics_closes_each_page_with_the_last_state(logs):
    channel, shelf = opened(logs), Shelf()
    live = channel.live(shelf.render, 'books', 'films', every=0.001)
    async with reading(live) as client:
        await until_shown(client, 0)
        await channel.publish(None, 'films', end=True)
        shelf.books.append('Emma')
        await channel.publish('changed', 'books', end=True)
        await client.over()
    assert [event.event for event in events(client)][-2:] == [None, 'close'] and events(client)[-2].data.count('<li>') == 1
    async with reading(live) as late: await late.over()
    assert [event.event for event in events(late)] == [None, 'close']
    async with reading(live, after=end_of(late)) as again: await again.over()
    assert [event.event for event in events(again)] == ['close']

@on_every_log
async def test_a_channel_that_is_closed_or_disconnects_ends_its_pages(logs):
    channel, shelf = opened(logs), Shelf()
    live = channel.live(shelf.render, 'books')
    async with reading(live) as one, reading(live) as other:
        for client in (one, other): await until_shown(client, 0)
        assert channel.stats().readers == 2
        await channel.disconnect('books')
        for client in (one, other): await client.over()
    async with reading(live) as client:
        await until_shown(client, 0)
        await channel.aclose()
        await client.over()
    assert [event.event for event in events(client)] == [None]

async def test_a_heartbeat_says_where_a_page_stands_that_knows_all():
    channel, shelf = Channel(), Shelf()
    live = channel.live(shelf.render, 'books')
    async with Client.asking(live.response(heartbeat_interval=0.02)) as client:
        await until_shown(client, 0)
        tail = await channel.publish('changed', 'films')
        await until(lambda: end_of(client) == tail)
    assert len(events(client)) == 1
