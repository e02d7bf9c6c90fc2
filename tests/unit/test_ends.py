"Where a reader begins, how a topic ends, what stands beside the events and what is said to all: one contract, for every log."
import asyncio, json

import pytest

from fasthtml_sse import Channel, EventParser, Gap, LogError
from fasthtml_sse.broadcast.log import IN_ALL
from fasthtml_sse.broadcast.store import Change, Changed, Post, Record, Refused
from fasthtml_sse.core.source import HEARTBEAT, LIMIT
from tests.support.asgi import Client
from tests.support.clock import PATIENCE, until
from tests.support.logs import on_every_log, opened, publish, read, settled, text_of

pytestmark = pytest.mark.anyio


def others(logs, channel):
    "The channel itself, and one of another process if the log is shared."
    return [channel, *([Channel(logs.again())] if logs.durable else [])]

async def all_of(subscription):
    "The data of all that it gives until it ends, and its gaps."
    async with asyncio.timeout(PATIENCE): return [text_of(entry) async for entry in subscription]

async def body(channel, *topics, id=None, **settings):
    "What a response says until it ends by itself: name, data and id of each event."
    async with asyncio.timeout(PATIENCE), Client.asking(channel.response(*topics, heartbeat_interval=None, **settings), id) as client:
        await client.over()
    return [(event.event, event.data, event.id) for event in EventParser().feed(client.body)]

async def said(channel, *topics, count, id=None, **settings):
    "The first `count` events of a response that goes on."
    async with asyncio.timeout(PATIENCE), Client.asking(channel.response(*topics, heartbeat_interval=None, **settings), id) as client:
        await until(lambda: len(EventParser().feed(client.body)) >= count, 0.001)
    return [(event.event, event.data, event.id) for event in EventParser().feed(client.body)]


# A topic ends

@on_every_log
async def test_a_value_and_the_end_come_in_one_step_and_the_id_is_that_of_the_value(logs):
    channel = opened(logs)
    for each in others(logs, channel): await each.log.ready()
    start = await channel.tail()
    id = await channel.publish('last', 'job', end=True)
    end = await channel.tail()
    assert id != end
    for each in others(logs, channel):
        assert await body(each, 'job', id=start) == [(None, 'last', id), ('close', 'done', end)]
        assert await all_of(each.subscribe('job', after=start)) == ['last']

@on_every_log
async def test_the_end_alone_has_an_id_and_is_no_entry(logs):
    channel = opened(logs)
    start, id = await channel.tail(), await channel.publish('x', 'job')
    end = await channel.publish(None, 'job', end=True)
    assert end == await channel.tail() != id
    assert await body(channel, 'job', id=start) == [(None, 'x', id), ('close', 'done', end)]

@pytest.mark.parametrize('since', ['now', 'start', 'latest'])
@on_every_log
async def test_who_comes_later_gets_what_it_lacks_and_the_end_at_once(logs, since):
    channel = opened(logs)
    start = await channel.tail()
    ids = await publish(channel, *'abc', topic='job')
    end = channel.publish_sync(None, 'job', end=True)
    await publish(channel, 'something else', topic='other')
    lacked = {'now': [], 'start': list(zip('abc', ids)), 'latest': [('c', await channel.tail())]}[since]
    for each in others(logs, channel):
        assert await body(each, 'job', since=since) == [*((None, *pair) for pair in lacked), ('close', 'done', end)]
        assert await all_of(each.subscribe('job', since=since)) == [text for text, _ in lacked]
        for n, id in enumerate([start, *ids]):
            expected = [(None, *pair) for pair in zip('abc'[n:], ids[n:])]
            assert await body(each, 'job', id=id, since=since) == [*expected, ('close', 'done', end)]
        assert await body(each, 'job', id=end, since=since) == [('close', 'done', end)]
        assert await body(each, 'job', id=await each.tail(), since=since) == [('close', 'done', end)]

@on_every_log
async def test_who_waits_is_told_of_the_end_when_it_comes(logs):
    channel = opened(logs)
    processes = others(logs, channel)
    for each in processes: await each.log.ready()
    readers = [asyncio.create_task(body(each, 'job')) for each in processes]
    subscription = asyncio.create_task(all_of(channel.subscribe('job')))
    await until(lambda: channel.stats().readers == 2, 0.001)
    if logs.durable: await until(lambda: logs.opened[-1]._readers, 0.001)
    id = await channel.publish('last', 'job', end=True)
    for reader in readers: assert await reader == [(None, 'last', id), ('close', 'done', await channel.tail())]
    assert await subscription == ['last']

