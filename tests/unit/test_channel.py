"A channel in process: what its responses say and when, what its subscriptions hold, and how both end."
import asyncio, functools, gc, inspect, json, sys, threading, weakref
from contextvars import ContextVar
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from fasthtml.common import Div, Li, NotStr, fast_app
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware

import fasthtml_sse
import fasthtml_sse.broadcast.channel as module
from fasthtml_sse import Channel, ChannelStats, Entry, EventParser, Frame, Gap, LogError, MemoryLog
from fasthtml_sse import RedisLog, SQLiteLog, SSEResponse, ServerSentEvent, end_streams, swap
from fasthtml_sse.broadcast.checks import frame_of
from fasthtml_sse.broadcast import log as log_module
from fasthtml_sse.broadcast.cursor import Cursor
from fasthtml_sse.core.source import HEARTBEAT, LIMIT
from fasthtml_sse.testing import open_stream
from tests.support.asgi import Client, app_of
from tests.support.clock import PATIENCE, turns, until, virtual
from tests.support.logs import publish, read

pytestmark = pytest.mark.anyio

UNKNOWN = 'ffffffffffff-7'


def frame(id, data): return f'id: {id}\ndata: {data}\n\n'.encode()

def gap_frame(id, after): return f'id: {id}\nevent: gap\ndata: {json.dumps(dict(after=after))}\n\n'.encode()

def id_in(body):
    "The id that a browser would come back with after `body`."
    parser = EventParser()
    parser.feed(body)
    return parser.last_event_id


# The first bytes, and the id in force

async def test_the_first_bytes_are_where_a_new_client_stands():
    channel = Channel()
    for _ in range(2):
        async with Client.asking(channel.response()) as client: assert client.sent == [f'id: {await channel.tail()}\n\n'.encode()]
        await channel.publish('x')

async def test_a_new_client_starts_live_without_a_gap():
    channel = Channel(MemoryLog(1))
    await publish(channel, *'abc')
    async with Client.asking(channel.response()) as client:
        id, = await publish(channel, 'now')
        await client.got(frame(id, 'now'))
        assert len(client.sent) == 2

async def test_a_client_that_saw_only_the_first_bytes_resumes_without_loss():
    channel = Channel()
    async with Client.asking(channel.response()) as client: pass
    ids = await publish(channel, *'ab')
    async with Client.asking(channel.response(), id_in(client.body)) as client:
        position = client.body[:client.body.index(b'\n\n') + 2]
        assert client.sent == [position + frame(ids[0], 'a') + frame(ids[1], 'b')]

async def test_who_resumes_hears_the_same_id_again_and_then_what_follows():
    channel = Channel()
    ids = await publish(channel, *'abc')
    async with Client.asking(channel.response(), ids[0]) as client:
        assert client.body == f'id: {ids[0]}\n\n'.encode() + frame(ids[1], 'b') + frame(ids[2], 'c')

async def test_the_query_gives_the_id_where_there_is_no_header():
    channel = Channel()
    ids = await publish(channel, *'abc')
    app = app_of(lambda: channel.response())
    async with open_stream(app, f'/?last_event_id={quote(ids[1])}') as s: assert (await s.next()).data == 'c'
    async with open_stream(app, f'/?last_event_id={quote(ids[1])}', last_event_id=ids[0]) as s: assert (await s.next()).data == 'b'
    async with open_stream(app, f'/?last_event_id={quote("größe")}') as s: assert json.loads((await s.next()).data) == {'after': 'größe'}

async def test_a_response_reads_its_topics_only():
    channel = Channel()
    start = await channel.tail()
    for topic in 'abcab': await channel.publish(f'for {topic}', topic)
    for topics, expected in [('a', 'aa'), ('bc', 'bcb'), ('', 'abcab')]:
        async with Client.asking(channel.response(*topics), start) as client:
            assert [e.data for e in EventParser().feed(client.body)] == [f'for {topic}' for topic in expected]

async def test_ids_are_written_once_for_all_and_never_by_the_reader():
    channel = Channel()
    async with Client.asking(channel.response()) as one, Client.asking(channel.response()) as two:
        id, = await publish(channel, 'x')
        for client in (one, two): await client.got(frame(id, 'x'))
        assert one.sent[-1] is two.sent[-1]

async def test_a_value_is_rendered_once_however_many_read():
    rendered = []
    class Once:
        def __ft__(self):
            rendered.append(1)
            return Div('x')
    channel = Channel()
    async with Client.asking(channel.response()) as one, Client.asking(channel.response('')) as two:
        id = await channel.publish(Once())
        for client in (one, two): await client.got(frame(id, '<div>x</div>'))
    assert rendered == [1]


# Heartbeats

@virtual
async def test_heartbeats_carry_the_present_position():
    channel = Channel()
    async with Client.asking(channel.response('a', heartbeat_interval=1)) as client:
        for n in range(3):
            id = await channel.publish('of no interest', 'b')
            await asyncio.sleep(1.1)
            assert len(client.sent) == n + 2 and client.sent[-1] == f'id: {id}\n\n'.encode()

@virtual
async def test_a_client_that_saw_only_a_heartbeat_resumes_without_loss_however_much_was_trimmed_before():
    channel = Channel(MemoryLog(1))
    async with Client.asking(channel.response('a', 'b', heartbeat_interval=1)) as client:
        for n in range(30): await channel.publish('x', f'other {n}')
        await asyncio.sleep(1.1)
    id = await channel.publish('kept', 'a')
    async with Client.asking(channel.response('a', 'b'), id_in(client.body)) as client:
        assert client.body.endswith(frame(id, 'kept')) and b'gap' not in client.body

@virtual
async def test_a_heartbeat_never_passes_an_event_that_was_not_sent():
    channel = Channel()
    async with Client.asking(channel.response(heartbeat_interval=1)) as client:
        client.free.clear()
        ids = await publish(channel, *'abc')
        await asyncio.sleep(3.5)
        client.free.set()
        await asyncio.sleep(1.5)
        events = EventParser().feed(client.body)
        assert [(e.id, e.data) for e in events] == list(zip(ids, 'abc')) and client.sent[-1] == f'id: {ids[-1]}\n\n'.encode()

