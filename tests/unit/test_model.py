"A model's stream: what counts as text, when it is given, and how the stream is closed."
import asyncio, gc, math, socket, threading
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from types import SimpleNamespace as Obj

import httpx2
import pytest
from fasthtml.common import Div, FastHTML
from hypothesis import given, settings
from hypothesis import strategies as st

from fasthtml_sse import ServerSentEvent, sse, swap, tokens
from fasthtml_sse.core import model, source
from fasthtml_sse.core.source import LIMIT
from fasthtml_sse.testing import open_stream
from tests.support.clock import PATIENCE, turns, until, virtual

pytestmark = pytest.mark.anyio


async def all_of(*args, **kwargs): return [piece async for piece in tokens(*args, **kwargs)]

async def timed(*args, **kwargs):
    "Each piece, and when it came."
    now = asyncio.get_running_loop().time
    start = now()
    return [(piece, now() - start) async for piece in tokens(*args, **kwargs)]


# When pieces are given

said = st.lists(st.tuples(st.sampled_from([0, 0, 0.001, 0.01, 0.049, 0.05, 0.3]), st.text(max_size=3)), max_size=30)

@virtual
@given(said, st.sampled_from([0.001, 0.05, 0.2, 3]))
@settings(max_examples=200)
async def test_any_pieces_at_any_times_are_joined_exactly(said, every):
    arrived = []
    async def stream():
        for pause, text in said:
            await asyncio.sleep(pause)
            arrived.append((text, now()))
            yield text
    now = asyncio.get_running_loop().time
    start = now()
    got = await timed(stream(), every)
    assert ''.join(piece for piece, _ in got) == ''.join(text for _, text in said)
    assert all(piece for piece, _ in got)
    times = [time for _, time in got]
    assert all(later - sooner >= every - 1e-9 for sooner, later in zip(times, times[1:]))
    whole = [(text, time - start) for text, time in arrived if text]
    if got: assert got[0][1] == pytest.approx(whole[0][1])
    # No piece comes later than it has to: it was held back for the one before, or came as soon as its text did
    for n, (sooner, (piece, time)) in enumerate(zip(times, got[1:]), 1):
        before = sum(len(piece) for piece, _ in got[:n])
        assert time == pytest.approx(max(sooner + every, when_of(before, whole)))

def when_of(position, arrived):
    "When the character at a position arrived."
    for text, time in arrived:
        if position < len(text): return time
        position -= len(text)

@virtual
async def test_with_no_pause_each_piece_comes_as_it_is():
    async def stream():
        for piece in ('a', '', 'b', 'c'): yield piece
        await asyncio.sleep(1)
        yield 'd'
    assert await timed(stream(), every=0) == [('a', 0), ('b', 0), ('c', 0), ('d', 1)]
    pieces = tokens(stream(), every=0)
    assert await anext(pieces) == 'a'
    await turns()  # the others are there by now
    assert await anext(pieces) == 'b'
    await pieces.aclose()

@virtual
async def test_the_first_piece_waits_for_nothing():
    async def stream():
        for n in range(5): yield f'{n}'
    assert await timed(stream(), every=7) == [('0', 0), ('1234', 7)]

@virtual
async def test_a_cancelled_step_loses_nothing():
    async def stream():
        for piece in 'abcdefgh':
            await asyncio.sleep(0.3)
            yield piece
    pieces, got = tokens(stream(), every=0.5), []
    while True:
        try:
            async with asyncio.timeout(0.07): got.append(await anext(pieces))
        except TimeoutError: continue
        except StopAsyncIteration: break
    assert ''.join(got) == 'abcdefgh' and len(got) > 3

@virtual
async def test_a_cancelled_step_leaves_no_timer():
    pieces = tokens(Stream('a', 'b'), every=3600)
    await anext(pieces)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1): await anext(pieces)
    await turns()
    assert [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()] == []
    await pieces.aclose()

