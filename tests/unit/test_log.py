"""One contract, for every log.

A fourth log passes it, and is one: subclass `Logs` in tests/support/logs.py (`open` makes a log object for the place of this
test, `durable` says whether another object for that place finds what was published, `clean_up` empties it), and add the
class to `KINDS` there.
"""
import asyncio, os, re, threading, time
from collections import deque

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from fasthtml_sse import Channel, Entry, EventParser, Gap, LogError, MemoryLog
from fasthtml_sse.broadcast.log import IN_ALL, SHARED, History
from fasthtml_sse.broadcast.store import Post
from fasthtml_sse.core.source import HEARTBEAT, LIMIT, TURN
from fasthtml_sse.testing import open_stream
from tests.support.asgi import Client
from tests.support.clock import PATIENCE, turns, until, virtual
from tests.support.logs import EACH, on_every_log, opened, publish, read, read_on, settled

pytestmark = pytest.mark.anyio


class Sleeper:
    "A reader that only counts how often it is woken."
    def __init__(self, *topics):
        self.topics = frozenset(topics) or None
        self.woken, self.called = 0, asyncio.Event()

    def wake(self, in_task=False):
        self.woken += 1
        self.called.set()


# Order and ids

@on_every_log
async def test_what_is_published_is_read_in_order_with_its_id_and_topic(logs):
    channel = opened(logs)
    subscription = channel.subscribe(after=await channel.tail())
    ids = [await channel.publish('one', 'a'), channel.publish_sync('two', 'b', event='named'), await channel.publish({'n': 3})]
    rests = ['data: one', 'event: named\ndata: two', 'data: {"n": 3}']
    async with asyncio.timeout(PATIENCE): got = [await anext(subscription) for _ in ids]
    assert [(entry.id, entry.topic) for entry in got] == list(zip(ids, ['a', 'b', '']))
    assert [entry.frame for entry in got] == [f'id: {id}\n{rest}\n\n'.encode() for id, rest in zip(ids, rests)]
    assert all(isinstance(entry, Entry) for entry in got)

@on_every_log
async def test_ids_are_opaque_words_and_no_two_are_the_same(logs):
    channel = opened(logs)
    ids = [await channel.tail(), *await publish(channel, *'abcdefghijkl'), *await publish(channel, *'abc', topic='other')]
    assert all(re.fullmatch('[A-Za-z0-9.-]+', id) for id in ids) and len(set(ids)) == len(ids)

@on_every_log
async def test_reading_goes_on_after_each_id_without_a_gap(logs):
    channel = opened(logs)
    ids = [await channel.tail(), *await publish(channel, *'abcdefg')]
    subscriptions = [channel.subscribe(after=id) for id in ids]
    for n, subscription in enumerate(subscriptions): assert await read(subscription, 7 - n) == list('abcdefg'[n:])
    await publish(channel, 'live')
    for subscription in subscriptions: assert await read(subscription) == ['live']

@on_every_log
async def test_the_end_of_an_empty_log_is_a_known_id(logs):
    channel = opened(logs)
    tail = await channel.tail()
    assert tail == await channel.tail()
    subscription = channel.subscribe(after=tail)
    await publish(channel, 'first')
    assert await read(subscription) == ['first'] == await read_on(channel, after=tail)

@on_every_log
async def test_the_tail_is_the_last_id_and_what_is_published_later_follows_it(logs):
    channel = opened(logs)
    for text in 'abc':
        id, = await publish(channel, 'before')
        tail = await channel.tail()
        assert tail == id
        await publish(channel, text)
        assert (await read_on(channel, after=tail))[0] == text

@on_every_log
async def test_the_end_stays_a_known_id_when_everything_else_was_trimmed(logs):
    channel = opened(logs, 2)
    for n in range(logs.surely(2) * 3):
        tail = await channel.tail()
        assert await read_on(channel, after=tail) == []

@on_every_log
async def test_without_an_id_reading_begins_with_what_is_published_then(logs):
    channel = opened(logs)
    await publish(channel, 'before')
    await channel.log.ready()
    for n in range(5):
        await publish(channel, 'just before')
        subscription = channel.subscribe()
        await publish(channel, f'after {n}', 'it')
        assert await read(subscription, 2) == [f'after {n}', 'it']

@on_every_log
async def test_statistics_tell_the_end_and_what_is_read(logs):
    channel = opened(logs)
    subscription = channel.subscribe(after=await channel.tail())
    ids = await publish(channel, *'abc')
    assert await read(subscription, 3) == list('abc')
    stats = channel.stats()
    assert (stats.readers, stats.lag, stats.last_id, stats.error) == (1, 0, ids[-1], None)


# Gaps

@on_every_log
async def test_who_has_missed_something_is_told_once_and_goes_on_at_the_end(logs):
    channel = opened(logs, 3)
    start = await channel.tail()
    ids = await publish(channel, *map(str, range(logs.surely(3))))
    subscription = channel.subscribe(after=start)
    assert await read(subscription) == [Gap(start, ids[-1])]
    await publish(channel, 'a', 'b')
    assert await read(subscription, 2) == ['a', 'b']

