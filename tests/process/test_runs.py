"Runs in several processes: one start, an end that everybody sees, and what is killed, frozen, blocked, stopped and forked on the way."
import asyncio, json, os, signal, sqlite3, subprocess, sys
from contextlib import AsyncExitStack, asynccontextmanager, closing
from http.client import HTTPConnection
from time import monotonic, sleep

import pytest
from redis import Redis

from fasthtml_sse import Channel, EventParser, RedisLog, SQLiteLog
from tests.support import ROOT
from tests.support.clock import until
from tests.support.pages import opened
from tests.support.places import place
from tests.support.redis import redis
from tests.support.servers import HYPERCORN
from tests.support.serving import HOST, Server, fetch, serving, uvicorn

pytestmark = pytest.mark.anyio
TRIES = 5  # on a machine that others use, the best one counts
APP = uvicorn('--no-access-log', app='runs')
LOST = ['words of a loss', 'close lost']
SOON = 15  # seconds for what takes its time
SLOW = ['sqlite', pytest.param('redis', marks=pytest.mark.full)]


# Two workers, their pages, and what is in their store

async def ask(server, path, **query):
    return json.loads(await fetch(server.port, f'/{path}?' + '&'.join(f'{name}={value}' for name, value in query.items())))

async def start(server, id, source='ticks', **options): return await ask(server, 'start', id=id, source=source, **options)

def log_at(place):
    kind, _, where = place.partition(' ')
    return {'sqlite': SQLiteLog, 'redis': RedisLog}[kind](where)

def records_at(place):
    "The keys of all records."
    kind, _, where = place.partition(' ')
    if kind == 'redis':
        with closing(Redis.from_url(where)) as client: return [key.decode() for key in client.hkeys('{fasthtml_sse}:records')]
    with closing(sqlite3.connect(where)) as db: return [key for key, in db.execute('select key from sse_records')]

async def states_at(place, *ids):
    "How runs have ended, by the log alone; `None` where one has not."
    channel = Channel(log_at(place))
    try:
        ends = await channel.log.fetch_ends(frozenset(ids))
        return [ends[id].state if id in ends and ends[id].of_run else None for id in ids]
    finally: await channel.aclose()

async def kept_at(place, id):
    "What is kept of a topic that has ended."
    channel = Channel(log_at(place))
    try: return [EventParser().feed(entry.frame)[0].data async for entry in channel.subscribe(id, since='start')]
    finally: await channel.aclose()

async def start_all(servers): await asyncio.gather(*(asyncio.to_thread(server.start) for server in servers))

@asynccontextmanager
async def workers(folder, place, count):
    "So many processes over one log, each on a port of its own."
    servers = [Server(folder/str(n), *APP, LOG=place) for n in range(count)]
    try:
        await start_all(servers)
        yield servers
    finally:
        for server in servers: server.kill()

