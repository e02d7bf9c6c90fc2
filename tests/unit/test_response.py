"SSEResponse in process: what is sent, when, and what a slow, silent or vanished client does to it."
import asyncio, sqlite3, threading, time
from contextvars import ContextVar

import anyio, pytest
from fasthtml.common import Div, fast_app
from starlette._exception_handler import wrap_app_handling_exceptions
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request

from fasthtml_sse import SSEResponse, SSEStream, ServerSentEvent, end_streams, sse
from fasthtml_sse.core.hub import POLL, Hub
from fasthtml_sse.core.servers import innermost
from fasthtml_sse.core.source import LIMIT, LINGER, TURN, Driver, TooManyThreads
from fasthtml_sse.testing import open_stream
from tests.support.asgi import Client, app_of
from tests.support.clock import PATIENCE, turns, until, virtual

pytestmark = pytest.mark.anyio
HEARTBEAT = b': heartbeat\n\n'


async def silent():
    await asyncio.Event().wait()
    yield

async def one_and_silence():
    yield 'x'
    await asyncio.Event().wait()


async def test_headers_keep_proxies_and_middleware_from_buffering():
    async with open_stream(app_of(lambda: SSEResponse(['x'])), '/') as s: pass
    assert s.headers['content-type'] == 'text/event-stream; charset=utf-8'
    assert s.headers['cache-control'] == 'no-store, no-transform' and s.headers['x-accel-buffering'] == 'no'
    assert 'content-length' not in s.headers

async def test_headers_and_status_can_be_set():
    response = SSEResponse([], headers={'X-A': '1', 'Cache-Control': 'no-cache'}, status_code=202)
    async with open_stream(app_of(lambda: response), '/') as s: pass
    assert s.status == 202 and s.headers['x-a'] == '1' and s.headers.getlist('cache-control') == ['no-cache']

async def test_head_is_answered_without_touching_the_source():
    touched = []
    def source():
        touched.append(1)
        yield 'x'
    async def unawaited(): return ['x']
    async with open_stream(app_of(lambda: SSEResponse(source)), '/', method='HEAD') as s: assert [e async for e in s] == []
    async with open_stream(app_of(lambda: SSEStream().response(source)), '/', method='HEAD') as s: assert s.raw == b''
    async with open_stream(app_of(lambda: SSEResponse(unawaited())), '/', method='HEAD') as s: assert s.raw == b''
    assert not touched

async def test_a_response_adds_no_words_of_its_own():
    source = ['a', Div('b'), ServerSentEvent('c', id='1')]
    async with open_stream(app_of(lambda: SSEResponse(source)), '/') as s: assert len([e async for e in s]) == 3
    assert s.raw == b'data: a\n\ndata: <div>b</div>\n\nid: 1\ndata: c\n\n'

async def test_a_response_made_in_a_plain_handler_works():
    async with open_stream(app_of(lambda: SSEResponse(['x'])), '/') as s: assert (await s.next()).data == 'x'

async def test_background_runs_after_the_stream():
    ran = []
    def make():
        response = SSEResponse(['x'])
        response.background = BackgroundTask(ran.append, 1)
        return response
    async with open_stream(app_of(make), '/') as s: await s.next()
    assert ran == [1]

async def test_an_error_of_the_source_goes_to_the_server_and_not_to_the_client():
    def source(): yield 'x'; raise LookupError('secret')
    with pytest.raises(LookupError, match='secret'):
        async with open_stream(app_of(lambda: SSEResponse(source)), '/') as s:
            while True: await s.next()
    assert s.raw == b'data: x\n\n'

@pytest.mark.parametrize('bad', [
    dict(heartbeat_interval=0),
    dict(heartbeat_interval=float('nan')),
    dict(send_timeout=None),
    dict(send_timeout=-1),
])
def test_impossible_settings_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))): SSEResponse([], **bad)


# Chunks