@virtual
async def test_what_nobody_takes_is_not_asked_for():
    stepped = []
    async def stream():
        for n in range(1000):
            stepped.append(n)
            yield 'x' * 1024
    pieces = tokens(stream(), every=0)
    await anext(pieces)
    await turns(3000)
    assert len(stepped) == LIMIT / 1024 + 1
    await anext(pieces)
    await turns()
    assert len(stepped) == LIMIT / 1024 + 2  # at once, and not when the next piece is asked for
    assert sum([len(piece) async for piece in pieces]) == 998 * 1024 and len(stepped) == 1000

async def test_others_have_their_turn_while_a_stream_has_much_to_give():
    turns_of_others = 0
    async def others():
        nonlocal turns_of_others
        while True:
            turns_of_others += 1
            await asyncio.sleep(0)
    other = asyncio.create_task(others())
    async def stream():
        for n in range(100): yield 'x'
    await all_of(stream(), every=0)
    other.cancel()
    assert turns_of_others > 90

async def test_nothing_is_asked_for_before_somebody_wants_it():
    calls = []
    def make(): calls.append(threading.current_thread()); return ['a']
    pieces = tokens(make)
    await turns()
    assert calls == []
    assert [piece async for piece in pieces] == ['a'] and calls[0] is not threading.current_thread()


# Errors

@virtual
async def test_what_was_gathered_comes_before_the_error():
    async def stream():
        for piece in 'abc': yield piece
        raise ValueError('no more')
    pieces, got = tokens(stream(), every=5), []
    with pytest.raises(ValueError, match='no more'):
        async for piece in pieces: got.append(piece)
    assert got == ['a', 'bc'] and [piece async for piece in pieces] == []

@virtual
async def test_an_error_that_nobody_takes_is_nobodys_business(caplog):
    problems = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context))
    async def stream():
        yield 'a'
        raise ValueError('no more')
    pieces = tokens(stream())
    await anext(pieces)
    await turns()
    del pieces
    gc.collect()
    await turns()
    assert problems == [] and caplog.records == []

@pytest.mark.parametrize('bad', ['text', b'bytes', {'choices': []}, Div('a'), 7, None, ServerSentEvent('a')],
    ids=lambda bad: type(bad).__name__)
def test_what_is_no_stream_is_an_error_at_the_call(bad):
    with pytest.raises(TypeError, match=f'a {type(bad).__name__} is no stream of a model: .*Pass an iterable'): tokens(bad)

def test_a_whole_answer_is_told_to_be_one():
    class ChatCompletion:
        def model_dump(self): pass
        def __iter__(self): return iter([('id', 1)])
    with pytest.raises(TypeError, match='a ChatCompletion is no stream .* stream=True'): tokens(ChatCompletion())

@pytest.mark.parametrize('error, bad', [(TypeError, '1'), (TypeError, None), (TypeError, True), (ValueError, -1), (ValueError, math.inf),
    (ValueError, math.nan)], ids=repr)
def test_a_bad_pause_is_an_error_at_the_call(error, bad):
    async def never(): yield
    with pytest.raises(error, match=f'every must be .*{bad!r}'): tokens(never(), bad)
    async def request(): raise AssertionError
    with pytest.raises(error): tokens(request(), bad)  # without a warning that it was never awaited
    with pytest.raises(TypeError, match='on_part must be a function, or None'): tokens(never(), on_part=1)

UNKNOWN = [7, None, b'a', ('a',), Div('a', type='text'), {'text': 'a'}, Obj(content='a'), Obj(type='thread.message.delta'), ['a'],
    {'choices': [{'delta': {'content': ['a']}}]}, {'choices': [{'index': 0, 'output': 'a'}]}, {'choices': None},
    {'type': 'response.output_text.delta', 'delta': 1}]

@pytest.mark.parametrize('bad', UNKNOWN, ids=repr)
@virtual
async def test_a_chunk_of_unknown_shape_is_an_error_that_names_it(bad):
    closed = []
    async def stream():
        try:
            yield 'a'
            yield bad
        finally: closed.append(True)
    pieces = tokens(stream())
    assert await anext(pieces) == 'a'
    with pytest.raises(TypeError, match=f'no chunk of a model that tokens knows: a {type(bad).__name__},') as e: await anext(pieces)
    assert repr(bad)[:80] in str(e.value) and closed


# What counts as text