@on_every_log
async def test_close_comes_once_when_all_topics_have_ended(logs):
    channel = opened(logs)
    start = await channel.tail()
    reading = asyncio.create_task(body(channel, 'a', 'b', id=start))
    one = await channel.publish('1', 'a', end=True)
    two = await channel.publish('2', 'b')
    await channel.publish('3', 'c', end=True)
    end = await channel.publish(None, 'b', end=True)
    expected = [(None, '1', one), (None, '2', two), ('close', 'done', end)]
    assert await reading == expected
    for each in others(logs, channel): assert await body(each, 'b', 'a', id=start) == expected

@on_every_log
async def test_who_reads_all_topics_never_ends(logs):
    channel = opened(logs)
    start = await channel.tail()
    await channel.publish('1', 'a', end=True)
    await channel.publish('2', '')
    assert [data for _, data, _ in await said(channel, count=2, id=start)] == ['1', '2']
    assert [data for _, data, _ in await said(channel, '', 'a', count=2, id=start)] == ['1', '2']
    assert await read(channel.subscribe(after=start), 2) == ['1', '2']

@on_every_log
async def test_an_ended_topic_takes_no_more_and_harms_none_beside_it(logs):
    channel = opened(logs)
    end = await channel.publish('last', 'job', end=True)
    for each in others(logs, channel):
        for refused in [('late', 'job'), (None, 'job')]:
            with pytest.raises(LogError, match="the topic 'job' has ended"): await each.publish(*refused, end=True)
            with pytest.raises(LogError, match="the topic 'job' has ended"): each.publish_sync('late', 'job')
    results = await asyncio.gather(*(channel.publish(n, f"{'job' if n % 2 else 'other'}") for n in range(20)), return_exceptions=True)
    assert [type(result) for result in results] == [str, Refused] * 10
    assert await read(channel.subscribe('other', after=end), 10) == [str(n) for n in range(0, 20, 2)]

@on_every_log
async def test_the_topic_without_a_name_cannot_end(logs):
    channel = opened(logs)
    for value in (None, 'x'):
        with pytest.raises(ValueError, match="the topic '' cannot end"): await channel.publish(value, end=True)
    with pytest.raises(TypeError, match='end must be True or False'): channel.publish_sync('x', 'job', end='yes')
    with pytest.raises(ValueError, match='None is no event'): await channel.publish(None, 'job')

@on_every_log
async def test_who_is_overtaken_by_the_end_is_told_of_it(logs):
    channel = opened(logs, 2)
    await channel.log.ready()
    subscription = channel.subscribe('job')
    await channel.publish(0, 'job')
    assert await read(subscription) == ['0']
    for n in range(logs.surely(2) * 2): await channel.publish(n, 'job')
    await channel.publish('last', 'job', end=True)
    await settled(channel.log)
    gap, = await all_of(subscription)
    assert isinstance(gap, Gap)

@on_every_log
async def test_an_end_lasts_as_long_as_its_topic_is_kept(logs):
    channel = opened(logs, 2)
    start = await channel.tail()
    await channel.publish('last', 'job', end=True)
    for n in range(logs.surely(2) * 3): await channel.publish(n, 'busy')
    assert (await body(channel, 'job', id=start))[-1][:2] == ('close', 'done')
    for n in range(IN_ALL * (logs.surely(2) + 2)): await channel.publish(n, f'job {n}')
    await channel.publish('anew', 'job')
    for each in others(logs, channel): assert await read(each.subscribe('job', since='latest')) == ['anew']

@on_every_log
async def test_with_a_snapshot_it_comes_first(logs):
    channel = opened(logs)
    await channel.publish('last', 'job', end=True)
    end = await channel.tail()
    async def snapshot(): return 'all'
    for each in others(logs, channel):
        for id in (None, 'never heard of'):
            found = await body(each, 'job', id=id, snapshot=snapshot)
            assert [event[:2] for event in found] == [(None, 'all'), ('close', 'done')] and found[1][2] == end
        assert await body(each, 'job', id=end, snapshot=snapshot) == [('close', 'done', end)]