@on_every_log
async def test_no_gap_while_nothing_of_what_follows_is_gone(logs):
    channel = opened(logs, 5)
    for n in range(logs.surely(5)): id, = await publish(channel, str(n))
    await publish(channel, *'abcd')
    assert await read_on(channel, after=id) == list('abcd')  # and the last makes five

@on_every_log
async def test_the_gap_begins_exactly_where_something_is_gone(logs):
    channel, made = opened(logs, 4), logs.surely(4) + 3
    ids = [await channel.tail(), *await publish(channel, *map(str, range(made)))]
    found = [await read(channel.subscribe(after=id)) for id in ids[:-1]]
    told = [isinstance(first, Gap) for first, in found]
    kept = made - sum(told)
    assert told == [True] * (made - kept) + [False] * kept and 4 <= kept <= 4 + logs.slack
    assert [first for first, in found[made - kept:]] == [str(n) for n in range(made - kept, made)]

GARBAGE = [
    '',
    'x' * 10_000,
    'NaN',
    'ид-١',
    '\n',
    '\0',
    '---',
    '1',
    'ffffffffffff-1',
    '-1',
    '0-0',
    '1526919030474-55',
    '1e3',
    '9' * 5000,
    'a\nb-1',
    "' or 1=1 --",
]
SPOILT = [
    '{}\n',
    ' {}',
    '{} ',
    '{}\0',
    '{}.untold',
    '{}.5',
    '{0}{0}',
    '{0}-{0}',
    '{head}-0{number}',
    '{head}-+{number}',
    '{head}--{number}',
    '{head}- {number}',
    '{head}-١',
    '{head}-²',
    '{head}-1_0',
    '{head}-999999999999999999',
    '{head}-99999999999999999999',
    '{head}-' + '9' * 5000,
    '{head}-',
    '{head}',
    '-{number}',
    '{number}',
    '{head}X-{number}',
    '0{head}-{number}',
]

@on_every_log
async def test_what_is_no_id_of_the_log_is_told_as_a_gap(logs):
    channel = opened(logs)
    first, id = await publish(channel, *'ab')
    for spoilt in [*GARBAGE, *SPOILT]:
        head, _, number = id.rpartition('-')
        if spoilt in SPOILT: spoilt = spoilt.format(id, head=head, number=number)
        subscription = channel.subscribe(after=spoilt)
        assert await read(subscription) == [Gap(spoilt, id)]
        id, = await publish(channel, 'c')
        assert await read(subscription) == ['c']
    assert (await read_on(channel, after=first))[:2] == ['b', 'c']

@on_every_log
async def test_an_id_of_an_earlier_log_is_told_as_a_gap(logs):
    async with type(logs)() as others:
        foreign = (await publish(opened(others), *'abc'))[-1]
        await asyncio.sleep(0.002)  # ids of Redis tell milliseconds
        channel = opened(logs)
        await publish(channel, *'abcdef')
        assert await read(channel.subscribe(after=foreign)) == [Gap(foreign, await channel.tail())]

@on_every_log
async def test_a_slow_reader_that_is_overtaken_is_told_once_each_time(logs):
    channel = opened(logs, 3)
    subscription = channel.subscribe(after=await channel.tail())
    for _ in range(3):
        id, = await publish(channel, 'seen')
        assert await read(subscription) == ['seen']
        ids = await publish(channel, *map(str, range(logs.surely(3))))
        await settled(channel.log)  # a copy may still have what is gone, and then gives it
        assert await read(subscription) == [Gap(id, ids[-1])]
    await publish(channel, 'x')
    assert await read(subscription) == ['x']

@on_every_log
async def test_who_keeps_up_is_never_told_of_a_gap(logs):
    channel = opened(logs, 1)
    subscription = channel.subscribe(after=await channel.tail())
    for n in range(3 * logs.surely(1)):
        await publish(channel, str(n))
        assert await read(subscription) == [str(n)]


# Topics

@on_every_log
async def test_topics_are_tags_on_one_sequence(logs):
    channel = opened(logs)
    start, topics = await channel.tail(), 'abcabcaabbcc'
    for n, topic in enumerate(topics): await publish(channel, f'{topic}{n}', topic=topic)
    for wanted in ['a', 'b', 'ab', 'ca', 'abc']:
        expected = [f'{topic}{n}' for n, topic in enumerate(topics) if topic in wanted]
        assert await read(channel.subscribe(*wanted, after=start), len(expected)) == expected
    assert await read_on(channel, after=start) == [f'{topic}{n}' for n, topic in enumerate(topics)]

@on_every_log
async def test_one_id_serves_to_resume_other_topics(logs):
    channel = opened(logs)
    _, middle, *_ = [await channel.publish(text, topic) for text, topic in ['1a', '2b', '3a', '4b']]
    assert await read_on(channel, 'a', after=middle) == ['3'] and await read_on(channel, 'b', after=middle) == ['4']
    assert await read_on(channel, 'never heard of', after=middle) == []