async def test_what_is_yielded_without_suspending_is_one_chunk(clock):
    by_thread = Client()
    await by_thread.get(SSEResponse(f'{n}' for n in range(3)))  # a sync source hands over one by one
    assert len(by_thread.sent) == 4
    async def source():
        for n in range(100): yield n
        await asyncio.sleep(0)
        yield 'last'
    client = Client()
    await client.get(SSEResponse(source))
    assert client.sent[0].count(b'\n\n') == 100 and client.sent[1:] == [b'data: last\n\n', b'']

async def test_chunks_are_bounded_and_a_blocked_socket_stops_the_source(clock):
    made = []
    async def source():
        for n in range(10_000):
            made.append(n)
            yield 'x' * 1016  # frames of 1 KiB
    async with Client.asking(SSEResponse(source)) as client:
        await until(lambda: len(client.sent) >= 3 or client.request.done())
        assert set(map(len, client.sent)) == {LIMIT} == {65536}
        client.free.clear()
        await turns(100)
        stopped = len(made)
        await turns(100)
        assert len(made) == stopped <= (len(client.sent) + 2) * LIMIT // 1024

async def test_a_source_that_never_suspends_lets_others_have_their_turn(clock):
    made, most = 0, 5  # items, altogether and in a turn
    async def source():
        nonlocal made
        for made in range(1, 1000):
            clock.now += TURN / (most - 1)
            yield None if made < 5 * most else 'x'
        raise AssertionError('nobody else had a turn')
    async with Client.asking(SSEResponse(source)):
        assert made >= 5 * most
        for _ in range(10):
            before = made
            await asyncio.sleep(0)
            assert 0 < made - before <= most + 1

async def test_a_slow_reader_holds_up_nobody_and_misses_nothing():
    async def source():
        for n in range(50):
            yield n
            await asyncio.sleep(0)
    app = app_of(lambda: SSEResponse(source))
    async with open_stream(app, '/') as slow, open_stream(app, '/') as quick:
        await slow.next()
        slow.pause()
        assert len([e async for e in quick]) == 50
        slow.resume()
        assert len([e async for e in slow]) == 49


# Heartbeats

@virtual
async def test_one_timer_beats_for_all_that_are_quiet():
    async def busy():
        while True:
            yield 'x'
            await asyncio.sleep(0.5)
    loop, quiet, live = asyncio.get_running_loop(), [Client() for _ in range(5)], Client()
    def timers(): return sum('_beat' in repr(handle) and not handle.cancelled() for handle in loop._scheduled)
    requests = [asyncio.create_task(c.get(SSEResponse(silent, heartbeat_interval=1))) for c in quiet]
    requests.append(asyncio.create_task(live.get(SSEResponse(busy, heartbeat_interval=1))))
    await asyncio.sleep(3.4)
    assert [c.sent for c in quiet] == [[HEARTBEAT] * 3] * 5 and set(live.sent) == {b'data: x\n\n'}
    assert timers() == 1
    for c in (*quiet, live): c.leave()
    await asyncio.gather(*requests)
    assert timers() == 0

async def test_a_connection_that_is_over_is_not_kept_for_its_next_heartbeat():
    app = app_of(lambda: SSEResponse(one_and_silence))
    async with open_stream(app, '/') as s:
        await s.next()
        for _ in range(3):
            async with open_stream(app, '/') as other: await other.next()
        assert sum(map(len, Hub.here().heartbeats._slots.values())) == 1

@virtual
async def test_no_heartbeat_when_none_is_wanted():
    async def late():
        await asyncio.sleep(100)
        yield 'x'
    for interval, beats in ((None, 0), (15, 6)):
        client = Client()
        await client.get(SSEResponse(late, heartbeat_interval=interval))
        assert client.sent.count(HEARTBEAT) == beats