async def test_a_heartbeat_does_not_pass_what_was_published_just_before_it():
    channel = Channel()
    async with Client.asking(channel.response()) as client:
        feed, = channel._readers.values()
        channel.publish_sync('x')
        assert feed.heartbeat() == HEARTBEAT
        await client.got(b'data: x\n\n')

@virtual
async def test_who_has_still_to_be_told_gets_heartbeats_without_an_id():
    begun, release = asyncio.Event(), asyncio.Event()
    async def snapshot():
        begun.set()
        await release.wait()
        return 'all'
    channel = Channel()
    for id in (None, UNKNOWN):
        for event in (begun, release): event.clear()
        async with Client.asking(channel.response(snapshot=snapshot, heartbeat_interval=1), id) as client:
            await begun.wait()
            await publish(channel, 'meanwhile')
            await asyncio.sleep(2.2)
            assert client.sent[1:] == [b': heartbeat\n\n'] * 2
            assert channel.log.position(id_in(client.body)) is None
            release.set()
            await until(lambda: len(client.sent) > 3)
            assert [e.data for e in EventParser().feed(client.body)] == ['all', 'meanwhile']

@virtual
async def test_no_heartbeats_when_none_are_wanted():
    async with Client.asking(Channel().response(heartbeat_interval=None)) as client:
        await asyncio.sleep(1000)
        assert len(client.sent) == 1


# Gaps

async def test_a_gap_comes_first_with_the_id_of_that_moment_and_nothing_older_follows():
    channel = Channel(MemoryLog(2))
    lost, *_, last = await publish(channel, *'abcd')
    for id in (UNKNOWN, 'nonsense', lost):
        async with Client.asking(channel.response(), id) as client:
            told = client.body[client.body.index(b'\n\n') + 2:]
            assert told in (b'', gap_frame(last, id))
            await client.got(gap_frame(last, id))
            new, = await publish(channel, 'new')
            await client.got(gap_frame(last, id) + frame(new, 'new'))
            last, = await publish(channel, 'another')

async def test_what_the_client_sent_is_quoted_and_cannot_write_events():
    channel = Channel()
    async with open_stream(app_of(lambda: channel.response()), '/?last_event_id=%0A%0Adata:%20evil%0A%0A"%00<') as s:
        event = await s.next()
        assert (event.event, json.loads(event.data)) == ('gap', {'after': '\n\ndata: evil\n\n"\0<'})
        with pytest.raises(TimeoutError): await s.next(timeout=0.01)

async def test_a_client_that_leaves_before_it_is_told_is_told_again():
    channel = Channel(MemoryLog(1))
    ids = await publish(channel, *'abc')
    for id in (UNKNOWN, ids[0]):
        async with Client.asking(channel.response(), id) as client: await client.got(gap_frame(ids[-1], id))
        before_gap = client.body[:client.body.index(b'event: gap')]
        async with Client.asking(channel.response(), id_in(before_gap)) as client:
            await until(lambda: b'event: gap' in client.body)
        async with Client.asking(channel.response(), id_in(client.body)) as client: await turns()
        assert client.body == f'id: {ids[-1]}\n\n'.encode()

async def test_a_client_that_is_overtaken_is_told_in_mid_stream_and_goes_on_at_the_end():
    channel = Channel(MemoryLog(3))
    async with Client.asking(channel.response()) as client:
        first, = await publish(channel, 'first')
        await client.got(frame(first, 'first'))
        client.free.clear()
        blocked, = await publish(channel, 'blocked')
        await turns()
        ids = await publish(channel, *'bcdefg')
        before = len(client.sent)
        client.free.set()
        await client.got(gap_frame(ids[-1], blocked))
        new, = await publish(channel, 'new')
        await client.got(frame(new, 'new'))
        assert b''.join(client.sent[before:]) == frame(blocked, 'blocked') + gap_frame(ids[-1], blocked) + frame(new, 'new')

async def test_a_client_that_is_overtaken_is_shown_the_snapshot():
    channel, shown = Channel(MemoryLog(1)), []
    async def snapshot():
        shown.append(1)
        return f'snapshot {len(shown)}'
    async with Client.asking(channel.response(snapshot=snapshot)) as client:
        await client.got(b'data: snapshot 1\n\n')
        client.free.clear()
        await publish(channel, 'blocked')
        await turns()
        ids = await publish(channel, *'abc')
        client.free.set()
        await client.got(frame(ids[-1], 'snapshot 2'))
        assert len(shown) == 2


# Snapshots

async def test_a_snapshot_comes_first_to_who_is_new_or_has_missed_something_and_to_no_one_else():
    channel = Channel(MemoryLog(2))
    lost, *_, last = await publish(channel, *'abcd')
    async def snapshot(): return 'all of it'
    for id in (None, UNKNOWN, lost):
        async with Client.asking(channel.response(snapshot=snapshot), id) as client:
            await client.got(frame(last, 'all of it'))
            assert client.body.startswith(b'id: ') and len(EventParser().feed(client.body)) == 1
        async with Client.asking(channel.response(snapshot=snapshot), id_in(client.body)) as client: await turns()
        assert client.body == f'id: {last}\n\n'.encode()

@dataclass
class Row: n: int

class Callable:
    def __call__(self): return 'called'

class AsyncCallable:
    async def __call__(self):
        await asyncio.sleep(0)
        return 'called'

class Frames:
    def method(self): return Frame(b': why\ndata: framed\n\n')

async def given(value):
    await asyncio.sleep(0)
    return value

