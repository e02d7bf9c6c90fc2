"RedisLog where things go wrong: Redis away, hung, emptied; and what it holds there."
import asyncio, os, signal, subprocess, sys

import pytest

from fasthtml_sse import Channel, Gap, LogError, RedisLog
from fasthtml_sse.broadcast import redis as redis_module
from fasthtml_sse.broadcast.store import Post
from redis import Redis as Client
from tests.support import ROOT
from tests.support.clock import until
from tests.support.logs import read, settled
from tests.support.redis import redis

pytestmark = pytest.mark.anyio
PAUSE = 0.01  # seconds between two looks


@pytest.fixture
def server(tmp_path):
    with redis(tmp_path, '--appendonly', 'yes') as server: yield server

@pytest.fixture(autouse=True)
def short_block(monkeypatch):
    "The end of a channel waits until its follower looks up, which it does so often."
    monkeypatch.setattr(redis_module, 'BLOCK', 20)

@pytest.fixture
async def channel(server):
    channel = Channel(RedisLog(server.url, maxlen=10))
    yield channel
    await channel.aclose()

async def data_of(subscription):
    item, = await read(subscription)
    return item


async def test_publishers_get_an_error_while_redis_is_away_and_readers_get_all_of_the_rest(server, channel):
    subscription = channel.subscribe(after=await channel.tail())
    await channel.log.ready()  # else the mirror may begin behind the event, and the reader would have to ask Redis
    await channel.publish('one')
    await settled(channel.log)
    server.stop()
    for _ in range(2):
        with pytest.raises(LogError, match=f'Redis at (localhost|127.0.0.1):{server.port}'): await channel.publish('lost')
    assert await data_of(subscription) == 'one'
    waiting = asyncio.ensure_future(data_of(subscription))
    await until(lambda: 'Redis at' in (channel.stats().error or ''), PAUSE)
    server.start()
    await channel.publish('two')
    assert await waiting == 'two'
    await until(lambda: channel.stats().error is None, PAUSE)

async def test_who_comes_while_redis_is_away_begins_when_it_is_back(server, channel):
    first = await channel.publish('one')
    await channel.publish('two')
    server.stop()
    fresh = Channel(RedisLog(server.url, maxlen=10))
    late, new = fresh.subscribe(after=first), fresh.subscribe()
    waiting = [asyncio.ensure_future(data_of(late)), asyncio.ensure_future(data_of(new))]
    await until(lambda: fresh.stats().error, PAUSE)
    assert fresh.stats().last_id is None
    server.start()
    assert await waiting[0] == 'two'
    await until(lambda: fresh.stats().error is None, PAUSE)
    await channel.publish('three')
    assert await waiting[1] == 'three' == await data_of(late)
    await fresh.aclose()

async def test_a_redis_that_hangs_is_an_error_in_time_and_an_append_is_never_repeated(server, channel, monkeypatch):
    monkeypatch.setattr(redis_module, 'TIMEOUT', 0.5)
    impatient, subscription = Channel(RedisLog(server.url)), channel.subscribe(after=await channel.tail())
    await impatient.publish('one')
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        publishing = asyncio.create_task(impatient.publish('two'))
        await asyncio.wait({publishing}, timeout=0.9)  # were it repeated, it would be connecting now
    finally: os.kill(server.process.pid, signal.SIGCONT)
    with pytest.raises(LogError, match='Timeout'): await publishing
    await impatient.publish('three')
    seen = []
    while 'three' not in seen: seen.append(await data_of(subscription))
    assert seen in (['one', 'three'], ['one', 'two', 'three'])  # never twice
    await impatient.aclose()

@pytest.mark.parametrize('keys', [['log'], ['gone'], ['log', 'gone', 'topic:']])
async def test_readers_of_a_log_that_was_emptied_are_told(server, channel, keys):
    subscription = channel.subscribe(after=await channel.tail())
    before = await channel.publish('one')
    assert await data_of(subscription) == 'one'
    with Client.from_url(server.url) as client: client.delete(*('{fasthtml_sse}:' + key for key in keys))
    await channel.publish('two')
    gap = await data_of(subscription)
    assert isinstance(gap, Gap) and gap.after == before
    assert isinstance(await data_of(channel.subscribe(after=before)), Gap)
    await channel.publish('three')
    assert await data_of(subscription) == 'three'

async def test_one_connection_follows_for_all_readers(server, channel):
    await channel.log.ready()
    waiting = [asyncio.ensure_future(data_of(channel.subscribe())) for _ in range(50)]
    await channel.publish('one')
    assert set(await asyncio.gather(*waiting)) == {'one'}
    following = set()
    with Client.from_url(server.url) as client:
        for _ in range(20): following |= {each['id'] for each in client.client_list() if each['cmd'] == 'xread'}
    assert len(following) == 1

async def test_old_positions_are_read_from_redis(server, channel, monkeypatch):
    ids = [await channel.publish(str(n)) for n in range(8)]
    fresh = Channel(RedisLog(server.url, maxlen=10))
    for n, id in enumerate(ids[:-1]): assert await data_of(fresh.subscribe(after=id)) == str(n + 1)
    await fresh.aclose()