@virtual
async def test_a_blocked_socket_gets_no_heartbeat_and_is_dropped_in_time():
    closed = []
    async def source():
        try:
            while True: yield 'x' * LIMIT
        finally: closed.append(asyncio.get_running_loop().time())
    client = Client.asking(SSEResponse(source, heartbeat_interval=1, send_timeout=10))
    await client.open.wait()
    client.free.clear()
    await client.over()
    assert closed == [pytest.approx(10, abs=0.1)] and HEARTBEAT not in client.sent


class Transport:
    aborted = False
    def abort(self): self.aborted = True

@virtual
async def test_a_client_that_takes_nothing_loses_its_connection():
    async def source():
        yield 'x'
        await asyncio.sleep(1)
        yield 'y'
        await asyncio.sleep(1000)
    async with Client.asking(SSEResponse(source, send_timeout=5)) as client:
        client.transport = Transport()  # where uvicorn shows it
        client.free.clear()
        await client.over()
        assert client.transport.aborted and asyncio.get_running_loop().time() == pytest.approx(6, abs=0.1)

# Clients that leave, and the end

async def test_a_silent_source_is_closed_when_its_client_leaves():
    closed = asyncio.Event()
    async def source():
        try:
            yield 'x'
            await asyncio.Event().wait()
        finally: closed.set()
    async with open_stream(app_of(lambda: SSEResponse(source)), '/') as s: await s.next()
    assert closed.is_set()

@virtual
async def test_cancelling_the_request_closes_the_source_and_goes_through():
    closed = []
    async def source():
        try:
            yield 'x'
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            closed.append(1)
    client = Client.asking(SSEResponse(source))
    await until(lambda: client.sent)
    client.request.cancel()
    with pytest.raises(asyncio.CancelledError): await client.request
    assert closed == [1]

@virtual
async def test_the_end_waits_for_a_slow_client_as_long_as_any_chunk():
    async def source():
        yield 'x'
        client.free.clear()
    client = Client.asking(SSEResponse(source, send_timeout=30))
    await until(lambda: not client.free.is_set())
    await asyncio.sleep(29)
    assert not client.request.done()
    client.free.set()
    await client.over()
    assert client.sent == [b'data: x\n\n', b'']

async def test_a_stream_that_fails_has_no_proper_end():
    def source(): yield 'x'; raise LookupError
    client = Client()
    with pytest.raises(LookupError): await client.get(SSEResponse(source))
    assert client.sent == [b'data: x\n\n']

async def test_an_error_in_clean_up_is_raised_when_the_request_is_cancelled():
    async def source():
        try:
            yield 'x'
            await asyncio.Event().wait()
        finally: raise LookupError('clean-up')
    client = Client.asking(SSEResponse(source))
    await until(lambda: client.sent)
    client.request.cancel()
    with pytest.raises(LookupError, match='clean-up'): await client.request

@virtual
async def test_the_clean_up_of_a_request_survives_level_cancellation():
    steps, client = [], Client()
    async def source():
        try:
            yield 'x'
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            steps.append('clean')
    async def request():
        try: await client.get(SSEResponse(source))
        finally: steps.append('over')
    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_later(0.02, scope.cancel)
        await request()
    assert steps == ['clean', 'over']

@virtual
async def test_two_cancellations_of_a_request_leave_nothing_behind():
    release = asyncio.Event()
    async def source():
        try:
            yield 'x'
            await asyncio.Event().wait()
        finally: await release.wait()
    client = Client.asking(SSEResponse(source, heartbeat_interval=0.01))
    await until(lambda: client.sent)
    for _ in range(2):
        client.request.cancel()
        await turns(5)
    with pytest.raises(asyncio.CancelledError): await client.request
    release.set()