SNAPSHOTS = {
    'text': (lambda: 'a\nb', b'data: a\ndata: b\n\n'),
    'empty text': (lambda: '', b'data: \n\n'),
    'FT': (lambda: Div('x'), b'data: <div>x</div>\n\n'),
    'several FT': (lambda: (Div('x'), Li('y')), b'data: <div>x</div><li>y</li>\n\n'),
    'swap': (lambda: swap.update(Div(1), '#a'), None),
    'JSON': (lambda: {'a': [1, None]}, b'data: {"a": [1, null]}\n\n'),
    'a dataclass': (lambda: Row(3), b'data: {"n": 3}\n\n'),
    'named': (lambda: ServerSentEvent('x', event='init', retry=7), b'event: init\ndata: x\nretry: 7\n\n'),
    'bytes': (lambda: b'raw', b'data: raw\n\n'),
    'markup': (lambda: NotStr('<b>x</b>'), b'data: <b>x</b>\n\n'),
    'async': (functools.partial(given, 'x'), b'data: x\n\n'),
    'a function that returns an awaitable': (lambda: given('x'), b'data: x\n\n'),
    'callable object': (Callable(), b'data: called\n\n'),
    'async callable object': (AsyncCallable(), b'data: called\n\n'),
    'method': (Frames().method, b': why\ndata: framed\n\n'),
}

@pytest.mark.parametrize('name', SNAPSHOTS)
async def test_a_snapshot_may_be_any_function_and_any_value(name):
    (snapshot, expected), channel = SNAPSHOTS[name], Channel()
    expected = expected or frame_of(snapshot())
    tail, = await publish(channel, 'before')
    async with Client.asking(channel.response(snapshot=snapshot)) as client:
        await client.got(f'id: {tail}\n'.encode() + expected)
        id, = await publish(channel, 'later')
        await client.got(expected + frame(id, 'later'))
        assert len(EventParser().feed(client.body)) == 2

@pytest.mark.parametrize('make', [lambda: None, functools.partial(given, None)], ids=['sync', 'async'])
async def test_a_snapshot_that_is_none_shows_nothing_but_counts_as_told(make):
    channel = Channel()
    tail, = await publish(channel, 'before')
    async with Client.asking(channel.response(snapshot=make), UNKNOWN) as client:
        await client.got(f'id: {tail}\n\n'.encode())
        id, = await publish(channel, 'later')
        await client.got(frame(id, 'later'))
        assert len(EventParser().feed(client.body)) == 1

async def test_a_sync_snapshot_is_called_in_a_thread_and_holds_up_nobody():
    channel, release, threads = Channel(), threading.Event(), []
    def snapshot():
        threads.append(threading.current_thread())
        assert release.wait(PATIENCE)
        return 'all'
    async with Client.asking(channel.response(snapshot=snapshot)) as client, Client.asking(channel.response()) as other:
        id, = await publish(channel, 'meanwhile')
        await other.got(frame(id, 'meanwhile'))
        release.set()
        await client.got(frame(id, 'meanwhile'))
        assert [e.data for e in EventParser().feed(client.body)] == ['all', 'meanwhile']
    assert threads and threading.main_thread() not in threads

async def test_the_position_is_taken_before_the_snapshot_is_made():
    channel = Channel()
    tail = await channel.tail()
    published = []
    async def by_loop():
        published.append(await channel.publish('x'))
        return 'with x'
    def by_thread():
        published.append(channel.publish_sync('x'))
        return 'with x'
    for snapshot in (by_loop, by_thread):
        async with Client.asking(channel.response(snapshot=snapshot)) as client:
            await until(lambda: client.body.endswith(b'data: x\n\n'))
            assert client.body.endswith(frame(tail, 'with x') + frame(published[-1], 'x'))
        tail = published[-1]

@pytest.mark.parametrize('id', [None, UNKNOWN])
async def test_a_client_that_leaves_before_a_slow_snapshot_is_shown_one_when_it_returns(id):
    channel, made, cancelled = Channel(), [], []
    async def snapshot():
        made.append(1)
        try:
            if len(made) == 1: await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(1)
            raise
        return f'snapshot {len(made)}'
    async with Client.asking(channel.response(snapshot=snapshot), id) as client: await until(lambda: made)
    assert cancelled == [1] and not EventParser().feed(client.body)
    await publish(channel, 'meanwhile')
    async with Client.asking(channel.response(snapshot=snapshot), id_in(client.body)) as client:
        await client.got(b'data: snapshot 2\n\n')
        assert id_in(client.body) == await channel.tail()

async def test_a_snapshot_that_blocks_its_thread_does_not_hold_a_client_that_leaves():
    release, started, tasks = threading.Event(), threading.Event(), asyncio.all_tasks()
    def snapshot():
        started.set()
        release.wait(PATIENCE)
        return 'too late'
    try:
        async with Client.asking(Channel().response(snapshot=snapshot)) as client: await until(started.is_set)
        assert asyncio.all_tasks() <= tasks and b'data' not in client.body
    finally: release.set()

async def test_a_snapshot_that_is_overtaken_while_it_is_made_is_made_again():
    channel, made = Channel(MemoryLog(1)), []
    async def snapshot():
        made.append(1)
        if len(made) == 1: await publish(channel, *'abc')
        return f'snapshot {len(made)}'
    async with Client.asking(channel.response(snapshot=snapshot)) as client:
        await client.got(b'data: snapshot 2\n\n')
        assert id_in(client.body) == await channel.tail() and len(made) == 2

async def test_every_snapshot_sees_the_context_of_its_request():
    user, channel, seen = ContextVar('user', default='nobody'), Channel(MemoryLog(1)), []
    async def snapshot():
        seen.append(user.get())
        return f'snapshot {len(seen)}'
    user.set('ann')
    async with Client.asking(channel.response(snapshot=snapshot)) as client:
        await client.got(b'data: snapshot 1\n\n')
        for text in 'ab': channel.publish_sync(text)  # in one go: the first is gone when the reader looks
        await client.got(b'data: snapshot 2\n\n')
    assert seen == ['ann', 'ann']

def raising(error):
    def snapshot(): raise error
    return snapshot