@on_every_log
async def test_a_long_catch_up_with_a_topic_that_has_ended_gives_all_before_its_end(logs):
    channel = opened(logs)
    start, texts = await channel.tail(), [*(f'{n}' * LIMIT for n in range(3)), *map(str, range(300))]
    await publish(channel, *texts, topic='job')
    await channel.publish(None, 'job', end=True)
    for each in others(logs, channel):
        assert [data for _, data, _ in await body(each, 'job', id=start)] == [*texts, 'done']
        assert await all_of(each.subscribe('job', after=start)) == texts

async def test_a_heartbeat_does_not_pass_an_end_that_was_not_told():
    channel = Channel()
    async with asyncio.timeout(PATIENCE), Client.asking(channel.response('a')) as client:
        feed, = channel._readers.values()
        channel.publish_sync(None, 'a', end=True)
        assert feed.heartbeat() == HEARTBEAT
        await client.over()
        assert b'event: close' in client.body


# Where a reader begins

@on_every_log
async def test_from_the_start_all_that_is_kept_comes_in_order_and_then_what_is_new(logs):
    channel = opened(logs)
    ids = [await channel.publish(f'{topic}{n}', topic) for n, topic in enumerate('abcab')]
    for each in others(logs, channel):
        found = await said(each, 'a', 'b', since='start', count=4)
        assert found == [(None, f'{topic}{n}', ids[n]) for n, topic in enumerate('abcab') if topic != 'c']
        subscription = each.subscribe(since='start')
        assert await read(subscription, 5) == ['a0', 'b1', 'c2', 'a3', 'b4']
    step = asyncio.create_task(read(subscription))
    await channel.publish('new', 'c')
    assert await step == ['new']

@on_every_log
async def test_the_opening_id_of_the_start_is_the_position_before_it(logs):
    channel = opened(logs)
    await publish(channel, *'abc')
    async with Client.asking(channel.response('', since='start', heartbeat_interval=None)) as client: await client.got(b'data: c\n\n')
    opening = client.body.split(b'\n')[0].decode().removeprefix('id: ')
    assert [data for _, data, _ in await said(channel, '', id=opening, count=3)] == ['a', 'b', 'c']

@on_every_log
async def test_where_the_beginning_is_gone_that_is_told_once_and_what_is_kept_follows(logs):
    channel, made = opened(logs, 3), logs.surely(3) + 2
    await publish(channel, *map(str, range(made)), topic='busy')
    await publish(channel, 'quiet', topic='quiet')
    for each in others(logs, channel):
        gap, *kept = await said(each, 'busy', since='start', count=4)
        assert gap[0] == 'gap' and [data for _, data, _ in kept][-3:] == [str(n) for n in range(made - 3, made)]
        assert await said(each, 'quiet', since='start', count=1) == [(None, 'quiet', await channel.tail())]
        first, *rest = await read(each.subscribe('quiet', 'busy', since='start'), 5)
        assert isinstance(first, Gap) and rest[-1] == ('quiet' if not logs.slack else rest[-1])

@on_every_log
async def test_a_gap_at_the_start_is_told_once_though_it_lies_behind_what_is_kept_of_another_topic(logs):
    channel, made = opened(logs, 3), logs.surely(3) + 2
    await publish(channel, 'quiet', topic='quiet')
    await publish(channel, *map(str, range(made)), topic='busy')
    for each in others(logs, channel):
        first, *rest = await read(each.subscribe('quiet', 'busy', since='start'), 5)
        assert isinstance(first, Gap) and rest[0] == 'quiet' and not any(isinstance(found, Gap) for found in rest)

@on_every_log
async def test_a_start_without_events_is_now(logs):
    channel = opened(logs)
    await publish(channel, 'x', topic='other')
    subscription = channel.subscribe('job', since='start')
    step = asyncio.create_task(read(subscription))
    await until(lambda: channel.log._readers, 0.001)
    await publish(channel, 'first', topic='job')
    assert await step == ['first']

@on_every_log
async def test_a_topic_of_which_nothing_is_gone_has_its_start_whatever_others_have_lost(logs):
    channel = opened(logs, 2)
    for n in range(IN_ALL * (logs.surely(2) + 2)): await channel.publish(n, f'job {n}')
    await publish(channel, *'ab', topic='mine')
    for each in others(logs, channel): assert await read(each.subscribe('mine', since='start'), 2) == ['a', 'b']