@virtual
async def test_send_runs_in_a_task_and_the_context_of_its_request():
    seen, drivers, beats, var = {n: set() for n in range(4)}, {}, [], ContextVar('request')
    async def ask(n):
        class Asking(Client):
            async def send(self, message):
                seen[n].add((asyncio.current_task(), var.get()))
                beats.append(message.get('body') == HEARTBEAT)
        var.set(n)
        async def source():
            drivers[n] = asyncio.current_task()
            for _ in range(3):
                yield 'x'
                await asyncio.sleep(0)
            await asyncio.sleep(0.03)
        await Asking().get(SSEResponse(source, heartbeat_interval=0.01))
    tasks = {n: asyncio.create_task(ask(n)) for n in range(4)}
    await asyncio.gather(*tasks.values())
    assert sum(beats) >= 2 * len(tasks) and seen == {n: {(task, n), (drivers[n], n)} for n, task in tasks.items()}

async def test_a_send_that_is_cancelled_while_it_waits_ends_the_stream():
    class Cancelling(Client):
        async def send(self, message):
            await asyncio.sleep(0)
            if message['type'] == 'http.response.body': raise asyncio.CancelledError
    async def source(): yield 'x'
    with pytest.raises(asyncio.CancelledError): await Cancelling().get(SSEResponse(source))

@pytest.mark.parametrize('error', [LookupError, asyncio.CancelledError])
async def test_an_exception_of_receive_goes_to_the_server(error):
    class Broken(Client):
        async def receive(self): raise error('receive')
    with pytest.raises(error, match='receive' if error is LookupError else None): await Broken().get(SSEResponse(one_and_silence))

@pytest.mark.parametrize('swallows', [False, True])
async def test_a_request_whose_stream_is_over_is_not_left_cancelled(swallows):
    class Waiting(Client):
        async def receive(self):
            try: return await super().receive()
            except asyncio.CancelledError:
                if not swallows: raise
                return {'type': 'http.disconnect'}
    await Waiting().get(SSEResponse(['x']))
    assert asyncio.current_task().cancelling() == 0
    await asyncio.sleep(0)

async def test_a_cancellation_that_comes_as_the_stream_ends_is_not_lost():
    class Ending(Client):
        async def send(self, message):
            await super().send(message)
            if not message.get('more_body', True): self.request.cancel()
    client = Ending.asking(SSEResponse(['x']))
    with pytest.raises(asyncio.CancelledError): await client.request
    assert client.sent == [b'data: x\n\n', b'']

async def test_a_stream_does_not_keep_what_fasthtml_copied_for_a_page():
    requests = []
    def make(request):
        requests.append(request)
        return SSEResponse(['x'])
    async with open_stream(app_of(make, hdrs=[Div('in every head')]), '/') as s: assert (await s.next()).data == 'x'
    request, = requests
    assert all(getattr(request, name) is getattr(request.app, name) for name in ('hdrs', 'ftrs', 'htmlkw', 'bodykw'))

@pytest.mark.parametrize('error', [ConnectionResetError, TimeoutError])
async def test_a_receive_that_finds_the_connection_lost_ends_the_stream(error, caplog):
    caplog.set_level('INFO')
    closed = []
    class Lost(Client):
        async def receive(self): raise error
    async def source():
        try:
            yield 'x'
            await asyncio.Event().wait()
        finally: closed.append(True)
    await Lost().get(SSEResponse(source))
    assert len(closed) <= 1  # a source that was never stepped has nothing to close
    assert ('dropped a client' in caplog.text) is (error is TimeoutError)
    assert asyncio.current_task().cancelling() == 0
    await asyncio.sleep(0)

@virtual
async def test_no_heartbeat_follows_the_end_of_the_body():
    class Lingering(Client):
        async def receive(self):
            try: return await super().receive()
            finally: await asyncio.shield(asyncio.sleep(0.05))
    async def source(): yield 'x'
    client = Lingering()
    await client.get(SSEResponse(source, heartbeat_interval=0.01))
    assert client.sent == [b'data: x\n\n', b'']

