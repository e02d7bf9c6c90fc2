"Runs: started once, watched from the beginning, ended in one of five ways. One contract, for every log."
import asyncio, contextvars, gc, logging, sqlite3, threading, time
from contextlib import suppress

import pytest
from fasthtml.common import P
from hypothesis import given, settings, strategies as st

import fasthtml_sse.broadcast.run as module
from fasthtml_sse import Channel, EventParser, Frame, LogError, Run, ServerSentEvent, end_streams
from fasthtml_sse.broadcast.run import Claim, key_of, lease_of
from fasthtml_sse.broadcast.store import Change, Post, Record
from tests.support.asgi import Client
from tests.support.clock import PATIENCE, until
from tests.support.logs import Memory, SQLite, on_every_log, opened, publish, settled, text_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def hurry(monkeypatch):
    "Leases are renewed, and looked at, in a hurry."
    for name, seconds in dict(BEAT=0.02, TICK=0.01, DEAD=0.2).items(): monkeypatch.setattr(module, name, seconds)

@pytest.fixture
def impatient(monkeypatch):
    "Nobody watches for a shorter time than a user may ask for."
    for name, seconds in dict(BEAT=0.05, TICK=0.01, ANSWER=0.2).items(): monkeypatch.setattr(module, name, seconds)
    monkeypatch.setattr(module, 'check_options', lambda options: None)

def others(logs, channel):
    "The channel itself, and one of another process if the log is shared."
    return [channel, *([Channel(logs.again())] if logs.durable else [])]

def other(logs, channel): return others(logs, channel)[-1]

async def shown(channel, id, last=None, **settings):
    "What a page gets that watches a run until it ends."
    async with asyncio.timeout(PATIENCE), Client.asking(channel.watch(id, heartbeat_interval=None, **settings), last) as client:
        await client.over()
    return [(event.event, event.data) for event in EventParser().feed(client.body)]

async def kept(channel, id):
    async with asyncio.timeout(PATIENCE): return [text_of(entry) async for entry in channel.subscribe(id, since='start')]

async def ended(run):
    async with asyncio.timeout(PATIENCE): return await run.wait()

def ends_that_fail(channel, monkeypatch):
    "Those of runs that the log of a channel does not take: the first three."
    append, failed = channel.log.aappend, []
    async def failing(post):
        if post.end and len(failed) < 3:
            failed.append(post)
            raise LogError('the disk is full')
        return await append(post)
    monkeypatch.setattr(channel.log, 'aappend', failing)
    return failed

class Source:
    "An endless source, which says what has become of it."
    def __init__(self, *values, then=None):
        self.values, self.then, self.starts, self.closed, self.unstarted = values, then, 0, 0, 0

    async def __call__(self):
        self.starts += 1
        try:
            for value in self.values: yield value
            if self.then: raise self.then
            await asyncio.Event().wait()
        finally: self.closed += 1


# It happens once

@on_every_log
async def test_of_many_who_run_one_id_one_starts_it_and_the_others_attach(logs):
    channel = opened(logs)
    processes, starts = others(logs, channel), []
    async def source(n):
        starts.append(n)
        yield n
        await asyncio.sleep(0.05)
    runs = await asyncio.gather(*(processes[n % len(processes)].run(lambda n=n: source(n), 'job') for n in range(40)))
    assert {run.id for run in runs} == {'job'} and {await ended(run) for run in runs} == {'done'}
    assert len(starts) == 1
    for each in processes: assert await shown(each, 'job') == [(None, str(starts[0])), ('close', 'done')]

@on_every_log
async def test_threads_with_loops_of_their_own_start_one_run(logs):
    channel, starts = opened(logs), []
    processes = others(logs, channel)
    async def source():
        starts.append(threading.current_thread())
        yield 'once'
    async def start(n):
        run = await processes[n % len(processes)].run(source, 'job')
        return await run.wait()
    states = await asyncio.gather(*(asyncio.to_thread(asyncio.run, start(n)) for n in range(20)))
    assert set(states) <= {'done', 'lost'} and len(set(states)) == 1 and len(starts) == 1

@on_every_log
async def test_who_attaches_closes_its_own_source_unstarted(logs):
    channel = opened(logs)
    await channel.run(Source('x'), 'job')
    class Closable:
        closed = 0
        def __aiter__(self): return self
        async def __anext__(self): raise AssertionError('it was started')
        async def aclose(self): self.closed += 1
    async def coroutine(): raise AssertionError('it was started')
    def generator(): yield 'never'
    async def asyncgen(): yield 'never'
    class Steps:
        closed = 0
        def __iter__(self): return self
        def __next__(self): raise AssertionError('it was started')
        def close(self): self.closed += 1
    closable, steps, iterator = Closable(), generator(), Steps()
    for each in others(logs, channel):
        sources = closable, coroutine(), steps, iterator, asyncgen(), asyncgen
        for source in sources: assert (await each.run(source, 'job')).state == 'running'
    assert closable.closed == iterator.closed == len(others(logs, channel)) and steps.gi_frame is None
    assert await channel.stop('job') and await ended(await channel.run(['x'], 'job')) == 'stopped'

@on_every_log
async def test_an_id_is_used_up_by_its_end(logs):
    channel, again = opened(logs), Source('again')
    async def empty(): return None
    assert await ended(await channel.run(empty, 'job')) == 'done'
    for each in others(logs, channel):
        run = await each.run(again, 'job')
        assert (run.state, await run.wait(), repr(run)) == ('done', 'done', "Run('job', 'done')")
    assert again.starts == 0

@on_every_log
async def test_a_run_without_an_id_gets_one_that_nobody_guesses(logs):
    channel = opened(logs)
    runs = [await channel.run(['x']) for _ in range(3)]
    assert len({run.id for run in runs}) == 3 and all(len(run.id) >= 16 for run in runs)
    assert [await ended(run) for run in runs] == ['done'] * 3

