"SSEStream, StreamConfig and @sse: the frames, and how a stream ends."
import asyncio, functools, gc, logging, math, threading
from contextlib import aclosing, contextmanager
from itertools import product

import anyio, pytest
from fasthtml.common import Div, NotStr, fast_app
from fasthtml.core import EventStream
from hypothesis import given, settings, strategies as st

from fasthtml_sse import Channel, EventParser, Frame, SSEResponse, SSEStream, ServerSentEvent, StreamConfig, end_streams, sse
from fasthtml_sse.core.event import FrameStr
from fasthtml_sse.core.source import LINGER, Driver, TooManyThreads
from fasthtml_sse.testing import open_stream
from tests.support.clock import PATIENCE, turns, until, virtual

pytestmark = pytest.mark.anyio
BARE = dict(send_initial_message=False, send_close_message=False)
CLOSE = 'event: close\ndata: Connection closed\n\n'


async def frames(source, transform=None, **config): return [f async for f in SSEStream(StreamConfig(**config)).stream(source, transform)]

async def data(source, transform=None, **config):
    raw = ''.join(await frames(source, transform, **config)).encode()
    return [e.data for e in EventParser().feed(raw) if e.event is None]

async def same(value): return value

async def forever(opened=None, closed=None):
    "Yields once and then says nothing."
    try:
        if opened: opened.set()
        yield 'hello'
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        if closed is not None: closed.append(asyncio.current_task())


# What the frames are

async def test_frames_open_with_a_comment_and_close_with_an_event():
    assert await frames(['message_0']) == [': Connected\n\n', 'data: message_0\n\n', CLOSE]

async def test_without_words_the_frames_are_the_items():
    assert await frames(['a', 'b'], **BARE) == ['data: a\n\n', 'data: b\n\n']

async def test_a_finite_stream_ends_with_an_event_that_a_browser_sees():
    last = EventParser().feed((await frames(['x']))[-1].encode())
    assert [(e.event, e.data) for e in last] == [('close', 'Connection closed')]

async def test_the_close_message_can_be_a_comment():
    assert (await frames([], close_event=None))[-1] == ': Connection closed\n\n'

async def test_retry_rides_in_the_opening_frame():
    assert (await frames([], retry=700))[0] == ': Connected\nretry: 700\n\n'
    assert (await frames([], retry=700, **BARE)) == ['retry: 700\n\n']

async def test_newlines_in_messages_are_split_like_data():
    got = await frames(['a\nb'], initial_message='hi\nevent: x\rdata: y', close_message='bye\n\nevent: admin')
    assert got == [': hi\n: event: x\n: data: y\n\n', 'data: a\ndata: b\n\n', 'event: close\ndata: bye\ndata: \ndata: event: admin\n\n']

async def test_a_string_cannot_inject_an_event():
    raw = ''.join(await frames(['x\n\nevent: admin\ndata: forged'], **BARE)).encode()
    assert [(e.event, e.data) for e in EventParser().feed(raw)] == [(None, 'x\n\nevent: admin\ndata: forged')]

async def test_none_is_dropped_and_not_counted():
    stream = SSEStream(StreamConfig(**BARE))
    got = [f async for f in stream.stream(range(4), lambda n: n if n % 2 else None)]
    assert got == ['data: 1\n\n', 'data: 3\n\n'] and stream._message_count == 2

async def test_what_stream_yields_is_not_encoded_twice():
    once = await frames(['a', Div('b')])
    assert await frames(SSEStream().stream(['a', Div('b')]), **BARE) == once
    app, rt = fast_app()
    @rt('/old')
    def old(): return EventStream(SSEStream().stream(['a', Div('b')]))
    async with open_stream(app, '/old') as s:
        async for _ in s: pass
    assert s.raw.decode() == ''.join(once)

WROTE = ['<b>', ' ', '\r\n', Div('<'), ['<'], b'<b>', ServerSentEvent('<b>'), FrameStr('data: <b>\n\n'), '']
SHOWN = ['&lt;b&gt;', ' ', '&#13;\n', '<div>&lt;</div>', '["<"]', '<b>', '<b>', '<b>', '']