@on_every_log
async def test_the_topic_without_a_name_is_one_like_others(logs):
    channel = opened(logs)
    start = await channel.tail()
    await publish(channel, 'named', topic='a')
    await publish(channel, 'bare')
    assert await read_on(channel, '', after=start) == ['bare'] and await read_on(channel, 'a', after=start) == ['named']

ANY_TEXT = [
    'größe',
    '日本',
    '🎉',
    'a b',
    'a:b',
    'a*',
    '[a-z]?',
    "'; drop table events; --",
    'x' * 1000,
    'a\nb',
    'A',
    'a',
    'é',
    'e\u0301',
    '.',
]

@on_every_log
async def test_topics_may_be_any_text(logs):
    channel = opened(logs)
    start = await channel.tail()
    for topic in ANY_TEXT: await channel.publish(f'for {topic!r}', topic)
    for topic in ANY_TEXT:
        async with asyncio.timeout(PATIENCE): entry = await anext(channel.subscribe(topic, after=start))
        assert entry.topic == topic and repr(topic).encode() in entry.frame
        assert await read_on(channel, topic, after=entry.id) == []

@pytest.mark.parametrize('topic', ['\0', 'a\0b', '\ud800'], ids=ascii)
@on_every_log
async def test_a_topic_that_a_log_cannot_carry_is_refused_and_never_lost(logs, topic):
    channel = opened(logs)
    start = await channel.tail()
    try: await channel.publish('x', topic)
    except ValueError: assert await channel.tail() == start
    else: assert await read(channel.subscribe(topic, after=start)) == ['x']

@on_every_log
async def test_a_busy_topic_makes_no_gap_for_a_quiet_one(logs):
    channel = opened(logs, 3)
    start = await channel.tail()
    await publish(channel, 'quiet', topic='quiet')
    await publish(channel, *map(str, range(logs.surely(3) + 5)), topic='busy')
    assert await read_on(channel, 'quiet', after=start) == ['quiet']
    assert [type(found) for found in await read_on(channel, 'busy', after=start)] == [Gap]
    for topics in [('quiet', 'busy'), ()]:
        assert [type(found) for found in await read_on(channel, *topics, after=start)] == [Gap]

@on_every_log
async def test_all_topics_together_keep_ten_times_as_much_and_the_oldest_go_first(logs):
    channel, most = opened(logs, 2), IN_ALL * 2
    start = await channel.tail()
    ids = [await channel.publish(str(n), f'topic {n}') for n in range(most)]
    assert await read(channel.subscribe(after=start), most) == [str(n) for n in range(most)]
    for n in range(most, most + logs.slack * IN_ALL + 3): ids.append(await channel.publish(str(n), f'topic {n}'))
    assert await read(channel.subscribe(after=start)) == [Gap(start, ids[-1])] == await read(channel.subscribe('topic 0', after=start))
    assert await read(channel.subscribe(after=ids[-most - 1]), most) == [str(n) for n in range(len(ids) - most, len(ids))]
    last = len(ids) - 1
    assert await read(channel.subscribe(f'topic {last - most + 1}', after=ids[-most - 1])) == [str(last - most + 1)]

@on_every_log
async def test_a_topic_that_was_forgotten_and_begins_again_tells_who_missed_what_it_had(logs):
    channel = opened(logs, 1)
    before = await channel.tail()
    await publish(channel, 'lost', topic='mine')
    for n in range(IN_ALL * (logs.slack + 1) * 2): await channel.publish('x', f'job {n}')
    id, = await publish(channel, 'new', topic='mine')
    assert await read(channel.subscribe('mine', after=before)) == [Gap(before, id)]

@on_every_log
async def test_a_reader_that_keeps_up_is_not_told_when_other_topics_are_trimmed_and_forgotten(logs):
    channel = opened(logs, 1)
    await publish(channel, 'old', topic='mine')
    subscription = channel.subscribe('mine', after=await channel.tail())
    step = asyncio.create_task(read(subscription))
    async with Client.asking(channel.response('mine', heartbeat_interval=None)) as client:
        await until(lambda: channel.log._readers, 0.001)
        client.free.clear()  # a client that takes nothing has still missed nothing
        for n in range(IN_ALL * (logs.slack + 1) * 3):
            await channel.publish('x', f'job {n}')
            await settled(channel.log)  # who comes to them when all is gone cannot know whose they were
        id, = await publish(channel, 'new', topic='mine')
        assert await step == ['new']
        client.free.set()
        await until(lambda: len(client.sent) > 1, 0.001)
        assert client.sent[1] == f'id: {id}\ndata: new\n\n'.encode()