def both(value):
    "A chunk as an object, as SDKs give it."
    if isinstance(value, dict): return Obj(**{name: both(inner) for name, inner in value.items()})
    return [both(inner) for inner in value] if isinstance(value, list) else value

def chat(index=0, finish_reason=None, usage=None, **delta):
    choices = [{'index': index, 'delta': delta, 'finish_reason': finish_reason}]
    return {'object': 'chat.completion.chunk', 'choices': choices, 'usage': usage}

def delta(**delta): return {'type': 'content_block_delta', 'index': 0, 'delta': delta}

ONLY_TEXT = [chat(content='x'), {'choices': [{'delta': {'content': 'x'}}]}, {'type': 'response.output_text.delta', 'delta': 'x'},
    delta(type='text_delta', text='x'), {'type': 'content_block_start', 'content_block': {'type': 'text', 'text': 'x'}},
    {'type': 'chunk', 'chunk': chat(content='x'), 'snapshot': {}}, chat('0', content='x'), {'choices': [{'index': 0, 'text': 'x'}]}]
BOTH = [chat(content='x', finish_reason='stop'), chat(content='x', usage={'total_tokens': 3}), chat(content='x', tool_calls=[{'id': '1'}]),
    chat(content='x', reasoning_content='Hm.'), {'choices': [*chat(content='x')['choices'], *chat(1, content='y')['choices']]}]
NO_TEXT = [chat(content=''), chat(content=None, role='assistant'), chat(reasoning_content='Hm.'), chat(refusal='No.'), chat(1,
    content='another'),
    {'choices': [], 'usage': {'total_tokens': 3}}, {'choices': None, 'usage': {'total_tokens': 3}},
    {'choices': [{'index': 0, 'finish_reason': None, 'content_filter_results': {}}]},
    {'choices': [{'index': 0, 'message': {'role': 'assistant', 'content': None, 'tool_calls': ['call']}}]},
    {'choices': [{'index': 0, 'delta': None}]}, {'role': 'tool', 'tool_call_id': '1', 'content': 'sunny'},
    {'type': 'response.created', 'response': {}}, {'type': 'response.never.heard.of', 'delta': 'x', 'text': 'x'},
    {'type': 'response.reasoning_text.delta', 'delta': 'Hm.'}, {'type': 'response.completed', 'response': {'error': None}},
    {'type': 'message_start', 'message': {}}, {'type': 'ping'}, {'type': 'content_block_start', 'content_block': {'type': 'text',
    'text': ''}},
    delta(type='thinking_delta', thinking='Hm.'), delta(type='input_json_delta', partial_json='{'), delta(type='never_heard_of', text='x'),
    {'type': 'message_stop', 'message': {}}, {'type': 'message', 'role': 'assistant', 'content': [{'type': 'thinking', 'thinking': 'Hm.'}]},
    {'type': 'tool_calls.function.arguments.done', 'name': 'f', 'arguments': '{}'}]
REPEATED = [{'type': 'text', 'text': 'x', 'snapshot': 'x'}, {'type': 'thinking', 'thinking': 'x'}, {'type': 'content.delta', 'delta': 'x'},
    {'type': 'content.done', 'content': 'x'}, {'type': 'response.output_text.done', 'text': 'x'}, {'type': 'input_json',
    'partial_json': '{'}]

@pytest.mark.parametrize('made', [dict, both], ids=['dict', 'object'])
@pytest.mark.parametrize('chunk, text, is_part', [*((chunk, 'x', False) for chunk in ONLY_TEXT), *((chunk, 'x', True) for chunk in BOTH),
    *((chunk, '', True) for chunk in NO_TEXT), *((chunk, '', False) for chunk in REPEATED)], ids=repr)
@virtual
async def test_a_chunk_is_known_by_its_shape(chunk, text, is_part, made):
    chunk, parts = made(chunk), []
    async def stream():
        for each in ('a', chunk, 'b'): yield each
    assert ''.join(await all_of(stream(), on_part=parts.append)) == f'a{text}b'
    assert parts == [chunk] * is_part
    async def again():
        yield chunk
    assert ''.join(await all_of(again())) == text