@pytest.mark.parametrize('transform', [None, lambda value: value, same], ids=['none', 'sync', 'async'])
async def test_text_is_escaped_and_nothing_else(transform):
    assert await data(WROTE, transform, text=True) == SHOWN
    assert await data(WROTE[:2], transform) == WROTE[:2]

async def test_what_a_transform_gives_is_text_or_not():
    assert await data(['a', 'b'], {'a': '<a>', 'b': NotStr('<b>')}.get, text=True) == ['&lt;a&gt;', '<b>']
    assert await data(range(3), lambda n: '<' if n == 1 else None, text=True) == ['&lt;']

async def test_a_handler_of_text():
    app, rt = fast_app()
    @rt('/text')
    @sse(text=True)
    def text(): yield '<b>'
    async with open_stream(app, '/text') as s: assert (await s.next()).data == '&lt;b&gt;'

async def test_events_and_frames_pass_as_they_are():
    assert await frames([ServerSentEvent('x', id='1'), Frame(b'data: raw\n\n')], **BARE) == ['id: 1\ndata: x\n\n', 'data: raw\n\n']


# What a source and a transform may be

class AsyncIter:
    def __init__(self, items): self.items, self.closed = list(items), 0
    def __aiter__(self): return self
    async def __anext__(self):
        if not self.items: raise StopAsyncIteration
        return self.items.pop(0)
    async def aclose(self): self.closed += 1

def gen():
    yield from 'ab'
async def agen():
    for c in 'ab': yield c
async def coro(): return agen()
class Callable:
    async def __call__(self): return ['a', 'b']

SOURCES = dict(
    list=['a', 'b'],
    tuple=('a', 'b'),
    generator=gen(),
    generator_function=gen,
    async_generator=agen(),
    async_generator_function=agen,
    coroutine_function=coro,
    iterator=iter('ab'),
    lambda_=lambda: ['a', 'b'],
    lambda_async=lambda: agen(),
    lambda_coro=lambda: coro(),
    partial=functools.partial(gen),
    callable_object=Callable(),
    async_iterator=AsyncIter('ab'),
    nested=lambda: lambda: gen,
)

@pytest.mark.parametrize('source', SOURCES.values(), ids=SOURCES.keys())
async def test_sources_of_every_kind(source): assert await data(source) == ['a', 'b']

async def up(c): return c.upper()
class Up:
    async def __call__(self, c): return c.upper()

@pytest.mark.parametrize('fn', [
    str.upper,
    up,
    lambda c: up(c),
    functools.partial(up),
    Up(),
    functools.partial(lambda x, c: c.upper(), 0),
])
async def test_transforms_of_every_kind(fn): assert await data(gen, fn) == ['A', 'B']

@pytest.mark.parametrize('source', ['text', b'bytes', Div('x'), {'a': 1}, 5, None])
async def test_what_is_no_source_is_refused_by_name(source):
    with pytest.raises(TypeError, match=f'a {type(source).__name__} is no source'): await frames(source)
    with pytest.raises(TypeError, match=f'a {type(source).__name__} is no source'): SSEStream().response(source)

async def test_an_item_that_cannot_be_told_fails_at_the_source():
    with pytest.raises(TypeError, match='a object is no data'): await frames([object()])
    async def fetch(): return 'x'
    forgotten = fetch()
    with pytest.raises(TypeError, match='await it first'): await frames([forgotten])
    forgotten.close()

async def test_a_sync_source_lives_in_one_thread_of_its_own():
    seen = []
    def source():
        try:
            for _ in range(2):
                seen.append(threading.current_thread())
                yield 'x'
        finally: seen.append(threading.current_thread())
    await frames(source)
    assert len(seen) == 3 and len(set(seen)) == 1 and seen[0] is not threading.main_thread() and seen[0].daemon
    seen[0].join(PATIENCE)
    assert not seen[0].is_alive()


# Heartbeats