@on_every_log
async def test_a_publish_wakes_only_the_readers_of_its_topic(logs):
    channel = opened(logs)
    log, sleepers = channel.log, {topics: Sleeper(*topics) for topics in ['a', 'b', 'ab', 'bc', '']}
    await log.ready()
    for sleeper in sleepers.values(): log.add(sleeper)
    try:
        await publish(channel, 'x', topic='a')
        async with asyncio.timeout(PATIENCE):
            for topics in ('a', 'ab', ''): await sleepers[topics].called.wait()
        assert {topics: sleeper.woken for topics, sleeper in sleepers.items()} == {'a': 1, 'b': 0, 'ab': 1, 'bc': 0, '': 1}
    finally:
        for sleeper in sleepers.values(): log.discard(sleeper)

@on_every_log
async def test_who_wakes_finds_what_it_was_woken_for(logs):
    channel = opened(logs)
    log, sleeper = channel.log, Sleeper('a')
    await log.ready()
    log.add(sleeper)
    try:
        position = log.end
        for n in range(20):
            sleeper.called.clear()
            await publish(channel, str(n), topic='a')
            async with asyncio.timeout(PATIENCE): await sleeper.called.wait()
            batch = log.read(frozenset('a'), position)
            assert [entry.frame.splitlines()[1] for entry in batch.entries] == [f'data: {n}'.encode()]
            position = batch.end
    finally: log.discard(sleeper)


# Life

@on_every_log
async def test_a_step_that_is_cancelled_loses_nothing(logs):
    channel = opened(logs)
    subscription = channel.subscribe(after=await channel.tail())
    for n in range(10):
        step = asyncio.create_task(anext(subscription))
        await turns(n)
        if n % 3 == 0: step.cancel()
        published = asyncio.create_task(channel.publish(str(n)))
        await turns(n % 4)
        step.cancel()
        await asyncio.wait({step, published})
        got = [] if step.cancelled() else [step.result().frame]
        async with asyncio.timeout(PATIENCE): frame, = got or [(await anext(subscription)).frame]
        assert frame.endswith(f'data: {n}\n\n'.encode())

@on_every_log
async def test_closing_ends_who_reads_and_refuses_what_is_published_later(logs):
    channel = opened(logs)
    after = await channel.tail()
    waiting, idle = channel.subscribe(after=after), channel.subscribe('a', after=after)
    step = asyncio.create_task(anext(waiting, 'over'))
    async with asyncio.timeout(PATIENCE), Client.asking(channel.response(heartbeat_interval=None)) as client:
        await channel.aclose()
        assert await step == 'over' and [entry async for entry in idle] == []
        assert [entry async for entry in channel.subscribe()] == []
        await client.over()
    assert client.sent[-1] == b'' and client.body == f'id: {after}\n\n'.encode()
    with pytest.raises(LogError): await channel.publish('x')
    with pytest.raises(LogError): channel.publish_sync('x')
    await channel.aclose()

@on_every_log
async def test_a_bad_value_is_not_in_the_log(logs):
    channel = opened(logs)
    start = await channel.tail()
    for bad in (object(), None, float('nan')):
        with pytest.raises((TypeError, ValueError)): await channel.publish(bad)
        with pytest.raises((TypeError, ValueError)): channel.publish_sync(bad)
    assert await channel.tail() == start

@on_every_log
async def test_publishing_in_the_thread_of_a_loop_that_reads_does_not_deadlock(logs):
    channel = opened(logs)
    subscription = channel.subscribe(after=await channel.tail())
    step = asyncio.create_task(read(subscription, 50))
    for n in range(50):
        if n % 10 == 0: await asyncio.sleep(0)
        channel.publish_sync(str(n))
    assert await step == [str(n) for n in range(50)]

@on_every_log
async def test_threads_and_loops_publish_and_read_at_once_and_all_read_the_same(logs):
    writers, each, channel = 3, 40, opened(logs)
    after, got, ready = await channel.tail(), {}, threading.Barrier(2 * writers)
    async def reading(name, *topics):
        want = sorted(f'{w} {n}' for w in range(2 * writers) for n in range(each) if not topics or str(w % 2) in topics)
        got[name] = await read(channel.subscribe(*topics, after=after), len(want))
        assert sorted(got[name]) == want
    async def in_a_loop(w):
        readers = [asyncio.create_task(reading((w, topics), *topics)) for topics in ((), ('0',), ('0', '1'))]
        await asyncio.to_thread(ready.wait, PATIENCE)
        for n in range(each): await channel.publish(f'{w} {n}', str(w % 2))
        await asyncio.gather(*readers)
    def in_a_thread(w):
        ready.wait(PATIENCE)
        for n in range(each): channel.publish_sync(f'{w} {n}', str(w % 2))
    in_loops = [asyncio.to_thread(asyncio.run, in_a_loop(w)) for w in range(writers)]
    in_threads = [asyncio.to_thread(in_a_thread, w) for w in range(writers, 2 * writers)]
    await asyncio.gather(*in_loops, *in_threads)
    in_order = got[0, ()]
    for (_, topics), found in got.items():
        assert found == [text for text in in_order if not topics or str(int(text[0]) % 2) in topics]
    for w in range(2 * writers):
        assert [text for text in in_order if text.startswith(f'{w} ')] == [f'{w} {n}' for n in range(each)]
    assert await read_on(channel, after=after) == in_order