@on_every_log
async def test_the_latest_of_each_topic_and_only_the_last_has_an_id(logs):
    channel = opened(logs)
    for n, topic in enumerate('abcab'): await channel.publish(f'{topic}{n}', topic)
    tail = await channel.tail()
    for each in others(logs, channel):
        found = await said(each, since='latest', count=3)
        assert [data for _, data, _ in found] == ['c2', 'a3', 'b4']
        assert found[-1][2] == tail and all(id.endswith('.untold') for _, _, id in found[:-1])
        assert await said(each, 'a', since='latest', count=1) == [(None, 'a3', tail)]
        assert await read(each.subscribe('c', 'a', since='latest'), 2) == ['c2', 'a3']

@on_every_log
async def test_who_is_cut_off_before_the_last_of_the_latest_gets_them_again(logs):
    channel = opened(logs)
    for topic in 'abc': await channel.publish(topic, topic)
    found = await said(channel, since='latest', count=3)
    assert await said(channel, since='latest', count=3, id=found[0][2]) == found
    id = await channel.publish('live', 'a')
    assert await said(channel, since='latest', count=1, id=found[-1][2]) == [(None, 'live', id)]

@on_every_log
async def test_without_events_the_latest_are_none(logs):
    channel = opened(logs)
    tail = await channel.tail()
    async with asyncio.timeout(PATIENCE), Client.asking(channel.response(since='latest', heartbeat_interval=None)) as client:
        await until(lambda: client.body.endswith(f'id: {tail}\n\n'.encode()), 0.001)
        await channel.publish('x')
        await client.got(b'data: x\n\n')

@on_every_log
async def test_large_events_are_all_given_from_the_start_and_of_the_latest(logs):
    channel, texts = opened(logs), ['x' * LIMIT, 'y' * (3 * LIMIT), 'z']
    for n, text in enumerate(texts): await channel.publish(text, f'{n}')
    for since in ('start', 'latest'): assert [data for _, data, _ in await said(channel, since=since, count=3)] == texts

@pytest.mark.parametrize('since', ['', 'begin', None, 7, 'Start'])
def test_a_place_to_begin_that_is_unknown_is_refused(since):
    for call in (Channel().subscribe, Channel().response):
        with pytest.raises(ValueError, match="since must be 'now', 'start' or 'latest'"): call(since=since)


# What somebody may not see

@on_every_log
async def test_nothing_up_to_an_id_is_given_whatever_id_the_client_makes_up(logs):
    channel = opened(logs)
    start = await channel.tail()
    ids = await publish(channel, *'abc', topic='room')
    joined = ids[1]
    for each in others(logs, channel):
        for id in (None, start, ids[0], ids[1]):
            assert await said(each, 'room', id=id, since='start', not_before=joined, count=1) == [(None, 'c', ids[2])]
        assert await said(each, 'room', since='latest', not_before=joined, count=1) == [(None, 'c', ids[2])]
    head, _, number = start.rpartition('-')
    for made_up in ('nonsense', f'{head}-0', '0-0', '0-1'):
        found = [data for _, data, _ in await said(channel, 'room', id=made_up, not_before=joined, count=1)]
        assert found in (['c'], [json.dumps({'after': made_up})])

@on_every_log
async def test_an_unknown_limit_is_the_end_and_gives_nothing(logs):
    channel = opened(logs)
    start = await channel.tail()
    await publish(channel, *'abc', topic='room')
    for each in others(logs, channel):
        for since in ('now', 'start', 'latest'):
            for id in (None, start):
                async with asyncio.timeout(PATIENCE):
                    response = each.response('room', since=since, not_before='nonsense', heartbeat_interval=None)
                    async with Client.asking(response, id) as client:
                        await until(lambda: each.log._readers, 0.001)
                        await channel.publish('new', 'room')
                        await client.got(b'data: new\n\n')
                assert not any(f'data: {text}\n'.encode() in client.body for text in 'abc') and b'gap' not in client.body

@on_every_log
async def test_the_latest_are_none_where_they_are_withheld(logs):
    channel = opened(logs)
    for each in others(logs, channel):
        for limit in ('nonsense', None):
            id, = await publish(channel, 'old', topic='room')
            response = each.response('room', since='latest', not_before=limit or id, heartbeat_interval=None)
            async with asyncio.timeout(PATIENCE), Client.asking(response) as client:
                await until(lambda: each.log._readers and client.body, 0.001)
                await channel.publish('new', 'room')
                await client.got(b'data: new\n\n')
            assert b'data: old' not in client.body

@on_every_log
async def test_a_limit_moves_the_start_and_makes_no_gap(logs):
    channel = opened(logs, 2)
    for n in range(logs.surely(2) + 2): id, = await publish(channel, f'old {n}', topic='room')
    await publish(channel, 'new', topic='room')
    assert await said(channel, 'room', since='start', not_before=id, count=1) == [(None, 'new', await channel.tail())]