@virtual
async def test_a_heartbeat_that_fails_does_not_stop_those_of_others():
    class Bad(Driver):
        def heartbeat(self): raise LookupError('heartbeat')
    class BadResponse(SSEResponse):
        def open(self, last_event_id): return Bad(self.source)
    good = Client.asking(SSEResponse(silent, heartbeat_interval=1))
    with pytest.raises(LookupError): await Client().get(BadResponse(silent, heartbeat_interval=1))
    before = len(good.sent)
    await asyncio.sleep(3)
    assert len(good.sent) == before + 3
    good.leave()
    await good.over()

@virtual
@pytest.mark.parametrize('eager', [False, True][:1 + hasattr(asyncio, 'eager_task_factory')])  # Python 3.12 has them
async def test_a_heartbeat_that_a_slow_client_blocks_leaves_the_loop_whole(eager):
    loop = asyncio.get_running_loop()
    if eager: loop.set_task_factory(asyncio.eager_task_factory)
    try:
        client = Client.asking(SSEResponse(silent, heartbeat_interval=0.01))
        await client.open.wait()
        client.free.clear()
        await asyncio.sleep(0.05)
        assert not client.sent
        client.free.set()
        await until(lambda: client.sent)
        client.leave()
        await client.over()
    finally: loop.set_task_factory(None)

@virtual
async def test_what_follows_a_time_limit_in_the_source_is_sent_at_once():
    async def source():
        try:
            async with asyncio.timeout(0.01): await asyncio.Event().wait()
        except TimeoutError: yield 'too late'
        await asyncio.Event().wait()
    async with open_stream(SSEResponse(source), '/') as s: assert (await s.next()).data == 'too late'
    assert asyncio.get_running_loop().time() == 0.01

async def test_one_broken_connection_does_not_stop_the_pass():
    class Bad(Driver):
        def take(self): raise LookupError('take')
    class BadResponse(SSEResponse):
        def open(self, last_event_id): return Bad(self.source)
    good, bad = Client(), Client()
    failed, none = await asyncio.gather(bad.get(BadResponse(['x'])), good.get(SSEResponse(['x'])), return_exceptions=True)
    assert isinstance(failed, LookupError) and none is None and good.sent == [b'data: x\n\n', b'']

@virtual
async def test_a_shorter_interval_beats_before_a_longer_one_that_came_first():
    long, short = (Client.asking(SSEResponse(silent, heartbeat_interval=interval)) for interval in (10, 1))
    await asyncio.sleep(5.5)
    assert len(short.sent) == 5 and len(long.sent) == 0
    await asyncio.sleep(5)
    assert len(long.sent) == 1
    for client in (long, short):
        client.leave()
        await client.over()

async def test_bursts_are_not_cut_after_a_pause(clock):
    async def source():
        for _ in range(3):
            for n in range(4): yield n
            await asyncio.sleep(0)
            clock.now += 2 * TURN
    client = Client()
    await client.get(SSEResponse(source))
    assert [chunk.count(b'\n\n') for chunk in client.sent] == [4, 4, 4, 0]

async def test_a_send_that_fails_ends_the_stream():
    class Gone(Client):
        error = OSError
        async def send(self, message):
            if message['type'] == 'http.response.body': raise self.error('gone')
    async def source():
        while True:
            yield 'x'
            await asyncio.sleep(0)
    await Gone().get(SSEResponse(source))
    broken = Gone()
    broken.error = LookupError
    with pytest.raises(LookupError): await broken.get(SSEResponse(source))

@virtual
async def test_end_streams_spares_what_opens_later():
    response = SSEResponse(one_and_silence)
    async with open_stream(response, '/') as early:
        await early.next()
        end_streams()
        async with open_stream(response, '/') as late:
            await late.next()
            assert [e async for e in early] == []
            with pytest.raises(TimeoutError): await late.next(timeout=0.05)
    assert early.raw.startswith(b'data: x\n\nretry: ') and late.raw == b'data: x\n\n'

class Open:
    "A stream that notes how it is ended."
    def __init__(self): self.words = []
    def end(self, words): self.words.append(words)