@pytest.mark.parametrize('snapshot,error', [
    (raising(LookupError('secret')), LookupError),
    (lambda: ServerSentEvent('x', id='7'), ValueError),
    (lambda: object(), TypeError),
    (lambda: Frame(b'data: secret\n\ndata: secret\n\n'), ValueError),
    (lambda: Frame(b'id: 7\ndata: secret\n\n'), ValueError),
    (lambda: ServerSentEvent(comment='secret'), ValueError),
    (lambda: float('nan'), ValueError),
    (functools.partial(given, object()), TypeError),
])
async def test_a_snapshot_that_cannot_be_made_fails_its_response_and_is_tried_again_when_the_client_returns(snapshot, error):
    channel = Channel()
    with pytest.raises(error):
        async with Client.asking(channel.response(snapshot=snapshot)) as client: await asyncio.wait({client.request})
    assert b'secret' not in client.body and not EventParser().feed(client.body) and client.sent[-1] != b''  # no proper end
    assert not channel.log._readers and channel.log.position(id_in(client.body)) is None
    async with Client.asking(channel.response(snapshot=lambda: 'now'), id_in(client.body)) as client:
        await client.got(b'data: now\n\n')

async def test_a_snapshot_that_is_cancelled_from_within_does_not_leave_its_client_without_a_word():
    async def snapshot():
        waited_for = asyncio.get_running_loop().create_future()
        waited_for.cancel()
        return await waited_for
    channel = Channel()
    client = Client.asking(channel.response(snapshot=snapshot))
    await turns()
    over = client.request.done()
    client.leave()
    await asyncio.wait({client.request})
    assert over and not EventParser().feed(client.body) and client.sent[-1:] != [b'']


# Slow clients

async def test_a_client_that_takes_nothing_costs_nothing_and_gets_everything_when_it_does():
    channel = Channel()
    async with Client.asking(channel.response()) as slow, Client.asking(channel.response()) as quick:
        slow.free.clear()
        await publish(channel, '0')
        await turns()
        ids = await publish(channel, *(f'{n}' for n in range(1, 300)))
        await quick.got(frame(ids[-1], '299'))
        assert len(slow.sent) == 1 and channel.stats().lag == 299  # the first is on its way
        await turns()
        assert len(slow.sent) == 1
        slow.free.set()
        await slow.got(frame(ids[-1], '299'))
        assert [e.data for e in EventParser().feed(slow.body)] == [str(n) for n in range(300)] and len(slow.sent) == 3