@virtual
@given(st.floats(0.001, 10), st.lists(st.floats(0, 10), max_size=8))
@settings(max_examples=60)
async def test_any_heartbeat_and_any_pauses_give_the_same_items(interval, pauses):
    async def source():
        for n, pause in enumerate(pauses):
            await asyncio.sleep(pause)
            yield n
    got = await frames(source, heartbeat_interval=interval, **BARE)
    assert [f for f in got if not f.startswith(': heartbeat')] == [f'data: {n}\n\n' for n in range(len(pauses))]

@virtual
async def test_a_heartbeat_fills_each_interval_of_silence():
    async def source():
        await asyncio.sleep(35)
        yield 'x'
    assert (await frames(source, **BARE)) == [': heartbeat\n\n', 'data: x\n\n']
    assert (await frames(source, heartbeat_interval=10, **BARE)) == [': heartbeat\n\n'] * 3 + ['data: x\n\n']
    assert (await frames(source, heartbeat_interval=None, **BARE)) == ['data: x\n\n']

@pytest.mark.parametrize('where', ['source', 'transform'])
async def test_a_timeout_error_is_an_error_and_no_heartbeat(where):
    async def source():
        yield 'a'
        if where == 'source': raise TimeoutError('the database')
    def fn(item):
        if where == 'transform': raise TimeoutError('the database')
        return item
    with pytest.raises(TimeoutError, match='the database'): await frames(source, fn)

async def test_a_stream_advances_only_on_demand():
    made = []
    async def source():
        for n in range(5):
            made.append(n)
            yield n
    async with aclosing(SSEStream(StreamConfig(**BARE)).stream(source)) as stream:
        for _ in range(2): await anext(stream)
        await turns(10)
        assert made == [0, 1]

async def test_a_sync_source_advances_only_on_demand():
    made = []
    def source():
        for n in range(5):
            made.append(n)
            yield n
    async with aclosing(SSEStream(StreamConfig(**BARE)).stream(source)) as stream:
        await anext(stream)
        await asyncio.sleep(0.02)
        assert made == [0]


# How a stream ends

async def test_aclose_ends_quietly_and_closes_the_source():
    closed = []
    stream = SSEStream().stream(forever(closed=closed))
    for _ in range(2): await anext(stream)
    await stream.aclose()
    assert len(closed) == 1

async def test_the_source_lives_in_one_task_and_closes_once():
    tasks = []
    class Source(AsyncIter):
        async def __anext__(self):
            tasks.append(asyncio.current_task())
            return await super().__anext__()
        async def aclose(self):
            tasks.append(asyncio.current_task())
            await super().aclose()
    source = Source('ab')
    await frames(source)
    assert source.closed == 1 and len(set(tasks)) == 1 and tasks[0] is not asyncio.current_task()

async def test_cancellation_goes_through_and_closes_the_source():
    opened, closed, got = asyncio.Event(), [], []
    async def read():
        async for f in SSEStream().stream(forever(opened, closed)): got.append(f)
    task = asyncio.create_task(read())
    await opened.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError): await task
    assert len(closed) == 1 and CLOSE not in got

@virtual
async def test_clean_up_that_awaits_is_not_interrupted_by_a_second_cause():
    steps, closing = [], asyncio.Event()
    async def source():
        try:
            yield 'x'
            await asyncio.Event().wait()
        finally:
            closing.set()
            for n in range(3):
                await asyncio.sleep(0.01)
                steps.append(n)
    stream = SSEStream(StreamConfig(timeout=0.02))
    async for f in stream.stream(source):
        if f.startswith('data'): asyncio.get_running_loop().call_later(0.01, stream.stop)
    assert steps == [0, 1, 2]

@virtual
async def test_clean_up_that_takes_too_long_is_left_to_itself():
    release, done = asyncio.Event(), asyncio.Event()
    async def source():
        try:
            yield 'x'
            await asyncio.Event().wait()
        finally:
            await release.wait()
            done.set()
    stream, got = SSEStream(), []
    async for f in stream.stream(source):
        got.append(f)
        if f.startswith('data'): stream.stop()
    assert got[-1] == CLOSE and not done.is_set() and asyncio.get_running_loop().time() == LINGER
    release.set()
    await done.wait()