@on_every_log
async def test_a_topic_that_is_no_runs_is_refused_and_the_source_closed(logs):
    channel = opened(logs)
    await channel.publish('x', 'used')
    await channel.publish(None, 'ended', end=True)
    for each in others(logs, channel):
        for topic in ('used', 'ended'):
            async def never(): raise AssertionError('it was started')
            with pytest.raises(ValueError, match=f"the topic '{topic}' has events that are not those of a run"):
                await each.run(never(), topic)
    assert await channel.log.arecord(key_of('used')) is None

@pytest.mark.parametrize('bad,error,match', [
    ({'source': 'text'}, TypeError, 'a str is no source'), ({'source': None}, TypeError, 'a NoneType is no source'),
    ({'id': ''}, ValueError, 'a run needs a name'), ({'id': 7}, TypeError, 'a topic must be a str'),
    ({'id': 'a\0b'}, ValueError, 'must not hold NUL'), ({'text': 'yes'}, TypeError, 'text must be True or False'),
    *(({'unwatched': bad}, ValueError, 'unwatched must be a number of seconds, 1 or more') for bad in (0.5, 0, True, '9', float('inf'))),
    ({'failed': {1}}, TypeError, 'a set is no data'), ({'stopped': ServerSentEvent('x', id='7')}, ValueError, 'the log gives the ids'),
], ids=lambda bad: str(bad)[:40])
async def test_a_bad_argument_is_an_error_at_the_call_and_claims_nothing(bad, error, match):
    channel = Channel()
    with pytest.raises(error, match=match): await channel.run(**{'source': ['x'], 'id': 'job'} | bad)
    assert await channel.log.arecord(key_of('job')) is None

async def test_a_source_that_is_not_started_is_closed_whatever_was_wrong(recwarn):
    async def never(): raise AssertionError('it was started')
    channel, closed = Channel(), Channel()
    await closed.aclose()
    for bad in ({'id': ''}, {'id': 7}, {'text': 'yes'}, {'unwatched': 0}, {'failed': object()}):
        with pytest.raises((ValueError, TypeError)): await channel.run(never(), **bad)
    with pytest.raises(LogError, match='the channel is closed'): await closed.run(never())
    gc.collect()
    assert not recwarn.list

async def test_a_closed_channel_runs_nothing():
    channel = Channel()
    await channel.aclose()
    with pytest.raises(LogError, match='the channel is closed'): await channel.run(['x'])

async def test_a_store_that_fails_is_an_error_at_the_call_and_not_waited_for(tmp_path):
    path = tmp_path/'events.db'
    path.write_text('This is no database. ' * 100)
    for id in (None, 'job'):
        channel = Channel(str(path))
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(LogError, match='not a database'): await channel.run(['x'], id)
        await channel.aclose()

@on_every_log
async def test_a_channel_that_is_closed_while_a_run_begins_runs_nothing(logs):
    for turns in range(8):
        channel, source = opened(logs), Source('x')
        call = asyncio.create_task(channel.run(source, f'job {turns}'))
        for _ in range(turns): await asyncio.sleep(0)
        await channel.aclose()
        with suppress(LogError): await call
        await asyncio.gather(*channel._runs._tasks, return_exceptions=True)
        for _ in range(5): await asyncio.sleep(0)
        assert source.starts == source.closed and channel._runs._driven == {}

class Doubtful:
    "A log that fails to append what is `doubted`, `before` it is written or after; and to undo that, as long as it `fails`."
    def __init__(self, log, id, before, monkeypatch):
        self.append, self.key, self.before, self.fails, self.doubted = log.aappend, key_of(id), before, True, False
        monkeypatch.setattr(log, 'aappend', self)

    async def __call__(self, post):
        about = post.change and post.change.key == self.key
        if about and post.change.becomes and not self.doubted:
            self.doubted = True
            if not self.before: await self.append(post)
            raise LogError('the line broke')
        if about and post.change.becomes is None and not post.end and self.fails: raise LogError('it is broken still')
        return await self.append(post)

@pytest.mark.parametrize('fails', [False, True])
@on_every_log
async def test_a_claim_that_may_have_been_written_is_taken_back(logs, fails, monkeypatch):
    monkeypatch.setattr(module, 'RETRY', 0.01)
    channel, source = opened(logs), Source('x')
    await channel.run(Source('x'), 'another')  # whose lease shows that this process is alive
    log = Doubtful(channel.log, 'job', False, monkeypatch)
    log.fails = fails
    with pytest.raises(LogError, match='the line broke'): await channel.run(source, 'job')
    if fails:
        async with Client.asking(other(logs, channel).watch('job')) as client:  # it is told when that is known
            log.fails = False
            await client.over()
    assert await channel.log.arecord(key_of('job')) is None and source.starts == 0
    assert await shown(other(logs, channel), 'job', lost='Gone.') == [(None, 'Gone.'), ('close', 'lost')]
    assert await ended(await channel.run(['again'], 'job')) == 'done'
    await channel.aclose()

@on_every_log
async def test_what_is_taken_back_late_is_not_what_was_claimed_meanwhile(logs, monkeypatch):
    monkeypatch.setattr(module, 'RETRY', 0.01)
    channel, source = opened(logs), Source('x')
    await channel.run(Source('x'), 'another')
    log = Doubtful(channel.log, 'job', True, monkeypatch)
    with pytest.raises(LogError, match='the line broke'): await channel.run(['never'], 'job')
    run = await channel.run(source, 'job')
    log.fails = False
    async with asyncio.timeout(PATIENCE): await asyncio.gather(*channel._runs._tasks)
    assert await channel.stop('job') and await ended(run) == 'stopped'
    await channel.aclose()

async def test_a_loop_that_ends_while_a_run_is_claimed_leaves_no_claim(monkeypatch):
    async with SQLite() as logs:
        channel, claimed = opened(logs), threading.Event()
        await channel.run(Source('x'), 'another')
        append = channel.log.aappend
        async def slowly(post):
            id = await append(post)
            if post.change and post.change.key == key_of('job') and not claimed.is_set():
                claimed.set()
                await asyncio.sleep(10)
            return id
        monkeypatch.setattr(channel.log, 'aappend', slowly)
        async def begin():
            call = asyncio.create_task(channel.run(Source('x'), 'job'))
            await until(claimed.is_set, 0.001)
            assert not call.done()
        await asyncio.to_thread(asyncio.run, begin())
        assert await channel.log.arecord(key_of('job')) is None
        await channel.aclose()