async def test_end_streams_spares_what_opens_before_the_loop_has_heard_of_it():
    hub, early, late = Hub.here(), Open(), Open()
    hub.add(early)
    end_streams()
    hub.add(late)
    await turns()
    for stream in (early, late): hub.discard(stream)
    assert len(early.words) == 1 and not late.words

async def test_end_streams_works_from_any_thread_and_for_every_loop():
    app, opened, raw = app_of(lambda: SSEResponse(one_and_silence)), threading.Event(), []
    async def elsewhere():
        async with open_stream(app, '/') as s:
            await s.next()
            opened.set()
            raw.extend([e async for e in s] or [s.raw])
    thread = threading.Thread(target=asyncio.run, args=(elsewhere(),))
    thread.start()
    async with open_stream(app, '/') as s:
        await s.next()
        await asyncio.to_thread(opened.wait, PATIENCE)
        await asyncio.to_thread(end_streams)
        assert [e async for e in s] == []
    await asyncio.to_thread(thread.join, PATIENCE)
    assert not thread.is_alive() and b'retry: ' in raw[0]

async def test_blocked_sync_sources_do_not_use_up_the_thread_pool():
    release = threading.Event()
    def source(): yield 'x'; release.wait(); yield 'y'
    app, rt = fast_app()
    @rt('/blocked')
    @sse
    def blocked(): yield from source()
    @rt('/free')
    def free(): return SSEResponse(['free'])
    streams = [open_stream(app, '/blocked', timeout=PATIENCE) for _ in range(45)]
    opened = [await s.__aenter__() for s in streams]
    for s in opened: await s.next(PATIENCE)
    async with open_stream(app, '/free') as s: assert (await s.next(PATIENCE)).data == 'free'
    release.set()
    for s in opened: assert (await s.next(PATIENCE)).data == 'y'
    for s in streams: await s.__aexit__(None, None, None)

async def test_a_sync_source_that_blocks_does_not_hold_the_response(monkeypatch):
    monkeypatch.setattr('fasthtml_sse.core.source.LINGER', 3600)  # it is not that our patience has ended
    release, closed = threading.Event(), threading.Event()
    def source():
        try:
            yield 'x'
            release.wait()
            yield 'y'
        finally: closed.set()
    try:
        async with open_stream(app_of(lambda: SSEResponse(source)), '/', timeout=PATIENCE) as s: await s.next(PATIENCE)
        assert not closed.is_set()
    finally: release.set()
    assert await asyncio.to_thread(closed.wait, PATIENCE)

@pytest.mark.parametrize('kind', ['generator', 'function', 'list', 'stream'])
async def test_threads_that_block_though_their_clients_left_are_bounded(monkeypatch, caplog, kind):
    monkeypatch.setattr('fasthtml_sse.core.source.ABANDONED', 3)
    monkeypatch.setattr('fasthtml_sse.core.source._abandoned', abandoned := set())
    release, blocked = threading.Event(), []
    def wait():
        blocked.append(1)
        release.wait()
        return ['y']
    def generator(): yield from wait()
    class Waits:
        def __iter__(self): return iter(wait())
    source = {'generator': generator, 'function': lambda: wait(), 'list': Waits(), 'stream': generator}[kind]
    app, rt = fast_app()
    @rt('/threads')
    def threads(): return SSEStream().response(source) if kind == 'stream' else SSEResponse(source)
    @rt('/tasks')
    def tasks(): return SSEResponse(one_and_silence)
    try:
        for n in range(3):
            async with open_stream(app, '/threads'): await until(lambda: len(blocked) == n + 1)
        assert len(abandoned) == 3
        async with open_stream(app, '/threads') as s: assert (s.status, s.headers['retry-after']) == (503, '10')
        async with open_stream(app, '/tasks') as s: assert (await s.next()).data == 'x'
        assert len(blocked) == 3 and 'refused a stream: 3 threads of sync sources block' in caplog.text
        with pytest.raises(TooManyThreads): [f async for f in SSEStream().stream(source)]
    finally: release.set()
    await until(lambda: not abandoned)
    async with open_stream(app, '/threads') as s: assert 'y' in [e.data async for e in s]