@virtual
@pytest.mark.parametrize('where', ['source', 'transform'])
async def test_a_source_that_stops_its_own_stream_is_not_interrupted_in_its_clean_up(where):
    steps, stream = [], SSEStream()
    async def source():
        try:
            yield 'x'
            if where == 'source': stream.stop()
            yield 'y'
        finally:
            for n in range(3):
                await asyncio.sleep(0.001)
                steps.append(n)
    def fn(item):
        if where == 'transform': stream.stop()
        return item
    got = [f async for f in stream.stream(source, fn)]
    assert steps == [0, 1, 2] and got[-1] == CLOSE

async def test_a_source_is_not_stepped_before_its_first_item_is_wanted():
    steps = []
    async def source():
        for n in range(3):
            steps.append(n)
            yield n
    frames = SSEStream(StreamConfig(close_event=None)).stream(source)
    assert await anext(frames) == ': Connected\n\n'
    await turns(10)
    assert steps == []
    assert await anext(frames) == 'data: 0\n\n'
    await turns(10)
    assert steps == [0]
    await frames.aclose()

async def test_a_source_that_was_never_stepped_is_closed_too():
    for how in ('stop', 'aclose'):
        source, stream = AsyncIter('ab'), SSEStream()
        frames = stream.stream(source)
        assert await anext(frames) == ': Connected\n\n'
        if how == 'stop':
            stream.stop()
            assert [f async for f in frames] == [CLOSE]
        else: await frames.aclose()
        assert source.closed == 1

async def test_an_error_while_an_abandoned_stream_closes_is_raised():
    async def source():
        try:
            yield 'x'
            await asyncio.Event().wait()
        finally: raise LookupError('clean-up')
    stream = SSEStream(StreamConfig(**BARE)).stream(source)
    await anext(stream)
    with pytest.raises(LookupError, match='clean-up'): await stream.aclose()

async def test_two_cancellations_leave_nothing_behind():
    release = asyncio.Event()
    async def source():
        try:
            yield 'x'
            await asyncio.Event().wait()
        finally: await release.wait()
    async def read():
        async for _ in SSEStream().stream(source): pass
    task = asyncio.create_task(read())
    await turns(20)
    task.cancel()
    await turns(5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError): await task
    release.set()

@virtual
async def test_a_shielded_clean_up_survives_level_cancellation():
    steps = []
    async def source():
        try:
            yield 'x'
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            steps.append('clean')
    async def read():
        try:
            async with aclosing(SSEStream().stream(source)) as stream:
                async for _ in stream: pass
        finally: steps.append('over')
    with anyio.move_on_after(0.05): await read()
    assert steps == ['clean', 'over']

class Unkind(Exception):
    def __len__(self): return 0
    def __repr__(self): raise RuntimeError('no')

async def test_any_exception_is_an_error_whatever_its_methods_do():
    def source(): yield 'x'; raise Unkind
    with pytest.raises(Unkind): await frames(source)

@pytest.mark.parametrize('kind', [StopIteration, StopAsyncIteration])
async def test_a_stop_iteration_that_is_raised_is_no_end(kind):
    class Source:
        def __iter__(self): return self
        def __next__(self):
            if kind is StopAsyncIteration: raise StopAsyncIteration('raised')
            raise RuntimeError('generator raised StopIteration')
    with pytest.raises(RuntimeError): await frames(Source)
    def broken(item): raise kind('raised')
    with pytest.raises((RuntimeError, StopAsyncIteration)): await frames(['a'], broken)

async def test_what_a_slow_function_makes_for_nobody_is_closed():
    called, release, closed = (threading.Event() for _ in range(3))
    class Cursor:
        def __iter__(self): return iter(())
        def close(self): closed.set()
    def source():
        called.set()
        release.wait()
        return Cursor()
    stream = SSEStream().stream(source)
    await anext(stream)
    step = asyncio.create_task(anext(stream))
    try:
        await until(called.is_set)
        step.cancel()
        with pytest.raises(asyncio.CancelledError): await step
    finally: release.set()
    assert await asyncio.to_thread(closed.wait, PATIENCE)