WHOLE = [{'object': 'chat.completion', 'choices': [{'index': 0, 'message': {'content': 'all of it'}}]},
    {'type': 'message', 'role': 'assistant', 'content': [{'type': 'text', 'text': 'all of it'}]},
    {'role': 'assistant', 'content': 'all of it'}]

@pytest.mark.parametrize('made', [dict, both], ids=['dict', 'object'])
@pytest.mark.parametrize('chunk', WHOLE, ids=repr)
@virtual
async def test_a_whole_answer_counts_only_as_what_repeats_the_pieces(chunk, made):
    chunk, parts = made(chunk), []
    async def stream(*chunks):
        for each in chunks: yield each
    assert await all_of(stream('a', chunk), on_part=parts.append) == ['a'] and parts == [chunk]
    with pytest.raises(TypeError, match=f'a {type(chunk).__name__} is one whole answer: .*all of it.* stream=True'):
        await all_of(stream(chat(role='assistant'), chunk))

@virtual
async def test_all_that_the_first_choice_says_is_text():
    async def stream():
        yield {'choices': [*chat(content='a')['choices'], *chat(content='b')['choices'], *chat(1, content='c')['choices']]}
    assert await all_of(stream()) == ['ab']

@pytest.mark.parametrize('every', [0, 0.05])
@pytest.mark.parametrize('chunks, text', [(['a\ud83d', '', '\ude00b'], 'a😀b'), ([chat(content='\ud83d'), chat(content='\ude00')], '😀'),
    (['\ud83d', {'type': 'ping'}, '\ude00'], '😀'), (['\ud83da', '\ude00', 'b\ud83d'], '�a�b�'), (['\ud83d\ude00'], '😀')], ids=ascii)
@virtual
async def test_a_character_in_two_halves_is_joined(chunks, text, every):
    async def stream():
        for each in chunks: yield each
    pieces = await all_of(stream(), every=every)
    assert ''.join(pieces) == text and all(piece.encode() for piece in pieces)

FAILED = [{'type': 'error', 'message': 'overloaded', 'code': 'server_error'}, {'type': 'error', 'error': {'message': 'overloaded'}},
    {'type': 'response.failed', 'response': {'error': {'message': 'overloaded'}}}]

@pytest.mark.parametrize('chunk', [*FAILED, {'error': {'message': 'overloaded'}}, *map(both, FAILED)], ids=repr)
@virtual
async def test_an_error_in_the_stream_is_one(chunk):
    async def stream():
        for each in ('a', 'b', chunk): yield each
    pieces, got = tokens(stream()), []
    with pytest.raises(RuntimeError, match='the model failed: overloaded'):
        async for piece in pieces: got.append(piece)
    assert ''.join(got) == 'ab'


# Parts

@virtual
@pytest.mark.parametrize('is_async', [False, True])
async def test_a_part_is_told_between_the_pieces_where_it_came(is_async):
    seen = []
    async def told(part):
        await asyncio.sleep(0)
        seen.append(part)
    async def stream():
        for each in ('a', 'b', {'type': 'ping', 'n': 1}, {'type': 'ping', 'n': 2}, 'c', {'type': 'ping', 'n': 3}):
            yield each
    async for piece in tokens(stream(), every=0.1, on_part=told if is_async else seen.append):
        await turns(10)  # nothing is told while a piece is being shown
        seen.append(piece)
    assert [part if isinstance(part, str) else part['n'] for part in seen] == ['a', 'b', 1, 2, 'c', 3]

@virtual
async def test_an_error_of_on_part_ends_the_stream():
    closed = []
    async def stream():
        try:
            for each in ('a', {'type': 'ping'}, 'b'): yield each
        finally: closed.append(True)
    pieces = tokens(stream(), on_part=lambda part: 1 / 0)
    assert await anext(pieces) == 'a'
    with pytest.raises(ZeroDivisionError): await anext(pieces)
    assert closed == [True] and [piece async for piece in pieces] == []


# Any stream

class Both:
    "Steps in both ways by its methods, as claudette's; one of them works."
    def __init__(self, make): self.make = make
    def __iter__(self): yield from self.make()
    def __aiter__(self): return self.make()

