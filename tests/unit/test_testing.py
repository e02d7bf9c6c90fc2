"open_stream: what a test of a stream can rely on."
import asyncio

import pytest
from fasthtml.common import fast_app

from fasthtml_sse import Channel, SSEResponse, ServerSentEvent
from fasthtml_sse.testing import capture, open_stream
from tests.support.clock import turns, until, virtual

pytestmark = pytest.mark.anyio


async def answer(send, status=200, *bodies):
    await send({'type': 'http.response.start', 'status': status, 'headers': [(b'x-a', b'1')]})
    for body in bodies: await send({'type': 'http.response.body', 'body': body, 'more_body': True})


async def test_events_come_one_by_one_with_id_and_raw_bytes():
    async def app(scope, receive, send): await answer(send, 200, b': hi\nretry: 9\n\nid: 1\nda', b'ta: a\n\ndata: b\n\n')
    async with open_stream(app, '/') as s:
        assert (await s.next()) == ServerSentEvent('a', id='1')
        assert [e.data async for e in s] == ['b']
        with pytest.raises(StopAsyncIteration): await s.next()
    assert (s.status, s.headers['x-a'], s.last_event_id, s.retry) == (200, '1', '1', 9)
    assert s.raw == b': hi\nretry: 9\n\nid: 1\ndata: a\n\ndata: b\n\n'

async def test_the_app_sees_a_request_as_from_a_server():
    seen = {}
    async def app(scope, receive, send):
        seen.update(scope, body=await receive())
        await answer(send)
    async with open_stream(app, '/a%20b?q=%C3%A4&r=1', last_event_id='7', headers={'Cookie': 'a=b'}, method='POST'): pass
    assert (seen['path'], seen['raw_path'], seen['query_string'], seen['method']) == ('/a b', b'/a%20b', b'q=%C3%A4&r=1', 'POST')
    assert dict(seen['headers'])[b'last-event-id'] == b'7' and dict(seen['headers'])[b'cookie'] == b'a=b'
    assert seen['body'] == {'type': 'http.request', 'body': b'', 'more_body': False}

@virtual
async def test_what_does_not_come_in_time_is_a_timeout():
    async def app(scope, receive, send):
        await answer(send)
        while (await receive())['type'] != 'http.disconnect': pass
    async with open_stream(app, '/') as s:
        with pytest.raises(TimeoutError): await s.next(timeout=0.01)

@virtual
async def test_leaving_drops_the_connection_and_waits_for_the_app():
    closed = []
    async def app(scope, receive, send):
        await answer(send, 200, b'data: x\n\n')
        while (await receive())['type'] != 'http.disconnect': pass
        await asyncio.sleep(0.01)
        closed.append(1)
    async with open_stream(app, '/') as s: await s.next()
    assert closed == [1]

@virtual
async def test_an_app_that_never_answers_is_a_timeout():
    async def app(scope, receive, send): await asyncio.Event().wait()
    with pytest.raises(TimeoutError):
        async with open_stream(app, '/', timeout=0.02): pass

async def test_an_app_that_ends_without_an_answer_is_an_error():
    async def app(scope, receive, send): pass
    with pytest.raises(RuntimeError, match='without an answer to /x'):
        async with open_stream(app, '/x'): pass

@virtual
async def test_an_app_that_ignores_even_its_cancellation_does_not_hang_the_test():
    release = asyncio.Event()
    async def app(scope, receive, send):
        await answer(send)
        while not release.is_set():
            try: await release.wait()
            except asyncio.CancelledError: pass
    with pytest.raises(TimeoutError, match='still ran'):
        async with open_stream(app, '/', timeout=0.02): pass
    release.set()

async def test_a_query_may_hold_any_text():
    seen = {}
    async def app(scope, receive, send):
        seen.update(scope)
        await answer(send)
    async with open_stream(app, '/?q=é ü&r=1%26'): pass
    assert seen['query_string'] == b'q=%C3%A9%20%C3%BC&r=1%26'