class AsyncHeld:
    "As the stream of an async SDK: it holds a connection, and its close is awaited."
    closed = 0
    def __aiter__(self): return self
    async def __anext__(self): return 'x'
    async def close(self):
        await asyncio.sleep(0)
        self.closed += 1

class AsyncIterator(AsyncHeld):
    async def aclose(self): await super().close()

class SyncHeld:
    closed = 0
    def __iter__(self): return self
    def __next__(self): return 'x'
    def close(self): self.closed += 1

class Late(SyncHeld):
    "What an awaitable holds, before it was awaited."
    __iter__ = __next__ = None
    def __await__(self): yield

HELD = [AsyncHeld, AsyncIterator, SyncHeld, Late]
each_held = pytest.mark.parametrize('held', HELD)

@contextmanager
def blocked_source(make):
    "A function that is in its thread until it may go on, and what it has made."
    called, may, made = threading.Event(), threading.Event(), []
    def source():
        called.set()
        may.wait(PATIENCE)
        made.append(make())
        return made[0]
    try: yield source, called, may, made
    finally: may.set()

@pytest.mark.parametrize('leaves', ['reader', 'loop'])
@each_held
async def test_what_is_made_when_nobody_wants_it_any_more_is_closed(held, leaves, recwarn):
    with blocked_source(held) as (source, called, may, made):
        async def read():
            frames = SSEStream(StreamConfig(**BARE)).stream(source)
            step = asyncio.ensure_future(anext(frames))
            await until(called.is_set, 0.001)
            if leaves == 'reader':
                step.cancel()
                await asyncio.wait({step})
        if leaves == 'reader': await read()
        else: await asyncio.to_thread(asyncio.run, read())
    await until(lambda: made, 0.001)
    if leaves == 'reader' or held in (SyncHeld, Late): await until(lambda: made[0].closed, 0.001)
    gc.collect()
    assert not [warning for warning in recwarn if 'close' in str(warning.message)]  # was never awaited

@pytest.mark.parametrize('first', ['next', 'anext'])
async def test_a_generator_that_was_begun_and_is_not_wanted_is_closed(first):
    closed = threading.Event()
    def numbers():
        try: yield from range(9)
        finally: closed.set()
    async def later():
        try:
            for n in range(9): yield n
        finally: closed.set()
    begun = numbers() if first == 'next' else later()
    next(begun) if first == 'next' else await anext(begun)
    with blocked_source(lambda: begun) as (source, called, may, made):
        step = asyncio.ensure_future(anext(SSEStream(StreamConfig(**BARE)).stream(source)))
        await until(called.is_set, 0.001)
        step.cancel()
        await asyncio.wait({step})
    assert await asyncio.to_thread(closed.wait, PATIENCE)

@pytest.mark.parametrize('how, held', [*product(['HEAD', 'stopped', 'torn down', 'a run of that name'], HELD),
    *product(['ended by who makes it'], HELD[:3])])
async def test_a_source_that_is_never_started_is_closed_once(how, held):
    source, stream = held(), SSEStream(StreamConfig(**BARE))
    if how == 'HEAD':
        async def send(message): pass
        await SSEResponse(source)({'type': 'http', 'method': 'HEAD', 'headers': []}, None, send)
    elif how == 'stopped':
        stream.stop()
        assert [frame async for frame in stream.stream(source)] == []
    elif how == 'ended by who makes it':
        async def make():
            driver.end()
            return source
        driver = Driver(make)
        driver.on_ready(lambda in_task: None)
    elif how == 'torn down':
        async def main(): Driver(source).on_ready(lambda in_task: None)
        await asyncio.to_thread(asyncio.run, main())
    else:
        channel = Channel()
        await channel.run(forever, 'job')
        await channel.run(source, 'job')
        await channel.aclose()
    await until(lambda: source.closed)
    await asyncio.sleep(0.01)
    assert source.closed == 1