async def test_a_stop_that_comes_with_the_claim_is_heeded_though_the_log_fails(monkeypatch):
    monkeypatch.setattr(module, 'RETRY', 0.01)
    channel, source, fails = Channel(), Source('x'), []
    monkeypatch.setattr(channel._runs, 'hear', lambda word: None)  # the word was said too early
    append, record = channel.log.aappend, channel.log.arecord
    async def stopping(post):
        id = await append(post)
        if (change := post.change) and change.becomes:
            await append(Post('', change=Change(change.key, change.becomes, Claim(True).by(change.becomes.owner))))
        return id
    async def failing(key):
        if channel._runs._driven and len(fails) < 3:
            fails.append(key)
            raise LogError('it is broken')
        return await record(key)
    monkeypatch.setattr(channel.log, 'aappend', stopping)
    monkeypatch.setattr(channel.log, 'arecord', failing)
    await channel.run(source, 'job')
    await until(lambda: source.closed == source.starts and not channel._runs._driven, 0.001)
    assert len(fails) == 3

@on_every_log
async def test_a_caller_that_is_cancelled_leaves_no_claim_without_a_run(logs, monkeypatch):
    "As the handler of a client that leaves, at each moment."
    channel = opened(logs)
    await channel.log.ready()
    append, calling = channel.log.aappend, []
    async def leaving(post):
        id = await append(post)
        if calling: calling.pop().cancel()
        await asyncio.sleep(0)
        return id
    monkeypatch.setattr(channel.log, 'aappend', leaving)
    for steps in (*range(12), None):
        source, id = Source('x'), f'job {steps}'
        call = asyncio.create_task(channel.run(source, id))
        if steps is None: calling.append(call)  # just when it is claimed
        else:
            for _ in range(steps): await asyncio.sleep(0)
            call.cancel()
        with suppress(asyncio.CancelledError): await call
        await asyncio.gather(*channel._runs._tasks)
        claimed = await channel.log.arecord(key_of(id)) is not None
        if claimed: await until(lambda: source.starts)
        assert await channel.stop(id) is claimed
        if claimed: assert await ended(await channel.run(['never'], id)) == 'stopped'


# What it publishes

@on_every_log
async def test_each_item_is_published_at_once_and_none_is_none(logs):
    channel, more = opened(logs), asyncio.Event()
    async def source():
        for value in ('<b>', None, b'<b>', {'n': 1}, P('x'), ServerSentEvent('named', event='note'), Frame(b'data: raw\n\n')): yield value
        await more.wait()
    run = await channel.run(source, 'job')
    expected = [(None, '<b>'), (None, '<b>'), (None, '{"n": 1}'), (None, '<p>x</p>'), ('note', 'named'), (None, 'raw')]
    async with Client.asking(other(logs, channel).watch('job')) as client:
        await until(lambda: len(EventParser().feed(client.body)) == 6, 0.001)
        assert [(event.event, event.data) for event in EventParser().feed(client.body)] == expected
    more.set()
    assert await ended(run) == 'done'

async def test_text_is_escaped_and_markup_is_not():
    channel = Channel()
    run = await channel.run(['<b>&', b'<b>', P('<i>'), ['<u>']], text=True)
    await run.wait()
    assert await kept(channel, run.id) == ['&lt;b&gt;&amp;', '<b>', '<p>&lt;i&gt;</p>', '["<u>"]']

@on_every_log
async def test_each_kind_of_source(logs):
    channel = opened(logs)
    def generator(): yield from '12'
    async def asyncgen():
        for value in '12': yield value
    async def later(): return asyncgen()
    async def itself(id):
        await channel.publish('1', id)
        await channel.publish('2', id)
    kinds = [generator, generator(), asyncgen, asyncgen(), later, later(), ['1', '2'], lambda: iter('12')]
    for n, kind in enumerate(kinds): assert await ended(await channel.run(kind, f'{n}')) == 'done'
    for n in range(len(kinds)): assert await kept(channel, f'{n}') == ['1', '2']
    assert await ended(await channel.run(lambda: itself('itself'), 'itself')) == 'done'
    assert await ended(await channel.run(itself('again'), 'again')) == 'done'
    assert await kept(channel, 'itself') == await kept(channel, 'again') == ['1', '2']

async def test_context_variables_are_those_of_the_caller_and_the_task_is_not():
    who = contextvars.ContextVar('who')
    who.set('ann')
    tasks = []
    async def source():
        tasks.append(asyncio.current_task())
        yield who.get()
    channel = Channel()
    run = await channel.run(source)
    who.set('bob')
    await run.wait()
    assert await kept(channel, run.id) == ['ann'] and tasks[0] is not asyncio.current_task()

async def test_a_source_that_never_waits_leaves_others_their_turns():
    channel, turns = Channel(), 0
    async def busy():
        for n in range(6000): yield n
    run = await channel.run(busy)
    while run.state == 'running':
        await asyncio.sleep(0)
        turns += 1
    await run.wait()
    assert turns > 4


# How it ends

@on_every_log
async def test_a_source_that_raises_fails_and_its_words_are_the_users(logs, caplog):
    channel = opened(logs)
    async def polite(error): return P(f'Sorry: {type(error).__name__}')
    def broken(error): raise ZeroDivisionError
    for failed, words in [(None, []), ('Sorry.', ['Sorry.']), (polite, ['<p>Sorry: KeyError</p>']), (lambda error: None, []),
                          (P('No.'), ['<p>No.</p>']), (broken, []), (lambda error: object(), [])]:
        caplog.clear()
        run = await channel.run(Source('so far', then=KeyError('secret')), failed=failed)
        assert await ended(run) == 'failed'
        for each in others(logs, channel):
            assert await shown(each, run.id) == [(None, word) for word in ['so far', *words]] + [('close', 'failed')]
        logged = [record for record in caplog.records if record.exc_info and 'secret' in str(record.exc_info[1])]
        assert len(logged) == 1 and logged[0].message == f'run {run.id!r} failed'
        assert len([record for record in caplog.records if 'no last words' in record.message]) == (not words and failed in (broken,) or
            failed is not None and not words and failed is not broken and failed(None) is not None)

