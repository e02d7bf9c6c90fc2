"Streams of models through the real SDKs of OpenAI and Anthropic, async and sync: the text, and who hangs up."
import asyncio, inspect, threading
from functools import partial
from time import monotonic

import anthropic
import openai
import pytest

from fasthtml_sse import Channel, SSEStream, StreamConfig, tokens
from tests.support.clock import PATIENCE, until
from tests.support.models import HOSTILE, Model

pytestmark = pytest.mark.anyio

SAY = [{'role': 'user', 'content': 'Say it.'}]
CHAT = dict(model='fake', messages=SAY, stream=True)
RESPONSE = dict(model='fake', input='Say it.', stream=True)
MESSAGE = dict(model='fake', messages=SAY, max_tokens=99)

def chat(client): return client.chat.completions.create(**CHAT)
def response(client): return client.responses.create(**RESPONSE)
def message(client): return client.messages.create(**MESSAGE, stream=True)
def helper(client): return client.messages.stream(**MESSAGE)

WAYS = {'chat': chat, 'response': response, 'message': message, 'helper': helper}

@pytest.fixture
async def stream_of():
    "What the SDK gives: of a sync one, what gives it, as the request would block the loop. Its client is closed in the end."
    clients = []
    def make(model, way, sync):
        if way in ('chat', 'response'): client = (openai.OpenAI if sync else openai.AsyncOpenAI)(**model.for_openai)
        else: client = (anthropic.Anthropic if sync else anthropic.AsyncAnthropic)(**model.for_anthropic)
        clients.append(client)
        return partial(WAYS[way], client) if sync else WAYS[way](client)
    yield make
    for client in clients:
        if inspect.isawaitable(closing := client.close()): await closing

each_way = pytest.mark.parametrize('way', WAYS)
each_kind = pytest.mark.parametrize('sync', [False, True], ids=['async', 'sync'])


@each_kind
@each_way
async def test_the_text_is_exact_and_the_rest_goes_to_on_part(stream_of, way, sync):
    parts = []
    with Model(*HOSTILE, thought=True, tool=True) as model:
        text = ''.join([piece async for piece in tokens(stream_of(model, way, sync), on_part=parts.append)])
    assert text == ''.join(HOSTILE) and len(model.calls) == 1
    said = ' '.join(map(repr, parts))
    assert all(word in said for word in ('look_up', 'word', 'Hm.')) and HOSTILE[0] + "'" not in said

@each_kind
@each_way
async def test_an_error_in_the_middle_comes_behind_the_text(stream_of, way, sync):
    got = []
    with Model('a', 'b', fails=True) as model:
        with pytest.raises(Exception, match='overloaded'):
            async for piece in tokens(stream_of(model, way, sync), every=0): got.append(piece)
    assert ''.join(got) == 'ab'

@pytest.mark.parametrize('leave', ['it is closed', 'who iterates is cancelled'])
@pytest.mark.parametrize('blocked', [pytest.param(False, marks=pytest.mark.full), True], ids=['in the middle of text',
    'while the model thinks'])
@each_kind
@each_way
async def test_the_server_sees_the_end_at_once(stream_of, way, sync, blocked, leave):
    "Also where a thread waits for what comes next."
    settings, pieces = dict(waits=True) if blocked else dict(pace=0.02), []
    with Model(*'abcdefghij' * (1 if blocked else 100), **settings) as model:
        stream = stream_of(model, way, sync)
        text = tokens(stream) if leave == 'it is closed' else None
        async def show():
            async for piece in text or tokens(stream): pieces.append(piece)
        showing = asyncio.create_task(show())
        await until(lambda: pieces, 0.001)
        if blocked: await until(lambda: model.calls[0].sent == 10, 0.005)
        left = monotonic()
        if text: await text.aclose()
        else: showing.cancel()
        assert await asyncio.to_thread(model.calls[0].over.wait, PATIENCE)
        assert model.calls[0].left - left < 0.5
        await asyncio.wait({showing})

def with_a_name(make):
    "As claudette writes it."
    with make() as stream: yield from stream.text_stream

def without_one(make):
    for event in make().__enter__(): yield event

@pytest.mark.parametrize('written', [with_a_name, without_one])
async def test_a_stream_inside_of_generators_is_found(stream_of, caplog, written):
    def around(make): yield from written(make)
    with Model(*'abc', waits=True) as model:
        pieces = tokens(around(stream_of(model, 'helper', sync=True)), every=0)
        assert [await anext(pieces) for _ in range(3)] == [*'abc']
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02): await anext(pieces)
        await pieces.aclose()
        assert await asyncio.to_thread(model.calls[0].over.wait, PATIENCE)
    await until(lambda: 'fasthtml_sse source' not in [thread.name for thread in threading.enumerate()], 0.005)
    assert not [record for record in caplog.records if record.name == 'fasthtml_sse']

@each_kind
@each_way
async def test_a_run_that_is_stopped_hangs_up(stream_of, way, sync):
    channel = Channel()
    with Model(*'abcdefghij', waits=True) as model:
        async def answer():
            async for piece in tokens(stream_of(model, way, sync)): yield piece
        run = await channel.run(answer, 'answer', text=True)
        await until(lambda: model.calls and model.calls[0].sent == 10, 0.005)
        stopped = monotonic()
        await channel.stop('answer')
        assert await run.wait() == 'stopped'
        assert await asyncio.to_thread(model.calls[0].over.wait, PATIENCE)
        assert model.calls[0].left - stopped < 0.5

@pytest.mark.parametrize('shown', ['a run', 'a page'])
@each_kind
@pytest.mark.parametrize('way', ['chat', 'response', 'message'])
async def test_a_stream_that_is_made_in_a_thread_when_nobody_wants_it_any_more_is_closed(stream_of, way, sync, shown):
    "As by a plain function whose request takes its time."
    called, may, channel = threading.Event(), threading.Event(), Channel()
    with Model(*'ab', waits=True) as model:
        stream = stream_of(model, way, sync)
        if not sync: stream = await stream
        def answer():
            made = stream() if sync else stream
            called.set()
            may.wait(PATIENCE)
            return tokens(made)
        async def leave_run():
            run = await channel.run(answer, 'answer', text=True)
            await asyncio.to_thread(called.wait, PATIENCE)
            await channel.stop('answer')
            assert await run.wait() == 'stopped'
        async def leave_page():
            step = asyncio.ensure_future(anext(SSEStream(StreamConfig(send_initial_message=False)).stream(answer)))
            await asyncio.to_thread(called.wait, PATIENCE)
            step.cancel()
            await asyncio.wait({step})
        await (leave_run() if shown == 'a run' else leave_page())
        may.set()
        assert await asyncio.to_thread(model.calls[0].over.wait, PATIENCE) and model.calls[0].left

async def test_a_stream_that_nobody_wants_is_closed_unstarted(stream_of):
    "As by a second click, which attaches to the run of the first."
    channel = Channel()
    with Model(*'ab', waits=True) as model:
        await channel.run(tokens(stream_of(model, 'chat', sync=False)), 'answer', text=True)
        await until(lambda: model.calls, 0.005)
        asked = await stream_of(model, 'chat', sync=False)
        run = await channel.run(tokens(asked), 'answer', text=True)
        assert await asyncio.to_thread(model.calls[1].over.wait, PATIENCE) and model.calls[1].left
        await channel.stop('answer')
        assert await run.wait() == 'stopped'