@on_every_log
async def test_readers_come_and_go_while_others_publish(logs):
    channel = opened(logs)
    after = await channel.tail()
    def write():
        for n in range(150):
            channel.publish_sync(str(n), str(n % 3))
            time.sleep(0)
    writing, found = asyncio.create_task(asyncio.to_thread(write)), []
    while len(found) < 150:
        async with channel.subscribe(after=after) as subscription:
            async with asyncio.timeout(PATIENCE): entry = await anext(subscription)
            assert isinstance(entry, Entry)
            found.append(entry.frame.splitlines()[1].decode().removeprefix('data: '))
            after = entry.id
    await writing
    assert found == [str(n) for n in range(150)]


# Sizes

@on_every_log
async def test_events_larger_than_a_batch_pass(logs):
    channel, texts = opened(logs), ['small', 'x' * (3 * LIMIT), 'y\n' * LIMIT, 'z' * LIMIT, 'small again']
    start = await channel.tail()
    await publish(channel, *texts)
    assert await read_on(channel, after=start) == texts

@on_every_log
async def test_more_than_a_batch_is_caught_up_with(logs):
    channel, texts = opened(logs), [f'{n}' * 1000 for n in range(150)]
    start = await channel.tail()
    ids = await publish(channel, *texts)
    assert sum(map(len, texts)) > 4 * LIMIT
    assert await read(channel.subscribe(after=start), 150) == texts
    assert await read_on(channel, after=ids[74]) == texts[75:]

@on_every_log
async def test_thousands_of_events_are_caught_up_with_in_each_process(logs):
    channel, texts = opened(logs), [str(n) for n in range(1100)]
    start = await channel.tail()
    ids = [await channel.publish(text, 'rare' if n % 1000 == 50 else 'often') for n, text in enumerate(texts)]
    for each in [channel, *([Channel(logs.again())] if logs.durable else [])]:
        assert await read(each.subscribe(after=start), 1100) == texts
        assert await read(each.subscribe('rare', after=start), 2) == ['50', '1050']
        assert await read(each.subscribe('often', after=ids[49]), 1048) == [text for text in texts[50:] if text not in ('50', '1050')]
        async with open_stream(each.response('rare', 'nothing'), '/', last_event_id=start) as s:
            assert [(await s.next(timeout=PATIENCE)).data for _ in range(2)] == ['50', '1050']

@pytest.mark.parametrize('text', ['', '\n', '\n\n', ' ', ' leading', ':', 'id: 7', 'größe 🎉', 'a\u2028b', '\0', '\ufeff'])
@on_every_log
async def test_what_is_read_is_what_was_published(logs, text):
    channel = opened(logs)
    start = await channel.tail()
    await publish(channel, text)
    assert await read_on(channel, after=start) == [text]


# Other processes

@on_every_log
async def test_a_log_that_is_opened_again_goes_on_or_tells_that_it_cannot(logs):
    channel = opened(logs)
    ids = [await channel.tail(), *await publish(channel, *'abcd')]
    await channel.aclose()
    later = Channel(logs.again())
    if not logs.durable:
        assert await read(later.subscribe(after=ids[1])) == [Gap(ids[1], await later.tail())] and await later.tail() not in ids
        return
    assert await later.tail() == ids[-1]
    for n, id in enumerate(ids): assert await read_on(later, after=id) == list('abcd'[n:]) + ['the last'] * n
    assert not {await later.publish('e')} & set(ids)

@on_every_log
async def test_an_empty_log_that_is_opened_again_still_knows_its_end(logs):
    before = await opened(logs).tail()
    later = Channel(logs.again())
    await publish(later, 'x')
    assert await read(later.subscribe(after=before)) == (['x'] if logs.durable else [Gap(before, await later.tail())])

@on_every_log
async def test_two_that_share_a_log_read_the_same_in_the_same_order(logs):
    one, two = opened(logs), Channel(logs.again())
    after = [await one.tail(), await two.tail()]
    async def write(channel, name):
        for n in range(30): await channel.publish(f'{name} {n}', name)
    await asyncio.gather(write(one, 'one'), write(two, 'two'))
    if not logs.durable:
        for channel, id, name in zip((one, two), after, ('one', 'two')):
            assert await read_on(channel, after=id) == [f'{name} {n}' for n in range(30)]
        return
    assert after[0] == after[1]
    found, same = [await read(channel.subscribe(after=after[0]), 60) for channel in (one, two)]
    assert found == same and len(set(found)) == 60
    for name in ('one', 'two'): assert [text for text in found if text.startswith(name)] == [f'{name} {n}' for n in range(30)]
    assert await read(one.subscribe('two', after=after[0]), 30) == [f'two {n}' for n in range(30)]