class Around:
    "A stream around another, as litellm's."
    def __init__(self, inner): self.completion_stream = inner
    def __iter__(self): return iter(self.completion_stream)
    def __aiter__(self): return aiter(self.completion_stream)

async def letters():
    for letter in 'abc': yield letter

async def later(stream): return stream

@contextmanager
def entered(stream): yield stream

@asynccontextmanager
async def entered_later(stream): yield stream

STREAMS = {
    'list': lambda: ['a', 'bc'], 'iterator': lambda: iter('abc'), 'generator function': lambda: lambda: (letter for letter in 'abc'),
    'async generator': letters, 'async generator function': lambda: letters, 'coroutine': lambda: later(letters()),
    'coroutine of a list': lambda: later(['abc']), 'async function': lambda: lambda: later(['abc']), 'function': lambda: lambda: letters(),
    'context manager': lambda: entered(['abc']), 'async context manager': lambda: entered_later(letters()),
    'function of a context manager': lambda: lambda: entered(['abc']), 'coroutine of an async one': lambda: later(entered_later(letters())),
    'both, sync': lambda: Both(lambda: iter('abc')), 'both, async': lambda: Both(letters),
    'around a list': lambda: Around(['abc']), 'around an async one': lambda: Around(letters()),
}

@pytest.mark.parametrize('make', STREAMS.values(), ids=STREAMS)
async def test_a_stream_may_be_given_in_many_ways(make): assert ''.join(await all_of(make())) == 'abc'

async def test_what_gives_no_stream_is_an_error_at_the_first_step():
    with pytest.raises(TypeError, match='a str is no stream of a model'): await all_of(lambda: 'text')
    with pytest.raises(TypeError, match='a int is no stream of a model'): await all_of(later(7))


# How it ends

class Stream:
    "As an SDK gives it: an async stream that holds a connection, and closes it when it is told to."
    def __init__(self, *chunks): self.chunks, self.tasks, self.closed = iter(chunks), set(), 0
    def __aiter__(self): return self
    async def __anext__(self):
        self.tasks.add(asyncio.current_task())
        if chunk := next(self.chunks, None): return chunk
        await asyncio.Event().wait()
    async def close(self):
        self.tasks.add(asyncio.current_task())
        await asyncio.sleep(0)
        self.closed += 1

class SyncStream:
    def __init__(self): self.closed = 0
    def __iter__(self): return self
    def __next__(self): return 'a'
    def close(self): self.closed += 1

@pytest.mark.parametrize('make', [Stream, SyncStream])
async def test_a_stream_that_was_never_stepped_is_closed(make):
    pieces, unwanted = tokens(stream := make()), tokens(dropped := make())
    await pieces.aclose()
    await pieces.aclose()
    assert stream.closed == 1 and [piece async for piece in pieces] == []
    del unwanted
    await until(lambda: dropped.closed)

async def test_what_was_never_awaited_is_dropped_without_a_warning(recwarn):
    request = later(['a'])
    await tokens(request).aclose()
    await asyncio.to_thread(lambda: tokens(later(['a'])) and None)
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []
    with pytest.raises(RuntimeError, match='cannot reuse'): await request

@virtual
async def test_aclose_waits_until_the_stream_is_closed_in_its_task():
    pieces = tokens(stream := Stream('a'))
    assert await anext(pieces) == 'a'
    await pieces.aclose()
    assert stream.closed == 1 and len(stream.tasks) == 1 and asyncio.current_task() not in stream.tasks

@virtual
async def test_what_was_gathered_is_not_given_after_aclose():
    pieces = tokens(Stream('a', 'b', 'c'), every=10)
    assert await anext(pieces) == 'a'
    waiting = asyncio.create_task(all_of_rest(pieces))
    await turns()
    await pieces.aclose()
    assert await waiting == [] and asyncio.get_running_loop().time() < 1

async def all_of_rest(pieces): return [piece async for piece in pieces]