@pytest.mark.parametrize('bad', [7, b'x', ['x'], True])
def test_a_limit_is_an_id(bad):
    with pytest.raises(TypeError, match='not_before must be an id'): Channel().response(not_before=bad)


# Records, and words for all

@on_every_log
async def test_of_many_who_claim_a_record_one_gets_it(logs):
    channel = opened(logs)
    processes = [each.log for each in others(logs, channel)]
    claims = [Post('', change=Change('job', None, Record(f'{n}', 'at work'))) for n in range(20)]
    appends = (processes[n % len(processes)].aappend(claim) for n, claim in enumerate(claims))
    results = await asyncio.gather(*appends, return_exceptions=True)
    won, = (n for n, result in enumerate(results) if isinstance(result, str))
    assert [type(result) for n, result in enumerate(results) if n != won] == [Changed] * 19
    for log in processes: assert await log.arecord('job') == Record(f'{won}', 'at work')

@on_every_log
async def test_an_event_and_a_record_change_in_one_step_or_not_at_all(logs):
    log = opened(logs).log
    mine, yours = Record('me', '1'), Record('you', 'größe "1"')
    start = await log.tail()
    await log.aappend(Post('job', b'data: 1\n\n', change=Change('job', None, mine)))
    with pytest.raises(Refused, match="the record 'job' is not what it was expected to be"):
        await log.aappend(Post('job', b'data: 2\n\n', 'lost', change=Change('job', yours, None)))
    assert await log.arecord('job') == mine and log.record('nobody') is None
    await log.aappend(Post('job', change=Change('job', mine, yours)))
    assert await log.arecord('job') == yours
    await log.aappend(Post('job', None, 'failed', Change('job', yours, None)))
    assert await log.arecord('job') is None
    assert [event[:2] for event in await body(Channel(log), 'job', id=start)] == [(None, '1'), ('close', 'failed')]

@on_every_log
async def test_a_post_that_is_refused_changes_no_record(logs):
    log = opened(logs).log
    await log.aappend(Post('job', None, 'done'))
    with pytest.raises(Refused, match='has ended'): log.append(Post('job', b'data: 1\n\n', change=Change('job', None, Record('me', ''))))
    assert await log.arecord('job') is None

class Listening:
    def __init__(self, log):
        self.heard = []
        log.listen(self.hear)
    def hear(self, word): self.heard.append(word)

@on_every_log
async def test_a_word_is_heard_at_once_everywhere_once_and_never_later(logs):
    channel = opened(logs)
    processes = [each.log for each in others(logs, channel)]
    for log in processes: await log.ready()
    listeners, tail = [Listening(log) for log in processes], await channel.tail()
    words = ['stop größe\n', *(f'word {n}' for n in range(30)), '']
    for word in words: await channel.log.asay(word)
    await until(lambda: all(len(listener.heard) >= len(words) for listener in listeners), 0.001)
    assert [listener.heard for listener in listeners] == [words] * len(processes)
    assert await channel.tail() == tail
    if logs.durable:
        late = logs.again()
        listener = Listening(late)
        await late.ready()
        await channel.log.asay('now')
        await until(lambda: listener.heard, 0.001)
        assert listener.heard == ['now']

@on_every_log
async def test_who_is_disconnected_is_gone_in_a_moment_on_every_worker(logs):
    channel = opened(logs)
    both = others(logs, channel)
    async with asyncio.timeout(PATIENCE):
        async with (Client.asking(both[0].response('user 7', heartbeat_interval=None)) as one,
                    Client.asking(both[-1].response('user 7', 'news', heartbeat_interval=None)) as two,
                    Client.asking(both[-1].response('user 8', heartbeat_interval=None)) as another,
                    Client.asking(both[0].response(heartbeat_interval=None)) as everything):
            await until(lambda: all(client.body for client in (one, two, another, everything)), 0.001)
            began = asyncio.get_running_loop().time()
            await channel.disconnect('user 7')
            for client in (one, two): await client.over()
            assert asyncio.get_running_loop().time() - began < 2  # 0.3 where nobody else runs: tests/process/test_disconnect.py
            for client in (one, two): assert client.sent[-1] == b'' and b'event' not in client.body
            await channel.publish('still here', 'user 8')
            for client in (another, everything): await client.got(b'data: still here\n\n')