@on_every_log
async def test_who_waits_hears_what_another_process_publishes(logs):
    one, two = opened(logs), Channel(logs.again())
    subscription = one.subscribe(after=await one.tail())
    await two.tail()
    for text in 'abc':
        step = asyncio.create_task(read(subscription))
        await until(lambda: one.log._readers, 0.001)
        await (two if logs.durable else one).publish(text)
        assert await step == [text]

@on_every_log
async def test_an_id_that_another_process_gave_out_just_now_makes_no_gap(logs):
    one = opened(logs)
    two = Channel(logs.again()) if logs.durable else one
    await one.tail(), await two.tail()
    for n in range(20):
        id = await one.publish(f'a {n}')
        subscription = two.subscribe(after=id)
        await one.publish(f'b {n}')
        assert await read(subscription) == [f'b {n}']
        tail = await one.tail()
        async with open_stream(two.response(), '/', last_event_id=tail) as s:
            await one.publish(f'c {n}')
            assert (await s.next(timeout=PATIENCE)).data == f'c {n}' and s.raw.startswith(f'id: {tail}\n\n'.encode())

async def test_a_process_that_was_forked_begins_a_log_of_its_own():
    channel = Channel(MemoryLog())
    before = await publish(channel, 'of the parent')
    reading, writing = os.pipe()
    if not (child := os.fork()):
        try:
            id = channel.publish_sync('of the child')
            os.write(writing, f'{channel.log.position(before[0])} {id} {channel.log.position(id) is not None}'.encode())
        finally: os._exit(0)
    await asyncio.to_thread(os.waitpid, child, 0)
    known, id, own = os.read(reading, 1000).decode().split()
    for fd in (reading, writing): os.close(fd)
    assert known == 'None' and own == 'True' and channel.log.position(id) is None
    assert await read_on(channel, after=before[0]) == []


# One round of waking

async def test_a_burst_wakes_each_reader_once():
    log, sleepers = MemoryLog(), [Sleeper('a', 'b'), Sleeper('a'), Sleeper()]
    for sleeper in sleepers: log.add(sleeper)
    for topic in 'aabbab': log.append(Post(topic, b'data: x\n\n'))
    for sleeper in sleepers: await sleeper.called.wait()
    await turns(3)
    assert [sleeper.woken for sleeper in sleepers] == [1, 1, 1]
    for sleeper in sleepers: log.discard(sleeper)

async def test_a_round_over_many_readers_gives_others_their_turn(clock):
    log, order = MemoryLog(), []
    class Slow(Sleeper):
        def wake(self, in_task):
            clock.now += TURN
            order.append('woken')
            super().wake()
    sleepers = [Slow() for _ in range(5)]
    for sleeper in sleepers: log.add(sleeper)
    log.append(Post('', b'data: x\n\n'))
    for _ in range(10):
        order.append('turn')
        await asyncio.sleep(0)
    assert order.count('woken') == 5 and 'woken woken' not in ' '.join(order)
    for sleeper in sleepers: log.discard(sleeper)

async def test_a_reader_that_fails_does_not_keep_the_others_asleep():
    log, errors = MemoryLog(), []
    class Bad(Sleeper):
        def wake(self, in_task):
            super().wake()
            raise LookupError('woken')
    sleepers = [Bad(), Sleeper(), Bad(), Sleeper(), Bad()]
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()
    loop.set_exception_handler(lambda loop, context: errors.append(context['exception']))
    try:
        for sleeper in sleepers: log.add(sleeper)
        log.append(Post('', b'data: x\n\n'))
        for sleeper in sleepers: await sleeper.called.wait()
        log.append(Post('', b'data: x\n\n'))
        await turns(20)
    finally: loop.set_exception_handler(handler)
    assert [sleeper.woken for sleeper in sleepers] == [2] * 5 and list(map(type, errors)) == [LookupError] * 6
    for sleeper in sleepers: log.discard(sleeper)

async def test_a_loop_that_was_closed_with_readers_in_it_disturbs_no_publisher():
    log = MemoryLog()
    async def leave():
        for topics in (['a'], []): log.add(Sleeper(*topics))
    await asyncio.to_thread(asyncio.run, leave())
    for n in range(3): log.append(Post('a', b'data: x\n\n'))
    async with asyncio.timeout(PATIENCE): assert isinstance(await anext(Channel(log).subscribe(after=log.id(2))), Entry)
    assert not log._readers

def test_batches_for_others_are_bounded():
    log = MemoryLog()
    for n in range(2 * SHARED): log.append(Post('', b'data: x\n\n'))
    for n in range(2 * SHARED): log.read(None, n)
    assert len(log.batches) == SHARED

async def test_what_is_gone_leaves_nothing_behind():
    log = MemoryLog(2)
    for n in range(1000): log.append(Post(f'topic {n}', b'data: x\n\n'))
    for n in range(1000): log.append(Post('one', b'data: x\n\n'))
    history = log._history
    assert len(history._entries) == IN_ALL * 2 and len(history._topics) == IN_ALL * 2 - 1
    assert len(history._sequence) < 200