async def test_chunks_hold_64_kib_at_most_and_a_larger_event_travels_alone():
    channel, sizes = Channel(), [100] * 200 + [30_000] * 10 + [100, 200_000, 100, 200_000, 200_000] + [65_000] * 3 + [100] * 3000
    start = await channel.tail()
    ids = await publish(channel, *(f'{n} ' + 'x' * size for n, size in enumerate(sizes)))
    async with Client.asking(channel.response(), start) as client:
        await until(lambda: id_in(client.body) == ids[-1])
        assert [int(e.data.split()[0]) for e in EventParser().feed(client.body)] == list(range(len(sizes)))
        position = f'id: {start}\n\n'.encode()
        chunks = [len(client.sent[0].removeprefix(position)), *map(len, client.sent[1:])]
        alone = [chunk.removeprefix(position).count(b'\n\n') == 1 for chunk in client.sent]
        assert all(size <= LIMIT or is_alone for size, is_alone in zip(chunks, alone)), chunks
        assert sum(size < LIMIT // 4 for size in chunks) < 10

async def test_a_long_catch_up_gives_others_their_turn():
    channel, others = Channel(), 0
    start = await channel.tail()
    ids = await publish(channel, *['x' * 30_000] * 50)
    async with Client.asking(channel.response(), start) as client:
        while not client.body.endswith(frame(ids[-1], 'x' * 30_000)) and others < 1000:
            sent = len(client.sent)
            await asyncio.sleep(0)
            others += 1
            assert len(client.sent) <= sent + 2
        assert 10 < others < 1000

@virtual
async def test_a_client_that_takes_nothing_for_long_is_dropped_and_resumes():
    channel = Channel()
    client = Client.asking(channel.response(send_timeout=5))
    await until(lambda: client.sent)
    client.free.clear()
    ids = await publish(channel, *'ab')
    await client.request
    assert asyncio.get_running_loop().time() == pytest.approx(5, abs=0.1) and not channel.log._readers
    async with Client.asking(channel.response(), id_in(client.body)) as client:
        assert client.body.endswith(frame(ids[0], 'a') + frame(ids[1], 'b'))

async def test_a_client_whose_socket_breaks_disturbs_nobody():
    class Broken(Client):
        async def send(self, message):
            if b'data' in message.get('body', b''): raise OSError('gone')
            await super().send(message)
    channel = Channel()
    async with Broken.asking(channel.response()) as broken, Client.asking(channel.response()) as well:
        id, = await publish(channel, 'x')
        await well.got(frame(id, 'x'))
        await asyncio.wait({broken.request})
        assert channel.stats().readers == 1


# The end

@virtual
async def test_at_a_shutdown_clients_get_what_is_pending_and_are_told_to_come_back_later():
    channel = Channel()
    async with Client.asking(channel.response()) as client, Client.asking(channel.response()) as blocked:
        blocked.free.clear()
        ids = await publish(channel, 'a')
        await turns()
        ids += await publish(channel, 'b')
        end_streams()
        await turns()
        blocked.free.set()
        for each in (client, blocked): await each.over()
    for each in (client, blocked):
        parser = EventParser()
        assert [e.data for e in parser.feed(each.body)] == ['a', 'b'] and 500 <= parser.retry <= 3000 and parser.last_event_id == ids[-1]
        assert each.sent[-1] == b'' and frame(ids[-1], 'b') + b'retry: ' in each.body

@virtual
async def test_who_is_told_twice_to_end_ends_once():
    channel = Channel()
    async with Client.asking(channel.response()) as client:
        for _ in range(2): end_streams()
        await client.over()
    assert client.body.count(b'retry: ') == 1

async def test_nothing_follows_the_last_words_to_a_client_that_was_blocked():
    channel, release = Channel(), asyncio.Event()
    async def snapshot():
        await release.wait()
        return 'too late'
    async with Client.asking(channel.response(snapshot=snapshot)) as client:
        client.free.clear()
        end_streams()
        await turns()
        release.set()
        await turns()
        client.free.set()
        await client.over()
    assert not EventParser().feed(client.body) and b'too late' not in client.body and b'\n\nretry: ' in client.body

@virtual
async def test_a_shutdown_does_not_wait_for_a_snapshot():
    channel, cancelled = Channel(), []
    async def snapshot():
        try: await asyncio.Event().wait()
        finally: cancelled.append(1)
    async with Client.asking(channel.response(snapshot=snapshot)) as client:
        await turns()
        end_streams()
        await client.over()
    assert cancelled == [1] and b'\n\nretry: ' in client.body and client.sent[-1] == b''
    async with Client.asking(channel.response(snapshot=functools.partial(given, 'now')), id_in(client.body)) as client:
        await client.got(b'data: now\n\n')

@virtual
async def test_a_closed_channel_ends_its_responses_without_words_after_what_is_pending():
    channel = Channel()
    async with Client.asking(channel.response()) as client, Client.asking(channel.response()) as blocked:
        blocked.free.clear()
        ids = await publish(channel, 'a')
        await turns()
        ids += await publish(channel, 'b')
        await channel.aclose()
        await client.over()
        blocked.free.set()
        await blocked.over()
    for each in (client, blocked):
        assert each.sent[-1] == b'' and each.body.endswith(b'\n\n' + frame(ids[0], 'a') + frame(ids[1], 'b'))

async def test_a_response_of_a_closed_channel_ends_at_once_and_without_words():
    channel = Channel()
    response = channel.response(snapshot=lambda: 'x')
    await channel.aclose()
    for each in (response, channel.response()):
        async with Client.asking(each) as client: await client.over()
        assert client.body == b'' and client.sent == [b'']
    assert channel.stats() == ChannelStats(0, 0, await channel.tail(), None)

async def test_a_channel_is_closed_for_all_loops_and_threads():
    channel, ready, ended = Channel(), threading.Barrier(3), []
    async def elsewhere(n):
        subscription = channel.subscribe()
        waiting = asyncio.create_task(anext(subscription, 'over'))
        async with Client.asking(channel.response()) as client, asyncio.timeout(PATIENCE):
            await asyncio.to_thread(ready.wait, PATIENCE)
            ended.append(await waiting)
            await client.over()
            ended.append(client.sent[-1])
    others = [asyncio.create_task(asyncio.to_thread(asyncio.run, elsewhere(n))) for n in range(2)]
    await asyncio.to_thread(ready.wait, PATIENCE)
    await channel.aclose()
    await asyncio.gather(*others)
    assert sorted(ended, key=repr) == ['over', 'over', b'', b'']

async def test_closing_twice_is_no_error_and_publishing_is_refused_from_then_on():
    channel = Channel()
    for _ in range(2): await channel.aclose()
    with pytest.raises(LogError, match='the channel is closed'): await channel.publish('x')
    with pytest.raises(LogError, match='the channel is closed'): channel.publish_sync('x')
    with pytest.raises(LogError): await asyncio.to_thread(channel.publish_sync, 'x')


# Subscriptions

async def test_a_subscription_stands_where_it_was_made():
    channel = Channel()
    subscription = channel.subscribe()
    await publish(channel, *'ab')
    later = channel.subscribe()
    await publish(channel, 'c')
    assert await read(subscription, 3) == list('abc') and await read(later) == ['c']

async def test_a_subscription_that_is_closed_gives_nothing_more():
    channel = Channel()
    async with channel.subscribe() as subscription:
        await publish(channel, *'abc')
        assert await read(subscription) == ['a']
    assert [entry async for entry in subscription] == [] and channel.stats().readers == 0
    waiting = channel.subscribe()
    step = asyncio.create_task(anext(waiting, 'over'))
    await until(lambda: channel.log._readers)
    for _ in range(2): await waiting.aclose()
    assert await step == 'over' and not channel.log._readers

async def test_what_is_published_just_before_a_subscription_waits_is_not_missed():
    channel = Channel()
    subscription, add = channel.subscribe(), channel.log.add
    for text in 'ab':
        def add_late(reader, text=text):
            channel.publish_sync(text)
            add(reader)
        channel.log.add = add_late
        assert await read(subscription) == [text]
    channel.log.add = add
    def add_when_closed(reader):
        subscription.stop()
        add(reader)
    channel.log.add = add_when_closed
    async with asyncio.timeout(PATIENCE): assert await anext(subscription, 'over') == 'over'

async def test_a_loop_over_a_subscription_may_be_left_and_taken_up_again():
    channel = Channel()
    subscription = channel.subscribe()
    await publish(channel, *'abc')
    async for entry in subscription: break
    assert entry.frame.endswith(b'data: a\n\n') and await read(subscription, 2) == ['b', 'c']

async def test_a_subscription_may_be_made_without_a_loop_and_read_in_several():
    channel = await asyncio.to_thread(Channel)
    subscription = await asyncio.to_thread(channel.subscribe, 'a')
    for n in range(3):
        step = asyncio.create_task(asyncio.to_thread(asyncio.run, read(subscription)))
        await until(lambda: channel.log._readers)
        await channel.publish(str(n), 'a')
        assert await step == [str(n)] and not channel.log._readers

async def test_a_subscription_that_is_dropped_leaves_nothing_behind():
    channel = Channel()
    subscription = channel.subscribe('a')
    step = asyncio.create_task(anext(subscription))
    await until(lambda: channel.log._readers)
    step.cancel()
    await asyncio.wait({step})
    await channel.publish('x', 'a')
    seen = weakref.ref(subscription)
    del subscription, step
    gc.collect()
    assert seen() is None and not channel.log._readers and channel.stats().readers == 0

async def test_a_response_that_is_over_leaves_nothing_behind():
    channel = Channel()
    async def snapshot(): return 'x'
    async with Client.asking(channel.response('a', 'b', snapshot=snapshot)) as client:
        await client.got(b'data: x\n\n')
        feeds = list(map(weakref.ref, channel._readers.values()))
        assert channel.log._readers and channel.stats().readers == 1
        await channel.publish('y', 'b')
        await client.got(b'data: y\n\n')
    del client
    gc.collect()
    assert [feed() for feed in feeds] == [None] and not channel.log._readers and not channel._readers
    assert 'a' not in channel.log._history._topics

async def test_a_response_that_was_never_asked_for_leaves_nothing_behind():
    channel = Channel()
    channel.response('a', snapshot=lambda: 'x')
    assert channel.stats().readers == 0 and not channel.log._readers

async def test_statistics_tell_how_far_the_slowest_is_behind():
    channel = Channel()
    assert channel.stats() == ChannelStats(0, 0, await channel.tail(), None)
    slow, quick = channel.subscribe('a'), channel.subscribe('a')
    for topic in 'abaa': id = await channel.publish('x', topic)
    await read(quick, 3)
    await read(slow, 1)
    assert channel.stats() == ChannelStats(2, 2, id, None)
    await slow.aclose()
    assert channel.stats() == ChannelStats(1, 0, id, None)

@pytest.fixture
def hasty():
    "Threads that take turns all the time."
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)