async def test_the_bound_of_threads_holds_for_what_turns_out_to_need_one(monkeypatch):
    monkeypatch.setattr('fasthtml_sse.core.source.ABANDONED', 0)
    async def late(): return ['x']
    with pytest.raises(TooManyThreads):
        async with open_stream(app_of(lambda: SSEResponse(late)), '/') as s: await s.next()

class Rows:
    "Rows of a database, which insists on one thread for its whole life."
    closed = 0
    def __init__(self):
        self.db = sqlite3.connect(':memory:')
        self.cursor = self.db.execute('select 1 union select 2')
    def __iter__(self): return self
    def __next__(self): return next(self.cursor)
    def close(self):
        self.db.close()
        Rows.closed += 1

async def test_a_source_is_made_stepped_and_closed_in_one_thread():
    async with open_stream(app_of(lambda: SSEResponse(Rows)), '/') as s: assert [e.data async for e in s] == ['[1]', '[2]']
    assert Rows.closed == 1


# Past the wrappers of `send`

async def wrapped(middleware):
    "What `middleware` hands to an app as `send`, and what it calls with."
    sent, handed = [], []
    async def app(scope, receive, send): handed.append(send)
    async def send(message): sent.append(message)
    await middleware(app)({'type': 'http', 'method': 'GET', 'path': '/', 'headers': []}, None, send)
    return handed[0], send, sent

@pytest.mark.parametrize('middleware', [
    ServerErrorMiddleware,
    ExceptionMiddleware,
    lambda app: SessionMiddleware(app, 'of no use'),
    lambda app: wrap_app_handling_exceptions(app, Request({'type': 'http'})),
])
async def test_the_wrappers_that_are_passed_only_pass_on_what_follows_the_head(middleware):
    outer, inner, sent = await wrapped(middleware)
    assert outer is not inner and innermost(outer) is inner
    await outer({'type': 'http.response.start', 'status': 200, 'headers': []})
    for more in (True, False):
        message = {'type': 'http.response.body', 'body': b'x', 'more_body': more}
        await outer(message)
        assert sent[-1] is message == {'type': 'http.response.body', 'body': b'x', 'more_body': more}

async def test_a_wrapper_that_is_not_known_is_not_passed():
    class Shouting:
        def __init__(self, app): self.app = app
        async def __call__(self, scope, receive, send):
            async def shout(message):
                await send(message | {'body': message.get('body', b'').replace(b'quiet', b'LOUD')})
            await self.app(scope, receive, shout)
    app, rt = fast_app(middleware=[Middleware(Shouting)], secret_key='of no use')
    @rt('/')
    def get(): return SSEResponse(['quiet'])
    async with open_stream(app, '/') as s: assert (await s.next()).data == 'LOUD'

async def test_a_send_that_is_no_coroutine_will_do():
    class Sent:
        def __await__(self): return iter(())
    class Awaitable(Client):
        def send(self, message):
            if message['type'] == 'http.response.body': self.sent.append(message['body'])
            return Sent()
    client = Awaitable()
    await client.get(SSEResponse(['one', 'two']))
    assert b''.join(client.sent) == b'data: one\n\ndata: two\n\n' and client.sent[-1] == b''


# Many at once

async def test_a_loop_that_is_busy_while_the_server_stops_costs_no_client_its_last_words():
    class Passing(Client):
        "What it is sent takes some turns of the loop, as middleware does."
        async def send(self, message):
            await turns(10)
            await super().send(message)
    async with Passing.asking(SSEResponse(one_and_silence)) as client:
        await client.got(b'data: x\n\n')
        end_streams()
        await turns(2)
        time.sleep(LINGER + POLL + 0.2)  # the loop has other streams to end
        await client.over()
    assert client.sent[-1] == b'' and client.body.splitlines()[-2].startswith(b'retry: ')