# Finalizers, without waiting for the collector to come by

def data_in(log): return [entry.frame.splitlines()[1] for entry in log.read(None, 0).entries]

def test_who_interrupts_a_change_comes_behind_it(monkeypatch):
    log, add, inner = MemoryLog(), History.add, [b'data: inner\n\n']
    def interrupted(self, position, entry):
        if inner: log.append(Post('', inner.pop()))
        add(self, position, entry)
    monkeypatch.setattr(History, 'add', interrupted)
    log.append(Post('', b'data: outer\n\n'))
    assert data_in(log) == [b'data: outer', b'data: inner']

def test_who_interrupts_the_end_of_a_section_is_not_left_for_the_next_one():
    log, inner = MemoryLog(), [b'data: inner\n\n']
    lock = log._section._lock
    class Interrupted:
        acquire = lock.acquire
        def release(self):
            if inner: log._section.at_end(lambda data=inner.pop(): log.append(Post('', data)))
            lock.release()
    log._section._lock = Interrupted()
    log.append(Post('', b'data: outer\n\n'))
    assert data_in(log) == [b'data: outer', b'data: inner']


# Everything at once: clients that come, drop at any byte, and resume

TOPICS = 'abc'

class World:
    "What was published in a log, and what is left of it by its rule."
    def __init__(self, log, start, maxlen):
        self.channel, self.log, self.maxlen = Channel(log), log, maxlen
        self.mirrored = type(log) is not MemoryLog
        self.numbers, self.topics = {start: 0}, [None]  # by id; by number
        self.kept = {}  # numbers, by topic
        self.gone = {}  # when each went, counted in events
        self.forgotten = []  # when a topic went, and up to where

    @property
    def end(self): return len(self.topics) - 1

    async def publish(self, topic, size=0):
        n = self.end + 1
        self.topics.append(topic)
        self.numbers[await self.channel.publish(f'{n} ' + 'x' * size, topic)] = n
        self.kept.setdefault(topic, deque()).append(n)
        if len(self.kept[topic]) > self.maxlen: self.drop(topic)
        if sum(map(len, self.kept.values())) > IN_ALL * self.maxlen: self.drop(min(self.kept, key=lambda t: self.kept[t][0]))

    def drop(self, topic):
        n = self.kept[topic].popleft()
        self.gone[n] = self.end
        if self.kept[topic]: return
        del self.kept[topic]
        self.forgotten.append((self.end, n))

    def following(self, n, topics, upto=None):
        "Numbers of events of `topics` behind `n`, to the end or `upto`."
        return [i for i in range(n + 1, (self.end if upto is None else upto) + 1) if self.topics[i] in topics]

    def excuse(self, after, upto, topics, resumed):
        "Whether a reader that stood at `after` may be told of a gap when the log ends at `upto`."
        # A store may be ahead of what a process has seen, and does not know who is connected
        if self.mirrored: upto = self.end
        lost = any(self.gone.get(i, upto + 1) <= upto for i in self.following(after, topics, upto))
        return lost or (resumed or self.mirrored) and any(when <= upto and n > after for when, n in self.forgotten)

class Browser:
    "A client, which judges each line that it gets."
    def __init__(self, world, topics, delay, id):
        self.world, self.topics = world, topics
        self.shows, self.delay = delay is not None, delay  # a snapshot, which takes so long
        self.know(id)

    def know(self, id):
        "Stand where `id` was the last."
        self.parser = EventParser()
        if id: self.parser.feed(f'id: {id}\n\n'.encode())

    async def snapshot(self):
        shown = self.world.end
        for _ in range(self.delay): await asyncio.sleep(0.001)
        return f'snapshot {shown}'

    def connect(self, interval):
        self.fed, self.resumed, id = 0, True, self.parser.last_event_id
        self.know(id)
        settings = dict(snapshot=self.snapshot if self.shows else None, heartbeat_interval=interval, send_timeout=30)
        self.client = Client.asking(self.world.channel.response(*self.topics, **settings), id)

    def receive(self, upto=None):
        "Take what was sent, or its first bytes only."
        body = self.client.body
        said = body.replace(HEARTBEAT, b'') if self.world.mirrored else body  # a store may have to be waited for
        assert re.fullmatch(b'(id: .*)?', said.split(b'\n\n')[0]), 'a stream begins with a position'
        end = len(body) if upto is None else self.fed + upto % (len(body) - self.fed + 1)
        for line in body[self.fed:end].splitlines(keepends=True):
            before = self.parser.last_event_id
            event, = self.parser.feed(line) or [None]
            self.judge(before, self.parser.last_event_id, event)
        self.fed = end

    def judge(self, before, after, event):
        "Nothing is missing, nothing comes twice, and what is gone is told."
        was, now = self.world.numbers.get(before), self.world.numbers.get(after)
        if event is None and before == after: return
        if event is None: self.judge_position(before, after, was, now)
        elif event.event == 'gap' or event.data.startswith('snapshot'): self.judge_gap(event, before, was, now)
        else:
            n = int(event.data.split()[0])
            assert was is not None, 'an event comes before what has to be told'
            assert now == n and self.world.following(was, self.topics, now) == [n], f'{n} after {was}, on {self.topics}'

    def judge_position(self, before, after, was, now):
        if before is None: assert (now is None) is self.shows, 'a new client stands somewhere, or is shown something'
        elif now is None: assert was is None, 'an id that was known is forgotten'
        else:
            lost = was is None or was > now or self.world.following(was, self.topics, now)
            assert not lost, f'silent loss between {before} and {after}'

    def judge_gap(self, event, before, was, now):
        assert (event.event is None) is self.shows, 'a snapshot is shown, or a gap is told'
        excused = was is None or now is not None and was <= now and self.world.excuse(was, now, self.topics, self.resumed)
        assert now is not None and excused, f'a gap after {before}, where nothing is gone'
        assert not self.shows or int(event.data.split()[1]) >= now, 'the snapshot is older than its id'
        self.resumed = False

    def has_all(self):
        at = self.world.numbers.get(self.parser.last_event_id)
        return at is not None and not self.world.following(at, self.topics)

    async def leave(self):
        self.client.leave()
        await asyncio.wait({self.client.request})

    async def drop(self, cut=None):
        "Lose the connection, and what came but its first bytes."
        self.receive(cut)
        await self.leave()
        self.client.request.result()