async def test_what_was_made_and_cannot_have_a_thread_is_closed(monkeypatch):
    monkeypatch.setattr('fasthtml_sse.core.source.ABANDONED', 0)
    source = SyncHeld()
    async def make(): return source
    with pytest.raises(TooManyThreads): await frames(make)
    assert source.closed == 1

async def test_an_error_of_what_nobody_wants_is_logged(caplog):
    class Bad(SyncHeld):
        def close(self): raise OSError('no connection')
    class AsyncBad(AsyncHeld):
        async def close(self): raise OSError('no connection')
    for source in (Bad(), AsyncBad()):
        caplog.clear()
        stream = SSEStream(StreamConfig(**BARE))
        stream.stop()
        assert [frame async for frame in stream.stream(source)] == []
        await until(lambda: caplog.messages)
        assert caplog.messages == ['a source that nobody wanted failed as it was closed'] and 'no connection' in caplog.text

def test_a_thread_that_outlives_its_loop_says_nothing():
    release, threads = threading.Event(), []
    def source():
        yield 'x'
        threads.append(threading.current_thread())
        release.wait(PATIENCE)
        yield 'y'
    async def read_one():
        frames = SSEStream().stream(source)
        while 'data: x' not in await anext(frames): pass
        step = asyncio.ensure_future(anext(frames))
        await until(lambda: threads)
        step.cancel()
        await asyncio.wait({step})
    asyncio.run(read_one())
    release.set()
    threads[0].join(PATIENCE)
    assert not threads[0].is_alive()

async def test_a_function_that_gives_itself_is_no_source():
    def endless(): return endless
    with pytest.raises(TypeError, match='gives functions without end'): await frames(endless)

async def test_comments_do_not_count_as_messages():
    stream = SSEStream(StreamConfig(**BARE))
    source = [ServerSentEvent(comment='x'), ServerSentEvent('y', comment='z'), Frame(b': w\n\n'), 'data']
    assert len([f async for f in stream.stream(source)]) == 4
    assert stream._message_count == 2

async def test_an_error_of_the_source_is_raised_after_its_items():
    got = []
    def source():
        yield 'a'
        raise LookupError('secret')
    with pytest.raises(LookupError, match='secret'):
        async for f in SSEStream(StreamConfig(debug=True)).stream(source): got.append(f)
    assert got == [': Connected\n\n', 'data: a\n\n']

async def test_debug_logs_and_never_tells_the_client(caplog):
    caplog.set_level(logging.DEBUG, 'fasthtml_sse')
    app, rt = fast_app()
    @rt('/broken')
    @sse(debug=True)
    async def broken():
        yield 'a'
        raise LookupError('secret')
    with pytest.raises(LookupError):
        async with open_stream(app, '/broken') as s:
            while True: await s.next()
    assert b'secret' not in s.raw and b'close' not in s.raw and 'secret' in caplog.text

async def test_a_cancellation_within_the_source_is_no_proper_end():
    async def source(): yield 'x'; raise asyncio.CancelledError
    got = []
    with pytest.raises(asyncio.CancelledError):
        async for f in SSEStream().stream(source): got.append(f)
    assert CLOSE not in got

async def test_a_deadline_is_forgotten_with_its_stream(): await frames(['x'], timeout=1000)

async def test_an_error_while_closing_is_raised():
    async def source():
        try: yield 'a'
        finally: raise LookupError('at the end')
    with pytest.raises(LookupError, match='at the end'): await frames(source)

async def test_stop_is_immediate_and_idempotent():
    stream, closed, got = SSEStream(), [], []
    async for f in stream.stream(forever(closed=closed)):
        got.append(f)
        if f.startswith('data'):
            for _ in range(2): stream.stop()
    assert got == [': Connected\n\n', 'data: hello\n\n', CLOSE] and len(closed) == 1 and not stream._active