@on_every_log
async def test_a_value_that_cannot_be_published_fails_the_run(logs):
    channel = opened(logs)
    for bad in (object(), ServerSentEvent('x', id='7'), Frame(b'data: 1\n\ndata: 2\n\n')):
        source = Source('so far', bad)
        run = await channel.run(source, failed='Sorry.')
        assert await ended(run) == 'failed' and source.closed == 1
        assert await kept(channel, run.id) == ['so far', 'Sorry.']

@on_every_log
async def test_a_source_that_awaits_what_was_cancelled_fails(logs, caplog):
    channel, errors = opened(logs), []
    async def source():
        yield 'so far'
        task = asyncio.create_task(asyncio.Event().wait())
        task.cancel()
        await task
    run = await channel.run(source, failed=lambda error: errors.append(error) or 'Sorry.')
    assert await ended(run) == 'failed' and isinstance(errors[0].__cause__, asyncio.CancelledError)
    assert await kept(channel, run.id) == ['so far', 'Sorry.']
    logged, = [record for record in caplog.records if record.exc_info]
    assert 'await task' in logging.Formatter().formatException(logged.exc_info)

async def test_a_source_that_hangs_after_it_has_failed_has_failed():
    channel = Channel()
    async def source():
        try: yield object()
        finally: await asyncio.Event().wait()
    assert await ended(await channel.run(source, 'job', failed='Sorry.')) == 'failed'
    assert await shown(channel, 'job') == [(None, 'Sorry.'), ('close', 'failed')]

async def test_what_a_source_raises_too_late_is_logged(caplog):
    channel = Channel()
    def plain():
        try:
            while True:
                yield 'x'
                time.sleep(0.01)
        finally: raise OSError('plain')
    async def slow():
        try:
            yield 'x'
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.5)
            raise OSError('async')
    for source, said in (plain, 'plain'), (slow, 'async'):
        run = await channel.run(source)
        await until(lambda: channel.log.count(frozenset([run.id]), 0), 0.001)
        await channel.stop(run.id)
        assert await ended(run) == 'stopped'
        def logged(): return [record for record in caplog.records if record.exc_info and str(record.exc_info[1]) == said]
        await until(logged, 0.01)
        assert [record.name for record in logged()] == ['fasthtml_sse']

async def cancelled(*about):
    task = asyncio.create_task(asyncio.Event().wait())
    task.cancel()
    await task
async def hangs(*about): await asyncio.Event().wait()
async def deaf(*about):
    with suppress(asyncio.CancelledError): await asyncio.Event().wait()
    await asyncio.sleep(0.3)
def raises(*about): raise asyncio.CancelledError

@pytest.mark.parametrize('words', [cancelled, hangs, deaf, raises])
@on_every_log
async def test_words_that_do_not_come_keep_no_run_from_its_end(logs, words, monkeypatch, caplog):
    monkeypatch.setattr(module, 'WORDS', 0.05, raising=False)
    channel = opened(logs)
    run = await channel.run(Source('so far', then=OSError()), 'fails', failed=words)
    assert await ended(run) == 'failed' and await shown(channel, 'fails') == [(None, 'so far'), ('close', 'failed')]
    run = await channel.run(Source('so far'), 'stops', stopped=words)
    await until(lambda: channel.log.count(frozenset(['stops']), 0), 0.001)
    await channel.stop('stops')
    assert await ended(run) == 'stopped'
    assert await shown(channel, 'nobody', lost=words) == [('close', 'lost')]
    said = [record.message.partition(':')[0] for record in caplog.records if 'last words' in record.message]
    assert said == ["run 'fails'", "run 'stops'", "run 'nobody'"]
    await until(lambda: channel._runs._keeper._worker is None, 0.001)

@on_every_log
async def test_words_are_made_once_whatever_is_tried(logs, monkeypatch):
    monkeypatch.setattr(module, 'RETRY', 0.01)
    channel, made = opened(logs), []
    async def stopped():
        made.append('made')
        return f'Stopped {len(made)}.'
    for fail in (False, True):
        if fail: fails = ends_that_fail(channel, monkeypatch)
        made.clear()
        run = await channel.run(Source('so far'), stopped=stopped)
        await until(lambda: channel.log.count(frozenset([run.id]), 0), 0.001)
        await channel.stop(run.id)
        assert await ended(run) == 'stopped' and await kept(channel, run.id) == ['so far', 'Stopped 1.'] and made == ['made']
    assert len(fails) == 3

@on_every_log
async def test_stop_closes_the_source_wherever_it_is_called(logs):
    channel = opened(logs)
    for each in others(logs, channel):
        source = Source('so far')
        run = await channel.run(source, stopped=lambda: P('Stopped.'))
        await until(lambda: run.state == 'running' and source.starts)
        await until(lambda: channel.log.count(frozenset([run.id]), 0), 0.001)
        assert await each.stop(run.id) is True
        assert await ended(run) == 'stopped' and source.closed == 1
        assert await shown(each, run.id) == [(None, 'so far'), (None, '<p>Stopped.</p>'), ('close', 'stopped')]
        assert [await one.stop(run.id) for one in others(logs, channel)] == [False] * len(others(logs, channel))
    assert await channel.stop('nobody') is False

@on_every_log
async def test_a_stop_is_recorded_before_it_is_answered_so_the_run_never_ends_otherwise(logs):
    channel = opened(logs)
    for n in range(20):
        async def source():
            for _ in range(n): await asyncio.sleep(0)
            yield 'x'
        run = await channel.run(source)
        for _ in range(n % 7): await asyncio.sleep(0)
        stopped = await other(logs, channel).stop(run.id)
        assert await ended(run) == ('stopped' if stopped else 'done')

@on_every_log
async def test_a_stop_that_comes_as_the_end_is_told_counts(logs, monkeypatch):
    channel, stopped = opened(logs), []
    append = channel.log.aappend
    async def stopping(post):
        if post.end and not stopped: stopped.append(await channel.stop('job'))
        return await append(post)
    monkeypatch.setattr(channel.log, 'aappend', stopping)
    run = await channel.run(['x'], 'job', stopped=lambda: 'Stopped.')  # which nobody else says
    assert await ended(run) == 'stopped' and stopped == [True] and await kept(channel, 'job') == ['x', 'Stopped.']