@st.composite
def operations(draw):
    who, topic = st.integers(0, 1), st.sampled_from(TOPICS)
    publish = st.tuples(st.just('publish'), topic, st.integers(1, 4))
    drop = st.tuples(st.just('drop'), who, st.integers(0, 10**6))
    step = st.one_of(
        publish, publish,
        drop, drop,
        st.tuples(st.just('large'), topic, st.integers(1, 3)),
        st.tuples(st.just('others'), st.integers(1, 25)),
        st.tuples(st.just('block'), who),
        st.tuples(st.just('free'), who),
        st.tuples(st.just('receive'), who),
        st.tuples(st.just('turns'), st.integers(1, 6)),
        st.tuples(st.just('wait'), st.integers(1, 3)),
    )
    return draw(st.lists(step, max_size=30))

browsers = st.tuples(
    st.sets(st.sampled_from(TOPICS), min_size=1).map(sorted),
    st.sampled_from([None, None, 0, 1, 3]),
    st.sampled_from([None, 'nonsense', 'start']),
)

async def play(log, maxlen, clients, steps, wait, interval, patience=PATIENCE):
    "Let two browsers go through `steps`, and see that in the end both have all there is."
    start = await Channel(log).tail()
    world = World(log, start, maxlen)
    pair = [Browser(world, topics, delay, start if id == 'start' else id) for topics, delay, id in clients]
    for browser in pair: browser.connect(interval)
    try:
        for step in steps: await take(step, world, pair, wait, interval)
        for browser in pair: await catch_up(browser, interval, patience)
    finally:
        for browser in pair: await browser.leave()
        assert not log._readers

async def take(step, world, pair, wait, interval):
    match step:
        case 'publish', topic, times:
            for _ in range(times): await world.publish(topic)
        case 'large', topic, times:
            for _ in range(times): await world.publish(topic, 40_000)
        case 'others', times:
            for _ in range(times): await world.publish(f'job {world.end}')
        case 'turns', n: await turns(n)
        case 'wait', n: await asyncio.sleep(n * wait)
        case 'block', i: pair[i].client.free.clear()
        case 'free', i: pair[i].client.free.set()
        case 'receive', i: pair[i].receive()
        case 'drop', i, cut:
            await pair[i].drop(cut)
            pair[i].connect(interval)
        case _: raise ValueError(step)

async def catch_up(browser, interval, patience):
    browser.client.free.set()
    async with asyncio.timeout(patience):
        while not browser.has_all():
            if browser.client.request.done():  # it was given up while it took nothing
                await browser.drop()
                browser.connect(interval)
            browser.receive()
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.001)
    browser.receive()

some = dict(database=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

@virtual
@settings(max_examples=200, **some)
@given(maxlen=st.integers(1, 4), clients=st.tuples(browsers, browsers), steps=operations())
async def test_a_browser_misses_nothing_gets_nothing_twice_and_is_told_what_is_gone(maxlen, clients, steps):
    await play(MemoryLog(maxlen), maxlen, clients, steps, wait=1, interval=1, patience=0.5)

@pytest.mark.parametrize('kind', EACH)
@settings(max_examples=10, **some)
@given(maxlen=st.integers(1, 4), clients=st.tuples(browsers, browsers), steps=operations())
async def test_browsers_of_every_log_miss_nothing(kind, maxlen, clients, steps):
    async with kind() as logs: await play(logs.make(maxlen), maxlen, clients, steps, wait=0.002, interval=0.004)
