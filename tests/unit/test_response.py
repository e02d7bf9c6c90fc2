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
from fasthtml_sse.core.hub import Hub
from fasthtml_sse.core.response import innermost
from fasthtml_sse.core.source import LIMIT, LINGER, Driver
from fasthtml_sse.testing import open_stream
from tests.support.asgi import Client, app_of
from tests.support.clock import virtual

pytestmark = pytest.mark.anyio


async def test_headers_keep_proxies_and_middleware_from_buffering():
    async with open_stream(app_of(lambda: SSEResponse(['x'])), '/') as s: pass
    assert s.headers['content-type'] == 'text/event-stream; charset=utf-8'
    assert s.headers['cache-control'] == 'no-store, no-transform' and s.headers['x-accel-buffering'] == 'no' and 'content-length' not in s.headers

async def test_headers_and_status_can_be_set():
    async with open_stream(app_of(lambda: SSEResponse([], headers={'X-A': '1', 'Cache-Control': 'no-cache'}, status_code=202)), '/') as s: pass
    assert s.status == 202 and s.headers['x-a'] == '1' and s.headers.getlist('cache-control') == ['no-cache']

async def test_head_is_answered_without_touching_the_source():
    touched = []
    def source(): touched.append(1); yield 'x'
    async with open_stream(app_of(lambda: SSEResponse(source)), '/', method='HEAD') as s: assert [e async for e in s] == []
    async with open_stream(app_of(lambda: SSEStream().response(source)), '/', method='HEAD') as s: assert s.raw == b''
    async def unawaited(): return ['x']
    async with open_stream(app_of(lambda: SSEResponse(unawaited())), '/', method='HEAD') as s: assert s.raw == b''
    assert not touched

async def test_a_response_adds_no_words_of_its_own():
    async with open_stream(app_of(lambda: SSEResponse(['a', Div('b'), ServerSentEvent('c', id='1')])), '/') as s: assert len([e async for e in s]) == 3
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

@pytest.mark.parametrize('bad', [dict(heartbeat_interval=0), dict(heartbeat_interval=float('nan')), dict(send_timeout=None), dict(send_timeout=-1)])
def test_impossible_settings_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))): SSEResponse([], **bad)


# Client

async def test_what_is_yielded_without_suspending_is_one_chunk():
    client = Client()
    await client.get(SSEResponse(f'{n}' for n in range(3)))  # a sync source hands over one by one
    assert len(client.sent) == 4
    async def source():
        for n in range(100): yield n
        await asyncio.sleep(0)
        yield 'last'
    client = Client()
    await client.get(SSEResponse(source))
    assert client.sent[0].count(b'\n\n') == 100 and client.sent[1:] == [b'data: last\n\n', b'']

async def test_client_are_bounded_and_a_blocked_socket_stops_the_source():
    made = []
    async def source():
        while True: made.append(1); yield 'x' * 1016  # frames of 1 KiB
    client = Client()
    request = asyncio.create_task(client.get(SSEResponse(source)))
    await client.open.wait()
    while len(client.sent) < 3: await asyncio.sleep(0)
    assert set(map(len, client.sent)) == {LIMIT} == {65536}
    client.free.clear()
    for _ in range(100): await asyncio.sleep(0)
    stopped = len(made)
    for _ in range(100): await asyncio.sleep(0)
    assert len(made) == stopped <= (len(client.sent) + 2) * LIMIT // 1024
    client.free.set(); client.left.set()
    await request

async def test_a_source_that_never_suspends_lets_others_have_their_turn():
    turns = 0
    async def source():
        for _ in range(1000):
            time.sleep(0.001)
            yield None if turns < 3 else 'x'
        raise AssertionError('nobody else had a turn')
    client = Client()
    request = asyncio.create_task(client.get(SSEResponse(source)))
    for turns in range(10): await asyncio.sleep(0)
    client.left.set()
    await request

async def test_a_slow_reader_holds_up_nobody_and_misses_nothing():
    async def source():
        for n in range(50): yield n; await asyncio.sleep(0)
    app = app_of(lambda: SSEResponse(source))
    async with open_stream(app, '/') as slow, open_stream(app, '/') as quick:
        await slow.next()
        slow.pause()
        assert len([e async for e in quick]) == 50
        slow.resume()
        assert len([e async for e in slow]) == 49


# Heartbeats