async def test_readers_may_come_from_several_threads_while_they_are_counted(hasty):
    channel, over = Channel(), threading.Event()
    kept = [channel.subscribe() for _ in range(500)]
    def come_and_go():
        while not over.is_set(): channel.subscribe()
    threads = [threading.Thread(target=come_and_go) for _ in range(3)]
    for thread in threads: thread.start()
    try:
        for _ in range(80): assert channel.stats().readers >= len(kept)
    finally:
        over.set()
        for thread in threads: thread.join()

async def test_a_reader_may_come_at_the_moment_when_another_is_counted():
    channel, late = Channel(), []
    class Inviting(module.Subscription):
        "Whoever looks at it meets one more."
        @property
        def ended(self): return late.append(channel.subscribe())
        @ended.setter
        def ended(self, value): pass
    inviting = [channel._reader(Inviting(channel.log, Cursor(channel.log, None))) for _ in range(2)]
    assert channel.stats().readers == len(inviting) == len(late)


# What is asked of it

async def test_a_head_request_is_answered_without_a_reader():
    channel, called = Channel(), []
    app = app_of(lambda: channel.response(snapshot=lambda: called.append(1)))
    async with open_stream(app, '/', method='HEAD') as s: assert [e async for e in s] == []
    assert s.raw == b'' and s.status == 200 and s.headers['content-type'].startswith('text/event-stream')
    assert not called and channel.stats().readers == 0

async def test_headers_tell_of_the_heartbeats_and_keep_proxies_from_buffering():
    async with open_stream(app_of(lambda: Channel().response(heartbeat_interval=7.5)), '/') as s: pass
    assert s.headers['heartbeat-interval'] == '7.5'
    assert s.headers['x-accel-buffering'] == 'no' and s.headers['cache-control'] == 'no-store, no-transform'
    assert isinstance(Channel().response(), SSEResponse)

@pytest.mark.parametrize('bad', [
    dict(heartbeat_interval=0),
    dict(heartbeat_interval=-1),
    dict(heartbeat_interval='5'),
    dict(send_timeout=None),
    dict(send_timeout=float('inf')),
])
def test_impossible_settings_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))): Channel().response(**bad)

@pytest.mark.parametrize('snapshot', ['text', Row(1), 7, b''])
def test_a_snapshot_that_is_no_function_is_refused(snapshot):
    with pytest.raises(TypeError, match='snapshot must be a function'): Channel().response(snapshot=snapshot)

@pytest.mark.parametrize('topic', [None, 7, b'a', ['a'], ('a', 'b')])
async def test_a_topic_that_is_no_text_is_refused(topic):
    channel = Channel()
    for call in (channel.response, channel.subscribe, functools.partial(channel.publish_sync, 'x')):
        with pytest.raises(TypeError, match='a topic must be a str'): call(topic)
    with pytest.raises(TypeError, match='a topic must be a str'): await channel.publish('x', topic)

@pytest.mark.parametrize('log', [MemoryLog, 7, {}, b'events.db'])
def test_what_is_no_log_is_refused(log):
    with pytest.raises(TypeError, match='a channel needs a log, or the place of one'): Channel(log)

@pytest.mark.parametrize('place', ['mysql://localhost', 'http://x/events.db', 'sqlite:///events.db'])
def test_a_place_that_is_unknown_is_refused(place):
    with pytest.raises(ValueError, match='a channel knows redis://'): Channel(place)

async def test_a_place_is_a_log(tmp_path):
    files = {tmp_path/'a.db': SQLiteLog, str(tmp_path/'b.db'): SQLiteLog}
    for place, kind in {**files, 'redis://localhost:1': RedisLog, None: MemoryLog}.items():
        channel = Channel(place)
        assert type(channel.log) is kind and channel.log.shared is (kind is not MemoryLog)
        await channel.aclose()

@pytest.mark.parametrize('maxlen', [0, -1, None, 1.5, '10', True])
def test_a_log_that_could_hold_nothing_is_refused(maxlen):
    with pytest.raises(ValueError, match='maxlen'): MemoryLog(maxlen)

def test_channels_without_a_log_have_one_each():
    one, other = Channel(), Channel()
    assert one.log is not other.log and type(one.log) is MemoryLog
    log = MemoryLog()
    assert Channel(log).log is log