@on_every_log
async def test_what_a_source_yields_as_it_is_stopped_is_dropped(logs):
    channel = opened(logs)
    async def last_word():
        try:
            yield 'so far'
            await asyncio.Event().wait()
        except asyncio.CancelledError: yield 'one more'
    run = await channel.run(last_word)
    await until(lambda: channel.log.count(frozenset([run.id]), 0), 0.001)
    assert await channel.stop(run.id) and await ended(run) == 'stopped'
    assert await kept(channel, run.id) == ['so far']

@on_every_log
async def test_the_end_does_not_wait_for_a_source_that_does_not_stop(logs):
    channel, free = opened(logs), asyncio.Event()
    async def deaf():
        yield 'so far'
        while not free.is_set():
            with suppress(asyncio.CancelledError): await free.wait()
        yield 'too late'
    run = await channel.run(deaf, stopped='Stopped.')
    await until(lambda: channel.log.count(frozenset([run.id]), 0), 0.001)
    await other(logs, channel).stop(run.id)
    assert await ended(run) == 'stopped'
    free.set()
    await asyncio.sleep(0.05)
    assert await kept(channel, run.id) == ['so far', 'Stopped.']

async def test_who_stopped_it_ends_what_its_owner_does_not(monkeypatch):
    "As where the owner's loop is blocked."
    monkeypatch.setattr(module, 'PATIENCE', 0.05)
    monkeypatch.setattr(module.Running, 'stop', lambda self, why='stopped': None)
    async with SQLite() as logs:
        channel = opened(logs)
        run = await channel.run(Source('so far'), stopped='Stopped.')
        await until(lambda: channel.log.count(frozenset([run.id]), 0), 0.001)
        stopping = other(logs, channel)
        assert await stopping.stop(run.id) and await ended(await stopping.run(['x'], run.id)) == 'stopped'
        assert await kept(stopping, run.id) == ['so far', 'Stopped.']
        end_streams()

@on_every_log
async def test_a_shutdown_ends_it_as_lost(logs):
    channel, source = opened(logs), Source('so far')
    run = await channel.run(source, failed='never', stopped='never')
    await until(lambda: channel.log.count(frozenset([run.id]), 0), 0.001)
    end_streams()
    assert await ended(run) == 'lost' and source.closed == 1
    assert await shown(other(logs, channel), run.id, lost=P('Gone.')) == [(None, 'so far'), (None, '<p>Gone.</p>'), ('close', 'lost')]

@on_every_log
async def test_a_loop_that_ends_ends_its_runs(logs, caplog):
    channel, source, found = opened(logs), Source('so far'), []
    async def begin():
        found.append(await channel.run(source))
        await until(lambda: source.starts)
    await asyncio.to_thread(asyncio.run, begin())
    assert source.closed == 1
    assert [record.message.partition(':')[0] for record in caplog.records] == [f'run {found[0].id!r} is lost']
    for each in others(logs, channel): assert (await shown(each, found[0].id))[-1] == ('close', 'lost')

@on_every_log
async def test_a_loop_that_ends_while_an_end_is_told_does_not_lose_it(logs, monkeypatch):
    channel, telling, found = opened(logs), threading.Event(), []
    append = channel.log.aappend
    async def slowly(post):
        if post.end and not telling.is_set():
            telling.set()
            await asyncio.sleep(10)
        return await append(post)
    monkeypatch.setattr(channel.log, 'aappend', slowly)
    async def begin():
        found.append(await channel.run(['x'], stopped='never'))
        await until(telling.is_set, 0.001)
    await asyncio.to_thread(asyncio.run, begin())
    for each in others(logs, channel): assert await shown(each, found[0].id) == [(None, 'x'), ('close', 'done')]
    assert await channel.log.arecord(lease_of(found[0].owner)) is None

@on_every_log
async def test_a_closed_channel_ends_its_runs(logs):
    channel, source = opened(logs), Source('so far')
    watching = other(logs, channel) if logs.durable else None
    run = await channel.run(source, 'job')
    await until(lambda: source.starts)
    await channel.aclose()
    assert source.closed == 1 and channel._runs._driven == {}
    if watching: assert (await shown(watching, 'job'))[-1] == ('close', 'lost')
    assert run.state == 'lost'

@on_every_log
async def test_nothing_is_left_of_a_run_but_its_topic(logs):
    channel = opened(logs)
    for source in (['x'], Source('x', then=OSError())): await ended(await channel.run(source, None))
    run = await channel.run(Source())
    owner = run.owner
    if logs.durable: assert await channel.log.arecord(lease_of(owner)) is not None
    await channel.stop(run.id)
    await ended(run)
    assert await channel.log.arecord(key_of(run.id)) is None
    await until(lambda: channel._runs._keeper._worker is None, 0.001)
    assert await channel.log.arecord(lease_of(owner)) is None and not channel._runs._driven and not channel._runs._awaited

@on_every_log
async def test_nobody_but_the_run_ends_its_topic(logs):
    channel = opened(logs)
    run = await channel.run(Source('x'), 'job')
    await until(lambda: channel.log.count(frozenset(['job']), 0), 0.001)
    for each in others(logs, channel):
        for value in ('over', None):
            with pytest.raises(LogError, match="the topic 'job' is that of a run"): await each.publish(value, 'job', end=True)
            with pytest.raises(LogError, match="the topic 'job' is that of a run"): each.publish_sync(value, 'job', end=True)
    if type(logs) is SQLite:
        with sqlite3.connect(channel.log._store.path) as db:
            db.execute('begin')
            with pytest.raises(LogError, match="the topic 'job' is that of a run"): channel.publish_within(db, None, 'job', end=True)
    assert await channel.stop('job') and await ended(run) == 'stopped' and await kept(channel, 'job') == ['x']
    with pytest.raises(LogError, match="the topic 'job' has ended"): await channel.publish(None, 'job', end=True)