@virtual
async def test_a_stream_that_gives_an_iterator_of_its_own_is_closed_too():
    "As those of the SDKs, while nobody waits for their next chunk."
    class Wrapped(Stream):
        async def __aiter__(self):
            while True: yield await self.__anext__()
    pieces = tokens(stream := Wrapped('a', 'x' * LIMIT))
    assert await anext(pieces) == 'a'
    await turns()
    await pieces.aclose()
    assert stream.closed == 1 and len(stream.tasks) == 1

@virtual
@pytest.mark.parametrize('how', ['the generator around it', 'the task', 'a break', 'an error'])
async def test_a_stream_that_nobody_has_any_more_is_closed(how):
    stream, seen = Stream('a'), []
    async def shown():
        async for piece in tokens(stream):
            seen.append(piece)
            if how == 'a break': break
            if how == 'an error': raise ValueError
            yield piece
    async def show():
        async for _ in shown(): pass
    if how == 'the generator around it':
        async with aclosing(shown()) as pieces: await anext(pieces)
    else:
        showing = asyncio.create_task(show())
        await until(lambda: seen)
        await turns()
        if how == 'the task': showing.cancel()
        with suppress(asyncio.CancelledError, ValueError): await showing
    await turns()
    assert stream.closed == 1 and len(stream.tasks) == 1

@virtual
async def test_an_end_does_not_disturb_a_stream_that_is_closed_already():
    closed = []
    async def stream():
        try:
            yield 'a'
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.2)
            closed.append(True)
    pieces = tokens(stream())
    await anext(pieces)
    ends = [asyncio.create_task(pieces.aclose()) for _ in range(3)]
    await asyncio.sleep(0.1)
    await pieces.aclose()
    await asyncio.wait(ends)
    assert closed == [True]

@virtual
async def test_an_end_does_not_disturb_a_stream_that_is_closed_for_an_error():
    class Slow(Stream):
        async def close(self):
            await asyncio.sleep(0.2)
            await super().close()
    pieces = tokens(stream := Slow('a', b'unknown'))
    await anext(pieces)
    await asyncio.sleep(0.1)
    await pieces.aclose()
    assert stream.closed == 1

@virtual
async def test_a_stream_that_does_not_close_is_not_waited_for():
    may = asyncio.Event()
    async def stream():
        yield 'a'
        while not may.is_set():
            with suppress(asyncio.CancelledError): await may.wait()
        yield 'late'
    pieces = tokens(stream(), every=0)
    await anext(pieces)
    waiting = asyncio.create_task(all_of_rest(pieces))
    await turns()
    start = asyncio.get_running_loop().time()
    await pieces.aclose()
    assert asyncio.get_running_loop().time() - start == pytest.approx(source.LINGER)
    assert waiting.done() and waiting.result() == []
    may.set()
    await turns()
    assert not model._held and await all_of_rest(pieces) == []  # what it gives then is not wanted

@virtual
async def test_an_error_while_it_is_closed_is_logged(caplog):
    class Bad(Stream):
        async def close(self): raise OSError('no connection')
    pieces = tokens(Bad('a'))
    await anext(pieces)
    await pieces.aclose()
    assert [record.message for record in caplog.records] == ["a model's stream failed as it was closed"]
    assert 'no connection' in caplog.text

@virtual
async def test_on_part_may_close_it():
    async def stream():
        for each in ('a', {'type': 'ping'}, 'b'): yield each
    done = []
    async def stop(part):
        await pieces.aclose()  # it does not wait for itself
        done.append('stopped')
    pieces = tokens(stream(), on_part=stop)
    assert await all_of_rest(pieces) == ['a'] and done == ['stopped']

@pytest.mark.parametrize('make', [Stream, SyncStream])
async def test_a_loop_that_is_torn_down_before_the_first_step_closes_it(make):
    stream = make()
    async def main():
        pieces = tokens(stream)
        return pieces, pieces.__anext__()  # its task has not begun
    def run():
        _, step = asyncio.run(main())
        step.close()
    await asyncio.to_thread(run)
    await until(lambda: stream.closed, 0.001)
    assert stream.closed == 1