BAD = {
    'nothing': (None, ValueError),
    'an object': (object(), TypeError),
    'a set': ({1}, TypeError),
    'not a number': (float('nan'), ValueError),
    'bytes that are no text': (b'\xff', ValueError),
    'a lone surrogate': ('\ud800', ValueError),
    'an id': (ServerSentEvent('x', id='7'), ValueError),
    'an empty id': (ServerSentEvent('x', id=''), ValueError),
    'no data': (ServerSentEvent(event='x'), ValueError),
    'a comment': (ServerSentEvent(comment='x'), ValueError),
    'a retry': (ServerSentEvent(retry=3), ValueError),
    'an empty frame': (Frame(b''), ValueError),
    'a frame with a comment': (Frame(b': x\n\n'), ValueError),
    'two events': (Frame(b'data: 1\n\ndata: 2\n\n'), ValueError),
    'half an event': (Frame(b'data: 1\n'), ValueError),
    'an event and a half': (Frame(b'data: 1\n\nevent: b\n'), ValueError),
    'an unfinished line': (Frame(b'data: 1\n\ndata'), ValueError),
    'an id in a frame': (Frame(b'id: 7\ndata: 1\n\n'), ValueError),
    'the same id in a frame': (Frame(b'id: a\ndata: 1\n\nid: x'), ValueError),
    'an empty id in a frame': (Frame(b'id\ndata: 1\n\n'), ValueError),
    'an id behind': (Frame(b'data: 1\n\nid: 7\n\n'), ValueError),
    'an id behind a carriage return': (Frame(b'data: 1\rid: 7\r\n\n'), ValueError),
    'no blank line': (Frame(b'data: 1'), ValueError),
    'a coroutine function': (given, TypeError),
}

@pytest.mark.parametrize('name', BAD)
async def test_what_is_not_exactly_one_event_fails_its_publisher_and_reaches_nobody(name):
    (value, error), channel = BAD[name], Channel()
    subscription = channel.subscribe()
    with pytest.raises(error): await channel.publish(value)
    with pytest.raises(error): channel.publish_sync(value)
    await publish(channel, 'good')
    assert await read(subscription) == ['good']

async def test_an_event_has_one_name():
    channel = Channel()
    subscription = channel.subscribe()
    await channel.publish(Div('x'), event='tick')
    channel.publish_sync(ServerSentEvent('x', event='tick', comment='c', retry=5))
    for text in (b'event: tick\ndata: <div>x</div>\n\n', b': c\nevent: tick\ndata: x\nretry: 5\n\n'):
        assert (await anext(subscription)).frame.split(b'\n', 1)[1] == text
    for value in (Frame(b'data: x\n\n'), ServerSentEvent('x', event='tock')):
        with pytest.raises(ValueError, match='cannot be named'): await channel.publish(value, event='tick')
    with pytest.raises(ValueError, match='CR, LF'): await channel.publish('x', event='a\nb')

@pytest.mark.parametrize('text', [
    b'data: x\n\n',
    b': why\nevent: e\ndata: x\ndata: y\nretry: 4\n\n',
    b'data: x\r\n\r\n',
    b'data: x\r\r',
    b'data\n\n',
    b'unknown: field\ndata: x\n\n',
    b'\n\ndata: x\n\n',
])
async def test_a_frame_passes_untouched_behind_its_id(text):
    channel = Channel()
    subscription = channel.subscribe()
    id = await channel.publish(Frame(text))
    entry = await anext(subscription)
    assert entry == Entry(id, '', f'id: {id}\n'.encode() + text) and type(entry.frame) is Frame
    assert len(EventParser().feed(entry.frame)) == 1


# In an app

class Passing(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next): return await call_next(request)

@pytest.mark.parametrize('middleware', [Passing, GZipMiddleware])
async def test_middleware_does_not_hold_back_what_is_published(middleware):
    channel = Channel()
    app = app_of(lambda: channel.response(snapshot=lambda: 'all'), middleware=[Middleware(middleware)])
    async with open_stream(app, '/', headers={'accept-encoding': 'gzip'}) as s:
        assert (await s.next()).data == 'all' and 'content-encoding' not in s.headers
        for n in range(3):
            await channel.publish('x' * 1000 * n)
            assert (await s.next()).data == 'x' * 1000 * n
        before = s.last_event_id
    assert channel.stats().readers == 0
    id, = await publish(channel, 'between')
    async with open_stream(app, '/', last_event_id=before, headers={'accept-encoding': 'gzip'}) as s:
        assert (await s.next()).id == id
    await channel.aclose()

async def test_plain_handlers_publish_from_their_threads():
    channel, threads = Channel(), []
    app, rt = fast_app()
    @rt('/events')
    def events(): return channel.response('a')
    @rt('/send')
    def send(text: str):
        threads.append(threading.current_thread())
        channel.publish_sync(text, 'a')
    async with open_stream(app, '/events') as s:
        for text in ('x', 'y'):
            async with open_stream(app, f'/send?text={text}', method='POST') as sent: pass
            assert sent.status < 300 and (await s.next()).data == text
    assert threading.main_thread() not in threads

async def test_one_response_serves_many_requests():
    channel = Channel()
    response = channel.response()
    async with Client.asking(response) as one, Client.asking(response) as two:
        id, = await publish(channel, 'x')
        for client in (one, two): await client.got(frame(id, 'x'))
        assert channel.stats().readers == 2

TEN_LINES = """
from fasthtml.common import *
from fasthtml_sse import *
app, rt = fast_app(hdrs=sse_headers())
chat = Channel()
@rt
def index(): return Titled('Chat', Ul(id='msgs'), Form(Input(name='text'), hx_post=send, hx_swap='none'), SSESource(events))
@rt
async def send(text: str): await chat.publish(swap.append(Li(text), '#msgs'))
@rt
def events(): return chat.response()
"""