@virtual
async def test_an_app_that_ignores_its_client_leaving_is_a_timeout_and_cancelled():
    cancelled = []
    async def app(scope, receive, send):
        await answer(send)
        try: await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(1)
            raise
    with pytest.raises(TimeoutError, match='/x still ran 0.02 s after its client had gone'):
        async with open_stream(app, '/x', timeout=0.02): pass
    assert cancelled == [1]

async def test_an_exception_of_the_app_is_raised_by_next_and_once():
    async def app(scope, receive, send):
        await answer(send, 200, b'data: x\n\n')
        raise LookupError('oh')
    async with open_stream(app, '/') as s:
        assert (await s.next()).data == 'x'
        with pytest.raises(LookupError, match='oh'): await s.next()
        with pytest.raises(StopAsyncIteration): await s.next()

async def test_an_exception_that_nobody_met_is_raised_at_the_end():
    async def app(scope, receive, send):
        await answer(send)
        raise LookupError('oh')
    with pytest.raises(LookupError, match='oh'):
        async with open_stream(app, '/'): pass
    async def early(scope, receive, send): raise LookupError('early')
    with pytest.raises(LookupError, match='early'):
        async with open_stream(early, '/'): pass

async def test_an_exception_of_the_test_is_not_hidden_by_one_of_the_app():
    async def app(scope, receive, send):
        await answer(send)
        raise LookupError('app')
    with pytest.raises(ZeroDivisionError) as e:
        async with open_stream(app, '/') as s:
            await until(lambda: s._over)
            1 / 0
    assert "LookupError('app')" in e.value.__notes__[0]

async def test_pause_makes_the_app_wait():
    sent = []
    async def app(scope, receive, send):
        await answer(send)
        for n in range(50):
            await send({'type': 'http.response.body', 'body': b'data: %d\n\n' % n, 'more_body': True})
            sent.append(n)
            await asyncio.sleep(0)
    async with open_stream(app, '/') as s:
        s.pause()
        await turns(5)
        before = len(sent)
        await turns(5)
        assert len(sent) == before < 50
        s.resume()
        assert len([e async for e in s]) == 50

async def test_leaving_while_paused_ends_all_the_same():
    async def source():
        while True: yield 'x' * 10_000
    async def app(scope, receive, send): await SSEResponse(source)(scope, receive, send)
    async with open_stream(app, '/') as s:
        await s.next()
        s.pause()

async def test_what_is_no_stream_shows_its_status():
    app, rt = fast_app()
    async with open_stream(app, '/nowhere') as s: assert [e async for e in s] == []
    assert s.status == 404 and b'Not Found' in s.raw

async def test_many_streams_at_once():
    async def source():
        for n in range(3):
            yield n
            await asyncio.sleep(0)
    app, rt = fast_app()
    @rt('/s')
    def s(): return SSEResponse(source)
    async def read():
        async with open_stream(app, '/s') as s: return [e.data async for e in s]
    assert await asyncio.gather(*(read() for _ in range(50))) == [['0', '1', '2']] * 50

async def test_what_is_published_is_captured_and_read_as_ever():
    channel = Channel()
    subscription = channel.subscribe()
    await channel.publish('before')
    with capture(channel) as events:
        ids = [await channel.publish('one', 'a'), channel.publish_sync(ServerSentEvent('two', retry=5), event='named')]
        assert ids[-1] == await channel.tail() and channel.stats().last_id == ids[-1]
    await channel.publish('after')
    assert [(e.data, e.event, e.id, e.retry, e.topic) for e in events] == [
        ('one', None, ids[0], None, 'a'),
        ('two', 'named', ids[1], 5, ''),
    ]
    assert [(await anext(subscription)).frame.split()[-1] for _ in range(4)][::3] == [b'before', b'after']

async def test_the_last_id_is_that_of_the_events_that_were_read():
    async def source():
        yield ServerSentEvent(id='7')
        for id in 'ab': yield ServerSentEvent(id, id=id)
        yield ServerSentEvent(id='c')
    async with open_stream(SSEResponse(source), '/') as s:
        await until(lambda: s.raw)
        seen = [s.last_event_id]
        seen += [s.last_event_id async for _ in s]
    assert seen == ['7', 'a', 'c']  # an id without data counts as soon as what came before it is read