async def test_stop_from_another_thread():
    stream, got = SSEStream(), []
    async for f in stream.stream(forever):
        got.append(f)
        if f.startswith('data'): threading.Thread(target=stream.stop).start()
    assert got[-1] == CLOSE

async def test_stop_is_remembered_and_the_source_never_starts():
    stream, opened = SSEStream(), asyncio.Event()
    stream.stop()
    assert [f async for f in stream.stream(forever(opened))] == [': Connected\n\n', CLOSE]
    unstarted = coro()
    assert [f async for f in stream.stream(unstarted)] == [': Connected\n\n', CLOSE]
    assert not opened.is_set() and not stream._active and stream._message_count == 0

async def test_the_same_for_a_stopped_stream_without_words():
    stream = SSEStream(StreamConfig(**BARE))
    stream.stop()
    assert [f async for f in stream.stream(forever)] == []

@virtual
async def test_the_timeout_is_the_whole_life_and_ends_with_a_comment():
    async def source():
        while True:
            yield 'x'
            await asyncio.sleep(1)
    got = await frames(source, timeout=2.5)
    assert got == [': Connected\n\n'] + ['data: x\n\n'] * 3 + [': Connection closed\n\n']
    assert asyncio.get_running_loop().time() == pytest.approx(2.5)

@virtual
async def test_the_timeout_ends_a_silent_stream_too():
    got = await frames(forever, timeout=50, heartbeat_interval=20)
    assert got[-3:] == [': heartbeat\n\n', ': heartbeat\n\n', ': Connection closed\n\n']

async def test_two_streams_of_one_object_do_not_disturb_each_other():
    stream = SSEStream(StreamConfig(**BARE))
    long = stream.stream(agen)
    assert await anext(long) == 'data: a\n\n'
    assert [f async for f in stream.stream(['short'])] == ['data: short\n\n']
    assert stream._active
    assert [f async for f in long] == ['data: b\n\n']
    assert stream._message_count == 3 and not stream._active

async def test_end_streams_ends_a_bare_stream_as_a_shutdown_does():
    got = []
    async for f in SSEStream().stream(forever):
        got.append(f)
        if f.startswith('data'): end_streams()
    assert got[:2] == [': Connected\n\n', 'data: hello\n\n'] and got[2].startswith('retry: ') and len(got) == 3

@virtual
@pytest.mark.parametrize('how', ['exhausted', 'stop', 'timeout', 'shutdown'])
async def test_without_closing_words_there_are_none_whatever_ends_it(how):
    async def once(): yield 'hello'
    stream, got = SSEStream(StreamConfig(**BARE, timeout=1 if how == 'timeout' else None)), []
    async for f in stream.stream(once if how == 'exhausted' else forever):
        got.append(f)
        if how == 'stop': stream.stop()
        if how == 'shutdown': end_streams()
    assert got == ['data: hello\n\n']

async def test_a_source_that_swallows_its_cancellation_ends_all_the_same():
    async def stubborn():
        while True:
            try: await asyncio.sleep(3600)
            except asyncio.CancelledError: yield 'still here'
    stream, got = SSEStream(), []
    async for f in stream.stream(stubborn):
        got.append(f)
        asyncio.get_running_loop().call_soon(stream.stop)
    assert got[-1] == CLOSE


# StreamConfig

def test_defaults():
    c = StreamConfig()
    assert (c.heartbeat_interval, c.timeout, c.send_initial_message, c.initial_message) == (30.0, None, True, 'Connected')
    assert (c.send_close_message, c.close_message, c.close_event) == (True, 'Connection closed', 'close')
    assert (c.debug, c.retry, c.send_timeout) == (False, None, 30.0)
    assert StreamConfig(5, 60, False, 'hi', False, 'bye', True).debug
    s = SSEStream()
    assert s.config == c and s.config is not SSEStream().config and s._active is False and s._message_count == 0

@pytest.mark.parametrize('field', ['heartbeat_interval', 'timeout', 'send_timeout'])
@pytest.mark.parametrize('bad', [0, -1, math.nan, math.inf, '5', True])
def test_impossible_seconds_are_refused(field, bad):
    with pytest.raises(ValueError, match=f'{field} must be a positive number of seconds') as e: StreamConfig(**{field: bad})
    assert repr(bad) in str(e.value)