@pytest.mark.parametrize('where', ['in a thread', 'in the loop', 'in another loop', 'when its loop is closed'])
async def test_what_was_made_in_a_thread_and_dropped_is_closed(where):
    stream, kept = SyncStream(), []
    def make(): kept.append(tokens(stream))
    async def make_in_a_loop(): make()
    if where in ('in another loop', 'when its loop is closed'): await asyncio.to_thread(asyncio.run, make_in_a_loop())
    else: await asyncio.to_thread(make)
    if where in ('in a thread', 'when its loop is closed'): await asyncio.to_thread(kept.clear)
    else: kept.clear()
    await until(lambda: stream.closed, 0.001)

async def test_an_async_stream_that_no_loop_is_known_for_is_told_of(caplog, recwarn):
    stream = Stream()
    await asyncio.to_thread(lambda: tokens(stream) and None)
    await until(lambda: caplog.messages, 0.001)
    gc.collect()
    assert 'stays open: it was dropped in a thread that knows no event loop' in caplog.text and 'Stream object' in caplog.text
    assert not stream.closed and not [warning for warning in recwarn if 'never awaited' in str(warning.message)]

@pytest.mark.parametrize('make', [Stream, SyncStream])
async def test_a_bad_call_closes_the_stream(make):
    with pytest.raises(ValueError, match='every must be'): tokens(stream := make(), every=-1)
    await until(lambda: stream.closed)

GIVEN = {'async stream': Stream, 'sync stream': SyncStream, 'coroutine': lambda: later([])}

@pytest.mark.parametrize('given', GIVEN)
async def test_what_a_function_makes_for_nobody_is_closed(given, recwarn):
    may, called, made = threading.Event(), threading.Event(), []
    def make():
        called.set()
        may.wait(PATIENCE)
        made.append(GIVEN[given]())
        return made[0]
    pieces = tokens(make)
    step = asyncio.ensure_future(anext(pieces))
    await until(called.is_set, 0.001)
    step.cancel()
    await pieces.aclose()
    may.set()
    if given == 'coroutine': await until(lambda: made and made[0].cr_frame is None, 0.001)
    else: await until(lambda: made and made[0].closed, 0.001)
    gc.collect()
    assert not [warning for warning in recwarn if 'never awaited' in str(warning.message)]

def test_a_loop_that_is_torn_down_closes_it():
    stream, left = Stream('a'), []
    async def main():
        left.append(tokens(stream))
        await anext(left[0])
    asyncio.run(main(), debug=True)
    assert stream.closed == 1 and len(stream.tasks) == 1
    left.clear()
    gc.collect()

def test_it_belongs_to_the_loop_that_steps_it():
    pieces = tokens(['a', 'b'])
    assert asyncio.run(all_of_rest(pieces)) == ['a', 'b']
    async def asked(): return tokens(later(['a']))
    unstarted = asyncio.run(asked())
    del unstarted  # without a warning that it was never awaited
    gc.collect()

async def test_too_many_threads_are_an_error_that_leaves_nothing_open(monkeypatch):
    monkeypatch.setattr(source, 'ABANDONED', 0)
    stream = SyncStream()
    with pytest.raises(source.TooManyThreads): await all_of(stream)
    assert stream.closed == 1

async def test_a_sync_stream_is_stepped_and_closed_by_one_thread():
    threads = []
    class Bound(SyncStream):
        def __next__(self): threads.append(threading.current_thread()); return 'a'
        def close(self): threads.append(threading.current_thread()); super().close()
    pieces = tokens(stream := Bound(), every=0)
    await anext(pieces)
    await pieces.aclose()
    await until(lambda: stream.closed, 0.001)
    assert len(set(threads)) == 1 and threads[0] is not threading.current_thread() and stream.closed == 1

async def test_a_sync_context_manager_is_left():
    left = threading.Event()
    @contextmanager
    def manager():
        try: yield iter('abc')
        finally: left.set()
    pieces = tokens(manager(), every=0)
    assert await anext(pieces) == 'a'
    await pieces.aclose()
    assert await asyncio.to_thread(left.wait, PATIENCE)

async def test_who_leaves_while_a_sync_request_is_made_holds_no_connection():
    may, stream = threading.Event(), SyncStream()
    def make(): return may.wait() and stream
    pieces = tokens(make)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01): await anext(pieces)
    await pieces.aclose()
    may.set()
    await until(lambda: stream.closed, 0.001)