@virtual
async def test_one_timer_beats_for_all_that_are_quiet(anyio_backend):
    async def busy():
        while True: yield 'x'; await asyncio.sleep(0.5)
    loop, quiet = asyncio.get_running_loop(), [Client() for _ in range(5)]
    live = Client()
    async def forever():
        if False: yield
        await asyncio.Event().wait()
    requests = [asyncio.create_task(c.get(SSEResponse(forever, heartbeat_interval=1))) for c in quiet]
    requests.append(asyncio.create_task(live.get(SSEResponse(busy, heartbeat_interval=1))))
    await asyncio.sleep(3.4)
    assert [c.sent for c in quiet] == [[b': heartbeat\n\n'] * 3] * 5 and set(live.sent) == {b'data: x\n\n'}
    assert sum('_beat' in repr(handle) and not handle.cancelled() for handle in loop._scheduled) == 1
    for c in (*quiet, live): c.left.set()
    await asyncio.gather(*requests)
    assert not any('_beat' in repr(handle) and not handle.cancelled() for handle in loop._scheduled)

async def test_a_connection_that_is_over_is_not_kept_for_its_next_heartbeat():
    async def forever(): yield 'x'; await asyncio.Event().wait()
    app = app_of(lambda: SSEResponse(forever))
    async with open_stream(app, '/') as s:
        await s.next()
        for _ in range(3):
            async with open_stream(app, '/') as other: await other.next()
        assert sum(map(len, Hub.here().heartbeats._slots.values())) == 1

@virtual
async def test_no_heartbeat_when_none_is_wanted(anyio_backend):
    async def late():
        await asyncio.sleep(100)
        yield 'x'
    for interval, beats in ((None, 0), (15, 6)):
        client = Client()
        await client.get(SSEResponse(late, heartbeat_interval=interval))
        assert client.sent.count(b': heartbeat\n\n') == beats

@virtual
async def test_a_blocked_socket_gets_no_heartbeat_and_is_dropped_in_time(anyio_backend):
    closed = []
    async def source():
        try:
            while True: yield 'x' * LIMIT
        finally: closed.append(asyncio.get_running_loop().time())
    client = Client()
    request = asyncio.create_task(client.get(SSEResponse(source, heartbeat_interval=1, send_timeout=10)))
    await client.open.wait()
    client.free.clear()
    await request
    assert closed == [pytest.approx(10, abs=0.1)] and b': heartbeat\n\n' not in client.sent


# Clients that leave, and the end

async def test_a_silent_source_is_closed_when_its_client_leaves():
    closed = asyncio.Event()
    async def source():
        try: yield 'x'; await asyncio.Event().wait()
        finally: closed.set()
    async with open_stream(app_of(lambda: SSEResponse(source)), '/') as s: await s.next()
    assert closed.is_set()

async def test_cancelling_the_request_closes_the_source_and_goes_through():
    closed = []
    async def source():
        try: yield 'x'; await asyncio.Event().wait()
        finally: await asyncio.sleep(0.01); closed.append(1)
    client = Client()
    request = asyncio.create_task(client.get(SSEResponse(source)))
    while not client.sent: await asyncio.sleep(0)
    request.cancel()
    with pytest.raises(asyncio.CancelledError): await request
    assert closed == [1]

async def test_the_end_waits_for_a_slow_client_as_long_as_any_chunk():
    client = Client()
    async def source():
        yield 'x'
        client.free.clear()
    request = asyncio.create_task(client.get(SSEResponse(source)))
    while client.free.is_set(): await asyncio.sleep(0)
    await asyncio.sleep(0.6)
    assert not request.done()
    client.free.set()
    await request
    assert client.sent == [b'data: x\n\n', b'']

async def test_a_stream_that_fails_has_no_proper_end():
    client = Client()
    def source(): yield 'x'; raise LookupError
    with pytest.raises(LookupError): await client.get(SSEResponse(source))
    assert client.sent == [b'data: x\n\n']

async def test_an_error_in_clean_up_is_raised_when_the_request_is_cancelled():
    async def source():
        try: yield 'x'; await asyncio.Event().wait()
        finally: raise LookupError('clean-up')
    client = Client()
    request = asyncio.create_task(client.get(SSEResponse(source)))
    while not client.sent: await asyncio.sleep(0)
    request.cancel()
    with pytest.raises(LookupError, match='clean-up'): await request

async def test_the_clean_up_of_a_request_survives_level_cancellation():
    steps, client = [], Client()
    async def source():
        try: yield 'x'; await asyncio.Event().wait()
        finally: await asyncio.sleep(0.01); steps.append('clean')
    async def request():
        try: await client.get(SSEResponse(source))
        finally: steps.append('over')
    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_later(0.02, scope.cancel)
        await request()
    assert steps == ['clean', 'over']

async def test_two_cancellations_of_a_request_leave_nothing_behind():
    release = asyncio.Event()
    async def source():
        try: yield 'x'; await asyncio.Event().wait()
        finally: await release.wait()
    client = Client()
    request = asyncio.create_task(client.get(SSEResponse(source, heartbeat_interval=0.01)))
    while not client.sent: await asyncio.sleep(0)
    for _ in range(2):
        request.cancel()
        for _ in range(5): await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError): await request
    release.set()