async def test_the_ten_lines_of_the_design_are_a_live_page():
    exec(TEN_LINES, page := {})
    async with open_stream(page['app'], '/') as s: assert [e async for e in s] == []
    assert s.status == 200 and b'src="/events"' in s.raw and b'hx-post="/send"' in s.raw
    async with open_stream(page['app'], '/events') as s:
        async with open_stream(page['app'], '/send?text=hi<', method='POST') as sent: pass
        assert sent.status < 300
        event = await s.next()
        assert event.event is None and '<li>hi&lt;</li>' in event.data and '#msgs' in event.data and event.id == await page['chat'].tail()

class OtherLog(MemoryLog):
    "A log that reaches other processes."
    shared = True

def warnings_of(caplog):
    said = [record.getMessage() for record in caplog.records if record.name == 'fasthtml_sse']
    return [text for text in said if 'workers' in text]

@pytest.mark.parametrize('log, counts, warned', [
    (MemoryLog, [4], 1),
    (MemoryLog, [1, 3], 1),
    (MemoryLog, [1], 0),
    (MemoryLog, [], 0),
    (OtherLog, [4], 0),
])
async def test_a_channel_in_memory_warns_once_of_several_workers(log, counts, warned, monkeypatch, caplog):
    monkeypatch.setattr(module, 'count_workers', lambda loop: max(counts, default=1))
    channel = Channel(log())
    for _ in range(2):
        async with Client.asking(channel.response()): channel.subscribe()
    found = warnings_of(caplog)
    assert len(found) == warned and all(str(max(counts)) in text and 'events.db' in text and 'redis://' in text for text in found)

async def test_what_is_read_before_there_is_a_loop_does_not_keep_the_warning_from_coming(monkeypatch, caplog):
    monkeypatch.setattr(module, 'count_workers', lambda loop: 2)
    channel = Channel()
    await asyncio.to_thread(channel.subscribe)
    await asyncio.to_thread(channel.response)
    assert not warnings_of(caplog)
    async with Client.asking(channel.response()): assert len(warnings_of(caplog)) == 1

def test_the_names_of_the_design_are_there_and_take_what_it_says():
    def parameters(fn):
        return {name: (p.kind.name, p.default) for name, p in inspect.signature(fn).parameters.items() if name != 'self'}
    required, word = inspect.Parameter.empty, 'POSITIONAL_OR_KEYWORD'
    topics, named = {'topics': ('VAR_POSITIONAL', required)}, dict(since='now', not_before=None, snapshot=None)
    named |= dict(heartbeat_interval=15.0, send_timeout=30.0)
    for fn in (Channel.publish, Channel.publish_sync):
        assert parameters(fn) == {'value': (word, required), 'topic': (word, ''), 'event': (word, None), 'end': (word, False)}
    assert parameters(Channel.subscribe) == topics | {'after': ('KEYWORD_ONLY', None), 'since': ('KEYWORD_ONLY', 'now')}
    assert parameters(Channel.response) == topics | {name: ('KEYWORD_ONLY', value) for name, value in named.items()}
    assert parameters(Channel) == {'log': (word, None)} and parameters(MemoryLog) == {'maxlen': (word, 10_000)}
    assert list(Entry.__dataclass_fields__) == ['id', 'topic', 'frame'] and list(Gap.__dataclass_fields__) == ['after', 'id']
    assert list(ChannelStats.__dataclass_fields__) == ['readers', 'lag', 'last_id', 'error']
    assert {'Channel', 'ChannelStats', 'Entry', 'Gap', 'LogError', 'MemoryLog', 'Subscription'} <= set(fasthtml_sse.__all__)

@pytest.mark.parametrize('after', [7, b'x', ['x'], True])
def test_an_id_is_a_str(after):
    with pytest.raises(TypeError, match='after must be an id, which is a str'): Channel().subscribe(after=after)

async def test_a_subscription_is_read_by_one_at_a_time():
    channel = Channel()
    subscription = channel.subscribe()
    first = asyncio.ensure_future(anext(subscription))
    await turns()
    with pytest.raises(RuntimeError, match='subscribe once for each'): await anext(subscription)
    await channel.publish('one')
    assert (await first).frame.endswith(b'data: one\n\n')

def test_a_loop_that_is_closed_leaves_nothing_behind():
    channel = Channel()
    async def left():
        subscription = channel.subscribe('red')
        waiting = asyncio.ensure_future(anext(subscription))
        await until(lambda: channel.log._readers)
        return waiting
    loop = asyncio.new_event_loop()
    waiting = loop.run_until_complete(left())
    loop.close()
    channel.publish_sync('x', topic='red')
    assert not channel.log._readers and not channel.log._history._topics['red'].readers
    waiting._log_destroy_pending = False
    waiting.get_coro().close()

def test_a_channel_closes_though_the_loop_of_a_reader_is_closed():
    channel, loop = Channel(), asyncio.new_event_loop()
    feed, subscription = channel._reader(module.Feed(channel.log, Cursor(channel.log, None), None, module.Snapshots())), channel.subscribe()
    async def left():
        feed.on_ready(lambda in_task: None)
        waiting = asyncio.ensure_future(anext(subscription))
        while not subscription._waiting: await asyncio.sleep(0)
        return waiting
    waiting = loop.run_until_complete(left())
    loop.close()
    asyncio.run(channel.aclose())
    assert subscription.ended
    waiting._log_destroy_pending = False
    waiting.get_coro().close()

def test_logs_leave_nothing_behind_for_forks():
    before = len(log_module._logs)
    for _ in range(100): MemoryLog()
    gc.collect()
    assert len(log_module._logs) <= before + 1

@pytest.mark.parametrize('topic', ['a\0b', '\ud800'])
async def test_a_topic_that_a_client_chose_and_that_is_none_is_a_400(topic):
    channel = Channel()
    async with open_stream(app_of(lambda: channel.response(topic)), '/') as s: assert [e async for e in s] == []
    assert s.status == 400 and b'a topic must not hold NUL or a lone surrogate' in s.raw