@on_every_log
async def test_a_source_that_ends_its_own_topic_fails(logs, caplog):
    channel = opened(logs)
    async def itself():
        await channel.publish('1', 'job')
        await channel.publish('last', 'job', end=True)
    run = await channel.run(itself, 'job', failed='Sorry.')
    assert await ended(run) == 'failed'
    for each in others(logs, channel):
        assert await shown(each, 'job') == [(None, '1'), (None, 'Sorry.'), ('close', 'failed')]
        assert (await each.run(itself, 'job')).state == 'failed'
    logged, = [record for record in caplog.records if record.exc_info]
    assert "the topic 'job' is that of a run" in str(logged.exc_info[1])

async def test_an_end_is_told_when_the_log_works_again(monkeypatch):
    monkeypatch.setattr(module, 'RETRY', 0.01)
    channel = Channel()
    fails = ends_that_fail(channel, monkeypatch)
    run = await channel.run(['x'])
    assert await ended(run) == 'done' and len(fails) == 3

@on_every_log
async def test_an_end_that_could_not_be_told_as_streams_were_ended_is_told_later(logs, monkeypatch):
    "The process goes on, and so does its log."
    monkeypatch.setattr(module, 'TICK', 0.01)
    channel, source, fails = opened(logs), Source('x'), [True]
    await channel.run(Source('x'), 'another')
    append, append_here = channel.log.aappend, channel.log.append
    async def failing(post):
        if post.end and fails: raise LogError('the disk is full')
        return await append(post)
    def failing_here(post):
        if post.end and fails: raise LogError('the disk is full')
        return append_here(post)
    monkeypatch.setattr(channel.log, 'aappend', failing)
    monkeypatch.setattr(channel.log, 'append', failing_here)
    run = await channel.run(source, 'job')
    await until(lambda: source.starts)
    end_streams()
    await until(lambda: source.closed)
    await asyncio.sleep(0.05)
    assert run.state == 'running'
    fails.clear()
    assert await ended(run) == 'lost' and (await shown(channel, 'job'))[-1] == ('close', 'lost')
    await until(lambda: not channel._runs._driven, 0.001)

@on_every_log
async def test_a_stop_and_then_a_shutdown_are_no_reason_for_a_warning(logs, monkeypatch, caplog):
    monkeypatch.setattr(module, 'PATIENCE', 0.1)
    channel = opened(logs)
    run = await channel.run(Source('x'), 'job', stopped='S')
    await channel.stop('job')
    stopping = list(channel._runs._tasks)
    await channel.aclose()
    await asyncio.gather(*stopping)
    assert run.state == 'stopped' and not [record for record in caplog.records if record.levelno >= logging.WARNING]


# Its state

@on_every_log
async def test_wait_works_in_any_loop_and_to_cancel_it_does_no_harm(logs):
    channel, more = opened(logs), asyncio.Event()
    async def source():
        yield 'x'
        await more.wait()
    run = await channel.run(source, 'job')
    waiting = [asyncio.create_task((await each.run(['never'], 'job')).wait()) for each in others(logs, channel) for _ in range(3)]
    in_thread = asyncio.create_task(asyncio.to_thread(asyncio.run, run.wait()))
    await asyncio.sleep(0.01)
    for task in waiting[::3]: task.cancel()
    await asyncio.sleep(0.01)
    assert run.state == 'running'
    more.set()
    async with asyncio.timeout(PATIENCE):
        results = await asyncio.gather(*waiting, in_thread, return_exceptions=True)
    assert [result for result in results if not isinstance(result, asyncio.CancelledError)] == ['done'] * (len(results) - len(waiting[::3]))

@on_every_log
async def test_who_waits_for_a_run_that_is_not_kept_any_more_is_told_that_it_is_lost(logs):
    channel = opened(logs, maxlen=2)
    run, waited = await channel.run(['x'], 'job'), Run('job', 'running', channel._runs)
    await until(lambda: not channel._runs._driven)
    for n in range(100 + 30 * logs.surely(2)): await channel.publish('y', f'topic {n}')
    assert run.state == await ended(run) == 'done'  # who has started it knows that
    if not logs.durable: assert waited.state == 'lost'
    for each in others(logs, channel): assert await ended(Run('job', 'running', each._runs)) == 'lost'
    assert await ended(waited) == waited.state == 'lost'

async def test_a_run_without_its_channel_keeps_its_state():
    run = Run('job', 'failed')
    assert (run.state, await run.wait(), repr(run)) == ('failed', 'failed', "Run('job', 'failed')")


# Watching

@on_every_log
async def test_what_is_no_run_is_told_lost_at_once_and_shows_nothing_else(logs):
    channel = opened(logs)
    ids = await publish(channel, 'private', topic='secret')
    await publish(channel, 'x', topic='over')
    await channel.publish('private too', 'over', end=True)
    for each in others(logs, channel):
        for id in ('nobody', 'secret', 'over'):
            for last in (None, ids[0], 'of-another-log-7'):
                for since in ('start', 'now', 'latest'):
                    words = [(None, 'Gone.'), ('close', 'lost')]
                    assert await shown(each, id, last, since=since, lost='Gone.') == words
        assert await shown(each, 'nobody') == [('close', 'lost')]
        assert await shown(each, 'nobody', lost=lambda: P('A function.')) == [(None, '<p>A function.</p>'), ('close', 'lost')]

@on_every_log
async def test_who_resumes_gets_what_it_lacks_and_one_close(logs):
    channel = opened(logs)
    run = await channel.run(list('abc'), 'job')
    await ended(run)
    entries = [entry async for entry in channel.subscribe('job', since='start')]
    for each in others(logs, channel):
        for n, entry in enumerate(entries):
            assert await shown(each, 'job', entry.id) == [*((None, text) for text in 'abc'[n+1:]), ('close', 'done')]
        assert await shown(each, 'job', since='now') == [('close', 'done')]
        assert await shown(each, 'job', since='latest') == [(None, 'c'), ('close', 'done')]

