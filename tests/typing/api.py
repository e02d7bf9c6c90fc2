"Every public name, used as apps use it: `mypy --strict` has to find nothing here, and `reveal_type` what the comments say."
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any, assert_type

from fastcore.xml import FT
from fasthtml.common import Div, Li, Request, fast_app
from starlette.responses import Response

from fasthtml_sse import (
    Channel, ChannelStats, ConnectionStatus, Entry, EventParser, Frame, Gap, Live, LogError, MemoryLog, OOBStreamBuilder, RedisLog,
    Run, SQLiteLog, SSEResponse, SSESource, SSEStream, ServerSentEvent, StreamConfig, Subscription,
    end_streams, last_event_id, sse, sse_headers, sse_script, swap, to_event, tokens,
)
from fasthtml_sse.core.streaming import OOBStreamBuilder as Builder, SSEStream as Stream, StreamConfig as Config
from fasthtml_sse.testing import Published, Stream as OpenStream, capture, open_stream

app, rt = fast_app()


# Values, events, frames and back
event = ServerSentEvent('text', event='name', id='1', retry=100, comment='hidden')
assert_type(event.encode(), Frame)
assert_type(str(event), str)
assert_type(event.data, str | None)
assert_type(event.retry, int | None)
assert_type(to_event({'n': 1}, event='count'), ServerSentEvent | Frame | None)
parser = EventParser()
assert_type(parser.feed(b'data: x\n\n'), list[ServerSentEvent])
assert_type(parser.last_event_id, str | None)
frame: bytes = Frame(b': hi\n\n')


# Handlers
@sse
async def clock() -> AsyncGenerator[str, None]: yield 'tick'

@sse(text=True)
async def answer() -> AsyncGenerator[str, None]: yield '<'

@sse(heartbeat_interval=5, timeout=60, close_event=None)
def countdown(start: int) -> Iterator[FT]: yield Li(start)

assert_type(clock, Callable[[], AsyncGenerator[str, None]])
assert_type(countdown(3), Iterator[FT])
assert_type(answer, Callable[[], AsyncGenerator[str, None]])
rt(clock)


async def numbers(last_event_id: str | None) -> AsyncIterator[int]: yield int(last_event_id or 0)

def bare(request: Request) -> Response:
    assert_type(last_event_id(request), str | None)
    return SSEResponse(numbers, heartbeat_interval=None, send_timeout=5, headers={'X-A': '1'}, status_code=200)


# Streams
config = StreamConfig(
    heartbeat_interval=1.5,
    timeout=None,
    send_initial_message=True,
    initial_message='hello',
    send_close_message=True,
    close_message='bye',
    debug=False,
    close_event='close',
    retry=500,
    send_timeout=30,
    text=True,
)
stream = SSEStream(config)
assert_type(stream.config, StreamConfig)
assert_type(stream.response(numbers), SSEResponse)
assert_type(stream.response([1, 2], transform_fn=lambda n: Li(n)), SSEResponse)
async def text() -> list[str]: return [frame async for frame in SSEStream().stream(numbers, str)]
stream.stop()
end_streams()


# Models
async def shown(stream: Any) -> AsyncGenerator[FT, None]:
    assert_type([piece async for piece in tokens(['a'], every=0.1, on_part=print)], list[str])
    async for piece in tokens(stream): yield swap.append(piece, 'answer')
    await tokens(iter('ab')).aclose()


# Swaps
elements: list[Any] = [
    swap.append(Li('new'), '#list', keep=10),
    swap.upsert(Li('new', id='new'), '#list', keep=10),
    swap.refresh(),
    swap.prepend(Li('new'), 'list'),
    swap.before(Div(), '#a'),
    swap.after(Div(), '.b'),
    swap.update('text', '#c'),
    swap.replace(Div(), '#d'),
    swap.morph(Div(), '#e', children=True),
    swap.remove('#f'),
]
builder = OOBStreamBuilder()
assert_type(builder.add_element(Div(), 'a').add_elements([Div(), (Li(), 'b', 'beforeend', True)]), OOBStreamBuilder)
assert_type(builder.append(Li(), '#c').remove('#d'), OOBStreamBuilder)
assert_type(builder.build(), FT | str)
assert_type(builder.clear(), OOBStreamBuilder)
same: tuple[type[Builder], type[Stream], type[Config]] = OOBStreamBuilder, SSEStream, StreamConfig


# Tests
async def test() -> None:
    async with open_stream(app, '/events', last_event_id='1', headers={'X-A': '1'}, method='GET', timeout=2) as s:
        assert_type(s, OpenStream)
        assert_type(await s.next(timeout=0.5), ServerSentEvent)
        async for event in s: assert_type(event, ServerSentEvent)
        assert_type((s.last_event_id, s.retry, s.status, s.raw), tuple[str | None, int | None, int | None, bytes])
        s.headers['content-type'].upper()
        s.pause()
        s.resume()


# Pages
assert_type(sse_headers(), tuple[FT, ...])
page_app = fast_app(hdrs=sse_headers(src='/sse_source.js', morph='/idiomorph.js'))[0]
sse_script(page_app, path='/sse_source.js')
assert_type(SSESource('/events', after='7', shared=True, id='events', hx_swap='beforeend'), FT)
assert_type(SSESource(numbers, shared='user 7'), FT)
assert_type(ConnectionStatus(of='events', live='Verbunden'), FT)


# Channels
channel = Channel(MemoryLog(maxlen=100))
others = Channel(), Channel(SQLiteLog('events.db', maxlen=100, max_age=60)), Channel(RedisLog('redis://localhost', maxlen=100, name='app'))

def shelf(user: str) -> object: return Div(user, id='shelf')

async def broadcast() -> None:
    assert_type(await channel.publish(Li('x'), 'room', event='note'), str)
    try: assert_type(channel.publish_sync({'n': 1}, topic='room'), str)
    except LogError: pass
    assert_type(await channel.tail(), str)
    subscription = channel.subscribe('room', after='id')
    assert_type(subscription, Subscription)
    async with subscription:
        async for item in subscription:
            assert_type(item, Entry | Gap)
            if isinstance(item, Entry): assert_type((item.id, item.topic, item.frame), tuple[str, str, Frame])
            else: assert_type((item.after, item.id), tuple[str, str])
    run = await channel.run(numbers, 'job 7', text=True, unwatched=10, failed=lambda error: Div('Sorry.'), stopped='Stopped.')
    assert_type(run, Run)
    assert_type((run.id, run.state, await run.wait(), await channel.stop('job 7')), tuple[str, str, str, bool])
    assert_type(channel.watch('job 7', lost=Div('Sorry.'), send_timeout=5), SSEResponse)
    assert_type(channel.response('a', 'b', snapshot=lambda: Div('all'), heartbeat_interval=None, send_timeout=5), SSEResponse)
    view = channel.live(shelf, 'books', every=0.1)
    assert_type(view, Live)
    assert_type(view.response('ann', heartbeat_interval=None, send_timeout=5), SSEResponse)
    channel.publish_table('todo', topic='todos')
    channel.unpublish_table('todo')
    channel.publish_within(sqlite3.connect('app.db'), Li('x'), 'room', event='note', end=True)
    stats = channel.stats()
    assert_type(stats, ChannelStats)
    assert_type((stats.readers, stats.lag, stats.last_id, stats.error), tuple[int, int, str | None, str | None])
    await channel.aclose()
    with capture(channel) as captured: assert_type(captured, list[Published])
    assert_type((captured[0].topic, captured[0].data), tuple[str, str | None])