async def test_who_leaves_while_a_sync_context_manager_is_entered_asks_for_no_chunk():
    may, done = threading.Event(), []
    class Manager:
        def __enter__(self):
            may.wait()
            return map(done.append, ['asked'])
        def __exit__(self, *error): done.append('left')
    pieces = tokens(Manager())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01): await anext(pieces)
    await pieces.aclose()
    may.set()
    await until(lambda: done, 0.001)
    assert done == ['left']

class Connected(httpx2.Response):
    "A response that reads from a socket, as a stream."
    def __init__(self, is_closed, http_version):
        self.ours, self.server = socket.socketpair()
        network = Obj(get_extra_info={'socket': self.ours}.get)
        super().__init__(200, stream=httpx2.SyncByteStream(), extensions={'network_stream': network, 'http_version': http_version.encode()})
        self.is_closed, self.closed = is_closed, 0
    def __iter__(self): return self
    def close(self): self.closed += 1
    def __next__(self):
        if chunk := self.ours.recv(1): return chunk.decode()
        raise ConnectionError

@pytest.mark.parametrize('is_closed, http_version, shut', [(False, 'HTTP/1.1', True), (True, 'HTTP/1.1', False), (False, 'HTTP/2', False)])
async def test_only_a_connection_that_nobody_else_may_have_is_shut(is_closed, http_version, shut, caplog):
    stream = Connected(is_closed, http_version)
    with stream.ours, stream.server:
        stream.server.send(b'a')
        pieces = tokens(stream, every=0)
        assert await anext(pieces) == 'a'
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01): await anext(pieces)
        await pieces.aclose()
        stream.server.setblocking(False)
        if shut: assert stream.server.recv(1) == b''
        else:
            with pytest.raises(BlockingIOError): stream.server.recv(1)
            assert not stream.closed
            stream.server.send(b'b')  # it is closed then
        await until(lambda: stream.closed, 0.001)
    await turns()
    assert not [record for record in caplog.records if record.name == 'fasthtml_sse']  # that its thread was woken so is no error

@pytest.mark.parametrize('different', ['httpx', 'Python'])
async def test_where_httpx_or_python_is_different_the_log_says_so_once(different, caplog, monkeypatch):
    monkeypatch.setattr(model._READER, 'holds', None)
    for _ in range(2):
        stream = Connected(False, 'HTTP/1.1')
        if different == 'httpx': stream.extensions = {}
        with stream.ours, stream.server:
            stream.server.send(b'a')
            pieces = tokens(stream, every=0)
            assert await anext(pieces) == 'a'
            with monkeypatch.context() as patch:
                if different == 'Python': patch.delattr('sys._current_frames')
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.01): await anext(pieces)
                await pieces.aclose()
            stream.server.send(b'b')  # it is closed then
            await until(lambda: stream.closed, 0.001)
    said, = (message for message in caplog.messages if 'is not as fasthtml-sse knows it' in message)
    assert 'goes on until its next chunk' in said

async def test_a_stream_whose_iterator_does_not_close_is_closed_itself():
    class Bad:
        def __iter__(self): return self
        def __next__(self): return 'a'
        def close(self): raise OSError('no connection')
    class Outer(SyncStream):
        def __iter__(self): return Bad()
    pieces = tokens(stream := Outer(), every=0)
    await anext(pieces)
    await pieces.aclose()
    await until(lambda: stream.closed, 0.001)


# As a source

async def test_it_is_a_source_like_any_other():
    app = FastHTML()
    stream = Stream('<b>', 'a & b')
    @app.get('/raw')
    @sse
    def raw(): return tokens(Stream('one'))
    @app.get('/shown')
    @sse
    async def shown():
        async for piece in tokens(stream, every=0): yield swap.append(piece, 'answer')
    async with open_stream(app, '/raw') as events: assert (await events.next()).data == 'one'
    async with open_stream(app, '/shown') as events:
        assert '&lt;b&gt;' in (await events.next()).data and 'a &amp; b' in (await events.next()).data
    await until(lambda: stream.closed)