@on_every_log
async def test_a_run_that_is_not_kept_any_more_is_lost(logs):
    channel = opened(logs, maxlen=2)
    await ended(await channel.run(['x'], 'job'))
    for n in range(100 + 30 * logs.surely(2)): await channel.publish('y', f'topic {n}')
    for each in others(logs, channel): assert await shown(each, 'job', lost='Gone.') == [(None, 'Gone.'), ('close', 'lost')]
    assert await ended(await channel.run(['again'], 'job')) == 'done'

@pytest.mark.parametrize('known', [True, False])
@on_every_log
async def test_a_page_that_is_overtaken_by_the_end_is_told_all_the_same(logs, known):
    channel, more = opened(logs, maxlen=2), asyncio.Event()
    async def source():
        yield 'x'
        await more.wait()
    run = await channel.run(source, 'job')
    async with Client.asking(channel.watch('job', lost='Gone.', heartbeat_interval=None)) as client:
        await until(lambda: b'data: x' in client.body, 0.001)
        client.free.clear()
        await channel.publish('y', 'job')
        await asyncio.sleep(0.05)  # the response waits for its client
        more.set()
        assert await ended(run) == 'done'
        for n in range(100 + 30 * logs.surely(2)): await channel.publish('y', f'topic {n}')
        await settled(channel.log)
        if not known: channel.log._begin_anew(channel.log.end)  # as where its mirror could not follow
        client.free.set()
        await client.over()
        said = [(event.event, event.data) for event in EventParser().feed(client.body)]
        words = [('close', 'done')] if known else [(None, 'Gone.'), ('close', 'lost')]
        assert said[2][0] == 'gap' and said[3:] == words

@on_every_log
async def test_the_words_for_a_lost_run_are_made_when_it_is_lost_and_not_before(logs):
    channel, over, made = opened(logs), threading.Event(), []
    async def lost():
        made.append('made')
        await asyncio.sleep(0.02)
        return 'Gone.'
    async def begin():
        await channel.run(Source('x'), 'job')
        await asyncio.to_thread(over.wait)
    running = asyncio.create_task(asyncio.to_thread(asyncio.run, begin()))
    await until(lambda: channel._runs._driven, 0.001)
    pages = [asyncio.create_task(shown(each, 'job', lost=lost)) for each in others(logs, channel) for _ in range(2)]
    async with Client.asking(channel.watch('job', lost=lost)) as client:
        await until(lambda: b'data: x' in client.body, 0.001)
        client.leave()
    await until(lambda: sum(each.stats().readers for each in others(logs, channel)), 0.001)
    await asyncio.sleep(0.05)
    early = list(made)
    over.set()
    assert not early
    for page in pages: assert await page == [(None, 'x'), (None, 'Gone.'), ('close', 'lost')]
    assert len(made) == len(pages)
    await running

async def test_bad_words_for_a_page_are_an_error_where_they_are_given():
    channel = Channel()
    with pytest.raises(TypeError, match='a object is no data'): channel.watch('job', lost=object())
    with pytest.raises(ValueError, match="since must be 'now', 'start' or 'latest'"): channel.watch('job', since='yesterday')
    with pytest.raises(TypeError, match='a topic must be a str'): channel.watch(7)
    with pytest.raises(TypeError, match='not_before must be an id'): channel.watch('job', not_before=7)

ANSWERS = [lambda channel: channel.watch('job'), lambda channel: channel.response('job', 'else')]

@pytest.mark.parametrize('answer', [ANSWERS[0], pytest.param(ANSWERS[1], marks=pytest.mark.full)], ids=['watch', 'response'])
@on_every_log
async def test_a_page_that_watches_keeps_it_running_wherever_it_is_open(logs, answer, impatient):
    channel = opened(logs)
    run = await channel.run(Source('x'), 'job', unwatched=0.4)  # which is time enough to open it
    async with Client.asking(answer(other(logs, channel))) as client:
        await asyncio.sleep(0.9)
        assert run.state == 'running'
        client.leave()
    assert await ended(run) == 'stopped'

@on_every_log
async def test_nobody_watches_by_head_or_by_a_subscription(logs, impatient):
    channel = opened(logs)
    subscription = channel.subscribe('job')
    run = await channel.run(Source('x'), 'job', unwatched=0.1, stopped='Nobody was there.')
    reading = asyncio.create_task(anext(subscription))
    async def nothing(message): pass
    await channel.watch('job')({'type': 'http', 'method': 'HEAD', 'headers': [], 'query_string': b''}, None, nothing)
    await reading
    assert await ended(run) == 'stopped' and (await kept(channel, 'job'))[-1] == 'Nobody was there.'


# An owner that dies

async def claim_as_dead(log, id, claim=Claim(), beat='1'):
    "As a process does that dies then."
    await log.aappend(Post('', change=Change(lease_of('dead'), None, Record('dead', beat))))
    await log.aappend(Post(id, b'data: so far\n\n', change=Change(key_of(id), None, claim.by('dead'))))

@pytest.fixture(params=[SQLite], ids=['SQLite'])
async def shared(request):
    async with request.param() as logs: yield logs

async def test_a_run_whose_process_has_died_is_lost_to_all_who_wait(shared, hurry):
    channel = opened(shared)
    await claim_as_dead(channel.log, 'job')
    run = await other(shared, channel).run(['never'], 'job')
    assert run.state == 'running'
    pages = [shown(each, 'job', lost=f'Gone {n}.') for n, each in enumerate(others(shared, channel))]
    found = await asyncio.gather(ended(run), *pages)
    assert found == ['lost', *([(None, 'so far'), (None, f'Gone {n}.'), ('close', 'lost')] for n in range(2))]
    assert await channel.log.arecord(lease_of('dead')) is None and await channel.log.arecord(key_of('job')) is None

async def test_a_run_of_a_dead_process_that_was_stopped_is_stopped(shared, hurry):
    channel = opened(shared)
    await claim_as_dead(channel.log, 'job', Claim(True, 'data: Stopped.\n\n'))
    assert await shown(channel, 'job') == [(None, 'so far'), (None, 'Stopped.'), ('close', 'stopped')]