async def test_send_runs_in_a_task_and_the_context_of_its_request():
    seen, drivers, var = {}, {}, ContextVar('request')
    async def ask(n):
        class Asking(Client):
            async def send(self, message):
                seen.setdefault(n, set()).add((asyncio.current_task(), var.get()))
        var.set(n)
        async def source():
            drivers[n] = asyncio.current_task()
            for _ in range(3): yield 'x'; await asyncio.sleep(0)
            await asyncio.sleep(0.03)
        await Asking().get(SSEResponse(source, heartbeat_interval=0.01))
    tasks = {n: asyncio.create_task(ask(n)) for n in range(4)}
    await asyncio.gather(*tasks.values())
    assert seen == {n: {(task, n), (drivers[n], n)} for n, task in tasks.items()}

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
    async def source(): yield 'x'; await asyncio.Event().wait()
    with pytest.raises(error, match='receive' if error is LookupError else None): await Broken().get(SSEResponse(source))

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
            if not message.get('more_body', True): request.cancel()
    client = Ending()
    request = asyncio.create_task(client.get(SSEResponse(['x'])))
    with pytest.raises(asyncio.CancelledError): await request
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
        try: yield 'x'; await asyncio.Event().wait()
        finally: closed.append(True)
    await Lost().get(SSEResponse(source))
    assert len(closed) <= 1  # a source that was never stepped has nothing to close
    assert ('dropped a client' in caplog.text) is (error is TimeoutError)
    assert asyncio.current_task().cancelling() == 0
    await asyncio.sleep(0)

async def test_no_heartbeat_follows_the_end_of_the_body():
    class Lingering(Client):
        async def receive(self):
            try: return await super().receive()
            finally: await asyncio.shield(asyncio.sleep(0.05))
    client = Lingering()
    await client.get(SSEResponse(['x'], heartbeat_interval=0.01))
    assert client.sent == [b'data: x\n\n', b'']

async def test_a_heartbeat_that_fails_does_not_stop_those_of_others():
    class Bad(Driver):
        def heartbeat(self): raise LookupError('heartbeat')
    class BadResponse(SSEResponse):
        def open(self, last_event_id): return Bad(self.source)
    async def forever():
        await asyncio.Event().wait()
        yield
    good, bad = Client(), Client()
    goods = asyncio.create_task(good.get(SSEResponse(forever, heartbeat_interval=0.01)))
    with pytest.raises(LookupError): await bad.get(BadResponse(forever, heartbeat_interval=0.01))
    before = len(good.sent)
    async with asyncio.timeout(1):
        while len(good.sent) < before + 3: await asyncio.sleep(0.001)
    good.left.set()
    await goods

@pytest.mark.parametrize('eager', [False, True][:1 + hasattr(asyncio, 'eager_task_factory')])  # Python 3.12 has them
async def test_a_heartbeat_that_a_slow_client_blocks_leaves_the_loop_whole(eager):
    loop, client = asyncio.get_running_loop(), Client()
    async def forever():
        await asyncio.Event().wait()
        yield
    if eager: loop.set_task_factory(asyncio.eager_task_factory)
    try:
        request = asyncio.create_task(client.get(SSEResponse(forever, heartbeat_interval=0.01)))
        await client.open.wait()
        client.free.clear()
        await asyncio.sleep(0.05)
        client.free.set()
        async with asyncio.timeout(1):
            while not client.sent: await asyncio.sleep(0.001)
        client.left.set()
        await request
    finally: loop.set_task_factory(None)

async def test_what_follows_a_time_limit_in_the_source_is_sent_at_once():
    async def source():
        try:
            async with asyncio.timeout(0.01): await asyncio.Event().wait()
        except TimeoutError: yield 'too late'
        await asyncio.Event().wait()
    async with open_stream(SSEResponse(source), '/') as s: assert (await s.next()).data == 'too late'

async def test_one_broken_connection_does_not_stop_the_pass():
    class Bad(Driver):
        def take(self): raise LookupError('take')
    class BadResponse(SSEResponse):
        def open(self, last_event_id): return Bad(self.source)
    good, bad = Client(), Client()
    results = await asyncio.gather(bad.get(BadResponse(['x'])), good.get(SSEResponse(['x'])), return_exceptions=True)
    assert isinstance(results[0], LookupError) and results[1] is None and good.sent == [b'data: x\n\n', b'']