async def test_what_redis_holds_is_bounded(server, channel):
    for n in range(300): await channel.publish('x', topic=f'job {n % 150}')
    for n in range(300): await channel.publish('x', topic='busy')
    with Client.from_url(server.url) as client:
        assert client.xlen('{fasthtml_sse}:log') == 100 and client.xlen('{fasthtml_sse}:topic:busy') == 10
        assert len(client.keys()) == 90 + 1 + 2 and client.hlen('{fasthtml_sse}:gone') == 90 + 2 + 4

async def test_names_keep_apps_apart(server, channel):
    other = Channel(RedisLog(server.url, name='other'))
    subscription, theirs = channel.subscribe(after=await channel.tail()), other.subscribe(after=await other.tail())
    await other.publish('theirs')
    await channel.publish('ours')
    assert (await data_of(subscription), await data_of(theirs)) == ('ours', 'theirs')
    await other.aclose()

def test_without_redis_py_it_says_what_to_install():
    code = "import sys; sys.modules['redis'] = None\nfrom fasthtml_sse import RedisLog\nRedisLog('redis://localhost')"
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr.strip().endswith("ImportError: RedisLog needs redis-py: pip install 'fasthtml-sse[redis]'")

@pytest.mark.parametrize('url', ['localhost:6379', 'http://localhost', '', 7])
def test_bad_urls_are_refused_at_once(url):
    with pytest.raises((ValueError, TypeError), match='redis://'): RedisLog(url)

async def test_errors_do_not_show_passwords():
    log = RedisLog('redis://me:secret@127.0.0.1:1/0')
    with pytest.raises(LogError) as e: await log.aappend(Post('', b'data: x\n\n'))
    assert 'secret' not in str(e.value) and '127.0.0.1:1' in str(e.value)
    await log.aclose()

@pytest.mark.parametrize('url, place', [
    ('redis://', 'localhost:6379'),
    ('redis://db', 'db:6379'),
    ('redis://:1/0', 'localhost:1'),
    ('unix:///run/redis.sock', '/run/redis.sock'),
    ('rediss://u:p@db:7', 'db:7'),
])
def test_every_url_of_redis_will_do(url, place): assert RedisLog(url)._store._place == place

@pytest.mark.parametrize('id', [
    '99999999999999999999-0',
    '0-99999999999999999999',
    f'{2**64 - 1}-{2**64 - 1}',
    f'{2**64 - 1}-0',
    '01-0',
    '1-',
    '-1',
    '1',
    '１-1',
])
async def test_an_id_that_no_stream_has_is_told_of(server, channel, id):
    await channel.publish('one')
    assert isinstance(await data_of(channel.subscribe(after=id)), Gap)
    assert channel.stats().error is None

async def test_the_error_goes_with_its_cause_though_nobody_publishes(server, channel):
    await channel.log.ready()
    server.stop()
    with pytest.raises(LogError): await channel.publish('lost')
    await until(lambda: channel.log._health.error, PAUSE)
    server.start()
    await until(lambda: channel.stats().error is None, PAUSE)

async def test_what_waits_for_a_redis_that_is_away_ends_when_it_is_told_to(server):
    server.stop()
    for ending in ('channel', 'subscription'):
        channel = Channel(RedisLog(server.url))
        subscription = channel.subscribe()
        waiting = asyncio.ensure_future(data_of(subscription))
        await until(lambda: channel.stats().error, PAUSE)
        await (channel if ending == 'channel' else subscription).aclose()
        with pytest.raises(StopAsyncIteration): await waiting
        await channel.aclose()
    server.start()

async def test_a_log_that_begins_anew_under_a_clock_that_is_behind_is_told_of(server, channel):
    with Client.from_url(server.url) as client:
        await channel.publish('early')
        client.xadd('{fasthtml_sse}:log', {'topic': '', 'data': b'data: ahead\n\n'}, id=f'{2**45}-0')
        ahead = await channel.tail()
        subscription = channel.subscribe()
        await settled(channel.log)
        client.flushall()
    await channel.publish('one')
    assert await data_of(subscription) == Gap(ahead, channel.stats().last_id)
    await channel.publish('two')
    assert await data_of(subscription) == 'two'

async def test_lists_that_outlive_their_log_hide_no_gap(server, channel):
    first = await channel.publish('0')
    for n in (1, 2): await channel.publish(str(n))
    with Client.from_url(server.url) as client: client.delete('{fasthtml_sse}:log')
    for n in range(20):
        await channel.publish('later')
        fresh = Channel(RedisLog(server.url, maxlen=10))
        assert isinstance(await data_of(fresh.subscribe('', after=first)), Gap)
        await fresh.aclose()

async def test_a_reader_may_have_thousands_of_topics(server, channel):
    start = await channel.tail()
    await channel.publish('one', topic='t 9999')
    fresh = Channel(RedisLog(server.url, maxlen=10))
    assert await data_of(fresh.subscribe(*(f't {n}' for n in range(10_000)), after=start)) == 'one'
    await fresh.aclose()