@pytest.fixture(scope='module', params=['sqlite', 'redis'])
def shared(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs')
    with place(request.param, folder) as log:
        pair = [Server(folder/name, *APP, LOG=log) for name in 'ab']
        try:
            asyncio.run(start_all(pair))
            yield log, pair
        finally:
            for server in pair: server.kill()

@pytest.fixture
async def two(shared):
    "Two workers over one log. When all runs of a test have ended, no record of them is left, and no lease."
    log, pair = shared
    yield pair
    await until(lambda: not records_at(log), pause=0.02)

slow = pytest.mark.parametrize('shared', SLOW, indirect=True)


# One start

RACE = '''
import asyncio, sys, threading
from fasthtml_sse import Channel, MemoryLog, RedisLog, SQLiteLog
kind, place, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
channel = Channel({'memory': lambda place: MemoryLog(), 'sqlite': SQLiteLog, 'redis': RedisLog}[kind](place))
ready, states = threading.Barrier(count + 1), []
async def source():
    print('started', flush=True)
    yield 'x'
    await asyncio.sleep(0.5)
async def main():
    await asyncio.to_thread(ready.wait)
    run = await channel.run(source, 'the same')
    states.append(await run.wait())
threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(count)]
for thread in threads: thread.start()
print('ready', flush=True)
sys.stdin.readline()
ready.wait()
for thread in threads: thread.join()
print(sorted(set(states)), len(states))
'''

@pytest.mark.parametrize('kind, processes', [('memory', 1), ('sqlite', 2), ('redis', 2)])
def test_a_hundred_threads_of_two_processes_start_a_run_once(tmp_path, kind, processes):
    with place('redis' if kind == 'redis' else 'sqlite', tmp_path) as log:
        command = [sys.executable, '-c', RACE, kind, log.split()[1], str(100 // processes)]
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        racing = [subprocess.Popen(command, **pipes) for _ in range(processes)]
        try:
            for process in racing: assert process.stdout.readline() == 'ready\n'
            for process in racing:
                process.stdin.write('\n')
                process.stdin.flush()
            said = [process.communicate(timeout=30)[0] for process in racing]
        finally:
            for process in racing: process.kill()
    assert ''.join(said).count('started') == 1
    for text in said: assert text.splitlines()[-1] == f"['done'] {100 // processes}"

async def test_a_form_that_is_sent_twice_starts_a_run_once(two):
    ids = [f'twice-{n}' for n in range(10)]
    answers = await asyncio.gather(*(start(server, id) for id in ids for server in two * 2))
    assert all(answer['state'] == 'running' for answer in answers)
    starts = [sum(len(server.noted(f'start-{id}')) for server in two) for id in ids]
    await asyncio.gather(*(ask(two[0], 'stop', id=id) for id in ids))
    assert starts == [1] * len(ids)


# Stop, from another worker

def best(rounds): return min(rounds, key=max)

async def stopped_run(driver, other, id, source, seconds):
    "Seconds from a stop by another worker until the topic has ended, as a page of that worker sees it."
    await start(driver, id, source, seconds=seconds)
    async with opened(other, id) as page:
        await page.begun()
        if source == 'blocking': await driver.until_noted(f'blocks-{id}')
        began = monotonic()
        assert await ask(other, 'stop', id=id) == {'stopped': True}
        state, at = await page.end()
    assert state == 'stopped' and page.told[-2] == 'stopped'
    return began, at - began

async def test_a_stop_reaches_the_source_on_another_worker(two):
    rounds = []
    for n in range(TRIES):
        began, ended = await stopped_run(*two, f'heard-{n}', 'ticks', 0)
        closed, = await two[0].until_noted(f'finally-heard-{n}')
        rounds.append((closed - began, ended - 0.5))
        if max(rounds[-1]) <= 0.2: break
    assert max(best(rounds)) <= 0.2

@slow
@pytest.mark.parametrize('seconds', [1.5, pytest.param(5, marks=pytest.mark.full)])
async def test_a_source_that_does_not_heed_a_stop_has_ended_all_the_same(shared, two, seconds):
    ids, took = [], {}
    for source in ('deaf', 'sync', 'blocking'):  # the last one keeps its worker from answering
        for n in range(TRIES):
            ids.append(id := f'{source}-{seconds}-{n}')
            took.setdefault(source, []).append((await stopped_run(*two, id, source, seconds))[1])
            if took[source][-1] <= 0.7: break
            await two[0].until_noted(f'late-{id}', timeout=SOON)
    for id in ids: await two[0].until_noted(f'late-{id}', timeout=SOON)
    await ask(two[0], 'start', id='last', source='failing')  # what was on its way has come
    for id in ids: assert await kept_at(shared[0], id) == ['begun', 'stopped']
    assert max(map(min, took.values())) <= 0.7

async def test_a_stop_reaches_another_loop_of_one_process():
    channel, closed = Channel(), {}
    async def heeds(id):
        try:
            while True: yield await asyncio.sleep(0.01, 'tick')
        finally: closed[id] = monotonic()
    async def blocks(id):
        yield 'tick'
        await asyncio.sleep(0.1)
        sleep(1.5)
    async def until_over(id, source):
        run = await channel.run(lambda: source(id), id)
        return await run.wait()
    async def took(id, source):
        "Seconds until the source is closed and until the topic has ended, in a loop of another thread."
        topic = channel.subscribe(id)
        running = asyncio.create_task(asyncio.to_thread(asyncio.run, until_over(id, source)))
        await anext(topic)
        if source is blocks: await asyncio.sleep(0.2)
        began = monotonic()
        assert await channel.stop(id)
        async for _ in topic: pass
        over = monotonic()
        assert await running == 'stopped'
        return closed.get(id, began) - began, over - began
    for n in range(TRIES):
        if (until_closed := (await took(f'heeds-{n}', heeds))[0]) <= 0.05: break
    for n in range(TRIES):
        if (until_ended := (await took(f'blocks-{n}', blocks))[1]) <= 0.7: break
    assert until_closed <= 0.05 and until_ended <= 0.7


# An end, for who comes later

async def test_who_comes_after_the_end_is_told_at_once(two):
    rounds = []
    async with opened(two[1], 'never-run') as page: await page.end()
    assert page.told == LOST
    for n in range(TRIES):
        await start(two[0], f'over-{n}', 'failing')
        async with opened(two[0], f'over-{n}') as first: await first.end()
        rounds.append([])
        for server in two * 2:
            began = monotonic()
            async with opened(server, f'over-{n}') as page: state, at = await page.end()
            assert (state, page.told) == ('failed', ['begun', 'failed', 'close failed'])
            rounds[-1].append(at - began)
        if max(rounds[-1]) <= 0.1: break
    assert max(best(rounds)) <= 0.1
    assert [(await start(server, f'over-{n}', 'ticks'))['state'] for server in two] == ['failed', 'failed']


# Nobody watches

@asynccontextmanager
async def asked_for_head(server, id):
    "A connection that has got an answer without a body, and stays."
    with closing(HTTPConnection(HOST, server.port, timeout=SOON)) as connection:
        await asyncio.to_thread(connection.request, 'HEAD', f'/watch?id={id}')
        assert (await asyncio.to_thread(connection.getresponse)).status == 200
        yield

@pytest.mark.full  # in one process: tests/unit/test_run.py
@slow
async def test_a_run_goes_on_while_a_page_on_any_worker_watches_and_stops_then(two):
    driver, other = two
    async def closed(id): return (await driver.until_noted(f'finally-{id}', timeout=SOON))[0]
    async def without(id, visit):
        "A run that no page watches is stopped on time."
        began = monotonic()
        await start(driver, id, unwatched=1)
        visiting = asyncio.create_task(visit(id))
        try:
            assert 1 <= await closed(id) - began <= 3
            if visiting.done(): visiting.result()  # or why there was no visit
        finally: visiting.cancel()
    async def never(id): pass
    async def heads(id):
        async with asked_for_head(other, id), asked_for_head(driver, id): await asyncio.Event().wait()
    async def watched(server, id, path):
        await start(driver, id, unwatched=1)
        async with opened(server, id, path) as page:
            await page.begun()
            await asyncio.sleep(5.2)
            assert not driver.noted(f'finally-{id}')
            left = monotonic()
        assert 1 <= await closed(id) - left <= 3
    await asyncio.gather(
        without('alone', never), without('headed', heads),
        watched(other, 'watched', 'watch'), watched(other, 'answered', 'events'), watched(driver, 'near', 'watch'))


# Who is dead, and who is not

DEATH = 10  # seconds after a death within which it shows
alone = pytest.mark.parametrize('kind', SLOW)

@alone
async def test_the_killed_and_the_frozen_are_dead_and_the_blocked_are_not(tmp_path, kind):
    with place(kind, tmp_path) as log:
        async with workers(tmp_path, log, 5) as (witness, killed, frozen, blocked, single):
            seeing = see_killed(witness, killed), see_frozen(log, witness, frozen), see_blocked(witness, blocked), see_anew(single)
            await asyncio.gather(*seeing)
            for server in (witness, blocked): assert 'Traceback' not in server.output
            await until(lambda: not records_at(log), pause=0.05)

async def see_killed(witness, killed):
    "All runs of a worker that is killed are lost to those who watch on another one."
    await asyncio.gather(*(start(killed, f'orphan-{n}') for n in range(3)))
    async with opened(witness, 'orphan-0') as page, opened(witness, 'orphan-0', 'events') as plain, opened(witness, 'orphan-1') as second:
        await asyncio.gather(page.begun(), second.begun())
        killed.kill()
        died = monotonic()
        for each, words in ((page, LOST), (plain, LOST[1:]), (second, LOST)):
            _, at = await each.end(DEATH + 5)
            assert at - died <= DEATH and each.told[-len(words):] == words
        assert 'words of a loss' not in plain.told
    asked = monotonic()
    async with opened(witness, 'orphan-2') as late: _, at = await late.end()  # which nobody has watched
    assert late.told[-2:] == LOST and at - asked <= 1.5

async def see_frozen(log, witness, frozen):
    "A worker that does not move for long loses its runs, and appends nothing more when it goes on, whether it has something to say or not."
    ids = {'frozen': 0.02, 'quiet': 3600}  # seconds between two values
    for id, seconds in ids.items(): await start(frozen, id, seconds=seconds)
    async with opened(witness, 'frozen') as page, opened(witness, 'quiet') as quiet:
        await asyncio.gather(page.begun(), quiet.begun())
        os.kill(frozen.process.pid, signal.SIGSTOP)
        died = monotonic()
        try:
            for each in (page, quiet):
                _, at = await each.end(DEATH + 5)
                assert at - died <= DEATH and each.told[-2:] == LOST
        finally: os.kill(frozen.process.pid, signal.SIGCONT)
        for id in ids: await frozen.until_noted(f'finally-{id}', timeout=3)
    await start(frozen, 'afterwards', 'failing')  # it goes on with others
    async with opened(witness, 'afterwards') as other: await other.end()
    assert other.told == ['begun', 'failed', 'close failed']
    for each, id in ((page, 'frozen'), (quiet, 'quiet')):
        assert await kept_at(log, id) == each.told[:-2]
    assert frozen.output.count('another process took this one for dead') == 1
    assert frozen.output.count('Traceback') == 1  # that of the other run

async def see_blocked(witness, blocked):
    "A worker whose loop is blocked for long is alive."
    await start(blocked, 'busy', 'blocking', seconds=8)
    async with opened(witness, 'busy') as page: assert (await page.end())[0] == 'done'
    assert page.told == ['begun', 'late', 'close done']

async def see_anew(single):
    "A page that comes back to the only process, which was killed and is there again."
    await start(single, 'anew')
    async with opened(single, 'anew', returns=True) as page:
        await page.begun()
        single.kill()
        died = monotonic()
        await asyncio.to_thread(single.start)
        _, at = await page.end(DEATH + 5)
    assert at - died <= DEATH and page.told[-2:] == LOST and page.gaps == 0


# A clean end of the process

SERVERS = {
    'uvicorn, httptools': uvicorn('--no-access-log', '--http', 'httptools', app='runs'),
    'uvicorn, h11': uvicorn('--no-access-log', '--http', 'h11', app='runs'),
    'uvicorn --workers 2': uvicorn('--no-access-log', '--workers', '2', app='runs'),
    'hypercorn': tuple(part.replace('apps.streams', 'apps.runs') for part in HYPERCORN),
}

OFTEN = {('uvicorn, httptools', 0), ('uvicorn --workers 2', 3), ('hypercorn', 0)}  # the others are for `make test-all`
STOPS = [pytest.param(server, pages, id=f'{server}, {pages} pages', marks=[] if (server, pages) in OFTEN else pytest.mark.full)
    for server in SERVERS for pages in (0, 3)]

def runs_at(place): return [key for key in records_at(place) if key.startswith('run ')]

@pytest.mark.parametrize('command, pages', STOPS)
async def test_a_server_that_stops_tells_the_ends_of_its_runs(tmp_path, command, pages):
    log, ids = f"sqlite {tmp_path/'events.db'}", [f'run-{n}' for n in range(20)]
    async with serving(tmp_path, *SERVERS[command], LOG=log) as server:
        source = 'ticks' if command == 'hypercorn' else 'tidy'  # hypercorn's loop cancels what takes a while, and waits for no run
        await asyncio.gather(*(start(server, id, source) for id in ids))
        async with AsyncExitStack() as stack:
            for id in ids[:pages]: await (await stack.enter_async_context(opened(server, id))).begun()
            seconds = await server.stop()
        assert seconds <= (1.5 if '--workers' in command else 1)
        assert await states_at(log, *ids) == ['lost'] * len(ids) and not runs_at(log)
        assert [len(server.noted(f'finally-{id}')) for id in ids] == [1] * len(ids)
        assert 'Traceback' not in server.output

async def test_a_run_that_is_being_stopped_when_its_server_stops_has_ended(tmp_path):
    log = f"sqlite {tmp_path/'events.db'}"
    async with serving(tmp_path, *APP, LOG=log) as server:
        await start(server, 'mine', 'deaf', seconds=5)
        await ask(server, 'stop', id='mine')
        await server.stop()
        assert await states_at(log, 'mine') == ['stopped'] and not runs_at(log)

async def test_a_page_that_comes_back_after_a_clean_stop_is_told_at_once(tmp_path):
    async with serving(tmp_path, *APP, LOG=f"sqlite {tmp_path/'events.db'}") as server:
        await start(server, 'mine')
        async with opened(server, 'mine', returns=True) as page:
            await page.begun()
            await server.stop()
            await asyncio.to_thread(server.start)
            up = monotonic()
            _, at = await page.end()
        assert at - up <= 1 and page.told[-2:] == LOST

@pytest.mark.parametrize('kind', ['memory', 'sqlite'])
async def test_a_page_that_comes_back_after_a_reload_is_told_at_once(tmp_path, kind):
    watched = tmp_path/'watched'
    watched.mkdir()
    (watched/'code.py').write_text('before = True')
    log = f"{kind} {tmp_path/'events.db'}"
    async with serving(tmp_path, *APP, '--reload', '--reload-dir', watched, LOG=log) as server:
        await start(server, 'mine')
        await start(server, 'nobody')
        async with opened(server, 'mine', returns=True) as page:
            await page.begun()
            (watched/'code.py').write_text('after = True')
            for id in ('mine', 'nobody'): await server.until_noted(f'finally-{id}', timeout=SOON)
            stopped = monotonic()
            while not await asyncio.to_thread(server.get, '/ok'): await asyncio.sleep(0.02)
            up = monotonic()
            _, at = await page.end()
        assert up > stopped and at - up <= 2 and page.told[-2:] == LOST
        assert len(server.noted('start-mine')) == 1 and 'Traceback' not in server.output
        if kind == 'sqlite': assert await states_at(log, 'mine', 'nobody') == ['lost', 'lost']


# A store that fails for a while

@asynccontextmanager
async def failing_store(kind, folder):
    "Where the log is, and how it is kept from working, and works again."
    if kind == 'redis':
        with redis(folder, '--appendonly', 'yes') as database:
            yield f'redis {database.url}', lambda: asyncio.to_thread(database.stop), lambda: asyncio.to_thread(database.start)
    else:
        path = folder/'events.db'
        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as db:
            async def lock(): db.execute('begin immediate')
            async def unlock(): db.execute('rollback')
            yield f'sqlite {path}', lock, unlock

LONG = 7.5  # seconds, for which no lease may be silent
OUTAGES = [pytest.param(*outage, marks=pytest.mark.full) for outage in (('redis', 1), ('sqlite', LONG))]

@pytest.mark.parametrize('kind, seconds', OUTAGES)
async def test_a_run_whose_store_fails_tells_its_end_later(tmp_path, kind, seconds):
    async with failing_store(kind, tmp_path) as (log, breaks, works), workers(tmp_path, log, 2) as (driver, other):
        await start(driver, 'late', 'failing', seconds=1)
        async with opened(driver, 'late') as near, opened(other, 'late') as far:
            await asyncio.gather(near.begun(), far.begun())
            await breaks()
            raised, = await driver.until_noted('raises-late')
            await asyncio.sleep(raised + seconds - monotonic())
            assert near.told == far.told == ['begun']
            await works()
            back = monotonic()
            for page in (near, far): assert (await page.end())[1] - back <= 3
        assert near.told == far.told == ['begun', 'failed', 'close failed']
        assert driver.output.count('ValueError: secret') == 1
        await until(lambda: not records_at(log), pause=0.05)


# Scripts and forks

SCRIPT = '''
import asyncio, multiprocessing, os, signal, sys, time
from fasthtml_sse import Channel, RedisLog, SQLiteLog
kind, _, place = sys.argv[1].partition(' ')
channel = Channel({'sqlite': SQLiteLog, 'redis': RedisLog}[kind](place))
async def ticks():
    try:
        while True:
            yield 'tick'
            await asyncio.sleep(0.02)
    finally: print('finally', flush=True)
async def three():
    for n in range(3): yield n
async def start():
    run = await channel.run(ticks, sys.argv[2])
    await asyncio.sleep(0.2)
    return run
'''

ENDS = {  # of a loop with a run in it, and whether its source is closed
    'asyncio.run': ('asyncio.run(start())', True),
    'an error': ('async def fail():\n    1/len([await start()][1:])\ntry: asyncio.run(fail())\nexcept ZeroDivisionError: pass', True),
    'a channel that is closed': ('async def close():\n    await start()\n    await channel.aclose()\nasyncio.run(close())', True),
    'a loop that is closed': ('loop = asyncio.new_event_loop()\nloop.run_until_complete(start())\nloop.close()\ntime.sleep(1)', False),
}

def script(code, log, id):
    "What a script of its own process prints, which must end well, and what it complains of."
    done = subprocess.run([sys.executable, '-c', SCRIPT + code, log, id], capture_output=True, text=True, cwd=ROOT, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr

@alone
async def test_a_run_whose_loop_ends_is_lost_at_once(tmp_path, kind):
    async def ends(how):
        code, closes = ENDS[how]
        said, complained = await asyncio.to_thread(script, code, log, how)
        assert await states_at(log, how) == ['lost'], how
        assert not closes or said == 'finally\n', how
        warned = [f'run {how!r} is lost: the event loop that started it has ended'] if closes and 'channel' not in how else []
        assert not closes or [line.partition('. ')[0] for line in complained.splitlines()] == warned, how
    with place(kind, tmp_path) as log:
        await asyncio.gather(*map(ends, ENDS))
        assert not runs_at(log)

FORKS = {
    'os.fork': '''if not (pid := os.fork()):
        try: child()
        finally: os._exit(0)
    await asyncio.to_thread(os.waitpid, pid, 0)''',
    'multiprocessing': '''process = multiprocessing.get_context('fork').Process(target=child)
    process.start()
    await asyncio.to_thread(process.join)''',
}
FORKING = '''
def child():
    async def work():
        run = await channel.run(three, 'child of ' + sys.argv[2])
        same = await channel.run(ticks, sys.argv[2])
        print(await run.wait(), same.state, 'another owner' if run.owner != same.owner else '', flush=True)
    asyncio.run(work())
async def main():
    run = await start()
    {fork}
    await asyncio.sleep(0.5)
    print('the parent sees', run.state, flush=True)
    await channel.stop(run.id)
    print(await run.wait(), flush=True)
asyncio.run(main())
'''

@alone
async def test_a_fork_has_runs_of_its_own_and_leaves_those_of_its_parent(tmp_path, kind):
    async def forks(how):
        said, _ = await asyncio.to_thread(script, FORKING.format(fork=FORKS[how]), log, how)
        assert said.splitlines() == ['done running another owner', 'the parent sees running', 'finally', 'stopped']
        assert await states_at(log, f'child of {how}', how) == ['done', 'stopped']
        assert await kept_at(log, f'child of {how}') == ['0', '1', '2']
    with place(kind, tmp_path) as log:
        await asyncio.gather(*map(forks, FORKS))
        assert not runs_at(log)


ATTACHED = """
import fasthtml_sse.broadcast.run as module
from fasthtml_sse.broadcast.store import Change, Post, Record
id, owner = sys.argv[2], 'gone ' + sys.argv[2]
def say(what): os.write(1, f'{what}\\n'.encode())  # both do, at once
async def work(run):
    say(await channel.stop(id) if id == 'stop' else await asyncio.wait_for(run.wait(), 4))
def child(run):
    module.DEAD, module.KNOCK = 0.5, 0.1
    asyncio.run(work(run))
async def main():
    await channel.log.aappend(Post('', change=Change(f'lease {owner}', None, Record(owner, '1'))))
    await channel.log.aappend(Post(id, change=Change(f'run {id}', None, module.Claim().by(owner))))
    run = await channel.run(ticks, id)
    waiting = asyncio.create_task(run.wait())
    await asyncio.sleep(0.2)
    process = multiprocessing.get_context('fork').Process(target=child, args=[run])
    process.start()
    say(await asyncio.wait_for(waiting, 8))
    await asyncio.to_thread(process.join)
asyncio.run(main())
"""

@alone
async def test_a_fork_waits_for_runs_and_stops_them_as_its_parent_does(tmp_path, kind):
    "Its parent has a thread that looks after them; it has none yet."
    async def attached(how, *expected):
        said, _ = await asyncio.to_thread(script, ATTACHED, log, how)
        assert sorted(said.splitlines()) == sorted(expected), how
    with place(kind, tmp_path) as log:
        await asyncio.gather(attached('wait', 'lost', 'lost'), attached('stop', 'True', 'stopped'))