@pytest.mark.parametrize('bad', [
    dict(retry=-1),
    dict(retry='1'),
    dict(close_event=''),
    dict(close_event='a\nb'),
    dict(initial_message='a\ud800'),
])
def test_impossible_words_are_refused(bad):
    with pytest.raises(ValueError): StreamConfig(**bad)

@pytest.mark.parametrize('bad', [dict(close_event=5), dict(initial_message=None), dict(close_message=b'x'), dict(text='no')])
def test_words_of_another_type_are_refused(bad):
    with pytest.raises(TypeError): StreamConfig(**bad)


# @sse

async def read(app, url, **kw):
    async with open_stream(app, url, **kw) as s: return s, [(e.event, e.data) async for e in s]

async def test_a_generator_handler_is_a_live_route_with_parameters_injected():
    app, rt = fast_app()
    @rt('/chars')
    @sse
    async def chars(word: str, times: int = 1):
        for c in word * times: yield c
    @rt('/sync/{word}')
    @sse
    def sync_chars(word: str, request, session): yield from (word, request.url.path, type(session).__name__)
    assert (await read(app, '/chars?word=ab&times=2'))[1] == [(None, c) for c in 'abab'] + [('close', 'Connection closed')]
    assert (await read(app, '/sync/hey'))[1][:2] == [(None, 'hey'), (None, '/sync/hey')]
    assert chars.to(word='x') == '/chars?word=x'

async def test_a_handler_that_takes_last_event_id_gets_it():
    app, rt = fast_app()
    @rt('/resume')
    @sse
    async def resume(last_event_id: str, after: str = ''): yield f'{last_event_id!r}{after}'
    get = lambda *a, **kw: read(app, *a, **kw)
    assert (await get('/resume'))[1][0] == (None, 'None')
    assert (await get('/resume?last_event_id=7&after=!'))[1][0] == (None, "'7'!")
    assert (await get('/resume?last_event_id=7', last_event_id='grün'))[1][0] == (None, "'grün'")
    assert (await get('/resume', headers={'cookie': 'last_event_id=3'}))[1][0] == (None, 'None')

async def test_sse_takes_the_fields_of_a_config():
    app, rt = fast_app()
    @rt('/events')
    @sse(initial_message='hi', close_event='done', retry=5)
    async def events(): yield 'x'
    s, _ = await read(app, '/events')
    assert s.raw == b': hi\nretry: 5\n\ndata: x\n\nevent: done\ndata: Connection closed\n\n'

def test_sse_refuses_what_cannot_work():
    with pytest.raises(ValueError, match='heartbeat_interval'): sse(heartbeat_interval=0)
    with pytest.raises(TypeError, match='colour'): sse(colour='red')
    with pytest.raises(TypeError, match='@sse needs a function'): sse(15)
    app, rt = fast_app()
    @rt
    def events(): yield 'x'
    with pytest.raises(TypeError, match='write @rt above @sse'): sse(events)

@pytest.mark.parametrize('transform', ['upper', 7, {}])
async def test_a_transform_that_is_no_function_is_refused(transform):
    with pytest.raises(TypeError, match='transform_fn must be callable'): await frames(['x'], transform)
    with pytest.raises(TypeError, match='transform_fn must be callable'): SSEStream().response(['x'], transform)

async def test_a_response_is_no_source():
    with pytest.raises(TypeError, match='a StreamResponse is no source'): await frames(lambda: SSEStream().response(['x']))

async def test_sse_beats_every_15_seconds_by_default():
    app, rt = fast_app()
    @rt('/events')
    @sse
    async def events(): yield 'x'
    response = await events()
    assert response.heartbeat_interval == 15.0

def test_being_active_may_be_assigned_and_starts_nothing():
    stream = SSEStream()
    stream._active = True
    stream.stop()
    assert stream._active == False