@virtual
async def test_a_shorter_interval_beats_before_a_longer_one_that_came_first(anyio_backend):
    async def forever():
        if False: yield
        await asyncio.Event().wait()
    long, short = Client(), Client()
    requests = [asyncio.create_task(c.get(SSEResponse(forever, heartbeat_interval=i))) for c, i in ((long, 10), (short, 1))]
    await asyncio.sleep(5.5)
    assert len(short.sent) == 5 and len(long.sent) == 0
    await asyncio.sleep(5)
    assert len(long.sent) == 1
    for c in (long, short): c.left.set()
    await asyncio.gather(*requests)

async def test_bursts_are_not_cut_after_a_pause():
    async def source():
        for _ in range(3):
            for n in range(4): yield n
            await asyncio.sleep(0.01)
    client = Client()
    await client.get(SSEResponse(source))
    assert [c.count(b'\n\n') for c in client.sent] == [4, 4, 4, 0]

async def test_a_send_that_fails_ends_the_stream():
    class Gone(Client):
        error = OSError
        async def send(self, message):
            if message['type'] == 'http.response.body': raise self.error('gone')
    async def source():
        while True: yield 'x'; await asyncio.sleep(0)
    await Gone().get(SSEResponse(source))
    broken = Gone()
    broken.error = LookupError
    with pytest.raises(LookupError): await broken.get(SSEResponse(source))

async def test_end_streams_spares_what_opens_later():
    async def source(): yield 'x'; await asyncio.Event().wait()
    app = app_of(lambda: SSEResponse(source))
    async with open_stream(app, '/') as early:
        await early.next()
        end_streams()
        async with open_stream(app, '/') as late:
            await late.next()
            assert [e async for e in early] == []
            with pytest.raises(TimeoutError): await late.next(timeout=0.05)
    assert early.raw.startswith(b'data: x\n\nretry: ') and late.raw == b'data: x\n\n'

async def test_end_streams_works_from_any_thread_and_for_every_loop():
    async def source(): yield 'x'; await asyncio.Event().wait()
    opened, raw = threading.Event(), []
    async def elsewhere():
        async with open_stream(app_of(lambda: SSEResponse(source)), '/') as s:
            await s.next()
            opened.set()
            raw.extend([e async for e in s] or [s.raw])
    thread = threading.Thread(target=asyncio.run, args=(elsewhere(),))
    thread.start()
    async with open_stream(app_of(lambda: SSEResponse(source)), '/') as s:
        await s.next()
        await asyncio.to_thread(opened.wait, 2)
        await asyncio.to_thread(end_streams)
        assert [e async for e in s] == []
    await asyncio.to_thread(thread.join, 2)
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
    streams = [open_stream(app, '/blocked') for _ in range(45)]
    opened = [await s.__aenter__() for s in streams]
    for s in opened: await s.next()
    async with open_stream(app, '/free') as s: assert (await s.next()).data == 'free'
    release.set()
    for s in opened: assert (await s.next()).data == 'y'
    for s in streams: await s.__aexit__(None, None, None)

async def test_a_sync_source_that_blocks_does_not_hold_the_response():
    release, closed = threading.Event(), threading.Event()
    def source():
        try: yield 'x'; release.wait(5); yield 'y'
        finally: closed.set()
    start = time.monotonic()
    async with open_stream(app_of(lambda: SSEResponse(source)), '/') as s: await s.next()
    assert time.monotonic() - start < LINGER and not closed.is_set()
    release.set()
    assert await asyncio.to_thread(closed.wait, 2)

class Rows:
    "Rows of a database, which insists on one thread for its whole life."
    def __init__(self):
        self.db = sqlite3.connect(':memory:')
        self.cursor = self.db.execute('select 1 union select 2')
    def __iter__(self): return self
    def __next__(self): return next(self.cursor)
    def close(self): self.db.close(); closed.append(self)

closed = []

async def test_a_source_is_made_stepped_and_closed_in_one_thread():
    async with open_stream(app_of(lambda: SSEResponse(Rows)), '/') as s: assert [e.data async for e in s] == ['[1]', '[2]']
    assert len(closed) == 1


# Past the wrappers of `send`

async def wrapped(middleware):
    "What `middleware` hands to an app as `send`, and what it calls with."
    sent, handed = [], []
    async def app(scope, receive, send): handed.append(send)
    async def send(message): sent.append(message)
    await middleware(app)({'type': 'http', 'method': 'GET', 'path': '/', 'headers': []}, None, send)
    return handed[0], send, sent

@pytest.mark.parametrize('middleware', [ServerErrorMiddleware, ExceptionMiddleware, lambda app: SessionMiddleware(app, 'of no use'),
    lambda app: wrap_app_handling_exceptions(app, Request({'type': 'http'}))])
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
            async def shout(message): await send(message | {'body': message.get('body', b'').replace(b'quiet', b'LOUD')})
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