async def test_a_script_that_stops_a_run_ends_what_its_owner_does_not(shared):
    channel = opened(shared)
    await claim_as_dead(channel.log, 'job', Claim(stopped='data: Stopped.\n\n'))
    assert await asyncio.to_thread(asyncio.run, other(shared, channel).stop('job'))
    assert await shown(channel, 'job') == [(None, 'so far'), (None, 'Stopped.'), ('close', 'stopped')]

async def test_a_lease_that_changes_is_no_death(shared, hurry):
    channel = opened(shared)
    run = await channel.run(Source('x'), 'job')
    waiting = asyncio.create_task((await other(shared, channel).run(['never'], 'job')).wait())
    await asyncio.sleep(0.6)
    assert run.state == 'running' and not waiting.done()
    await channel.stop('job')
    assert await waiting == 'stopped'

async def test_an_owner_that_was_taken_for_dead_closes_its_source_and_says_so_once(shared, hurry, caplog):
    channel, source = opened(shared), Source('x')
    made = []
    run = await channel.run(source, 'job', failed=lambda error: made.append(error), stopped=lambda: made.append('stopped'))
    await until(lambda: channel.log.count(frozenset(['job']), 0), 0.001)
    taken = await channel.log.arecord(lease_of(run.owner))
    while True:  # its owner changes it meanwhile
        try: await channel.log.aappend(Post('', change=Change(lease_of(run.owner), taken, None)))
        except LogError: taken = await channel.log.arecord(lease_of(run.owner))
        else: break
    assert (await shown(other(shared, channel), 'job', lost='Gone.')) == [(None, 'x'), (None, 'Gone.'), ('close', 'lost')]
    await until(lambda: source.closed and not channel._runs._driven, 0.001)
    assert await ended(await channel.run(['again'], 'another')) == 'done'
    assert made == [] and len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1

async def test_an_owner_that_learns_at_its_next_append_that_it_was_taken_for_dead_says_so_once(shared, caplog):
    channel, made, closed = opened(shared), [], []
    async def ticks():
        try:
            while True:
                yield 'x'
                await asyncio.sleep(0.005)
        finally: closed.append('closed')
    run = await channel.run(ticks, 'job', failed=lambda error: made.append(error), stopped=lambda: made.append('stopped'))
    await until(lambda: channel.log.count(frozenset(['job']), 0), 0.001)
    await asyncio.to_thread(other(shared, channel)._runs._end_for, 'job', run.owner)
    await until(lambda: not channel._runs._driven, 0.001)
    assert await ended(run) == 'lost' and made == [] and closed == ['closed']
    logged, = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert logged.message.startswith("run 'job'") and not logged.exc_info

async def test_time_in_which_the_log_failed_is_no_silence(shared, hurry, monkeypatch):
    channel = opened(shared)
    await claim_as_dead(channel.log, 'job')
    lives = channel._runs._lives
    for _ in range(10):
        for _ in range(8): assert not await asyncio.to_thread(lives.is_dead, 'dead')
        lives.forget()
    now = [0.0]
    monkeypatch.setattr(module, 'monotonic', lambda: now[0])
    assert not lives.is_dead('dead')
    for _ in range(5):
        now[0] += 1000  # the machine sleeps
        assert not lives.is_dead('dead')


async def test_an_owner_that_could_not_write_has_its_turn_before_its_lease_is_taken(shared, hurry, monkeypatch):
    "As where somebody has locked the file, which can be read meanwhile."
    monkeypatch.setattr(module, 'KNOCK', 0.1)
    channel = opened(shared)
    await claim_as_dead(channel.log, 'job')
    append, free, wrote = channel.log.append, threading.Event(), threading.Event()
    def waiting(post):
        free.wait()
        id = append(post)
        wrote.set()
        return id
    monkeypatch.setattr(channel.log, 'append', waiting)
    run = await channel.run(['never'], 'job')
    end = asyncio.create_task(run.wait())
    await asyncio.sleep(0.5)
    free.set()
    await asyncio.to_thread(wrote.wait)
    await channel.log.aappend(Post('', change=Change(lease_of('dead'), Record('dead', '1'), Record('dead', '2'))))  # it is alive
    async with asyncio.timeout(PATIENCE): assert await end == 'lost'

# All of it together

STEPS = st.lists(st.sampled_from(['run', 'watch', 'stop', 'cut', 'restart', 'wait', 'turn', 'finish', 'fail']), max_size=14)

@pytest.mark.parametrize('kind', [Memory, SQLite])
@given(steps=STEPS)
@settings(max_examples=25, deadline=None)
def test_whatever_happens_every_watcher_gets_one_close_and_the_source_starts_once(kind, steps):
    async def play():
        async with kind() as logs:
            channels, starts, pages, go_on = [opened(logs)], [], [], asyncio.Queue()
            async def source():
                starts.append(1)
                for n in range(1000):
                    yield n
                    if await go_on.get() == 'fail': raise OSError
                    return
            async def page(last):
                "It comes back until it is told that it is over."
                closes = []
                while not closes:
                    async with Client.asking(channels[-1].watch('job', heartbeat_interval=None), last) as client:
                        cuts.append(client.leave)
                        await client.request
                        events = EventParser().feed(client.body)
                        closes = [event.data for event in events if event.event == 'close']
                        last = next((event.id for event in reversed(events) if event.id), last)
                return closes
            cuts, started = [], False
            for step in [*steps, 'watch']:
                if step == 'run':
                    await channels[-1].run(source, 'job')
                    started = True
                elif step == 'watch': pages.append(asyncio.create_task(page(None)))
                elif step == 'stop': await channels[-1].stop('job')
                elif step == 'cut' and cuts: cuts.pop()()
                elif step == 'restart' and logs.durable:
                    channels.append(Channel(logs.again()))
                    await channels[-2].aclose()
                elif step in ('finish', 'fail'): go_on.put_nowait(step)
                elif step == 'turn': await asyncio.sleep(0.002)
            if started: await channels[-1].stop('job')
            async with asyncio.timeout(PATIENCE): closes = await asyncio.gather(*pages)
            assert all(len(each) == 1 for each in closes) and len(starts) <= 1
            await channels[-1].aclose()
    logging.disable(logging.CRITICAL)
    try: asyncio.run(play())
    finally: logging.disable(logging.NOTSET)
